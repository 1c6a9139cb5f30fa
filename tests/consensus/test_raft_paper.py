"""Raft held to its paper, section by section: one server alone.

§ and Fig.: Ongaro and Ousterhout, extended version, 2014. Thesis: Ongaro, 2014. Every test takes
the protocol as an argument, so that `test_mutants` can show that it would fail for a wrong one.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from mpclab.consensus.raft import Raft
from mpclab.consensus.raft_messages import (
    RaftAppendEntries,
    RaftAppendEntriesResponse,
    RaftEntry,
    RaftForward,
    RaftHeartbeat,
    RaftHeartbeatResponse,
    RaftInstallSnapshot,
    RaftRequestVote,
    RaftRequestVoteResponse,
)
from mpclab.core.ids import MS, Party
from mpclab.core.wire import Message
from mpclab.testing.alone import Alone

LOW, HIGH = Raft.options_type().timeouts  # type: ignore[attr-defined]


@pytest.fixture
def raft() -> type[Raft]:
    return Raft


def encode(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def entry(term: int, op: str = "") -> RaftEntry:
    return RaftEntry(term, op, f"value of {op}".encode() if op else b"")


def stored(term: int, *entries: RaftEntry, vote: Party = 0) -> dict[str, bytes]:
    """What a server with this log has on disk."""
    log = {f"log/{k}": encode(e) for k, e in enumerate(entries, 1)}
    return {"term": encode((term, vote)), **log}


def server(raft: type[Raft], term: int, *entries: RaftEntry, n: int = 3, **options: Any) -> Alone:
    return Alone(raft, me=1, n=n, stored=stored(term, *entries), **{"prevote": False, **options})


def leader(raft: type[Raft], term: int, *entries: RaftEntry, n: int = 3, **options: Any) -> Alone:
    """A server that won term `term`; its log ends with the empty entry of that term."""
    alone = server(raft, term - 1, *entries, n=n, **options)
    alone.fire("election")
    for p in range(2, n // 2 + 2):
        alone.hear(p, vote(term))
    assert alone.machine.role == "leader"
    return alone


def request_vote(term: int, last: int = 0, last_term: int = 0, pre: bool = False) -> Message:
    return RaftRequestVote(term, last, last_term, pre)


def vote(term: int, granted: bool = True, pre: bool = False) -> Message:
    return RaftRequestVoteResponse(term, granted, pre)


def append(
    term: int, prev: int, prev_term: int, *entries: RaftEntry, commit: int = 0
) -> RaftAppendEntries:
    return RaftAppendEntries(term, prev, prev_term, entries, commit)


def accepted(term: int, index: int, history: int = 0) -> Message:
    return RaftAppendEntriesResponse(term, True, index, history)


def refused(term: int, index: int, history: int = 0) -> Message:
    return RaftAppendEntriesResponse(term, False, index, history)


def of(kind: type[Message], said: Iterable[Message]) -> list[Any]:
    return [msg for msg in said if isinstance(msg, kind)]


def log_of(alone: Alone) -> list[tuple[int, str]]:
    return [(e.term, e.op) for e in alone.machine.log.entries]


# --- §5.2, elections -----------------------------------------------------------------------


def test_election_timeouts_are_drawn_from_an_interval(raft: type[Raft]) -> None:
    """§5.2: randomized, so that split votes are rare."""
    alone = server(raft, 0)
    drawn = set()
    for _ in range(20):
        alone.restart()
        drawn.add(alone.timers["election"] - alone.now)
    assert len(drawn) > 10
    assert all(LOW <= timeout <= HIGH for timeout in drawn)


def test_a_candidate_raises_its_term_votes_for_itself_and_asks_all(raft: type[Raft]) -> None:
    alone = server(raft, 3, entry(1, "a"), entry(2, "b"))
    assert alone.fire("election") == [request_vote(4, 2, 2)]
    assert alone.said[-1][0] == (2, 3)
    assert msgspec.msgpack.decode(alone.disk["term"]) == [4, 1]
    assert alone.stored_before_said()
    assert alone.hear(2, request_vote(4, 9, 4)) == [vote(4, granted=False)]


@pytest.mark.parametrize(
    ("votes", "wins"), [([2], False), ([2, 2], False), ([2, 3], True), ([2, 3, 4], True)]
)
def test_a_majority_of_all_wins(raft: type[Raft], votes: list[Party], wins: bool) -> None:
    alone = server(raft, 0, n=5)
    alone.fire("election")
    for p in votes:
        alone.hear(p, vote(1))
    assert (alone.machine.role == "leader") == wins


@pytest.mark.parametrize(
    "other", [vote(1, granted=False), vote(0), vote(2, granted=False), vote(1, pre=True)]
)
def test_only_votes_in_its_term_count(raft: type[Raft], other: Message) -> None:
    alone = server(raft, 0, n=5)
    alone.fire("election")
    alone.hear(2, other)
    alone.hear(3, vote(1))
    assert alone.machine.role != "leader"


def test_votes_of_an_earlier_candidacy_do_not_count(raft: type[Raft]) -> None:
    alone = server(raft, 0, n=5)
    alone.fire("election")
    alone.hear(2, vote(1))
    alone.fire("election")
    assert alone.machine.term == 2
    alone.hear(3, vote(2), vote(1))
    assert alone.machine.role == "candidate"


def test_one_vote_a_term_first_come_first_served(raft: type[Raft]) -> None:
    """§5.2; Fig. 2: votedFor is null or candidateId. Stored before it is said, so after a crash
    too."""
    alone = server(raft, 0)
    assert alone.hear(2, request_vote(1)) == [vote(1)]
    assert alone.stored_before_said()
    for _ in range(2):
        assert alone.hear(3, request_vote(1)) == [vote(1, granted=False)]
        assert alone.hear(2, request_vote(1)) == [vote(1)]
        alone.restart()
    assert alone.hear(3, request_vote(2)) == [vote(2)]


def test_a_candidate_of_an_old_term_gets_no_vote(raft: type[Raft]) -> None:
    """Fig. 2: reply false if term < currentTerm."""
    alone = server(raft, 5)
    assert alone.hear(2, request_vote(4, 9, 4)) == [vote(5, granted=False)]


@pytest.mark.parametrize(
    ("last_term", "last", "granted"),
    [(1, 9, False), (2, 1, False), (2, 2, True), (2, 3, True), (3, 1, True)],
)
def test_a_vote_needs_a_log_as_up_to_date_as_ours(
    raft: type[Raft], last_term: int, last: int, granted: bool
) -> None:
    """§5.4.1: the later last term, or with equal terms the longer log. Ours ends with 2 of term
    2."""
    alone = server(raft, 2, entry(1, "a"), entry(2, "b"))
    assert alone.hear(2, request_vote(3, last, last_term)) == [vote(3, granted=granted)]


@pytest.mark.parametrize("role", ["candidate", "leader"])
@pytest.mark.parametrize(
    "msg",
    [
        request_vote(7),
        vote(7, granted=False),
        append(7, 0, 0),
        refused(7, 0),
        RaftHeartbeat(7, 0),
        RaftHeartbeatResponse(7),
    ],
)
def test_a_greater_term_makes_a_follower(raft: type[Raft], role: str, msg: Message) -> None:
    """Fig. 2, all servers: set currentTerm = T, convert to follower. Stored."""
    alone = leader(raft, 1) if role == "leader" else server(raft, 0)
    if role == "candidate":
        alone.fire("election")
    alone.hear(2, msg)
    assert (alone.machine.role, alone.machine.term) == ("follower", 7)
    assert alone.stored_before_said()
    alone.restart()
    assert alone.machine.term == 7


def test_a_candidate_follows_the_leader_of_its_term(raft: type[Raft]) -> None:
    """§5.2: if the leader's term is at least as large as the candidate's own."""
    alone = server(raft, 0)
    alone.fire("election")
    assert alone.hear(2, append(1, 0, 0)) == [accepted(1, 0)]
    assert alone.machine.role == "follower"
    alone.hear(3, vote(1))
    assert alone.machine.role == "follower"


def test_hearing_the_leader_restarts_the_election_timer(raft: type[Raft]) -> None:
    """And a candidate's greater term alone does not (Fig. 2)."""
    alone = server(raft, 1, entry(1, "a"))
    alone.now = 100 * MS
    alone.hear(2, RaftHeartbeat(1, 0))
    assert alone.timers["election"] >= alone.now + LOW
    before = alone.timers["election"]
    alone.now = before - 1
    alone.hear(3, request_vote(2, 0, 0))
    assert alone.timers["election"] == before
    alone.hear(3, request_vote(3, 1, 1))
    assert alone.timers["election"] >= alone.now + LOW, "granting a vote does"


