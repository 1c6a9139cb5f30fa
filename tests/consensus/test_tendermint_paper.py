"""Tendermint held to Algorithm 1, line by line; n = 4, f = 1, q = 3, and one process alone.

Lines and sections: arXiv 1807.04938. Party (h + r) mod 4 + 1 proposes in round r of height h.
"""

from __future__ import annotations

import pytest

from mpclab.consensus.tendermint import Tendermint
from mpclab.consensus.tendermint_messages import (
    NIL,
    PRECOMMIT,
    PREVOTE,
    Block,
    TendermintCommit,
    TendermintCommits,
    TendermintPolka,
    TendermintPrecommit,
    TendermintPrecommits,
    TendermintPrevote,
    TendermintProposal,
    TendermintRequest,
    TendermintStatus,
    Votes,
    id_of,
)
from mpclab.core.effects import Persist
from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import IDENTITIES

PATIENCE = Tendermint.options_type().patience
A: Block = (TendermintRequest("a", b"value of a"),)
B: Block = (TendermintRequest("b", b"value of b"),)


def name(block: Block) -> bytes:
    return id_of(block) if block else NIL


def signature(label: str, p: Party, height: int, round: int, block: Block) -> bytes:
    return IDENTITIES[p].sign(label, "", height, round, name(block))


def prevote(p: Party, block: Block, round: int = 0, height: int = 0) -> TendermintPrevote:
    signed = signature(PREVOTE, p, height, round, block)
    return TendermintPrevote(height, round, name(block), signed)


def precommit(p: Party, block: Block, round: int = 0, height: int = 0) -> TendermintPrecommit:
    signed = signature(PRECOMMIT, p, height, round, block)
    return TendermintPrecommit(height, round, name(block), signed)


def proof(label: str, block: Block, round: int = 0, height: int = 0, by: str = "134") -> Votes:
    return tuple((int(p), signature(label, int(p), height, round, block)) for p in by)


def propose(
    block: Block, round: int = 0, valid: int = -1, height: int = 0, by: str = "134"
) -> TendermintProposal:
    shown = proof(PREVOTE, block, valid, height, by) if valid >= 0 else ()
    return TendermintProposal(height, round, block, valid, shown)


def commit(block: Block, round: int = 0, height: int = 0, by: str = "134") -> TendermintCommit:
    return TendermintCommit(height, round, block, proof(PRECOMMIT, block, round, height, by))


def votes(said: list[Message]) -> list[tuple[str, int, bytes]]:
    """The votes among what was said: word, round and id."""
    return [
        (type(msg).__name__.removeprefix("Tendermint"), msg.round, msg.id)
        for msg in said
        if isinstance(msg, TendermintPrevote | TendermintPrecommit)
    ]


def two() -> Alone:
    """Party 2, which proposes in round 1 of height 0."""
    return Alone(Tendermint, 2)


def locked_on_a() -> Alone:
    """Party 2, locked on A in round 0 and now in round 2, which party 3 leads."""
    replica = two()
    replica.hear(1, propose(A), prevote(1, A))
    replica.hear(3, prevote(3, A))
    assert replica.machine.locked == id_of(A)
    replica.hear(3, prevote(3, NIL_BLOCK, 2))
    replica.hear(4, prevote(4, NIL_BLOCK, 2))
    assert replica.machine.round == 2
    return replica


NIL_BLOCK: Block = ()


# --- rounds ------------------------------------------------------------------------------------


def test_line_18_the_proposer_proposes_what_is_wanted_and_prevotes_it() -> None:
    one = Alone(Tendermint, 1)
    said = one.submit("a", b"value of a")
    assert said[0] == propose(A)
    assert votes(said) == [("Prevote", 0, id_of(A))]
    assert isinstance(one.effects[0], Persist), "the proposal is stored, then said"


def test_line_14_others_do_not_propose_but_pass_it_on_and_wait() -> None:
    replica = two()
    assert replica.submit("a", b"value of a") == [A[0]]
    assert replica.timers["propose"] == 2 * PATIENCE


