"""`make soak`: random experiments, many more than the tests do, for as long as you like.

Each seed draws a scenario for each protocol (`mpclab.testing.experiments`: late messages, flapping
partitions, three restarts, faults of one kind of message and at the moment of each, liars alone, in
collusion and beside crashes, snapshots, skewed clocks), runs it, and lets every check judge, and an
oracle that shares no code with them (`mpclab.check.oracle`). Its ends are fair, so that everything
has to end. What is violated, disagreed upon or left open is shrunk and left as a scenario file in
`soak-out/`; `mpclab run` on that file shows it again. Beside each scenario run some storms of the
machines alone (`mpclab.testing.storms`); one that fails is shrunk and left there as a plan, and
`--again FILE` plays it. As many orders of events are drawn for the protocols that promise one value
without any timing (`mpclab.testing.gauntlet`). `--only storms`, `scenarios` or `gauntlets` leaves
the others out. Ctrl-C ends with the summary so far.

`--keys N` runs instead N lives of keys and N of each protocol of `mpc/`, with restarts between any
two effects, bad links, rivals and a liar (`mpclab.testing.key_sweep`).

`--servers N` runs N lives of three signaling servers that share a Redis, beside a lone one that is
asked the same and has to answer the same (`tests/worlds/test_servers_alike.py`).

`--mutants NAME` asks instead which mistakes in a protocol its tests would see, and lists those that
survive; a reason is known for some (`docs/mutants.md`).
"""

from __future__ import annotations

import argparse
import collections
import tempfile
import time
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mpclab.check.facts import approvals_needed
from mpclab.check.oracle import broken, differences
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.errors import UsageError
from mpclab.lab import Run, Scenario
from mpclab.search import shrink
from mpclab.testing.conformance import conformance
from mpclab.testing.experiments import MOODS, draw
from mpclab.testing.gauntlet import gauntlet
from mpclab.testing.house import HOUSE
from mpclab.testing.key_sweep import MACHINES, key_trial, operation_trial
from mpclab.testing.kill import kill
from mpclab.testing.mutants import mutants
from mpclab.testing.plans import plan_of
from mpclab.testing.promises import PROMISES
from mpclab.testing.storms import Storm, again, shrunk
from tools.mutants_table import survivors

STORMS = 10
"""Storms beside each scenario."""
OUT = Path("soak-out")
KINDS = ("scenarios", "storms", "gauntlets")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="for each protocol (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--protocol", action="append", choices=sorted(AGREEMENTS))
    parser.add_argument("--mood", default="", choices=("", *MOODS), help="this one only")
    parser.add_argument("--parties", type=int, default=0, help="instead of 4 to 7")
    parser.add_argument("--storms", type=int, default=STORMS, help="beside each scenario")
    parser.add_argument("--only", choices=KINDS, help="leave the others out")
    parser.add_argument("--again", metavar="FILE", help="play the plan of a storm again")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    parser.add_argument("--mutants", choices=sorted(HOUSE), help="make mistakes in this protocol")
    parser.add_argument("--keys", type=int, default=0, metavar="N", help="lives of keys instead")
    parser.add_argument("--servers", type=int, default=0, metavar="N", help="of servers instead")
    args = parser.parse_args()
    if args.again:
        played = again(args.again)
        print(played.story())
        return 1 if played.problems else 0
    if args.servers:
        return live_servers(range(args.seed, args.seed + args.servers))
    if args.keys:
        return live_keys(range(args.seed, args.seed + args.keys))
    if args.mutants:
        return mutate(args.mutants)
    protocols = args.protocol or [name for name in AGREEMENTS if name != "direct"]
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    console = Console(highlight=False)
    statuses: dict[str, collections.Counter[str]] = {p: collections.Counter() for p in protocols}
    took: dict[tuple[str, str], float] = collections.defaultdict(float)
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
                    counts = statuses[protocol]
                    begun = time.process_time()
                    if args.only in (None, "scenarios"):
                        scenario = draw(seed, protocol, mood=args.mood, n=args.parties)
                        try_one(scenario, protocol, counts, violations)
                    between = time.process_time()
                    seeds = range(seed * args.storms, (seed + 1) * args.storms)
                    if args.only in (None, "storms"):
                        for k in seeds:
                            try_storm(protocol, k, args.parties, counts, violations)
                    then = time.process_time()
                    if args.only in (None, "gauntlets"):
                        for k in seeds:
                            try_gauntlet(protocol, k, args.parties, counts, violations)
                    took[protocol, "runs"] += between - begun
                    took[protocol, "storms"] += then - between
                    took[protocol, "gauntlets"] += time.process_time() - then
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
        "gauntlets",
        "violated",
    )
    rated = ("runs", "storms", "gauntlets")
    for heading in (*headings, *(f"{what}/s" for what in rated)):
        table.add_column(heading, justify="left" if heading == "protocol" else "right")
    for protocol, counts in statuses.items():
        rates = (counts[what] / (took[protocol, what] or 1.0) for what in rated)
        each = (*(str(counts[k]) for k in headings[1:]), *(f"{rate:.0f}" for rate in rates))
        table.add_row(protocol, *each)
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


def live_servers(seeds: range) -> int:
    """Lives of servers that are to be as one; the first that is not ends it."""
    from tests.worlds.test_servers_alike import life, servers_of_a_redis

    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder, servers_of_a_redis(Path(folder)) as servers:
            life(servers, seed, steps=240)
        print(f"seed {seed}: as one")
    return 0


def live_keys(seeds: range) -> int:
    """What `key_sweep` promises, for every protocol; the counts, and the trials that break it."""
    console, broken = Console(highlight=False), []
    trials = {kind: partial(operation_trial, kind) for kind in MACHINES}
    trials["a key's life"] = key_trial
    trials["a key's rules"] = partial(key_trial, changes=("refresh", "reshare", "rules"))
    for name, trial in trials.items():
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
    protocol: str, seed: int, n: int, counts: collections.Counter[str], violations: list[str]
) -> None:
    """Play one storm and take down what came of it."""
    counts["storms"] += 1
    plan = plan_of(protocol, seed, n=n)
    if problems := Storm(plan).play().problems:
        counts["violated"] += 1
        OUT.mkdir(exist_ok=True)
        path = OUT / f"storm-{protocol}-{seed}.json"
        plan.save(path)
        shrunk(plan).save(path)
        violations.append(f"{path}: {problems[0]}")


def try_gauntlet(
    protocol: str, seed: int, n: int, counts: collections.Counter[str], violations: list[str]
) -> None:
    """Play one order of events, where the protocol promises one value under any."""
    machine = AGREEMENTS[protocol]
    if not (machine.orders or machine.exclusive):
        return
    counts["gauntlets"] += 1
    long = protocol == "streamlet"
    if problem := gauntlet(machine, seed, n=n or 4, promises=PROMISES.get(protocol), long=long):
        counts["violated"] += 1
        violations.append(f"gauntlet {protocol}, seed {seed}, n = {n or 4}: {problem}")


def mutate(protocol: str) -> int:
    """Make every mistake in one protocol, and say which its suite does not see."""
    console = Console(highlight=False)
    left = 0
    every = list(mutants(AGREEMENTS[protocol]))
    known = survivors().get(protocol, {}).get("left", {})
    for number, mutant in enumerate(every, 1):
        seen = kill(conformance(mutant.build(), **HOUSE[protocol]), budget=20.0)
        why = seen or known.get(mutant.key, "") or "[red]survives[/]"
        console.print(f"{number}/{len(every)} {mutant}: {why}")
        left += not seen
    console.print(f"{len(every) - left} of {len(every)} are seen")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
