"""SimPy: a process for each voter and each message, a store for each inbox."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from benchmarks.peers import DEVIATION, MEAN, Tally


def run(n: int, rounds: int) -> int:
    import simpy

    rng = random.Random(7)
    env = simpy.Environment()
    inboxes = [simpy.Store(env) for _ in range(n)]
    delivered = 0

    def deliver(to: int, sender: int, round: int) -> Iterator[Any]:
        yield env.timeout(max(0.0, rng.gauss(MEAN, DEVIATION)))
        yield inboxes[to].put((sender, round))

    def voter(me: int) -> Iterator[Any]:
        nonlocal delivered
        tally = Tally(n)
        while tally.round < rounds:
            for to in range(n):
                if to != me:
                    env.process(deliver(to, me, tally.round))
            on = tally.take(me, tally.round)
            while not on:
                sender, round = yield inboxes[me].get()
                delivered += 1
                on = tally.take(sender, round)

    for party in range(n):
        env.process(voter(party))
    env.run()
    return delivered
