"""Crashes in the middle of a step: what was sent by then is out, what was persisted is kept."""

from functools import partial

import pytest

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Coins, Node
from mpclab.faults.network import Delay, Network
from mpclab.trace import rows
from mpclab.worlds.base import Stored
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.simulated import SimulatedWorld
from tests.faults.shouting import Word, put


class Promiser(Machine):
    """Promises one number in its whole life, whatever happens; or so it says."""

    messages = Word

    def __init__(self, *, persists_first: bool) -> None:
        self.persists_first = persists_first

    def start(self, ctx: Ctx) -> None:
        if kept := ctx.stored.get("promise"):
            ctx.broadcast(Word(int(kept)))
        else:
            ctx.set_timer("promise", 100 * MS)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        number = ctx.rng.randrange(1_000_000)
        if self.persists_first:
            ctx.persist("promise", b"%d" % number)
        ctx.broadcast(Word(number))
        if not self.persists_first:
            ctx.persist("promise", b"%d" % number)
        ctx.remark("promised")

    def on_message(self, ctx: Ctx, sender: Party, msg: Word) -> None:
        pass  # its own


class Listener(Machine):
    messages = Word

    def __init__(self) -> None:
        self.heard: list[int] = []

    def on_message(self, ctx: Ctx, sender: Party, msg: Word) -> None:
        self.heard.append(msg.number)


def build(party: Party, persists_first: bool, coins: Coins, stored: Stored) -> Node:
    machine = Promiser(persists_first=persists_first) if party == 1 else Listener()
    return Node(party, 2, machine, coins=coins, stored=stored)


def promises(seed: int, *, persists_first: bool) -> tuple[list[int], int]:
    """What party 2 heard party 1 promise, and after how many deeds party 1 died."""
    world = SimulatedWorld(seed, Network(Delay("constant", 10 * MS)))
    for party in (1, 2):
        world.host(party, partial(build, party, persists_first))
    put(world, 2, kind="crash", party=1, torn=True, at="50ms", restart_after="200ms")
    world.run()
    assert [f.kind for f in world.trace.of(rows.Fault)] == ["torn-crash"] * 2
    (crashed,) = world.trace.notes("crashed")
    assert crashed.at == 100 * MS  # its next step, not the moment of the fault
    assert crashed.note.wanted == 2
    return world.look(2, _heard), crashed.note.done


def _heard(node: Node) -> list[int]:
    machine = node.machine(())
    assert isinstance(machine, Listener)
    return machine.heard


def test_who_sends_before_it_persists_is_caught_breaking_its_word() -> None:
    runs = [promises(seed, persists_first=False) for seed in range(30)]
    assert {done for _, done in runs} == {0, 1}
    for heard, done in runs:
        assert len(set(heard)) == 1 + done


def test_who_persists_first_keeps_its_word_wherever_it_dies() -> None:
    runs = [promises(seed, persists_first=True) for seed in range(30)]
    assert {done for _, done in runs} == {0, 1}
    assert {len(heard) for heard, _ in runs} == {1}


def test_where_it_dies_follows_from_the_seed() -> None:
    assert promises(7, persists_first=False) == promises(7, persists_first=False)


def test_who_has_nothing_to_do_meanwhile_lives_on() -> None:
    world = SimulatedWorld(1, Network(Delay("constant", 10 * MS)))
    for party in (1, 2):
        world.host(party, partial(build, party, True))
    put(world, 2, kind="crash", party=1, torn=True, at="10ms", restart_after="20ms")
    world.run()
    assert not world.trace.notes("crashed")
    assert len(world.look(2, _heard)) == 1


def test_amnesia_leaves_nothing_of_an_earlier_life_for_a_later_crash_to_find() -> None:
    world = SimulatedWorld(1, Network(Delay("constant", 10 * MS)))
    for party in (1, 2):
        world.host(party, partial(build, party, True))
    world.run()
    world.crash(1)
    world.restart(1, amnesia=True)
    world.crash(1)
    world.restart(1)
    world.run()
    assert [row.key for row in world.trace.of(rows.Persisted)] == ["promise", "promise"]
    assert len(set(world.look(2, _heard))) == 2


def test_a_real_world_says_that_it_cannot_aim_so_well() -> None:
    with WebSocketWorld() as world, pytest.raises(UsageError, match="simulated world alone"):
        world.tear(1)
