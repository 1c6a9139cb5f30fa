"""One random trial of a log protocol, all from one number: what soaking repeats.

A trial draws n, delays, loss, crashes, partitions and submits from its seed, runs through them,
heals everything, and then judges: one log, nothing decided twice, no blame of the honest, and
every operation decided everywhere in the end. Mutants of the protocols (no persisted slot, no
check of the last term, no lock) are caught within 1 to 116 of these.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any, NamedTuple

from mpclab.consensus.registry import agreement
from mpclab.core.ids import MS
from mpclab.core.notes import BecameLeader
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import Cluster

LEAST = {"raft": 2}
OPTIONS: dict[str, dict[str, Any]] = {"raft": {"patience": 4_000 * MS, "compaction": 4}}


class Verdict(NamedTuple):
    """What a trial found: "" when all is well."""

    problem: str
    messages: int
    story: str


def trial(name: str, seed: int, patience: int = 1_000 * MS, *, torn: bool = False) -> Verdict:
    """One run of protocol `name`; equal arguments, equal runs. `torn`: crashes fall into steps."""
    draw = random.Random(seed)
    n = draw.randint(LEAST.get(name, 4), 8)
    loss = draw.choice([0.0, 0.0, 0.1, 0.2])
    delay = Delay("uniform", 1 * MS, draw.randint(1, 200) * MS)
    network = Network(delay, loss=loss, ordered=draw.random() < 0.5)
    options: dict[str, Any] = {"patience": patience} | OPTIONS.get(name, {})
    c = Cluster(agreement(name), n, seed=seed, network=network, **options)
    world = c.world
    for _ in range(draw.randint(0, 4)):
        p, at, lasting = draw.randint(1, n), draw.randint(0, 4_000), draw.randint(100, 4_000)
        if draw.random() < 0.5:
            world.at(at * MS, lambda p=p: c.tear(p) if torn else c.crash(p))  # type: ignore[misc]
            world.at((at + lasting) * MS, lambda p=p: c.restart(p))  # type: ignore[misc]
        else:
            world.at(at * MS, lambda p=p: c.cut(range(1, p + 1), range(p + 1, n + 1)))  # type: ignore[misc]
            world.at((at + lasting) * MS, c.heal)
    submits = [(f"op{k}", draw.randint(1, n)) for k in range(draw.randint(1, 20))]
    for op, p in submits:

        def submit(op: str = op, p: int = p) -> None:
            if p in world.actors:
                c.submit(p, op)

        world.at(draw.randint(0, 5_000) * MS, submit)
    problem = ""
    try:
        c.run(9_000)
        c.check_agreement()
        world.network = Network(delay, ordered=network.ordered)
        for op, p in submits:  # what a crash forgot, the coordinator submits again
            c.submit(p, op)
        ended = world.run(lambda: c.all_decided(*(op for op, _ in submits)), limit=3_000_000 * MS)
        c.check_agreement()
        if not ended:
            problem = "it did not end after everything was healed"
        elif c.blamed():
            problem = f"the honest were blamed: {sorted(map(str, c.blamed()))}"
        elif two := leaders_of_one_term(c):
            problem = f"two leaders in one term: {two}"
    except AssertionError as error:
        problem = f"agreement is violated: {error}"
    return Verdict(problem, c.sent().total(), c.story())


def leaders_of_one_term(c: Cluster) -> dict[int, list[int]]:
    """Terms or views with more than one leader, and these."""
    leaders: dict[int, set[int]] = defaultdict(set)
    for row in c.notes("became-leader"):
        if isinstance(note := row.note, BecameLeader):
            leaders[note.view or 0 if note.term is None else note.term].add(row.actor)
    return {term: sorted(who) for term, who in leaders.items() if len(who) > 1}