def test_two_leaders_of_one_term_are_not_believed(raft: type[Raft]) -> None:
    alone = leader(raft, 1)
    alone.hear(3, RaftHeartbeat(1, 0))
    assert alone.blamed == [3]
    assert alone.machine.role == "leader"


# --- thesis §9.6, §4.2.3 and §6.2 ----------------------------------------------------------


def test_a_pre_vote_comes_first_and_changes_nothing(raft: type[Raft]) -> None:
    """Thesis §9.6: a candidate raises its term only when a majority would vote for it."""
    alone = server(raft, 3, entry(3, "a"), n=5, prevote=True)
    assert alone.fire("election") == [request_vote(4, 1, 3, pre=True)]
    assert (alone.machine.term, alone.effects and alone.disk["term"]) == (3, encode((3, 0)))
    assert alone.hear(2, vote(4, pre=True)) == []
    assert alone.hear(2, vote(4, pre=True)) == []
    assert alone.hear(3, vote(4, pre=True)) == [request_vote(4, 1, 3)]
    assert alone.machine.term == 4


def test_a_pre_vote_binds_nobody(raft: type[Raft]) -> None:
    alone = server(raft, 3, entry(3, "a"), prevote=True)
    for p in (2, 3):
        assert alone.hear(p, request_vote(4, 1, 3, pre=True)) == [vote(4, pre=True)]
    assert alone.machine.term == 3
    assert alone.hear(2, request_vote(4, 0, 0, pre=True)) == [vote(3, granted=False, pre=True)]
    assert alone.hear(2, request_vote(3, 1, 3, pre=True)) == [vote(3, granted=False, pre=True)]
    assert alone.hear(2, request_vote(3, 1, 3)) == [vote(3)]


