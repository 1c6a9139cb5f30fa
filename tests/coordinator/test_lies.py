"""Liars: forged, contradicting and malformed messages; who is blamed, and what it is worth."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, get_args, get_origin

import msgspec
import pytest

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.raft import Raft
from mpclab.consensus.registry import agreement
from mpclab.coordinator import statements
from mpclab.coordinator.approval import MAX_LEAP, MAX_OPEN
from mpclab.coordinator.messages import (
    DecidedBatch,
    DecidedEntry,
    Fetch,
    ProposalState,
    Propose,
    Report,
    ResultRequest,
    SessionMessage,
    Summary,
)
from mpclab.coordinator.policy import parse_policy
from mpclab.coordinator.statements import (
    AbortCertificate,
    Certificate,
    Evidence,
    InvalidStatement,
    SignedProposal,
    SignedVote,
    sign_proposal,
    sign_vote,
    sign_withdrawal,
    value_from_bytes,
    verify_abort,
    verify_certificate,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.core.machine import Ctx, Machine
from mpclab.operations.proposal import OP_LENGTH, Proposal, operation_id
from mpclab.testing.sessions import NAME, Sessions, identity, keys
from mpclab.trace.rows import Sent

Say = Callable[[Ctx], None]


class Liar(Machine):
    """Says what it is asked to say, and answers nothing."""

    messages = SessionMessage

    def on_message(self, ctx: Ctx, sender: int, msg: Any) -> None:
        pass

    def on_ask(self, ctx: Ctx, ask: Say) -> None:
        ask(ctx)


def proposal(by: int, text: str = "hello", **changes: Any) -> Proposal:
    fresh = Proposal(NAME, "x1", by, 1, "note", (("text", text),), 2 * SECOND)
    return msgspec.structs.replace(fresh, **changes)


def genuine_vote(op: str) -> SignedVote:
    """Party 4's own signature, under any id."""
    label, parts = statements._vote_parts(NAME, op, b"", True, "")
    return SignedVote(op, b"", 4, True, "", identity(4).sign(label, *parts))


def with_liar(n: int = 4, **options: Any) -> Sessions:
    s = Sessions(n, others={n: Liar}, **options)
    s.run()
    return s


def say(s: Sessions, *messages: Any, to: tuple[int, ...] | None = None) -> None:
    def lie(ctx: Ctx) -> None:
        for message in messages:
            ctx.multicast(to or ctx.others, message)

    s.world.ask(s.n, ("session",), lie)


def blames(s: Sessions) -> set[tuple[int | None, str]]:
    return {(row.party, row.strength) for row in s.blames()}


def test_two_proposals_under_one_id_are_proved() -> None:
    s = with_liar(policy="threshold(3)")
    one, two = (sign_proposal(identity(4), proposal(4, text)) for text in ("buy", "sell"))
    assert one.op == two.op
    say(s, one, to=(1, 2))
    say(s, two, to=(3,))
    s.run()
    assert set(s.statuses(one.op).values()) == {"expired"}
    assert blames(s) == {(4, "proof")}
    assert {row.actor for row in s.blames()} == {1, 2, 3}
    for p in s.honest:
        [evidence] = s.session(p).evidence
        assert evidence.holds(NAME, keys(4))
    assert s.at(3, one.op).rejected[:2] == (1, 2)


def test_a_certificate_outweighs_what_we_heard_ourselves() -> None:
    s = with_liar(4, policy="threshold(3)")
    one, two = proposal(4, "buy"), proposal(4, "sell")
    me = identity(4)
    say(s, sign_proposal(me, one), sign_vote(me, one, 4, True), to=(1, 2))
    say(s, sign_proposal(me, two), sign_vote(me, two, 4, True), to=(3,))
    s.run()
    op = one.op
    assert {s.at(p, op).result for p in s.honest} == {"buy"}
    assert s.at(3, op).mine is True, "party 3 had approved the other story"
    assert len(s.heads()) == 1
    assert (4, "proof") in blames(s)
    assert {party for party, _ in blames(s)} == {4}


