"""Events, which go into a node, and effects, which come out: two closed unions of data.

The host's loop is `for effect in node.step(event, now): host.perform(effect)`. Effects are
performed in order and a crash may fall between any two of them.
"""

from typing import Any, TypeAlias

import msgspec

from mpclab.core.errors import Strength
from mpclab.core.ids import Party, Path
from mpclab.core.notes import AnyNote
from mpclab.core.wire import Frame, Message


class _Data(msgspec.Struct, frozen=True):
    def __deepcopy__(self, memo: dict[int, Any]) -> "_Data":
        return self


# --- effects ------------------------------------------------------------------------------


class Send(_Data, frozen=True):
    """Give one frame to each party in `to`: one serialisation, one row in the trace.

    `via` is "link" (a data channel, or the socket when the peer is the server); or "relay" or
    "pieces": then the frame is only *named* here, and what carries it follows; or "none".
    """

    to: tuple[Party, ...]
    frame: Frame
    via: str = "link"


class SetTimer(_Data, frozen=True):
    """Wake the machine at `path` at time `at` (µs). The same name again replaces it.

    `background`: it keeps no run alive, nor does what it leads to, unless that sets a timer which
    is `foreground`.
    """

    path: Path
    name: str
    at: int
    background: bool = False
    foreground: bool = False


class CancelTimer(_Data, frozen=True):
    path: Path
    name: str


class Persist(_Data, frozen=True):
    """Store `value` under (path, key) durably *before* any later effect; None deletes."""

    path: Path
    key: str
    value: bytes | None


class Output(_Data, frozen=True):
    """A machine's result. Its parent, if it has one, has already seen it."""

    path: Path
    value: Any


class Blame(_Data, frozen=True):
    """Somebody broke the protocol; `party` is None when nobody can be named."""

    path: Path
    party: Party | None
    reason: str
    strength: Strength


class Note(_Data, frozen=True):
    """A past fact worth a row in the trace; see `mpclab.core.notes`."""

    path: Path
    note: AnyNote


class Lied(_Data, frozen=True):
    """The adversary in this node changed or withheld a message that a machine wanted to send.

    Those in `to` did not get message `id` of this `kind`; those sent instead have the ids
    `said`. A message that no machine had wanted (kind "", id 0) is in `said` alone.
    """

    path: Path
    kind: str
    id: int
    to: tuple[Party, ...]
    said: tuple[int, ...]


class Received(_Data, frozen=True):
    """A frame that came by relay was opened and handed to its machine."""

    sender: Party
    frame: Frame


class Connect(_Data, frozen=True):
    """Open the connection to the signaling server (peer 0); answered by LinkOpened/Closed.

    `url` is another server than the one that the host knows; "": that one.
    """

    path: Path
    url: str = ""


class MakeOffer(_Data, frozen=True):
    """Begin a data channel to `peer`; answered by `Described("offer")`."""

    path: Path
    peer: Party
    attempt: int


class MakeAnswer(_Data, frozen=True):
    """Take `peer`'s offer; answered by `Described("answer")`."""

    path: Path
    peer: Party
    attempt: int
    offer: str


class TakeAnswer(_Data, frozen=True):
    path: Path
    peer: Party
    attempt: int
    answer: str


class AddCandidates(_Data, frozen=True):
    """`peer`'s addresses, all of them: an ICE agent may stop waiting for more."""

    path: Path
    peer: Party
    attempt: int
    candidates: tuple[str, ...]


class HangUp(_Data, frozen=True):
    """Close the link to `peer` (0: the server; at the server: a connection)."""

    path: Path
    peer: Party
    attempt: int = 0
    reason: str = ""


class Route(_Data, frozen=True):
    """From now on frames to `peer` travel by "link", by "relay", or not at all ("none")."""

    path: Path
    peer: Party
    via: str


Effect: TypeAlias = (
    Send
    | SetTimer
    | CancelTimer
    | Persist
    | Output
    | Blame
    | Note
    | Lied
    | Received
    | Connect
    | MakeOffer
    | MakeAnswer
    | TakeAnswer
    | AddCandidates
    | HangUp
    | Route
)

# --- events -------------------------------------------------------------------------------


class Started(_Data, frozen=True):
    """The node begins, or begins again with what it had stored."""


class Delivered(_Data, frozen=True):
    """A frame arrived; `sender` is stamped by the link that carried it."""

    sender: Party
    frame: Frame


class TimerFired(_Data, frozen=True):
    path: Path
    name: str


class Asked(_Data, frozen=True):
    """Our own user wants something of the machine at `path`."""

    path: Path
    ask: Any


class Words(_Data, frozen=True):
    """A message of one machine to its like at other parties; `msg` may be malformed bytes.

    Honest nodes have no use for it: see `Node.tamper`.
    """

    path: Path
    to: tuple[Party, ...]
    msg: Message | bytes


class Prompted(_Data, frozen=True):
    """The adversary who holds this party has it say `words` now, whatever its machines want."""

    words: tuple[Words, ...]


class Described(_Data, frozen=True):
    """Our own description of a link is ready: kind "offer" or "answer", candidates apart."""

    path: Path
    peer: Party
    attempt: int
    kind: str
    sdp: str
    candidates: tuple[str, ...]


class LinkOpened(_Data, frozen=True):
    """A link can carry frames; fingerprints are those that the transport itself saw. `origin` is
    where a client of the server comes from, as far as limits care, and `session` the one that its
    url names; "": it is not known."""

    path: Path
    peer: Party
    attempt: int = 0
    local_fingerprint: str = ""
    remote_fingerprint: str = ""
    origin: str = ""
    session: str = ""


class LinkClosed(_Data, frozen=True):
    """A link is gone, or could not be opened. `attempt` says which."""

    path: Path
    peer: Party
    attempt: int = 0
    reason: str = ""


LinkEvent: TypeAlias = Described | LinkOpened | LinkClosed
Event: TypeAlias = Started | Delivered | TimerFired | Asked | Prompted | LinkEvent
