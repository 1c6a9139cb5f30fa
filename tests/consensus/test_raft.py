"""Raft: published counts and election times, one leader a term, one log, whatever happens."""

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.raft import Raft
from mpclab.consensus.wrong import AtOnceRaft
from mpclab.core.ids import MS
from mpclab.faults.network import Delay, Network
from mpclab.lab import Scenario
from mpclab.testing.cluster import Cluster
from mpclab.testing.figures import check_leaders, downtimes, elect, leader
from mpclab.testing.gauntlet import gauntlet
from mpclab.testing.promises import PROMISES
from mpclab.trace import rows
from mpclab.trace.fold import fold
from tests.consensus.test_raft_paper import accepted
from tests.consensus.test_raft_voters import changes, leads


def test_who_stood_and_did_not_win_says_that_it_follows() -> None:
    """Or a timeline would show it as a candidate for ever."""
    c = Cluster(Raft, 5, network=Network(Delay("uniform", 10 * MS, 30 * MS)), seed=7)
    first = elect(c)
    c.crash(first)
    c.run_until(lambda: len(c.notes("became-leader")) > 1)
    c.run(200)
    last = {row.actor: row.note.phase for row in c.notes("phase")}
    losers = last.keys() - {first, leader(c)}
    assert losers, "nobody else had stood: choose another seed"
    assert {last[p] for p in losers} == {"follower"}


@pytest.mark.parametrize("n", [3, 5, 9])
def test_an_entry_takes_2n_minus_2_messages_and_one_round_trip(n: int) -> None:
    c = Cluster(Raft, n)
    first = elect(c)
    begun = c.world.now + 1
    c.world.run(limit=1)
    c.submit(first, "a")
    c.run()
    assert c.sent("RaftAppendEntries", "RaftAppendEntriesResponse", since=begun).total() == 2 * (
        n - 1
    )
    assert c.parent(first).decided_at["a"] == begun + 20 * MS
    assert c.all_decided("a")


def test_others_submits_are_forwarded_once() -> None:
    c = Cluster(Raft, 5)
    other = elect(c) % 5 + 1
    c.submit(other, "a")
    c.submit(other, "a")
    c.submit(elect(c), "a")
    c.run()
    assert c.all_decided("a")
    c.check_agreement()


def test_a_dead_leader_is_replaced_and_comes_back_up_to_date() -> None:
    c = Cluster(Raft, 5)
    first = elect(c)
    c.submit(first, "a")
    c.run()
    c.crash(first)
    second = first % 5 + 1
    c.submit(second, "b")
    c.run_until(lambda: c.all_decided("b"))
    c.restart(first)
    c.run_until(lambda: c.log(first) == ["a", "b"])
    check_leaders(c)
    c.check_agreement()


def test_a_minority_is_blocked_says_so_and_goes_on_when_healed() -> None:
    c = Cluster(Raft, 5)
    first = elect(c)
    friend = first % 5 + 1
    rest = [p for p in c.members if p not in (first, friend)]
    c.cut([first, friend], rest)
    c.submit(first, "lonely")
    c.submit(rest[0], "many")
    c.run(20_000)
    assert all(c.log(p) == ["many"] for p in rest)
    assert c.log(first) == c.log(friend) == []
    blocked = [row for row in c.notes("blocked") if row.actor == first]
    assert blocked[0].note.waiting_for == tuple(rest)
    c.heal()
    c.run_until(lambda: c.all_decided("many", "lonely"))
    (new,) = fold(c.world.trace).leaders
    assert new == leader(c) != first, "a deposed leader is drawn as one no more"
    check_leaders(c)
    c.check_agreement()


def test_who_led_does_not_lead_by_its_old_votes_again() -> None:
    """§5.2: a candidate begins a term. A leader that is cut off steps down, and its log stays."""
    c = Cluster(Raft, 3)
    first = elect(c)
    c.cut([first], [p for p in c.members if p != first])
    c.run(20_000)
    assert [row.actor for row in c.notes("became-leader")].count(first) == 1
    assert c.machine(first).log.last == 1
    c.heal()
    c.submit(first, "a")
    c.run_until(lambda: c.all_decided("a"))
    check_leaders(c)


