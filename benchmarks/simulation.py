"""The simulated world: messages a second beside peers, decisions, whole scenarios, the trace.

All times are of this process's CPU, the best of some runs, ours and each peer's in turn; a shared
machine stretches both alike, so trust the ratios. Where the core is compiled, the Python one is
run beside it. `--against FOLDER` runs an older checkout's engine in turn with ours, on the same
votes; `--only throughput` leaves the rest out; `--long` takes minutes more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import votes
from benchmarks.measure import Result, heading, show
from benchmarks.peers import batched, naive_heap, simpy_votes
from mpclab import CORE
from mpclab.consensus.pbft import Pbft
from mpclab.core.ids import MS, SECOND
from mpclab.faults.network import Delay, Network
from mpclab.lab import Scenario, play
from mpclab.testing.cluster import Cluster
from mpclab.trace import Trace
from mpclab.trace.short import KEEP, ShortTrace

HERE = Path(__file__).parents[1]
ROUNDS = {4: 1500, 10: 300, 32: 30, 100: 4, 300: 1, 1000: 1}
BFT_SIMULATOR = {4: 0.3, 16: 5.8, 32: 37.7, 64: 279.0, 128: 3719.0, 256: 50_000.0}
"""Wang et al., BFT-Simulator (JavaScript): ms of CPU a PBFT decision until two thirds decided, as
recorded on such a machine before; it is not run here."""
QUANTAS = {16: 12.6, 32: 67.0, 64: 265.0, 128: 847.0, 256: 2_780.0}
"""Oglio et al., QUANTAS (C++): the same, recorded on such a machine before."""


def cpu(work: Callable[[], object], runs: int = 3) -> float:
    """Seconds of CPU that `work` takes, the best of some runs."""
    best = float("inf")
    for _ in range(runs):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def peer_rate(run: Callable[[int, int], int], n: int) -> float | None:
    """Thousand messages per second of CPU; None: the peer is not installed, or takes minutes."""
    if run is simpy_votes.run and n > 300:
        return None
    counted = 0

    def once() -> None:
        nonlocal counted
        counted = run(n, ROUNDS[n])

    try:
        took = cpu(once, 1 if n >= 300 else 2)
    except ImportError:
        return None
    assert counted == n * (n - 1) * ROUNDS[n]
    return counted / took / 1000


def older_rate(checkout: Path, n: int, core: str = "") -> float:
    """Thousand messages per second in another checkout of mpclab, or with another core."""
    done = subprocess.run(
        [sys.executable, str(Path(votes.__file__)), f"{n}:{ROUNDS[n]}"],
        env={**os.environ, "PYTHONPATH": str(checkout), "MPCLAB_CORE": core},
        capture_output=True,
        text=True,
        check=True,
    )
    found: float = json.loads(done.stdout)[str(n)]
    return found / 1000


def throughput(against: Path | None) -> None:
    heading(
        "all-to-all votes: thousand messages a second of CPU; ours with a trace, theirs without"
    )
    names = ["SimPy", "naive heap", "batched", *(["before"] if against else [])]
    if CORE == "compiled":
        names.append("Python core")
    print(f"core: {CORE}")
    print(f"{'n':>5}{'mpclab':>10}" + "".join(f"{name:>20}" for name in names))
    for n in ROUNDS:
        theirs = [peer_rate(peer.run, n) for peer in (simpy_votes, naive_heap, batched)]
        if against:
            theirs.append(older_rate(against, n))
        if CORE == "compiled":
            theirs.append(older_rate(HERE, n, "python"))
        ours = votes.rate(n, ROUNDS[n], 1 if n >= 300 else 3) / 1000
        cells = (f"{one:>9.1f} ({ours / one:5.2f} ×)" if one else f"{'–':>19}" for one in theirs)
        print(f"{n:>5}{ours:>10.1f}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def decisions(long: bool) -> None:
    heading("PBFT, until all have decided: ms of CPU a decision (peers: recorded before)")
    for n, count in ((4, 200), (16, 20), (32, 10), (128, 2), *(((256, 1),) if long else ())):
        network = Network(Delay("normal", 250 * MS, 50 * MS), ordered=False)
        cluster = Cluster(Pbft, n, network=network, patience=600 * SECOND)
        cluster.submit(1, "warm")
        cluster.run()

        def decide(cluster: Cluster = cluster, count: int = count) -> None:
            for k in range(count):
                cluster.submit(1, f"op{cluster.world.now}-{k}")
                cluster.run()

        took = cpu(decide, 2) / count * 1000
        known = BFT_SIMULATOR.get(n)
        aim = {32: 4.0, 128: 50.0}.get(n)
        show(Result(f"{n} replicas", took, "ms", aim, False, "BFT-Simulator", known))
        if n in QUANTAS:
            print(f"{'':<61}{QUANTAS[n] / took:.2f} × QUANTAS ({QUANTAS[n]:,.1f})", flush=True)


def a_log(count: int) -> None:
    heading(f"a PBFT log of {count} operations, five replicas: ms of CPU an operation")
    cluster = Cluster(Pbft, 5, patience=600 * SECOND)
    tenth = max(1, count // 10)
    for part in range(10):

        def some(part: int = part) -> None:
            for k in range(tenth):
                cluster.submit(1, f"op{part * tenth + k}")
                cluster.run()

        took = cpu(some, 1) / tenth * 1000
        if part in (0, 9):
            show(Result(f"operations {part * tenth} to {part * tenth + tenth}", took, "ms"))


def scenarios() -> None:
    heading("a scenario of four parties and one operation, from nothing to verdicts: ms of CPU")
    for mesh, aim in (("ready", 4), ("negotiated", 15)):
        scenario = Scenario.from_text(
            f"{{parties: 4, mesh: {mesh}, operations: [{{at: 0ms, by: 1, kind: note, text: hi}}]}}"
        )
        play(scenario)
        show(Result(f"mesh: {mesh}", cpu(lambda s=scenario: play(s), 15) * 1000, "ms", aim))  # type: ignore[misc]


def start() -> None:
    heading("`mpclab run commit --json`, the whole process: ms of CPU")

    def run() -> float:
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "mpclab", "run", "commit", "--json"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        after = os.times()
        spent = after.children_user - before.children_user
        return spent + after.children_system - before.children_system

    show(Result("start, run, verdicts", min(run() for _ in range(7)) * 1000, "ms", 250))


def memory(long: bool) -> None:
    heading("the trace of a long run: bytes a message, over what the world itself holds")
    n, rounds = 100, 1010 if long else 51
    whole = n * (n - 1) * rounds
    for mode, kept in (("full", Trace()), ("tail", ShortTrace(KEEP)), ("off", ShortTrace(0))):
        world = votes.voting_world(n, rounds, trace=kept)
        marks = []
        tracemalloc.start(1)
        for part in (0.2, 0.9):
            while kept.deliveries < part * whole:
                world.run(limit=SECOND)
            marks.append((kept.deliveries, tracemalloc.get_traced_memory()[0]))
        tracemalloc.stop()
        (first, before), (last, after) = marks
        name = f"trace: {mode}, messages {first:,} to {last:,}"
        show(Result(name, (after - before) / (last - first), "B", 24))


def files() -> None:
    heading("a trace of 500,000 rows: s of CPU")
    world = votes.voting_world(32, 490)
    world.run()
    trace: Any = world.trace
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"mpclab-bench-{os.getpid()}.jsonl"
    try:
        share = 500_000 / len(trace)
        for name, work, aim in (
            ("JSONL written", lambda: trace.save(path), 1.5),
            ("JSONL read", lambda: Trace.load(path), None),
            ("digest", trace.digest, None),
            ("Parquet written", lambda: trace.save(path.with_suffix(".parquet")), None),
            ("Parquet read", lambda: Trace.load(path.with_suffix(".parquet")), None),
        ):
            show(Result(name, cpu(work, 2) * share, "s", aim))
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".parquet").unlink(missing_ok=True)


SECTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "throughput": lambda args: throughput(args.against),
    "decisions": lambda args: decisions(args.long),
    "log": lambda args: a_log(10_000 if args.long else 1000),
    "scenarios": lambda args: scenarios(),
    "start": lambda args: start(),
    "memory": lambda args: memory(args.long),
    "files": lambda args: files(),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="an older checkout, to be run in turn with us")
    parser.add_argument("--long", action="store_true", help="minutes more: ten million messages")
    parser.add_argument("--only", nargs="*", choices=list(SECTIONS), help="some of the sections")
    args = parser.parse_args([] if arguments is None else arguments)
    for name in args.only or SECTIONS:
        SECTIONS[name](args)


if __name__ == "__main__":
    main(sys.argv[1:])
