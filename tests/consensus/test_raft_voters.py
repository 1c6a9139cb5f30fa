"""Raft's changes of voters, held to §6 of its paper: one server alone, as in `test_raft_paper`.

An operation `2+3` makes parties 2 and 3 the voters.
"""

from typing import Any

import pytest

from mpclab.consensus.agreement import Read
from mpclab.consensus.raft import Raft
from mpclab.consensus.raft_messages import RaftEntry, RaftHeartbeatResponse, RaftInstallSnapshot
from mpclab.consensus.raft_voters import Voters, final
from mpclab.core.ids import Party
from mpclab.testing.alone import Alone
from tests.consensus.test_raft_paper import (
    accepted,
    append,
    entry,
    leader,
    log_of,
    refused,
    request_vote,
    server,
    vote,
)


@pytest.fixture
def raft() -> type[Raft]:
    return Raft


def changes(value: bytes) -> tuple[Party, ...]:
    return tuple(map(int, value.split(b"+"))) if b"+" in value else ()


def change(term: int, op: str) -> RaftEntry:
    return RaftEntry(term, op, op.encode())


def leads(raft: type[Raft], *entries: RaftEntry, **options: Any) -> Alone:
    """The leader of term 5 among five, with nothing open but what the entries hold."""
    return leader(raft, 5, *entries, n=5, changes=changes, **options)


def test_a_change_needs_a_majority_of_the_old_and_one_of_the_new(raft: type[Raft]) -> None:
    alone = leads(raft)
    alone.submit("1+2", b"1+2")
    assert alone.machine.log.voters == Voters((1, 2, 3, 4, 5), (1, 2))
    for p in (3, 4, 5):
        alone.hear(p, accepted(5, 2))
    assert alone.machine.commit == 0, "of the new one alone"
    alone.hear(2, accepted(5, 2))
    assert alone.log == ["1+2"]
    # C_old,new is committed: C_new follows, and one of the old has no say in it
    assert alone.machine.log.entries[-1] == final(5, (1, 2))
    assert alone.machine.log.voters == Voters((1, 2))
    for p in (3, 4, 5):
        alone.hear(p, accepted(5, 3))
    assert alone.machine.commit == 2
    alone.hear(2, accepted(5, 3))
    assert alone.machine.commit == 3


def test_the_new_ones_alone_decide_nothing_before(raft: type[Raft]) -> None:
    alone = leads(raft)
    alone.submit("1+2", b"1+2")
    alone.hear(2, accepted(5, 2))
    assert alone.machine.commit == 0


def test_the_change_ends_when_it_is_committed_and_not_before(raft: type[Raft]) -> None:
    alone = leads(raft)
    alone.submit("1+2", b"1+2")
    for p in (2, 3):
        alone.hear(p, accepted(5, 1))
    assert alone.machine.commit == 1
    assert [op for _, op in log_of(alone)] == ["", "1+2"]


def test_a_candidate_needs_both_as_well(raft: type[Raft]) -> None:
    alone = server(raft, 5, change(5, "1+2"), n=5, changes=changes)
    alone.fire("election")
    for p in (3, 4, 5):
        alone.hear(p, vote(6))
    assert alone.machine.role == "candidate"
    alone.hear(2, vote(6))
    assert alone.machine.role == "leader"


def test_a_leader_that_is_not_in_the_new_set_leads_until_that_is_committed(
    raft: type[Raft],
) -> None:
    alone = leads(raft)
    alone.submit("2+3", b"2+3")
    for p in (2, 3):
        alone.hear(p, accepted(5, 2))
    assert alone.machine.log.entries[-1] == final(5, (2, 3))
    alone.hear(2, accepted(5, 3))
    assert alone.machine.role == "leader", "it does not count itself"
    alone.hear(3, accepted(5, 3))
    assert (alone.machine.role, alone.machine.commit) == ("follower", 3)


def test_the_next_leader_ends_the_change(raft: type[Raft]) -> None:
    alone = leads(raft, entry(4, "a"), change(4, "1+2"))
    for p in (2, 3):
        alone.hear(p, accepted(5, 3))
    assert log_of(alone)[-2:] == [(5, ""), (5, "")]
    assert alone.machine.log.voters == Voters((1, 2))


def test_it_does_so_when_the_change_is_in_a_snapshot(raft: type[Raft]) -> None:
    alone = leads(raft, *(entry(4, f"op{k}") for k in range(4)), change(4, "1+2"), compaction=4)
    for p in (2, 3):
        alone.hear(p, accepted(5, 6))
    assert alone.machine.log.start >= 5
    assert alone.machine.log.voters == Voters((1, 2))


def test_a_change_waits_for_the_end_of_the_one_before(raft: type[Raft]) -> None:
    alone = leads(raft)
    alone.submit("1+2", b"1+2")
    alone.submit("1+3", b"1+3")
    assert [op for _, op in log_of(alone)] == ["", "1+2"]
    for p in (2, 3):
        alone.hear(p, accepted(5, 2))
    alone.fire("retry")
    assert [op for _, op in log_of(alone)] == ["", "1+2", ""], "C_new is not committed"
    alone.hear(2, accepted(5, 3))
    alone.fire("retry")
    assert [op for _, op in log_of(alone)] == ["", "1+2", "", "1+3"]
    assert alone.machine.log.voters == Voters((1, 2), (1, 3))