def test_who_hears_a_leader_unseats_it_not(raft: type[Raft]) -> None:
    """Thesis §4.2.3: within the least election timeout it neither votes nor takes the term."""
    alone = server(raft, 1, prevote=True)
    alone.hear(2, RaftHeartbeat(1, 0))
    alone.now += LOW - 1
    assert alone.hear(3, request_vote(9)) == [vote(1, granted=False)]
    assert alone.hear(3, request_vote(9, pre=True)) == [vote(1, granted=False, pre=True)]
    assert alone.machine.term == 1
    alone.now += 1
    assert alone.hear(3, request_vote(9)) == [vote(9)]


def test_a_leader_does_not_help_to_unseat_itself(raft: type[Raft]) -> None:
    alone = server(raft, 0, prevote=True)
    alone.fire("election")
    alone.hear(2, vote(1, pre=True))
    alone.hear(2, vote(1))
    assert alone.machine.role == "leader"
    assert alone.hear(3, request_vote(9, 9, 9)) == [vote(1, granted=False)]
    assert (alone.machine.role, alone.machine.term) == ("leader", 1)


def test_a_leader_that_a_majority_does_not_hear_steps_down(raft: type[Raft]) -> None:
    """Thesis §6.2: or its clients would wait for ever."""
    alone = leader(raft, 1, n=5)
    alone.now += HIGH - 1
    for p in (2, 3):
        alone.hear(p, RaftHeartbeatResponse(1))
    alone.fire("quorum")
    assert alone.machine.role == "leader"
    alone.now += HIGH
    alone.hear(2, RaftHeartbeatResponse(1))
    alone.fire("quorum")
    assert alone.machine.role == "follower"
    assert "heartbeat" not in alone.timers
    assert "election" in alone.timers