def test_with_a_low_threshold_direct_lets_a_liar_split_the_honest() -> None:
    s = with_liar(3, policy="threshold(2)")
    one, two = proposal(3, "buy"), proposal(3, "sell")
    me = identity(3)
    for p, story in ((1, one), (2, two)):
        say(s, sign_proposal(me, story), sign_vote(me, story, 3, True), to=(p,))
    s.run()
    assert (s.at(1, one.op).result, s.at(2, one.op).result) == ("buy", "sell")
    assert blames(s) == {(3, "proof")}, "the lesson: two records, and a proof of who did it"


def test_voting_both_ways_is_proved_and_the_first_word_counts() -> None:
    s = with_liar(votes={1: "hand"})
    op = s.propose(1)
    s.run(50 * MS)
    signed = s.session(1).operations[op].signed
    assert signed is not None
    yes = sign_vote(identity(4), signed.proposal, 4, True)
    no = sign_vote(identity(4), signed.proposal, 4, False, "changed my mind")
    say(s, no, yes)
    s.run()
    assert {s.at(p, op).rejected for p in s.honest} == {(4,)}
    assert blames(s) == {(4, "proof")}


def test_an_old_vote_under_another_id_is_no_vote() -> None:
    """Or else whoever passes it on outvotes its voter, and frames it for voting twice."""
    s = with_liar(policy="threshold(3)")
    first = s.propose(1)
    s.run(100 * MS)
    old = s.session(1).operations[first].tally.votes[3]
    moved = msgspec.structs.replace(old, op=operation_id(NAME, 2, "a2"))
    say(s, moved, to=(1,))
    s.run(15 * MS)
    assert s.propose(2) == moved.op
    s.run()
    assert set(s.statuses(moved.op).values()) == {"executed"}
    assert blames(s) == {(4, "known")}
    assert not s.session(1).evidence
    genuine = s.session(1).operations[moved.op].tally.votes[3]
    assert not Evidence(3, "", genuine, moved).holds(NAME, keys(4))


def test_another_reason_is_no_contradiction() -> None:
    s = with_liar()
    op = s.propose(1)
    signed = s.session(1).operations[op].signed
    assert signed is not None
    for reason in ("dear", "too dear"):
        say(s, sign_vote(identity(4), signed.proposal, 4, False, reason))
    s.run()
    assert not s.blames()


@pytest.mark.parametrize(
    "forge",
    [
        lambda p: sign_vote(identity(9), p, 2, True),  # in another's name
        lambda p: msgspec.structs.replace(sign_vote(identity(4), p, 4, True), approve=False),
        lambda p: msgspec.structs.replace(sign_vote(identity(4), p, 4, False, "a"), reason="b"),
        lambda p: msgspec.structs.replace(sign_vote(identity(4), p, 4, True), voter=3),
        lambda p: msgspec.structs.replace(sign_vote(identity(4), p, 4, True), signature=b"x"),
        lambda p: sign_vote(identity(4), msgspec.structs.replace(p, session="s2"), 4, True),
        lambda p: ProposalState(
            sign_proposal(identity(1), p), (sign_vote(identity(9), p, 2, True),)
        ),
        lambda p: ProposalState(
            sign_proposal(identity(1), p),
            (sign_vote(identity(4), msgspec.structs.replace(p, attempt="x2"), 4, True),),
        ),
        lambda p: genuine_vote("2" * (OP_LENGTH + 1)),  # on what can be no operation
        lambda p: genuine_vote(""),
        lambda p: sign_proposal(identity(4), p),  # party 1's, signed by party 4
        lambda p: sign_proposal(identity(4), proposal(4, session="s2")),
        lambda p: sign_proposal(identity(4), proposal(4, lamport=0)),
        lambda p: sign_proposal(identity(4), proposal(4, lamport=MAX_LEAP + 9)),
        lambda p: sign_proposal(identity(4), proposal(4, deadline=0)),
        lambda p: sign_proposal(identity(4), proposal(4, deadline=statements.MIN_DEADLINE - 1)),
        lambda p: sign_proposal(identity(4), proposal(4, deadline=2**60)),
        lambda p: sign_proposal(identity(4), proposal(4, attempt="")),
        lambda p: sign_proposal(identity(4), proposal(4, kind="x" * 100)),
        lambda p: sign_proposal(identity(4), proposal(4, params=(("text", 7),))),
        lambda p: sign_proposal(identity(4), proposal(4, params=())),
    ],
)
def test_what_is_forged_or_malformed_is_blamed_on_its_sender(
    forge: Callable[[Proposal], Any],
) -> None:
    s = with_liar(policy="threshold(3)")
    op = s.propose(1)
    signed = s.session(1).operations[op].signed
    assert signed is not None
    say(s, forge(signed.proposal))
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}, "the others go on"
    assert len(s.view(1).history) == 1
    assert {party for party, _ in blames(s)} == {4}


