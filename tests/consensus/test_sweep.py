"""The soak's trial itself: the right protocols pass it, and a wrong one does not."""

import pytest

from mpclab.consensus.raft_log import RaftLog
from mpclab.consensus.raft_messages import RaftEntry
from mpclab.core.machine import Ctx
from mpclab.testing.sweep import trial


@pytest.mark.parametrize("name", ["raft", "pbft", "hotstuff", "chained-hotstuff"])
def test_some_trials_pass(name: str) -> None:
    for seed in range(12):
        assert trial(name, seed).problem == "", f"seed {seed}"


@pytest.mark.parametrize("name", ["raft", "pbft", "hotstuff", "chained-hotstuff"])
def test_a_crash_in_the_middle_of_a_step_does_no_harm(name: str) -> None:
    for seed in (55, 298, *range(100, 106)):
        assert trial(name, seed, torn=True).problem == "", f"seed {seed}"


def test_a_trial_is_a_function_of_its_seed() -> None:
    assert trial("pbft", 5) == trial("pbft", 5)


def test_a_raft_that_stores_no_entries_does_not_pass_them_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RaftLog, "append", append_without_storing)
    assert any(trial("raft", seed).problem for seed in range(60))


def append_without_storing(self: RaftLog, ctx: Ctx, entry: RaftEntry) -> None:
    self.entries.append(entry)
    if entry.op:
        self.ops.add(entry.op)
