"""Happens-before (Lamport 1978): which rows could have influenced which.

Row a happens before row b when both are of one actor and a comes first, or when a sent what b
received, or by a chain of such steps. Vector clocks (Mattern 1989) decide it without a search:
`clock[row][actor]` is how many rows of that actor happened before or at the row.

A crash does not cut the order: what a party persisted carries its past into its next life.
"""

from mpclab.core.ids import Party
from mpclab.trace.flights import flights
from mpclab.trace.log import Trace
from mpclab.trace.rows import Row


class Causality:
    """The causal order of one trace, computed once. Rows are named by their number.

    Memory is one clock of (number of actors) integers a row: meant for traces that people
    look at, not for millions of rows.
    """

    def __init__(self, trace: Trace) -> None:
        self.rows: list[Row] = list(trace)
        self.sent_by: dict[int, int] = {  # row of arrival → row of sending
            flight.ended_row: flight.sent_row
            for flight in flights(trace)
            if flight.fate == "delivered" and flight.ended_row is not None
        }
        self.actors: tuple[Party, ...] = tuple(sorted({row.actor for row in self.rows}))
        place = {actor: i for i, actor in enumerate(self.actors)}
        latest = {actor: [0] * len(self.actors) for actor in self.actors}
        self.clocks: list[tuple[int, ...]] = []
        for number, row in enumerate(self.rows):
            mine = latest[row.actor]
            if (source := self.sent_by.get(number)) is not None:
                mine[:] = map(max, mine, self.clocks[source])
            mine[place[row.actor]] += 1
            self.clocks.append(tuple(mine))
        self._place = place

    def before(self, a: int, b: int) -> bool:
        """Row `a` happened before row `b`."""
        if a == b:
            return False
        column = self._place[self.rows[a].actor]
        return self.clocks[a][column] <= self.clocks[b][column]

    def concurrent(self, a: int, b: int) -> bool:
        """Neither could have influenced the other."""
        return a != b and not self.before(a, b) and not self.before(b, a)

    def past(self, row: int) -> tuple[int, ...]:
        """Every row that happened before `row`, in order: all that it can be explained by."""
        return tuple(number for number in range(row) if self.before(number, row))

    def future(self, row: int) -> tuple[int, ...]:
        """Every row that `row` may have influenced."""
        return tuple(n for n in range(row + 1, len(self.rows)) if self.before(row, n))
