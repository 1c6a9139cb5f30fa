"""Loss, crashes, late arrivals: what a session does when the world misbehaves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.direct import Direct
from mpclab.consensus.raft import Raft
from mpclab.consensus.three_phase import ThreePhase
from mpclab.consensus.two_phase import TwoPhase
from mpclab.coordinator import catchup
from mpclab.coordinator.session import Propose
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.faults.network import Delay, Network
from mpclab.testing.sessions import AT, Sessions


@pytest.mark.parametrize("seed", range(8))
def test_lost_messages_are_asked_for(seed: int) -> None:
    s = Sessions(5, seed=seed)
    s.lose(0.2)
    ops = [s.propose(p) for p in s.members]
    s.run()
    for op in ops:
        assert set(s.statuses(op).values()) == {"executed"}
    assert len(s.heads()) == 1
    assert not s.blames()


def test_a_vote_that_only_one_party_heard_is_passed_on() -> None:
    s = Sessions(4)
    s.run()
    s.lossy(lambda src, dst, draw: src == 4 and dst in (2, 3))
    op = s.propose(1)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}


def test_votes_may_come_before_the_proposal() -> None:
    s = Sessions(4)
    s.run()
    s.lossy(lambda src, dst, draw: src == 1 and dst == 4)
    op = s.propose(1)
    s.run(30 * MS)
    assert set(s.session(4).operations[op].tally.votes) == {2, 3}
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}


def test_who_gave_up_commits_on_evidence() -> None:
    s = Sessions(4, deadline=2 * SECOND)
    s.run()
    s.cut((1, 2, 3))
    op = s.propose(1)
    s.run()
    assert s.statuses(op) == {1: "expired", 2: "expired", 3: "expired", 4: "unheard"}
    s.heal()
    s.world.crash(4)
    s.world.restart(4)
    s.run()  # party 4 says hello, and is told
    assert s.statuses(op)[4] == "expired", "what was given up is not revived"
    assert s.session(4).operations[op].mine is None

    s.lossy(lambda src, dst, draw: dst == 3)
    other = s.propose(1)
    s.run()
    assert s.statuses(other) == {1: "expired", 2: "expired", 3: "unheard", 4: "expired"}
    s.heal()

    s.lossy(lambda src, dst, draw: dst == 2 and src != 2)
    third = s.propose(2)
    s.run()
    assert s.statuses(third) == {1: "executed", 2: "expired", 3: "executed", 4: "executed"}
    s.heal()
    s.world.crash(2)
    s.world.restart(2)
    s.run()
    assert set(s.statuses(third).values()) == {"executed"}
    assert len(s.heads()) == 1


@pytest.mark.parametrize("amnesia", [False, True])
def test_a_restarted_party_holds_the_same_history(amnesia: bool) -> None:
    s = Sessions(4)
    s.run()
    before = [s.propose(p) for p in (1, 2, 3)]
    coin = s.propose(4, "coin")
    s.run()
    result = s.at(1, coin).result
    s.world.crash(3)
    s.world.restart(3, amnesia=amnesia)
    s.run()
    for op in (*before, coin):
        assert s.at(3, op).status == "executed"
    assert s.at(3, coin).result == result
    assert s.view(3).head == s.view(1).head
    told = s.notes("caught-up" if amnesia else "restored")
    assert sum(row.note.records for row in told if row.actor == 3) == 4
    later = s.propose(3)
    s.run()
    assert set(s.statuses(later).values()) == {"executed"}


def test_a_late_party_catches_up_page_by_page() -> None:
    s = Sessions(4, policy="threshold(3)", late=[4])
    s.run()
    for k in range(100):
        s.propose(1 + k % 3, text=f"note {k}")
        s.run(100 * MS)
    coin = s.propose(1, "coin")
    s.run()
    s.host(4)
    s.run()
    assert len(s.view(4).history) == 101
    assert s.view(4).head == s.view(1).head
    assert s.at(4, coin).status == s.at(1, coin).status == "failed"
    assert s.at(1, coin).missing == (4,)


def test_catching_up_goes_on_when_a_history_is_longer_than_a_hello(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catchup, "PAGE_IDS", 8)
    monkeypatch.setattr(catchup, "PAGE_BYTES", 1000)
    s = Sessions(4, policy="threshold(3)")
    s.run()
    for k in range(30):
        if k == 20:
            s.cut((1, 2, 3))
        s.propose(1 + k % 3, text=f"note {k}")
        s.run(100 * MS)
    s.run(20 * SECOND)
    assert [len(s.view(p).history) for p in s.members] == [30, 30, 30, 20]
    s.heal()
    s.world.crash(4)
    s.world.restart(4)
    s.run()
    assert len(s.view(4).history) == 30
    assert s.view(4).head == s.view(1).head


def test_a_restart_does_not_change_a_vote() -> None:
    s = Sessions(3, votes={2: "reject", 3: "hand"})
    s.run()
    op = s.propose(1)
    s.run(5 * MS)
    s.world.crash(2)  # the proposal is still on its way
    s.world.restart(2)
    s.run(30 * MS)
    s.world.crash(2)  # now it has voted
    s._votes[2] = "approve"
    s.world.restart(2)
    s.run(50 * MS)
    assert s.at(2, op).mine is False
    s.run()
    assert s.at(3, op).rejected == (2,)
    assert not s.blames()


def test_who_forgot_its_vote_is_reminded_of_it() -> None:
    s = Sessions(3, votes={2: "reject", 3: "hand"}, policy="threshold(2)")
    s.run()
    op = s.propose(1)
    s.run(30 * MS)
    s.world.crash(2)
    s._votes[2] = "approve"
    s.world.restart(2, amnesia=True)
    s.run(30 * MS)
    assert s.at(2, op).mine is False
    s.run()
    assert not s.blames()
    assert set(s.statuses(op).values()) == {"expired"}


def test_a_crash_between_vote_and_broadcast_is_mended() -> None:
    s = Sessions(3)
    s.run()
    s.lossy(lambda src, dst, draw: src == 1)
    op = s.propose(1)  # stored, and then every message of it is lost
    s.world.crash(1)
    s.heal()
    s.world.restart(1)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}


@pytest.mark.parametrize("protocol", [TwoPhase, ThreePhase, Raft])
def test_every_protocol_commits_and_aborts_alike(protocol: type[Agreement]) -> None:
    s = Sessions(4, agreement=protocol, votes={4: "hand"})
    s.run(3 * SECOND)
    good = [s.propose(p, text=f"by {p}") for p in (1, 2, 3)]
    bad = s.propose(1, text="no")
    s.run(500 * MS)
    for op in good:
        s.vote(4, op)
    s.vote(4, bad, approve=False, reason="no")
    s.run(20 * SECOND)
    for op in good:
        assert set(s.statuses(op).values()) == {"executed"}, protocol
    assert set(s.statuses(bad).values()) == {"aborted"}
    assert len(s.heads()) == 1
    assert len(s.view(1).history) == 3
    assert not s.blames()


@pytest.mark.parametrize("protocol", [TwoPhase, Raft])
def test_a_certificate_stands_behind_every_commit(protocol: type[Agreement]) -> None:
    s = Sessions(4, agreement=protocol)
    s.run(3 * SECOND)
    op = s.propose(1)
    s.run(5 * SECOND)
    for p in s.members:
        record = s.session(p).history[op]
        s.session(2).ledger.verify(record.certificate)


def test_others_submit_when_the_proposer_dies_with_the_certificate() -> None:
    s = Sessions(4, agreement=Raft)
    s.run(3 * SECOND)
    [leader] = {row.actor for row in s.notes("became-leader")}
    proposer = 1 + leader % 4
    op = s.propose(proposer)
    s.run(15 * MS)  # its proposal and vote are out; the others' votes are under way
    s.world.crash(proposer)
    s.run(5 * SECOND)
    assert set(s.statuses(op).values()) == {"executed"}
    s.world.restart(proposer)
    s.run(5 * SECOND)
    assert s.statuses(op)[proposer] == "executed"
    assert len(s.heads()) == 1


@settings(max_examples=60)
@given(st.data())
def test_honest_parties_agree_when_nothing_is_lost(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6), "n")
    k = data.draw(st.integers(1, n), "needed")
    words = st.sampled_from(("approve", "reject", "silent", "validate"))
    votes = {p: data.draw(words, f"vote {p}") for p in range(1, n + 1)}
    s = Sessions(
        n,
        policy=data.draw(st.sampled_from((f"threshold({k})", "unanimous"))),
        votes=votes,
        seed=data.draw(st.integers(0, 2**32), "seed"),
        network=Network(Delay("exponential", 80 * MS)),
        deadline=5 * SECOND,
    )
    s.run()
    ops = [s.propose(data.draw(st.integers(1, n), "by")) for _ in range(3)]
    s.run()
    approving = sum(word in ("approve", "validate") for word in votes.values())
    expected = "executed" if approving >= s.policy.needed else "expired"
    if sum(word == "reject" for word in votes.values()) > n - s.policy.needed:
        expected = "aborted"
    for op in ops:
        assert set(s.statuses(op).values()) == {expected}
    assert len(s.heads()) == 1
    assert not s.blames()


@settings(max_examples=60)
@given(st.data())
def test_nothing_commits_without_enough_approvals(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 5), "n")
    k = data.draw(st.integers(1, n), "needed")
    words = st.sampled_from(("approve", "reject", "silent"))
    s = Sessions(
        n,
        policy=f"threshold({k})",
        votes={p: data.draw(words, f"vote {p}") for p in range(1, n + 1)},
        seed=data.draw(st.integers(0, 2**32), "seed"),
        network=Network(Delay("uniform", 5 * MS, 400 * MS)),
        deadline=3 * SECOND,
    )
    s.lose(data.draw(st.sampled_from((0.0, 0.2, 0.5)), "loss"))
    ops = [s.propose(data.draw(st.integers(1, n), "by")) for _ in range(2)]
    if victim := data.draw(st.integers(0, n), "crashes"):
        when = data.draw(st.integers(0, 1500), "crash at ms") * MS
        s.world.at(when, lambda: s.world.crash(victim))
        s.world.at(when + 200 * MS, lambda: s.world.restart(victim))
    s.run()
    for op in ops:
        approved = {row.actor for row in s.notes("voted", op) if row.note.approve}
        for p in s.up:
            session = s.session(p)
            if op in session.history:
                assert len(approved) >= k
                session.ledger.verify(session.history[op].certificate)
            assert session.history.verify()
    assert not s.blames()


@pytest.mark.parametrize("agreement", [Direct, TwoPhase], ids=lambda a: a.__name__)
@pytest.mark.parametrize("votes", ["approve", "hand", "silent"])
def test_an_attempt_is_used_up_even_by_a_proposal_that_its_proposer_did_not_vote_on(
    votes: str, agreement: type[Agreement]
) -> None:
    s = Sessions(3, policy="threshold(2)", votes={1: votes}, agreement=agreement)
    s.run()
    s.world.ask(1, AT, Propose("note", {"text": "pay Alice"}, "order 7"))
    s.world.crash(1)
    s.world.restart(1)
    with pytest.raises(UsageError, match="'order 7' was used before"):
        s.world.ask(1, AT, Propose("note", {"text": "pay Bob"}, "order 7"))
    s.run()
    [op] = s.session(2).operations
    assert set(s.statuses(op).values()) == {"executed" if agreement is Direct else "aborted"}
    assert s.at(3, op).text == "note: pay Alice"
    assert s.blames() == []


@pytest.mark.parametrize("agreement", [Direct, TwoPhase], ids=lambda a: a.__name__)
@pytest.mark.parametrize("votes", ["approve", "silent"])
def test_whatever_of_a_proposal_was_done_when_its_proposer_died_nobody_hears_two(
    votes: str, agreement: type[Agreement]
) -> None:
    """It dies after any of the effects of proposing, and proposes something else after that."""
    kept = set()
    for seed in range(1, 9):
        s = Sessions(3, policy="threshold(2)", votes={1: votes}, agreement=agreement, seed=seed)
        s.run()
        s.world.tear(1)
        s.world.ask(1, AT, Propose("note", {"text": "pay Alice"}, "order 7"))
        s.run()
        s.world.restart(1)
        heard = any(s.session(p).operations for p in (2, 3))
        try:
            s.world.ask(1, AT, Propose("note", {"text": "pay Bob"}, "order 7"))
        except UsageError:
            kept.add(heard)
        else:
            assert not heard
        s.run()
        assert not [row for row in s.blames() if "two things" in row.reason]
        for p in s.members:
            assert {o.status for o in s.view(p).operations} <= {"executed", "aborted"}
    assert False in kept, "some died with the proposal stored and nobody told"


@pytest.mark.parametrize("protocol", [TwoPhase, ThreePhase], ids=lambda a: a.__name__)
def test_where_the_vote_is_inside_an_abort_names_who_rejected_and_who_is_missing(
    protocol: type[Agreement],
) -> None:
    s = Sessions(4, agreement=protocol, votes={3: "reject"})
    rejected = s.propose(1)
    s.run()
    assert {s.at(p, rejected).rejected for p in s.members} == {(3,)}
    s.set_votes(3, "silent")
    s.set_votes(2, "silent")
    unheard = s.propose(1)
    s.run()
    assert {s.at(p, unheard).missing for p in s.members} == {(2, 3)}
    named = {(row.note.op, *row.note.rejected, *row.note.missing) for row in s.notes("aborted")}
    assert named == {(rejected, 3), (unheard, 2, 3)}
    s.world.crash(4)
    s.world.restart(4)
    assert (s.at(4, rejected).rejected, s.at(4, unheard).missing) == ((3,), (2, 3))


def test_who_asks_how_it_ended_is_told_the_names_too() -> None:
    s = Sessions(4, agreement=TwoPhase, votes={2: "silent", 3: "reject"}, policy="threshold(3)")
    s.lossy(lambda src, dst, draw: dst == 4 and s.world.now > 5 * SECOND)
    op = s.propose(1)
    s.world.run(lambda: s.at(1, op).status == "aborted")
    assert s.at(4, op).status == "open"
    s.heal()
    s.run()
    assert {(s.at(p, op).rejected, s.at(p, op).missing) for p in s.members} == {((3,), (2,))}
