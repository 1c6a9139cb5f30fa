"""Who gets a place at the server: newcomers, whatever others do; and for whom a client counts."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from websockets.frames import Frame, Opcode

from mpclab.signaling.messages import Challenge, Join
from mpclab.signaling.rooms import Rooms, build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.trace.tail import TailTrace
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.real.ws_client import first_to_answer
from mpclab.worlds.real.ws_connection import ODD_A_TURN, OUTBOX, Connection
from mpclab.worlds.real.ws_server import ServerSettings
from tests.signaling.bench import joining
from tests.worlds.test_server_socket import Raw, request, self_signed


def serve(**limits: object) -> WebSocketWorld:
    world = WebSocketWorld(server=ServerSettings(**limits))  # type: ignore[arg-type]
    world.host_server(build_server(), port=0)
    return world


def join(raw: Raw, party: int = 1, session: str = "s") -> None:
    """Answer the challenge and wait to be let in."""
    found = raw.until(b"}}")
    challenge = msgspec.json.decode(found[found.index(b'{"type"') : -1], type=Challenge)
    msg: Join = joining(challenge.nonce, party, session=session)
    raw.send(b'{"id":1,"msg":%b}' % msgspec.json.encode(msg))
    raw.until(b'"Welcome"')


@pytest.mark.parametrize("limits", [{"per_address": 3}, {"connections": 3}])
def test_half_open_connections_keep_nobody_out(limits: dict[str, int]) -> None:
    with serve(**limits) as world, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(Raw(world, open=False)).socket.sendall(request()[:30])
        for _ in range(2):
            stack.enter_context(Raw(world))  # open, and joins nothing
        newcomer = stack.enter_context(Raw(world))
        join(newcomer)
        assert world.server_status().refused == 0


def test_who_has_joined_makes_room_for_nobody() -> None:
    with serve(connections=2, per_address=0) as world, Raw(world) as one, Raw(world) as two:
        join(one, 1)
        join(two, 2)
        with Raw(world, open=False) as third:
            assert b" 503 " in third.ended()
        assert world.server_status().refused == 1


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[WebSocketWorld]:
    limits = ServerSettings(connections=50, per_address=3, open_within=0.5)
    with WebSocketWorld(certificate=self_signed(tmp_path), server=limits) as world:
        world.host_server(build_server(), port=0)
        yield world


def test_unfinished_tls_counts_and_ends_in_time(secure: WebSocketWorld) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(Raw(secure, open=False)) for _ in range(8)]
        assert [raw.ended() for raw in idle[:5]] == [b""] * 5  # pushed out by the last three
        server = secure._server
        assert server is not None
        assert secure.call(lambda: len(server._all)) <= 3
        assert [raw.ended() for raw in idle[5:]] == [b""] * 3  # too slow
        assert secure.server_status().accepted == 8


def test_no_tls_and_half_of_it_harm_nobody(secure: WebSocketWorld) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\xff" * 3000):
        with Raw(secure, open=False) as raw:
            raw.socket.sendall(data)
            raw.ended()
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with Raw(secure, open=False) as raw:
        raw.socket = trust.wrap_socket(raw.socket)
        raw.socket.sendall(request())
        assert raw.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
    assert not secure.failures


PROXIED = {
    "one": ({"X-Forwarded-For": "192.0.2.7"}, "192.0.2.7"),
    "what the client wrote itself": ({"X-Forwarded-For": "1.1.1.1, 192.0.2.7"}, "192.0.2.7"),
    "a second proxy of ours": ({"X-Forwarded-For": "192.0.2.7, 10.1.2.3"}, "192.0.2.7"),
    "with a port": ({"X-Forwarded-For": "192.0.2.7:4711"}, "192.0.2.7"),
    "v6": ({"X-Forwarded-For": "2001:db8::7"}, "2001:db8::/64"),
    "v6 elsewhere in the same network": ({"X-Forwarded-For": "2001:DB8::9:1"}, "2001:db8::/64"),
    "v4 written as v6": ({"X-Forwarded-For": "::ffff:192.0.2.7"}, "192.0.2.7"),
    "forwarded": ({"Forwarded": 'for="[2001:db8::7]:80";proto=http'}, "2001:db8::/64"),
    "a quote that the client left open": (
        {"Forwarded": 'for="1.1.1.1;x=", For=192.0.2.7;by=10.1.1.1'}, "192.0.2.7",
    ),
    "both agree": (
        {"Forwarded": "for=192.0.2.7, for=10.1.1.1", "X-Forwarded-For": "1.1.1.1, 192.0.2.7"},
        "192.0.2.7",
    ),
    "a header that the proxy passed on as it was": (
        {"Forwarded": "for=1.1.1.1", "X-Forwarded-For": "192.0.2.7"}, "127.0.0.1",
    ),
    "nothing": ({}, "127.0.0.1"),
    "nonsense": ({"X-Forwarded-For": ", ,"}, "127.0.0.1"),
    "our own proxies alone": ({"X-Forwarded-For": "127.0.0.1, 10.1.2.3"}, "127.0.0.1"),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "origin"), PROXIED.values(), ids=PROXIED.keys())
def test_behind_a_trusted_proxy_the_address_that_it_names_counts(
    headers: dict[str, str], origin: str
) -> None:
    for proxies in (("127.0.0.1", "10.0.0.0/8"), ()):
        with serve(proxies=proxies) as world, Raw(world, **headers):
            server = world._server
            assert server is not None
            assert server._origins == {origin if proxies else "127.0.0.1": 1}


def test_a_proxy_of_ipv4_is_known_where_both_families_are_listened_at() -> None:
    with WebSocketWorld(server=ServerSettings(proxies=("127.0.0.1",))) as world:
        world.host_server(build_server(), "::", 0)
        with Raw(world, **{"X-Forwarded-For": "192.0.2.7"}):
            assert world._server is not None
            assert world._server._origins == {"192.0.2.7": 1}


@pytest.mark.parametrize(
    "forge",
    [
        lambda turn: {},
        lambda turn: {"Forwarded": f"for=1.1.1.{turn}", "X-Forwarded-For": "192.0.2.7"},
        lambda turn: {"X-Forwarded-For": f"2001:db8::{turn}:7"},
    ],
    ids=["no header", "a forged header", "many addresses of one network"],
)
def test_nobody_behind_a_proxy_comes_as_many(forge: Callable[[int], dict[str, str]]) -> None:
    with (
        serve(proxies=("127.0.0.1",), per_address=2) as world,
        contextlib.ExitStack() as stack,
    ):
        for turn in (1, 2):
            join(stack.enter_context(Raw(world, **forge(turn))), 1, f"s{turn}")
        with Raw(world, open=False) as third:
            third.socket.sendall(request(**forge(3)))
            assert b" 503 " in third.until(b"\r\n")
        join(stack.enter_context(Raw(world, **{"X-Forwarded-For": "192.0.2.99"})), 1, "else")
        assert world._server is not None
        assert sum(world._server._origins.values()) == 3


def test_each_address_behind_a_proxy_has_its_own_share() -> None:
    with (
        serve(proxies=("127.0.0.1",), per_address=2) as world,
        contextlib.ExitStack() as stack,
    ):
        for party, last in enumerate((1, 1, 2, 2), 1):
            raw = stack.enter_context(Raw(world, **{"X-Forwarded-For": f"192.0.2.{last}"}))
            join(raw, 1, f"s{party}")
        with Raw(world, open=False) as fifth:
            fifth.socket.sendall(request(**{"X-Forwarded-For": "192.0.2.1"}))
            assert b" 503 " in fifth.until(b"\r\n")


STATUS = [
    ("localhost:8080", None, 200), ("127.0.0.1", None, 200), ("[::1]:80", None, 200),
    ("server", None, 200), ("sig.example.org", None, 200), ("SIG.example.org:8080", None, 200),
    ("sig.example.org", "https://ours.example.org", 200),
    ("evil.example", None, 403), ("localhost.evil.example", None, 403),
    ("localhost", "https://evil.example", 403), ("127.0.0.1", "null", 403),
]  # fmt: skip


@pytest.mark.parametrize(("host", "origin", "code"), STATUS)
def test_status_is_not_for_pages_of_other_names(host: str, origin: str | None, code: int) -> None:
    ours = {"names": ("sig.example.org",), "origins": ("https://ours.example.org",)}
    with serve(**ours) as world, Raw(world, open=False) as raw:
        more = f"Origin: {origin}\r\n" if origin else ""
        raw.socket.sendall(f"GET /status HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
        assert raw.until(b"\r\n").split()[1] == str(code).encode()


def test_what_frames_cost_slows_their_sender_and_nobody_else() -> None:
    """Pings, pongs and empty fragments count like messages: 200 a second, after a burst."""
    limits = {"rate": 200, "bytes_a_second": 1 << 20, "per_address": 0}
    with serve(**limits) as world, Raw(world) as flooder, Raw(world) as honest:
        server = world._server
        assert server is not None
        for frames in (b"\x89\x80abcd", b"\x8a\x80abcd", b"\x01\x80abcd" + b"\x00\x80abcd"):
            flooder.socket.sendall(frames * 400)
        honest.send(b"are you there", Opcode.PING)
        assert honest.until(b"are you there")

        def paused() -> list[bool]:
            honest.send(b"still", Opcode.PING)
            assert honest.until(b"still")
            return sorted(c._paused for c in server._all)

        assert [False, True] in (paused() for _ in range(100))


def test_a_name_whose_first_address_is_dead_is_reached_by_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dial(port: int) -> int:
        loop = asyncio.get_running_loop()

        async def found(*_: object, **__: object) -> list[object]:
            kind = socket.SOCK_STREAM
            return [
                (socket.AF_INET, kind, 0, "", ("192.0.2.1", port)),  # of no machine (RFC 5737)
                (socket.AF_INET, kind, 0, "", ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(loop, "getaddrinfo", found)
        with await asyncio.wait_for(first_to_answer("two.example", port), 3) as sock:
            return int(sock.getpeername()[1])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert asyncio.run(dial(port)) == port


def test_frames_after_a_refused_one_are_taken_apart_little_by_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its client does not answer the close, and goes on sending: 40,000 empty messages a read."""
    sizes: list[int] = []
    feed = Connection._feed

    def seen(connection: Connection, data: bytes) -> None:
        sizes.append(len(data))
        feed(connection, data)

    with serve(close_within=1.0) as world, Raw(world) as flooder, Raw(world) as honest:
        monkeypatch.setattr(Connection, "_feed", seen)
        flooder.send(b"\x00\x01", Opcode.BINARY)
        with contextlib.suppress(OSError):  # it is cut off in the midst of it
            flooder.socket.sendall(b"\x81\x80abcd" * 400_000)
        for _ in range(1000):
            honest.send(b"still", Opcode.PING)
            assert honest.until(b"still")
            if len(sizes) > 10:
                break
        assert len(sizes) > 10
        assert max(sizes) <= ODD_A_TURN


