"""The rows of a trace: a closed union of small, typed, frozen facts.

Every row has `at` (integer µs since the run began) and `actor` (a party `1..n`, 0 for the
signaling server, `WORLD` for the experiment itself). A message is named by (sender, id) at
send and at delivery, so that a lost one is a `Sent` without its `Delivered`, and visible.
Values are plain: text, numbers, tuples. No row ever holds a key, a share or a nonce.
"""

from typing import Any, Final, TypeAlias

import msgspec

from mpclab.core.ids import Party, Path
from mpclab.core.notes import AnyNote, word_of

WORLD: Final = -1
"""The actor of rows that belong to no party: faults and the experiment's own marks."""


class _Row(msgspec.Struct, frozen=True, gc=False, tag_field="row", tag=str.lower):
    at: int
    actor: Party

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Row":
        return self


class Sent(_Row, frozen=True):
    """One message to one or many. `via` is link, relay, pieces
    (of a large one, sent by link) or none (no way to reach them)."""

    id: int
    to: tuple[Party, ...]
    path: Path
    kind: str
    size: int
    via: str = "link"
    background: bool = False
    text: str = ""  # what the message says, for a reader


class Delivered(_Row, frozen=True):
    """`actor` received message (sender, id)."""

    sender: Party
    id: int


class Dropped(_Row, frozen=True):
    """Message (sender, id) will never reach `actor`; `why`: loss, partition, crashed, …"""

    sender: Party
    id: int
    why: str


class Fired(_Row, frozen=True):
    """A timer went off."""

    path: Path
    name: str


class Asked(_Row, frozen=True):
    """The party's own user wanted something."""

    path: Path
    text: str


class Noted(_Row, frozen=True):
    """A past fact, as a machine or the host saw it: one of the classes of `core.notes`."""

    path: Path
    note: AnyNote

    @property
    def word(self) -> str:
        """The word of the note: `became-leader`."""
        return word_of(self.note)


class Output(_Row, frozen=True):
    """A machine's result, as text."""

    path: Path
    text: str


class Blamed(_Row, frozen=True):
    """`actor` accuses `party` (None: nobody can be named)."""

    path: Path
    party: Party | None
    reason: str
    strength: str


class Persisted(_Row, frozen=True):
    """`size` bytes were stored durably under (path, key); size 0: deleted."""

    path: Path
    key: str
    size: int


class Linked(_Row, frozen=True):
    """The link from `actor` to `peer` changed: dialing, open, confirmed, relay, closed."""

    peer: Party
    state: str
    attempt: int = 0
    detail: str = ""


class Fault(_Row, frozen=True):
    """Fault `index` of the run begins, ends, or (phase "act") touches the actor.

    `parties` are those it aims at; `text` says it in words. The class of the fault says the
    rest: `byzantine`, whether those parties are no longer honest, and `life`, how this row leaves
    them (up, paused, crashed, left; "": it is about links or the server).
    """

    index: int
    kind: str
    phase: str
    parties: tuple[Party, ...] = ()
    text: str = ""
    byzantine: bool = False
    life: str = ""


class Lied(_Row, frozen=True):
    """The adversary in `actor` made it say something else than its machine wanted.

    The machine at `path` had a message of this `kind`, number `id`, for others; those in `to` did
    not get it. The messages sent instead are the actor's `said`, perhaps none. A message
    that no machine had wanted (kind "", id 0) is in `said` alone.
    """

    path: Path
    kind: str
    id: int
    to: tuple[Party, ...]
    said: tuple[int, ...] = ()


Row: TypeAlias = (
    Sent
    | Delivered
    | Dropped
    | Fired
    | Asked
    | Noted
    | Output
    | Blamed
    | Persisted
    | Linked
    | Fault
    | Lied
)
