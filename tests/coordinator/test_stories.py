"""A corrupted proposer's second story is signed as well as its first, and only with its own key."""

from __future__ import annotations

import pytest

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.registry import AGREEMENTS
from mpclab.consensus.wrong import Pbft2f
from mpclab.coordinator.messages import ProposalState, Summary
from mpclab.coordinator.statements import check_proposal, check_vote, sign_proposal, sign_vote
from mpclab.coordinator.stories import other_proposal, other_value, restated
from mpclab.lab import Run, Scenario
from mpclab.testing.sessions import NAME, Sessions, identity, keys


def equivocation(**fields: object) -> Run:
    note = {"at": "0ms", "by": 1, "kind": "note", "text": "hello"}
    liar = {"at": "0ms", "kind": "equivocate", "party": 1}
    given = {"parties": 4, "seed": 7, "operations": [note], "faults": [liar], "patience": "3s"}
    return Scenario.parse({**given, **fields}).run()


def verdict(run: Run, check: str) -> str:
    return next(v.verdict for v in run.verdicts if v.check == check)


def test_both_stories_are_genuine_and_have_one_id() -> None:
    s = Sessions(4)
    op = s.propose(1)
    s.run()
    liar = s.session(1)
    signed, vote = liar.operations[op].signed, liar.operations[op].mine
    assert signed is not None
    assert vote is not None
    other, approval = restated(liar.ledger, signed, 1), restated(liar.ledger, vote, 1)
    assert other is not None
    assert approval is not None
    check_proposal(other, NAME, keys(4))  # type: ignore[arg-type]
    check_vote(approval, NAME, keys(4))  # type: ignore[arg-type]
    assert other.op == op  # type: ignore[attr-defined]
    assert other.proposal != signed.proposal  # type: ignore[attr-defined]
    assert approval.proposal_hash == other.proposal.hash  # type: ignore[attr-defined]
    expected = ProposalState(other, (approval,))  # type: ignore[arg-type]
    assert restated(liar.ledger, ProposalState(signed, (vote,)), 1) == expected  # type: ignore[arg-type]


def test_a_vote_on_what_another_proposed_is_turned_round() -> None:
    s = Sessions(4)
    op = s.propose(2)
    s.run()
    liar = s.session(1)
    vote = liar.operations[op].mine
    assert vote is not None
    turned = restated(liar.ledger, vote, 1)
    assert turned is not None
    assert not turned.approve  # type: ignore[attr-defined]
    check_vote(turned, NAME, keys(4))  # type: ignore[arg-type]


def test_what_others_signed_cannot_be_restated() -> None:
    s = Sessions(4)
    op = s.propose(2)
    s.run()
    liar = s.session(1)
    signed = s.session(2).operations[op].signed
    assert signed is not None
    theirs = sign_vote(identity(3), signed.proposal, 3, True)
    assert restated(liar.ledger, signed, 1) is None
    assert restated(liar.ledger, theirs, 1) is None
    assert restated(liar.ledger, ProposalState(signed, (theirs,)), 1) is None
    assert restated(liar.ledger, Summary(bytes(256), (op,)), 1) is None


def test_a_proposal_without_parameters_has_another_story_too() -> None:
    s = Sessions(4)
    op = s.propose(1, "coin")
    s.run()
    signed = s.session(1).operations[op].signed
    assert signed is not None
    other = other_proposal(signed.proposal, 1)
    assert other != signed.proposal
    assert other.op == op
    check_proposal(sign_proposal(identity(1), other), NAME, keys(4))


def test_direct_is_split_by_a_proposer_that_equivocates() -> None:
    run = equivocation(agreement="direct", policy="threshold(2)")
    assert verdict(run, "agreement") == "violated"
    proofs = {
        (row.actor, row.party) for row in run.trace.rows if getattr(row, "strength", "") == "proof"
    }
    assert proofs >= {(2, 1), (3, 1), (4, 1)}, "and every honest party can prove who did it"


@pytest.mark.parametrize("agreement", ["bracha", "pbft"])
def test_the_same_liar_splits_nobody_behind_a_second_gate(agreement: str) -> None:
    run = equivocation(agreement=agreement, policy="threshold(2)")
    assert verdict(run, "agreement") == "ok"
    assert verdict(run, "termination") == "ok"


@pytest.mark.parametrize("policy", ["threshold(3)", "unanimous"])
def test_quorums_that_meet_in_an_honest_party_need_no_second_gate(policy: str) -> None:
    assert verdict(equivocation(agreement="direct", policy=policy), "agreement") != "violated"


@pytest.mark.parametrize("policy", ["threshold(2)", "threshold(3)"])
def test_bracha_is_split_by_no_proposer_whose_certificates_its_dealers_carry_in_turn(
    policy: str,
) -> None:
    votes = {
        "kind": "equivocate",
        "party": 1,
        "messages": ["SignedProposal", "SignedVote", "ProposalState"],
    }
    after = {"kind": "silent", "party": 1, "messages": ["BrachaInit", "BrachaEcho", "BrachaReady"]}
    for seed in range(6):
        run = equivocation(
            agreement="bracha", policy=policy, mesh="ready", faults=[votes, after], seed=seed
        )
        assert verdict(run, "agreement") == "ok"


class PbftAnyway(Pbft):
    """PBFT that does not refuse to run where n = 3f."""

    @classmethod
    def check_size(cls, n: int) -> None:
        pass


def splits(protocol: type[Agreement], monkeypatch: pytest.MonkeyPatch, **fields: object) -> int:
    """Among 12 seeds, in how many a primary with two certificates splits the honest."""
    monkeypatch.setitem(AGREEMENTS._things, "tried", protocol)
    runs = (
        equivocation(agreement="tried", policy="threshold(2)", mesh="ready", seed=seed, **fields)
        for seed in range(12)
    )
    return sum(verdict(run, "agreement") == "violated" for run in runs)


def test_a_primary_with_two_certificates_splits_small_quorums_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert splits(Pbft2f, monkeypatch) > 3
    assert splits(Pbft, monkeypatch) == 0


def test_three_parties_cannot_bear_one_liar_and_four_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert splits(PbftAnyway, monkeypatch, parties=3) > 3
    assert splits(PbftAnyway, monkeypatch, parties=4) == 0


def test_before_the_votes_are_there_the_other_value_is_not() -> None:
    s = Sessions(4, policy="threshold(2)", votes=dict.fromkeys((2, 3, 4), "silent"))
    op = s.propose(1)
    s.run(100_000)
    assert other_value(s.session(1).ledger, op, 1) is None