def test_line_15_the_valid_value_is_proposed_again_with_its_round_and_proof() -> None:
    replica = two()
    replica.hear(1, propose(A), prevote(1, A))
    replica.hear(3, prevote(3, A))
    for p in (3, 4):
        replica.hear(p, precommit(p, NIL_BLOCK))
    said = replica.fire("precommit")
    assert said[0] == propose(A, 1, 0, by="123")


def test_a_proposer_that_is_not_locked_takes_over_a_valid_value_too() -> None:
    """Lines 42 and 43 apply also after a precommit for nil."""
    replica = two()
    replica.hear(1, propose(A), prevote(1, A))
    replica.hear(3, prevote(3, NIL_BLOCK))
    replica.fire("prevote")
    replica.hear(4, prevote(4, A))
    assert (replica.machine.locked_round, replica.machine.valid_round) == (-1, 0)
    assert votes(replica.said and [replica.said[-1][1]]) == [("Precommit", 0, NIL)]


# --- lines 22 to 33: to prevote, or not --------------------------------------------------------


def test_line_24_who_is_not_locked_prevotes_what_is_valid() -> None:
    replica = two()
    assert votes(replica.hear(1, propose(A))) == [("Prevote", 0, id_of(A))]
    assert replica.stored_before_said()


@pytest.mark.parametrize("block", [(), (A[0], A[0]), (TendermintRequest("", b"x"),)])
def test_line_26_an_invalid_block_gets_nil_and_its_proposer_the_blame(block: Block) -> None:
    replica = two()
    assert votes(replica.hear(1, propose(block))) == [("Prevote", 0, NIL)]
    assert replica.blamed == [1]


def of_length(*sizes: int) -> Block:
    return tuple(TendermintRequest(f"o{k}", bytes(size)) for k, size in enumerate(sizes))


@pytest.mark.parametrize(
    ("block", "fits"),
    [
        (of_length(*[1] * 16), True),
        (of_length(*[1] * 17), False),
        (of_length(Tendermint.BLOCK_BYTES - 1, 1), True),
        (of_length(Tendermint.BLOCK_BYTES, 1), False),
        (of_length(2 * Tendermint.BLOCK_BYTES), True),
    ],
)
def test_a_block_holds_as_much_as_an_honest_proposer_puts_into_it(block: Block, fits: bool) -> None:
    """A liar's block may not be of any length; and what an honest one proposes always passes."""
    said = votes(two().hear(1, propose(block)))
    assert said == [("Prevote", 0, id_of(block) if fits else NIL)]
    one = Alone(Tendermint, 1)
    one.submit("first", b"")  # it is proposed at once; the others wait
    for request in block:
        one.submit(request.op, request.value)
    del one.machine.backlog.pending["first"]
    whole = one.machine._next_block()
    assert (whole == block) is fits
    assert two().machine.is_valid(whole)


def test_what_a_value_may_be_is_asked_of_the_application() -> None:
    replica = Alone(Tendermint, 2, valid=lambda value: value != b"value of a")
    assert votes(replica.hear(1, propose(A))) == [("Prevote", 0, NIL)]


def test_line_23_who_is_locked_prevotes_no_other_value() -> None:
    assert votes(locked_on_a().hear(3, propose(B, 2)))[0] == ("Prevote", 2, NIL)


def test_line_23_who_is_locked_prevotes_that_value() -> None:
    assert votes(locked_on_a().hear(3, propose(A, 2))) == [("Prevote", 2, id_of(A))]


def test_line_29_prevotes_of_a_later_round_unlock() -> None:
    assert votes(locked_on_a().hear(3, propose(B, 2, 1))) == [("Prevote", 2, id_of(B))]


def test_line_29_those_of_the_round_of_the_lock_are_late_enough() -> None:
    """There lockedRound ≤ vr, and no other value has them."""
    assert votes(locked_on_a().hear(3, propose(A, 2, 0))) == [("Prevote", 2, id_of(A))]


