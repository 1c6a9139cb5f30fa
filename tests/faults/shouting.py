"""A small world for tests of faults: parties that shout at intervals, with no protocol."""

from functools import partial

from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Coins, Node
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.faults.plan import Injection, parse_fault, schedule
from mpclab.worlds.base import Stored
from mpclab.worlds.simulated import SimulatedWorld


class Word(Message, frozen=True):
    number: int
    text: str = "hello"
    approve: bool = True


class Shouter(Machine):
    """Broadcasts `words` numbered words, one each `pause`; remembers what it heard and when."""

    def __init__(self, words: int, pause: int) -> None:
        self.words = words
        self.pause = pause
        self.said = 0
        self.heard: list[tuple[int, Party, Word]] = []

    def start(self, ctx: Ctx) -> None:
        self.said = int(ctx.stored.get("said", b"0"))
        ctx.set_timer("shout", self.pause)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        self.said += 1
        ctx.persist("said", str(self.said).encode())
        ctx.broadcast(Word(self.said))
        if self.said < self.words:
            ctx.set_timer("shout", self.pause)

    def on_message(self, ctx: Ctx, sender: Party, msg: Word) -> None:
        self.heard.append((ctx.now, sender, msg))


def build(party: Party, n: int, words: int, pause: int, coins: Coins, stored: Stored) -> Node:
    return Node(party, n, Shouter(words, pause), coins=coins, stored=stored)


def shouters(
    n: int = 4,
    *,
    words: int = 10,
    pause: int = 100 * MS,
    seed: int = 1,
    network: Network | None = None,
) -> SimulatedWorld:
    world = SimulatedWorld(seed, network or Network(Delay("constant", 10 * MS)))
    for party in range(1, n + 1):
        world.host(party, partial(build, party, n, words, pause))
    return world


def put(world: SimulatedWorld, n: int = 4, **fields: object) -> Injection:
    """Schedule a fault as a scenario would: `put(world, kind="crash", party=2)`."""
    return schedule(parse_fault({k.rstrip("_"): v for k, v in fields.items()}, n), world)


def heard(world: SimulatedWorld, party: Party, sender: Party) -> list[int]:
    """The numbers that `party` heard from `sender`, in order."""
    return [w.number for _, who, w in everything(world, party) if who == sender]


def everything(world: SimulatedWorld, party: Party) -> list[tuple[int, Party, Word]]:
    return world.look(party, _heard)


def _heard(node: Node) -> list[tuple[int, Party, Word]]:
    machine = node.machine(())
    assert isinstance(machine, Shouter)
    return machine.heard
