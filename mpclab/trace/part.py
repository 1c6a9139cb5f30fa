"""`PartTrace`: what concerns one session of a world that hosts several, in its own numbers.

Party p of a later session is the actor `base + p` of the whole trace. Here it is p, rows of other
sessions are left out, and what the server sends to several sessions goes to this one alone.
"""

from __future__ import annotations

from array import array

from msgspec.structs import replace

from mpclab.core import notes
from mpclab.core.ids import SERVER
from mpclab.core.numbering import Numbering
from mpclab.trace.log import Trace
from mpclab.trace.rows import Delivered, Dropped, Fault, Lied, Linked, Noted, Row, Sent


class PartTrace(Trace):
    """The rows of one session, in its parties' numbers.

    Args:
        source: the trace that it is a part of.
        session: its name. `of`: its parties' numbers.

    Attributes:
        origin: for each row, its number in the whole trace.
    """

    def __init__(self, source: Trace, session: str, of: Numbering) -> None:
        super().__init__()
        self.source, self.session, self.of_session = source, session, of
        self._clients = (session,) if of.base else ()  # the path of its clients' notes
        self.origin = array("q")
        self._cursor, self._seen = (0, 0), 0

    def follow(self) -> PartTrace:
        """Take in the rows that came since last time."""
        news, self._cursor = self.source.since(self._cursor)
        for row in news:
            if (ours := self._ours(row)) is not None:
                self.origin.append(self._seen)
                self.append(ours)
            self._seen += 1
        return self

    def _ours(self, row: Row) -> Row | None:
        """The row as this session has it; None: it is another's."""
        of, actor = self.of_session, self.of_session.party(row.actor)
        if actor is None or (actor == SERVER and _session(row) not in ("", self.session)):
            return None
        match row:
            case Sent(to=to):
                heard = of.parties(to)
                return replace(row, actor=actor, to=heard) if heard or not to else None
            case Delivered(sender=sender) | Dropped(sender=sender):
                ours = of.party(sender)
                return None if ours is None else replace(row, actor=actor, sender=ours)
            case Linked(peer=peer):
                other = of.party(peer)
                return None if other is None else replace(row, actor=actor, peer=other)
            case Lied(to=to):
                return replace(row, actor=actor, to=of.parties(to))
            case Fault(parties=parties):
                aimed = of.parties(parties)
                return replace(row, actor=actor, parties=aimed) if aimed or not parties else None
            case Noted(path=path, note=notes.Invoked() | notes.Returned()):
                return replace(row, path=()) if path == self._clients else None
            case _:
                return replace(row, actor=actor)


def _session(row: Row) -> str:
    """Which session a note of the server's speaks of, if it says so."""
    return str(getattr(row.note, "session", "")) if type(row) is Noted else ""
