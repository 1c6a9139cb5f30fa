"""`mpclab shrink`: what is done with a run that broke a promise, in the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpclab.cli.text import line


def add_commands(commands: Any) -> None:
    """Add the search's commands to `mpclab`'s."""
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


def _shrink(args: argparse.Namespace) -> int:
    from mpclab.cli.report import write_report
    from mpclab.cli.shipped import file_of
    from mpclab.cli.show import console
    from mpclab.lab.scenario import Scenario
    from mpclab.search import shrink

    path = file_of(args.file)
    scenario = Scenario.from_file(path)
    if args.seed is not None:
        scenario = scenario.but(seed=args.seed)
    with console.status("shrinking") as status:

        def tell(best: Scenario, tried: int) -> None:
            parts = f"{best.parties} parties, {len(best.operations)} operations, "
            parts += f"{len(best.faults)} faults"
            status.update(line(f"shrinking: {tried} runs, {parts}"))

        found = shrink(scenario, seconds=args.seconds, progress=tell)
    target = args.to or Path(f"{path.stem}-small.yaml")
    found.save(target)
    console.print(line(str(found).rstrip()))
    console.print(line(f"\nthe scenario: {target}"))
    if args.out and found.run is not None:
        write_report(found.run, args.out)
        console.print(line(f"pictures, trace and report: {args.out}/"))
    return 0
