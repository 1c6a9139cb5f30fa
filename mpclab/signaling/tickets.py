"""Who may sit in a room: open to whoever knows its id, invited by ticket, or closed to a roster.

A *ticket* is a few signed words: whoever holds it may take a seat of one session until it expires.
Its issuer is the room's owner (the key that opened it, or that its openers name) or an operator of
the server. One that names a key is of use to that key alone: joining needs the key's signature over
the server's challenge. One that names none belongs to the first key that uses it; the room keeps
its serial number until it expires, so that a copy of it is refused to any other key.

A server that lost its rooms knows no owner, and the first to come could be anybody. So a session's
id may say whose it is: `vault.by-…` ends in a hash of its owner's key, `vault.of-…` in one of its
roster; nobody else opens such a room, on any server, whatever that has forgotten.

Why signatures and not a secret of the server's (as in LiveKit's and Centrifugo's tokens): a party
is its key here already. An owner invites without asking any server, servers side by side need not
share a secret, and a server that is broken into cannot invite.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, check_session_id
from mpclab.core.wire import Message, decoder
from mpclab.crypto.identity import PUBLIC_BYTES, Coins, Identity, verify
from mpclab.crypto.transcript import Part, digest
from mpclab.signaling.messages import MAX_TICKET, Count, Number

OPEN: Final = "open"
INVITED: Final = "invited"
CLOSED: Final = "closed"
ACCESS: Final = (OPEN, INVITED, CLOSED)
"""Who gets in: whoever comes, whoever holds a ticket, the keys of a roster."""

TICKET_LABEL: Final = "mpclab ticket"
SERIAL_BYTES: Final = 16
_PREFIX: Final = "mpclab-ticket-1."
_TAG_BYTES: Final = 12
LONGEST: Final = 366 * 24 * 3600
"""Seconds for which a ticket can be good: what is noted of one need be kept no longer."""
NOBODY: Final = b""
"""Whose a revoked ticket is."""
MOST_USED: Final = 4096
"""Tickets that have not expired and have been used (of those that name no key) or revoked, and
revoked keys, of one room."""
MOST_SPENT: Final = 65_536
"""And of all rooms that are no more, together."""
_OWNER_TAG: Final = ".by-"
_ROSTER_TAG: Final = ".of-"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a party shows at the door, and how it wants the room if it is the first.

    Attributes:
        access: "open", "invited" or "closed"; "": as the room is, open when we open it.
        owner: whose room it is to be, 32 bytes; b"": whoever opened it.
        ticket: an invitation, as text.
        roster: the keys of parties 1 to n, of a closed room.
    """

    access: str = ""
    owner: bytes = b""
    ticket: str = ""
    roster: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.access not in ("", *ACCESS):
            raise UsageError(f"access: {self.access!r} is not open, invited or closed")
        if self.owner and len(self.owner) != PUBLIC_BYTES:
            raise UsageError(f"owner: a key has {PUBLIC_BYTES} bytes, not {len(self.owner)}")
        if (self.access == CLOSED) != bool(self.roster):
            raise UsageError("access: a roster and a closed room belong together")
        if self.ticket:
            open_ticket(self.ticket)


class Ticket(Message, frozen=True):
    """An invitation. `party` 0: any free seat; `key` b"": whoever uses it first; `session` "": any
    (an operator's, for one key). `expires` is Unix time in seconds."""

    session: str
    party: Number
    key: bytes
    expires: Count
    serial: bytes
    issuer: bytes
    signature: bytes = b""

    @property
    def signed_parts(self) -> tuple[Part, ...]:
        """What the signature covers."""
        return (self.session, self.party, self.key, self.expires, self.serial, self.issuer)

    @property
    def name(self) -> bytes:
        """What no other ticket has."""
        return self.issuer + self.serial

    @property
    def id(self) -> str:
        """What people call it by."""
        return self.serial.hex()

    @property
    def is_genuine(self) -> bool:
        """Whether its issuer signed it."""
        return verify(self.issuer, TICKET_LABEL, self.signed_parts, self.signature)


_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Any] = decoder(Ticket)


