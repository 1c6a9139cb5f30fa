"""What is said is stored first: a crash between any two deeds makes nobody contradict itself."""

import pytest

from mpclab.consensus.registry import AGREEMENTS, agreement
from mpclab.core.ids import MS
from mpclab.testing.cluster import AT, Cluster
from mpclab.trace import rows

FAMILY = [name for name in AGREEMENTS if name != "direct"]
LOGS = (
    "raft", "paxos", "vr", "pbft", "hotstuff", "chained-hotstuff", "hotstuff-2", "tendermint",
    "streamlet", "bullshark", "acs",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILY)
def test_who_dies_amid_a_submit_says_no_other_thing_in_its_next_life(name: str) -> None:
    died = 0
    for seed in range(12):
        c = Cluster(agreement(name), 4, seed=seed)
        c.run(2_000)  # a log has its leader
        c.world.tear(1)
        c.submit(1, "a")
        died += 1 not in c.world.actors
        c.run(100)
        c.restart(1)
        if name in LOGS:
            c.submit(1, "b")  # must not be given the place that `a` may have
        else:
            c.submit(1, "a", b"another value")
        c.run(20_000)
        assert c.blamed() == set(), f"seed {seed}"
        c.check_agreement()
    passed_on = ("acs", "raft", "hotstuff", "chained-hotstuff", "hotstuff-2", "streamlet")
    assert died or name in passed_on, "nothing was tried"


def test_a_primary_that_dies_as_it_begins_a_view_does_not_begin_it_twice() -> None:
    told = 0
    for seed in range(24):
        c = Cluster(agreement("pbft"), 4, seed=seed, patience=500 * MS)
        c.crash(1)
        c.submit(3, "a")
        c.run_until(lambda c=c: c.machine(2).view == 1)  # type: ignore[misc]
        c.run(9)  # the others have just left for the view as well
        c.world.tear(2)
        c.run_until(lambda c=c: 2 not in c.world.actors)  # type: ignore[misc]
        sent = [r for r in c.world.trace.of(rows.Sent) if r.kind == "PbftNewView" and r.actor == 2]
        c.restart(2)
        if sent:
            told += 1
            assert c.machine(2).active
            assert "new-view" in c.world.disk(2)[AT]
        c.restart(1)
        c.run_until(lambda c=c: c.all_decided("a"))  # type: ignore[misc]
        c.check_agreement()
        assert c.blamed() == set()
    assert 0 < told < 24