@pytest.mark.parametrize("traced", [False, True])
def test_a_writer_is_told_when_its_reader_has_no_room(traced: bool) -> None:
    limits = ServerSettings(stuck_after=60.0, per_address=0, bytes_a_second=1 << 30)
    rooms = RoomsSettings(rate=1_000_000, burst=1_000_000)
    trace = None if traced else TailTrace()
    with WebSocketWorld(server=limits, trace=trace) as world:
        world.host_server(build_server(rooms), port=0)
        with Raw(world) as writer, Raw(world, buffer=4096) as reader, Raw(world) as witness:
            for party, raw in enumerate((writer, reader, witness), 1):
                join(raw, party)
            payload = b'"%b"' % (b"x" * 60_000)
            envelope = b'{"type":"Envelope","to":2,"payload":%b}' % payload
            relay = b'{"id":2,"msg":{"type":"Relay","envelopes":[%b]}}' % envelope
            for _ in range(3 * OUTBOX // len(payload)):
                writer.send(relay)
            writer.until(b'{"type":"LeftOut","to":2}')
            writer.send(relay.replace(b'"to":2', b'"to":3'))  # and speaks on to the others
            witness.until(payload)
            left_out = world.server_status().left_out
            assert left_out > 0
            writer.socket.sendall(Frame(Opcode.PING, b"end").serialize(mask=True))
            told = writer.until(b"end").count(b'"LeftOut"')
            assert told < left_out, "once a second, not for each"


def test_who_left_the_room_is_no_news_to_its_writers() -> None:
    machine = Rooms()
    assert machine.left_out(1, 2, 0) is None