def issue(
    issuer: Identity,
    session: str,
    *,
    expires: int,
    coins: Coins,
    party: Party = 0,
    key: bytes = b"",
) -> str:
    """A ticket as text, about 300 characters that need no quoting.

    Args:
        issuer: the room's owner, or an operator.
        session: "": any session, for an operator's ticket that names a key.
        expires: Unix time, seconds.
        coins: for the serial number.

    Raises:
        UsageError: a session, party or key that cannot be.
    """
    if session:
        check_session_id(session)
    elif not key:
        raise UsageError("a ticket for every session has to name the key that may use it")
    if party < 0:
        raise UsageError(f"party {party}: use 1 to n, or 0 for any free seat")
    if key and len(key) != PUBLIC_BYTES:
        raise UsageError(f"a key has {PUBLIC_BYTES} bytes, not {len(key)}")
    if not 0 <= expires < 2**53:
        raise UsageError(f"expires {expires}: use Unix time in seconds")
    serial = coins.randbytes(SERIAL_BYTES)
    blank = Ticket(session, party, key, expires, serial, issuer.public)
    signature = issuer.sign(TICKET_LABEL, *blank.signed_parts)
    signed = _encode(msgspec.structs.replace(blank, signature=signature))
    return _PREFIX + base64.urlsafe_b64encode(signed).decode().rstrip("=")


def open_ticket(text: str) -> Ticket:
    """The ticket that a text is. Nothing says yet that it is genuine.

    Raises:
        UsageError: it is none.
    """
    body = text.removeprefix(_PREFIX)
    try:
        if len(text) > MAX_TICKET or body == text or not body.isascii():
            raise UsageError("malformed ticket")
        ticket: Ticket = _decode(
            base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
        )
    except (binascii.Error, msgspec.DecodeError) as error:
        raise UsageError("malformed ticket") from error
    if len(ticket.issuer) != PUBLIC_BYTES or len(ticket.serial) != SERIAL_BYTES:
        raise UsageError("malformed ticket")
    return ticket


# --- session ids that say whose they are ------------------------------------------------------


def owned_session(name: str, owner: bytes) -> str:
    """A session id that only `owner`, and whom it invites, can open.

    Raises:
        UsageError: the name is too long, or no id.
    """
    return check_session_id(name + _OWNER_TAG + _owner_tag(owner))


def closed_session(name: str, roster: Iterable[bytes]) -> str:
    """A session id that only the keys of this roster, parties 1 to n, can open.

    Raises:
        UsageError: the name is too long, or no id.
    """
    return check_session_id(name + _ROSTER_TAG + _roster_tag(tuple(roster)))


def names_owner(session: str, owner: bytes) -> bool:
    """Whether a session's id says that it is this key's."""
    return _tag(session, _OWNER_TAG) == _owner_tag(owner)


def belongs(session: str, access: str, owner: bytes, roster: tuple[bytes, ...]) -> bool:
    """Whether a room so opened may have this id; ids without a tag are anybody's."""
    if tag := _tag(session, _OWNER_TAG):
        return access == INVITED and tag == _owner_tag(owner)
    if tag := _tag(session, _ROSTER_TAG):
        return access == CLOSED and tag == _roster_tag(roster)
    return True


def _tag(session: str, kind: str) -> str:
    _, found, tag = session.rpartition(kind)
    is_tag = len(tag) == 2 * _TAG_BYTES and all(c in "0123456789abcdef" for c in tag)
    return tag if found and is_tag else ""


def _owner_tag(owner: bytes) -> str:
    return digest("mpclab session owner", owner)[:_TAG_BYTES].hex()


def _roster_tag(roster: tuple[bytes, ...]) -> str:
    return digest("mpclab session roster", roster)[:_TAG_BYTES].hex()


# --- the door ---------------------------------------------------------------------------------


