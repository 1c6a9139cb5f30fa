"""One operation as one party sees it: its proposal, its votes, its end."""

from __future__ import annotations

import enum

import msgspec

from mpclab.coordinator.policy import Policy, TallyResult
from mpclab.coordinator.statements import Certificate, SignedProposal, SignedVote
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.operations import Operations, Result
from mpclab.operations.proposal import Params


class Status(enum.StrEnum):
    """`open` → `committed` → `executed` or `failed`; or `open` → `aborted`.

    An abort because the deadline passed is one party giving up, not a decision of all: if it
    learns of a certificate or of a decision later, it commits (`aborted` → `committed`). An abort
    by rejections is final, unless somebody voted twice.
    """

    UNHEARD = "unheard"  # votes are here and the proposal is not
    OPEN = "open"
    COMMITTED = "committed"
    EXECUTED = "executed"
    ABORTED = "aborted"
    FAILED = "failed"


class End(msgspec.Struct, frozen=True):
    """How an operation ended at this party; kept in its store.

    `status` is also "running" while an executor is at work.
    """

    status: str
    reason: str = ""
    text: str = ""
    data: bytes = b""
    rejected: tuple[Party, ...] = ()
    missing: tuple[Party, ...] = ()
    blamed: tuple[Party, ...] = ()


class Tally:
    """Each voter's first word on one operation, counted for each proposal it was about."""

    def __init__(self) -> None:
        self.votes: dict[Party, SignedVote] = {}
        self.heard_at: dict[Party, int] = {}
        self._approvals: dict[bytes, int] = {}

    def add(self, vote: SignedVote, now: int) -> SignedVote | None:
        """Count a genuine vote, if it is its voter's first; otherwise, the first."""
        known = self.votes.get(vote.voter)
        if known is not None:
            return known
        self.votes[vote.voter] = vote
        self.heard_at[vote.voter] = now
        if vote.approve:
            self._approvals[vote.proposal_hash] = self._approvals.get(vote.proposal_hash, 0) + 1
        return None

    def result(self, proposal_hash: bytes, policy: Policy) -> TallyResult:
        """What the votes amount to for the proposal whose hash is `proposal_hash`. Who voted about
        another one under the same id will never approve this one."""
        approvals = self._approvals.get(proposal_hash, 0)
        return policy.judge(approvals, len(self.votes) - approvals)

    def approvals(self, proposal_hash: bytes) -> tuple[tuple[Party, bytes], ...]:
        return tuple(
            (party, vote.signature)
            for party, vote in sorted(self.votes.items())
            if vote.approve and vote.proposal_hash == proposal_hash
        )

    def against(self, proposal_hash: bytes) -> tuple[Party, ...]:
        return tuple(
            party
            for party, vote in sorted(self.votes.items())
            if not vote.approve or vote.proposal_hash != proposal_hash
        )

    def rejection(self, proposal_hash: bytes) -> str:
        """Who is against it, and why, in words."""
        return "; ".join(
            f"party {p} voted on another proposal under this id"
            if (vote := self.votes[p]).proposal_hash != proposal_hash
            else f"party {p} rejected: {vote.reason}"
            if vote.reason
            else f"party {p} rejected"
            for p in self.against(proposal_hash)
        )


class Operation:
    """All that this party knows of one operation. Plain state, changed by the session alone."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.signed: SignedProposal | None = None
        self.proposal_hash = b""  # its proposal's hash
        self.params: Params = ()
        self.text = ""
        self.invalid_reason = ""  # why it cannot be approved, whatever the vote policy
        self.tally = Tally()
        self.mine: SignedVote | None = None
        self.certificate: Certificate | None = None
        self.submitted = False
        self.asked = 0  # how often others were asked for what is missing
        self.status = Status.UNHEARD
        self.reason = ""
        self.rejected: tuple[Party, ...] = ()
        self.missing: tuple[Party, ...] = ()
        self.blamed: tuple[Party, ...] = ()
        self.result: Result | None = None
        self.index: int | None = None
        self.heard_at = 0
        self.committed_at: int | None = None
        self.ended_at: int | None = None

    def describe(self, kinds: Operations, signed: SignedProposal) -> bool:
        """Put what `signed` proposes into words. False: its parameters are malformed."""
        proposal = signed.proposal
        self.signed, self.proposal_hash = signed, proposal.hash
        self.params, self.text, self.invalid_reason = proposal.params, proposal.kind, ""
        if proposal.kind not in kinds:
            self.invalid_reason = f"operation {proposal.kind!r} is not known here"
            return True
        spec = kinds[proposal.kind]
        try:
            if spec.check(dict(proposal.params)) != proposal.params:
                raise UsageError(f"{spec.name}: parameters are missing or out of order")
        except UsageError as error:
            self.invalid_reason = str(error)
            return False
        self.text = spec.describe(proposal.params)
        return True

    @property
    def by(self) -> Party:
        assert self.signed is not None
        return self.signed.proposal.by

    @property
    def kind(self) -> str:
        assert self.signed is not None
        return self.signed.proposal.kind
