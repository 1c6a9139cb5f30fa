"""Thousands of connections at real servers: `python -m benchmarks.many [--workers 2] [--peer]`.

Each member of each session sends to the next one at a steady rate; a message says which session it
is of, and when it left. Counted: what arrived, what arrived in another session (it must be none),
how long the slowest hundredth took, and the CPU that each server process spent.

`--workers` above 1: with `--redis` they share a Redis that is started here, and a room may be on
several; without, a session's url chooses its worker. What a worker could carry is measured by its
CPU, which other programs on the machine change little: messages a second of CPU, of the busiest
worker. `--peer` runs PeerServer at the same rate, with the same clients (where there is Node: see
`benchmarks.relay`).

`--compare` says by how much more two workers carry than one, in `ROUNDS` rounds of both by turns,
each worker at the same rate: a server takes what has come in one turn of its loop together, so that
one with half as much to do spends more on each message. Sessions are dealt out evenly.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.relay import PEER_SERVER, cpu, installed
from mpclab.core.errors import UsageError
from mpclab.crypto.identity import Identity
from mpclab.signaling.messages import (
    JOIN_LABEL,
    PRESENCE_LABEL,
    Challenge,
    Join,
    Ping,
    Relayed,
    ServerMessage,
    Welcome,
    join_parts,
    presence_parts,
)
from mpclab.worlds.real.admin import ask
from mpclab.worlds.real.descriptors import raise_descriptor_limit
from mpclab.worlds.real.ws_client import Handlers, SocketClient
from tests.services import answers, free_port, free_ports, redis_server, running


class _Packet(msgspec.Struct):
    id: int
    msg: ServerMessage


_decode = msgspec.json.Decoder(_Packet).decode
_AT_ONCE = 100  # joins
ROUNDS = 2
_READY_WITHIN = 60.0


@dataclass
class Tally:
    """What was seen."""

    sent: int = 0
    arrived: int = 0
    strays: int = 0
    ended: int = 0
    cpu: list[float] = field(default_factory=list)
    """Seconds that each server process spent while messages were sent."""
    waits: list[float] = field(default_factory=list)

    @property
    def capacity(self) -> float:
        """Messages that the servers could carry for each second of the busiest one's CPU."""
        return self.arrived / max(self.cpu)

    def percentile(self, part: float) -> float:
        """ms within which this part of the messages arrived."""
        waits = sorted(self.waits)
        return 1000 * waits[min(len(waits) - 1, int(part * len(waits)))] if waits else 0.0


class Client:
    """One member, of ours."""

    def __init__(self, url: str, session: str, party: int, n: int, tally: Tally) -> None:
        self.session, self.party, self.n, self.tally = session, party, n, tally
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.identity = Identity.from_seed(f"{session} {party}".encode().ljust(32, b".")[:32])
        self.socket = SocketClient(
            f"{url}/s/{session}", Handlers(lambda: None, self._received, self._closed)
        )

    def _closed(self, reason: str) -> None:
        self.tally.ended += 1
        if not self.joined.done():
            self.joined.set_exception(ConnectionError(reason))

    def _received(self, text: bytes) -> None:
        match _decode(text).msg:
            case Challenge(nonce):
                self._join(nonce)
            case Welcome():
                self.joined.set_result(None)
            case Ping():
                self.socket.send(b'{"id":1,"msg":{"type":"Pong"}}')
            case Relayed(_, payload):
                said = msgspec.json.decode(payload)
                self.tally.arrived += 1
                self.tally.strays += said["s"] != self.session
                self.tally.waits.append(time.monotonic() - said["at"])

    def _join(self, nonce: bytes) -> None:
        who, life = self.identity, b"%016d" % self.party
        parts = presence_parts(self.session, self.party, life, 1)
        join = Join(
            self.session, self.party, self.n, 1, "unanimous", who.public, life, 1,
            who.sign(PRESENCE_LABEL, *parts), b"",
        )  # fmt: skip
        signed = who.sign(JOIN_LABEL, *join_parts(nonce, join))
        join = msgspec.structs.replace(join, signature=signed)
        self.socket.send(b'{"id":1,"msg":%b}' % msgspec.json.encode(join))

    def say(self) -> None:
        """A message for the next party."""
        to = self.party % self.n + 1
        self.socket.send(
            b'{"id":1,"msg":{"type":"Relay","envelopes":[{"type":"Envelope","to":%d,"payload":'
            b'{"s":"%s","at":%r,"pad":"%s"}}]}}'
            % (to, self.session.encode(), time.monotonic(), b"x" * 200)
        )
        self.tally.sent += 1


