"""Proposals, votes, withdrawals and certificates: what parties sign about an operation.

A proposal holds every parameter of what will be executed. Its proposer signs it, and each vote
is a signature over the hash of the whole of it, so nobody can be made to have approved anything
else. Enough signed approvals are a `Certificate`, which anybody who knows the keys can check.

A party whose deadline passes signs a `Withdrawal`: it waits no longer. It takes no approval back,
so an approval certificate may come about all the same; enough rejections and withdrawals are an
`AbortCertificate`, and where a protocol orders both, the first of the two holds for everybody.

An operation's id follows from (session, proposer, attempt) and *not* from the content. A proposer
that tells two stories has therefore signed two proposals under one id, which is a proof against
it; and a party votes once for one id, whatever stories it hears. `Evidence` keeps such pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

import msgspec

from mpclab.coordinator.policy import Policy, TallyResult
from mpclab.core.errors import MpclabError
from mpclab.core.ids import MS, SECOND, Party, format_duration
from mpclab.core.wire import Message, decoder
from mpclab.crypto.identity import Identity, verify
from mpclab.crypto.transcript import Part
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

    The signature covers `op` too, although the hash implies it: a party that hears the vote before
    the proposal could not tell otherwise that an old vote was put under another operation's id.
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
        """The value that an agreement protocol decides on."""
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
            raise InvalidStatement(f"malformed certificate: {error}") from None


_decode_certificate = decoder(Certificate)


class Withdrawal(Message, frozen=True):
    """`party` has stopped waiting for votes on the proposal with this hash.

    Attributes:
        missing: whose votes had not come by then, ascending.
    """

    op: str
    proposal_hash: bytes
    party: Party
    missing: tuple[Party, ...]
    signature: bytes


class AbortCertificate(Message, frozen=True):
    """A proposal, and the votes and withdrawals that stop it, ascending by party."""

    signed: SignedProposal
    against: tuple[SignedVote, ...]
    withdrawals: tuple[Withdrawal, ...]

    @property
    def op(self) -> str:
        return self.signed.op

    @property
    def rejected(self) -> tuple[Party, ...]:
        return tuple(vote.voter for vote in self.against)

    @property
    def missing(self) -> tuple[Party, ...]:
        """The parties whose votes most of those who withdrew had not got, as *they* say: where
        one withdrawal is enough it is one party's word, and it may lie."""
        lacking = Counter(p for w in self.withdrawals for p in w.missing)
        enough = len(self.withdrawals) // 2
        return tuple(p for p in sorted(lacking) if lacking[p] > enough and p not in self.rejected)

    @property
    def reason(self) -> str:
        """The same words at everyone who reads this certificate."""
        words = [rejection(vote, self.signed.proposal.hash) for vote in self.against]
        by = tuple(w.party for w in self.withdrawals)
        if self.missing:
            waited = format_duration(self.signed.proposal.deadline)
            verb = "says" if len(by) == 1 else "say"
            words.append(f"no vote from {named(self.missing)} in {waited}, {verb} {named(by)}")
        elif by:
            words.append(f"{named(by)} waited no longer")
        return "; ".join(words)

    def to_bytes(self) -> bytes:
        """The value that an agreement protocol decides on."""
        return msgspec.msgpack.encode(self)


class Refusal(Message, frozen=True):
    """The agreement protocol itself decided against the proposal (2pc, 3pc, ben-or)."""

    signed: SignedProposal
    reason: str
    rejected: tuple[Party, ...] = ()
    missing: tuple[Party, ...] = ()

    @property
    def op(self) -> str:
        return self.signed.op


Value: TypeAlias = Certificate | AbortCertificate
"""The value that an agreement protocol decides on, for one operation."""

Ending: TypeAlias = Certificate | AbortCertificate | Refusal
"""How an operation was decided, with what there is to show for it."""


def value_from_bytes(data: bytes) -> Value:
    """Parse `to_bytes` of either certificate.

    Raises:
        InvalidStatement: the bytes are neither.
    """
    try:
        return _decode_value(data)  # type: ignore[return-value]
    except msgspec.DecodeError as error:
        raise InvalidStatement(f"malformed certificate: {error}") from None


_decode_value = decoder(Value)

# --- signing ------------------------------------------------------------------------------

_PROPOSAL, _APPROVAL = "mpclab proposal signature", "mpclab approval"
_REJECTION, _WITHDRAWAL = "mpclab rejection", "mpclab withdrawal"


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


