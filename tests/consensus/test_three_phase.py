"""Three-phase commit: never blocked while the network is punctual, and unsafe when it is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.atomic import AtomicCommit, AtomicOutcome, AtomicPrepare
from mpclab.consensus.three_phase import ThreePhase
from mpclab.consensus.two_phase import TwoPhase
from mpclab.core.effects import Blame
from mpclab.core.errors import Strength
from mpclab.core.ids import MS
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import Cluster


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
def test_commit_takes_5n_minus_5_messages_and_five_delays(n: int) -> None:
    c = Cluster(ThreePhase, n)
    c.submit(1, "a")
    c.run()
    assert sum(c.sent().values()) == 5 * (n - 1)
    assert c.parent(n).decided_at["a"] == 50 * MS
    c.check_agreement()


@pytest.mark.parametrize("down_at", [5, 15, 25, 35, 45])
def test_whenever_the_coordinator_dies_the_others_end(down_at: int) -> None:
    c = Cluster(ThreePhase, 5)
    c.submit(1, "a")
    c.run(down_at)
    c.crash(1)
    c.run()
    assert all(c.settled(op) for op in c.machine(2).records)
    committed = {bool(c.log(p)) for p in c.up}
    assert committed == {down_at > 20}, "committed once somebody was ready"
    c.restart(1)
    c.run()
    c.check_agreement()
    assert c.settled("a") or down_at == 5


def test_when_all_were_down_all_must_be_back() -> None:
    c = Cluster(ThreePhase, 3)
    c.submit(1, "a")
    c.run(25)  # everybody is uncertain; the PreCommits travel
    c.crash(1, 2, 3)
    c.restart(2, 3)
    c.run(30_000)
    assert {row.actor for row in c.notes("blocked")} == {2, 3}
    assert not c.log(2) + c.log(3)
    c.restart(1)
    c.run(30_000)
    assert c.settled("a")
    c.check_agreement()


def test_a_partition_splits_it_as_theory_says() -> None:
    """The side that is ready commits, the other aborts: this is outside the assumptions."""
    c = Cluster(ThreePhase, 4)
    c.lossy(lambda src, dst: c.world.now >= 20 * MS and (src in (1, 2)) != (dst in (1, 2)))
    c.submit(1, "a")
    c.run()
    assert c.log(1) == c.log(2) == ["a"]
    assert c.parent(3).refused
    assert c.parent(4).refused
    with pytest.raises(AssertionError):
        c.check_agreement()


@pytest.mark.parametrize(
    ("protocol", "strength"), [(ThreePhase, Strength.SUSPECT), (TwoPhase, Strength.KNOWN)]
)
def test_another_end_is_a_fault_only_where_a_split_needs_a_liar(
    protocol: type[AtomicCommit], strength: Strength
) -> None:
    """Of an honest party beyond a partition nobody says that it surely broke the protocol."""
    alone = Alone(protocol, me=2)
    alone.hear(1, AtomicPrepare("a", b"a"))
    alone.hear(1, AtomicOutcome("a", False, "no vote in time", ()))
    alone.hear(3, AtomicOutcome("a", True, "", (), b"a"))
    [blame] = [e for e in alone.effects if isinstance(e, Blame)]
    assert (blame.party, blame.strength) == (3, strength)


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(2, 6),
    seed=st.integers(0, 2**32),
    rejects=st.sets(st.integers(1, 6), max_size=1),
    crashes=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4_000)), max_size=4),
    back=st.integers(1, 20_000),
)
def test_punctual_and_crashing_it_agrees_and_the_living_end(
    n: int, seed: int, rejects: set[int], crashes: list[tuple[int, int]], back: int
) -> None:
    net = Network(Delay("uniform", 1 * MS, 400 * MS))
    c = Cluster(
        ThreePhase, n, seed=seed, network=net, votes=dict.fromkeys(rejects, False),
        patience=1_000 * MS,
    )  # fmt: skip
    c.submit(1, "a")
    for p, down in crashes:
        if p <= n:
            c.world.at(down * MS, lambda p=p: c.crash(p))  # type: ignore[misc]
            c.world.at((down + back) * MS, lambda p=p: c.restart(p))  # type: ignore[misc]
    c.run(200_000)
    c.check_agreement()
    assert c.blamed() == set()
    assert all(r.settled for p in c.members for r in c.machine(p).records.values()), c.story()
    if rejects & set(c.members):
        assert not any(c.log(p) for p in c.members)