def test_an_unknown_kind_is_rejected_and_nobody_is_blamed() -> None:
    s = with_liar()
    signed = sign_proposal(identity(4), proposal(4, kind="teleport"))
    say(s, signed, sign_vote(identity(4), signed.proposal, 4, True))
    s.run()
    assert {s.at(p, signed.op).rejected for p in s.honest} == {(1, 2, 3)}
    assert "'teleport' is not known here" in s.at(1, signed.op).reason
    assert not s.blames()


def certificate(by: int, approvers: tuple[int, ...], **changes: Any) -> Certificate:
    signed = sign_proposal(identity(by), proposal(by, **changes))
    votes = (sign_vote(identity(p), signed.proposal, p, True) for p in approvers)
    return Certificate(signed, tuple((v.voter, v.signature) for v in votes))


def test_records_are_verified_before_they_are_believed() -> None:
    good = certificate(1, (1, 2, 3))
    other = certificate(1, (1, 2, 3), attempt="x2")
    twice = Certificate(good.signed, (good.approvals[0],) * 3)
    swapped = Certificate(good.signed, other.approvals)
    strange = Certificate(good.signed, (*good.approvals[:2], (9, good.approvals[2][1])))
    policy = parse_policy("threshold(3)", 4)
    verify_certificate(good, NAME, policy, keys(4))
    verify_certificate(Certificate.from_bytes(good.to_bytes()), NAME, policy, keys(4))
    for bad in (certificate(1, (1, 2)), twice, swapped, strange, Certificate(good.signed, ())):
        with pytest.raises(InvalidStatement):
            verify_certificate(bad, NAME, policy, keys(4))
        s = with_liar(policy="threshold(3)")
        say(s, DecidedBatch((DecidedEntry(bad, None, False),)))
        s.run()
        assert not s.view(1).history
        if bad is not strange:
            assert blames(s) == {(4, "known")}
    s = with_liar(policy="threshold(3)")
    say(s, DecidedBatch((DecidedEntry(good, None, False),)), to=(2,))
    s.run()
    assert s.at(2, good.op).status == "executed", "a good one is believed, whoever brings it"


class Undecided(Agreement):
    """Decides nothing, and tolerates one liar of four, as any Byzantine protocol does."""

    orders = True


def test_the_place_in_a_log_is_believed_when_an_honest_party_must_have_told_it() -> None:
    s = with_liar(policy="threshold(3)", agreement=Undecided)
    good = certificate(1, (1, 2, 3))
    say(s, DecidedBatch((DecidedEntry(good, 7, False),)))
    s.run(SECOND)
    assert not s.view(1).history
    assert good.op not in s.session(1).history
    s.session(1).catchup.told[good.op] = {
        2: DecidedEntry(good, 0)
    }  # an honest party says where it stands
    say(s, DecidedBatch((DecidedEntry(good, 0, False),)), to=(1,))
    s.run(SECOND)
    assert [(e.index, e.op) for e in s.view(1).history] == [(0, good.op)]


def test_claims_of_a_liar_take_no_more_room_than_its_last() -> None:
    s = with_liar(policy="threshold(3)", agreement=Undecided)
    good = certificate(1, (1, 2, 3))
    say(s, DecidedBatch(tuple(DecidedEntry(good, k, False) for k in range(500))), to=(1,))
    s.run(SECOND)
    assert good.op not in s.session(1).history
    told = s.session(1).catchup.told
    assert {op: len(entries) for op, entries in told.items()} == {good.op: 1}


