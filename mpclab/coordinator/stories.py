"""Another story: what a corrupted party would have signed, had it another opinion.

For adversaries alone (see `faults.byzantine`): an honest session never calls this. A lie that is
not signed is noticed at once; here is the strongest one that its own key allows. A proposer's
second story is another proposal under the same id, with its own approval of that one; on what
others proposed it votes the other way. The votes for both stories make two certificates, if the
policy is content with so few, and then the agreement protocol is told two stories as well.
"""

from __future__ import annotations

from typing import TypeVar, cast

import msgspec

from mpclab.coordinator.ledger import Ledger
from mpclab.coordinator.messages import ProposalState
from mpclab.coordinator.statements import (
    Certificate,
    SignedProposal,
    SignedVote,
    Withdrawal,
    resign_vote,
    resign_withdrawal,
    sign_proposal,
    sign_vote,
)
from mpclab.core.wire import Message
from mpclab.operations.proposal import Params, Proposal, Value

VARIED = (SignedProposal, SignedVote, ProposalState)
"""The session's messages that can be said otherwise."""


def restated(ledger: Ledger, msg: Message, story: int) -> Message | None:
    """`msg` with another story in it, signed by the party's own hand; None when it has none."""
    match msg:
        case SignedProposal(proposal) if proposal.by == ledger.me:
            return sign_proposal(ledger.identity, other_proposal(proposal, story))
        case SignedVote() if msg.voter == ledger.me:
            return _other_vote(ledger, msg, story)
        case ProposalState(signed, votes, withdrawals, expired):
            other = ProposalState(
                _or_same(ledger, signed, story),
                tuple(_or_same(ledger, vote, story) for vote in votes),
                withdrawals,
                expired,
            )
            return other if other != msg else None
    return None


def resigned(ledger: Ledger, msg: Message) -> Message:
    """`msg`, in which something was changed, with the signature of this party where its own was:
    whatever else it says."""
    match msg:
        case SignedProposal(proposal) if proposal.by == ledger.me:
            return sign_proposal(ledger.identity, proposal)
        case SignedVote() if msg.voter == ledger.me:
            return resign_vote(ledger.identity, ledger.session, msg)
        case Withdrawal() if msg.party == ledger.me:
            return resign_withdrawal(ledger.identity, ledger.session, msg)
        case ProposalState(signed, votes, withdrawals, expired):
            return ProposalState(
                cast(SignedProposal, resigned(ledger, signed)),
                tuple(cast(SignedVote, resigned(ledger, vote)) for vote in votes),
                tuple(cast(Withdrawal, resigned(ledger, one)) for one in withdrawals),
                expired,
            )
    return msg


M = TypeVar("M", bound=Message)


def _or_same(ledger: Ledger, msg: M, story: int) -> M:
    other = restated(ledger, msg, story)
    return msg if other is None else cast(M, other)


def other_proposal(proposal: Proposal, story: int) -> Proposal:
    """Another wish under the same id: its first parameter is another; or else, its time."""
    if not proposal.params:
        return msgspec.structs.replace(proposal, lamport=proposal.lamport + story)
    (name, value), *rest = proposal.params
    params: Params = ((name, _other(value, story)), *rest)
    return msgspec.structs.replace(proposal, params=params)


def _other(value: Value, story: int) -> Value:
    match value:
        case int():
            return value + story
        case str():
            return f"{value}, version {story + 1}"
    return value[::-1]


def _other_vote(ledger: Ledger, vote: SignedVote, story: int) -> SignedVote | None:
    o = ledger.operations.get(vote.op)
    if o is None or o.signed is None:
        return None
    proposal = o.signed.proposal
    if proposal.by == ledger.me:
        return sign_vote(ledger.identity, other_proposal(proposal, story), ledger.me, True)
    reason = "" if not vote.approve else "changed its mind"
    return sign_vote(ledger.identity, proposal, ledger.me, not vote.approve, reason)


def other_value(ledger: Ledger, op: str, story: int) -> tuple[bytes, bytes] | None:
    """The value that this party gets decided for its own operation `op`, and another one that the
    others will find valid too; None when it has none (yet)."""
    o = ledger.operations.get(op)
    if o is None or o.signed is None or o.by != ledger.me:
        return None
    proposal = other_proposal(o.signed.proposal, story)
    signed = sign_proposal(ledger.identity, proposal)
    if not ledger.broadcasts:  # the vote comes later
        return Certificate(o.signed, ()).to_bytes(), Certificate(signed, ()).to_bytes()
    if o.certificate is None:
        return None
    own = sign_vote(ledger.identity, proposal, ledger.me, True)
    votes = {**o.tally.votes, ledger.me: own}
    told = [v for v in votes.values() if v.approve and v.proposal_hash == proposal.hash]
    approvals = tuple((v.voter, v.signature) for v in sorted(told, key=lambda v: v.voter))
    if len(approvals) < ledger.policy.needed:
        return None
    return o.certificate.to_bytes(), Certificate(signed, approvals).to_bytes()


def other_values(ledger: Ledger, story: int) -> dict[bytes, bytes]:
    """For each operation that this party proposed and has a value for: that, and the other."""
    values = {}
    for op, o in ledger.operations.items():
        if o.signed and o.by == ledger.me and (pair := other_value(ledger, op, story)):
            values[pair[0]] = pair[1]
    return values