def test_line_28_the_valid_round_needs_2f_plus_1_prevotes_for_that_value() -> None:
    for wrong in (
        propose(B, 2, 1, by="13"),
        propose(B, 2, 1, by="133"),
        TendermintProposal(0, 2, B, 1, proof(PREVOTE, A, 1)),
        TendermintProposal(0, 2, B, 1, proof(PRECOMMIT, B, 1)),
        TendermintProposal(0, 2, B, 1, proof(PREVOTE, B, 0)),
        TendermintProposal(0, 2, B, 1, (*proof(PREVOTE, B, 1, by="13"), (9, b"x" * 64))),
        propose(B, 2, 2),
        propose(B, 2, 5),
    ):
        replica = locked_on_a()
        assert replica.hear(3, wrong) == []
        assert replica.blamed == [3]


def test_only_the_proposer_of_a_round_proposes_and_once() -> None:
    replica = two()
    assert replica.hear(3, propose(A)) == []
    assert replica.blamed == [3]
    replica.hear(1, propose(A))
    assert replica.hear(1, propose(B)) == []
    assert replica.blamed == [3, 1]


def test_one_prevote_in_a_round() -> None:
    replica = two()
    replica.submit("b", b"value of b")
    assert votes(replica.fire("propose")) == [("Prevote", 0, NIL)], "line 59"
    assert votes(replica.hear(1, propose(A))) == []


# --- lines 34 to 48: to precommit, or not ------------------------------------------------------


def test_line_36_2f_plus_1_prevotes_lock_and_precommit() -> None:
    replica = two()
    replica.hear(1, propose(A), prevote(1, A))  # and its own
    assert replica.machine.locked_round == -1
    assert votes(replica.hear(3, prevote(3, A))) == [("Precommit", 0, id_of(A))]
    assert (replica.machine.locked, replica.machine.locked_round) == (id_of(A), 0)
    assert replica.stored_before_said()


def test_line_36_needs_the_proposal_itself() -> None:
    replica = two()
    for p in (1, 3, 4):
        assert votes(replica.hear(p, prevote(p, A))) == []
    assert votes(replica.hear(1, propose(A))) == [
        ("Prevote", 0, id_of(A)),
        ("Precommit", 0, id_of(A)),
    ]


def test_line_34_any_2f_plus_1_prevotes_start_the_timeout() -> None:
    replica = two()
    replica.hear(1, propose(A), prevote(1, NIL_BLOCK))
    assert "prevote" not in replica.timers
    replica.hear(3, prevote(3, A))
    assert replica.timers["prevote"] == PATIENCE
    assert votes(replica.fire("prevote")) == [("Precommit", 0, NIL)], "line 63"


def test_line_44_2f_plus_1_prevotes_for_nil_precommit_nil() -> None:
    replica = two()
    replica.submit("b", b"value of b")
    replica.hear(1, prevote(1, NIL_BLOCK))
    replica.hear(3, prevote(3, NIL_BLOCK))
    assert votes(replica.fire("propose")) == [("Prevote", 0, NIL), ("Precommit", 0, NIL)]


def test_line_47_any_2f_plus_1_precommits_start_the_timeout_of_the_round() -> None:
    replica = two()
    replica.hear(1, propose(A), precommit(1, A))
    replica.hear(3, precommit(3, NIL_BLOCK))
    assert "precommit" not in replica.timers
    replica.hear(4, precommit(4, NIL_BLOCK))
    replica.fire("precommit")
    assert replica.machine.round == 1, "line 67"


def test_timeouts_grow_with_the_round() -> None:
    """§3: timeoutX(r) = initTimeoutX + r · timeoutDelta."""
    replica = locked_on_a()
    assert replica.timers["propose"] == 3 * PATIENCE


def test_a_vote_is_signed_and_one_of_a_kind() -> None:
    replica = two()
    stolen = TendermintPrevote(0, 0, id_of(A), prevote(3, A).signature)
    replica.hear(4, stolen)
    replica.hear(4, prevote(4, A), prevote(4, B))
    replica.hear(3, precommit(3, A), precommit(3, NIL_BLOCK))
    assert replica.blamed == [4, 4, 3]
    other = Alone(Tendermint, 2, session="another")
    other.hear(3, prevote(3, A))
    assert other.blamed == [3]


