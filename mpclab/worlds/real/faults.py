"""What real worlds offer to faults beyond crashes and time: their half of a `FaultTarget`."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, TypeVar

from mpclab.core import notes
from mpclab.core.effects import Effect, Prompted, Words
from mpclab.core.ids import Party
from mpclab.faults.fault import Filter, Tamper
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.adversary import Adversaries
from mpclab.worlds.clock import Skew
from mpclab.worlds.real.host import Host

T = TypeVar("T")


class RealStage(abc.ABC):
    """What `RealWorld` does to actors when told. The attributes are the world's."""

    trace: Trace
    seed: int
    adversaries: Adversaries
    _hosts: dict[Party, Host]

    @property
    @abc.abstractmethod
    def now(self) -> int: ...
    @abc.abstractmethod
    def at(self, time: int, action: Callable[[], None]) -> None: ...
    @abc.abstractmethod
    def call(self, function: Callable[..., T], *args: Any) -> T: ...
    @abc.abstractmethod
    def alive(self, actor: Party) -> Host: ...
    @abc.abstractmethod
    def remark(self, actor: Party, note: notes.AnyNote) -> None: ...

    def mark_fault(
        self, index: int, kind: str, phase: str, parties: tuple[Party, ...], text: str
    ) -> None:
        row = rows.Fault(self.now, rows.WORLD, index, kind, phase, parties, text)
        self.call(self.trace.append, row)

    def pause(self, actor: Party) -> None:
        """The party does nothing until `resume`; what arrives waits."""

        def pause_it() -> None:
            host = self.alive(actor)
            if host.paused is None:
                host.paused = []
                self.remark(actor, notes.Paused())

        self.call(pause_it)

    def resume(self, actor: Party) -> None:
        """The party goes on with what arrived meanwhile."""

        def resume_it() -> None:
            host = self.alive(actor)
            if host.paused is not None:
                self.remark(actor, notes.Resumed())
                host.resume()

        self.call(resume_it)

    def slow(self, actor: Party, step: int) -> None:
        """From now on each step of the actor takes `step` µs; 0: no time."""

        def slow_it() -> None:
            self.alive(actor).cost = step

        self.call(slow_it)

    def skew(self, actor: Party, offset: int, drift: float) -> None:
        """Set the actor's clock ahead by `offset` µs, running 1 + `drift` times as fast."""
        wrong = Skew(self.now, offset, drift) if offset or drift else None
        self.call(lambda: self.alive(actor).set_skew(wrong))

    def set_filter(self, actor: Party, filter: Filter | None, handle: int = 0) -> None:
        """Put what an actor does through `filter`, in all its incarnations; None ends that."""
        self.call(self.adversaries.set_filter, actor, filter, handle)

    def set_tamper(self, actor: Party, tamper: Tamper | None, handle: int = 0) -> None:
        """Put what an actor says through `tamper`, in all its incarnations; None ends that."""

        def set_it() -> None:
            self.adversaries.set_tamper(actor, tamper, handle)
            if actor in self._hosts:
                self.adversaries.enter(self, self._hosts[actor])

        self.call(set_it)

    def do_later(self, actor: Party, incarnation: int, delay: int, effects: list[Effect]) -> None:
        """Let an actor do what it puts off, if it is still the same incarnation then."""
        self._later(actor, incarnation, delay, lambda host: host.perform(effects))

    def say_later(self, actor: Party, incarnation: int, delay: int, words: Words) -> None:
        """Let an actor say what it puts off, if it is still the same incarnation then."""
        self._later(actor, incarnation, delay, lambda host: host.feed(Prompted((words,))))

    def _later(
        self, actor: Party, incarnation: int, delay: int, act: Callable[[Host], None]
    ) -> None:
        def now() -> None:
            host = self._hosts.get(actor)
            if host is not None and host.incarnation == incarnation:
                act(host)

        self.at(self.now + delay, now)