def test_timeouts_double_while_too_few_answer(raft: type[Raft]) -> None:
    """Our own: a timeout shorter than the round trip would never end in an election."""
    alone = server(raft, 0, n=5, prevote=True)
    for factor in (1, 2, 4, 8, 8):
        alone.fire("election")
        wait = alone.timers["election"] - alone.now
        assert factor * LOW <= wait <= factor * HIGH
        alone.hear(2, vote(0, granted=False, pre=True))  # too few
    for p in (2, 3):
        alone.hear(p, vote(0, granted=False, pre=True))
    alone.hear(4, RaftHeartbeat(1, 0))
    for _ in range(8):
        alone.now += 50 * MS
        alone.hear(4, RaftHeartbeat(1, 0))
    assert alone.timers["election"] - alone.now <= HIGH, "and are short again under a leader"


def test_answers_keep_timeouts_as_they_are(raft: type[Raft]) -> None:
    alone = server(raft, 0, n=5)
    for _ in range(4):
        alone.fire("election")
        for p in (2, 3):
            alone.hear(p, vote(alone.machine.term, granted=False))
        assert alone.timers["election"] - alone.now <= HIGH


def test_votes_that_come_after_the_timeout_still_elect(raft: type[Raft]) -> None:
    """They are for the term that it is in; a pre-vote for the next has begun meanwhile."""
    alone = server(raft, 0, n=5, prevote=True)
    alone.fire("election")
    alone.hear(2, vote(1, pre=True))
    alone.fire("election")
    alone.hear(3, vote(1, pre=True))
    assert alone.machine.role == "candidate", "pre-votes too"
    alone.fire("election")
    assert alone.machine.role == "pre-candidate"
    alone.hear(2, vote(1))
    alone.hear(3, vote(1))
    assert (alone.machine.role, alone.machine.term) == ("leader", 1)


def test_pre_votes_are_for_a_time_without_a_leader(raft: type[Raft]) -> None:
    alone = server(raft, 1, n=5, prevote=True)
    alone.fire("election")
    alone.hear(2, vote(2, pre=True))
    alone.hear(4, RaftHeartbeat(1, 0))
    alone.fire("election")
    alone.hear(3, vote(2, pre=True))
    assert alone.machine.role == "pre-candidate"


# --- §5.3, log replication -----------------------------------------------------------------


def test_a_leader_begins_with_an_empty_entry_of_its_term(raft: type[Raft]) -> None:
    """§8: it tells the leader what is committed."""
    alone = leader(raft, 2, entry(1, "a"))
    assert log_of(alone) == [(1, "a"), (2, "")]
    assert alone.said[-1] == ((3,), append(2, 1, 1, entry(2)))


def test_a_leader_appends_stores_and_sends(raft: type[Raft]) -> None:
    alone = leader(raft, 1)
    assert alone.submit("a", b"value of a") == [append(1, 1, 1, entry(1, "a"))] * 2
    assert alone.stored_before_said()
    assert alone.hear(2, RaftForward("a", b"value of a")) == [], "an operation stands there once"
    assert alone.hear(2, RaftForward("b", b"value of b")) == [append(1, 2, 1, entry(1, "b"))] * 2


def test_a_follower_forwards_to_the_leader(raft: type[Raft]) -> None:
    alone = server(raft, 1)
    assert alone.submit("a", b"value of a") == []
    said = alone.hear(2, RaftHeartbeat(1, 0))
    assert RaftForward("a", b"value of a") in said
    assert of(RaftForward, alone.fire("retry"))


