"""Thousands of connections at real servers: `python -m benchmarks.many [--workers 2]`.

Each member of each session sends to the next one at a steady rate; a message says which session it
is of, and when it left. Counted: what arrived, what arrived in another session (it must be none),
and how long the slowest hundredth took. `--workers` above 1 starts a Redis of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

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
from mpclab.worlds.real.descriptors import raise_descriptor_limit
from mpclab.worlds.real.ws_client import Handlers, SocketClient
from tests.services import free_port, redis_server, running


class _Packet(msgspec.Struct):
    id: int
    msg: ServerMessage


_decode = msgspec.json.Decoder(_Packet).decode
_AT_ONCE = 100  # joins


@dataclass
class Tally:
    """What was seen."""

    sent: int = 0
    arrived: int = 0
    strays: int = 0
    ended: int = 0
    waits: list[float] = field(default_factory=list)

    def percentile(self, part: float) -> float:
        """ms within which this part of the messages arrived."""
        waits = sorted(self.waits)
        return 1000 * waits[min(len(waits) - 1, int(part * len(waits)))] if waits else 0.0


class Client:
    """One member."""

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


async def _drive(url: str, sessions: int, n: int, rate: int, seconds: float) -> Tally:
    tally, gate = Tally(), asyncio.Semaphore(_AT_ONCE)

    async def come(client: Client) -> None:
        async with gate:
            await client.socket.dial()
            await client.joined

    clients = [
        Client(url, f"s{s}", party, n, tally) for s in range(sessions) for party in range(1, n + 1)
    ]
    began = time.monotonic()
    await asyncio.gather(*map(come, clients))
    print(
        f"{len(clients)} members in {sessions} sessions joined in {time.monotonic() - began:.1f} s"
    )
    began, turn = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while turn < passed * rate:
            clients[turn * 7919 % len(clients)].say()
            turn += 1
        await asyncio.sleep(0.002)
    deadline = time.monotonic() + 10
    while tally.arrived < tally.sent and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    for client in clients:
        client.socket.vanish()
    await asyncio.gather(*(client.socket.wait_closed() for client in clients))
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description="thousands of connections at real servers")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--parties", type=int, default=10)
    parser.add_argument("--rate", type=int, default=5000, help="messages a second, in all")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    raise_descriptor_limit()
    members = args.sessions * args.parties
    command = [
        sys.executable, "-m", "mpclab", "serve", "--port", "0", "--admin", "none", "--log", "text",
        "--connections", str(2 * members), "--sessions", str(max(4 * args.sessions, 64)),
        "--per-address", "0", "--join-within", "60",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        redis = redis_server(Path(folder), port)
        if args.workers == 1:
            _measure(command, args)
            return
        with running(redis):
            more = ["--workers", str(args.workers), "--redis", f"redis://127.0.0.1:{port}"]
            _measure([*command, *more], args)


def _measure(command: list[str], args: argparse.Namespace) -> None:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        url, ready = "", 0
        for line in server.stdout:
            if found := re.search(r"server at (ws://\S+)", line):
                url, ready = found[1], ready + 1
                if ready == args.workers:
                    break
        if args.workers > 1:
            time.sleep(4)  # until they have found each other
        drain = subprocess.Popen(["cat"], stdin=server.stdout, stdout=subprocess.DEVNULL)
        try:
            tally = asyncio.run(_drive(url, args.sessions, args.parties, args.rate, args.seconds))
        finally:
            server.terminate()
            drain.wait(30)
    print(
        f"{args.workers} worker(s): sent {tally.sent}, arrived {tally.arrived}, in another session "
        f"{tally.strays}, p50 {tally.percentile(0.5):.1f} ms, p99 {tally.percentile(0.99):.1f} ms"
    )


if __name__ == "__main__":
    main()
