"""Proposals, votes and certificates: what is signed when parties approve an operation.

A proposal holds every parameter of what will be executed. Its proposer signs it, and each vote
is a signature over the hash of the whole of it, so nobody can be made to have approved anything
else. Enough signed approvals are a `Certificate`, which anybody who knows the keys can check.

An operation's id follows from (session, proposer, attempt) and *not* from the content. A proposer
that tells two stories has therefore signed two proposals under one id, which is a proof against
it; and a party votes once for one id, whatever stories it hears. `Evidence` keeps such pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

import msgspec

from mpclab.coordinator.policy import Policy, TallyResult
from mpclab.core.errors import MpclabError
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.wire import Message, decoder
from mpclab.crypto.identity import Identity, verify
from mpclab.operations.proposal import OP_LENGTH, Proposal

Keys: TypeAlias = Mapping[Party, bytes]

MAX_LAMPORT = 2**53
MIN_DEADLINE = 100 * MS
"""A vote takes two trips, the proposal's and its own; and nobody may flood the others with
proposals that end at once."""
MAX_DEADLINE = 3600 * SECOND
MAX_REASON = 200
MAX_NAME = 64


class InvalidStatement(MpclabError):
    """A proposal, a vote or a certificate that does not hold; says why."""


class UnknownParty(InvalidStatement):
    """It may hold: the key that it should be checked with is not known here (yet)."""


class SignedProposal(Message, frozen=True):
    """A proposal, signed by its proposer: what is broadcast to ask for votes."""

    proposal: Proposal
    signature: bytes

    @property
    def op(self) -> str:
        return self.proposal.op


class SignedVote(Message, frozen=True):
    """`voter`'s signed vote on the proposal with this hash. An approval has no reason.

    The signature covers `op` too, although the hash implies it: who hears the vote before the
    proposal could not tell otherwise that an old vote was put under another operation's id.
    """

    op: str
    proposal_hash: bytes
    voter: Party
    approve: bool
    reason: str
    signature: bytes


class Certificate(Message, frozen=True):
    """A signed proposal and the approvals that carry it: (party, signature), ascending by party."""

    signed: SignedProposal
    approvals: tuple[tuple[Party, bytes], ...]

    @property
    def op(self) -> str:
        return self.signed.op

    def to_bytes(self) -> bytes:
        """What an agreement protocol decides on."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Certificate:
        """Parse `to_bytes`.

        Raises:
            InvalidStatement: the bytes are no certificate.
        """
        try:
            return _decode_certificate(data)  # type: ignore[return-value]
        except msgspec.DecodeError as error:
            raise InvalidStatement(f"not a certificate: {error}") from None


_decode_certificate = decoder(Certificate)

# --- signing ------------------------------------------------------------------------------

_PROPOSAL, _APPROVAL, _REJECTION = (
    "mpclab proposal signature",
    "mpclab approval",
    "mpclab rejection",
)


def sign_proposal(identity: Identity, proposal: Proposal) -> SignedProposal:
    return SignedProposal(proposal, identity.sign(_PROPOSAL, proposal.hash))


def sign_vote(
    identity: Identity, proposal: Proposal, voter: Party, approve: bool, reason: str = ""
) -> SignedVote:
    """Our vote. `reason` is kept for rejections alone."""
    proposal_hash, reason = proposal.hash, "" if approve else reason[:MAX_REASON]
    label, parts = _vote_parts(proposal.session, proposal.op, proposal_hash, approve, reason)
    signature = identity.sign(label, *parts)
    return SignedVote(proposal.op, proposal_hash, voter, approve, reason, signature)


def _vote_parts(
    session: str, op: str, proposal_hash: bytes, approve: bool, reason: str
) -> tuple[str, tuple[str | bytes, ...]]:
    if approve:
        return _APPROVAL, (session, op, proposal_hash)
    return _REJECTION, (session, op, proposal_hash, reason)


@lru_cache(maxsize=65536)
def _genuine(key: bytes, label: str, parts: tuple[str | bytes, ...], signature: bytes) -> bool:
    # Whether a signature holds never changes, and an answer is asked for more than once: votes
    # come again by gossip and in certificates, and simulated parties share this process.
    return verify(key, label, parts, signature)


