"""All-to-all votes through real machines, with a trace: what `benchmarks.simulation` measures.

`python -m benchmarks.votes 4:1500 100:4` runs n = 4 for 1,500 rounds and n = 100 for 4, and prints
a JSON object of messages per second of CPU. It uses little of mpclab, so an older checkout can run
it too: `PYTHONPATH=OLD python benchmarks/votes.py …`.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import Any

import numpy as np  # noqa: F401  imported by a run that draws much: not what is measured here

from mpclab.core import Ctx, Machine, Message, Node, Party
from mpclab.faults.network import Network, parse_delay
from mpclab.worlds.simulated import SimulatedWorld


class Vote(Message):
    round: int
    approve: bool


class AllToAll(Machine):
    """Everyone broadcasts a vote, counts, and goes on to the next round when all are in."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.round = 0
        self.votes: dict[int, dict[Party, bool]] = {}

    def start(self, ctx: Ctx) -> None:
        ctx.broadcast(Vote(0, True))

    def on_message(self, ctx: Ctx, sender: Party, msg: Vote) -> None:
        votes = self.votes.setdefault(msg.round, {})
        votes[sender] = msg.approve
        if msg.round == self.round and len(votes) == ctx.n:
            del self.votes[msg.round]
            self.round += 1
            if self.round < self.rounds:
                ctx.broadcast(Vote(self.round, True))
            else:
                ctx.output(self.round)


def voting_world(n: int, rounds: int, **options: Any) -> SimulatedWorld:
    """`n` parties that are about to vote."""

    def build(party: Party, coins: Any, stored: Any) -> Node:
        return Node(party, n, AllToAll(rounds), coins=coins, stored=stored)

    world = SimulatedWorld(7, Network(delay=parse_delay("normal(250ms, 50ms)")), **options)
    for party in range(1, n + 1):
        world.host(party, partial(build, party))
    return world


def rate(n: int, rounds: int, runs: int = 3) -> float:
    """Messages delivered per second of CPU, the best of some runs."""
    best = 0.0
    for _ in range(runs):
        world = voting_world(n, rounds)
        began = time.process_time()
        world.run()
        took = time.process_time() - began
        assert world.trace.deliveries == n * (n - 1) * rounds
        best = max(best, n * (n - 1) * rounds / took)
    return best


def main(sizes: list[str]) -> None:
    found = {}
    for size in sizes:
        n, rounds = map(int, size.split(":"))
        found[n] = rate(n, rounds, 1 if n > 300 else 3)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
