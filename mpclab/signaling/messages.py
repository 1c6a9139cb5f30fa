"""The messages of the signaling server: JSON objects, easy to write in a browser.

Two layers. `ClientMessage` and `ServerMessage` are between one client and the server. Inside
`Relay` and `Announce` lies a *payload*, which the server passes on without looking into it:
`Payload`, from party to party. Binary fields are base64 text in JSON.

    {"type": "Relay", "envelopes": [{"type": "Envelope", "to": 2, "payload": {"type": "Offer", …}}]}
"""

from typing import Annotated, ClassVar, Final, TypeAlias

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import Message, decoder
from mpclab.crypto.transcript import Part

VERSION: Final = 1
MAX_MESSAGE: Final = 64 * 1024
"""Largest signaling message, bytes of JSON."""
MAX_TEXT: Final = 4 * 1024
MAX_TICKET: Final = 1024
"""Largest ticket, characters."""
NONCE_BYTES: Final = 16

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A count on the wire: bounded where it is decoded, and exact in a browser."""
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
"""A party, or how many parties."""

# --- who is in a room ---------------------------------------------------------------------


class Member(Message, frozen=True):
    """A slot of a room: the party's identity key and which incarnation of the party this is.

    `incarnation` is fresh random bytes each time a party starts, `epoch` counts its starts.
    `presence` is the party's signature over both: the server cannot invent incarnations.
    """

    party: Number
    key: bytes
    incarnation: bytes
    epoch: Count
    presence: bytes
    online: bool = True


# --- client to server ---------------------------------------------------------------------


class Join(Message, frozen=True):
    """Answer to `Challenge`; `signature` is over `join_parts`. `mode`: create, join or either.

    `agreement` names the protocol that the members agree by; "" says nothing of it. `access`,
    `owner` and `roster` say whose room it is to be, and `ticket` is an invitation: see
    `signaling.tickets`.
    """

    session: str
    party: Number
    n: Number
    t: Number
    policy: str
    key: bytes
    incarnation: bytes
    epoch: Count
    presence: bytes
    signature: bytes
    mode: str = "either"
    agreement: str = ""
    access: str = ""
    owner: bytes = b""
    ticket: str = ""
    roster: tuple[bytes, ...] = ()


class Envelope(Message, frozen=True):
    to: Number
    payload: msgspec.Raw


class Relay(Message, frozen=True):
    """Pass each payload to its party; several in one message, so that a multicast is one."""

    envelopes: tuple[Envelope, ...]


class Announce(Message, frozen=True):
    """Pass one payload to all other members that are online."""

    payload: msgspec.Raw


class Who(Message, frozen=True):
    """Tell me again who is in my room (`Roster`)."""


class Leave(Message, frozen=True):
    """Give up my slot."""


class Revoke(Message, frozen=True):
    """Instead of `Join`: of the session whose owner, or an operator, `key` is, take back a ticket
    (its text or its id), or every ticket of the key `guest`. `signature` is over `revoke_parts`;
    answered by `Revoked`."""

    session: str
    key: bytes
    ticket: str
    guest: bytes
    signature: bytes


class Pong(Message, frozen=True):
    background = True


class Rows(Message, frozen=True):
    """Rows of the sender: `count` from number `first` on of one incarnation, JSON, a line each,
    read at its time `at` (µs), and signed. `life` is 1 plus that incarnation's first six bytes. To
    members on a link, and to the server: to those who want them (`signaling.telling`)."""

    background: ClassVar[bool] = True

    life: Count
    first: Count
    count: Count
    at: int
    rows: bytes
    signature: bytes


# --- server to client ---------------------------------------------------------------------


class Challenge(Message, frozen=True):
    """Said first, to every connection: prove within a few seconds who you are."""

    nonce: bytes
    version: Number = VERSION


class Welcome(Message, frozen=True):
    """You are in. `now` is the server's clock, µs, against which offers expire; a `Ping` comes
    every `ping_every` µs, and a server that is silent for much longer is gone. A member that says
    more than `burst` messages at once, or `rate` a second in the long run, is sent away."""

    session: str
    party: Number
    members: tuple[Member, ...]
    revision: Count
    now: Count
    ping_every: Count = 10_000_000
    rate: Count = 0
    burst: Count = 0


class Refused(Message, frozen=True):
    """Said before the server closes the connection: why, and what to do about it.

    `final` tells the client not to try again with the same request.
    """

    reason: str
    hint: str = ""
    final: bool = True


class Revoked(Message, frozen=True):
    """It is taken back, and who came in by it has lost its seat; the server closes."""

    session: str


class Roster(Message, frozen=True):
    members: tuple[Member, ...]
    revision: Count


class PeerJoined(Message, frozen=True):
    member: Member
    revision: Count


class PeerLeft(Message, frozen=True):
    """`gone`: the slot is free again; otherwise the party may come back to it."""

    party: Number
    why: str
    gone: bool
    revision: Count


class Relayed(Message, frozen=True):
    """`sender` is stamped by the server, never read from the message."""

    sender: Number
    payload: msgspec.Raw


class Announced(Message, frozen=True):
    sender: Number
    payload: msgspec.Raw


class LeftOut(Message, frozen=True):
    """Messages of yours for `to` are left out: it reads so slowly that too much waits for it. Said
    of each reader once a second at the most."""

    to: Number


class Ping(Message, frozen=True):
    """Answer with `Pong`. A `revision` that you do not know means that you missed news."""

    background = True
    revision: Count


class Wanted(Message, frozen=True):
    """Tell me what you do, if you wish: of `life`, from row number `since` on; 0, 0: all that you
    have. Said by a server that a lab hosts, and among members on a link."""

    background: ClassVar[bool] = True

    life: Count
    since: Count


ClientMessage: TypeAlias = Join | Relay | Announce | Who | Leave | Revoke | Pong | Rows
ServerMessage: TypeAlias = (
    Challenge | Welcome | Refused | Revoked | Roster | PeerJoined | PeerLeft | Relayed | Announced
    | LeftOut | Ping | Wanted
)  # fmt: skip

# --- party to party -----------------------------------------------------------------------


class Offer(Message, frozen=True):
    """A signed description of one end of a link; see `negotiate.offer_parts`."""

    epoch: Count
    to_incarnation: bytes
    nonce: bytes
    attempt: Count
    expires: Count
    sdp: str
    signature: bytes


class Answer(Message, frozen=True):
    """The other end's; `offer` is the hash of the offer that it answers."""

    epoch: Count
    to_incarnation: bytes
    nonce: bytes
    offer: bytes
    sdp: str
    signature: bytes