def test_an_invalid_value_is_not_appended(raft: type[Raft]) -> None:
    alone = leader(raft, 1, valid=lambda value: value != b"bad")
    assert alone.hear(2, RaftForward("a", b"bad")) == []
    assert alone.blamed == [2]


def test_a_follower_appends_what_follows_its_log(raft: type[Raft]) -> None:
    alone = server(raft, 1, entry(1, "a"))
    assert alone.hear(2, append(1, 1, 1, entry(1, "b"), entry(1, "c"))) == [accepted(1, 3)]
    assert alone.stored_before_said()
    assert log_of(alone) == [(1, "a"), (1, "b"), (1, "c")]
    alone.restart()
    assert log_of(alone) == [(1, "a"), (1, "b"), (1, "c")]


def test_an_old_leader_is_refused(raft: type[Raft]) -> None:
    """Fig. 2, AppendEntries 1: reply false if term < currentTerm."""
    alone = server(raft, 2, entry(1, "a"))
    assert alone.hear(2, append(1, 1, 1, entry(1, "b"), commit=1)) == [refused(2, 1)]
    alone.hear(2, RaftHeartbeat(1, 1))
    assert alone.log == []
    assert log_of(alone) == [(1, "a")]


@pytest.mark.parametrize(("prev", "prev_term", "hint"), [(3, 2, 2), (2, 2, 0), (9, 2, 2)])
def test_a_gap_or_a_conflict_before_is_refused(
    raft: type[Raft], prev: int, prev_term: int, hint: int
) -> None:
    """Fig. 2, 2: no entry at prevLogIndex with prevLogTerm. The answer says where to try."""
    alone = server(raft, 2, entry(1, "a"), entry(1, "b"))
    assert alone.hear(2, append(2, prev, prev_term, entry(2, "c"))) == [refused(2, hint)]
    assert log_of(alone) == [(1, "a"), (1, "b")]


def test_a_conflict_deletes_the_entry_and_all_after_it(raft: type[Raft]) -> None:
    """Fig. 2, 3; also on disk."""
    alone = server(raft, 2, entry(1, "a"), entry(1, "b"), entry(1, "c"), entry(1, "d"))
    assert alone.hear(2, append(2, 1, 1, entry(2, "x"))) == [accepted(2, 2)]
    for _ in range(2):
        assert log_of(alone) == [(1, "a"), (2, "x")]
        alone.restart()


@pytest.mark.parametrize("after", range(7))
def test_a_crash_amid_the_deletion_leaves_no_hole(raft: type[Raft], after: int) -> None:
    alone = server(raft, 2, entry(1, "a"), entry(1, "b"), entry(1, "c"), entry(1, "d"))
    alone.tear(2, append(2, 1, 1, entry(2, "x"), entry(2, "y")), after)
    log = log_of(alone)
    assert log[0] == (1, "a")
    assert (1, "d") not in log or (1, "c") in log
    assert (1, "c") not in log or (1, "b") in log
    assert (2, "y") not in log or log == [(1, "a"), (2, "x"), (2, "y")]
    alone.hear(2, append(2, 1, 1, entry(2, "x"), entry(2, "y")))
    alone.restart()
    assert log_of(alone) == [(1, "a"), (2, "x"), (2, "y")], "nothing behind a hole comes back"


def test_an_old_message_deletes_nothing(raft: type[Raft]) -> None:
    """§5.3: only a *conflict* deletes. A late message holds less than the log."""
    alone = server(raft, 1, entry(1, "a"), entry(1, "b"), entry(1, "c"))
    assert alone.hear(2, append(1, 0, 0, entry(1, "a"))) == [accepted(1, 1)]
    assert log_of(alone) == [(1, "a"), (1, "b"), (1, "c")]


