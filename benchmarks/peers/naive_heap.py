"""A heap of messages and a function that handles one: what anyone writes in an afternoon."""

from __future__ import annotations

import random
from heapq import heappop, heappush

from benchmarks.peers import DEVIATION, MEAN, Tally


def run(n: int, rounds: int) -> int:
    rng = random.Random(7)
    voters = [Tally(n) for _ in range(n)]
    heap: list[tuple[float, int, int, int, int]] = []
    number = delivered = 0

    def broadcast(sender: int, now: float) -> None:
        nonlocal number
        voter = voters[sender]
        while voter.round < rounds:
            for to in range(n):
                if to != sender:
                    number += 1
                    delay = max(0.0, rng.gauss(MEAN, DEVIATION))
                    heappush(heap, (now + delay, number, to, sender, voter.round))
            if not voter.take(sender, voter.round):
                break

    for party in range(n):
        broadcast(party, 0.0)
    while heap:
        now, _, to, sender, round = heappop(heap)
        delivered += 1
        if voters[to].take(sender, round):
            broadcast(to, now)
    return delivered