class PeerClient(Client):
    """One of PeerServer's; the session is a part of its name."""

    def __init__(self, url: str, session: str, party: int, n: int, tally: Tally) -> None:
        super().__init__(url, session, party, n, tally)
        name = f"{session}-{party}"
        self.socket = SocketClient(
            f"{url}/peerjs?key=peerjs&id={name}&token=t{name}",
            Handlers(lambda: None, self._received, self._closed),
        )

    def _received(self, text: bytes) -> None:
        if text[:14] == b'{"type":"OPEN"':
            self.joined.set_result(None)
            return
        said = msgspec.json.decode(text).get("payload")
        if said is not None:
            self.tally.arrived += 1
            self.tally.strays += said["s"] != self.session
            self.tally.waits.append(time.monotonic() - said["at"])

    def say(self) -> None:
        to = self.party % self.n + 1
        self.socket.send(
            b'{"type":"OFFER","dst":"%s-%d","payload":{"s":"%s","at":%r,"pad":"%s"}}'
            % (self.session.encode(), to, self.session.encode(), time.monotonic(), b"x" * 200)
        )
        self.tally.sent += 1


async def _drive(servers: Servers, args: argparse.Namespace, rate: int) -> Tally:
    sessions, n, seconds = args.sessions, args.parties, args.seconds
    tally, gate = Tally(), asyncio.Semaphore(_AT_ONCE)
    make = PeerClient if servers.peer else Client

    async def come(client: Client) -> None:
        async with gate:
            await client.socket.dial()
            await client.joined

    clients = [
        make(servers.url_of(s), f"s{s}", party, n, tally)
        for s in range(sessions)
        for party in range(1, n + 1)
    ]
    began = time.monotonic()
    await asyncio.gather(*map(come, clients))
    print(
        f"{len(clients)} members in {sessions} sessions joined in {time.monotonic() - began:.1f} s"
    )
    before = [cpu(pid) for pid in servers.pids]
    began, turn = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while turn < passed * rate:
            clients[turn * 7919 % len(clients)].say()
            turn += 1
        await asyncio.sleep(0.002)
    deadline = time.monotonic() + 10
    while tally.arrived < tally.sent and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    tally.cpu = [cpu(pid) - spent for pid, spent in zip(servers.pids, before, strict=True)]
    for client in clients:
        client.socket.vanish()
    await asyncio.gather(*(client.socket.wait_closed() for client in clients))
    return tally


@dataclass
class Servers:
    """What runs: urls, of which a session's name chooses one, and processes."""

    name: str
    urls: list[str]
    pids: list[int]
    peer: bool = False

    def url_of(self, number: int) -> str:
        """Where session `number` meets."""
        return self.urls[number % len(self.urls)]


@contextmanager
def ours(args: argparse.Namespace, workers: int, redis: bool) -> Iterator[Servers]:
    """`mpclab serve`, ready."""
    members = args.sessions * args.parties
    with tempfile.TemporaryDirectory() as folder:
        port, redis_port, admin = free_ports(workers), free_port(), Path(folder) / "a.sock"
        command = [
            sys.executable, "-m", "mpclab", "serve", "--admin", str(admin), "--log", "text",
            "--connections", str(2 * members), "--sessions", str(max(4 * args.sessions, 64)),
            "--per-address", "0", "--join-within", "60", "--port", str(port),
            *(["--workers", str(workers)] if workers > 1 else []),
            *(["--redis", f"redis://127.0.0.1:{redis_port}"] if redis else []),
        ]  # fmt: skip
        beside = running(redis_server(Path(folder), redis_port)) if redis else nullcontext()
        quiet = subprocess.DEVNULL
        with beside, subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
            try:
                admins = [admin] if workers == 1 else [
                    admin.with_name(f"a-{i + 1}.sock") for i in range(workers)
                ]  # fmt: skip
                _wait(admins)
                children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
                pids = [int(pid) for pid in children.split()] if workers > 1 else [server.pid]
                ports = [port] if redis or workers == 1 else range(port, port + workers)
                name = f"{workers} worker{'s' * (workers > 1)}{' and Redis' * redis}"
                yield Servers(name, [f"ws://127.0.0.1:{it}" for it in ports], pids)
            finally:
                server.terminate()


