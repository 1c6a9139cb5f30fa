"""Quick ways change nothing: the same rows in the same order as without them, on random runs."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Coins, Node
from mpclab.core.wire import Message
from mpclab.faults.network import Network, parse_delay
from mpclab.lab import Scenario, play
from mpclab.testing import experiments
from mpclab.worlds.base import Stored
from mpclab.worlds.simulated import SimulatedWorld
from mpclab.worlds.simulated import network as network_module
from tests.worlds.plain import plain_world

SEEDS = range(6)
FEWER = {"bullshark": 3}
"""Of those whose runs are of many messages."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a handler that raises undoes all is another matter, and slow to look at."""
    monkeypatch.setattr(Node, "strict", False)


def _digest(scenario: Scenario) -> str:
    return play(scenario).trace.digest()


@pytest.mark.parametrize("protocol", AGREEMENTS)
def test_scenarios_run_alike_without_the_quick_ways(protocol: str) -> None:
    for seed in range(FEWER.get(protocol, SEEDS.stop)):
        drawn = replace(experiments.draw(seed, protocol), checks=())
        for scenario in (drawn, replace(drawn, mesh="negotiated")) if seed < 2 else (drawn,):
            with plain_world():
                plain = _digest(scenario)
            assert _digest(scenario) == plain, (protocol, seed, scenario.mesh)


# --- machines that do everything at random ------------------------------------------------------


class Words(Message, frozen=True):
    round: int
    aside: bool = False


class Chatter(Machine):
    """Rounds of broadcasts, and asides, timers and records as its coins say."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.heard: dict[int, int] = {}

    def start(self, ctx: Ctx) -> None:
        ctx.broadcast(Words(0))

    def on_message(self, ctx: Ctx, sender: Party, msg: Words) -> None:
        if msg.aside:
            return
        coin = ctx.rng.random()
        if coin < 0.1:
            ctx.send(ctx.rng.randint(1, ctx.n), Words(msg.round, True))
        elif coin < 0.15:
            ctx.multicast(ctx.rng.sample(ctx.members, min(3, ctx.n)), Words(msg.round, True))
        elif coin < 0.2:
            late = ctx.rng.randint(0, 400) * MS
            ctx.set_timer(f"aside {coin < 0.17}", late, background=coin < 0.16)
        self.heard[msg.round] = heard = self.heard.get(msg.round, 0) + 1
        if heard == ctx.n - 1 and msg.round < self.rounds:
            ctx.broadcast(Words(msg.round + 1))

    def on_timer(self, ctx: Ctx, name: str) -> None:
        ctx.persist(name, b"once")
        ctx.broadcast(Words(0, True))
        ctx.output(ctx.now)


LINKS = (
    ("normal(250ms, 50ms)", {}),
    ("uniform(1ms, 30ms)", {"loss": 0.05}),
    ("5ms", {"ordered": False}),
    ("exponential(20ms)", {"bandwidth": 100_000}),
    ("pareto(1ms, 1.2)", {"ordered": False, "loss": 0.2, "bandwidth": 20_000}),
)


def _chat(n: int, links: int) -> str:
    delay, others = LINKS[links]
    network = Network(delay=parse_delay(delay), **others)  # type: ignore[arg-type]
    world = SimulatedWorld(7 * n + links, network)

    def build(party: Party, coins: Coins, stored: Stored) -> Node:
        return Node(party, n, Chatter(6 if n < 20 else 1), coins=coins, stored=stored)

    for party in range(1, n + 1):
        world.host(party, partial(build, party))
    coin = random.Random(n * links)
    for _ in range(8):
        world.run(limit=coin.randint(1, 200) * MS)
        party = coin.choice(world.actors or (0,))
        match coin.randrange(6) if party else -1:
            case 0:
                world.crash(party)
                world.at(world.now + 50 * MS, partial(world.restart, party))
            case 1:
                world.slow(party, coin.choice((0, 100)))
            case 2:
                world.skew(party, coin.randint(-50, 50) * MS, coin.uniform(-0.1, 0.1))
            case 3:
                world.pause(party)
            case 4:
                world.resume(party)
            case 5:
                world.tear(party)
    world.run(limit=5 * SECOND)
    return world.trace.digest()


@pytest.mark.parametrize("n", [2, 4, 9, network_module.FEW + 2])
def test_machines_that_do_everything_run_alike_on_all_links(n: int) -> None:
    for links in range(len(LINKS)):
        with plain_world():
            plain = _chat(n, links)
        assert _chat(n, links) == plain, (n, links)


def test_when_draws_are_made_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NumPy from the first, all thrown away again and again, and none made ahead."""
    usual = _chat(4, 1)
    monkeypatch.setattr(network_module, "ALONE", 0)
    assert _chat(4, 1) == usual
    monkeypatch.setattr(network_module, "KEPT", 40)
    assert _chat(4, 1) == usual
    monkeypatch.setattr(network_module, "ALONE", 10**9)
    assert _chat(4, 1) == usual


# --- other processes ------------------------------------------------------------------------------

RUNS = """
from dataclasses import replace
from mpclab.consensus.registry import AGREEMENTS
from mpclab.lab import play
from mpclab.testing import experiments
print(len(AGREEMENTS))  # of the house; other tests may have loaded more here
for protocol in AGREEMENTS:
    for seed in range(2):
        drawn = replace(experiments.draw(seed, protocol), checks=(), mesh="negotiated")
        print(protocol, seed, play(drawn).trace.digest())
"""


def test_scenarios_do_not_depend_on_the_hash_seed() -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RUNS],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "2")
    ]
    first, second = (process.communicate(timeout=100)[0] for process in running)
    number, *digests = first.splitlines()
    assert len(digests) == 2 * int(number)
    assert first == second
