"""Byzantine protocols against a party that is two parties; and those that it must break."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.benor import BenOr
from mpclab.consensus.bracha import Bracha
from mpclab.consensus.chained_hotstuff import ChainedHotStuff
from mpclab.consensus.hotstuff import HotStuff
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.raft import Raft
from mpclab.consensus.wrong import Pbft2f
from mpclab.core.ids import MS
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import Cluster
from mpclab.testing.twins import twins_of


def with_twins(
    protocol: type[Agreement],
    n: int,
    who: int,
    first: frozenset[int],
    both: frozenset[int],
    seed: int,
) -> Cluster:
    """A cluster in which `who` is two."""
    twins = twins_of(protocol)
    net = Network(Delay("exponential", 15 * MS))
    others = {who: lambda: twins(protocol, first, both, patience=300 * MS)}
    return Cluster(protocol, n, seed=seed, network=net, others=others, patience=300 * MS)


@pytest.mark.parametrize("protocol", [Pbft, HotStuff, ChainedHotStuff, Bracha])
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 8),
    who=st.integers(1, 8),
    first=st.frozensets(st.integers(1, 8)),
    both=st.frozensets(st.integers(1, 8), max_size=3),
    seed=st.integers(0, 2**32),
)
def test_twins_split_nobody_and_stop_nobody(
    protocol: type[Agreement],
    n: int,
    who: int,
    first: frozenset[int],
    both: frozenset[int],
    seed: int,
) -> None:
    who = (who - 1) % n + 1
    c = with_twins(protocol, n, who, first, both, seed)
    by = who % n + 1
    c.submit(by, "a")
    c.run_until(lambda: c.all_decided("a"), 600_000)
    c.run(5_000)
    c.check_agreement()
    assert c.blamed() <= {who}


@pytest.mark.parametrize(("protocol", "n"), [(Pbft2f, 4), (Raft, 3)])
def test_twins_break_what_does_not_tolerate_liars(protocol: type[Agreement], n: int) -> None:
    broken = 0
    for seed in range(40):
        c = with_twins(protocol, n, 1, frozenset({2}), frozenset(), seed)
        c.run(5_000)
        try:
            c.check_agreement()
        except AssertionError:
            broken += 1
    assert broken > 0, "outside its assumptions it must be found out"


def test_twins_are_within_protocol_b_of_ben_or() -> None:
    twins = twins_of(BenOr)
    for seed in range(30):
        others = {6: lambda: twins(BenOr, frozenset({1, 2}), patience=300 * MS, byzantine=True)}
        net = Network(Delay("exponential", 15 * MS))
        c = Cluster(
            BenOr, 6, seed=seed, network=net, others=others, patience=300 * MS, byzantine=True
        )
        for p in c.honest:
            c.submit(p, "a")
        c.run_until(lambda c=c: c.all_decided("a"), 600_000)  # type: ignore[misc]
        c.check_agreement()
