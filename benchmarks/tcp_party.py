"""One of m parties that compute over TCP on this machine, each a process: as MPyC's are.

`python -m benchmarks.tcp_party INDEX M PORT` prints, for each work, the median milliseconds by the
wall and of this process's CPU. A party listens at PORT + INDEX and connects to those before it; a
frame of ours is preceded by its length and the number of the run that it belongs to. There is no
coordinator, no voting and no encryption, because MPyC has none of these here: the same machines,
driven by the least that can drive them.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import struct
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import uvloop

from mpclab.core.effects import Effect, Output, Send, Started
from mpclab.core.ids import Party
from mpclab.core.node import Node
from mpclab.core.rounds import Finished
from mpclab.core.wire import Frame
from mpclab.mpc import arithmetic
from mpclab.mpc.compute import Compute

HEAD = struct.Struct("<II")
RUNS = 6
"""Of each work; the first warms up."""
READY = 0
"""The run number of what says that its sender is about to begin."""


def works(m: int) -> dict[str, Callable[[Party], Compute]]:
    """By name, what makes one party's machine: as in MPyC's program, circuit included."""
    parties = tuple(range(1, m + 1))

    def total(p: Party) -> Compute:
        circuit = arithmetic.build("sum", parties, parties, 1000, checked=False)
        return Compute(circuit, parties, parties, given=tuple(range(1000)))

    def products(p: Party) -> Compute:
        circuit = arithmetic.build("product", (1, 2), parties, 1000, checked=False)
        return Compute(circuit, (1, 2), parties, given=tuple(range(1000)) if p < 3 else None)

    def comparison(p: Party) -> Compute:
        circuit = arithmetic.build("compare", (1, 2), parties)
        return Compute(circuit, (1, 2), parties, given=(3 + 2 * p,) if p < 3 else None)

    return {"sum": total, "products": products, "comparison": comparison}


class Link(asyncio.Protocol):
    """One connection: frames go up as they are whole."""

    def __init__(self, party: TcpParty, other: Party = 0) -> None:
        self.party, self.other, self.data = party, other, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.other:
            self.transport.write(bytes([self.party.me]))
            self.party.met(self.other, self.transport)

    def data_received(self, data: bytes) -> None:
        data = self.data + data
        if not self.other:
            self.other, data = data[0], data[1:]
            self.party.met(self.other, self.transport)
        start = 0
        while len(data) >= start + HEAD.size:
            size, run = HEAD.unpack_from(data, start)
            end = start + HEAD.size + size
            if len(data) < end:
                break
            self.party.hear(self.other, run, data[start + HEAD.size : end])
            start = end
        self.data = data[start:]


class TcpParty:
    """Links to all others, and the machine that runs."""

    def __init__(self, me: Party, m: int, port: int) -> None:
        self.me, self.m, self.port = me, m, port
        self.out: dict[Party, asyncio.Transport] = {}
        self.early: defaultdict[int, list[tuple[Party, bytes]]] = defaultdict(list)
        self.run = READY
        self.node: Node | None = None
        self.waiting: asyncio.Future[Any] | None = None

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self.waiting = loop.create_future()
        server = await loop.create_server(lambda: Link(self), "127.0.0.1", self.port + self.me)
        for other in range(1, self.me):
            while True:
                try:
                    await loop.create_connection(
                        partial(Link, self, other), "127.0.0.1", self.port + other
                    )
                    break
                except ConnectionRefusedError:  # not there yet
                    await asyncio.sleep(0.01)
        await self.waiting
        server.close()

    def met(self, other: Party, transport: asyncio.Transport) -> None:
        self.out[other] = transport
        if len(self.out) == self.m - 1 and self.waiting is not None:
            self.waiting.set_result(None)

    def hear(self, sender: Party, run: int, data: bytes) -> None:
        if self.node is not None and run == self.run:
            self.perform(self.node.deliver(sender, Frame.from_bytes(data), 0))
            return
        self.early[run].append((sender, data))
        if run == READY and self.waiting is not None and not self.waiting.done():
            self._see_ready(self.waiting)

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if type(effect) is Send:
                data = effect.frame.to_bytes()
                for to in effect.to:
                    self.out[to].writelines((HEAD.pack(len(data), self.run), data))
            elif type(effect) is Output and self.waiting is not None:
                self.waiting.set_result(effect.value)

    async def barrier(self) -> None:
        for transport in self.out.values():
            transport.write(HEAD.pack(0, READY))
        self.node, self.waiting = None, asyncio.get_running_loop().create_future()
        self._see_ready(self.waiting)
        await self.waiting

    def _see_ready(self, waiting: asyncio.Future[Any]) -> None:
        if len({sender for sender, _ in self.early[READY]}) == self.m - 1:
            for other in self.out:
                self.early[READY].remove((other, b""))
            waiting.set_result(None)

    async def compute(self, run: int, make: Callable[[Party], Compute]) -> None:
        self.waiting = asyncio.get_running_loop().create_future()
        node = Node(self.me, self.m, make(self.me), coins=lambda path: random.Random(run))
        self.run, self.node = run, node
        self.perform(node.step(Started(), 0))
        for sender, data in self.early.pop(run, ()):
            self.perform(node.deliver(sender, Frame.from_bytes(data), 0))
        assert isinstance(await self.waiting, Finished)


async def main(me: Party, m: int, port: int) -> dict[str, tuple[float, float]]:
    party = TcpParty(me, m, port)
    await party.connect()
    found, run = {}, READY
    for name, make in works(m).items():
        times = []
        for _ in range(RUNS):
            run += 1
            await party.barrier()
            began = time.perf_counter(), time.process_time()
            await party.compute(run, make)
            times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        wall, cpu = (1e3 * statistics.median(column) for column in zip(*times[1:], strict=True))
        found[name] = (wall, cpu)
    await party.barrier()  # nobody hangs up on those who still compute
    return found


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(*map(int, sys.argv[1:4])))))
