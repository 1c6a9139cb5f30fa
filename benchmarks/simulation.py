"""Simulated all-to-all votes through real machines with a trace, beside SimPy if it is here."""

from __future__ import annotations

import random
from functools import partial

from benchmarks.measure import Result, heading, median, seconds, show
from mpclab.core import Ctx, Machine, Message, Node, Party
from mpclab.faults.network import Network, parse_delay
from mpclab.worlds.simulated import SimulatedWorld


class Vote(Message):
    op: str
    approve: bool


class AllToAll(Machine):
    """Everyone broadcasts one vote and counts."""

    def __init__(self) -> None:
        self.votes: dict[Party, bool] = {}

    def start(self, ctx: Ctx) -> None:
        ctx.broadcast(Vote("k", True))

    def on_message(self, ctx: Ctx, sender: Party, msg: Vote) -> None:
        self.votes[sender] = msg.approve
        if len(self.votes) == ctx.n:
            ctx.output(len(self.votes))


def _build(party: Party, n: int, coins, stored) -> Node:  # type: ignore[no-untyped-def]
    return Node(party, n, AllToAll(), coins=coins, stored=stored)


def ours(n: int) -> float:
    """Messages delivered per second."""

    def run() -> None:
        world = SimulatedWorld(7, Network(delay=parse_delay("normal(250ms, 50ms)")))
        for party in range(1, n + 1):
            world.host(party, partial(_build, party, n))
        world.run()
        assert world.trace.deliveries == n * (n - 1)

    return n * (n - 1) / seconds(run)


def simpy_rate(n: int) -> float | None:
    """The same votes in SimPy, without a trace: one process a message. None: not installed."""
    try:
        import simpy
    except ImportError:
        return None
    rng = random.Random(7)

    def run() -> None:
        env = simpy.Environment()
        stores = [simpy.Store(env) for _ in range(n)]

        def deliver(to: int):  # type: ignore[no-untyped-def]
            yield env.timeout(max(0.0, rng.gauss(250, 50)))
            yield stores[to].put(True)

        def party(me: int):  # type: ignore[no-untyped-def]
            for other in range(n):
                if other != me:
                    env.process(deliver(other))
            for _ in range(n - 1):
                yield stores[me].get()

        for me in range(n):
            env.process(party(me))
        env.run()

    return n * (n - 1) / seconds(run)


def main() -> None:
    heading("simulated all-to-all vote, real machines, with trace")
    peer = simpy_rate(100)
    show(
        Result(
            "100 parties", median(partial(ours, 100)), "messages/s", 200_000, True, "SimPy", peer
        )
    )
    show(Result("300 parties", median(partial(ours, 300)), "messages/s", None, True))
    show(Result("1000 parties (999 000 messages)", ours(1000), "messages/s", None, True))
