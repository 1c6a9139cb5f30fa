"""What every protocol of the family must do, alone and under the coordinator."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.agreement import Agreement, Cast, Decided, Learnt, Refused
from mpclab.consensus.atomic import AtomicPrepare
from mpclab.consensus.registry import AGREEMENTS, WRONG, agreement
from mpclab.consensus.three_phase import ThreePhaseState, ThreePhaseStateWanted
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.core.node import Node
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import AT, Cluster
from mpclab.testing.sessions import Sessions
from mpclab.trace import rows

NAMES = sorted(AGREEMENTS)
SENDING = sorted(set(AGREEMENTS) - {"direct"})
LOGS = [
    "acs", "bullshark", "chained-hotstuff", "hotstuff", "hotstuff-2", "paxos", "pbft", "raft",
    "streamlet", "tendermint", "vr",
]  # fmt: skip


def submit_all(c: Cluster, op: str, by: int) -> None:
    """As the coordinator does: the proposer alone, or everyone."""
    everyone = c.machine(by).everyone_submits
    for p in c.members if everyone else (by,):
        c.submit(p, op)


@pytest.mark.parametrize("name", NAMES)
def test_the_word_names_the_protocol(name: str) -> None:
    protocol = agreement(name)
    assert issubclass(protocol, Agreement)
    assert protocol.title
    assert protocol.__module__
    assert 0 <= protocol.liars(7) <= 3


def test_an_unknown_word_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'raft'"):
        agreement("rapht")


def test_wrong_protocols_are_not_among_the_choices_but_can_be_had() -> None:
    assert not set(WRONG) & set(AGREEMENTS)
    assert all(agreement(name) is WRONG[name] for name in WRONG)


@pytest.mark.parametrize("name", SENDING)
def test_twice_submitted_is_once_decided(name: str) -> None:
    c = Cluster(AGREEMENTS[name], 4)
    for _ in range(2):
        submit_all(c, "a", 2)
    c.run(10_000)
    submit_all(c, "a", 2)
    c.run(10_000)
    assert all(c.log(p) == ["a"] for p in c.members)
    c.check_agreement()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_valid_is_never_decided(name: str) -> None:
    c = Cluster(AGREEMENTS[name], 4, valid=lambda value: value != b"bad")
    for p in c.members:
        c.submit(p, "a", b"bad")
    c.run(30_000)
    assert not any(c.log(p) for p in c.members)
    submit_all(c, "b", 3)
    c.run_until(lambda: c.all_decided("b"))


@pytest.mark.parametrize("name", NAMES)
def test_no_value_is_decided_under_the_id_of_another(name: str) -> None:
    """A valid value, submitted under another's id, must not keep that one from being decided."""
    c = Cluster(AGREEMENTS[name], 4, names=lambda value: value[: len(value) // 3].decode())
    for p in c.members:
        c.submit(p, "mine", b"yours" * 3)
    c.run(20_000)
    assert not any(c.log(p) for p in c.members)
    submit_all(c, "mine", 2)
    c.run_until(lambda: c.all_decided("mine"))


@pytest.mark.parametrize("name", SENDING)
def test_what_was_decided_is_told_again_after_a_restart(name: str) -> None:
    c = Cluster(AGREEMENTS[name], 4)
    for op in ("a", "b"):
        submit_all(c, op, 1)
        c.run_until(lambda op=op: c.all_decided(op))  # type: ignore[misc]
    c.run(5_000)
    before = c.log(3)
    c.crash(3)
    c.restart(3)
    c.run_until(lambda: sorted(c.log(3)) == sorted(before))
    c.check_agreement()


@pytest.mark.parametrize("name", LOGS)
def test_places_in_the_log_have_no_gaps(name: str) -> None:
    c = Cluster(AGREEMENTS[name], 4, network=Network(Delay("exponential", 15 * MS)))
    names = [f"op{k}" for k in range(30)]
    for k, op in enumerate(names):
        c.submit(k % 4 + 1, op)
    c.run_until(lambda: c.all_decided(*names))
    for p in c.members:
        assert [d.index for d in c.parent(p).decided] == list(range(30))
    assert len({tuple(c.log(p)) for p in c.members}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_can_be_copied_and_the_copy_goes_its_own_way(name: str) -> None:
    c = Cluster(AGREEMENTS[name], 4)
    c.run(5)
    node = c.world.look(1, lambda node: node)
    assert isinstance(copy.deepcopy(node), Node)
    fork = c.world.fork()
    submit_all(c, "a", 1)
    c.run_until(lambda: c.all_decided("a"))
    there = fork.look(1, lambda node: node.machine(("session",)))
    assert there.decided == []


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_of_one_seed_are_the_same(name: str) -> None:
    def digest() -> str:
        c = Cluster(AGREEMENTS[name], 5, seed=3, network=Network(Delay("exponential", 20 * MS)))
        for op, by in (("a", 1), ("b", 2)):
            submit_all(c, op, by)
        c.run(20_000)
        return c.world.trace.digest()

    assert digest() == digest()


# --- under the coordinator ----------------------------------------------------------------


@pytest.mark.parametrize("policy", ["unanimous", "threshold(3)"])
@pytest.mark.parametrize("name", NAMES)
def test_an_approved_operation_is_committed_everywhere(name: str, policy: str) -> None:
    s = Sessions(4, policy=policy, agreement=AGREEMENTS[name])
    op = s.propose(2)
    s.run(20 * SECOND)
    assert set(s.statuses(op).values()) == {"executed"}
    assert len(s.heads()) == 1
    assert s.blames() == []


@pytest.mark.parametrize("name", NAMES)
def test_a_rejected_operation_is_aborted_everywhere(name: str) -> None:
    s = Sessions(4, agreement=AGREEMENTS[name], votes={3: "reject"})
    op = s.propose(1)
    s.run(30 * SECOND)
    assert set(s.statuses(op).values()) == {"aborted"}
    assert s.blames() == []


@pytest.mark.parametrize("name", NAMES)
def test_all_propose_at_once_and_hold_one_history(name: str) -> None:
    s = Sessions(4, agreement=AGREEMENTS[name], network=Network(Delay("exponential", 20 * MS)))
    ops = [s.propose(p, text=f"from {p}") for p in s.members]
    s.run(40 * SECOND)
    for op in ops:
        assert set(s.statuses(op).values()) == {"executed"}
    assert len(s.heads()) == 1
    assert s.blames() == []


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"2pc", "3pc"}))
def test_a_proposer_that_dies_after_the_votes_does_not_stop_the_others(name: str) -> None:
    s = Sessions(4, policy="threshold(3)", agreement=AGREEMENTS[name])
    op = s.propose(1)
    s.run(25 * MS)  # all have all votes or nearly
    s.world.crash(1)
    s.run(120 * SECOND)
    assert set(s.statuses(op).values()) == {"executed"}
    s.world.restart(1)
    s.run(120 * SECOND)
    assert s.statuses(op)[1] == "executed"
    assert len(s.heads()) == 1


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n != "direct" and not AGREEMENTS[n].synchronous]
)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    victim=st.integers(1, 4),
    down=st.integers(0, 300),
    lasting=st.integers(50, 5_000),
    loss=st.sampled_from([0.0, 0.05, 0.15]),
)
def test_a_crash_and_loss_leave_one_history(
    name: str, seed: int, victim: int, down: int, lasting: int, loss: float
) -> None:
    network = Network(Delay("uniform", 5 * MS, 40 * MS), loss=loss)
    s = Sessions(
        4, policy="threshold(3)", agreement=AGREEMENTS[name], seed=seed, network=network,
        patience=500 * MS,
    )  # fmt: skip
    s.world.at(down * MS, lambda: s.world.crash(victim))
    s.world.at((down + lasting) * MS, lambda: s.world.restart(victim))
    ops = [s.propose(p, text=f"from {p}") for p in s.members]
    s.run(40 * SECOND)
    for op in ops:
        known = {status for status in s.statuses(op).values() if status != "unheard"}
        assert not {"executed", "aborted"} <= known, f"{op}: {s.statuses(op)}"
    if name in LOGS:
        assert len(s.heads()) == 1


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(LOGS)))
def test_what_the_coordinator_learnt_is_the_protocols_too(name: str) -> None:
    """Party 4 was cut off before it heard the end; it waits for nothing, and says nothing else."""
    c = Cluster(AGREEMENTS[name], 4, patience=500 * MS, needed=3)
    submit_all(c, "a", 1)
    c.run(15)
    c.cut([4], [1, 2, 3])
    c.run(2_000)
    told = c.parent(1).decided + c.parent(1).refused
    assert [d.op for d in told] == ["a"]
    before = len(c.parent(4).decided)
    c.world.ask(4, AT[:-1], Learnt(told[0], by=1))
    since = c.world.now + 1
    c.heal()
    c.run(60_000)
    assert len(c.parent(4).decided + c.parent(4).refused) == before, "known already"
    waiting = ("AtomicInquiry", "ThreePhaseStateWanted", "BrachaInit", "BenOrAgain")
    said = [r.kind for r in c.world.trace.of(rows.Sent) if r.actor == 4 and r.at > since]
    assert not set(said) & set(waiting), said
    for p in c.members:
        c.submit(p, "a")
    c.run(60_000)
    c.check_agreement()
    assert c.blamed() == set()


@pytest.mark.parametrize("end", [Decided("a", b"aaa", None, ()), Refused("a", "no")])
def test_a_backup_coordinator_that_learns_the_end_announces_no_other(end: Any) -> None:
    """3pc: party 2 has asked all where they are, and is told by its own coordinator meanwhile."""
    replica = Alone(AGREEMENTS["3pc"], me=2, n=3, patience=100 * MS)
    replica.hear(1, AtomicPrepare("a", b"aaa"))
    replica.ask(Cast("a", True, "", b"yes"))
    while "states/a" not in replica.timers:
        replica.fire("tick/a")
    replica.ask(Learnt(end, by=1))
    assert replica.hear(1, ThreePhaseState("a", "ready", False, ())) == []
    assert replica.hear(3, ThreePhaseState("a", "uncertain", False, ())) == []
    record = replica.machine.records["a"]
    assert record.state == ("committed" if isinstance(end, Decided) else "aborted")
    assert not replica.timers
    [told] = replica.hear(3, ThreePhaseStateWanted("a"))
    assert told.commit is isinstance(end, Decided)  # type: ignore[attr-defined]
