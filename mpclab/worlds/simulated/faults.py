"""What the simulated world offers to faults beyond crashes and time."""

from __future__ import annotations

import threading

from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.faults.fault import Filter, Tamper
from mpclab.trace import rows
from mpclab.worlds.clock import Skew
from mpclab.worlds.simulated.effects import Performing


class SimulatedStage(Performing):
    """What `SimulatedWorld` does to actors when told. The attributes are the world's."""

    _lock: threading.RLock

    def pause(self, actor: Party) -> None:
        """The party does nothing until `resume`; what arrives waits."""
        with self._lock:
            host = self._alive(actor)
            if host.paused is None:
                self._remark(actor, notes.Paused())
                host.paused = []

    def resume(self, actor: Party) -> None:
        with self._lock:
            host = self._alive(actor)
            if host.paused is None:
                return
            waiting, host.paused = host.paused, None
            self._remark(actor, notes.Resumed())
            for item in waiting:
                self._queue.push(self._now, item)

    def mark_fault(
        self, index: int, kind: str, phase: str, parties: tuple[Party, ...], text: str
    ) -> None:
        with self._lock:
            self.trace.append(rows.Fault(self._now, rows.WORLD, index, kind, phase, parties, text))

    def set_filter(self, actor: Party, filter: Filter | None, handle: int = 0) -> None:
        """Put what an actor does through `filter`, in all of its lives; None takes it away."""
        with self._lock:
            self._adversaries.set_filter(actor, filter, handle)

    def set_tamper(self, actor: Party, tamper: Tamper | None, handle: int = 0) -> None:
        """Put what an actor says through `tamper`, in all of its lives; None takes it away."""
        with self._lock:
            self._adversaries.set_tamper(actor, tamper, handle)
            if actor in self._hosts:
                self._adversaries.enter(self, self._hosts[actor])

    def tear(self, actor: Party, on: bool = True) -> None:
        with self._lock:
            self._alive(actor).torn = on

    def slow(self, actor: Party, step: int) -> None:
        with self._lock:
            self._alive(actor).step = step

    def skew(self, actor: Party, offset: int, drift: float) -> None:
        with self._lock:
            host = self._alive(actor)
            assert host.node is not None
            host.skew = Skew(self._now, offset, drift) if offset or drift else None
            for (path, name), at in host.node.timers.items():  # deadlines on the new clock
                background = self._queue.is_background(actor, path, name)
                if background is not None:
                    self._set_timer(host, path, name, at, background)

    def reset(self, a: Party, b: Party) -> None:
        """Close the link between two actors, as a middlebox would: both are told."""
        with self._lock:
            self._reset(a, b)
