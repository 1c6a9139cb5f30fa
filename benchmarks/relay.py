"""The signaling server beside PeerServer and y-webrtc's: CPU of a server for each message that it
relays to one, and for each delivery of one that it passes on to all.

They carry the same payload of some 290 bytes between the same clients, in turns, in one run; the
load generator's own CPU is not counted. The peers check neither sender nor rate. They are measured
where there is Node: npm puts them into the folder that `PEERS` names, or bench-out/peers.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
from websockets.frames import Frame, Opcode

from mpclab.crypto.identity import Identity
from mpclab.signaling.messages import (
    JOIN_LABEL,
    PRESENCE_LABEL,
    Join,
    join_parts,
    presence_parts,
)

PAIRS, ROUNDS, SECONDS = 64, 5, 1.5
ROOMS = (8, 50, 200)
PEERS = ("peer@1.0.2", "y-webrtc@10.3.0", "ws@8")
INNER = b'{"type":"Sealed","incarnations":"AAAAAAAAAAA=","box":"%b"}' % (b"x" * 240)
PEER_SERVER = "require('peer').PeerServer({port: +process.argv[1], path: '/'})"


class Client(asyncio.Protocol):
    """A WebSocket client that does no more than it must."""

    def __init__(self, path: str, heard: Callable[[Client, bytes], None]) -> None:
        self._path = path
        self._heard = heard
        self._data = bytearray()
        self._open = False
        self.partner: Client | None = None
        self.next = b""  # a whole frame to send
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._data += data
        buffer = self._data
        if not self._open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._open = True
            del buffer[: end + 4]
        at = 0
        while len(buffer) - at >= 4:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                size, start = buffer[at + 2] << 8 | buffer[at + 3], at + 4
            if len(buffer) < start + size:
                break
            if buffer[at] == 0x81:
                self._heard(self, bytes(buffer[start : start + size]))
            at = start + size
        del buffer[:at]

    def send(self, text: bytes) -> None:
        self.transport.write(Frame(Opcode.TEXT, text).serialize(mask=True))


@dataclass
class Load:
    """`PAIRS` pairs, each with `window` messages under way."""

    port: int
    window: int
    relayed: int = 0
    clients: list[Client] = field(default_factory=list)
    name: str = field(default_factory=lambda: os.urandom(6).hex())

    async def connect(self, ours: bool) -> None:
        loop = asyncio.get_running_loop()
        for pair in range(PAIRS):
            both = []
            for party in (1, 2):
                name = f"{pair}-{party}"
                path = "/" if ours else f"/peerjs?key=peerjs&id={name}&token=t{name}"
                heard = self._ours(pair, party) if ours else self._theirs()
                _, client = await loop.create_connection(
                    lambda path=path, heard=heard: Client(path, heard), "127.0.0.1", self.port
                )
                both.append(client)
                await asyncio.wait_for(client.ready, 10)
            one, two = both
            one.partner, two.partner = two, one
            relay = b'{"type":"Relay","envelopes":[{"type":"Envelope","to":2,"payload":%b}]}'
            text = b'{"id":7,"msg":%b}' % (relay % INNER)
            if not ours:
                text = b'{"type":"OFFER","dst":"%d-2","payload":%b}' % (pair, INNER)
            one.next = Frame(Opcode.TEXT, text).serialize(mask=True)
            self.clients += both

    def _ours(self, pair: int, party: int) -> Callable[[Client, bytes], None]:
        def heard(client: Client, text: bytes) -> None:
            if b'"Relayed"' in text[:40]:
                self._again(client)
            elif b'"Challenge"' in text[:40]:
                nonce = base64.b64decode(msgspec.json.decode(text)["msg"]["nonce"])
                client.send(b'{"id":1,"msg":%b}' % _joining(nonce, f"{self.name}-{pair}", party))
            elif b'"Welcome"' in text[:40]:
                client.ready.set_result(None)
            elif b'"Ping"' in text[:40]:
                client.send(b'{"id":1,"msg":{"type":"Pong"}}')

        return heard

    def _theirs(self) -> Callable[[Client, bytes], None]:
        def heard(client: Client, text: bytes) -> None:
            if b'"OFFER"' in text:
                self._again(client)
            elif b'"OPEN"' in text:
                client.ready.set_result(None)

        return heard

    def _again(self, client: Client) -> None:
        self.relayed += 1
        assert client.partner is not None
        client.partner.transport.write(client.partner.next)

    def begin(self) -> None:
        for client in self.clients:
            if client.next:
                client.transport.write(client.next * self.window)


def _joining(nonce: bytes, session: str, party: int, n: int = 2) -> bytes:
    who, here = Identity.from_seed(os.urandom(32)), os.urandom(16)
    presence = who.sign(PRESENCE_LABEL, *presence_parts(session, party, here, 1))
    unsigned = Join(session, party, n, n, "unanimous", who.public, here, 1, presence, b"")
    signature = who.sign(JOIN_LABEL, *join_parts(nonce, unsigned))
    return msgspec.json.encode(msgspec.structs.replace(unsigned, signature=signature))


@contextmanager
def running(
    command: list[str], port: int, cwd: str | None = None, more: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A server in a process of its own; its pid, once it answers."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdout=quiet, stderr=quiet, cwd=cwd, env={**os.environ, **(more or {})}
    )
    try:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError(f"{command[0]} does not start") from None
                time.sleep(0.05)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(pid: int, port: int, window: int, ours: bool) -> float:
    """Microseconds of the server's CPU for a relayed message."""
    load = Load(port, window)
    await load.connect(ours)
    load.begin()
    await asyncio.sleep(0.3)
    before, began = load.relayed, cpu(pid)
    await asyncio.sleep(SECONDS)
    spent, relayed = cpu(pid) - began, load.relayed - before
    for client in load.clients:
        client.transport.abort()
    await asyncio.sleep(0.2)
    return 1e6 * spent / relayed