def sign_withdrawal(
    identity: Identity, proposal: Proposal, party: Party, missing: tuple[Party, ...]
) -> Withdrawal:
    """Our word that we wait no longer for votes, such as those of `missing`."""
    parts = (proposal.session, proposal.op, proposal.hash, missing)
    signature = identity.sign(_WITHDRAWAL, *parts)
    return Withdrawal(proposal.op, proposal.hash, party, missing, signature)


def resign_vote(identity: Identity, session: str, vote: SignedVote) -> SignedVote:
    """For adversaries: whatever `vote` says, signed."""
    label, parts = _vote_parts(session, vote.op, vote.proposal_hash, vote.approve, vote.reason)
    return msgspec.structs.replace(vote, signature=identity.sign(label, *parts))


def resign_withdrawal(identity: Identity, session: str, said: Withdrawal) -> Withdrawal:
    """For adversaries: whatever it says, signed."""
    parts = (session, said.op, said.proposal_hash, said.missing)
    return msgspec.structs.replace(said, signature=identity.sign(_WITHDRAWAL, *parts))


def _vote_parts(
    session: str, op: str, proposal_hash: bytes, approve: bool, reason: str
) -> tuple[str, tuple[str | bytes, ...]]:
    if approve:
        return _APPROVAL, (session, op, proposal_hash)
    return _REJECTION, (session, op, proposal_hash, reason)


@lru_cache(maxsize=65536)
def _genuine(key: bytes, label: str, parts: tuple[Part, ...], signature: bytes) -> bool:
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
        raise InvalidStatement("a vote with a malformed operation id")
    label, parts = _vote_parts(session, vote.op, vote.proposal_hash, vote.approve, vote.reason)
    if not _genuine(_key_of(vote.voter, keys), label, parts, vote.signature):
        raise InvalidStatement(f"a vote that party {vote.voter} did not sign")


def check_withdrawal(withdrawal: Withdrawal, session: str, keys: Keys) -> None:
    """Raise `InvalidStatement` unless its party signed this withdrawal."""
    if len(withdrawal.op) != OP_LENGTH or len(withdrawal.missing) > len(keys):
        raise InvalidStatement("a withdrawal out of bounds")
    parts = (session, withdrawal.op, withdrawal.proposal_hash, withdrawal.missing)
    key = _key_of(withdrawal.party, keys)
    if not _genuine(key, _WITHDRAWAL, parts, withdrawal.signature):
        raise InvalidStatement(f"a withdrawal that party {withdrawal.party} did not sign")


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


def verify_abort(
    certificate: AbortCertificate, session: str, policy: Policy, keys: Keys, *, ordered: bool
) -> None:
    """Raise `InvalidStatement` unless genuine words of different parties stop the proposal.

    Unless a protocol orders the certificates of one operation (`ordered`), rejections alone count:
    whoever rejected one version of a proposal has voted, and approves no other one.
    """
    check_proposal(certificate.signed, session, keys)
    about, op = certificate.signed.proposal.hash, certificate.op
    for vote in certificate.against:
        check_vote(vote, session, keys)
        if vote.op != op or (vote.approve and (vote.proposal_hash == about or not ordered)):
            raise InvalidStatement(f"an abort by a vote of party {vote.voter} that is not against")
    for withdrawal in certificate.withdrawals:
        check_withdrawal(withdrawal, session, keys)
        if (withdrawal.op, withdrawal.proposal_hash) != (op, about):
            raise InvalidStatement("an abort by a withdrawal from another proposal")
    against = [vote.voter for vote in certificate.against]
    withdrawn = [withdrawal.party for withdrawal in certificate.withdrawals]
    if len(set(against)) < len(against) or len(set(withdrawn)) < len(withdrawn):
        raise InvalidStatement("an abort that counts a party twice")
    if certificate.withdrawals and not ordered:
        raise InvalidStatement("an abort by withdrawals, where nothing orders them")
    if not policy.stopped({*against, *withdrawn}, set(withdrawn)):
        raise InvalidStatement(
            f"an abort by {len({*against, *withdrawn})} parties, which {policy} does not accept"
        )


def rejection(vote: SignedVote, proposal_hash: bytes) -> str:
    """Why `vote` does not approve the proposal with this hash, in words."""
    if vote.approve and vote.proposal_hash != proposal_hash:
        return f"party {vote.voter} voted on another proposal under this id"
    if vote.reason:
        return f"party {vote.voter} rejected: {vote.reason}"
    return f"party {vote.voter} rejected"


def named(parties: tuple[Party, ...]) -> str:
    return f"part{'y' if len(parties) == 1 else 'ies'} {', '.join(map(str, parties))}"


def _key_of(party: Party, keys: Keys) -> bytes:
    try:
        return keys[party]
    except KeyError:
        raise UnknownParty(f"a signature of party {party}, whose key is unknown") from None


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
