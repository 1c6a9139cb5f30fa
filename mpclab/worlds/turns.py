"""Fair shares of one event loop: steps of nodes beside sockets, timers and each other.

A loop runs all that is ready before it looks at its sockets again. When twenty parties each have
twenty key shares to check, that is half a second in which nobody is heard. So the steps of one turn
may take `TURN`; what is left waits in its host, in order, for the next turn.

A host with more than `MOST_WAITING` events works all the same: then the loop falls behind, nothing
is read, and who writes to us is slowed, instead of our memory being filled.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final, Protocol

TURN: Final = 0.015
"""Seconds of steps, after which the loop looks after the rest."""
MOST_WAITING: Final = 256


class Worker(Protocol):
    """A host that has more to do."""

    def go_on(self) -> None: ...


class Soon(Protocol):
    """A loop, as far as it is needed here."""

    def call_later(self, delay: float, callback: Any, /) -> Any: ...


class Turns:
    """The turns of one loop."""

    def __init__(self, loop: Soon) -> None:
        self._loop = loop
        self._spent = 0.0
        self._last = time.perf_counter()
        self._waiting: deque[tuple[Worker, float]] = deque()  # and since when
        self.over = False  # this turn's time is spent

    def spend(self, began: float, ended: float) -> None:
        """A step took from `began` to `ended`, s. What the loop did for others before it counts as
        rest."""
        self._spent = max(0.0, self._spent - (began - self._last)) + (ended - began)
        self._last = ended
        if self._spent >= TURN and not self.over:
            self.over = True
            self._loop.call_later(0, self._next)

    def put_off(self, worker: Worker) -> None:
        """Have it go on in a later turn. It is not waiting yet."""
        self._waiting.append((worker, time.perf_counter()))

    @property
    def behind(self) -> float:
        """How long the one that waits longest has waited, s."""
        return time.perf_counter() - self._waiting[0][1] if self._waiting else 0.0

    def _next(self) -> None:
        self.over = False
        self._spent = 0.0
        for _ in range(len(self._waiting)):
            if self.over:
                return
            self._waiting.popleft()[0].go_on()
