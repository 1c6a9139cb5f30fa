"""The calls of clients outside the group, as intervals: see `mpclab.lab.clients`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mpclab.core import notes
from mpclab.core.ids import Party, Path
from mpclab.trace.rows import Noted, Row

READ = "read"
"""The kind of the call that proposes nothing: what is in the history?"""
OPEN = "open"
"""How a call stands that has not ended: later it is ok, failed or unknown."""
Name = tuple[Path, int, int]


@dataclass(slots=True)
class Call:
    """A client's call of a party. Times are µs, rows are numbers of the trace.

    Attributes:
        session: the path of its notes, () for the first session of a world.
        number: among the client's calls, from 1.
        op: the operation's id, or the name of the read.
        end: open, ok, failed (it never happens) or unknown.
        answer: what the client was told, in words.
        records, last: of a read that is ok, how many operations it saw, and which was the last.
    """

    session: Path
    client: int
    number: int
    party: Party
    kind: str
    op: str
    text: str
    at: int
    row: int
    end: str = OPEN
    ended_at: int | None = None
    ended_row: int | None = None
    answer: str = ""
    records: int = 0
    last: str = ""

    @property
    def reads(self) -> bool:
        return self.kind == READ

    @property
    def moments(self) -> tuple[int, ...]:
        """When it was made, and when it ended, if it has."""
        return (self.at,) if self.ended_at is None else (self.at, self.ended_at)

    @property
    def words(self) -> str:
        """What it asks for, and of a read that was answered what it saw."""
        if not self.reads:
            return f"{self.kind} {self.text}".rstrip()
        return f"read: {self.records}" if self.end == "ok" else "read"


def take_call(calls: dict[Name, Call], row: Noted, number: int) -> None:
    """Take a note of a client, row `number` of the trace, into account."""
    match row.note:
        case notes.Invoked(client, call, party, kind, op, text):
            name = (row.path, client, call)
            calls[name] = Call(row.path, client, call, party, kind, op, text, row.at, number)
        case notes.Returned(client, call, _, end, text, records, last):
            one = calls.get((row.path, client, call))
            if one is not None and one.end == OPEN:
                one.end, one.ended_at, one.ended_row = end, row.at, number
                one.answer, one.records, one.last = text, records, last


def calls_of(rows: Iterable[Row]) -> list[Call]:
    """All calls, in the order in which they were made."""
    found: dict[Name, Call] = {}
    for number, row in enumerate(rows):
        if type(row) is Noted and isinstance(row.note, notes.Invoked | notes.Returned):
            take_call(found, row, number)
    return list(found.values())
