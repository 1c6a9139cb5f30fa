"""What operation 10,000 costs beside operation 100, and what a settled operation leaves behind.

CPU time of all four parties and the lab, in a simulated world that keeps no rows of traffic, and of
three parties on real sockets. What is kept is counted late in the run, when every bounded cache is
full: bytes that are still allocated after a block of operations, by the part of the program that
allocated them.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence

from benchmarks.measure import Result, heading, show
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.node import Node
from mpclab.lab import Lab

OPERATIONS = 10_000
REAL = 1_000
KEPT_AFTER, KEPT_OVER = 1_500, 500
"""Operations before kept bytes are counted (every cache is full then), and while they are."""
_BLOCK = 50
_LABS = ("/mpclab/lab/", "/mpclab/trace/", "/benchmarks/")


def _settle(lab: Lab, count: int) -> float:
    """CPU seconds of `count` notes, proposed in turn and settled one after another."""
    began = time.process_time()
    for k in range(count):
        lab.propose(by=1 + k % len(lab.parties), kind="note", text=f"operation {k}")
        lab.run()
    return time.process_time() - began


def _ready(world: str, parties: int, agreement: str) -> Lab:
    lab = Lab(world=world, parties=parties, agreement=agreement, seed=1, trace="off")
    lab.start_server(port=0)
    lab.spawn()
    lab.join()
    return lab


def slope(world: str, parties: int, agreement: str, operations: int) -> float:
    """CPU time of the last operations in that of those around the hundredth."""
    with _ready(world, parties, agreement) as lab:
        _settle(lab, 100)
        early = min(_settle(lab, _BLOCK) for _ in range(3))
        _settle(lab, operations - 100 - 6 * _BLOCK)
        late = min(_settle(lab, _BLOCK) for _ in range(3))
        ended = Counter(outcome.status for outcome in lab.outcomes())
        assert ended == {"committed": operations}, ended
        return late / early


def kept(agreement: str) -> tuple[float, float]:
    """Bytes that a settled operation leaves at one party (its store included, which is memory in a
    simulation), and in the lab that watches."""
    with _ready("simulated", 4, agreement) as lab:
        _settle(lab, KEPT_AFTER)
        gc.collect()
        tracemalloc.start(1)
        before = tracemalloc.take_snapshot()
        _settle(lab, KEPT_OVER)
        gc.collect()
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
    party = watcher = 0
    for line in after.compare_to(before, "filename"):
        if any(part in line.traceback[0].filename for part in _LABS):
            watcher += line.size_diff
        else:
            party += line.size_diff
    return party / KEPT_OVER / 4, watcher / KEPT_OVER


def main(agreements: Sequence[str] = ()) -> None:
    Node.strict = False
    heading(f"operation {OPERATIONS:,} in CPU time of operation 100")
    for agreement in agreements or ("direct", "raft"):
        value = slope("simulated", 4, agreement, OPERATIONS)
        show(Result(f"simulated, 4 parties, {agreement}", value, "×", 1.3))
    for agreement in agreements or ("direct", "raft"):
        value = slope("websocket", 3, agreement, REAL)
        show(Result(f"real sockets, 3 parties, {agreement}, operation {REAL:,}", value, "×", 1.3))
    heading("kept for each settled operation")
    for agreement in agreements or [name for name in AGREEMENTS if not name.startswith("wrong")]:
        party, watcher = kept(agreement)
        show(Result(f"{agreement}, at each party", party / 1024, "KB", 2))
        show(Result(f"{agreement}, in the lab", watcher / 1024, "KB"))


if __name__ == "__main__":
    main(sys.argv[1:])
