"""A scenario that fails is made as small as it can be, and still fails so."""

from pathlib import Path
from typing import Any

import pytest

from mpclab.cli import main
from mpclab.core import UsageError
from mpclab.faults.nodes import Crash
from mpclab.lab import Run, Scenario
from mpclab.lab.shipped import SCENARIOS
from mpclab.search import explore, shrink
from mpclab.search.shrink import ways
from mpclab.search.smaller import size, smaller, without_party
from mpclab.testing.experiments import draw

SPLIT: dict[str, Any] = {
    "parties": 5, "agreement": "direct", "policy": "threshold(2)",
    "network": {"delay": "uniform(1ms, 250ms)", "loss": 0.05},
    "operations": [
        {"at": f"{137 * k}ms", "by": k % 5 + 1, "kind": "note", "text": f"n{k}"} for k in range(5)
    ],
    "votes": {2: "reject"},
    "faults": [
        {"at": "10ms", "kind": "equivocate", "party": 3},
        {"at": "200ms", "kind": "crash", "party": 5, "restart_after": "333ms"},
        {"at": "1234ms", "for": "2s", "kind": "partition", "groups": [[1, 2], [3, 4, 5]]},
        {"at": "50ms", "kind": "delay", "delay": "exponential(300ms)", "from": [2]},
    ],
    "checks": ["agreement", "validity", "integrity", "total-order"],
    "seed": 77,
}  # fmt: skip


def test_what_a_failure_does_not_need_is_left_out(tmp_path: Path) -> None:
    big = Scenario.parse(SPLIT)
    found = shrink(big)
    small = found.scenario
    assert found.way == "agreement: some committed different values for an operation"
    assert not found.stopped
    assert small.parties == 3
    assert len(small.operations) == 1
    assert [fault.kind for fault in small.faults] == ["equivocate"]
    assert not small.votes
    assert (small.network.loss, small.network.delay.drawn, small.seed) == (0, False, 0)
    assert size(small) < size(big)
    again = Scenario.from_file(found.save(tmp_path / "small.yaml"))
    assert again == small
    assert found.way in ways(again.run())
    assert "5 → 3 parties, 5 → 1 operations, 4 → 1 faults" in str(found)
    assert len(found.picture().axes[0].collections) >= 2


def test_nothing_in_the_small_one_can_be_left_out() -> None:
    small = shrink(Scenario.from_file(SCENARIOS / "equivocate.yaml")).scenario
    for other in smaller(small):
        assert not any(way.startswith("agreement") for way in ways(other.run())), other


def test_a_judge_of_ones_own_says_what_failing_is() -> None:
    drawn = draw(2, "raft", mood="restarts").but(until="10s")
    assert len(drawn.faults) == 4

    def twice(run: Run) -> bool:
        crashes = sum(isinstance(fault, Crash) for fault in run.scenario.faults)
        return crashes >= 2 and len(run.outcomes) >= 1

    small = shrink(drawn, twice).scenario
    assert [fault.kind for fault in small.faults] == ["crash", "crash"]
    assert len(small.operations) == 1
    assert small.parties == 2
    assert small.until == 1_000_000


def test_it_can_be_cancelled_and_says_so() -> None:
    seen: list[int] = []

    def stop(best: Scenario, tried: int) -> bool:
        seen.append(tried)
        return tried < 4

    found = shrink(Scenario.parse(SPLIT), progress=stop)
    assert found.stopped == "cancelled"
    assert max(seen) == found.tried == 4
    assert found.run is not None
    assert found.way in ways(found.run)
    out_of_time = shrink(Scenario.parse(SPLIT), seconds=0.0)
    assert out_of_time.stopped == "0 s"


def test_an_operation_named_a_hides_no_letter() -> None:
    found = explore("wrong-direct", parties=3, liars={3}, submits={3: "a"}).counterexample
    assert found is not None
    assert ways(found.run) == ["agreement: some committed different values for an operation"]


def test_what_does_not_fail_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fail in the simulated world"):
        shrink(SCENARIOS / "commit.yaml")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "partition", "groups": [[1, 3], [2, 4]]},
        {"kind": "partition", "isolated": 4},
        {"kind": "loss", "rate": 0.5, "from": [3], "to": [1, 4]},
        {"kind": "send-to-some", "party": 3, "to": [1, 4]},
        {"kind": "crash", "party": 3},
    ],
)
def test_without_a_party_the_others_keep_their_parts(fault: dict[str, Any]) -> None:
    fields = {"parties": 4, "votes": {2: "reject", 4: "silent"}, "faults": [fault]}
    smaller = without_party(Scenario.parse(fields), 2)
    assert smaller.votes == {3: "silent"}
    [left] = smaller.faults
    words = {"groups": [[1, 2], [3]], "isolated": 3, "from": [2], "to": [1, 3], "party": 2}
    assert left.as_fields() == {
        "at": "0ms", **{k: words.get(k, v) for k, v in fault.items()},
    }  # fmt: skip


def test_the_terminal_shrinks_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "equivocate"]) == 1
    assert "mpclab shrink equivocate" in capsys.readouterr().out
    small = tmp_path / "small.yaml"
    assert main(["shrink", "equivocate", "--to", str(small)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 → 3 parties")
    assert lines[1] == "still: agreement: some committed different values for an operation"
    assert "parties: 3" in lines
    assert main(["run", str(small)]) == 1
    assert main(["shrink", "commit"]) == 2
    assert "does not fail" in capsys.readouterr().err