def test_with_its_entry_a_change_is_undone(raft: type[Raft]) -> None:
    alone = server(raft, 5, entry(5, "a"), change(5, "1+2"), n=5, changes=changes)
    alone.hear(3, append(6, 1, 5, entry(6, "b")))
    assert alone.machine.log.voters == Voters((1, 2, 3, 4, 5))


def test_who_does_not_vote_never_campaigns(raft: type[Raft]) -> None:
    """It votes for others all the same: they may know better who counts."""
    alone = server(raft, 5, final(5, (2, 3)), n=5, changes=changes)
    alone.hear(2, append(5, 1, 5, commit=1))
    assert alone.fire("election") == []
    assert "election" in alone.timers
    assert alone.hear(2, request_vote(6, 1, 5)) == [vote(6)]


def test_who_is_left_out_leads_until_that_is_committed(raft: type[Raft]) -> None:
    """Thesis, §4.2.2: whoever has C_new may all be left out, and refuse a vote to those who lack
    it. (Storm 645 of those that change voters: it never ended.)"""
    alone = server(raft, 5, final(5, (3,)), n=5, changes=changes)
    assert alone.fire("election") != []
    for p in (2, 4, 5):
        alone.hear(p, vote(6))
    assert alone.machine.role == "candidate"
    alone.hear(3, vote(6))
    assert alone.machine.role == "leader"
    alone.hear(3, accepted(6, 2))
    assert (alone.machine.role, alone.machine.commit) == ("follower", 2)


def test_votes_that_were_too_few_are_not_enough_for_new_voters(raft: type[Raft]) -> None:
    """It lost the election of term 6; then the leader of term 6 made it the only voter. (Storm 116
    of those that change voters: two leaders of one term.)"""
    alone = server(raft, 5, n=5, changes=changes, prevote=True)
    alone.fire("election")
    for p in (2, 3):
        alone.hear(p, vote(6, pre=True))
    alone.hear(4, append(6, 0, 0, final(6, (1,))))
    alone.fire("election")
    assert (alone.machine.role, alone.machine.term) == ("leader", 7)


def test_nor_are_votes_that_come_late(raft: type[Raft]) -> None:
    """Party 2 voted for us in term 6, party 4 leads it and makes 2 the only voter: 2's word, as it
    arrives, is a majority."""
    alone = server(raft, 5, n=5, changes=changes, prevote=True)
    alone.fire("election")
    for p in (2, 3):
        alone.hear(p, vote(6, pre=True))
    alone.hear(4, append(6, 0, 0, change(6, "2+2"), final(6, (2,)), commit=1))
    alone.fire("election")
    assert (alone.machine.role, alone.machine.term) == ("pre-candidate", 6)
    alone.hear(2, vote(6))
    assert alone.machine.role == "pre-candidate"


def test_the_first_of_our_reads_may_be_answered_with_the_others(raft: type[Raft]) -> None:
    """Who answered its round is a majority of the new voters, when they alone count."""
    alone = leads(raft)
    for read in ("r", "s"):
        alone.ask(Read(read))
    alone.submit("1+2", b"1+2")
    for p in (2, 3):
        alone.hear(p, accepted(5, 1))
    alone.hear(2, RaftHeartbeatResponse(5, 1))
    for p in (2, 3):
        alone.hear(p, accepted(5, 2))
    assert alone.machine.log.voters == Voters((1, 2))
    assert alone.machine.unread
    alone.fire("read")
    assert not alone.machine.unread


def test_voters_outlast_compaction_and_a_crash(raft: type[Raft]) -> None:
    alone = server(raft, 5, n=5, changes=changes, compaction=4)
    entries = [change(5, "1+2"), final(5, (1, 2)), *(entry(5, f"op{k}") for k in range(6))]
    alone.hear(2, append(5, 0, 0, *entries, commit=8))
    assert alone.machine.log.start > 2
    alone.restart()
    assert alone.machine.log.voters == Voters((1, 2))


def test_a_snapshot_takes_them_along(raft: type[Raft]) -> None:
    ops = [entry(4, f"op{k}") for k in range(6)]
    alone = leads(raft, change(4, "1+2"), final(4, (1, 2)), *ops, compaction=4)
    alone.hear(2, accepted(5, 9))
    [snapshot] = alone.hear(3, refused(5, 0))
    assert isinstance(snapshot, RaftInstallSnapshot)
    three = Alone(raft, 3, n=5, changes=changes)
    three.hear(1, snapshot)
    assert three.machine.log.voters == Voters((1, 2))
    three.restart()
    assert three.machine.log.voters == Voters((1, 2))


def test_strangers_and_noise_change_nothing(raft: type[Raft]) -> None:
    alone = server(raft, 5, n=3, changes=changes)
    alone.hear(2, append(5, 0, 0, change(5, "8+9"), final(5, (7,)), RaftEntry(5, "", b"\xff")))
    assert alone.machine.log.voters == Voters((1, 2, 3))
    assert alone.blamed == []