def test_a_returning_party_does_not_unseat_the_leader() -> None:
    c = Cluster(Raft, 5)
    first = elect(c)
    outsider = first % 5 + 1
    c.cut([outsider], [p for p in c.members if p != outsider])
    c.run(10_000)
    c.heal()
    c.run(10_000)
    assert {row.actor for row in c.notes("became-leader")} == {first}
    assert c.machine(outsider).term == c.machine(first).term, "pre-votes raise no terms"


def test_far_behind_is_caught_up_by_a_snapshot_in_pages() -> None:
    c = Cluster(Raft, 3, compaction=16)
    first = elect(c)
    slow = first % 3 + 1
    c.crash(slow)
    for k in range(100):
        c.submit(first, f"op{k}", bytes(100))
        c.run(30)
    assert c.machine(first).log.start > 60
    c.restart(slow)
    c.run_until(lambda: len(c.log(slow)) == 100)
    assert c.sent("RaftInstallSnapshot").total() > 2
    assert c.notes("caught-up")[0].note.source == first
    for p in c.members:  # and what was compacted comes back from the store
        c.crash(p)
        c.restart(p)
    c.submit(first, "last")
    c.run_until(lambda: c.all_decided("last"))
    assert len(c.log(slow)) == 101
    c.check_agreement()


def test_large_values_travel_in_messages_that_fit() -> None:
    c = Cluster(Raft, 3, compaction=8)
    first = elect(c)
    slow = first % 3 + 1
    c.crash(slow)
    for k in range(20):
        c.submit(first, f"op{k}", bytes(60_000))
        c.run(30)
    c.restart(slow)
    c.run_until(lambda: len(c.log(slow)) == 20)
    assert c.sent("RaftInstallSnapshot").total() > 2
    assert max(row.size for row in c.world.trace.of(rows.Sent)) < 200_000


def test_election_times_are_those_of_fig_16() -> None:
    assert min(downtimes(3, 0)) > 10_000, "no randomness: longer than 10 s"
    five, fifty = downtimes(300, 5), downtimes(300, 50)
    assert 287 * 0.9 <= statistics.median(five) <= 287 * 1.1, "5 ms: median 287 ms"
    assert min(five + fifty) >= 75, "at least half of the election timeout"
    assert max(fifty) <= 513, "50 ms: worst of all trials 513 ms"


PLAN = st.lists(
    st.tuples(
        st.sampled_from(["crash", "cut", "isolate"]),
        st.integers(1, 7),
        st.integers(0, 6_000),
        st.integers(100, 4_000),
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(2, 7),
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.25),
    spread=st.integers(1, 300),
    plan=PLAN,
    ops=st.lists(st.tuples(st.integers(1, 7), st.integers(0, 6_000)), min_size=1, max_size=8),
    ordered=st.booleans(),
)
def test_one_log_whatever_happens_and_progress_when_it_stops(
    n: int,
    seed: int,
    loss: float,
    spread: int,
    plan: list[tuple[str, int, int, int]],
    ops: list[tuple[int, int]],
    ordered: bool,
) -> None:
    net = Network(Delay("uniform", 1 * MS, spread * MS), loss=loss, ordered=ordered)
    c = Cluster(Raft, n, seed=seed, network=net, patience=4_000 * MS, compaction=4)
    for kind, p, at, lasting in plan:
        p = (p - 1) % n + 1
        match kind:
            case "crash":
                c.world.at(at * MS, lambda p=p: c.crash(p))  # type: ignore[misc]
                c.world.at((at + lasting) * MS, lambda p=p: c.restart(p))  # type: ignore[misc]
            case "cut":
                c.world.at(at * MS, lambda p=p: c.cut(range(1, p + 1), range(p + 1, n + 1)))  # type: ignore[misc]
                c.world.at((at + lasting) * MS, c.heal)
            case "isolate":
                others = [q for q in c.members if q != p]
                c.world.at(at * MS, lambda p=p, o=others: c.cut([p], o))  # type: ignore[misc]
                c.world.at((at + lasting) * MS, c.heal)
    names = [f"op{k}" for k in range(len(ops))]
    for name, (p, at) in zip(names, ops, strict=True):
        p = (p - 1) % n + 1

        def submit(p: int = p, name: str = name) -> None:
            if p in c.world.actors:
                c.submit(p, name)

        c.world.at(at * MS, submit)
    c.run(11_000)
    c.check_agreement()
    check_leaders(c)
    for name, (p, _) in zip(names, ops, strict=True):  # what a crash forgot is submitted again
        c.submit((p - 1) % n + 1, name)
    c.run_until(lambda: c.all_decided(*names), 300_000)
    c.check_agreement()
    check_leaders(c)
    assert not list(c.world.trace.of(rows.Blamed))