def test_a_liar_does_not_keep_us_from_executing() -> None:
    """It says that all is over, and the honest party that bears it out says that it is not."""
    s = with_liar(policy="threshold(3)", agreement=Undecided)
    good = certificate(1, (1, 2, 3), kind="coin", params=())
    s.session(1).catchup.told[good.op] = {2: DecidedEntry(good, 0)}
    say(s, DecidedBatch((DecidedEntry(good, 0, True),)), to=(1,))
    s.run(SECOND)
    assert s.session(1).executor.running == {f"coin-{good.op}": good.op}


def test_to_ask_many_times_in_one_message_is_to_ask_once() -> None:
    s = with_liar(policy="threshold(3)")
    op = s.propose(1)
    s.run()
    say(s, ResultRequest((op,) * 1000), to=(1,))
    s.run()
    assert s.sent()["Report"] == 1


def test_a_value_for_agreement_must_be_a_valid_certificate() -> None:
    s = Sessions(4, policy="threshold(3)")
    session = s.session(1)
    assert session.is_valid(certificate(2, (1, 2, 3)).to_bytes())
    assert not session.is_valid(certificate(2, (1, 2)).to_bytes())
    assert not session.is_valid(certificate(2, (1, 2, 3), session="s2").to_bytes())
    assert not session.is_valid(b"")
    assert not session.is_valid(b"\xc1garbage")


def test_reports_count_only_when_t_agree() -> None:
    s = with_liar(4, policy="threshold(3)", t=2, votes={4: "silent"})
    coin = s.propose(1, "coin")
    s.run()
    assert set(s.statuses(coin).values()) == {"failed"}
    say(s, Report(coin, True, "f" * 64, b"\xff" * 32), Report(coin, True, "f" * 64, b"\xff" * 32))
    s.run()
    assert set(s.statuses(coin).values()) == {"failed"}


def test_an_attempt_that_others_would_refuse_is_the_users_error() -> None:
    s = with_liar(policy="threshold(3)")
    with pytest.raises(UsageError, match="at most 64 characters"):
        s.world.ask(1, ("session",), Propose("note", {"text": "hello"}, "a" * 65))
    s.run()
    assert not s.view(1).operations
    assert not s.blames()


def test_who_meets_anothers_id_by_chance_frames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    s = with_liar(policy="threshold(3)")
    op = s.propose(1)
    s.run()
    monkeypatch.setattr("mpclab.operations.proposal.operation_id", lambda session, by, attempt: op)
    say(s, sign_proposal(identity(4), proposal(4)))
    s.run()
    assert not s.blames()


def test_proposals_of_a_flooder_are_bounded() -> None:
    s = with_liar(2)
    flood = [sign_proposal(identity(2), proposal(2, attempt=f"f{k}")) for k in range(200)]
    say(s, *flood)
    s.run(100 * MS)
    assert len(s.view(1).operations) == 2 * MAX_OPEN
    op = s.propose(1)
    assert s.at(1, op).mine is True
    s.run()
    assert not s.session(1).ledger.pending


def test_a_refused_proposal_does_not_stop_us_asking_for_what_we_lack() -> None:
    """Votes may come with it, which are kept: so are the timers that were set for them."""
    s = with_liar(policy="threshold(3)")
    far = proposal(4, lamport=MAX_LEAP + 9)
    say(
        s,
        ProposalState(sign_proposal(identity(4), far), (sign_vote(identity(4), far, 4, True),)),
        to=(1,),
    )
    s.run(100 * MS)
    assert blames(s) == {(4, "known")}
    s.lossy(lambda src, dst, draw: dst == 1 and src != 4)
    op = s.propose(2, deadline=60 * SECOND)
    s.run(100 * MS)
    s.heal()
    signed = s.session(2).operations[op].signed
    say(s, signed, to=(1,))
    s.run()
    assert s.at(1, op).status == "executed"
    assert not s.session(1).ledger.pending


