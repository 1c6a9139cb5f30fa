"""`make soak`: random experiments, many more than the tests do, for as long as you like.

Each seed draws a protocol, parties, a policy, a network, operations and faults within what the
protocol promises to bear, runs them, and lets every check judge, and an oracle that shares no
code with them (`mpclab.check.oracle`). A violation or a disagreement leaves its scenario in
`soak-out/`; `mpclab run` on that file shows it again. Beside each scenario of a log protocol run
some storms (`mpclab.testing.storms`): its machines alone, some tens of them a second, with
liars where the protocol bears them. Ctrl-C ends with the summary so far.
"""

from __future__ import annotations

import argparse
import collections
import random
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mpclab.check.facts import approvals_needed
from mpclab.check.oracle import disagreements
from mpclab.consensus.registry import AGREEMENTS, agreement
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.faults.nemesis import nemesis
from mpclab.faults.network import Delay, Network
from mpclab.lab import Planned, Scenario
from mpclab.testing.storms import PROMISES, storm

STORMS = 10
"""Storms beside each scenario of a log protocol."""
SAFETY = (
    "agreement",
    "validity",
    "integrity",
    "total-order",
    "durability",
    "leaders",
    "certificates",
    "blame",
)
CRASHES_ONLY = ("crash", "torn-crash", "partition", "loss", "delay", "pause")
OUT = Path("soak-out")


def draw(seed: int, protocol: str) -> Scenario:
    """The experiment of a seed: the same every time."""
    rng = random.Random(seed)
    n = rng.randint(4, 8)
    low = rng.choice((1, 10, 50)) * MS
    policy = "unanimous" if rng.random() < 0.5 else f"threshold({rng.randint(n // 2 + 1, n)})"
    faults = nemesis(seed, n, CRASHES_ONLY, until=8 * SECOND, rate=rng.choice((0.2, 0.5, 1.0)))
    operations = tuple(
        Planned(rng.randint(0, 8000) * MS, rng.randint(1, n), "note", {"text": f"number {i}"})
        for i in range(rng.randint(1, 6))
    )
    return Scenario(
        name=f"soak {protocol} {seed}",
        parties=n,
        policy=policy,
        agreement=protocol,
        network=Network(Delay("uniform", low, low * rng.randint(2, 10))),
        operations=tuple(sorted(operations, key=lambda planned: planned.at)),
        faults=tuple(faults),
        checks=SAFETY,
        until=60 * SECOND,
        seed=seed,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="for each protocol (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--protocol", action="append", choices=sorted(AGREEMENTS))
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    args = parser.parse_args()
    protocols = args.protocol or [name for name in AGREEMENTS if name != "direct"]
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    console = Console(highlight=False)
    statuses: dict[str, collections.Counter[str]] = {p: collections.Counter() for p in protocols}
    violations: list[str] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("soak", total=args.runs * len(protocols))
            for seed in range(args.seed, args.seed + args.runs):
                for protocol in protocols:
                    if time.monotonic() > end:
                        raise KeyboardInterrupt
                    progress.update(task, description=f"{protocol}, seed {seed}")
                    try_one(draw(seed, protocol), protocol, statuses[protocol], violations)
                    if protocol in PROMISES:
                        for k in range(seed * STORMS, (seed + 1) * STORMS):
                            try_storm(k, protocol, statuses[protocol], violations)
                    progress.advance(task)
    except KeyboardInterrupt:
        console.print("ended early")
    table = Table(box=None, header_style="dim")
    headings = ("protocol", "runs", "committed", "aborted", "undecided", "storms", "violated")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "protocol" else "right")
    for protocol, counts in statuses.items():
        table.add_row(
            protocol,
            *(str(counts[k]) for k in headings[1:]),
        )
    console.print(table)
    for line in violations:
        console.print(f"[red]{line}[/]")
    return 1 if violations else 0


def try_one(
    scenario: Scenario, protocol: str, counts: collections.Counter[str], violations: list[str]
) -> None:
    """Run one experiment and take down what came of it."""
    counts["runs"] += 1
    try:
        run = scenario.run()
    except UsageError as error:
        wrong = [f"could not run: {error}"]
    else:
        counts.update(outcome.status for outcome in run.outcomes)
        wrong = [v.sentence for v in run.verdicts if v.verdict == "violated"]
        wrong += disagreements(
            run.trace.lines(), run.verdicts, n=scenario.parties,
            needed=approvals_needed(scenario.policy, scenario.parties),
        )  # fmt: skip
    if wrong:
        counts["violated"] += 1
        OUT.mkdir(exist_ok=True)
        path = OUT / f"{protocol}-{scenario.seed}.yaml"
        scenario.to_file(path)
        violations.append(f"{path}: {wrong[0]}")


def try_storm(
    seed: int, protocol: str, counts: collections.Counter[str], violations: list[str]
) -> None:
    """Run one storm; every third with liars, where the protocol bears them."""
    counts["storms"] += 1
    lies = seed % 3 == 0 and agreement(protocol).liars(4) > 0
    if problem := storm(protocol, seed, lies=lies).problem:
        counts["violated"] += 1
        violations.append(f"storm({protocol!r}, {seed}, lies={lies}): {problem}")


if __name__ == "__main__":
    raise SystemExit(main())