def test_what_is_committed_is_never_deleted(raft: type[Raft]) -> None:
    alone = server(raft, 1, entry(1, "a"))
    alone.hear(2, append(1, 1, 1, commit=1))
    assert alone.log == ["a"]
    alone.hear(3, append(5, 0, 0, entry(5, "x")))
    assert alone.blamed == [3]
    assert log_of(alone) == [(1, "a")]
    assert alone.machine.term == 1, "and its term is not taken"


@pytest.mark.parametrize(("commit", "log"), [(0, []), (1, ["a"]), (2, ["a", "b"]), (9, ["a", "b"])])
def test_commit_index_is_the_smaller_of_the_leaders_and_the_last_new_entry(
    raft: type[Raft], commit: int, log: list[str]
) -> None:
    """Fig. 2, 5. Entry 3 was not compared with the leader's log."""
    alone = server(raft, 2, entry(1, "a"), entry(1, "b"), entry(1, "c"))
    alone.hear(2, append(2, 1, 1, entry(1, "b"), commit=commit))
    assert alone.log == log


def test_a_refused_leader_goes_back_and_tries_again(raft: type[Raft]) -> None:
    alone = leader(raft, 3, entry(1, "a"), entry(2, "b"))
    assert alone.hear(2, refused(3, 1)) == [append(3, 1, 1, entry(2, "b"), entry(3))]
    assert alone.hear(2, refused(3, 0)) == [append(3, 0, 0, entry(1, "a"), entry(2, "b"), entry(3))]


def test_what_seems_lost_is_sent_again(raft: type[Raft]) -> None:
    """§5.3: the leader retries AppendEntries indefinitely."""
    alone = leader(raft, 1)
    assert alone.hear(2, RaftHeartbeatResponse(1)) == [], "it may be on its way"
    alone.now += LOW
    assert alone.hear(2, RaftHeartbeatResponse(1)) == [append(1, 0, 0, entry(1))]
    alone.hear(2, accepted(1, 1))
    alone.now += LOW
    assert alone.hear(2, RaftHeartbeatResponse(1)) == []


def test_a_confirmation_beyond_the_log_is_blamed(raft: type[Raft]) -> None:
    alone = leader(raft, 1)
    alone.hear(2, accepted(1, 5))
    assert alone.blamed == [2]
    assert alone.machine.commit == 0


# --- §5.3 and §5.4.2, committing -----------------------------------------------------------


@pytest.mark.parametrize(("confirm", "commits"), [([2], False), ([2, 2], False), ([2, 3], True)])
def test_an_entry_on_a_majority_is_committed(
    raft: type[Raft], confirm: list[Party], commits: bool
) -> None:
    alone = leader(raft, 1, n=5)
    alone.submit("a", b"value of a")
    for p in confirm:
        alone.hear(p, accepted(1, 2))
    assert alone.log == ["a"] * commits
    assert (alone.machine.commit == 2) == commits


def test_a_late_confirmation_takes_nothing_back(raft: type[Raft]) -> None:
    """matchIndex increases monotonically (Fig. 2)."""
    alone = leader(raft, 1, n=5)
    alone.submit("a", b"value of a")
    alone.hear(2, accepted(1, 2), accepted(1, 1))
    alone.hear(3, accepted(1, 2))
    assert alone.log == ["a"]


def test_an_entry_of_an_old_term_is_committed_by_one_of_this_term(raft: type[Raft]) -> None:
    """§5.4.2, Fig. 8: counting replicas of `a` alone would lose it to another leader."""
    alone = leader(raft, 3, entry(1, "a"))
    alone.hear(2, accepted(3, 1))
    assert alone.log == []
    alone.hear(2, accepted(3, 2))
    assert alone.log == ["a"]
    assert [d.index for d in alone.decided] == [0], "the empty entry has no place"


def test_confirmations_of_another_term_do_not_count(raft: type[Raft]) -> None:
    alone = leader(raft, 3, entry(1, "a"))
    alone.hear(2, accepted(2, 2))
    assert alone.log == []


