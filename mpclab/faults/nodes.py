"""Faults of parties that stay honest: they stop, sleep, slow down, lose track of time, leave.

A crash falls between two steps; a torn one between two effects of a step, so that a party that
sends before it persists is caught with its word out and nothing kept. What the party persisted by
then is what a restart finds. With `amnesia` it finds nothing, which no protocol that votes twice
survives.
"""

# ruff: noqa: RUF009  `the` makes a dataclasses.field

from collections.abc import Callable
from dataclasses import dataclass

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, format_duration, parse_duration
from mpclab.faults.fault import (
    Fault,
    FaultTarget,
    Where,
    a_bool,
    a_duration,
    a_lasting,
    a_number,
    a_party,
    the,
)


@dataclass(frozen=True, kw_only=True)
class PartyFault(Fault):
    """Base: one party."""

    party: Party = the(a_party)

    def ready(self, target: FaultTarget) -> None:
        if self.party not in target.actors:
            raise UsageError(f"party {self.party} is not running")

    def parties(self) -> tuple[Party, ...]:
        return (self.party,)

    @property
    def life(self) -> str:
        return "up"


@dataclass(frozen=True, kw_only=True)
class Crash(PartyFault):
    """A party stops; with `restart_after` it comes back, from its stored state unless `amnesia`.

    `torn`: in the middle of its next step of two deeds or more (things sent or stored, but for
    heartbeats), after as many of them as the seed says. In the simulated world alone.
    """

    kind = "crash"
    restart_after: int | None = the(a_lasting, None, format_duration)
    amnesia: bool = the(a_bool, False)
    torn: bool = the(a_bool, False)

    @property
    def word(self) -> str:
        # The party stops later than the fault begins; when it does, its host says `crashed`.
        return "torn-crash" if self.torn else self.kind

    @property
    def life(self) -> str:
        return "up" if self.torn else "crashed"

    @property
    def lasts(self) -> int | None:
        return self.for_ if self.restart_after is None else self.restart_after

    def begin(self, target: FaultTarget, index: int) -> None:
        if self.torn:
            target.tear(self.party)
        else:
            target.crash(self.party)

    def end(self, target: FaultTarget, index: int) -> None:
        if self.party not in target.actors:  # it may have been restarted by hand
            target.restart(self.party, amnesia=self.amnesia)
        elif self.torn:  # it had nothing to do meanwhile
            target.tear(self.party, False)

    def check(self, where: Callable[[str], Where]) -> None:
        if self.for_ is not None and self.restart_after is not None:
            raise where("restart_after").wrong("'for' says already when the party comes back")
        if self.amnesia and self.lasts is None:
            raise where("amnesia").wrong("the party never comes back; say restart_after too")

    def sentence(self) -> str:
        forgets = ", and comes back without its stored state" if self.amnesia else ""
        torn = " in the middle of a step" if self.torn else ""
        return f"party {self.party} crashes{torn}{forgets}"


@dataclass(frozen=True, kw_only=True)
class Restart(PartyFault):
    """A party that had crashed comes back, from its stored state unless `amnesia`."""

    kind = "restart"
    momentary = True
    amnesia: bool = the(a_bool, False)

    def ready(self, target: FaultTarget) -> None:
        if self.party in target.actors:
            raise UsageError(f"party {self.party} has not crashed")

    def begin(self, target: FaultTarget, index: int) -> None:
        target.restart(self.party, amnesia=self.amnesia)

    def sentence(self) -> str:
        return f"party {self.party} comes back {'without' if self.amnesia else 'with'} its state"


@dataclass(frozen=True, kw_only=True)
class Pause(PartyFault):
    """A party does nothing for a while; what arrives waits, and then all comes at once."""

    kind = "pause"

    @property
    def life(self) -> str:
        return "paused"

    def begin(self, target: FaultTarget, index: int) -> None:
        target.pause(self.party)

    def end(self, target: FaultTarget, index: int) -> None:
        if self.party in target.actors:
            target.resume(self.party)

    def sentence(self) -> str:
        return f"party {self.party} is paused"


@dataclass(frozen=True, kw_only=True)
class Slow(PartyFault):
    """Each step of a party takes so much time; what arrives meanwhile queues up."""

    kind = "slow"
    step: int = the(a_lasting, 20_000, format_duration)

    def begin(self, target: FaultTarget, index: int) -> None:
        target.slow(self.party, self.step)

    def end(self, target: FaultTarget, index: int) -> None:
        if self.party in target.actors:
            target.slow(self.party, 0)

    def sentence(self) -> str:
        return f"party {self.party} needs {format_duration(self.step)} for each step"


def _signed_duration(value: object, where: Where) -> int:
    text = str(value).strip()
    if text.startswith("-"):
        return -parse_duration(text[1:], where.field)
    return a_duration(value, where)


def _write_signed(us: int) -> str:
    return f"-{format_duration(-us)}" if us < 0 else format_duration(us)


@dataclass(frozen=True, kw_only=True)
class Skew(PartyFault):
    """A party's clock is off by `offset` (negative: behind) and runs 1 + `drift` times as fast.

    Its timers are deadlines on that clock.
    """

    kind = "skew"
    offset: int = the(_signed_duration, 0, _write_signed)
    drift: float = the(a_number(-0.9, 9, "a drift that a clock can have"), 0.0)

    def begin(self, target: FaultTarget, index: int) -> None:
        target.skew(self.party, self.offset, self.drift)

    def end(self, target: FaultTarget, index: int) -> None:
        if self.party in target.actors:
            target.skew(self.party, 0, 0.0)

    def check(self, where: Callable[[str], Where]) -> None:
        if not self.offset and not self.drift:
            raise where("").wrong("say offset (such as 500ms or -2s) or drift (such as 0.1)")

    def sentence(self) -> str:
        parts = []
        if self.offset:
            side = "ahead" if self.offset > 0 else "behind"
            parts.append(f"is {format_duration(abs(self.offset))} {side}")
        if self.drift >= 1:
            parts.append(f"runs {1 + self.drift:.3g} times as fast as it should")
        elif self.drift:
            parts.append(
                f"runs {abs(self.drift) * 100:.3g}% too {'fast' if self.drift > 0 else 'slow'}"
            )
        return f"the clock of party {self.party} {' and '.join(parts)}"


@dataclass(frozen=True, kw_only=True)
class Leave(PartyFault):
    """A party closes its links and goes for good."""

    kind = "leave"

    @property
    def life(self) -> str:
        return "left"

    def begin(self, target: FaultTarget, index: int) -> None:
        target.remove(self.party)

    def check(self, where: Callable[[str], Where]) -> None:
        if self.for_ is not None:
            raise where("for").wrong("a party that left does not come back; use crash or pause")

    def sentence(self) -> str:
        return f"party {self.party} leaves"
