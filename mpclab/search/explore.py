"""`explore`: every order in which a few parties' events can happen, to a stated bound.

The machines are the ones that run everywhere else; only their host is another. A *state* is what
each party holds, what is under way between them, and what the adversary may still do. From each
state every event is tried: any message under way arrives or (while `losses` last) is lost, any
timer goes off (while `timers` last), a message comes twice (`repeats`), a party crashes or comes
back with its store (`crashes`; with
`torn`, between any two effects of a step). Judged are

* every state: no two honest parties end an operation differently, or put two at one place of a
  log, or lead one term; no honest party blames another;
* the ends of fair paths (nothing is under way, nobody is down): if nothing goes wrong from there
  on, every operation that is owed an end has one, everywhere.

Orders that lead to the same are tried once (`mpclab.model.reduction` says which, and why nothing
is lost). States are visited breadth first, so that without reduction a counterexample is a shortest
one; with it, no step of it can be left out. Every counterexample is followed once more, line by
line, on fresh machines before it is given: it is a scenario that `mpclab run` repeats.

The model is that of TLC and Stateright (explicit states, breadth first).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpclab.consensus.agreement import Agreement
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.lab.scenario import Scenario
from mpclab.model.explorer import Explorer
from mpclab.model.fair import FairEnd
from mpclab.model.reduction import Reduction
from mpclab.model.states import OrderMatters, State, Step
from mpclab.search.counterexample import Counterexample, counterexample
from mpclab.search.subject import Subject, subject

FAIR_ENDS = 200
"""Ends of fair paths that are followed on, at the most, unless told otherwise."""


@dataclass(frozen=True)
class Exploration:
    """The result of an exploration.

    Attributes:
        states, transitions: different states that were seen, and events that were tried.
        depth: events in the longest run that was followed.
        exhausted: every state within the bounds was expanded; otherwise `stopped` says why not.
        seconds: of this process's CPU.
        decided: how many of the states have somebody who decided: 0 means that the bounds are
            too narrow to say anything.
        ends, fair: ends of fair paths that were met, and those that were followed on.
        locals: different local states of the parties, all together.
        reduced: orders that lead to the same were left out.
        bounds: what the adversary may do in one run, in words.
    """

    protocol: str
    bounds: str
    states: int
    transitions: int
    depth: int
    exhausted: bool
    stopped: str
    seconds: float
    decided: int
    ends: int
    fair: int
    locals: int
    reduced: bool
    counterexample: Counterexample | None

    @property
    def per_second(self) -> int:
        """States a second."""
        return round(self.states / self.seconds) if self.seconds else 0

    @property
    def coverage(self) -> float:
        """How much of the space within the bounds was seen: 1 when it is exhausted. Else an
        estimate, the states that were expanded of those that are known (at most, for more may be
        behind them)."""
        return 1.0 if self.exhausted else self._expanded / max(1, self.states)

    _expanded: int = 0

    def as_row(self) -> dict[str, Any]:
        """The figures, for a table."""
        return {
            "protocol": self.protocol, "bounds": self.bounds, "states": self.states,
            "events": self.transitions, "depth": self.depth, "states/s": self.per_second,
            "exhausted": self.exhausted, "coverage": round(self.coverage, 3),
            "fair ends": self.fair, "reduced": self.reduced,
            "problem": self.counterexample.problem if self.counterexample else "",
        }  # fmt: skip

    def __str__(self) -> str:
        how = "every one" if self.exhausted else f"not all: {self.stopped}"
        words = (
            f"{self.protocol}, {self.bounds}: {self.states:,} states ({how}), "
            f"{self.transitions:,} events, depth {self.depth}, "
            f"{self.decided:,} of the states with a decision, {self.fair:,} fair ends"
        )
        return f"{words}\n{self.counterexample}" if self.counterexample else f"{words}; no problem"


def explore(
    what: type[Agreement] | str | Scenario | Path,
    *,
    parties: int | None = None,
    submits: Mapping[Party, str | Sequence[str]] | None = None,
    losses: int = 0,
    timers: int = 0,
    crashes: int = 0,
    repeats: int = 0,
    torn: bool = False,
    liars: frozenset[Party] | set[Party] | None = None,
    depth: int | None = None,
    budget: int = 100_000,
    seconds: float = 60.0,
    fair: int = FAIR_ENDS,
    reduce: bool = True,
    exact: bool = False,
    after: Sequence[str] = (),
    progress: Callable[[int, int], bool | None] = lambda states, depth: None,
    **options: Any,
) -> Exploration:
    """Try every order of events of a protocol, breadth first, and judge every state.

    Args:
        what: a protocol, its word, or a scenario (or its file), whose protocol, parties, options,
            operations and liars are taken, and which crashes and losses it has.
        submits: who submits what: `{1: "a", 2: ("b", "a|1")}`, where `a|1` is another valid value
            for `a`; party 1 one thing unless told otherwise.
        losses, timers, crashes, repeats: how many messages may be lost, timers may go off, parties
            may crash, and messages may come once more, in one run.
        torn: a crash may also fall between two effects of a step.
        liars: parties that may also say what `protocol.variant` offers.
        depth: events in a run, at the most; None: no bound but the others.
        budget: states, at the most. seconds: of CPU, at the most.
        fair: ends of fair paths to follow on, at the most; 0: none.
        reduce: leave out orders that lead to the same.
        exact: tell apart who came first wherever a dictionary does.
        after: steps that every run begins with, each by words that are in its text (as a
            counterexample's lines are): what is known to be the way to an interesting moment need
            not be found. Their crashes and timers count as others do; `depth` does not count them.
        progress: called now and then with the states and the depth so far; `False` cancels.
        options: of the protocol (`patience=…`).

    Raises:
        UsageError: parties, submits or liars that do not fit.
    """
    asked = subject(
        what, parties=parties, submits=submits, losses=losses, timers=timers, crashes=crashes,
        repeats=repeats, torn=torn, liars=liars, options=options,
    )  # fmt: skip
    while True:
        try:
            search = _Search(asked, depth, budget, seconds, fair, reduce, exact, after, progress)
            return search.run()
        except OrderMatters:
            exact = True


class _Search:
    def __init__(
        self,
        asked: Subject,
        depth: int | None,
        budget: int,
        seconds: float,
        fair: int,
        reduce: bool,
        exact: bool,
        after: Sequence[str],
        progress: Callable[[int, int], bool | None],
    ) -> None:
        self.began = time.process_time()
        self.asked = asked
        self.model: Explorer = asked.model(exact=exact)
        self.reduction = Reduction(self.model, seconds=seconds / 3) if reduce else None
        self.most_depth = depth
        self.budget = budget
        self.seconds = seconds
        self.most_fair = fair
        self.progress = progress
        self.initial, self.before = _begun(self.model, after)
        if self.reduction is not None:
            self.initial = self.reduction.merged(self.initial)
        self.came: dict[State, tuple[State, Step] | None] = {self.initial: None}
        self.transitions = self.decided = self.ends = self.fair = self.expanded = 0

    def run(self) -> Exploration:
        model = self.model
        frontier, depth = [self.initial], 0
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
                    stopped = self._spent(time.process_time() - self.began, depth)
                    if stopped:
                        break
            frontier, depth = following, depth + 1
        exhausted = not frontier and not stopped and found is None
        return Exploration(
            model.protocol.__name__, self.asked.bounds, len(self.came), self.transitions, depth,
            exhausted, stopped, time.process_time() - self.began, self.decided, self.ends,
            self.fair, len(model.locals), self.reduction is not None and self.reduction.found,
            found, self.expanded,
        )  # fmt: skip

    def _spent(self, seconds: float, depth: int) -> str:
        if self.progress(len(self.came), depth) is False:
            return "cancelled"
        if len(self.came) >= self.budget:
            return f"{self.budget:,} states"
        return f"{self.seconds:g} s" if seconds >= self.seconds else ""

    def _expand(self, state: State, following: list[State]) -> Counterexample | None:
        self.expanded += 1
        alone = self.reduction.alone(state) if self.reduction is not None else None
        if alone is not None and self.reduction is not None:
            (told, after, _), *_ = self.model.follow(state, alone)
            after = self.reduction.merged(after)
            if after not in self.came:  # else others could be put off for ever
                return self._arrive(state, told, after, following)
        for enabled in self.model.enabled(state):
            for step, after, _ in self.model.follow(state, enabled):
                if found := self._arrive(state, step, after, following):
                    return found
        return None

    def _arrive(
        self, state: State, step: Step, after: State, following: list[State]
    ) -> Counterexample | None:
        self.transitions += 1
        if self.reduction is not None:
            after = self.reduction.merged(after)
        if after in self.came:
            return None
        self.came[after] = (state, step)
        following.append(after)
        self.decided += self.model.has_decided(after)
        if self.model.problem(after):
            return counterexample(self.asked, self.model, self._way_to(after))
        if self.model.is_quiet(after):
            self.ends += 1
            if self.fair < self.most_fair:
                self.fair += 1
                if FairEnd(self.model, after).run():
                    return counterexample(self.asked, self.model, self._way_to(after), fairly=True)
        return None

    def _way_to(self, state: State) -> tuple[Step, ...]:
        steps = []
        while (before := self.came[state]) is not None:
            state, step = before
            steps.append(step)
        return (*self.before, *reversed(steps))


def _begun(model: Explorer, after: Sequence[str]) -> tuple[State, tuple[Step, ...]]:
    """The state after these steps, and the steps.

    Raises:
        UsageError: none of the steps that can happen then is called so.
    """
    state, taken = model.initial, []
    for number, words in enumerate(after, 1):
        ways = [way for step in model.enabled(state) for way in model.follow(state, step)]
        found = next((way for way in ways if words in way[0].text), None)
        if found is None:
            can = "; ".join(sorted({way[0].text for way in ways}))
            raise UsageError(f"after[{number - 1}]: no step is called {words!r}; there are: {can}")
        step, state, _ = found
        taken.append(step)
    return state, tuple(taken)
