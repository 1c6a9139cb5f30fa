"""What the signaling tests share: identities, one server or client alone, whole meshes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import msgspec

from mpclab.core import Frame, Machine, Message, Node
from mpclab.core.effects import (
    Delivered,
    Effect,
    LinkClosed,
    LinkOpened,
    Note,
    Send,
    Started,
    TimerFired,
)
from mpclab.core.ids import Path
from mpclab.core.notes import AnyNote, word_of
from mpclab.crypto import Identity
from mpclab.faults.network import Network
from mpclab.signaling.mesh import Mesh
from mpclab.signaling.messages import (
    JOIN_LABEL,
    PRESENCE_LABEL,
    Challenge,
    Join,
    join_parts,
    presence_parts,
)
from mpclab.signaling.party import MESH, PartyConfig, build_party
from mpclab.signaling.peer_link import MeshSettings
from mpclab.signaling.rooms import PATH, Rooms, build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.trace import rows
from mpclab.worlds.simulated import SimulatedWorld


def identity(party: int) -> Identity:
    return Identity.from_seed(b"party %06d" % party + b"." * 20)


def coins(path: Path) -> random.Random:
    return random.Random("/".join(path))


def sends(effects: list[Effect]) -> list[tuple[tuple[int, ...], Message | None]]:
    return [(e.to, e.frame.msg) for e in effects if isinstance(e, Send)]


def of(effects: list[Effect], kind: type[Any]) -> list[Any]:
    return [e for e in effects if isinstance(e, kind)]


class Server:
    """`Rooms` alone: connections by hand, what it says by value."""

    def __init__(
        self,
        settings: RoomsSettings | None = None,
        stored: Mapping[Path, Mapping[str, bytes]] | None = None,
    ) -> None:
        self.rooms = Rooms(settings)
        self.node = Node(0, 0, self.rooms, at=PATH, coins=coins, stored=stored)
        self.now = 0
        self.ids = 0
        self.nonces: dict[int, bytes] = {}
        self.node.step(Started(), 0)

    def connect(self, connection: int, origin: str = "") -> list[Effect]:
        effects = self.node.step(LinkOpened(PATH, connection, origin=origin), self.now)
        for _, msg in sends(effects):
            if isinstance(msg, Challenge):
                self.nonces[connection] = msg.nonce
        return effects

    def disconnect(self, connection: int) -> list[Effect]:
        return self.node.step(LinkClosed(PATH, connection, reason="connection lost"), self.now)

    def bytes(self, connection: int, body: bytes) -> list[Effect]:
        self.ids += 1
        frame = Frame(self.ids, PATH, body=body, codec="json")
        return self.node.step(Delivered(connection, frame), self.now)

    def say(self, connection: int, msg: Message) -> list[Effect]:
        return self.bytes(connection, msgspec.json.encode(msg))

    def fire(self, name: str, now: int) -> list[Effect]:
        self.now = now
        return self.node.step(TimerFired(PATH, name), now)

    def join(
        self, connection: int, party: int, *, origin: str = "", **changes: Any
    ) -> list[Effect]:
        self.connect(connection, origin)
        return self.say(connection, joining(self.nonces[connection], party, **changes))


def joining(nonce: bytes, party: int, *, key: Identity | None = None, **changes: Any) -> Join:
    """A properly signed Join of `party` in session "s" of 3; `changes` are signed as well."""
    who = key or identity(party)
    fields: dict[str, Any] = {
        "session": "s", "party": party, "n": 3, "t": 2, "policy": "unanimous",
        "key": who.public, "incarnation": b"%016d" % party, "epoch": 1, "mode": "either",
    } | changes  # fmt: skip
    if "presence" not in fields:
        parts = presence_parts(fields["session"], party, fields["incarnation"], fields["epoch"])
        fields["presence"] = who.sign(PRESENCE_LABEL, *parts)
    unsigned = Join(signature=b"", **fields)
    signature = who.sign(JOIN_LABEL, *join_parts(nonce, unsigned))
    return msgspec.structs.replace(unsigned, signature=signature)


# --- whole meshes in simulated time -------------------------------------------------------


class Hi(Message, frozen=True):
    text: str


class Shout(msgspec.Struct, frozen=True):
    """Ask of a `Greeter`: say this to everyone."""

    text: str


class Greeter(Machine):
    """Says hello whenever somebody comes up; remembers whom it heard, and how often."""

    def __init__(self) -> None:
        self.heard: dict[int, int] = {}
        self.texts: set[int] = set()
        self.news: list[Any] = []

    def on_ask(self, ctx: Any, ask: Any) -> None:
        if isinstance(ask, Shout):
            ctx.multicast(ctx.others, Hi(ask.text))
            return
        self.news.append(ask)
        if type(ask).__name__ == "PeerUp":
            ctx.send(ask.party, Hi("x" * 10))

    def on_message(self, ctx: Any, sender: int, msg: Hi) -> None:
        self.heard[sender] = self.heard.get(sender, 0) + 1
        self.texts.add(len(msg.text))


class Eager(Greeter):
    starts = "joined"


def config(party: int, n: int, **changes: Any) -> PartyConfig:
    return PartyConfig("s", party, n, 1, "unanimous", identity(party), **changes)


def city(
    n: int, *, seed: int = 1, server: Any = None, network: Network | None = None,
    mesh: MeshSettings | None = None, app: type[Machine] = Greeter, **changes: Any,
) -> SimulatedWorld:  # fmt: skip
    """A simulated world with a server and n parties."""
    world = SimulatedWorld(seed, network)
    world.host_server(server or build_server())
    for party in range(1, n + 1):
        settings = config(party, n, mesh=mesh or MeshSettings(), **changes)
        world.host(party, build_party(settings, lambda _: app()))
    return world


def vias(world: SimulatedWorld, n: int) -> set[str]:
    """How frames travel between the parties that are up, over all pairs."""
    return {via for p in living(world, n) for q, via in routes(world, p).items() if q != p}


def living(world: SimulatedWorld, n: int) -> list[int]:
    return [p for p in range(1, n + 1) if p in world.actors]


def routes(world: SimulatedWorld, party: int) -> dict[int, str]:
    mesh: Mesh = world.look(party, lambda node: node.machine(MESH))
    return {link.party: link.via for link in mesh.links.values()}


def app_of(world: SimulatedWorld, party: int) -> Greeter:
    return world.look(party, lambda node: node.machine(("app",)))


def all_up(world: SimulatedWorld, n: int, via: str = "link") -> bool:
    return vias(world, n) == {via}


def blames(world: SimulatedWorld) -> list[rows.Blamed]:
    return list(world.trace.of(rows.Blamed))


def notes(effects: list[Effect], what: str) -> list[AnyNote]:
    return [e.note for e in effects if isinstance(e, Note) and word_of(e.note) == what]
