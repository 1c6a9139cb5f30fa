"""Each file of `examples/attacks` names protocols that survive it, and a wrong one that falls."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from mpclab.consensus.registry import AGREEMENTS, WRONG
from mpclab.lab import Run, Scenario
from mpclab.trace import rows

FILES = sorted((Path(__file__).parents[2] / "examples" / "attacks").glob("*.yaml"))


def said(path: Path, what: str) -> list[str]:
    [line] = [x for x in path.read_text().splitlines() if x.startswith(f"# {what}: ")]
    return line.removeprefix(f"# {what}: ").split(", ")


@cache
def play(path: Path, agreement: str) -> Run:
    return Scenario.from_file(path).but(agreement=agreement).run()


def broken(run: Run) -> set[str]:
    assert list(run.trace.of(rows.Lied)), "the liars acted"
    return {v.check for v in run.verdicts if v.verdict == "violated"}


SURVIVE = [(path, name) for path in FILES for name in said(path, "survives")]


def test_the_files_are_there_and_say_what_to_look_for() -> None:
    assert len(FILES) >= 7
    for path in FILES:
        first = path.read_text().splitlines()[0]
        assert first.startswith("# ")
        assert first.endswith(".")
        assert Scenario.from_file(path).agreement == said(path, "survives")[0]


@pytest.mark.parametrize(("path", "name"), SURVIVE, ids=lambda x: getattr(x, "stem", x))
def test_it_is_survived(path: Path, name: str) -> None:
    assert name in AGREEMENTS
    run = play(path, name)
    assert broken(run) == set()
    liars = {f.party for f in run.scenario.faults if f.byzantine}  # type: ignore[attr-defined]
    assert {o.status for o in run.outcomes if o.by not in liars} <= {"committed"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_wrong_one_falls(path: Path) -> None:
    [wrong, _] = said(path, "does not")
    assert wrong in WRONG
    assert "agreement" in broken(play(path, wrong))