def test_who_forgot_its_vote_does_not_vote_on_the_other_story() -> None:
    s = with_liar(policy="unanimous")
    one, two = (sign_proposal(identity(4), proposal(4, text)) for text in ("buy", "sell"))
    say(s, one, to=(1, 2))
    s.run(50 * MS)
    s.world.crash(2)
    s.world.restart(2, amnesia=True)
    s.run(5 * MS)
    vote = s.session(1).operations[one.op].tally.votes[2]
    say(s, ProposalState(two, (vote,)), to=(2,))
    s.run()
    assert (2, "proof") not in blames(s)
    assert not any(e.party == 2 for p in s.honest for e in s.session(p).evidence)


def test_votes_on_nothing_are_forgotten() -> None:
    s = with_liar(3)
    votes = [sign_vote(identity(3), proposal(1, attempt=f"v{k}"), 3, True) for k in range(200)]
    say(s, *votes)
    s.run(100 * MS)
    assert len(s.session(1).operations) == MAX_OPEN
    s.run()
    assert not s.session(1).operations


def test_asking_in_circles_ends() -> None:
    s = with_liar(3)
    say(s, Fetch("nothing", has_proposal=True), Fetch("nothing"), Summary(bytes(256), ("c",)))
    s.run()
    assert s.sent()["Fetch"] <= 8
    assert s.world.now < SECOND


def test_evidence_convinces_only_when_it_is_evidence() -> None:
    me, p = identity(1), proposal(1)
    yes, no = sign_vote(me, p, 1, True), sign_vote(me, p, 1, False)
    other = sign_vote(identity(2), p, 2, False)
    assert Evidence(1, "", yes, no).holds(NAME, keys(3))
    assert not Evidence(1, "", yes, yes).holds(NAME, keys(3))
    assert not Evidence(1, "", yes, other).holds(NAME, keys(3))
    assert not Evidence(2, "", yes, no).holds(NAME, keys(3))
    assert not Evidence(1, "", yes, no).holds("s2", keys(3))
    forged = msgspec.structs.replace(no, signature=yes.signature)
    assert not Evidence(1, "", yes, forged).holds(NAME, keys(3))
    one, two = sign_proposal(me, p), sign_proposal(me, proposal(1, "else"))
    apart = sign_proposal(me, proposal(1, "else", attempt="x2"))
    assert Evidence(1, "", one, two).holds(NAME, keys(3))
    assert not Evidence(1, "", one, apart).holds(NAME, keys(3))
    assert not Evidence(1, "", one, no).holds(NAME, keys(3))


def test_every_parameter_is_under_the_hash() -> None:
    base = proposal(1)
    changed = [
        proposal(1, session="s2"),
        proposal(1, attempt="x2"),
        proposal(2),
        proposal(1, lamport=2),
        proposal(1, kind="coin"),
        proposal(1, "other"),
        proposal(1, params=(("text", "hello"), ("to", "x"))),
        proposal(1, params=(("texthello", ""),)),
        proposal(1, deadline=1),
    ]
    assert len({p.hash for p in (base, *changed)}) == 1 + len(changed)
    assert len(Proposal.__struct_fields__) == 7, "a new field needs a line here"


KINDS = (SignedProposal, SignedVote, Fetch, ProposalState, Summary, DecidedBatch, Report)
NUMBERS = (0, 1, 2, 3, 4, -1, 100_000, 2**31, 2**53, 2**63, -(2**63), 2**64)
TEXTS = (
    "",
    "a",
    "note",
    NAME,
    "x1",
    operation_id(NAME, 1, "x1"),
    "x" * 300,
    "\0\x1b[31m",
    "\ud800",
)
BYTES = (b"", b"\0", bytes(32), bytes(64), b"\xff" * 256)