# --- lines 49 to 56 ----------------------------------------------------------------------------


def test_line_49_2f_plus_1_precommits_decide_in_whatever_round_they_were() -> None:
    replica = locked_on_a()
    replica.hear(1, precommit(1, A))
    assert replica.log == []
    replica.hear(3, precommit(3, A))
    assert replica.log == ["a"]
    machine = replica.machine
    assert (machine.height, machine.round, machine.locked_round, machine.valid_round) == (
        1,
        0,
        -1,
        -1,
    )


def test_line_49_precommits_for_nil_decide_nothing() -> None:
    replica = two()
    replica.hear(1, propose(A))
    for p in (1, 3, 4):
        replica.hear(p, precommit(p, NIL_BLOCK))
    assert replica.log == []


def test_line_55_f_plus_1_parties_in_a_later_round_are_followed() -> None:
    replica = two()
    replica.hear(3, prevote(3, NIL_BLOCK, 4))
    assert replica.machine.round == 0
    replica.hear(4, precommit(4, NIL_BLOCK, 5))
    assert replica.machine.round == 4, "an honest party is there; the other may lie"


def test_messages_of_the_next_height_are_kept() -> None:
    replica = two()
    replica.hear(1, propose(A))
    for p in (3, 4):
        replica.hear(p, prevote(p, A), prevote(p, B, height=1))
    assert votes(replica.hear(1, precommit(1, A))) == []
    replica.hear(3, precommit(3, A))
    replica.hear(4, precommit(4, A))
    assert replica.machine.height == 1
    said = replica.submit("b", b"value of b")  # party 2 leads round 0 of height 1
    assert [v[0] for v in votes(said)] == ["Prevote", "Precommit"], "with the two that came early"


def test_what_one_party_makes_us_keep_is_bounded() -> None:
    replica = two()
    for round in range(200):
        replica.hear(
            3, prevote(3, A, round), prevote(3, A, round, height=1), prevote(3, A, round, 9)
        )
    assert len(replica.machine.logs) <= 2 * (Tendermint.REACH + 1)


def test_what_a_proposer_makes_us_wait_for_is_bounded() -> None:
    replica = Alone(Tendermint, 2, batch=256)
    for k in range(100):
        replica.submit(f"own{k}", b"v")
    replica.hear(1, propose(tuple(TendermintRequest(f"op{k}", b"v") for k in range(256))))
    assert len(replica.machine.backlog.pending) == Tendermint.OPEN


# --- gossip: whatever an honest party got, all get ---------------------------------------------


def test_who_waits_is_shown_the_valid_value_and_proposes_it() -> None:
    holder = locked_on_a()
    said = holder.hear(4, TendermintStatus(0, 1, -1))
    polka = said[0]
    assert polka == TendermintPolka(0, 0, A, proof(PREVOTE, A, by="123"))
    one = two()
    one.hear(3, polka)
    assert one.machine.valid_round == 0
    assert one.machine.locked_round == -1, "nobody is locked by what others did"


def test_a_polka_of_our_round_locks() -> None:
    replica = two()
    replica.hear(1, propose(A))
    said = replica.hear(3, TendermintPolka(0, 0, A, proof(PREVOTE, A)))
    assert votes(said) == [("Precommit", 0, id_of(A))]


def test_a_polka_or_a_commit_without_a_quorum_is_refused() -> None:
    replica = two()
    replica.hear(3, TendermintPolka(0, 0, A, proof(PREVOTE, A, by="13")))
    replica.hear(3, TendermintPolka(0, 0, A, proof(PREVOTE, B)))
    replica.hear(4, TendermintCommits((commit(A, by="34"),)))
    replica.hear(4, TendermintCommits((TendermintCommit(0, 0, A, proof(PREVOTE, A)),)))
    assert replica.blamed == [3, 3, 4, 4]
    assert replica.log == []


