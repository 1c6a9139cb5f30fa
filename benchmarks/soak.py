"""`make soak`: random experiments, many more than the tests do, for as long as you like.

Each seed draws a scenario for each protocol (`mpclab.testing.experiments`: late messages, flapping
partitions, three restarts, faults of one kind of message and at the moment of each, liars alone, in
collusion and beside crashes, snapshots, skewed clocks), runs it, and lets every check judge, and an
oracle that shares no code with them (`mpclab.check.oracle`). Its ends are fair, so that everything
has to end. What is violated, disagreed upon or left open is shrunk and left as a scenario file in
`soak-out/`; `mpclab run` on that file shows it again. Beside each scenario run
some short runs of the machines alone: storms of a log protocol (`mpclab.testing.storms`), and runs
of any, liars beside crashes (`mpclab.testing.family`). Ctrl-C ends with the summary so far.

`--keys N` runs instead N lives of keys and N of each protocol of `mpc/`, with restarts between any
two effects, bad links, rivals and a liar (`mpclab.testing.key_sweep`).

`--mutants NAME` asks instead which mistakes in a protocol its tests would see, and lists those that
survive.
"""

from __future__ import annotations

import argparse
import collections
import time
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mpclab.check.facts import approvals_needed
from mpclab.check.oracle import broken, differences
from mpclab.consensus.registry import AGREEMENTS, agreement
from mpclab.core.errors import UsageError
from mpclab.lab import Run, Scenario
from mpclab.search import shrink
from mpclab.testing.conformance import conformance
from mpclab.testing.experiments import MOODS, draw
from mpclab.testing.family import family_run
from mpclab.testing.house import HOUSE
from mpclab.testing.key_sweep import MACHINES, key_trial, operation_trial
from mpclab.testing.kill import kill
from mpclab.testing.mutants import mutants
from mpclab.testing.storms import PROMISES, storm

STORMS = 10
"""Storms beside each scenario of a log protocol; as many family runs beside each of any."""
OUT = Path("soak-out")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="for each protocol (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--protocol", action="append", choices=sorted(AGREEMENTS))
    parser.add_argument("--mood", default="", choices=("", *MOODS), help="this one only")
    parser.add_argument("--parties", type=int, default=0, help="instead of 4 to 7")
    parser.add_argument("--storms", type=int, default=STORMS, help="beside each scenario")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    parser.add_argument("--mutants", choices=sorted(HOUSE), help="make mistakes in this protocol")
    parser.add_argument("--keys", type=int, default=0, metavar="N", help="lives of keys instead")
    args = parser.parse_args()
    if args.keys:
        return live_keys(range(args.seed, args.seed + args.keys))
    if args.mutants:
        return mutate(args.mutants)
    protocols = args.protocol or [name for name in AGREEMENTS if name != "direct"]
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    console = Console(highlight=False)
    statuses: dict[str, collections.Counter[str]] = {p: collections.Counter() for p in protocols}
    took: dict[str, float] = dict.fromkeys(protocols, 0.0)
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
                    begun = time.process_time()
                    scenario = draw(seed, protocol, mood=args.mood, n=args.parties)
                    try_one(scenario, protocol, statuses[protocol], violations)
                    took[protocol] += time.process_time() - begun
                    if protocol in PROMISES:
                        for k in range(seed * args.storms, (seed + 1) * args.storms):
                            try_storm(k, protocol, statuses[protocol], violations)
                    for k in range(seed * args.storms, (seed + 1) * args.storms):
                        counts = statuses[protocol]
                        counts["family"] += 1
                        if problems := family_run(protocol, k).problems:
                            counts["violated"] += 1
                            violations.append(f"family_run({protocol!r}, {k}): {problems[0]}")
                    progress.advance(task)
    except KeyboardInterrupt:
        console.print("ended early")
    table = Table(box=None, header_style="dim")
    headings = (
        "protocol",
        "runs",
        "committed",
        "aborted",
        "undecided",
        "storms",
        "family",
        "violated",
    )
    for heading in (*headings, "runs/s"):
        table.add_column(heading, justify="left" if heading == "protocol" else "right")
    for protocol, counts in statuses.items():
        rate = counts["runs"] / took[protocol] if took[protocol] else 0.0
        table.add_row(protocol, *(str(counts[k]) for k in headings[1:]), f"{rate:.0f}")
    console.print(table)
    for line in violations:
        console.print(f"[red]{line}[/]")
    return 1 if violations else 0


def judge(run: Run) -> str:
    """What a run violates, what its checks and the oracle disagree upon, or what did not end: the
    ends of an experiment are fair, so that nothing excuses it. Without numbers; "" for nothing."""
    scenario = run.scenario
    found = [f"{v.check}: {v.sentence}" for v in run.verdicts if v.verdict == "violated"]
    needed = approvals_needed(scenario.policy, scenario.parties)
    said = broken(run.trace.lines(), n=scenario.parties, needed=needed)
    found += differences(said, run.verdicts)
    if "termination" in said:
        found.append(f"not everything ended: {said['termination']}")
    return found[0] if found else ""


def way(run: Run) -> str:
    """How a run fails: the promise that it breaks, for shrinking."""
    return judge(run).partition(":")[0]


def live_keys(seeds: range) -> int:
    """What `key_sweep` promises, for every protocol; the counts, and the trials that break it."""
    console, broken = Console(highlight=False), []
    trials = {kind: partial(operation_trial, kind) for kind in MACHINES}
    for name, trial in {**trials, "a key's life": key_trial}.items():
        count: collections.Counter[str] = collections.Counter()
        for seed in seeds:
            try:
                count += trial(seed)
            except AssertionError as error:
                broken.append(str(error))
        console.print(name, dict(count))
    for line in broken:
        console.print(f"[red]{line}[/]")
    return 1 if broken else 0


def try_one(
    scenario: Scenario, protocol: str, counts: collections.Counter[str], violations: list[str]
) -> None:
    """Run one experiment and take down what came of it."""
    counts["runs"] += 1
    try:
        run = scenario.run()
        counts.update(outcome.status for outcome in run.outcomes)
        found = judge(run)
    except UsageError as error:
        found = f"could not run: {error}"
    except Exception as error:  # a fault of the program; its scenario is shrunk like any other
        found = f"{type(error).__name__}: {error}"
    if found:
        counts["violated"] += 1
        OUT.mkdir(exist_ok=True)
        path = OUT / f"{protocol}-{scenario.seed}.yaml"
        scenario.to_file(path)
        if not found.startswith("could not run"):
            shrink(scenario, way).save(path)
        violations.append(f"{path}: {found}")


def try_storm(
    seed: int, protocol: str, counts: collections.Counter[str], violations: list[str]
) -> None:
    """Run one storm; every third with liars, where the protocol bears them."""
    counts["storms"] += 1
    lies = seed % 3 == 0 and agreement(protocol).liars(4) > 0
    if problem := storm(protocol, seed, lies=lies).problem:
        counts["violated"] += 1
        violations.append(f"storm({protocol!r}, {seed}, lies={lies}): {problem}")


def mutate(protocol: str) -> int:
    """Make every mistake in one protocol, and say which its suite does not see."""
    console = Console(highlight=False)
    survivors = []
    every = list(mutants(AGREEMENTS[protocol]))
    for number, mutant in enumerate(every, 1):
        seen = kill(conformance(mutant.build(), **HOUSE[protocol]), budget=20.0)
        console.print(f"{number}/{len(every)} {mutant}: {seen or '[red]survives[/]'}")
        if not seen:
            survivors.append(mutant)
    console.print(f"{len(every) - len(survivors)} of {len(every)} are seen")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