def anything(kind: Any, draw: random.Random) -> Any:
    """Some well-formed value of a type that a message has."""
    inner = get_args(kind)
    if kind in (int, str, bytes, bool, type(None)):
        plain = {int: NUMBERS, str: TEXTS, bytes: BYTES, bool: (False, True), type(None): (None,)}
        return draw.choice(plain[kind])
    if get_origin(kind) is tuple and inner[-1] is ...:
        return tuple(anything(inner[0], draw) for _ in range(draw.choice((0, 1, 1, 2, 3))))
    if get_origin(kind) is tuple:
        return tuple(anything(one, draw) for one in inner)
    if inner:  # a union
        return anything(draw.choice(inner), draw)
    return kind(*(anything(field.type, draw) for field in msgspec.structs.fields(kind)))


def test_no_well_formed_message_of_a_liar_harms_the_others() -> None:
    for seed in range(100):
        draw = random.Random(seed)
        s = with_liar(3, policy="threshold(2)", deadline=SECOND)
        for _ in range(draw.randint(1, 4)):
            message = anything(draw.choice(KINDS), draw)
            try:
                msgspec.msgpack.encode(message)
            except (OverflowError, UnicodeEncodeError):
                continue  # cannot be sent
            say(s, message)
        op = s.propose(1)
        s.run()
        assert set(s.statuses(op).values()) == {"executed"}, seed
        assert len(s.view(1).history) == 1, seed
        assert {row.party for row in s.blames()} <= {3}, seed


def test_a_place_in_a_log_is_refused_where_there_is_none() -> None:
    s = with_liar(policy="threshold(3)")
    good = certificate(1, (1, 2, 3))
    say(s, DecidedBatch((DecidedEntry(good, 0),)))
    s.run(SECOND)
    assert not any(s.view(p).history for p in s.honest)
    assert blames(s) == {(4, "known")}


def stopped(*, approve: bool = False, by: tuple[int, ...] = (), missing: int = 2) -> Any:
    """An abort certificate of party 1's proposal: party 4's vote, and withdrawals."""
    p = proposal(1)
    vote = sign_vote(identity(4), p, 4, approve, "" if approve else "no")
    words = tuple(sign_withdrawal(identity(q), p, q, (missing,)) for q in by)
    return AbortCertificate(sign_proposal(identity(1), p), (vote,), words)


def test_an_abort_certificate_is_verified() -> None:
    policy, known = parse_policy("threshold(3)", 4), keys(4)
    good = stopped(by=(1,))
    verify_abort(good, NAME, policy, known, ordered=True)
    assert value_from_bytes(good.to_bytes()) == good
    assert good.reason == "party 4 rejected: no; no vote from party 2 in 2s, says party 1"
    forged = msgspec.structs.replace(good.withdrawals[0], party=2)
    other = sign_withdrawal(identity(2), proposal(1, attempt="x2"), 2, (3,))
    for bad in (
        stopped(),  # one rejection leaves three parties to approve it
        stopped(approve=True, by=(1, 2)),
        msgspec.structs.replace(good, withdrawals=good.withdrawals * 2),
        msgspec.structs.replace(good, withdrawals=(forged,)),
        msgspec.structs.replace(good, withdrawals=(other,)),
    ):
        with pytest.raises(InvalidStatement):
            verify_abort(bad, NAME, policy, known, ordered=True)
    with pytest.raises(InvalidStatement, match="withdrawals, where nothing orders them"):
        verify_abort(good, NAME, policy, known, ordered=False)


def test_one_that_waits_no_longer_stops_nothing_that_the_others_can_approve() -> None:
    s = with_liar(policy="threshold(3)", agreement=Raft, votes={3: "hand"})
    op = s.propose(1)
    s.run(100 * MS)
    p = s.session(1).operations[op].signed
    assert p is not None
    say(s, sign_withdrawal(identity(4), p.proposal, 4, (3,)))
    s.run(100 * MS)
    assert set(s.statuses(op).values()) == {"open"}
    s.vote(3, op)
    s.run(5 * SECOND)
    assert {s.at(q, op).status for q in s.honest} == {"executed"}
    assert not s.blames()