def test_who_was_away_learns_what_was_decided_from_any_one_party() -> None:
    replica = two()
    said = replica.hear(4, TendermintCommits((commit(A, 3), commit(B, height=1))))
    assert replica.log == ["a", "b"]
    assert said == [TendermintStatus(2, 0, -1)], "is there more?"
    assert replica.hear(3, TendermintStatus(1, 0, -1)) == [
        TendermintCommits((commit(B, height=1),))
    ]
    assert replica.hear(3, TendermintStatus(2, 0, -1)) == []


def end_of(round: int, *precommits: TendermintPrecommit, by: str = "134") -> TendermintPrecommits:
    """What ended a round: these, or precommits for nil."""
    ended = precommits or tuple(precommit(int(p), NIL_BLOCK, round) for p in by)
    shown = tuple((int(p), one.id, one.signature) for p, one in zip(by, ended, strict=True))
    return TendermintPrecommits(0, round, shown)


@pytest.mark.parametrize("crash", [False, True])
def test_who_left_a_round_shows_why_to_who_is_still_in_it(crash: bool) -> None:
    """§2.1: the votes of a round that its voters have left are lost to nobody."""
    replica = two()
    for p in (1, 3, 4):
        replica.hear(p, precommit(p, NIL_BLOCK))
    assert replica.hear(4, TendermintStatus(0, 0, -1)) == []
    replica.fire("precommit")
    if crash:
        replica.restart()
    shown = replica.hear(4, TendermintStatus(0, 0, -1))[0]
    assert shown == end_of(0)
    assert end_of(0) not in replica.hear(4, TendermintStatus(0, 1, -1))

    behind = Alone(Tendermint, 4)
    behind.hear(2, shown)
    behind.fire("precommit")
    assert behind.machine.round == 1
    assert behind.blamed == []


def test_votes_that_are_passed_on_count_as_their_voters_and_blame_them() -> None:
    replica = two()
    replica.hear(4, precommit(4, A))
    replica.hear(1, end_of(0, *(precommit(p, NIL_BLOCK) for p in (1, 3, 4))))
    assert replica.blamed == [4], "it said two things, and not who shows one of them"
    replica.hear(3, end_of(9, by="134"))
    assert replica.machine.round == 9, "line 55"


@pytest.mark.parametrize(
    "shown",
    [
        end_of(0, *(precommit(p, NIL_BLOCK) for p in (1, 3, 3)), by="134"),
        end_of(0, *(precommit(p, NIL_BLOCK) for p in (1, 3, 3)), by="133"),
        TendermintPrecommits(0, 0, ((7, NIL, bytes(64)),)),
    ],
    ids=["of another", "twice", "of a stranger"],
)
def test_who_passes_on_what_is_no_vote_is_blamed(shown: TendermintPrecommits) -> None:
    replica = two()
    replica.hear(1, shown)
    assert replica.blamed == [1]
    assert replica.machine.places == {}


# --- crashes: what is said again is the same ---------------------------------------------------


def test_after_a_crash_a_vote_is_the_same() -> None:
    replica = two()
    replica.submit("b", b"value of b")
    before = replica.fire("propose")
    assert votes(replica.restart()) == votes(before) == [("Prevote", 0, NIL)]
    assert votes(replica.hear(1, propose(A))) == []


def test_after_a_crash_a_proposal_is_the_same() -> None:
    one = Alone(Tendermint, 1)
    (proposal, *_) = one.submit("a", b"value of a")
    assert proposal in one.restart()
    assert proposal not in one.submit("b", b"value of b")


def test_after_a_crash_a_lock_holds_and_a_valid_value_has_its_proof() -> None:
    replica = locked_on_a()
    replica.restart()
    assert votes(replica.hear(3, propose(B, 2)))[0] == ("Prevote", 2, NIL)
    assert TendermintPolka(0, 0, A, proof(PREVOTE, A, by="123")) in replica.hear(
        4, TendermintStatus(0, 2, -1)
    )


