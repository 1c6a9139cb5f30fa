"""`explore`: every order in which a few parties' events can happen, to a stated bound.

The machines are the ones that run everywhere else; only their host is another. A *state* is what
each party holds, what is under way between them, and what the adversary may still do. From each
state every event is tried: any message under way arrives or (while `losses` last) is lost, any
timer goes off (while `timers` last), a party crashes or comes back with its store (`crashes`; with
`torn`, between any two effects of a step). In every state no two honest parties may have decided
differently. States are visited breadth first, so a counterexample is a shortest one.

The model is that of TLC and Stateright (explicit states, breadth first); what is found can be read,
drawn and tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mpclab.consensus.agreement import Agreement
from mpclab.core.ids import Party
from mpclab.search.model import Explorer, State, Step
from mpclab.search.telling import trace_of
from mpclab.trace.log import Trace


@dataclass(frozen=True)
class Counterexample:
    """A shortest run that breaks a promise.

    Attributes:
        problem: the promise, and who broke it.
        steps: what happened, from the beginning.
        trace: the same as rows, to draw with `spacetime` or to show as a page.
    """

    problem: str
    steps: tuple[Step, ...]
    trace: Trace = field(repr=False)

    def __str__(self) -> str:
        told = "\n".join(f"{i:3d}. {step.text}" for i, step in enumerate(self.steps, 1))
        return f"{self.problem}\n{told}"


@dataclass(frozen=True)
class Exploration:
    """The result of an exploration.

    Attributes:
        states, transitions: different states that were seen, and events that were tried.
        depth: events in the longest run that was followed.
        exhausted: every state within the bounds was expanded; otherwise why it stopped.
        seconds: of this process's CPU.
        decided: how many of the states have somebody who decided: 0 means that the bounds are
            too narrow to say anything.
    """

    protocol: str
    states: int
    transitions: int
    depth: int
    exhausted: bool
    stopped: str
    seconds: float
    decided: int
    counterexample: Counterexample | None

    @property
    def per_second(self) -> int:
        """States a second."""
        return round(self.states / self.seconds) if self.seconds else 0

    def __str__(self) -> str:
        how = "every one" if self.exhausted else f"not all: {self.stopped}"
        words = (
            f"{self.protocol}: {self.states:,} states ({how}), {self.transitions:,} events, "
            f"depth {self.depth}, {self.decided:,} of the states with a decision"
        )
        return f"{words}\n{self.counterexample}" if self.counterexample else f"{words}; no problem"


def explore(
    protocol: type[Agreement],
    *,
    parties: int = 3,
    submits: Mapping[Party, str] | None = None,
    losses: int = 0,
    timers: int = 0,
    crashes: int = 0,
    torn: bool = False,
    liars: frozenset[Party] | set[Party] = frozenset(),
    depth: int | None = None,
    budget: int = 100_000,
    seconds: float = 60.0,
    progress: Callable[[int, int], bool | None] = lambda states, depth: None,
    **options: Any,
) -> Exploration:
    """Try every order of events of `protocol`, breadth first, and judge every state.

    Args:
        submits: who submits what: `{1: "a", 2: "b"}`; party 1 one thing unless told otherwise.
        losses, timers, crashes: how many messages may be lost, timers may go off, and parties may
            crash, in one run.
        torn: a crash may also fall between two effects of a step.
        liars: parties that may also say what `protocol.variant` offers.
        depth: events in a run, at the most; None: no bound but the others.
        budget: states, at the most. seconds: of CPU, at the most.
        progress: called now and then with the states and the depth so far; `False` cancels.
        options: of the protocol (`patience=…`).

    Raises:
        UsageError: parties, submits or liars that do not fit.
    """
    model = Explorer(
        protocol, parties, submits or {1: "a"}, losses=losses, timers=timers, crashes=crashes,
        torn=torn, liars=frozenset(liars), options=options,
    )  # fmt: skip
    return _Search(model, depth, budget, seconds, progress).run()


class _Search:
    def __init__(
        self,
        model: Explorer,
        depth: int | None,
        budget: int,
        seconds: float,
        progress: Callable[[int, int], bool | None],
    ) -> None:
        self.model = model
        self.most_depth = depth
        self.budget = budget
        self.seconds = seconds
        self.progress = progress
        self.came: dict[State, tuple[State, Step] | None] = {model.initial: None}
        self.transitions = 0
        self.decided = 0

    def run(self) -> Exploration:
        began = time.process_time()
        frontier, depth = [self.model.initial], 0
        stopped, found = "", None
        while frontier and not stopped and found is None:
            if self.most_depth is not None and depth >= self.most_depth:
                stopped = f"runs of {depth} events"
                break
            following: list[State] = []
            for number, state in enumerate(frontier):
                found = self._expand(state, following)
                if found is not None:
                    break
                if number % 256 == 0:
                    stopped = self._spent(time.process_time() - began, depth)
                    if stopped:
                        break
            frontier, depth = following, depth + 1
        return Exploration(
            self.model.protocol.__name__, len(self.came), self.transitions, depth,
            not frontier and not stopped and found is None, stopped,
            time.process_time() - began, self.decided, found,
        )  # fmt: skip

    def _spent(self, seconds: float, depth: int) -> str:
        if self.progress(len(self.came), depth) is False:
            return "cancelled"
        if len(self.came) >= self.budget:
            return f"{self.budget:,} states"
        return f"{self.seconds:g} s" if seconds >= self.seconds else ""

    def _expand(self, state: State, following: list[State]) -> Counterexample | None:
        for enabled in self.model.enabled(state):
            for step, after, done in self.model.follow(state, enabled):
                self.transitions += 1
                if after in self.came:
                    continue
                self.came[after] = (state, step)
                following.append(after)
                self.decided += self.model.has_decided(after)
                problem = self.model.problem(after, done, step.party)
                if problem:
                    steps = self._way_to(after)
                    return Counterexample(problem, steps, trace_of(self.model, steps))
        return None

    def _way_to(self, state: State) -> tuple[Step, ...]:
        steps = []
        while (before := self.came[state]) is not None:
            state, step = before
            steps.append(step)
        return tuple(reversed(steps))
