"""Every message's way: what was sent joined with what arrived, by (sender, id, receiver).

A broadcast is one `Sent` row and as many flights as it has receivers. A party that restarts
may number its messages from one again, and a faulty link may deliver one twice; so an arrival
belongs to the oldest flight of its name that has not ended, and when all have ended it is a
copy.

A relayed message travels sealed in messages to and from the server, and nobody sees it lost when
one of these is. It is known to be lost when a later one of its pair arrived, since the relay keeps
their order, or when nothing is left on the way that could carry it.
"""

from collections import deque
from dataclasses import dataclass

from mpclab.core.ids import SERVER, Party, Path
from mpclab.trace.log import Trace
from mpclab.trace.rows import Delivered, Dropped, Sent


@dataclass(slots=True)
class Flight:
    """One message from one sender to one receiver. Times are µs, rows are row numbers.

    Attributes:
        fate: "delivered", "dropped", or "flying" while neither has been seen.
        ended_at: when it arrived or was dropped; None while it flies.
        why: the reason of a drop.
        copy: it arrived again after it had arrived once.
    """

    sender: Party
    receiver: Party
    id: int
    kind: str
    path: Path
    size: int
    via: str
    background: bool
    text: str
    sent_at: int
    sent_row: int
    fate: str = "flying"
    ended_at: int | None = None
    ended_row: int | None = None
    why: str = ""
    copy: bool = False

    def end(self, fate: str, at: int, row: int, why: str = "") -> None:
        self.fate, self.ended_at, self.ended_row, self.why = fate, at, row, why


def flights(trace: Trace, *, background: bool = True) -> list[Flight]:
    """All messages of the trace, one entry a receiver, in the order of sending.

    Args:
        background: also heartbeats and the like.
    """
    found: list[Flight] = []
    flying: dict[tuple[Party, int, Party], deque[Flight]] = {}
    last: dict[tuple[Party, int, Party], Flight] = {}
    for number, row in enumerate(trace):
        match row:
            case Sent():
                for receiver in row.to:
                    flight = Flight(
                        row.actor,
                        receiver,
                        row.id,
                        row.kind,
                        row.path,
                        row.size,
                        row.via,
                        row.background,
                        row.text,
                        row.at,
                        number,
                    )
                    if row.via == "none":  # nothing reaches this receiver: it ends where it began
                        flight.end("dropped", row.at, number, "no way to reach them")
                    else:
                        flying.setdefault((row.actor, row.id, receiver), deque()).append(flight)
                    found.append(flight)
            case Delivered(at, actor, sender, id) | Dropped(at, actor, sender, id):
                name = (sender, id, actor)
                fate = "delivered" if isinstance(row, Delivered) else "dropped"
                why = row.why if isinstance(row, Dropped) else ""
                if waiting := flying.get(name):
                    last[name] = waiting.popleft()
                    last[name].end(fate, at, number, why)
                elif before := last.get(name):
                    again = Flight(
                        before.sender,
                        before.receiver,
                        before.id,
                        before.kind,
                        before.path,
                        before.size,
                        before.via,
                        before.background,
                        before.text,
                        before.sent_at,
                        before.sent_row,
                        copy=True,
                    )
                    again.end(fate, at, number, why)
                    found.append(again)
    _end_relayed(found)
    return found if background else [flight for flight in found if not flight.background]


def _end_relayed(found: list[Flight]) -> None:
    """End the relayed flights of which it is known that they will not arrive."""
    open_ones = [f for f in found if f.via == "relay" and f.fate == "flying"]
    if not open_ones:
        return
    arrived: dict[tuple[Party, Party], list[Flight]] = {}
    carriers: dict[Party, list[Flight]] = {}
    for f in found:
        if f.via == "relay" and f.fate == "delivered" and not f.copy:
            arrived.setdefault((f.sender, f.receiver), []).append(f)
        elif SERVER in (f.sender, f.receiver) and not f.copy and not f.background:
            carriers.setdefault(f.sender or f.receiver, []).append(f)
    for lost in open_ones:
        later = [
            f
            for f in arrived.get((lost.sender, lost.receiver), ())
            if f.sent_row > lost.sent_row and f.ended_row is not None
        ]
        if later:
            passed = min(later, key=lambda f: f.ended_row or 0)
            lost.end("dropped", passed.ended_at or 0, passed.ended_row or 0, "lost by the relay")
            continue
        up = [
            f
            for f in carriers.get(lost.sender, ())
            if f.receiver == SERVER and f.sent_row > lost.sent_row
        ]
        down = [
            f
            for f in carriers.get(lost.receiver, ())
            if f.sender == SERVER and f.sent_row > lost.sent_row
        ]
        if up and all(f.fate != "flying" for f in (*up, *down)):
            # The first that was lost had it; or else the server passed it on to nobody.
            ends = [f for f in (*up, *down) if f.fate == "dropped"] or up[:1]
            last = min(ends, key=lambda f: f.ended_row or 0)
            why = last.why or "lost by the relay"
            lost.end("dropped", last.ended_at or 0, last.ended_row or 0, why)
