"""The signaling server beside PeerServer: CPU of a server for each message that it relays.

Both relay the same payload of some 290 bytes between the same pairs, in turns, in one run; the load
generator's own CPU is not counted. PeerServer checks neither sender nor rate. It is measured when
Node is here and `npm install --ignore-scripts peer` was run in the folder that `PEERJS` names.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

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


def _joining(nonce: bytes, session: str, party: int) -> bytes:
    who, here = Identity.from_seed(os.urandom(32)), os.urandom(16)
    presence = who.sign(PRESENCE_LABEL, *presence_parts(session, party, here, 1))
    unsigned = Join(session, party, 2, 2, "unanimous", who.public, here, 1, presence, b"")
    signature = who.sign(JOIN_LABEL, *join_parts(nonce, unsigned))
    return msgspec.json.encode(msgspec.structs.replace(unsigned, signature=signature))


@contextmanager
def running(command: list[str], port: int, cwd: str | None = None) -> Iterator[int]:
    """A server in a process of its own; its pid, once it answers."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=cwd)
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


def main() -> None:
    import uvloop

    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    serve = [sys.executable, "-m", "mpclab", "serve", "--port", str(ports[0]), "--rate", "1000000"]
    node, folder = shutil.which("node"), os.environ.get("PEERJS")
    for window in (8, 1):
        figures: dict[str, list[float]] = {"mpclab serve": [], "PeerServer": []}
        with running(serve, ports[0]) as us:
            for _ in range(ROUNDS):
                one = uvloop.run(measure(us, ports[0], window, ours=True))
                figures["mpclab serve"].append(one)
                if node and folder:
                    with running([node, "-e", PEER_SERVER, str(ports[1])], ports[1], folder) as it:
                        one = uvloop.run(measure(it, ports[1], window, ours=False))
                        figures["PeerServer"].append(one)
        told = {name: statistics.median(all_) for name, all_ in figures.items() if all_}
        words = ", ".join(f"{name} {one:.1f}" for name, one in told.items())
        ratio = told.get("PeerServer", 0) / told["mpclab serve"]
        beside = f" · {ratio:.2f} × PeerServer per core" if ratio else ""
        print(f"relay, {PAIRS} pairs, {window} under way: µs CPU a message: {words}{beside}")


if __name__ == "__main__":
    main()