# --- checking -----------------------------------------------------------------------------


def check_proposal(signed: SignedProposal, session: str, keys: Keys) -> None:
    """Raise `InvalidStatement` unless the proposer signed this, for this session, within bounds."""
    proposal = signed.proposal
    if proposal.session != session:
        raise InvalidStatement("a proposal for another session")
    if not 0 < proposal.lamport < MAX_LAMPORT:
        raise InvalidStatement("a proposal with a time stamp out of bounds")
    if not MIN_DEADLINE <= proposal.deadline <= MAX_DEADLINE:
        raise InvalidStatement("a proposal with a deadline out of bounds")
    if not 0 < len(proposal.attempt) <= MAX_NAME or len(proposal.kind) > MAX_NAME:
        raise InvalidStatement("a proposal with too long a name")
    key = _key_of(proposal.by, keys)
    if not _genuine(key, _PROPOSAL, (proposal.hash,), signed.signature):
        raise InvalidStatement(f"a proposal that party {proposal.by} did not sign")


def check_vote(vote: SignedVote, session: str, keys: Keys) -> None:
    """Raise `InvalidStatement` unless its voter signed this vote."""
    if len(vote.reason) > MAX_REASON or (vote.approve and vote.reason):
        raise InvalidStatement("a vote with a reason out of bounds")
    if len(vote.op) != OP_LENGTH:
        raise InvalidStatement("a vote on what is no operation's id")
    label, parts = _vote_parts(session, vote.op, vote.proposal_hash, vote.approve, vote.reason)
    if not _genuine(_key_of(vote.voter, keys), label, parts, vote.signature):
        raise InvalidStatement(f"a vote that party {vote.voter} did not sign")


def check_approval(proposal: Proposal, party: Party, signature: bytes, keys: Keys) -> None:
    """Raise `InvalidStatement` unless `party` approved `proposal`."""
    label, parts = _vote_parts(proposal.session, proposal.op, proposal.hash, True, "")
    if not _genuine(_key_of(party, keys), label, parts, signature):
        raise InvalidStatement(f"an approval that party {party} did not sign")


def verify_certificate(certificate: Certificate, session: str, policy: Policy, keys: Keys) -> None:
    """Raise `InvalidStatement` unless genuine approvals of different parties satisfy `policy`."""
    check_proposal(certificate.signed, session, keys)
    votes: dict[Party, bool] = {}
    for party, signature in certificate.approvals:
        if party in votes:
            raise InvalidStatement(f"a certificate that counts party {party} twice")
        check_approval(certificate.signed.proposal, party, signature, keys)
        votes[party] = True
    if policy.result(votes) is not TallyResult.ENOUGH:
        raise InvalidStatement(
            f"a certificate with {len(votes)} approvals where {policy} needs {policy.needed}"
        )


def _key_of(party: Party, keys: Keys) -> bytes:
    try:
        return keys[party]
    except KeyError:
        raise UnknownParty(
            f"what party {party}, whose key is unknown, should have signed"
        ) from None


# --- evidence -----------------------------------------------------------------------------


class Evidence(msgspec.Struct, frozen=True):
    """Two things that one party signed and no honest party signs both of."""

    party: Party
    what: str
    first: SignedProposal | SignedVote
    second: SignedProposal | SignedVote

    def holds(self, session: str, keys: Keys) -> bool:
        """Whether this proves, to anyone who knows the keys, that `party` lied."""
        a, b = self.first, self.second
        try:
            match a, b:
                case SignedProposal(), SignedProposal():
                    check_proposal(a, session, keys)
                    check_proposal(b, session, keys)
                    lied = a.op == b.op and a.proposal != b.proposal
                    return lied and a.proposal.by == b.proposal.by == self.party
                case SignedVote(), SignedVote():
                    check_vote(a, session, keys)
                    check_vote(b, session, keys)
                    lied = a.op == b.op and contradict(a, b)
                    return lied and a.voter == b.voter == self.party
        except InvalidStatement:
            pass
        return False


def contradict(a: SignedVote, b: SignedVote) -> bool:
    """Whether one voter cannot honestly have cast both. A reason put otherwise is no lie."""
    return (a.proposal_hash, a.approve) != (b.proposal_hash, b.approve)