def _wait(admins: list[Path]) -> None:
    """Until every server says that it is ready."""
    deadline = time.monotonic() + _READY_WITHIN
    for admin in admins:
        while True:
            try:
                if not msgspec.json.decode(ask(admin, b'{"do":"status"}'))["not_ready"]:
                    break
            except UsageError:
                pass  # not there yet
            if time.monotonic() > deadline:
                raise RuntimeError(f"{admin.name}: not ready in {_READY_WITHIN:.0f} s")
            time.sleep(0.02)


@contextmanager
def peer_server(folder: str) -> Iterator[Servers]:
    port = free_port()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        ["node", "-e", PEER_SERVER, str(port)], cwd=folder, stdout=quiet, stderr=quiet
    ) as server:
        try:
            ready, deadline = answers(port), time.monotonic() + _READY_WITHIN
            while not ready():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("PeerServer does not start")
                time.sleep(0.02)
            yield Servers("PeerServer", [f"ws://127.0.0.1:{port}"], [server.pid], peer=True)
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description="thousands of connections at real servers")
    parser.add_argument("--sessions", type=int, help="by itself 500, 100 to compare")
    parser.add_argument("--parties", type=int, default=10)
    parser.add_argument("--rate", type=int, default=5000, help="messages a second, in all; "
                        "to compare, of each worker")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--redis", action="store_true", help="workers share their rooms")
    parser.add_argument("--compare", action="store_true", help="one worker and two, by turns")
    parser.add_argument("--peer", action="store_true", help="and PeerServer, at the same rate")
    args = parser.parse_args()
    args.sessions = args.sessions or (100 if args.compare else 500)
    raise_descriptor_limit()
    one = _compare(args) if args.compare else _measure(
        ours(args, args.workers, args.redis), args, args.rate
    )  # fmt: skip
    if args.peer:
        if not (folder := installed()):
            print("PeerServer: there is no Node here")
            return
        peer = _measure(peer_server(folder), args, args.rate)
        print(
            f"mpclab / PeerServer: p99 {one.percentile(0.99) / peer.percentile(0.99):.2f} ×, "
            f"CPU a message {peer.capacity / one.capacity:.2f} ×"
        )


def _compare(args: argparse.Namespace) -> Tally:
    """One worker and two, by turns; what one did first."""
    first, spent = None, {1: 0.0, 2: 0.0}
    arrived = {1: 0, 2: 0}
    for _ in range(ROUNDS):
        for workers in (1, 2):
            tally = _measure(ours(args, workers, args.redis), args, workers * args.rate)
            spent[workers] += max(tally.cpu)
            arrived[workers] += tally.arrived
            first = first or tally
    ratio = (arrived[2] / spent[2]) / (arrived[1] / spent[1])
    print(f"two workers carry {ratio:.2f} × what one does, by the CPU of the busier one")
    assert first is not None
    return first


def _measure(
    serving: AbstractContextManager[Servers], args: argparse.Namespace, rate: int
) -> Tally:
    with serving as servers:
        tally = asyncio.run(_drive(servers, args, rate))
    spent = ", ".join(f"{seconds:.2f}" for seconds in tally.cpu)
    print(
        f"{servers.name}, {rate}/s: sent {tally.sent}, arrived {tally.arrived}, in another session "
        f"{tally.strays}, p50 {tally.percentile(0.5):.1f} ms, p99 {tally.percentile(0.99):.1f} ms, "
        f"CPU {spent} s: {tally.capacity:,.0f} messages for each second of the busiest's",
        flush=True,
    )
    return tally


if __name__ == "__main__":
    main()