@dataclass
class Fan:
    """A room in which one client tells all others something, again when all have heard it."""

    port: int
    size: int
    ours: bool
    heard: int = 0
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> None:
        loop, session = asyncio.get_running_loop(), os.urandom(6).hex()
        for party in range(1, self.size + 1):
            heard = self._ours(session, party) if self.ours else self._theirs
            _, client = await loop.create_connection(
                lambda heard=heard: Client("/", heard), "127.0.0.1", self.port
            )
            self.clients.append(client)
            if not self.ours:
                client.send(b'{"type":"subscribe","topics":["room"]}')
                client.send(b'{"type":"ping"}')  # what answers has subscribed
            await asyncio.wait_for(client.ready, 10)
        text = b'{"id":7,"msg":{"type":"Announce","payload":%b}}' % INNER
        if not self.ours:
            text = b'{"type":"publish","topic":"room","payload":%b}' % INNER
        self.clients[0].next = Frame(Opcode.TEXT, text).serialize(mask=True)

    @property
    def readers(self) -> int:
        """y-webrtc's server tells the sender, too."""
        return self.size - 1 if self.ours else self.size

    def begin(self) -> None:
        self.clients[0].transport.write(self.clients[0].next)

    def _count(self) -> None:
        self.heard += 1
        if self.heard % self.readers == 0:
            self.begin()

    def _ours(self, session: str, party: int) -> Callable[[Client, bytes], None]:
        def heard(client: Client, text: bytes) -> None:
            if b'"Announced"' in text[:40]:
                self._count()
            elif b'"Challenge"' in text[:40]:
                nonce = base64.b64decode(msgspec.json.decode(text)["msg"]["nonce"])
                client.send(b'{"id":1,"msg":%b}' % _joining(nonce, session, party, self.size))
            elif b'"Welcome"' in text[:40]:
                client.ready.set_result(None)
            elif b'"Ping"' in text[:40]:
                client.send(b'{"id":1,"msg":{"type":"Pong"}}')

        return heard

    def _theirs(self, client: Client, text: bytes) -> None:
        if b'"publish"' in text[:40]:
            self._count()
        elif not client.ready.done():
            client.ready.set_result(None)


async def measure_fan(pid: int, port: int, size: int, ours: bool) -> float:
    """Microseconds of the server's CPU for each delivery of a message to a room."""
    fan = Fan(port, size, ours)
    await fan.connect()
    fan.begin()
    await asyncio.sleep(0.3)
    before, began = fan.heard, cpu(pid)
    await asyncio.sleep(SECONDS)
    spent, heard = cpu(pid) - began, fan.heard - before
    for client in fan.clients:
        client.transport.abort()
    await asyncio.sleep(0.2)
    return 1e6 * spent / heard


def installed() -> str:
    """The folder with the peers' servers, from npm if need be; "": there is no Node here."""
    folder = Path(os.environ.get("PEERS", "bench-out/peers")).resolve()
    npm = shutil.which("npm")
    if npm and not (folder / "node_modules" / "y-webrtc").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", *PEERS]
        subprocess.run(command, cwd=folder, check=False, capture_output=True)
    there = shutil.which("node") and (folder / "node_modules" / "y-webrtc").exists()
    return str(folder) if there else ""


def compare(
    us: int, port: int, theirs: list[str], folder: str, work: Callable[..., Any], name: str
) -> str:
    """The medians of `work` at our server and at a peer's, in turn, as words."""
    import uvloop

    figures: dict[str, list[float]] = {"mpclab serve": [], name: []}
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    for _ in range(ROUNDS):
        figures["mpclab serve"].append(uvloop.run(work(us, port, ours=True)))
        if folder:
            command, more = [*theirs, str(other)], {"PORT": str(other)}
            with running(command, other, folder, more) as it:
                figures[name].append(uvloop.run(work(it, other, ours=False)))
    told = {name: statistics.median(all_) for name, all_ in figures.items() if all_}
    words = ", ".join(f"{name} {one:.1f}" for name, one in told.items())
    ratio = told.get(name, 0) / told["mpclab serve"]
    return words + (f" · {ratio:.2f} × {name} per core" if ratio else "")


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "mpclab", "serve", "--port", str(port), "--rate", "1000000"]
    folder = installed()
    with running(serve, port) as us:
        for window in (8, 1):
            words = compare(
                us, port, ["node", "-e", PEER_SERVER], folder,
                partial(measure, window=window), "PeerServer",
            )  # fmt: skip
            print(
                f"relay, {PAIRS} pairs, {window} under way: µs CPU a message: {words}", flush=True
            )
        for size in ROOMS:
            words = compare(
                us, port, ["node", "node_modules/y-webrtc/bin/server.js"], folder,
                partial(measure_fan, size=size), "y-webrtc",
            )  # fmt: skip
            print(f"to all in a room of {size}: µs CPU a delivery: {words}", flush=True)


if __name__ == "__main__":
    main()
