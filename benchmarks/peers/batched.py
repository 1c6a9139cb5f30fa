"""One entry of the heap for a broadcast, whose delays NumPy draws and sorts together."""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from typing import Any

import numpy as np

from benchmarks.peers import DEVIATION, MEAN, Tally


def run(n: int, rounds: int) -> int:
    rng = np.random.default_rng(7)
    voters = [Tally(n) for _ in range(n)]
    heap: list[tuple[float, int, int, list[Any]]] = []
    number = delivered = 0
    others = [np.asarray([p for p in range(n) if p != me]) for me in range(n)]

    def broadcast(sender: int, now: float) -> None:
        nonlocal number
        voter = voters[sender]
        while voter.round < rounds:
            times = now + np.maximum(0.0, rng.normal(MEAN, DEVIATION, n - 1))
            order = np.argsort(times)
            number += 1
            whole = [sender, voter.round, times[order].tolist(), others[sender][order].tolist()]
            heappush(heap, (whole[2][0], number, 0, whole))
            if not voter.take(sender, voter.round):
                break

    for party in range(n):
        broadcast(party, 0.0)
    while heap:
        now, entry, place, whole = heap[0]
        sender, round, times, to = whole
        delivered += 1
        if place + 1 < len(times):
            heapreplace(heap, (times[place + 1], entry, place + 1, whole))
        else:
            heappop(heap)
        receiver = to[place]
        if voters[receiver].take(sender, round):
            broadcast(receiver, now)
    return delivered
