"""The coordinator on the simulated network: propose, vote, commit, execute, abort."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.consensus.agreement import Agreement, Cast, Decided, VoteWanted
from mpclab.coordinator.approval import MAX_OPEN
from mpclab.coordinator.messages import Propose
from mpclab.coordinator.policy import parse_policy
from mpclab.coordinator.session import Session, SetVotePolicy
from mpclab.coordinator.statements import Certificate, sign_proposal, sign_vote
from mpclab.core.effects import (
    Asked,
    Blame,
    Delivered,
    Effect,
    Event,
    Persist,
    Send,
    Started,
)
from mpclab.core.errors import Strength, UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.core.machine import Ctx
from mpclab.core.node import Node
from mpclab.core.peers import Introduced, PeerDown, PeerUp
from mpclab.core.wire import Frame
from mpclab.operations.proposal import Proposal
from mpclab.testing.sessions import AT, NAME, Sessions, identity


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10])
def test_unanimous_commits_one_delay_after_voting(n: int) -> None:
    s = Sessions(n, greet=False)
    op = s.propose(1)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    assert +s.sent() == +type(s.sent())({"SignedProposal": n - 1, "SignedVote": n * (n - 1)})
    voted = {row.actor: row.at for row in s.notes("voted")}
    committed = {row.actor: row.at for row in s.notes("committed")}
    assert voted == {p: 0 if p == 1 else 10 * MS for p in s.members}
    assert set(committed.values()) == (
        {0} if n == 1 else {20 * MS} if n > 2 else {10 * MS, 20 * MS}
    )
    assert len(s.heads()) == 1
    assert s.world.now == max(committed.values()), "nothing keeps the run alive afterwards"
    assert not s.blames()


def test_rejection_aborts_everywhere_and_names_the_rejecter() -> None:
    s = Sessions(4, votes={3: "reject"}, greet=False)
    op = s.propose(1)
    s.run()
    for p in s.members:
        seen = s.at(p, op)
        assert (seen.status, seen.rejected, seen.missing) == ("aborted", (3,), ())
        assert seen.reason == "party 3 rejected: rejects everything"
    assert not s.notes("committed")
    assert s.world.now < 100 * MS, "no need to wait for the deadline"


def test_silence_is_missing_at_the_deadline() -> None:
    s = Sessions(4, votes={2: "silent"}, deadline=3 * SECOND)
    s.run()
    op = s.propose(1)
    s.run()
    for p in s.members:
        seen = s.at(p, op)
        assert (seen.status, seen.rejected, seen.missing) == ("expired", (), (2,))
        assert seen.reason == "no vote from party 2 in 3s"
        assert seen.ended_at is not None
        assert seen.ended_at - seen.heard_at == 3 * SECOND


def test_threshold_commits_in_spite_of_rejection_and_silence() -> None:
    s = Sessions(5, policy="threshold(3)", votes={4: "reject", 5: "silent"})
    s.run()
    op = s.propose(1)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    assert all(len(row.note.approvals) >= 3 for row in s.notes("certified"))


def test_threshold_is_impossible_with_too_many_rejections() -> None:
    s = Sessions(5, policy="threshold(3)", votes={3: "reject", 4: "reject", 5: "reject"})
    s.run()
    op = s.propose(1)
    s.run()
    assert {s.at(p, op).rejected for p in s.members} == {(3, 4, 5)}
    assert set(s.statuses(op).values()) == {"aborted"}


def test_votes_by_hand() -> None:
    s = Sessions(3, votes={2: "hand", 3: "hand"})
    s.run()
    op = s.propose(1)
    s.run(50 * MS)
    assert s.at(1, op).waiting_for == (2, 3)
    assert s.at(2, op).mine is None
    s.vote(2, op)
    s.run(50 * MS)
    assert s.at(1, op).waiting_for == (3,)
    with pytest.raises(UsageError, match=r"party 2 has approved .*; a vote is final"):
        s.vote(2, op, approve=False)
    with pytest.raises(UsageError, match="did you mean"):
        s.vote(3, op[:-1] + "x")
    s.vote(3, op, approve=False, reason="too expensive")
    s.run()
    assert {s.at(p, op).reason for p in s.members} == {"party 3 rejected: too expensive"}
    other = s.propose(1, deadline=100 * MS)
    s.run()
    with pytest.raises(UsageError, match="too late"):
        s.vote(2, other)


def test_who_proposes_approves_unless_told_otherwise() -> None:
    s = Sessions(2, votes={1: "hand", 2: "hand"})
    s.run()
    assert s.at(1, s.propose(1)).mine is True
    s.set_votes(2, "silent")
    assert s.at(2, s.propose(2)).mine is None
    for p in s.members:
        s.set_votes(p, "approve")  # applies to what is open too
    s.run()
    assert {o.status for o in s.view(1).operations} == {"executed"}


def test_validate_approves_only_answers_to_what_was_proposed() -> None:
    s = Sessions(3, votes={2: "validate", 3: "validate"})
    s.run()
    question = s.propose(1, text="who pays?")
    s.run()
    answer = s.propose(2, "response", to=question, text="I do")
    stray = s.propose(2, "response", to="nowhere", text="I do")
    s.run()
    assert set(s.statuses(answer).values()) == {"executed"}
    assert s.at(1, answer).result == "I do"
    assert s.at(1, answer).text == f"answer to {question}: I do"
    assert set(s.statuses(stray).values()) == {"aborted"}
    assert s.at(1, stray).reason.startswith("party 2 rejected: no proposal nowhere is known here")


def test_proposals_of_all_at_once_do_not_mix() -> None:
    s = Sessions(5, votes={5: "hand"})
    s.run()
    ops = [s.propose(p, text=f"from {p}") for p in s.members for _ in range(3)]
    rejected = set(ops[::4])
    s.run(20 * MS)
    for op in ops:
        if s.at(5, op).mine is None:
            s.vote(5, op, op not in rejected)
    s.run()
    for op in ops:
        own = s.at(5, op).by == 5  # whose proposer approved at once
        expected = "aborted" if op in rejected and not own else "executed"
        assert set(s.statuses(op).values()) == {expected}
    assert len(s.heads()) == 1
    for p in s.members:
        assert s.session(p).history.verify()
        for entry in s.view(p).history:
            assert s.at(p, entry.op).result == f"from {entry.by}"


def test_several_proposals_draw_ids_of_their_own() -> None:
    s = Sessions(2)
    for _ in range(5):
        s.world.ask(1, AT, Propose("note", {"text": "same"}))
    s.run()
    assert len({row.note.op for row in s.notes("proposed")}) == 5
    assert len(s.view(2).history) == 5


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Propose("nota", {"text": "x"}), "did you mean 'note'"),
        (Propose("note", {}), "parameter 'text' is missing"),
        (Propose("note", {"txt": "x", "text": "y"}), "did you mean 'text'"),
        (Propose("note", {"text": 3}), "3 is not text"),
        (Propose("note", {"text": "x" * 5000}), "at most 4096"),
        (Propose("note", {"text": " "}), "is empty"),
        (Propose("note", {"text": "a\x00b"}), "cannot be shown"),
        (Propose("coin", {"sides": 6}), "it has no parameters"),
        (Propose("note", {"text": "x"}, deadline=0), "deadline: use 100ms to 3600s"),
        (Propose("note", {"text": "x"}, deadline=99 * MS), "use 100ms to 3600s, not 99ms"),
        (Propose("note", {"text": "x"}, deadline=10**12), "deadline"),
    ],
)
def test_bad_proposals_are_refused_and_change_nothing(ask: Propose, message: str) -> None:
    s = Sessions(2)
    with pytest.raises(UsageError, match=message):
        s.world.ask(1, AT, ask)
    s.run()
    assert not s.view(1).operations
    assert not s.view(2).operations


def test_open_proposals_are_bounded() -> None:
    s = Sessions(2, votes={2: "silent"})
    for _ in range(MAX_OPEN):
        s.propose(1)
    with pytest.raises(UsageError, match="64 of your proposals are undecided"):
        s.propose(1)
    s.run()
    s.propose(1)


def test_bad_sessions_are_refused() -> None:
    s = Sessions(3)
    with pytest.raises(UsageError, match="t: 4 of 3"):
        Session(NAME, 3, 4, s.policy, identity(1))
    with pytest.raises(UsageError, match="for 3 parties, not for 4"):
        Session(NAME, 4, 2, s.policy, identity(1))
    with pytest.raises(UsageError, match="did you mean 'silent'"):
        Session(NAME, 3, 2, s.policy, identity(1), votes="silen")


def test_the_same_seed_gives_the_same_trace() -> None:
    digests = set()
    for _ in range(2):
        s = Sessions(4, seed=5)
        s.lose(0.2)
        s.propose(1, "coin")
        s.propose(2)
        s.run()
        digests.add(s.world.trace.digest())
    assert len(digests) == 1


def test_a_fork_goes_its_own_way() -> None:
    s = Sessions(3, votes={3: "hand"})
    s.run()
    op = s.propose(1)
    s.run(50 * MS)
    before, fork = s.world, s.world.fork()
    s.vote(3, op)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    s.world = fork
    assert set(s.statuses(op).values()) == {"open"}
    s.vote(3, op, approve=False)
    s.run()
    assert set(s.statuses(op).values()) == {"aborted"}
    s.world = before
    assert set(s.statuses(op).values()) == {"executed"}


# --- the machine alone --------------------------------------------------------------------


class Oracle(Agreement):
    """Decides what it is told to."""

    orders = True

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        ctx.output(ask)


class Alone:
    """Party 1 of 3, its events by hand."""

    def __init__(self, **options: Any) -> None:
        policy = parse_policy("unanimous", 3)
        machine = Session(NAME, 3, 2, policy, identity(1), **options)
        self.node = Node(1, 3, machine, coins=lambda path: random.Random(1), at=AT)
        self.session = machine
        self.do(Started())

    def do(self, event: Event, now: int = 0) -> list[Effect]:
        return self.node.step(event, now)

    def ask(self, ask: Any) -> list[Effect]:
        return self.do(Asked(AT, ask))

    def tell(self, sender: int, msg: Any) -> list[Effect]:
        return self.do(Delivered(sender, Frame(1, AT, msg)))


def sent(effects: list[Effect]) -> list[tuple[tuple[int, ...], str]]:
    return [(e.to, e.frame.kind) for e in effects if isinstance(e, Send)]


def test_a_proposal_and_a_vote_are_each_stored_before_they_are_sent() -> None:
    effects = Alone().ask(Propose("note", {"text": "x"}))
    done = [
        e.key.split("/")[0] if isinstance(e, Persist) else e.frame.kind
        for e in effects
        if isinstance(e, Persist | Send)
    ]
    assert done == ["proposal", "SignedProposal", "vote", "SignedVote"]


def test_keys_may_come_later_and_never_change() -> None:
    one = Alone()
    proposal = Proposal(NAME, "a", 2, 1, "note", (("text", "x"),), SECOND)
    signed = sign_proposal(identity(2), proposal)
    assert one.tell(2, signed) == []  # its key is not here: no word, no blame
    one.ask(Introduced(2, identity(2).public))
    assert sent(one.tell(2, signed)) == [((2, 3), "SignedVote")]
    [blame] = one.ask(Introduced(2, identity(3).public))
    assert isinstance(blame, Blame)
    assert (blame.party, blame.strength) == (2, Strength.SUSPECT)
    assert one.session.ledger.keys[2] == identity(2).public


def test_what_was_decided_waits_for_the_keys_that_prove_it() -> None:
    one = Alone(agreement=Oracle)
    signed = sign_proposal(identity(2), Proposal(NAME, "a", 2, 1, "note", (("text", "x"),), SECOND))
    votes = [sign_vote(identity(p), signed.proposal, p, True) for p in (1, 2, 3)]
    value = Certificate(signed, tuple((v.voter, v.signature) for v in votes)).to_bytes()
    one.do(Asked((*AT, "agreement"), Decided(signed.op, value, 0)))
    assert len(one.session.history) == 0
    one.ask(Introduced(2, identity(2).public))
    assert len(one.session.history) == 0
    one.ask(Introduced(3, identity(3).public))
    assert [e.op for e in one.session.view().history] == [signed.op]


def test_a_peer_that_comes_up_is_told_what_is_known() -> None:
    one, two = Alone(), Alone()
    one.ask(Propose("note", {"text": "x"}))
    [hello] = [e for e in two.ask(PeerUp(2, "link")) if isinstance(e, Send)]
    assert hello.frame.kind == "Summary"
    assert two.session.view().up == (2,)
    answer = one.tell(2, hello.frame.msg)
    assert sent(answer) == [((2,), "ProposalState")]
    two.ask(PeerDown(2, "gone"))
    assert two.session.view().up == ()


def test_what_is_no_ask_is_refused() -> None:
    with pytest.raises(UsageError, match="a session cannot str"):
        Alone().ask("hello")
    with pytest.raises(UsageError, match="did you mean 'reject'"):
        Alone().ask(SetVotePolicy("rejct"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_blame(body: bytes) -> None:
    effects = Alone().do(Delivered(2, Frame(1, AT, body=body)))
    assert all(isinstance(e, Blame | Send) for e in effects)


class Clerk(Agreement):
    """Wants the votes that it is told to want, and keeps them."""

    votes_inside = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.casts: list[Cast] = []

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if isinstance(ask, Cast):
            self.casts.append(ask)
        else:
            ctx.output(ask)


@pytest.mark.parametrize("lie", ["another's proposal", "another's id", ""])
def test_nobody_gets_votes_on_a_proposal_under_another_name(lie: str) -> None:
    one = Alone(keys={p: identity(p).public for p in (1, 2, 3)}, agreement=Clerk)
    proposal = Proposal(NAME, "a", 2, 1, "note", (("text", "x"),), SECOND)
    value = Certificate(sign_proposal(identity(2), proposal), ()).to_bytes()
    op = "another222" if lie == "another's id" else proposal.op
    by = 3 if lie == "another's proposal" else 2
    effects = one.do(Asked((*AT, "agreement"), VoteWanted(op, value, by)))
    clerk = one.session.agreement
    assert isinstance(clerk, Clerk)
    [cast] = clerk.casts
    blamed = [e.party for e in effects if isinstance(e, Blame)]
    if lie:
        assert (cast.op, cast.approve, cast.signature) == (op, False, b"")
        assert blamed == [by]
        assert not one.session.operations, "nothing was opened"
    else:
        assert (cast.op, cast.approve) == (op, True)
        assert blamed == []
