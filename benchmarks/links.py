"""Links beside bare aiortc: what a mesh costs, and a commit in round trips of a data channel.

Ratios of CPU time, both sides in turn in one run, so that other work on the machine falls on both.
A round trip is two messages and nothing else to do. `direct` among five is 24 messages, each with
an acknowledgement of its own, and here one process does them all: what they take alone over bare
channels, shown beside it, is what no `direct` in one process can be quicker than.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

from aiortc import RTCCertificate, RTCConfiguration, RTCPeerConnection

from benchmarks.measure import Result, heading, show
from benchmarks.real import commits
from mpclab.lab import Lab
from mpclab.worlds.real.data_channel import (
    _ADDRESSES,
    Certificate,
    ChannelSettings,
    _given,
    prepare,
)
from mpclab.worlds.real.loop import _new_loop

ROUND_TRIPS = 300
PROPOSAL, VOTE = 320, 230
"""Bytes of a note's proposal and of a vote, as they are sent."""


async def _link(a: RTCCertificate, b: RTCCertificate) -> tuple[RTCPeerConnection, ...]:
    """Two connections with an open data channel; `channel` of the first is the offerer's."""
    ends = []
    for certificate in (a, b):
        with _given(certificate):
            ends.append(RTCPeerConnection(RTCConfiguration(iceServers=[])))
    near, far = ends
    opened = asyncio.get_running_loop().create_future()
    channels = [pc.createDataChannel("x", negotiated=True, id=0) for pc in ends]
    channels[0].on("open", lambda: opened.done() or opened.set_result(None))
    channels[1].on("message", lambda data: channels[1].send(data))
    near.channel, far.channel = channels  # type: ignore[attr-defined]
    await near.setLocalDescription()
    await far.setRemoteDescription(near.localDescription)
    await far.setLocalDescription()
    await near.setRemoteDescription(far.localDescription)
    await opened
    return near, far


def _run(work: Callable[[], object]) -> object:
    loop = _new_loop()
    try:
        return loop.run_until_complete(work())  # type: ignore[arg-type]
    finally:
        loop.close()


def bare_mesh(n: int) -> float:
    """CPU seconds of a mesh of aiortc alone, with one certificate a party, on our loop."""

    async def work() -> float:
        _ADDRESSES.set(("127.0.0.1",))
        certificates = [Certificate.generateCertificate() for _ in range(n)]
        began = time.process_time()
        made = await asyncio.gather(*(_link(*pair) for pair in combinations(certificates, 2)))
        took = time.process_time() - began
        await asyncio.gather(*(pc.close() for ends in made for pc in ends))
        return took

    return float(_run(work))  # type: ignore[arg-type]


def our_mesh(n: int) -> float:
    """CPU seconds from the first join to every pair confirmed, server and signatures included."""
    with Lab(parties=n, world="webrtc") as lab:
        lab.start_server(port=0)
        lab.spawn()
        began = time.process_time()
        lab.join(timeout=120)
        linked(lab, n)
        return time.process_time() - began


def idle(n: int, seconds: float = 15.0) -> float:
    """Share of a core that a mesh of n in one process takes, in which nothing happens."""
    with Lab(parties=n, world="webrtc") as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join(timeout=300)
        linked(lab, n)
        time.sleep(seconds)  # the last links' first questions
        began, cpu = time.monotonic(), time.process_time()
        time.sleep(seconds)
        return (time.process_time() - cpu) / (time.monotonic() - began)


def linked(lab: Lab, n: int) -> None:
    """Wait until every pair has its link; on a busy machine some are relayed at first."""
    while len(lab.world._open) < n * (n - 1):
        time.sleep(0.01)


def round_trip() -> float:
    """Milliseconds from one end of a bare data channel to the other and back, the median."""

    async def work() -> float:
        _ADDRESSES.set(("127.0.0.1",))
        near, far = await _link(*(Certificate.generateCertificate() for _ in range(2)))
        back: asyncio.Queue[object] = asyncio.Queue()
        channel = near.channel  # type: ignore[attr-defined]
        channel.on("message", back.put_nowait)
        times = []
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            channel.send(b"x" * 200)
            await back.get()
            times.append(1000 * (time.perf_counter() - began))
        await asyncio.gather(near.close(), far.close())
        return statistics.median(times)

    return float(_run(work))  # type: ignore[arg-type]


def bare_votes(n: int) -> float:
    """Milliseconds that the messages of `direct` take among n parties of aiortc alone, in one
    process as ours: a proposal to all, a vote of each to all; the median."""

    async def work() -> float:
        _ADDRESSES.set(("127.0.0.1",))
        certificates = [Certificate.generateCertificate() for _ in range(n)]
        pairs = list(combinations(range(n), 2))
        made = await asyncio.gather(*(_link(certificates[a], certificates[b]) for a, b in pairs))
        ways: list[list[Any]] = [[] for _ in range(n)]
        for (a, b), (near, far) in zip(pairs, made, strict=True):
            ways[a].append(near.channel)  # type: ignore[attr-defined]
            ways[b].append(far.channel)  # type: ignore[attr-defined]
        missing, over = 0, asyncio.Event()

        def say(party: int, data: bytes) -> None:
            for channel in ways[party]:
                channel.send(data)

        def hear(party: int, data: bytes) -> None:
            nonlocal missing
            if data[0] == 0:
                say(party, b"\1" * VOTE)
            else:
                missing -= 1
                if not missing:
                    over.set()

        for party, channels in enumerate(ways):
            for channel in channels:
                channel.remove_all_listeners("message")
                channel.on("message", partial(hear, party))
        times = []
        for k in range(ROUND_TRIPS // n):
            missing = n * (n - 1)
            over.clear()
            began = time.perf_counter()
            say(k % n, b"\0" * PROPOSAL)
            say(k % n, b"\1" * VOTE)
            await over.wait()
            times.append(1000 * (time.perf_counter() - began))
        await asyncio.gather(*(pc.close() for ends in made for pc in ends))
        return statistics.median(times)

    return float(_run(work))  # type: ignore[arg-type]


def main() -> None:
    prepare(ChannelSettings())
    heading("a mesh beside bare aiortc, CPU time")
    for n in (5, 12):
        ours, bare = [], []
        for _ in range(3):
            gc.collect()
            ours.append(our_mesh(n))
            gc.collect()
            bare.append(bare_mesh(n))
        ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
        show(Result(f"mesh of {n}: CPU of ours in CPU of aiortc's alone", ratio, "×", 1.3))
    heading("a mesh in which nothing happens, CPU time")
    for n, aim in ((8, None), (30, 10)):
        show(Result(f"mesh of {n}, in one process", 100 * idle(n), "% of a core", aim))
    heading("proposal to committed at all five, in round trips of a bare data channel")
    trip = statistics.median(round_trip() for _ in range(3))
    show(Result("a round trip, 200 bytes", trip, "ms"))
    direct, alone = statistics.median(commits(5, 40)), bare_votes(5)
    show(Result("direct, in round trips", direct / trip, "×", 5))
    show(Result("its messages over bare channels, in round trips", alone / trip, "×"))
    show(Result("direct, in what its messages alone take", direct / alone, "×"))
    for name, aim in (("raft", 2.5), ("pbft", 3.0)):
        show(
            Result(
                f"{name}, in direct's", statistics.median(commits(5, 40, name)) / direct, "×", aim
            )
        )


if __name__ == "__main__":
    main()
