"""Whole parties over real sockets: they meet, link up, talk, and survive what breaks."""

import contextlib
import random
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from mpclab.core import MS, Ctx, Machine, Message, Party
from mpclab.core.ids import SERVER
from mpclab.crypto.identity import Identity
from mpclab.signaling.client import ClientSettings
from mpclab.signaling.party import PartyConfig, build_party
from mpclab.signaling.peer_link import MeshSettings
from mpclab.signaling.rooms import build_server
from mpclab.trace import rows
from mpclab.worlds.base import Build
from mpclab.worlds.real.webrtc import WebRTCWorld
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.real.ws_server import ServerSettings
from mpclab.worlds.recording import replay
from tests.worlds.test_real_host import LIMIT
from tests.worlds.test_server_socket import GARBAGE, Raw

WORLDS = {"websocket": WebSocketWorld, "webrtc": WebRTCWorld}
APP = ("app",)


class Hello(Message, frozen=True):
    round: int


class Greet(Machine):
    """Everyone greets everyone whenever its user says so."""

    def __init__(self) -> None:
        self.heard: dict[int, set[Party]] = {}

    def on_ask(self, ctx: Ctx, ask: object) -> None:
        if isinstance(ask, int):
            ctx.broadcast(Hello(ask))

    def on_message(self, ctx: Ctx, sender: Party, msg: Hello) -> None:
        heard = self.heard.setdefault(msg.round, set())
        heard.add(sender)
        if len(heard) == ctx.n:
            ctx.output(msg.round)


def member(me: Party, n: int, *, direct: bool) -> Build:
    config = PartyConfig(
        "real", me, n, min(2, n), "unanimous", Identity.from_seed(bytes([me]) * 32),
        client=replace(ClientSettings(), first_backoff=30 * MS, longest_backoff=200 * MS),
        mesh=replace(MeshSettings(direct=direct), first_backoff=50 * MS, longest_backoff=400 * MS),
    )  # fmt: skip
    return build_party(config, lambda config: Greet())


class Lab:
    """A server and n parties of one session."""

    def __init__(self, world: WebSocketWorld, n: int) -> None:
        self.world = world
        self.parties = tuple(range(1, n + 1))
        self.direct = isinstance(world, WebRTCWorld)
        world.host_server(build_server(), port=0)
        for p in self.parties:
            world.host(p, member(p, n, direct=self.direct))

    def until(self, what: Callable[[], bool]) -> None:
        assert self.world.run(what, limit=LIMIT), f"in vain: {list(self.world.trace)[-30:]}"

    def ready(self) -> bool:
        via = "link" if self.direct else "relay"
        return all(
            self.world.look(p, lambda node: [*node.machine(()).up.values()])
            == [via] * (len(self.parties) - 1)
            and self.world.look(p, lambda node: node.machine(APP) is not None)
            for p in self.parties
        )

    def greet(self, round: int) -> None:
        """Everyone greets everyone; ends when all have heard all."""
        for p in self.parties:
            self.world.ask(p, APP, round)
        self.until(
            lambda: all(
                self.world.look(p, lambda node: node.machine(APP).heard.get(round, set()))
                == set(self.parties)
                for p in self.parties
            )
        )


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("kind", WORLDS)
def test_parties_meet_and_greet(kind: str, n: int) -> None:
    with WORLDS[kind](record=True) as world:
        lab = Lab(world, n)
        lab.until(lab.ready)
        lab.greet(1)
        sent = world.trace.sent()
        for row in world.trace.of(rows.Delivered):
            assert (row.sender, row.id) in sent
        assert not list(world.trace.of(rows.Blamed))
        assert not world.failures
        vias = {row.via for row in world.trace.of(rows.Sent) if row.kind == "Hello"}
        assert vias == {"link" if lab.direct else "relay"}
        names = {row.note.party for row in world.trace.notes("joined")}
        assert names == set(lab.parties)
    for actor, incarnations in world.recordings.items():
        build = member(actor, n, direct=lab.direct) if actor else build_server()
        for incarnation in incarnations:
            assert replay(incarnation, build) is None


