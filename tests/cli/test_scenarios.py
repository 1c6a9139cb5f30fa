"""Every scenario file that comes with mpclab shows what its first line promises."""

from pathlib import Path

import pytest

from mpclab.lab import Scenario
from mpclab.lab.shipped import SCENARIOS

FILES = sorted(SCENARIOS.glob("*.yaml"))

ENDS = {
    # status of each operation, and the checks that are violated
    "auction": (["committed"], []),
    "blocked": (["aborted"], []),
    "bridge": (["committed"], []),
    "commit": (["committed", "committed"], []),
    "crash": (["expired"], []),
    "cut": (["split"], ["agreement"]),
    "equivocate": (["split"], ["agreement"]),
    "reject": (["aborted"], []),
    "second-gate": (["committed"], []),
    "signature": (["committed"] * 4, []),
}


def test_no_file_is_left_out() -> None:
    assert {path.stem for path in FILES} == set(ENDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_first_line_says_what_to_look_for(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_read_is_written_and_read_again(path: Path) -> None:
    scenario = Scenario.from_file(path)
    assert scenario.name
    assert Scenario.from_text(scenario.to_text(private=True)) == scenario


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_ends_as_it_says(path: Path) -> None:
    run = Scenario.from_file(path).run()
    statuses, broken = ENDS[path.stem]
    assert [outcome.status for outcome in run.outcomes] == statuses
    assert [v.check for v in run.verdicts if v.verdict == "violated"] == broken


def test_a_blocked_party_says_for_whom_it_waits() -> None:
    run = Scenario.from_file(SCENARIOS / "blocked.yaml").run()
    blocked = run.trace.notes("blocked")
    assert {row.actor for row in blocked} == {2, 3, 4, 5}
    assert all(row.note.waiting_for == (1,) for row in blocked)


def test_the_liar_that_leads_is_replaced() -> None:
    run = Scenario.from_file(SCENARIOS / "second-gate.yaml").run()
    assert [row.actor for row in run.trace.notes("became-leader")][:2] == [1, 2]