def test_a_commit_is_told_at_once_to_who_holds_it(raft: type[Raft]) -> None:
    """Our own: the others need not wait for the next heartbeat, nor be told in every message."""
    alone = leader(raft, 1, n=5)
    alone.now += 50 * MS
    alone.submit("a", b"value of a")
    alone.hear(2, accepted(1, 2))
    said = alone.hear(3, accepted(1, 2))
    assert said == [RaftHeartbeat(1, 2)] * 2
    assert [to for to, _ in alone.said[-2:]] == [(2,), (3,)]
    assert alone.hear(4, accepted(1, 2)) == [RaftHeartbeat(1, 2)]
    alone.submit("b", b"value of b")
    for p in (2, 3):
        assert alone.hear(p, accepted(1, 3)) == [], "not every message of a burst"
    assert alone.fire("commit-notice") == [RaftHeartbeat(1, 3)] * 2


def test_heartbeats_say_no_more_than_the_follower_is_known_to_hold(raft: type[Raft]) -> None:
    alone = leader(raft, 1)
    alone.hear(2, accepted(1, 1))
    alone.fire("heartbeat")
    assert [(to, msg) for to, msg in alone.said[-2:]] == [
        ((2,), RaftHeartbeat(1, 1)),
        ((3,), RaftHeartbeat(1, 0)),
    ]


def test_a_heartbeat_commits_at_the_follower(raft: type[Raft]) -> None:
    alone = server(raft, 1, entry(1, "a"), entry(1, "b"))
    assert alone.hear(2, RaftHeartbeat(1, 1)) == [RaftHeartbeatResponse(1)]
    assert alone.log == ["a"]


# --- §7, log compaction --------------------------------------------------------------------


def many(raft: type[Raft], **options: Any) -> Alone:
    """A follower that applied 8 operations and compacted them: `compaction` 8 keeps the last 2."""
    alone = server(raft, 1, compaction=8, **options)
    ops = [entry(1, f"op{k}") for k in range(8)]
    alone.hear(2, append(1, 0, 0, *ops, commit=8))
    return alone


OPS = [f"op{k}" for k in range(8)]


def test_applied_entries_become_a_snapshot(raft: type[Raft]) -> None:
    alone = many(raft)
    assert alone.machine.log.start == 6
    assert sorted(k for k in alone.disk if k.startswith("log/")) == ["log/7", "log/8"]
    alone.restart()
    assert alone.log == OPS[:6], "what the snapshot holds is committed"
    alone.hear(2, RaftHeartbeat(1, 8))
    assert alone.log == OPS
    assert [d.index for d in alone.decided] == list(range(8))


@pytest.mark.parametrize("after", range(0, 40, 2))
def test_a_crash_amid_the_compaction_loses_nothing(raft: type[Raft], after: int) -> None:
    alone = server(raft, 1, compaction=8)
    ops = [entry(1, f"op{k}") for k in range(8)]
    alone.hear(2, append(1, 0, 0, *ops))
    alone.tear(2, RaftHeartbeat(1, 8), after)
    alone.hear(2, RaftHeartbeat(1, 8))
    assert alone.log == OPS
    assert alone.machine.log.last == 8


def test_who_is_far_behind_gets_the_snapshot(raft: type[Raft]) -> None:
    """§7: the leader has discarded the next log entry that it needs."""
    alone = leader(raft, 1, n=3, compaction=8, batch=4)
    for op in OPS:
        alone.submit(op, f"value of {op}".encode())
    alone.hear(2, accepted(1, 9))
    start = alone.machine.log.start
    assert start == 7
    said = of(RaftInstallSnapshot, alone.hear(3, refused(1, 0, history=0)))
    assert [(m.first, len(m.history), m.count) for m in said] == [(0, 4, 6), (4, 2, 6)]
    assert [(m.last, m.last_term) for m in said] == [(7, 1)] * 2
    assert of(RaftInstallSnapshot, alone.hear(3, refused(1, 0, history=5)))[0].first == 5
    assert alone.hear(3, accepted(1, 7)) == [
        append(1, 7, 1, entry(1, "op6"), entry(1, "op7"), commit=9)
    ]