class Door:
    """What a room knows of who may come in.

    Attributes:
        owner: may take any free seat, and invite.
        roster: keys of parties 1 to n, of a closed room.
        used: for each ticket that named no key, by its name: the key that used it, and when
            it expires. What was revoked is `NOBODY`'s: tickets by name, and keys.
    """

    __slots__ = ("access", "owner", "roster", "used")

    def __init__(
        self, access: str = OPEN, owner: bytes = b"", roster: tuple[bytes, ...] = ()
    ) -> None:
        self.access = access
        self.owner = owner
        self.roster = roster
        self.used: dict[bytes, tuple[bytes, int]] = {}

    def why_not(
        self,
        session: str,
        party: Party,
        key: bytes,
        ticket: str,
        time: int,
        operators: tuple[bytes, ...],
    ) -> str:
        """The reason for keeping `key` from a seat that is nobody's; "": it may have it.

        Args:
            time: Unix time, seconds.
            operators: keys that may invite into every room.
        """  # fmt: skip
        if self.access == OPEN:
            return ""
        if self.access == CLOSED:
            mine = self.roster[party - 1] == key
            return "" if mine else f"this session is closed: party {party} has another key"
        if key == self.owner or key in operators:
            return ""
        if not ticket:
            return "this session is by invitation"
        issuers = (self.owner, *operators)
        reason = why_not_ticket(ticket, session, party, key, time, issuers, operators)
        if reason:
            return reason
        return self.why_not_again(ticket, key, time)

    def why_not_again(self, ticket: str, key: bytes, time: int) -> str:
        """The reason why `key` may not use a genuine ticket that was revoked, or that another key
        may have used."""
        shown = open_ticket(ticket)
        self.used = {s: u for s, u in self.used.items() if u[1] > time}
        used = self.used.get(shown.name)
        if key in self.used:
            return "this key's invitations were taken back"
        if used is not None and used[0] == NOBODY:
            return "ticket was taken back"
        if shown.key:
            return ""
        if used is None:
            return "too many tickets are in use" if len(self.used) >= MOST_USED else ""
        return "" if used[0] == key else "ticket was used by another key"

    def spend(
        self,
        session: str,
        party: Party,
        key: bytes,
        ticket: str,
        time: int,
        operators: tuple[bytes, ...],
    ) -> bool:  # fmt: skip
        """Note who used a ticket that names no key; whether there was something to note. Of one
        that would not let `key` in, as an owner or a member that comes back may show it, nothing
        is noted: nobody spends another's ticket, or fills our memory with tickets of its own."""
        if self.access != INVITED or not ticket:
            return False
        issuers = (self.owner, *operators)
        if why_not_ticket(ticket, session, party, key, time, issuers, operators):
            return False
        shown = open_ticket(ticket)
        if shown.key or shown.name in self.used or len(self.used) >= MOST_USED:
            return False
        self.used[shown.name] = key, shown.expires
        return True


class Spent:
    """Used and revoked tickets of rooms that are no more: a room opened again refuses them, too.

    Attributes:
        used: by session, the oldest first; `Door.used` of each. "": what was revoked everywhere.
    """

    def __init__(self) -> None:
        self.used: dict[str, dict[bytes, tuple[bytes, int]]] = {}
        self._count = 0

    def of(self, session: str) -> dict[bytes, tuple[bytes, int]]:
        return self.used.get("", {}) | self.used.get(session, {})

    def take(self, session: str) -> dict[bytes, tuple[bytes, int]]:
        """Those of a session that is opened again; they are its door's from now on."""
        used = self.of(session)
        self._drop(session)
        return used

    def _drop(self, session: str) -> None:
        self._count -= len(self.used.pop(session, {}))

    def put(self, session: str, door: Door, time: int) -> list[str]:
        """Keep those of a room that ends; the sessions whose tickets there is no place for."""
        self._drop(session)
        everywhere = self.used.get("", {})  # is noted there, and may be undone there
        used = {
            name: u for name, u in door.used.items() if u[1] > time and everywhere.get(name) != u
        }
        if used:
            self.used[session] = used
            self._count += len(used)
        forgotten = []
        while self._count > MOST_SPENT:
            forgotten.append(next(one for one in self.used if one))
            self._drop(forgotten[-1])
        return forgotten


def why_not_ticket(
    text: str,
    session: str,
    party: Party,
    key: bytes,
    time: int,
    issuers: tuple[bytes, ...],
    operators: tuple[bytes, ...],
) -> str:
    """The reason why a ticket does not let `key` into the seat; "": it does.

    Args:
        issuers: who may invite here; `operators`, those of them who may to every session.
    """  # fmt: skip
    try:
        ticket = open_ticket(text)
    except UsageError as error:
        return str(error)
    if not ticket.is_genuine:
        return "ticket has a wrong signature"
    if ticket.issuer not in issuers:
        return "ticket is of somebody who may not invite here"
    if ticket.session != session and (ticket.session or ticket.issuer not in operators):
        return "ticket is for another session"
    if not ticket.session and not ticket.key:
        return "ticket is for every session and names no key"
    if time >= ticket.expires:
        return "ticket has expired"
    if ticket.expires > time + LONGEST:
        return f"ticket is good for more than {LONGEST // 86_400} days"
    if ticket.party not in (0, party):
        return f"ticket is for party {ticket.party}"
    if ticket.key not in (b"", key):
        return "ticket is for another key"
    return ""
