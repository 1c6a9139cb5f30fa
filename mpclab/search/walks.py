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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpclab.consensus.agreement import Agreement
from mpclab.core.ids import Party
from mpclab.search.explore import Counterexample
from mpclab.search.model import Explorer, Step
from mpclab.search.telling import trace_of


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
    protocol: type[Agreement],
    *,
    parties: int = 3,
    submits: Mapping[Party, str] | None = None,
    losses: int = 0,
    timers: int = 0,
    crashes: int = 0,
    torn: bool = False,
    liars: frozenset[Party] | set[Party] = frozenset(),
    runs: int = 1000,
    depth: int = 200,
    changes: int = 3,
    seed: int = 1,
    seconds: float = 60.0,
    progress: Callable[[int], bool | None] = lambda runs: None,
    **options: Any,
) -> Walks:
    """Try `runs` random orders of events, of at most `depth` events each.

    Args:
        changes: how often the event that is next in line is put last: d − 1 for mistakes that
            need d events in one order.
        progress: called with the number of runs so far; `False` cancels.
        (the others as of `explore`)
    """
    model = Explorer(
        protocol, parties, submits or {1: "a"}, losses=losses, timers=timers, crashes=crashes,
        torn=torn, liars=frozenset(liars), options=options,
    )  # fmt: skip
    began, events, decided = time.process_time(), 0, 0
    for number in range(runs):
        if time.process_time() - began > seconds or progress(number) is False:
            return Walks(
                protocol.__name__, number, events, decided, time.process_time() - began, None
            )
        steps, problem, gave = _one(model, random.Random(f"{seed} {number}"), depth, changes)
        events += len(steps)
        decided += gave
        if problem:
            found = Counterexample(problem, steps, trace_of(model, steps))
            spent = time.process_time() - began
            return Walks(protocol.__name__, number + 1, events, decided, spent, found, number)
    return Walks(protocol.__name__, runs, events, decided, time.process_time() - began, None)


def _one(
    model: Explorer, draw: random.Random, depth: int, changes: int
) -> tuple[tuple[Step, ...], str, bool]:
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
        step, state, done = ways[0] if len(ways) == 1 else draw.choice(ways)
        steps.append(step)
        problem = model.problem(state, done, step.party)
        if problem:
            return tuple(steps), problem, True
    return tuple(steps), "", model.has_decided(state)
