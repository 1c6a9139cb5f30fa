"""Another story: what a corrupted party would have signed, had it another opinion.

For adversaries alone (see `faults.byzantine`): an honest session never calls this. A lie that is
not signed is noticed at once; here is the strongest one that its own key allows. A proposer's
second story is another proposal under the same id, with its own approval of that one; on what
others proposed it votes the other way. The votes for both stories make two certificates, if the
policy is content with so few, and then the agreement protocol is told two stories as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from mpclab.coordinator.messages import ProposalState
from mpclab.coordinator.statements import (
    Certificate,
    SignedProposal,
    SignedVote,
    sign_proposal,
    sign_vote,
)
from mpclab.core.wire import Message
from mpclab.operations.proposal import Params, Proposal, Value

if TYPE_CHECKING:
    from mpclab.coordinator.session import Session


def restated(session: Session, msg: Message, story: int) -> Message | None:
    """`msg` with another story in it, signed by `session`'s party; None when it has none."""
    match msg:
        case SignedProposal(proposal) if proposal.by == session.me:
            return sign_proposal(session.identity, other_proposal(proposal, story))
        case SignedVote() if msg.voter == session.me:
            return _other_vote(session, msg, story)
        case ProposalState(signed, votes):
            other = ProposalState(
                _or_same(session, signed, story),
                tuple(_or_same(session, vote, story) for vote in votes),
            )
            return other if other != msg else None
    return None


M = TypeVar("M", bound=Message)


def _or_same(session: Session, msg: M, story: int) -> M:
    other = restated(session, msg, story)
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


def _other_vote(session: Session, vote: SignedVote, story: int) -> SignedVote | None:
    o = session.operations.get(vote.op)
    if o is None or o.signed is None:
        return None
    proposal = o.signed.proposal
    if proposal.by == session.me:
        return sign_vote(session.identity, other_proposal(proposal, story), session.me, True)
    reason = "" if not vote.approve else "changed its mind"
    return sign_vote(session.identity, proposal, session.me, not vote.approve, reason)


def other_value(session: Session, op: str, story: int) -> tuple[bytes, bytes] | None:
    """What this party gets decided for its own operation `op`, and another value for it that the
    others will find valid too; None when there is none (yet)."""
    o = session.operations.get(op)
    if o is None or o.signed is None or o.by != session.me:
        return None
    proposal = other_proposal(o.signed.proposal, story)
    signed = sign_proposal(session.identity, proposal)
    if not session.broadcasts:  # the vote comes later
        return Certificate(o.signed, ()).to_bytes(), Certificate(signed, ()).to_bytes()
    if o.certificate is None:
        return None
    own = sign_vote(session.identity, proposal, session.me, True)
    votes = {**o.tally.votes, session.me: own}
    told = [v for v in votes.values() if v.approve and v.proposal_hash == proposal.hash]
    approvals = tuple((v.voter, v.signature) for v in sorted(told, key=lambda v: v.voter))
    if len(approvals) < session.policy.needed:
        return None
    return o.certificate.to_bytes(), Certificate(signed, approvals).to_bytes()


def other_values(session: Session, story: int) -> dict[bytes, bytes]:
    """For each operation that this party proposed and has a value for: that, and the other."""
    values = {}
    for op, o in session.operations.items():
        if o.signed and o.by == session.me and (pair := other_value(session, op, story)):
            values[pair[0]] = pair[1]
    return values
