"""One operation as one party sees it: its proposal, its votes, its end."""

from __future__ import annotations

import enum
from array import array
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from mpclab.consensus.agreement import Refused
from mpclab.coordinator.history import Record, unpack_record
from mpclab.coordinator.policy import Policy, TallyResult
from mpclab.coordinator.statements import (
    AbortCertificate,
    Certificate,
    Ending,
    Refusal,
    SignedProposal,
    SignedVote,
    Withdrawal,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.operations import Operations, Result
from mpclab.operations.proposal import Params


class Status(enum.StrEnum):
    """The state of an operation at one party.

        unheard → open → committed → executed | failed
                  open → aborted                             decided: final
                  open → expired → committed | aborted       we waited no longer

    *Aborted* is a promise: the agreement protocol decided it, or, where there is none, so many
    signed a rejection that only a party that votes both ways could have it committed elsewhere.
    *Expired* promises nothing: this party's deadline passed, and the others may yet commit.
    """

    UNHEARD = "unheard"  # votes are here and the proposal is not
    OPEN = "open"
    EXPIRED = "expired"
    COMMITTED = "committed"
    EXECUTED = "executed"
    ABORTED = "aborted"
    FAILED = "failed"

    @property
    def decided(self) -> bool:
        return self not in (Status.UNHEARD, Status.OPEN, Status.EXPIRED)


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


class AbortRecord(msgspec.Struct, frozen=True):
    """One aborted operation: why, and its place in the log (None: no log); kept in the store."""

    ending: AbortCertificate | Refusal
    index: int | None = None

    @property
    def op(self) -> str:
        return self.ending.op

    def pack(self) -> bytes:
        """As it is stored."""
        return msgspec.msgpack.encode(self)


@lru_cache(maxsize=1024)
def unpack_abort(data: bytes) -> AbortRecord:
    """Read `AbortRecord.pack`.

    Raises:
        msgspec.DecodeError: it is damaged.
    """
    return _decode_abort(data)


_decode_abort = msgspec.msgpack.Decoder(AbortRecord).decode


class Tally:
    """Each voter's first word on one operation, counted for each proposal it was about.

    Once the operation is decided, approvals that its certificate holds are kept there alone: most
    of what a party remembers are operations of the past.
    """

    __slots__ = ("_approvals", "_heard", "_record", "_votes")

    def __init__(self) -> None:
        self._votes: dict[Party, SignedVote] = {}  # without those of the certificate
        self._heard = array("q")  # voter, time; voter, time; …
        self._approvals: dict[bytes, int] | None = {}  # None: it is decided
        self._record: bytes | None = None  # its commit, packed

    @property
    def votes(self) -> Mapping[Party, SignedVote]:
        """By voter; not to be changed."""
        if self._record is None:
            return self._votes
        certificate = unpack_record(self._record).certificate
        op, about, ours = certificate.op, certificate.signed.proposal.hash, set(self._heard[::2])
        found = {
            party: SignedVote(op, about, party, True, "", signature)
            for party, signature in certificate.approvals
            if party in ours and party not in self._votes
        }
        return found | self._votes

    @property
    def heard_at(self) -> dict[Party, int]:
        """When each vote was heard, µs."""
        return dict(zip(self._heard[::2], self._heard[1::2], strict=True))

    def add(self, vote: SignedVote, now: int) -> SignedVote | None:
        """Count a genuine vote, if it is its voter's first; otherwise, the first."""
        known = self.votes.get(vote.voter)
        if known is not None:
            return known
        self._votes[vote.voter] = vote
        self._heard.extend((vote.voter, now))
        if vote.approve and self._approvals is not None:
            self._approvals[vote.proposal_hash] = self._approvals.get(vote.proposal_hash, 0) + 1
        return None

    def settle(self, record: bytes | None) -> None:
        """The operation is decided, perhaps committed by this record: nothing is counted more."""
        self._approvals = None
        self._heard = array("q", self._heard)  # without room for more
        if record is None:
            return
        certificate = unpack_record(record).certificate
        about, given = certificate.signed.proposal.hash, dict(certificate.approvals)
        for party, vote in list(self._votes.items()):
            approves = vote.approve and vote.proposal_hash == about
            if approves and given.get(party) == vote.signature:
                del self._votes[party]
        self._record = record
        self._votes = dict(self._votes)  # a dict that was larger stays so

    def result(self, proposal_hash: bytes, policy: Policy) -> TallyResult:
        """The tally of the votes for this proposal. A party that voted on another one under
        the same id will never approve this one."""
        approvals = (self._approvals or {}).get(proposal_hash, 0)
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


class Operation:
    """All that this party knows of one operation. Plain state, changed by the session alone."""

    __slots__ = (
        "_certificate", "_committed", "_end", "_mine", "_signed", "abort", "asked", "blamed",
        "committed_at", "ended_at", "heard_at", "index", "invalid_reason", "missing", "op",
        "proposal_hash", "reason", "refused", "rejected", "result", "status", "submitted", "tally",
        "text", "withdrawals",
    )  # fmt: skip

    def __init__(self, op: str) -> None:
        self.op = op
        self._signed: SignedProposal | None = None
        self.proposal_hash = b""  # its proposal's hash
        self.text = ""
        self.invalid_reason = ""  # why it cannot be approved, whatever the vote policy
        self.tally = Tally()
        self.withdrawals: dict[Party, Withdrawal] = {}
        self._mine: SignedVote | Party | None = None  # the party: it is in the tally
        self._certificate: Certificate | None = None
        self.abort: AbortCertificate | None = None
        self.refused: Refused | None = None  # by the protocol, before the proposal was heard
        self._end: bytes | None = None  # once it is decided: its record, packed
        self._committed = False  # … is a commit
        self.submitted = False  # a certificate, of either kind
        self.asked = 0  # how often others were asked for what is missing, since it began or expired
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
        self._signed, self.proposal_hash = signed, proposal.hash
        self.text, self.invalid_reason = proposal.kind, ""
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

    def conclude_commit(self, record: Record, packed: bytes) -> None:
        """It is committed; what comes of executing it is another matter."""
        self.status, self.index = Status.COMMITTED, record.index
        self.reason, self.rejected, self.missing = "", (), ()
        self._settle(packed, committed=True)

    def conclude_abort(self, record: AbortRecord, packed: bytes) -> None:
        """It is aborted, for good."""
        self.status, self.index = Status.ABORTED, record.index
        self.reason = record.ending.reason
        self.rejected, self.missing = record.ending.rejected, record.ending.missing
        self._settle(packed, committed=False)

    def _settle(self, packed: bytes, *, committed: bool) -> None:
        """Keep once, and packed, what was kept in several places while it was open."""
        self._end, self._committed = packed, committed
        self._signed, self.abort, self.withdrawals = None, None, {}
        self.tally.settle(packed if committed else None)
        if committed:
            self._certificate = None
            if isinstance(self._mine, SignedVote) and self._mine.voter in self.tally.heard_at:
                self._mine = self._mine.voter

    @property
    def ending(self) -> Ending | None:
        """The certificate or refusal by which it was decided; None: it is not."""
        if self._end is None:
            return None
        if self._committed:
            return unpack_record(self._end).certificate
        return unpack_abort(self._end).ending

    @property
    def signed(self) -> SignedProposal | None:
        """Its proposal; None while only votes are here."""
        ending = self.ending
        return self._signed if ending is None else ending.signed

    @property
    def params(self) -> Params:
        return () if (signed := self.signed) is None else signed.proposal.params

    @property
    def certificate(self) -> Certificate | None:
        """The approvals that are enough, once they are here."""
        if self._end is not None and self._committed:
            return unpack_record(self._end).certificate
        return self._certificate

    @certificate.setter
    def certificate(self, certificate: Certificate) -> None:
        self._certificate = certificate

    @property
    def mine(self) -> SignedVote | None:
        """Our own vote; None while there is none."""
        if isinstance(self._mine, int):
            return self.tally.votes[self._mine]
        return self._mine

    @mine.setter
    def mine(self, vote: SignedVote) -> None:
        self._mine = vote

    @property
    def by(self) -> Party:
        assert self.signed is not None
        return self.signed.proposal.by

    @property
    def kind(self) -> str:
        assert self.signed is not None
        return self.signed.proposal.kind
