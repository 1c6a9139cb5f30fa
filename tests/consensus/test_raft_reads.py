"""Raft's reads, held to Ongaro's thesis, §6.4: one server alone, as in `test_raft_paper`."""

import dataclasses
from typing import Any

import pytest

from mpclab.consensus.agreement import Read, Readable
from mpclab.consensus.raft import Raft
from mpclab.consensus.raft_messages import (
    RaftHeartbeat,
    RaftHeartbeatResponse,
    RaftReadIndex,
    RaftReadIndexResponse,
)
from mpclab.consensus.raft_reads import DRIFT
from mpclab.core.effects import Output
from mpclab.testing.alone import Alone
from tests.consensus.test_raft_paper import (
    LOW,
    accepted,
    append,
    entry,
    leader,
    request_vote,
    server,
    vote,
)

LEASE = LOW * (100 - DRIFT) // 100


@pytest.fixture
def raft() -> type[Raft]:
    return Raft


def answered(alone: Alone) -> list[tuple[str, int]]:
    """The reads that the last step let its user answer."""
    values = [e.value for e in alone.effects if isinstance(e, Output)]
    return [(v.read, v.places) for v in values if isinstance(v, Readable)]


def begun(raft: type[Raft], **options: Any) -> Alone:
    """The leader of term 5, of which the first entry and one operation are committed."""
    alone = leader(raft, 5, **options)
    alone.submit("a", entry(5, "a").value)
    for p in range(2, alone.n // 2 + 2):
        alone.hear(p, accepted(5, 2))
    assert alone.machine.commit == 2
    return alone


def test_a_read_waits_until_an_entry_of_the_term_is_committed(raft: type[Raft]) -> None:
    """Step 1: before, the leader does not know what is."""
    alone = leader(raft, 5, entry(4, "a"))
    assert alone.ask(Read("r")) == []
    said = alone.hear(2, accepted(5, 2))
    assert said == [RaftHeartbeat(5, 2), RaftHeartbeat(5, 2, 1), RaftHeartbeat(5, 0, 1)]
    assert answered(alone) == []
    alone.hear(3, RaftHeartbeatResponse(5, 1))
    assert answered(alone) == [("r", 1)]


def test_a_majority_answers_a_heartbeat_that_was_sent_after_the_read(raft: type[Raft]) -> None:
    """Step 3."""
    alone = begun(raft, n=5)
    assert alone.ask(Read("r"))[-1] == RaftHeartbeat(5, 0, 1)
    for p in (2, 3, 4, 5):
        alone.hear(p, RaftHeartbeatResponse(5, 0))  # to an earlier one
        assert answered(alone) == []
    alone.hear(2, RaftHeartbeatResponse(5, 1))
    alone.hear(2, RaftHeartbeatResponse(5, 1))
    assert answered(alone) == []
    alone.hear(3, RaftHeartbeatResponse(5, 1))
    assert answered(alone) == [("r", 1)]


def test_who_answers_a_heartbeat_says_which(raft: type[Raft]) -> None:
    alone = server(raft, 5)
    assert alone.hear(2, RaftHeartbeat(5, 0, 7)) == [RaftHeartbeatResponse(5, 7)]


def test_a_round_of_an_earlier_term_is_none_of_this_one(raft: type[Raft]) -> None:
    """Whoever began it may lead again when the answer comes. (Storm 306 of those with leases.)"""
    alone = server(raft, 5)
    assert alone.hear(2, RaftHeartbeat(4, 0, 7)) == [RaftHeartbeatResponse(5)]


def test_who_stepped_down_leads_no_more_in_that_term(raft: type[Raft]) -> None:
    """Nobody hears it for a while. By its old votes it would lead again, with rounds that are
    answered already (storm 276 of those with leases) and one more entry each time."""
    alone = begun(raft)
    alone.machine.options = dataclasses.replace(alone.machine.options, prevote=True)
    alone.ask(Read("r"))
    for _ in range(2):
        alone.fire("quorum")
        if alone.machine.role == "follower":
            break
    alone.fire("election")
    assert (alone.machine.role, alone.machine.term) == ("pre-candidate", 5)
    alone.hear(2, accepted(5, 3), RaftHeartbeatResponse(5, 1))
    assert answered(alone) == []


def test_nobody_leads_a_term_of_an_earlier_life(raft: type[Raft]) -> None:
    """Its votes may come twice; it has forgotten its rounds, and the answers to them may come too:
    they are none to the rounds that it would begin anew."""
    alone = begun(raft)
    alone.ask(Read("r"))
    alone.options["prevote"] = True
    alone.restart()
    alone.fire("election")
    alone.hear(2, vote(5))
    alone.hear(3, vote(5))
    assert (alone.machine.role, alone.machine.term) == ("pre-candidate", 5)


def test_reads_that_come_meanwhile_wait_for_the_next_round_together(raft: type[Raft]) -> None:
    alone = begun(raft)
    alone.ask(Read("r"))
    assert alone.ask(Read("s")) == []
    assert alone.hear(3, RaftReadIndex("t")) == []
    assert alone.hear(2, RaftHeartbeatResponse(5, 1))[-1] == RaftHeartbeat(5, 0, 2)
    assert answered(alone) == [("r", 1)]
    alone.hear(3, RaftHeartbeatResponse(5, 1))
    assert answered(alone) == []
    assert alone.hear(3, RaftHeartbeatResponse(5, 2)) == [RaftReadIndexResponse("t", 2)]
    assert answered(alone) == [("s", 1)]


def test_who_is_leader_no_longer_answers_nothing(raft: type[Raft]) -> None:
    alone = begun(raft)
    alone.ask(Read("r"))
    alone.hear(2, RaftHeartbeatResponse(6))
    assert alone.machine.role == "follower"
    alone.hear(3, RaftHeartbeatResponse(5, 1))
    assert answered(alone) == []


def test_a_round_that_never_was_is_blamed(raft: type[Raft]) -> None:
    alone = begun(raft)
    alone.hear(2, RaftHeartbeatResponse(5, 1))
    assert alone.blamed == [2]


def test_a_follower_asks_the_leader_and_waits_until_it_has_applied_as_much(
    raft: type[Raft],
) -> None:
    """Steps 4 and 5."""
    alone = server(raft, 5)
    alone.hear(2, append(5, 0, 0, entry(5), entry(5, "a")))
    assert alone.ask(Read("r")) == [RaftReadIndex("r")]
    assert alone.said[-1][0] == (2,)
    alone.hear(2, RaftReadIndexResponse("r", 2))
    assert answered(alone) == []
    alone.hear(2, RaftHeartbeat(5, 2))
    assert answered(alone) == [("r", 1)]
    alone.hear(2, RaftReadIndexResponse("r", 2))
    assert answered(alone) == [], "it was answered before"


def test_a_lost_question_is_asked_again_and_in_the_end_no_more(raft: type[Raft]) -> None:
    alone = server(raft, 5)
    assert alone.ask(Read("r")) == [], "nobody leads"
    assert alone.hear(2, RaftHeartbeat(5, 0))[0] == RaftReadIndex("r")
    assert alone.fire("read") == [RaftReadIndex("r")]
    for _ in range(100):
        if "read" not in alone.timers:
            break
        alone.fire("read")
    assert "read" not in alone.timers


# --- §6.4.1, leases -------------------------------------------------------------------------


def test_a_lease_answers_at_once_and_lasts_from_the_beginning_of_its_round(
    raft: type[Raft],
) -> None:
    alone = begun(raft, leases=True)
    alone.fire("heartbeat")
    began = alone.now
    alone.now += LEASE // 2
    alone.hear(2, RaftHeartbeatResponse(5, 1))
    alone.now = began + LEASE - 1
    assert alone.ask(Read("r")) == []
    assert answered(alone) == [("r", 1)]
    alone.now = began + LEASE
    assert RaftHeartbeat(5, 0, 2) in alone.ask(Read("s"))
    assert answered(alone) == []


def test_a_follower_of_a_lease_helps_nobody_while_it_lasts(raft: type[Raft]) -> None:
    alone = server(raft, 5, leases=True)
    alone.now = 2 * LOW
    alone.hear(2, RaftHeartbeat(5, 0))
    alone.now += LOW - 1
    assert alone.hear(3, request_vote(6)) == [vote(5, granted=False)]
    alone.now += 1
    assert alone.hear(3, request_vote(6)) == [vote(6)]


def test_nor_does_one_that_comes_back(raft: type[Raft]) -> None:
    """It may have answered the leader just before it crashed."""
    alone = server(raft, 5, leases=True)
    alone.now = 2 * LOW
    alone.restart()
    assert alone.hear(3, request_vote(6)) == [vote(5, granted=False)]
    alone.now += LOW
    assert alone.hear(3, request_vote(6)) == [vote(6)]
