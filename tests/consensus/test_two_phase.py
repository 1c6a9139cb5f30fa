"""Two-phase commit: 3N − 3 messages, never two outcomes, and blocking made visible."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.agreement import Cast
from mpclab.consensus.two_phase import TwoPhase
from mpclab.core.ids import MS
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import Cluster


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
def test_commit_takes_3n_minus_3_messages_and_three_delays(n: int) -> None:
    c = Cluster(TwoPhase, n)
    c.submit(1, "a")
    c.run()
    assert sum(c.sent().values()) == 3 * n - 3
    assert c.parent(n).decided_at["a"] == 30 * MS
    assert [p for p, _ in c.parent(n).decided[0].approvals] == list(range(1, n + 1))
    c.check_agreement()


def test_one_rejection_aborts_everywhere_with_its_author() -> None:
    c = Cluster(TwoPhase, 4, votes={3: False})
    c.submit(1, "a")
    c.run()
    assert all(c.parent(p).refused for p in c.members)
    assert "rejected by 3" in c.parent(2).refused[0].reason


def test_a_policy_of_fewer_outvotes_a_rejection() -> None:
    c = Cluster(TwoPhase, 4, votes={3: False}, needed=3)
    c.submit(1, "a")
    c.run()
    assert all(c.log(p) == ["a"] for p in c.members)


def test_silence_aborts_and_says_whose() -> None:
    c = Cluster(TwoPhase, 4, votes={4: None})
    c.submit(1, "a")
    c.run()
    assert all("no vote from 4" in c.parent(p).refused[0].reason for p in c.members)


def test_a_vote_by_hand_is_waited_for() -> None:
    c = Cluster(TwoPhase, 3, votes={3: None})
    c.submit(1, "a")
    c.world.at(7_000 * MS, lambda: c.world.ask(3, ("session",), Cast("a", True)))
    c.run()
    assert all(c.log(p) == ["a"] for p in c.members)


def test_coordinator_dies_after_the_votes_and_all_are_blocked_until_it_returns() -> None:
    c = Cluster(TwoPhase, 4)
    c.submit(1, "a")
    c.run(15)  # the Prepares have arrived, the votes travel
    c.crash(1)
    c.run()
    blocked = c.notes("blocked")
    assert {row.actor for row in blocked} == {2, 3, 4}
    assert all(row.note.waiting_for == (1,) for row in blocked)
    assert not any(c.log(p) or c.parent(p).refused for p in c.up)
    c.restart(1)
    c.run()
    assert all("crashed before deciding" in c.parent(p).refused[0].reason for p in c.members)


def test_an_unvoted_participant_frees_the_blocked() -> None:
    c = Cluster(TwoPhase, 4, votes={4: None})
    c.submit(1, "a")
    c.run(15)
    c.crash(1)
    c.run()
    assert all(c.parent(p).refused for p in c.up)
    assert not c.notes("blocked")


def test_one_that_knows_frees_the_blocked() -> None:
    c = Cluster(TwoPhase, 4)
    c.lossy(lambda src, dst: src == 1 and dst in (3, 4) and c.world.now > 15 * MS)
    c.submit(1, "a")
    c.run_until(lambda: bool(c.log(2)))
    c.crash(1)
    c.run()
    assert all(c.log(p) == ["a"] for p in c.up)
    assert not c.notes("blocked")


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(2, 6),
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.3),
    rejects=st.sets(st.integers(1, 6), max_size=1),
    crashes=st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 8_000), st.integers(1, 9_000)), max_size=3
    ),
    slack=st.integers(0, 2),
)
def test_never_two_outcomes_and_an_end_when_all_are_back(
    n: int, seed: int, loss: float, rejects: set[int], crashes: list[tuple[int, int, int]],
    slack: int,
) -> None:  # fmt: skip
    net = Network(Delay("uniform", 1 * MS, 400 * MS), loss=loss)
    votes = dict.fromkeys(rejects, False)
    needed = max(1, n - slack)
    c = Cluster(TwoPhase, n, seed=seed, network=net, votes=votes, patience=500 * MS, needed=needed)
    c.submit(1, "a")
    c.submit(n, "b")
    for p, down, up in crashes:
        if p <= n:
            c.world.at(down * MS, lambda p=p: c.crash(p))  # type: ignore[misc]
            c.world.at((down + up) * MS, lambda p=p: c.restart(p))  # type: ignore[misc]
    c.run(60_000)
    c.check_agreement()
    if len(rejects & set(c.members)) > n - needed:
        assert not any(c.log(p) for p in c.members)
    assert c.blamed() == set()
    for op in ("a", "b"):
        holders = [p for p in c.members if any(op == r for r in c.machine(p).records)]
        assert all(c.machine(p).records[op].settled for p in holders), c.story()


def test_who_approved_and_then_heard_of_an_abort_does_not_vote_again() -> None:
    """Party 4 has not heard of it and says so when asked: that aborts. Who asked had approved,
    and is asked again for its vote by a coordinator that has heard neither."""
    c = Cluster(TwoPhase, 4, patience=100 * MS)
    c.lossy(lambda src, dst: (src, dst) in {(1, 4), (3, 1), (4, 1)})
    c.submit(1, "a")
    c.run(10_000)
    c.heal()
    c.run()
    assert c.settled("a")
    assert c.blamed() == set()


def test_a_late_vote_re_opens_nothing_and_leaves_no_timer() -> None:
    c = Cluster(TwoPhase, 3, votes={3: None}, patience=100 * MS)
    c.submit(1, "a")
    c.run()
    assert c.settled("a")
    c.world.ask(3, ("session",), Cast("a", True, "", b"approval" * 8))
    c.run()
    assert [r.op for r in c.parent(3).refused] == ["a", "a"]
    for p in c.members:
        assert not c.log(p)
        assert not c.world.look(p, lambda node: node.timers)
