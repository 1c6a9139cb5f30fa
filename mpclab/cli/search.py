"""`mpclab explore | sweep | shrink | diff`: looking for what breaks a promise, in the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpclab.cli.text import line
from mpclab.core.errors import UsageError
from mpclab.core.words import count


def add_commands(commands: Any) -> None:
    """Add the search's commands to `mpclab`'s."""
    explore = _command(commands, "explore", _explore, "try every order of a protocol's events")
    explore.add_argument("what", help="a protocol's word, or a scenario (YAML)")
    explore.add_argument("--parties", type=int, help="how many (default 3, or the file's)")
    explore.add_argument(
        "--submit", action="append", default=[], metavar="ID=NAME",
        help="party ID submits NAME (NAME|1: another value for it); may be repeated",
    )  # fmt: skip
    for name, says in (
        ("losses", "messages that may be lost"), ("timers", "timers that may go off"),
        ("crashes", "crashes"), ("repeats", "messages that may come twice"),
    ):  # fmt: skip
        explore.add_argument(f"--{name}", type=int, default=0, help=f"{says}, in one run")
    explore.add_argument("--torn", action="store_true", help="crashes between any two effects")
    explore.add_argument("--liar", type=int, action="append", metavar="ID", help="it may lie")
    explore.add_argument("--depth", type=int, help="events in a run, at the most")
    explore.add_argument("--budget", type=int, default=1_000_000, help="states, at the most")
    explore.add_argument("--seconds", type=float, default=60.0, help="at the most (default 60)")
    explore.add_argument("--walks", type=int, default=0, metavar="N", help="N random runs instead")
    explore.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    explore.add_argument("--to", type=Path, metavar="FILE", help="where to write what is found")

    sweep = _command(commands, "sweep", _sweep, "run a scenario with many values and seeds")
    sweep.add_argument("file", help="a scenario (YAML), or the name of one we ship")
    sweep.add_argument(
        "--over", action="append", default=[], required=True, metavar="KEY=A,B,…",
        help="the values of a key: network.loss=0,0.1,0.3; may be repeated",
    )  # fmt: skip
    sweep.add_argument("--seeds", type=int, default=10, help="so many, from 0 on (default 10)")
    sweep.add_argument("--processes", type=int, help="default: one for each core")
    sweep.add_argument("--store", type=Path, metavar="FILE", help="keep results; go on from them")
    sweep.add_argument("--csv", type=Path, metavar="FILE", help="write a table, a row a run")
    sweep.add_argument("--png", type=Path, metavar="FILE", help="write the phase diagram")

    diff = _command(commands, "diff", _diff, "say where two runs part")
    diff.add_argument("a", help="a scenario (YAML), or a trace (JSONL)")
    diff.add_argument("b", help="another")
    diff.add_argument("--seed", type=int, help="for both, instead of the files'")
    diff.add_argument("--party", type=int, help="whose knowledge to show (default: the first's)")
    diff.add_argument("--lines", action="store_true", help="all differences, party by party")
    diff.add_argument("--png", type=Path, metavar="FILE", help="both diagrams, aligned")

    shrink = _command(commands, "shrink", _shrink, "find the least that fails in the same way")
    shrink.add_argument("file", help="a scenario (YAML) that fails, or the name of one we ship")
    shrink.add_argument("--seed", type=int, help="instead of the file's")
    shrink.add_argument("--to", type=Path, metavar="FILE", help="where to write the small one")
    shrink.add_argument("--out", type=Path, help="leave pictures, trace and report in this folder")
    shrink.add_argument("--seconds", type=float, default=60.0, help="at the most (default 60)")


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], says: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=says)
    parser.set_defaults(run=run)
    return parser


def _explore(args: argparse.Namespace) -> int:
    from mpclab.cli.console import console
    from mpclab.lab.scenario import Scenario
    from mpclab.lab.shipped import file_of
    from mpclab.search import explore, walk

    what: Any = args.what
    if what.endswith((".yaml", ".yml")):
        what = Scenario.from_file(file_of(what))
    submits: dict[int, list[str]] = {}
    for one in args.submit:
        party, given, name = one.partition("=")
        if not given or not party.isdigit():
            raise UsageError(f"--submit {one!r}: write ID=NAME")
        submits.setdefault(int(party), []).append(name)
    bounds: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("parties", "losses", "timers", "crashes", "repeats", "torn", "seconds")
    }
    bounds["submits"] = submits or None
    bounds["liars"] = None if args.liar is None else frozenset(args.liar)
    bounds |= {name: _value(text) for name, text in map(_pair, args.option)}
    if args.walks:
        depth = args.depth or 200
        walked = walk(what, runs=args.walks, depth=depth, **bounds)
        told, found = str(walked), walked.counterexample
    else:
        with console.status("exploring") as status:

            def tell(states: int, depth: int) -> None:
                status.update(line(f"exploring: {states:,} states, {depth} events deep"))

            explored = explore(what, depth=args.depth, budget=args.budget, progress=tell, **bounds)
        told, found = f"{explored}\n{explored.per_second:,} states/s", explored.counterexample
    _say(told)
    if found is None:
        return 0
    target = args.to or Path("counterexample.yaml")
    found.save(target)
    _say(f"\nrun it again: mpclab run {target}")
    return 1


def _sweep(args: argparse.Namespace) -> int:
    from rich.progress import Progress

    from mpclab.cli.console import console
    from mpclab.lab.shipped import file_of
    from mpclab.search import sweep

    over = {key: [_value(v) for v in text.split(",")] for key, text in map(_pair, args.over)}
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("sweeping", total=None)
        found = sweep(
            file_of(args.file), over, seeds=args.seeds, processes=args.processes,
            store=args.store,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    for point, rate in found.rates().items():
        values = point if isinstance(point, tuple) else (point,)
        words = ", ".join(f"{k} = {v}" for k, v in zip(over, values, strict=True))
        console.print(line(f"{rate:6.0%} fail: {words}"))
    _say(str(found))
    if args.csv:
        found.frame.to_csv(args.csv, index=False)
    if args.png:
        found.picture(*list(over)[:2]).savefig(args.png, bbox_inches="tight")
    return 1 if any(row["fails"] for row in found.rows) else 0


def _diff(args: argparse.Namespace) -> int:
    from mpclab.search import diff

    found = diff(_run_of(args.a, args.seed), _run_of(args.b, args.seed))
    _say(str(found))
    if found.first is not None:
        _say("\n" + found.knew(args.party))
    if args.lines:
        _say("\n" + found.lines())
    if args.png:
        found.picture().savefig(args.png, bbox_inches="tight")
    return 0 if found.first is None else 1


def _run_of(name: str, seed: int | None) -> Any:
    from mpclab.lab.scenario import Scenario
    from mpclab.lab.shipped import file_of
    from mpclab.trace import Trace

    if name.endswith(".jsonl"):
        if not Path(name).is_file():
            raise UsageError(f"{name}: no such file")
        return Trace.load(name)
    scenario = Scenario.from_file(file_of(name))
    return (scenario if seed is None else scenario.but(seed=seed)).run()


def _say(text: str) -> None:
    """Print a text of several lines, of which peers may have written words."""
    from mpclab.cli.console import console

    for one in text.split("\n"):
        console.print(line(one), soft_wrap=True)


def _pair(text: str) -> tuple[str, str]:
    key, given, value = text.partition("=")
    if not given:
        raise UsageError(f"{text!r}: write KEY=VALUE")
    return key, value


def _value(text: str) -> Any:
    """A number, a truth value or a word, as in a scenario file; a duration in µs stays one."""
    import yaml

    return yaml.safe_load(text)


def _shrink(args: argparse.Namespace) -> int:
    from mpclab.cli.console import console
    from mpclab.cli.report import write_report
    from mpclab.lab.scenario import Scenario
    from mpclab.lab.shipped import file_of
    from mpclab.search import shrink

    path = file_of(args.file)
    scenario = Scenario.from_file(path)
    if args.seed is not None:
        scenario = scenario.but(seed=args.seed)
    with console.status("shrinking") as status:

        def tell(best: Scenario, tried: int) -> None:
            parts = f"{count(best.parties, 'party')}, {count(len(best.operations), 'operation')}, "
            parts += count(len(best.faults), "fault")
            status.update(line(f"shrinking: {tried} runs, {parts}"))

        found = shrink(scenario, seconds=args.seconds, progress=tell)
    target = args.to or Path(f"{path.stem}-small.yaml")
    found.save(target)
    _say(str(found).rstrip())
    _say(f"\nthe scenario: {target}")
    if args.out and found.run is not None:
        write_report(found.run, args.out)
        console.print(line(f"pictures, trace and report: {args.out}/"))
    return 0
