"""Experiments of the soak: from a seed, and as a file."""

from pathlib import Path

import pytest

from mpclab.faults.nodes import Crash
from mpclab.lab import Scenario
from mpclab.testing.experiments import MOODS, draw


@pytest.mark.parametrize("mood", MOODS)
def test_an_experiment_is_a_function_of_its_seed_and_a_file(mood: str, tmp_path: Path) -> None:
    drawn = draw(4, "pbft", mood=mood)
    assert draw(4, "pbft", mood=mood) == drawn
    drawn.to_file(tmp_path / "drawn.yaml")
    assert Scenario.from_file(tmp_path / "drawn.yaml") == drawn
    assert drawn.mesh == "ready"
    assert drawn.faults


@pytest.mark.parametrize("protocol", ["raft", "pbft", "hotstuff"])
def test_some_experiments_are_borne(protocol: str) -> None:
    for seed in range(6):
        drawn = draw(seed, protocol)
        violated = [v for v in drawn.run().verdicts if v.verdict == "violated"]
        assert not violated, drawn.name


def test_liars_and_crashes_together_are_exactly_as_many_as_are_borne() -> None:
    for seed in range(8):
        drawn = draw(seed, "pbft", mood="both")
        faulty = {fault.party for fault in drawn.faults}  # type: ignore[attr-defined]
        assert len(faulty) == (drawn.parties - 1) // 3
        assert any(isinstance(fault, Crash) for fault in drawn.faults)