@pytest.mark.parametrize("name", ["direct", "bracha", "ben-or"])
@pytest.mark.parametrize("aside", [True, False], ids=["by itself", "with the proposal"])
def test_a_withdrawal_where_nothing_orders_it_stops_nothing(name: str, aside: bool) -> None:
    """All must approve, so one word against it would be enough; and this one takes back a yes."""
    s = with_liar(agreement=agreement(name), votes={3: "hand"})
    op = s.propose(1)
    s.run(100 * MS)
    p = s.session(1).operations[op].signed
    assert p is not None
    word = sign_withdrawal(identity(4), p.proposal, 4, (3,))
    say(s, word if aside else ProposalState(p, (), (word,)), to=(2,))
    s.run(100 * MS)
    assert blames(s) == {(4, "known")}
    say(s, sign_vote(identity(4), p.proposal, 4, True))
    s.vote(3, op)
    s.run(8 * SECOND)
    assert {s.at(q, op).status for q in s.honest} == {"executed"}


def test_liars_alone_withdraw_nothing_that_the_honest_can_approve() -> None:
    """n − f must approve. Under unanimous approval each party has a veto, and this is one."""
    for n in (4, 7, 10):
        f = (n - 1) // 3
        policy = parse_policy(f"threshold({n - f})", n)
        liars = set(range(1, f + 1))
        assert not policy.stopped(liars, liars)
        assert policy.stopped({*liars, n}, {*liars, n})
        assert parse_policy("unanimous", n).stopped({1}, {1})


def test_who_withdrew_is_named_beside_what_it_says_of_others() -> None:
    """Party 3 has voted, and all but the liar that stops the operation know it."""
    s = with_liar(agreement=agreement("pbft"), votes={2: "hand"})
    op = s.propose(1)
    s.run(100 * MS)
    p = s.session(1).operations[op].signed
    assert p is not None
    say(s, sign_withdrawal(identity(4), p.proposal, 4, (3,)))
    s.run(5 * SECOND)
    for q in s.honest:
        assert s.at(q, op).status == "aborted"
        assert s.at(q, op).reason == "no vote from party 3 in 10s, says party 4"


def test_one_that_says_what_we_never_heard_of_has_expired_keeps_us_from_no_vote() -> None:
    s = with_liar(policy="threshold(3)", agreement=agreement("bracha"))
    told = proposal(1)
    say(s, ProposalState(sign_proposal(identity(1), told), (), (), True))
    s.run(SECOND)
    assert s.session(2).operations.get(told.op) is None
    ask = Propose("note", {"text": "hello"}, attempt=told.attempt, deadline=told.deadline)
    s.world.ask(1, ("session",), ask)
    s.run(20 * SECOND)
    assert {s.session(p).operations[told.op].status for p in (1, 2, 3)} == {"executed"}


def test_two_proposals_under_one_id_are_two_tales_of_what_expired() -> None:
    """Of f + 1 parties that say so one is honest; but they have to say it of one proposal."""
    s = Sessions(4, policy="threshold(3)", agreement=agreement("bracha"), others={2: Liar, 4: Liar})
    one, other = proposal(4, "one"), proposal(4, "another")
    assert one.op == other.op
    for teller, told in ((2, one), (4, other)):
        state = ProposalState(sign_proposal(identity(4), told), (), (), True)
        s.world.ask(teller, ("session",), lambda ctx, state=state: ctx.multicast((1, 3), state))
    s.run(SECOND)
    assert s.session(1).operations.get(one.op) is None
    s.world.ask(2, ("session",), lambda ctx: ctx.multicast((1, 3), state))
    s.run(SECOND)
    assert s.session(1).operations[one.op].status == "expired"


def test_what_one_party_alone_gave_up_is_not_repeated_for_ever() -> None:
    s = Sessions(4, agreement=agreement("bracha"))
    s.cut({1}, {2, 3, 4})
    op = s.propose(1, deadline=2 * SECOND)
    s.run(20 * SECOND)
    s.heal()
    s.run(120 * SECOND)
    assert s.at(1, op).status == "expired"
    assert s.session(2).operations.get(op) is None, "one party alone says so"
    later = s.world.now
    s.run(60 * SECOND)
    assert s.sent(later)["ProposalState"] == 0
    assert sum(row.kind == "Summary" and row.at > later for row in s.world.trace.of(Sent)) == 0
