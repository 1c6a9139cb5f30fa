"""Experiments of the soak: from a seed, and as a file."""

from pathlib import Path

import pytest

from benchmarks.soak import judge, way
from mpclab.consensus.registry import AGREEMENTS
from mpclab.faults.nodes import Crash
from mpclab.lab import Scenario
from mpclab.testing import experiments
from mpclab.testing.experiments import MOODS, draw


@pytest.mark.parametrize("mood", MOODS)
def test_an_experiment_is_a_function_of_its_seed_and_a_file(mood: str, tmp_path: Path) -> None:
    drawn = draw(4, "pbft", mood=mood)
    assert draw(4, "pbft", mood=mood) == drawn
    drawn.to_file(tmp_path / "drawn.yaml")
    assert Scenario.from_file(tmp_path / "drawn.yaml") == drawn
    assert drawn.mesh == "ready"
    assert drawn.faults
    for fault in drawn.faults:  # fair ends: only lies stay
        assert fault.byzantine or fault.lasts is not None


@pytest.mark.parametrize("protocol", AGREEMENTS)
def test_some_experiments_are_borne_and_end(protocol: str) -> None:
    for seed in range(3 if protocol == "bullshark" else 6):  # whose runs are long
        drawn = draw(seed, protocol)
        assert judge(drawn.run()) == "", drawn.name


def test_what_does_not_end_is_a_failure_whatever_excuses_it() -> None:
    scenario = Scenario.parse(
        {
            "parties": 4, "policy": "threshold(3)", "agreement": "raft", "mesh": "ready",
            "operations": [{"by": 1, "kind": "note", "text": "x"}], "checks": ["termination"],
            "faults": [{"at": "0ms", "kind": "partition", "isolated": 4}],
        }
    )  # fmt: skip
    assert judge(scenario.but(faults=[]).run()) == ""
    run = scenario.run()
    assert [v.verdict for v in run.verdicts] == ["unknown"]
    assert way(run) == "not everything ended"


def test_a_moment_is_one_of_a_kind_of_message_or_of_what_is_stored() -> None:
    quiet = draw(3, "pbft", mood="moment").but(faults=[])
    moments = experiments._moments(quiet.as_fields())
    assert {"sends PbftPrepare", "hears PbftCommit", "notes voted"} <= set(moments)
    assert any(name.startswith("stores") for name in moments)


def test_colluders_lie_alike_and_crashes_fall_beside_liars() -> None:
    for seed in range(8):
        together = draw(seed, "hotstuff", mood="colluders", n=7).faults
        assert len(together) == 2
        assert len({(fault.kind, fault.at) for fault in together}) == 1
        beside = draw(seed, "hotstuff", mood="beside").faults
        assert {fault.byzantine for fault in beside} == {True, False}


def test_liars_and_crashes_together_are_exactly_as_many_as_are_borne() -> None:
    for seed in range(8):
        drawn = draw(seed, "pbft", mood="both")
        faulty = {fault.party for fault in drawn.faults}  # type: ignore[attr-defined]
        assert len(faulty) == (drawn.parties - 1) // 3
        assert any(isinstance(fault, Crash) for fault in drawn.faults)
