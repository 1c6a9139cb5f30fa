"""`ShortTrace`: a trace that keeps what machines and hosts noted, and few or no messages.

For runs of millions of messages: notes, outputs, blame, links, faults and lies stay, so that
outcomes and nearly all checks are what they are on a whole trace; traffic (messages sent, delivered
and dropped, timers, records stored) is counted, and only its newest rows are there to be seen.
Positions stay what they were: a row that is not kept any more reads as `GONE`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mpclab.core.notes import Remark
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD, Delivered, Dropped, Fired, Noted, Persisted, Row, Sent

KEEP: Final = 10_000
"""Rows of traffic that a trace keeps at its end: a picture of the newest."""

GONE: Final = Noted(0, WORLD, (), Remark("rows of traffic are not kept so long"))
"""Stands where a row was that is not kept any more."""

_TRAFFIC = frozenset({Sent, Dropped, Fired, Persisted})


class ShortTrace(Trace):
    """What was noted, and the newest messages.

    Args:
        keep: rows of traffic and deliveries, each; 0: none.

    Attributes:
        sendings, losses: how many messages were sent, and dropped, once for each receiver.
    """

    def __init__(self, keep: int = KEEP) -> None:
        super().__init__(keep)
        self.keep = keep
        self.sendings = 0
        self.losses = 0
        self._end = 0
        self._traffic: deque[int] = deque()  # where the kept rows of traffic are

    @property
    def whole(self) -> bool:
        return False

    def append(self, row: Row) -> None:
        if type(row) is Delivered:
            self.delivered(row.at, row.actor, row.sender, row.id)
            return
        self._end = max(self._end, row.at)
        if type(row) in _TRAFFIC:
            self._count(row)
            if not self.keep:
                return
            self._traffic.append(len(self.rows))
            if len(self._traffic) > self.keep:
                self.rows[self._traffic.popleft()] = GONE
        super().append(row)

    def _count(self, row: Row) -> None:
        if type(row) is Sent:
            self.sendings += len(row.to)
        elif type(row) is Dropped:
            self.losses += 1

    @property
    def end(self) -> int:
        return max(self._end, self.cells.end)