def test_the_mesh_outlives_the_server() -> None:
    with WebRTCWorld() as world:
        lab = Lab(world, 3)
        lab.until(lab.ready)
        world.stop_server(kill=True)
        lab.greet(1)
        world.restart_server()
        lab.until(
            lambda: all(world.look(p, lambda node: node.machine(()).joined) for p in lab.parties)
        )
        lab.greet(2)
        assert not world.failures


@pytest.mark.parametrize("kind", WORLDS)
def test_a_party_crashes_and_comes_back(kind: str) -> None:
    with WORLDS[kind]() as world:
        lab = Lab(world, 3)
        lab.until(lab.ready)
        lab.greet(1)
        world.crash(2)
        world.restart(2)
        lab.until(lambda: world.look(2, lambda node: node.machine(APP) is not None))
        lab.until(lab.ready)
        lab.greet(2)
        assert not world.failures


@pytest.mark.parametrize("kind", WORLDS)
def test_garbage_at_the_server_disturbs_no_session(kind: str) -> None:
    """Random bytes, wrong JSON, wrong types, oversize, wrong order, slow and half-open clients."""
    texts = [
        b"{}",
        b"[" * 5000,
        b'{"id":1,"msg":{"type":"Relay","envelopes":[{"to":1,"payload":1}]}}',
        b'{"id":1,"msg":{"type":"Join","session":"real","party":1}}',
        b'{"id":1,"msg":{"type":"Nonsense"}}',
        b'{"id":2,"msg":{"type":"Leave"}}',
        b'{"id":3,"msg":7}',
        b'{"id":1,"msg":' + b'"' + b"x" * 70_000 + b'"}',
        random.Random(7).randbytes(300),
    ]

    def attack(world: WebSocketWorld) -> int:
        done = 0
        with contextlib.ExitStack() as open_for_long:
            for _ in range(5):
                open_for_long.enter_context(Raw(world, open=False))  # never says anything
                open_for_long.enter_context(Raw(world))  # never answers the challenge
            for data in GARBAGE.values():
                with Raw(world, open=False) as raw, contextlib.suppress(OSError):
                    raw.socket.sendall(data)
                    raw.socket.shutdown(socket.SHUT_WR)
                    raw.ended()
                done += 1
            for text in texts:
                with Raw(world) as raw, contextlib.suppress(OSError):
                    raw.send(text)
                    raw.ended()
                done += 1
        return done

    limits = ServerSettings(open_within=0.3, close_within=0.3, per_address=0)
    with WORLDS[kind](server=limits) as world:
        lab = Lab(world, 3)
        lab.until(lab.ready)
        before = world.server_status().errors
        with ThreadPoolExecutor(1) as pool:
            attacking = pool.submit(attack, world)
            round = 0
            while not attacking.done():
                round += 1
                lab.greet(round)
            assert attacking.result() == len(GARBAGE) + len(texts)
        lab.greet(round + 1)
        assert round > 0
        assert world.server_status().errors > before
        joined = [row.note.party for row in world.trace.notes("joined")]
        assert sorted(joined) == [1, 2, 3]  # nobody had to come back
        assert not world.failures
        assert SERVER in world.actors


def test_two_processes_worth_of_worlds_meet_at_one_server() -> None:
    """A world without a server of its own uses another's, by url."""
    with WebRTCWorld() as here:
        here.host_server(build_server(), port=0)
        with WebRTCWorld(url=here.server_url) as there:
            here.host(1, member(1, 2, direct=True))
            there.host(2, member(2, 2, direct=True))
            assert here.run(
                lambda: here.look(1, lambda node: node.machine(()).up) == {2: "link"}, limit=LIMIT
            )
            assert there.run(
                lambda: there.look(2, lambda node: node.machine(APP) is not None), limit=LIMIT
            )
            here.ask(1, APP, 1)
            there.ask(2, APP, 1)
            assert here.run(
                lambda: here.look(1, lambda node: node.machine(APP).heard) == {1: {1, 2}},
                limit=LIMIT,
            )
            assert {row.actor for row in here.trace.of(rows.Delivered)} == {0, 1}
            assert {row.sender for row in here.trace.of(rows.Delivered) if not row.actor} >= {1, 2}
