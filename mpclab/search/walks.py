"""`walk`: many random runs, where there are too many orders to try them all.

Each run gives every event a random priority and always lets the highest happen; at `changes`
random places the one that is next in line is put last instead. A mistake that needs d events in
one order among k is found by a run with probability at least 1/(n k^(d−1)), whatever else happens
(Burckhardt, Kothari, Musuvathi and Nagarakatti, "A randomized scheduler with probabilistic
guarantees of finding bugs", ASPLOS 2010, §3: n threads are our parties).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mpclab.consensus.agreement import Agreement
from mpclab.core.ids import Party
from mpclab.lab.scenario import Scenario
from mpclab.model.explorer import Explorer
from mpclab.model.fair import FairEnd
from mpclab.model.states import Step
from mpclab.search.counterexample import Counterexample, counterexample
from mpclab.search.subject import subject


@dataclass(frozen=True)
class Walks:
    """The result of random runs; `run` is the number of the one that broke a promise."""

    protocol: str
    runs: int
    events: int
    decided: int
    seconds: float
    counterexample: Counterexample | None
    run: int | None = None

    def __str__(self) -> str:
        words = (
            f"{self.protocol}: {self.runs:,} random runs, {self.events:,} events, "
            f"{self.decided:,} runs with a decision"
        )
        return f"{words}\n{self.counterexample}" if self.counterexample else f"{words}; no problem"


def walk(
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
    runs: int = 1000,
    depth: int = 200,
    changes: int = 3,
    fair: bool = False,
    seed: int = 1,
    seconds: float = 60.0,
    progress: Callable[[int], bool | None] = lambda runs: None,
    **options: Any,
) -> Walks:
    """Try `runs` random orders of events, of at most `depth` events each.

    Args:
        changes: how often the event that is next in line is put last: d − 1 for mistakes that
            need d events in one order.
        fair: after each run, let everything go well, and see whether all comes to its end.
        progress: called with the number of runs so far; `False` cancels.
        (the others as of `explore`)
    """
    asked = subject(
        what, parties=parties, submits=submits, losses=losses, timers=timers, crashes=crashes,
        repeats=repeats, torn=torn, liars=liars, options=options,
    )  # fmt: skip
    model = asked.model(exact=True)
    name = asked.protocol.__name__
    began, events, decided = time.process_time(), 0, 0
    for number in range(runs):
        spent = time.process_time() - began
        if spent > seconds or progress(number) is False:
            return Walks(name, number, events, decided, spent, None)
        walked = _one(model, random.Random(f"{seed} {number}"), depth, changes, fair)
        events += len(walked.steps)
        decided += walked.decided
        if walked.problem:
            found = counterexample(asked, model, walked.steps, fairly=walked.fairly)
            spent = time.process_time() - began
            return Walks(name, number + 1, events, decided, spent, found, number)
    return Walks(name, runs, events, decided, time.process_time() - began, None)


class _Walked(NamedTuple):
    steps: tuple[Step, ...]
    problem: str
    decided: bool
    fairly: bool = False


def _one(model: Explorer, draw: random.Random, depth: int, changes: int, fair: bool) -> _Walked:
    state, steps = model.initial, []
    priority: dict[Step, float] = {}
    put_last = {draw.randrange(depth) for _ in range(changes)}
    for place in range(depth):
        choices = list(model.enabled(state))
        if not choices:
            break
        for choice in choices:
            priority.setdefault(choice, draw.random())
        if place in put_last:
            first = max(choices, key=priority.__getitem__)
            priority[first] = -place  # below everything that came before
        chosen = max(choices, key=priority.__getitem__)
        del priority[chosen]  # the same event another time is another event
        ways = list(model.follow(state, chosen))
        step, state, _ = ways[0] if len(ways) == 1 else draw.choice(ways)
        steps.append(step)
        if problem := model.problem(state):
            return _Walked(tuple(steps), problem, True)
    problem = FairEnd(model, state).run() if fair else ""
    return _Walked(tuple(steps), problem, model.has_decided(state), bool(problem))
