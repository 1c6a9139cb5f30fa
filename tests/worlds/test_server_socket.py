"""The server's sockets: what no client may do to another, whatever bytes it sends."""

import base64
import contextlib
import os
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from mpclab.core import Ctx, Machine, Message, Node, UsageError
from mpclab.core.ids import SERVER
from mpclab.core.node import Coins
from mpclab.trace import rows
from mpclab.worlds.base import Stored
from mpclab.worlds.real.websocket import WebSocketWorld, from_text
from mpclab.worlds.real.ws_connection import OUTBOX
from mpclab.worlds.real.ws_server import ServerSettings
from tests.worlds.stations import STATION, Here, party, switch
from tests.worlds.test_real_host import LIMIT

DEADLINE = 10.0


class Echo(Machine):
    """A server that tells everyone what anyone says."""

    codec = "json"

    def __init__(self) -> None:
        self.connections: list[int] = []

    def on_link(self, ctx: Ctx, event: object) -> None:
        number = event.peer  # type: ignore[attr-defined]
        if type(event).__name__ == "LinkOpened":
            self.connections.append(number)
        else:
            self.connections.remove(number)

    def on_message(self, ctx: Ctx, sender: int, msg: "Word") -> None:
        ctx.multicast([c for c in self.connections if c != sender], msg)
        if msg.answer:
            ctx.send(sender, msg)


class Word(Message, frozen=True):
    text: str
    answer: bool = True


def echo(coins: Coins, stored: Stored) -> Node:
    return Node(SERVER, 0, Echo(), coins=coins, at=STATION, stored=stored)


class Raw:
    """A client made of a bare socket, that can do anything."""

    def __init__(
        self, world: WebSocketWorld, *, open: bool = True, buffer: int = 0, **headers: str
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE)
        if buffer:  # before connecting: later the window may only grow
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(("127.0.0.1", world._bound[1]))
        self.data = bytearray()
        self.number = 0
        if open:
            self.socket.sendall(request(**headers))
            assert self.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")

    def until(self, mark: bytes) -> bytes:
        searched = 0
        while (at := self.data.find(mark, searched)) < 0:
            searched = max(0, len(self.data) - len(mark) + 1)
            more = self.socket.recv(1 << 20)
            assert more, f"closed before {mark!r}: {bytes(self.data[-200:])!r}"
            self.data += more
        end = at + len(mark)
        before, self.data = bytes(self.data[:end]), self.data[end:]
        return before

    def say(self, text: str, answer: bool = True) -> None:
        self.number += 1
        word = msgspec.json.encode(Word(text, answer)).decode()
        self.send(f'{{"id":{self.number},"msg":{word}}}'.encode())

    def send(self, payload: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> None:
        self.socket.sendall(Frame(opcode, payload, fin=fin).serialize(mask=True))

    def hears(self, text: str) -> bool:
        self.until(f'"text":"{text}"'.encode())
        return True

    def ended(self) -> bytes:
        """All that still comes until the server closes."""
        with contextlib.suppress(ConnectionResetError):
            while more := self.socket.recv(65536):
                self.data += more
        return bytes(self.data)

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def request(path: str = "/", **headers: str) -> bytes:
    fields = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


@pytest.fixture(scope="module")
def world() -> Iterator[WebSocketWorld]:
    limits = ServerSettings(
        open_within=0.2, close_within=0.5, stuck_after=1.5, per_address=0,
        origins=("http://localhost:8888",),
    )  # fmt: skip
    with WebSocketWorld(server=limits) as world:
        world.host_server(echo, port=0)
        yield world
        assert not world.failures


@pytest.fixture
def witness(world: WebSocketWorld) -> Iterator[Raw]:
    """An honest client that must be served before and after, whatever the test does."""
    with Raw(world) as raw:
        raw.say("before")
        assert raw.hears("before")
        yield raw
        raw.say("after")
        assert raw.hears("after")


GARBAGE = {
    "random bytes": random.Random(1).randbytes(5000),
    "random text": b"GET / HTTP/1.1\r\n" + random.Random(2).randbytes(3000) + b"\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "endless line": b"GET /" + b"a" * 100_000,
    "too many headers": b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(500)),
    "http/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "no upgrade": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "post": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "bad key": request().replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: !"),
    "bad version": request(**{"Sec-WebSocket-Version": "7"}),
}