def test_a_majority_of_the_new_voters_goes_on_alone() -> None:
    """Two of five, when those five have made three the voters; the others may come back and ask."""
    c = Cluster(Raft, 5, changes=changes)
    first = elect(c)
    c.submit(first, "1+2+3", b"1+2+3")
    c.run()
    assert c.all_decided("1+2+3")
    c.cut([1, 2], [3, 4, 5])
    c.run(3_000)
    c.submit(1, "a")
    c.run_until(lambda: {"a"} <= set(c.log(1)) & set(c.log(2)))
    assert not c.log(4)[1:]
    c.heal()
    c.run(2_000)
    assert c.all_decided("a")
    c.check_agreement()


VALUES = {b"a|0": (1, 2), b"a|1": (3, 4, 5), b"b|0": (2, 3), b"b|1": (1, 4, 5)}


def order_of_events(protocol: type[Raft], seed: int) -> str:
    weather = {"compaction": 4, "prevote": seed % 2 == 0}
    options = {"changes": lambda value: VALUES.get(value, ()), **weather}
    return gauntlet(protocol, seed, n=5, promises=PROMISES["raft"], options=options)


@pytest.mark.parametrize("seed", [269])
def test_changed_at_once_they_choose_two_leaders(seed: int) -> None:
    assert order_of_events(AtOnceRaft, seed).startswith("('leads'")
    assert order_of_events(Raft, seed) == ""


def test_the_first_of_our_operations_may_commit_the_others() -> None:
    """It makes us the only voter, where changes are made at once."""
    alone = leads(AtOnceRaft)
    for op in ("1+2", "1+1", "x"):
        alone.submit(op, op.encode())
    alone.hear(2, accepted(5, 2))
    alone.fire("retry")
    assert alone.log == ["1+2", "x", "1+1"]


@pytest.mark.parametrize(("word", "verdict"), [("wrong-raft-voters", "violated"), ("raft", "ok")])
def test_in_a_scenario_a_change_at_once_splits_the_log(word: str, verdict: str) -> None:
    """Two of five, cut off, make themselves the voters; the other three go on as before."""
    text = {"kind": "note", "text": "x"}
    run = Scenario.parse(
        {
            "parties": 5, "policy": "threshold(1)", "agreement": word, "mesh": "ready", "seed": 5,
            "operations": [
                {"at": "0ms", "by": 1, **text},
                {"at": "1s", "by": 1, "kind": "voters", "parties": [1, 2]},
                {"at": "3s", "by": 1, **text},
                {"at": "3s", "by": 4, **text},
            ],
            "faults": [
                {"at": "900ms", "for": "8s", "kind": "partition", "groups": [[1, 2], [3, 4, 5]]}
            ],
            "checks": ["agreement"],
        }
    ).run()  # fmt: skip
    assert [v.verdict for v in run.verdicts] == [verdict]