def snapshot(first: int, *ops: str, last: int = 8, term: int = 3) -> RaftInstallSnapshot:
    return RaftInstallSnapshot(term, last, 1, first, 8, tuple(entry(1, op) for op in ops))


def test_a_snapshot_is_installed_when_all_its_pages_are_here(raft: type[Raft]) -> None:
    alone = server(raft, 3)
    for _ in range(2):
        assert alone.hear(2, snapshot(4, *OPS[4:])) == [], "a page before it is missing"
    assert alone.hear(2, snapshot(0, *OPS[:4])) == []
    assert alone.hear(2, snapshot(4, *OPS[4:])) == [accepted(3, 8, history=8)]
    assert alone.stored_before_said()
    for _ in range(2):
        assert alone.log == OPS
        assert (alone.machine.log.start, alone.machine.log.last) == (8, 8)
        alone.restart()


@pytest.mark.parametrize("term", [1, 2])
def test_entries_after_the_snapshot_stay_where_the_log_agrees(raft: type[Raft], term: int) -> None:
    """§7: if an existing entry has the snapshot's last index and term, retain what follows it;
    else discard the entire log."""
    log = [*(entry(term, f"op{k}") for k in range(8)), entry(term, "more")]
    alone = server(raft, 3, *log)
    alone.hear(2, snapshot(0, *OPS))
    for _ in range(2):
        assert log_of(alone) == ([(1, "more")] if term == 1 else [])
        assert alone.log == OPS
        alone.restart()


@pytest.mark.parametrize("term", [1, 2])
@pytest.mark.parametrize("after", range(0, 36, 3))
def test_a_crash_amid_an_installation_does_no_harm(raft: type[Raft], after: int, term: int) -> None:
    log = [*(entry(term, f"op{k}") for k in range(8)), entry(term, "more")]
    alone = server(raft, 3, *log)
    alone.tear(2, snapshot(0, *OPS), after)
    kept = log_of(alone)
    if alone.machine.log.start == 8:
        assert kept == ([(1, "more")] if term == 1 else []), "no entry of an old term after it"
    else:
        assert kept == [(e.term, e.op) for e in log[: len(kept)]], "no hole"
    alone.hear(2, snapshot(0, *OPS))
    assert alone.log == OPS


def test_an_old_snapshot_changes_nothing(raft: type[Raft]) -> None:
    alone = many(raft)
    assert alone.hear(2, snapshot(0, *OPS[:4], last=4, term=1)) == [accepted(1, 4, history=8)]
    assert alone.machine.log.last == 8
    assert alone.hear(3, snapshot(0, *OPS, term=0)) == []


# --- what a liar may not do to a process ---------------------------------------------------


@pytest.mark.parametrize("term", [2**53, 2**62, 2**64 - 1])
def test_a_number_that_could_not_be_said_is_malformed(raft: type[Raft], term: int) -> None:
    alone = server(raft, 1)
    alone.hear(2, RaftHeartbeat(term, 0))
    assert alone.blamed == [2]
    assert alone.machine.term == 1
    assert alone.disk["term"] == encode((1, 0))


def test_a_term_that_leaps_is_blamed_and_not_stored(raft: type[Raft]) -> None:
    alone = server(raft, 1)
    for msg in (request_vote(2**40), append(2**40, 0, 0), vote(2**40, granted=False)):
        assert alone.hear(2, msg) == []
    assert alone.blamed == [2, 2, 2]
    assert alone.disk["term"] == encode((1, 0))
    alone.hear(2, request_vote(2**32))
    assert alone.machine.term == 2**32


def test_at_the_last_term_nobody_campaigns(raft: type[Raft]) -> None:
    """The next could not be said: our own message would be malformed."""
    alone = server(raft, 2**53 - 1)
    assert alone.fire("election") == []
    assert alone.machine.role == "follower"