@pytest.mark.parametrize("bytes_", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_instead_of_an_opening(world: WebSocketWorld, witness: Raw, bytes_: bytes) -> None:
    with Raw(world, open=False) as raw:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            raw.socket.sendall(bytes_)
        assert b"101 Switching" not in raw.ended()


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_any_bytes_after_the_opening(world: WebSocketWorld, data: bytes) -> None:
    with Raw(world) as raw, Raw(world) as other:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            raw.socket.sendall(data)
            raw.socket.shutdown(socket.SHUT_WR)
        raw.ended()
        other.say("still here")
        assert other.hears("still here")


def close_code(data: bytes) -> int:
    """The code of the close frame at the end of what a client received."""
    at = data.rindex(b"\x88")
    return int.from_bytes(data[at + 2 : at + 4])


def test_a_binary_message_is_refused(world: WebSocketWorld, witness: Raw) -> None:
    with Raw(world) as raw:
        raw.send(b"\x00\x01", Opcode.BINARY)
        assert close_code(raw.ended()) == 1003


def test_too_large_a_message_is_refused_whole_or_in_parts(
    world: WebSocketWorld, witness: Raw
) -> None:
    for parts in (1, 5):
        with Raw(world) as raw:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                for part in range(parts):
                    opcode = Opcode.TEXT if part == 0 else Opcode.CONT
                    raw.send(b"x" * (70_000 // parts), opcode, fin=part == parts - 1)
            assert close_code(raw.ended()) == 1009


def test_an_unmasked_frame_is_a_protocol_error(world: WebSocketWorld, witness: Raw) -> None:
    with Raw(world) as raw:
        raw.socket.sendall(Frame(Opcode.TEXT, b"{}").serialize(mask=False))
        assert close_code(raw.ended()) == 1002


def test_a_message_in_parts_is_put_together(witness: Raw) -> None:
    text = b'{"id":7,"msg":{"type":"Word","text":"in parts"}}'
    witness.send(text[:9], fin=False)
    witness.send(text[9:20], Opcode.CONT, fin=False)
    witness.send(b"ping", Opcode.PING)
    witness.send(text[20:], Opcode.CONT)
    assert b"ping" in witness.until(b'"text":"in parts"')


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'{"id":1}',
        b'{"id":-1,"msg":{}}',
        b'{"id":1e400,"msg":{}}',
        b'{"id":99999999999999999999999,"msg":{}}',
        b'{"id":1,"msg":{},"sender":2}',
        b'{"id":"1","msg":{}}',
        b"\xff\xfe",
        b'{"id":1,"msg":' + b"[" * 20_000,
        b'{"id":1,"msg":{"type":"Word","text":7}}',
        b'{"id":1,"msg":{"type":"Sword"}}',
    ],
)
def test_texts_that_are_no_messages_harm_nobody(
    world: WebSocketWorld, witness: Raw, text: bytes
) -> None:
    before = sum(1 for _ in world.trace.of(rows.Blamed))
    with Raw(world) as raw:
        raw.send(text)
        raw.say("sorry")
        assert raw.hears("sorry")
    assert sum(1 for _ in world.trace.of(rows.Blamed)) > before


@given(st.binary(max_size=100))
def test_from_text_gives_a_frame_or_a_decode_error(data: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        from_text(data)


def test_a_slow_opening_is_cut_off(world: WebSocketWorld, witness: Raw) -> None:
    with Raw(world, open=False) as raw:
        raw.socket.sendall(request()[:30])
        assert raw.ended() == b""


def test_a_half_open_close_is_not_waited_for(world: WebSocketWorld, witness: Raw) -> None:
    """A client that ignores our close is dropped after `close_within`."""
    with Raw(world) as raw:
        raw.send(b"", Opcode.BINARY)
        raw.socket.settimeout(DEADLINE)
        raw.ended()
    assert world.run(lambda: world.server_status().connections == 1, limit=LIMIT)


def test_a_reader_that_stops_is_evicted_and_others_lose_nothing(
    world: WebSocketWorld, witness: Raw
) -> None:
    evicted = world.server_status().evicted
    with ThreadPoolExecutor(1) as pool, Raw(world, buffer=4096), Raw(world) as writer:
        reading = pool.submit(witness.until, b'"text":"done"')
        count = 800  # more than the kernel holds for the one that never reads
        for number in range(count):
            writer.say(f"{number:04d}" + "x" * 8000, answer=False)
        writer.say("done", answer=False)
        heard = reading.result(DEADLINE)
        assert [f"{n:04d}x".encode() in heard for n in range(count)] == [True] * count
        assert world.run(lambda: world.server_status().evicted == evicted + 1, limit=LIMIT)


def test_what_a_reader_has_no_room_for_is_left_out_and_holds_up_nobody() -> None:
    limits = ServerSettings(stuck_after=30.0, per_address=0, bytes_a_second=1 << 30)
    with WebSocketWorld(server=limits) as world, ThreadPoolExecutor(1) as pool:
        world.host_server(echo, port=0)
        with Raw(world, buffer=4096), Raw(world) as witness, Raw(world) as writer:
            reading = pool.submit(witness.until, b'"text":"done"')  # the first never reads
            for _ in range(3 * OUTBOX // 60_000):
                writer.say("x" * 60_000, answer=False)
            writer.say("done", answer=False)
            assert reading.result(DEADLINE)
            assert world.run(lambda: world.server_status().left_out > 0, limit=LIMIT)

            def outboxes() -> list[int]:
                server = world._server
                assert server is not None
                return sorted(sum(map(len, c.outbox)) for c in server._all)

            assert world.call(outboxes)[:2] == [0, 0]
            assert world.call(outboxes)[2] <= OUTBOX


def test_a_reader_that_goes_on_reading_is_never_cut_off() -> None:
    """It takes 8 KB each 25 ms; in a transport's buffers alone that would be no progress."""
    limits = ServerSettings(stuck_after=0.4, per_address=0)
    with WebSocketWorld(server=limits) as world:
        world.host_server(echo, port=0)
        with Raw(world, buffer=16_384) as slow, Raw(world) as writer:
            for _ in range(200):
                writer.say("x" * 60_000, answer=False)

            for _ in range(60):  # 1.5 s, longer than any patience with one that stands still
                assert slow.socket.recv(8192)
                world.run(lambda: False, limit=25_000)
            assert world.server_status().evicted == 0
            assert world.server_status().connections == 2


def test_origins_are_exact(world: WebSocketWorld, witness: Raw) -> None:
    with Raw(world, Origin="http://localhost:8888"):
        pass
    for origin in ("null", "http://localhost", "http://localhost:88880", "https://evil.example"):
        with Raw(world, open=False) as raw:
            raw.socket.sendall(request(Origin=origin))
            assert b" 403 " in raw.until(b"\r\n")
    for wrong in ("null", "*", "localhost:8888", "http://localhost:8888/lab"):
        with pytest.raises(UsageError, match="write it exactly"):
            ServerSettings(origins=(wrong,))


def test_an_opening_says_nothing_about_the_server(world: WebSocketWorld) -> None:
    with Raw(world, open=False) as raw:
        raw.socket.sendall(request())
        assert b"server:" not in raw.until(b"\r\n\r\n").lower()


def test_status_by_plain_http(world: WebSocketWorld, witness: Raw) -> None:
    with Raw(world, open=False) as raw:
        raw.socket.sendall(b"GET /status HTTP/1.1\r\nHost: localhost:8080\r\n\r\n")
        head, _, body = raw.ended().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    status = msgspec.json.decode(body)
    assert status["running"] is True
    assert status["connections"] == 1
    assert status["url"] == world.server_url


def test_connections_are_limited_by_address_and_in_all() -> None:
    for limits in (ServerSettings(per_address=2), ServerSettings(connections=2)):
        with WebSocketWorld(server=limits) as world:
            world.host_server(echo, port=0)
            with Raw(world), Raw(world):
                with Raw(world, open=False) as third:
                    assert b" 503 " in third.ended()
                assert world.server_status().refused == 1
            assert world.run(lambda: world.server_status().connections == 0, limit=LIMIT)
            with Raw(world) as again:
                again.say("me")
                assert again.hears("me")


# --- starting and stopping ----------------------------------------------------------------


def test_a_port_in_use_is_an_error_that_proposes_a_free_one() -> None:
    with WebSocketWorld() as first, WebSocketWorld() as second:
        first.host_server(echo, port=0)
        port = first._bound[1]
        with pytest.raises(UsageError, match=rf":{port}: .*in use.*; port (\d+) is free") as caught:
            second.host_server(echo, port=port)
        assert second.server_url == ""
        assert second.actors == ()
        free = int(str(caught.value).split("port ")[-1].split()[0])
        assert second.host_server(echo, port=free) == f"ws://127.0.0.1:{free}"
        with pytest.raises(UsageError, match="already runs"):
            second.host_server(echo, port=0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_are_none(port: int) -> None:
    with WebSocketWorld() as world, pytest.raises(UsageError, match="use 1 to 65535"):
        world.host_server(echo, port=port)


@pytest.mark.parametrize("kill", [False, True])
def test_stopping_frees_the_port_and_tells_the_clients(kill: bool) -> None:
    with WebSocketWorld(server=ServerSettings(close_within=0.2)) as world:
        world.host_server(switch, port=0)
        port = world._bound[1]
        with Raw(world) as raw:
            world.stop_server(kill=kill)
            data = raw.ended()
            assert (b"the server stopped" in data) is not kill
        assert not world.server_status().running
        with pytest.raises(UsageError, match="no server is running"):
            world.stop_server()
        assert world.host_server(switch, port=port).endswith(f":{port}")
        world.stop_server()
        world.restart_server()
        assert world.server_url.endswith(f":{port}")


def test_parties_notice_and_come_back_when_the_server_is_killed() -> None:
    def connected() -> bool:
        return all(world.look(p, lambda node: node.machine(STATION).connected) for p in (1, 2))

    with WebSocketWorld() as world:
        world.host_server(switch, port=0)
        for p in (1, 2):
            world.host(p, party(p, 2))
        assert world.run(connected, limit=LIMIT)
        world.crash(SERVER)
        assert world.run(lambda: not connected(), limit=LIMIT)
        world.restart(SERVER)
        assert world.run(connected, limit=LIMIT)
        here = [row for row in world.trace.of(rows.Sent) if row.kind == Here.__name__]
        assert [row.to for row in here] == [(SERVER,)] * 4
        assert world.run(
            lambda: (
                {(row.actor, row.id) for row in here}
                <= {(row.sender, row.id) for row in world.trace.of(rows.Delivered)}
            ),
            limit=LIMIT,
        )


def test_wss_with_an_authority_of_our_own(tmp_path: FilePath) -> None:
    certificate, key = self_signed(tmp_path)
    with WebSocketWorld(certificate=(certificate, key), authority=certificate) as world:
        assert world.host_server(switch, port=0).startswith("wss://")
        world.host(1, party(1, 1))
        assert world.run(
            lambda: world.look(1, lambda node: node.machine(STATION).connected), limit=LIMIT
        )
        with WebSocketWorld(url=world.server_url) as stranger:  # trusts the system's alone
            stranger.host(1, party(1, 1))
            assert stranger.run(
                lambda: any("certificate" in r.detail for r in stranger.trace.of(rows.Linked)),
                limit=LIMIT,
            )
    with pytest.raises(UsageError, match="cannot read the certificates"):
        WebSocketWorld(authority=tmp_path / "missing.pem")


def test_urls_that_are_none() -> None:
    for url in ("http://localhost", "localhost:8080", "ws://", "ws://x:99999"):
        with pytest.raises(UsageError, match="is not a server's url"):
            WebSocketWorld(url=url)


def self_signed(folder: FilePath) -> tuple[FilePath, FilePath]:
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file