@pytest.mark.parametrize("after", range(8))
def test_a_crash_amid_a_vote_leaves_none_or_the_same(after: int) -> None:
    replica = two()
    replica.hear(1, propose(A), prevote(1, A))
    replica.tear(3, prevote(3, A), after)
    machine = replica.machine
    said = [v for _, msg in replica.said for v in votes([msg]) if v[0] == "Precommit"]
    assert set(said) <= {("Precommit", 0, id_of(A))}
    assert not said or machine.locked == id_of(A)


@pytest.mark.parametrize("after", range(6))
def test_a_crash_on_the_way_to_a_later_round_proposes_nothing_of_the_future(after: int) -> None:
    replica = two()
    replica.hear(3, prevote(3, NIL_BLOCK, 1))
    replica.hear(4, prevote(4, NIL_BLOCK, 1))
    assert replica.machine.round == 1, "its own"
    replica.tear(3, TendermintPolka(0, 2, A, proof(PREVOTE, A, 2)), after)
    replica.submit("b", b"value of b")
    for _, msg in replica.said:
        if isinstance(msg, TendermintProposal):
            one = Alone(Tendermint, 1)
            one.hear(2, msg)
            assert one.blamed == []


def test_after_a_crash_decisions_are_told_again_and_nothing_of_old_heights_is_said() -> None:
    replica = locked_on_a()
    replica.hear(4, TendermintCommits((commit(A),)))
    said = replica.restart()
    assert replica.log == ["a"]
    assert votes(said) == []
    assert replica.machine.locked_round == -1


# --- what is refused, and what is harmless ----------------------------------------------------


def test_what_was_decided_is_not_valid_again() -> None:
    replica = two()
    replica.hear(4, TendermintCommits((commit(A),)))
    for p in (3, 4):
        replica.hear(p, prevote(p, NIL_BLOCK, 1, height=1))
    assert votes(replica.hear(3, propose(A, 1, height=1)))[0] == ("Prevote", 1, NIL)


def test_a_message_that_comes_twice_is_no_crime() -> None:
    replica = two()
    for _ in range(2):
        replica.hear(1, propose(A), prevote(1, A), precommit(1, A))
        replica.hear(3, A[0])
    assert replica.blamed == []


@pytest.mark.parametrize("op", ["", "a"])
def test_a_request_that_is_not_valid_is_refused(op: str) -> None:
    replica = Alone(Tendermint, 2, valid=lambda value: value != b"bad")
    replica.hear(3, TendermintRequest(op, b"bad" if op else b"good"))
    assert replica.blamed == [3]
    assert replica.machine.backlog.pending == {}


def test_rounds_of_the_next_height_are_not_ours() -> None:
    replica = two()
    for p in (3, 4):
        replica.hear(p, prevote(p, NIL_BLOCK, 3, height=1))
    assert (replica.machine.height, replica.machine.round) == (0, 0)
    assert "again" in replica.timers, "an honest party is ahead: we ask"


def test_an_answer_holds_what_was_lacking_and_no_more() -> None:
    holder = locked_on_a()
    assert holder.hear(4, TendermintStatus(0, 2, 0)) == []
    assert holder.hear(4, TendermintStatus(0, 3, 0)) == []
    one = Alone(Tendermint, 1)
    said = one.submit("a", b"value of a")
    assert one.hear(4, TendermintStatus(0, 0, -1)) == said
    assert one.hear(4, TendermintStatus(0, 1, -1)) == [], "it is in a later round than we are"


def test_who_proposed_in_an_earlier_round_does_not_say_it_again() -> None:
    one = Alone(Tendermint, 1)
    (proposal, *_) = one.submit("a", b"value of a")
    for p in (3, 4):
        one.hear(p, prevote(p, NIL_BLOCK, 1))
    assert one.machine.round == 1
    assert proposal not in one.fire("again")


def test_a_page_of_decisions_is_bounded() -> None:
    replica = two()
    many = [
        commit((TendermintRequest(f"op{h}", b"x" * 60_000),), height=h)
        for h in range(5)
    ]  # fmt: skip
    for one in many:
        replica.hear(4, TendermintCommits((one,)))
    (page, *_) = replica.hear(3, TendermintStatus(0, 0, -1))
    assert page == TendermintCommits(tuple(many[:2])), "128 KiB of values"
