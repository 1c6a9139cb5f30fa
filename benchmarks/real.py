"""Real WebRTC meshes on loopback, and an operation from proposal to commit everywhere."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys

from benchmarks.measure import Result, heading, median, seconds, show
from mpclab.lab import Lab


def import_time() -> float:
    """Seconds that `import mpclab` adds to a bare interpreter."""

    def run(code: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    return median(lambda: run("import mpclab") - run("pass"), 5)


def mesh(n: int) -> float:
    """Seconds from the first party's join to every pair confirmed, n parties in one process."""
    gc.collect()  # what earlier labs left is not this one's to clean up
    with Lab(parties=n, world="webrtc") as lab:
        lab.start_server(port=0)
        lab.spawn()
        return seconds(lambda: lab.join(timeout=60))


def commits(n: int, operations: int = 60, agreement: str = "direct") -> list[float]:
    """Milliseconds from proposing to committed at every party, for each operation."""
    with Lab(parties=n, world="webrtc", agreement=agreement) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        for i in range(operations):
            lab.propose(by=i % n + 1, kind="note", text=f"number {i}")
            lab.run()
        found = []
        for outcome in lab.outcomes()[5:]:
            assert outcome.committed_at_ms is not None
            assert outcome.proposed_at_ms is not None
            found.append(outcome.committed_at_ms - outcome.proposed_at_ms)
        return found


def main() -> None:
    heading("start-up")
    show(Result("import mpclab", import_time() * 1000, "ms", 200))
    heading("WebRTC on loopback, every party in one process")
    times = sorted(commits(5))
    show(
        Result(
            "proposal to committed everywhere, 5 parties, p50", statistics.median(times), "ms", 10
        )
    )
    show(Result("the same, p95", times[int(len(times) * 0.95)], "ms"))
    for n, aim in ((5, None), (12, 500), (20, 1500)):
        value = median(lambda n=n: mesh(n)) * 1000  # type: ignore[misc]
        show(Result(f"mesh of {n}: join to every pair confirmed", value, "ms", aim))