class Sealed(Message, frozen=True):
    """Sealed to its receiver (`relay.Channel`); `incarnations` names the pair that it is for."""

    incarnations: bytes
    box: bytes


class Text(Message, frozen=True):
    """A line for people, signed: `number` grows with every line of one incarnation. `to` 0: all."""

    to: Number
    number: Count
    text: str
    signature: bytes


Payload: TypeAlias = Offer | Answer | Sealed | Text

decode_payload = decoder(Payload, "json")
_encode = msgspec.json.Encoder().encode


def encode_payload(payload: Message) -> bytes:
    """A payload as the JSON that `Envelope` and `Announce` carry."""
    return _encode(payload)


# --- what is signed -----------------------------------------------------------------------

JOIN_LABEL: Final = "mpclab signaling join"
REVOKE_LABEL: Final = "mpclab revocation"
PRESENCE_LABEL: Final = "mpclab presence"
TEXT_LABEL: Final = "mpclab text"


def join_parts(nonce: bytes, msg: Join) -> tuple[Part, ...]:
    """The parts that `Join.signature` covers: the server's nonce and every field. Those of the
    door are covered where there are any, so that a client that knows none of them needs none."""
    parts: tuple[Part, ...] = (
        VERSION, nonce, msg.session, msg.party, msg.n, msg.t, msg.policy, msg.key, msg.incarnation,
        msg.epoch, msg.presence, msg.mode, msg.agreement,
    )  # fmt: skip
    door: tuple[Part, ...] = (msg.access, msg.owner, msg.ticket, msg.roster)
    return (*parts, *door) if any(door) else parts


def revoke_parts(nonce: bytes, msg: Revoke) -> tuple[Part, ...]:
    """The parts that `Revoke.signature` covers."""
    return (VERSION, nonce, msg.session, msg.key, msg.ticket, msg.guest)


def presence_parts(session: str, party: Party, incarnation: bytes, epoch: int) -> tuple[Part, ...]:
    """The parts of a presence; signed by the party, checked by every other."""
    return (VERSION, session, party, incarnation, epoch)


def text_parts(session: str, sender: Party, incarnation: bytes, msg: Text) -> tuple[Part, ...]:
    return (VERSION, session, sender, incarnation, msg.to, msg.number, msg.text)
