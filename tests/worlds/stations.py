"""Small machines for tests of real worlds: a switch that passes notes, and stations that use
every link verb to build a mesh without any of the mesh machine's safeguards."""

from collections.abc import Mapping

from mpclab.core import Ctx, Machine, Message, Node, Party, Path, notes
from mpclab.core.effects import (
    AddCandidates,
    Connect,
    Described,
    HangUp,
    LinkClosed,
    LinkEvent,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    TakeAnswer,
)
from mpclab.core.ids import MS, SERVER
from mpclab.core.node import Coins
from mpclab.worlds.base import Build


class Here(Message, frozen=True):
    party: Party


class There(Message, frozen=True):
    parties: tuple[Party, ...]


class Slip(Message, frozen=True):
    """A description on its way; `to` becomes the sender when the switch passes it on."""

    to: Party
    kind: str
    attempt: int
    sdp: str
    candidates: tuple[str, ...]


class Switch(Machine):
    """The server: tells everyone who is there, and passes slips."""

    codec = "json"

    def __init__(self) -> None:
        self.connections: dict[Party, int] = {}

    def on_message(self, ctx: Ctx, sender: int, msg: Here | Slip) -> None:
        match msg:
            case Here(party):
                self.connections[party] = sender
                ctx.note(notes.Joined(session="test", party=party, connection=sender))
                ctx.multicast(self.connections.values(), There(tuple(sorted(self.connections))))
            case Slip(to, kind, attempt, sdp, candidates):
                source = next(p for p, c in self.connections.items() if c == sender)
                if to in self.connections:
                    ctx.send(self.connections[to], Slip(source, kind, attempt, sdp, candidates))

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        if type(event) is LinkClosed:
            gone = [p for p, c in self.connections.items() if c == event.peer]
            for party in gone:
                del self.connections[party]


class Station(Machine):
    """One party's end of all links: offers to every lower party."""

    codec = "json"

    def __init__(self, dials: bool = True) -> None:
        self.dials = dials
        self.attempts: dict[Party, int] = {}
        self.up: dict[Party, LinkOpened] = {}
        self.down: list[LinkClosed] = []
        self.connected = False

    def start(self, ctx: Ctx) -> None:
        ctx.do(Connect(ctx.path))

    def on_timer(self, ctx: Ctx, name: str) -> None:
        ctx.do(Connect(ctx.path))

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        match event:
            case LinkOpened(_, peer) if peer == SERVER:
                self.connected = True
                ctx.send(SERVER, Here(ctx.me))
            case LinkOpened(_, peer):
                self.up[peer] = event
            case LinkClosed(_, peer):
                self.down.append(event)
                self.up.pop(peer, None)
                if peer == SERVER:
                    self.connected = False
                    ctx.set_timer("again", 20 * MS)
            case Described(_, peer, attempt, kind, sdp, candidates):
                ctx.send(SERVER, Slip(peer, kind, attempt, sdp, candidates))

    def on_message(self, ctx: Ctx, sender: Party, msg: There | Slip) -> None:
        match msg:
            case There(parties):
                for peer in parties:
                    if self.dials and peer < ctx.me and peer not in self.attempts:
                        self.attempts[peer] = 1
                        ctx.do(MakeOffer(ctx.path, peer, 1))
            case Slip(peer, "offer", attempt, sdp, candidates):
                ctx.do(MakeAnswer(ctx.path, peer, attempt, sdp))
                ctx.do(AddCandidates(ctx.path, peer, attempt, candidates))
            case Slip(peer, _, attempt, sdp, candidates):
                ctx.do(TakeAnswer(ctx.path, peer, attempt, sdp))
                ctx.do(AddCandidates(ctx.path, peer, attempt, candidates))

    def on_ask(self, ctx: Ctx, ask: object) -> None:
        if isinstance(ask, HangUp):
            ctx.do(ask)
            self.up.pop(ask.peer, None)


class Say(Message, frozen=True):
    text: str
    data: bytes = b""


class Talk(Machine):
    """The application: says what it is asked to, keeps what it hears, and can be made to fail."""

    def __init__(self) -> None:
        self.heard: list[tuple[Party, str]] = []
        self.ticks = 0

    def start(self, ctx: Ctx) -> None:
        self.coin = ctx.rng.randrange(1_000_000)
        self.lives = int(ctx.stored.get("lives", b"0")) + 1
        ctx.persist("lives", str(self.lives).encode())

    def on_ask(self, ctx: Ctx, ask: object) -> None:
        match ask:
            case Say():
                ctx.broadcast(ask)
            case "tick":
                ctx.set_timer("tick", 5 * MS)
            case "fail":
                raise KeyError("a bug")
            case _:
                from mpclab.core import UsageError

                raise UsageError(f"cannot {ask}")

    def on_timer(self, ctx: Ctx, name: str) -> None:
        self.ticks += 1
        ctx.remark("ticked", coin=ctx.rng.random())

    def on_message(self, ctx: Ctx, sender: Party, msg: Say) -> None:
        if msg.text == "poison":
            raise KeyError("poisoned")
        self.heard.append((sender, msg.text))
        ctx.output(len(self.heard))


class Top(Machine):
    """Station and Talk, side by side."""

    session = "test"

    def __init__(self, dials: bool = True) -> None:
        self.dials = dials

    def start(self, ctx: Ctx) -> None:
        ctx.spawn("signaling", Station(self.dials))
        ctx.spawn("talk", Talk())


TALK: Path = ("talk",)
STATION: Path = ("signaling",)


def switch(coins: Coins, stored: Mapping[Path, Mapping[str, bytes]]) -> Node:
    return Node(SERVER, 0, Switch(), coins=coins, at=STATION, stored=stored)


def party(me: Party, n: int, dials: bool = True) -> Build:
    def build(coins: Coins, stored: Mapping[Path, Mapping[str, bytes]]) -> Node:
        return Node(me, n, Top(dials), coins=coins, stored=stored)

    return build
