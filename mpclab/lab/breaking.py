"""`Breaking`: what goes wrong for the parties of one session, by hand or by a nemesis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.faults.nemesis import nemesis
from mpclab.faults.plan import Fault, FaultTarget, Injection, inject, parse_fault, schedule
from mpclab.lab.journal import Journal, verb
from mpclab.lab.replies import Done
from mpclab.lab.scenario import Scenario
from mpclab.worlds.base import World


class Breaking:
    """Crashes, pauses and faults of one session's parties.

    Attributes:
        injections: every fault put here, healed or not.
    """

    injections: list[Injection]

    if TYPE_CHECKING:
        world: World
        journal: Journal
        scenario: Scenario
        base: int
        shares: bool

        @property
        def called(self) -> str: ...
        def actor(self, party: Party) -> Party: ...

    @property
    def target(self) -> FaultTarget:
        """The world, as a fault sees it that speaks of this session's parties."""
        if not self.shares:
            return self.world
        from mpclab.faults.part import Part  # few runs have a second session

        return Part(self.world, self.base, self.scenario.parties)

    @verb
    def crash(self, party: Party) -> Done:
        self.world.crash(self.actor(party))
        return Done(f"party {party} crashed")

    @verb
    def restart(self, party: Party, *, amnesia: bool = False) -> Done:
        self.world.restart(self.actor(party), amnesia=amnesia)
        return Done(f"party {party} restarted{' and remembers nothing' if amnesia else ''}")

    @verb
    def pause(self, party: Party) -> Done:
        self.world.pause(self.actor(party))
        return Done(f"party {party} is paused")

    @verb
    def resume(self, party: Party) -> Done:
        self.world.resume(self.actor(party))
        return Done(f"party {party} goes on")

    @verb
    def inject(
        self, fault: Fault | Mapping[str, Any] | str | None = None, /, **fields: Any
    ) -> Injection:
        if not isinstance(fault, Fault):
            named = {"kind": fault} if isinstance(fault, str) else fault or {}
            if not isinstance(named, Mapping):
                raise UsageError(f"a fault is its kind or a mapping of fields, not {fault!r}")
            given = {k.rstrip("_"): v for k, v in {**named, **fields}.items()}
            fault = parse_fault(given, self.scenario.parties)
        return self._follow(inject(fault, self.target))

    @verb
    def nemesis(
        self, seed: int, *, lasts: int, rate: float, kinds: Sequence[str], most: int | None
    ) -> tuple[Injection, ...]:
        drawn = nemesis(seed, self.scenario.parties, kinds, until=lasts, rate=rate, most=most)
        now = self.world.now
        return tuple(self._follow(schedule(one, self.target, origin=now)) for one in drawn)

    def _follow(self, injection: Injection) -> Injection:
        injection.healer = self.heal
        self.injections.append(injection)
        return injection

    @verb
    def heal(self, injection: Injection | None = None) -> Done:
        return end(injection, self.injections)

    @verb
    def plan(self, fault: Fault, origin: int) -> Injection:
        return schedule(fault, self.target, origin=origin)


def end(one: Injection | None, all: Iterable[Injection]) -> Done:
    """End one fault, or, if none is named, those of `all` that are active."""
    wanted = [one] if one else [each for each in all if each.active]
    ended = [each.fault.sentence() for each in wanted if each.active]
    for each in wanted:
        each.end()  # one that has not begun never will
    return Done("healed: " + "; ".join(ended) if ended else "nothing to heal")
