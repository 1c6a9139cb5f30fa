"""A lab as those see it who copy it, turn it back, or take it on elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self

from mpclab.faults.plan import Injection
from mpclab.lab.group import Group
from mpclab.lab.journal import Journal
from mpclab.lab.outcome import Outcomes
from mpclab.lab.scenario import Scenario
from mpclab.lab.verbs import Verbs
from mpclab.trace.log import Trace
from mpclab.worlds.base import World


class Kin(Protocol):
    """What `Lab` is, as far as this is needed."""

    scenario: Scenario
    world: World
    journal: Journal
    group: Group

    @property
    def groups(self) -> Mapping[str, Group]: ...
    @property
    def trace(self) -> Trace: ...
    @property
    def now(self) -> int: ...
    @property
    def injections(self) -> tuple[Injection, ...]: ...
    def outcomes(self) -> Outcomes: ...
    def of(self, session: str) -> Verbs: ...
    def copied(self) -> Self:
        """An independent copy, whose clock stands."""

    def anew(self) -> Self:
        """One with the same seed, in which nothing has been done yet."""
