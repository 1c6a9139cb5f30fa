"""The first gate: proposals, votes, and whether they are enough.

Everyone votes once on each operation, as its vote policy says or by hand. Proposals and votes are
stored before they are sent, and a party that lost its store takes its own vote back from those who
heard it. Votes may come before the proposal; they wait for it, and it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from mpclab.coordinator import statements
from mpclab.coordinator.ledger import Ledger
from mpclab.coordinator.messages import Fetch, Propose
from mpclab.coordinator.operation import Operation, Status
from mpclab.coordinator.policy import TallyResult
from mpclab.coordinator.statements import (
    AbortCertificate,
    Evidence,
    SignedProposal,
    SignedVote,
    Withdrawal,
)
from mpclab.core import notes
from mpclab.core.errors import Strength, UsageError, nearest
from mpclab.core.ids import Party, format_duration, new_id
from mpclab.core.machine import Ctx
from mpclab.operations.proposal import Proposal, operation_id

VOTE_POLICIES = ("approve", "reject", "silent", "validate", "hand")

MAX_OPEN = 64
"""How many of one party's proposals may be open at a time. Others bear with twice as many, since
they may learn of an end later than the proposer, and do not hear what is more; votes on proposals
not heard of are counted for as many operations of one voter. It bounds what waits, is asked for
and has timers."""
MAX_EVIDENCE = 256
MAX_LEAP = 2**20
"""How far a proposal's stamp may be ahead of ours, so that nobody uses the clock up."""


class SecondGate(Protocol):
    """The part that approval leaves to the session: the agreement protocol and all after it."""

    @property
    def broadcasts(self) -> bool:
        """Proposals and votes are broadcast here, not inside the agreement protocol."""

    @property
    def ordered(self) -> bool:
        """The protocol says which of two certificates of one operation holds."""

    def objection(self, proposal: Proposal) -> str:
        """Why the protocol cannot do what a proposal asks of it; "" where it can."""

    def on_opened(self, ctx: Ctx, o: Operation) -> None:
        """Something is wanted for `o` from now on: its proposal or a vote on it was heard."""

    def on_proposed(self, ctx: Ctx, o: Operation) -> None:
        """We proposed `o`, and the protocol has to carry it."""

    def on_voted(self, ctx: Ctx, o: Operation) -> None:
        """We voted on `o`, and the protocol has to carry the vote."""

    def on_enough(self, ctx: Ctx, o: Operation) -> None:
        """The votes here satisfy the policy."""

    def on_stopped(self, ctx: Ctx, o: Operation) -> None:
        """Rejections and withdrawals stop `o`: they are an abort certificate, `o.abort`."""


class Approval:
    """The votes of one session, up to the certificates.

    Args:
        votes: how this party votes: approve, reject, silent, validate or (by) hand.
        deadline: µs to wait for votes unless a proposal says otherwise.
    """

    def __init__(self, ledger: Ledger, gate: SecondGate, votes: str, deadline: int) -> None:
        self.ledger = ledger
        self.gate = gate
        self.vote_policy = known_vote_policy(votes)
        self.deadline = checked_deadline(deadline)

    # --- proposing ------------------------------------------------------------------------

    def propose(self, ctx: Ctx, ask: Propose) -> None:
        ledger = self.ledger
        spec = ledger.kinds[ask.kind]
        params = spec.prepare(ask.params, self.ledger.known())
        deadline = self.deadline if ask.deadline is None else checked_deadline(ask.deadline)
        known = self.ledger.known()
        if (book := spec.book(spec.read(params), known)) is not None:
            if (why := book.forbid(ask.kind, ctx.me, spec.read(params))) is not None:
                raise UsageError(why)
        if max(len(ask.attempt), len(ask.kind)) > statements.MAX_NAME:
            raise UsageError(f"attempt, kind: at most {statements.MAX_NAME} characters")
        attempt = ask.attempt or new_id(ctx.rng, 16)
        op = operation_id(ledger.session, ctx.me, attempt)
        if op in ledger.operations:
            raise UsageError(f"attempt {attempt!r} was used before, for operation {op}")
        if ledger.undecided(ctx.me) >= MAX_OPEN:
            raise UsageError(f"{MAX_OPEN} of your proposals are undecided; wait for their end")
        proposal = Proposal(
            ledger.session, attempt, ctx.me, ledger.clock + 1, ask.kind, params, deadline
        )
        if why := self.gate.objection(proposal):
            raise UsageError(why)
        ledger.clock += 1
        signed = statements.sign_proposal(ledger.identity, proposal)
        o = self.enter(ctx, signed)
        ctx.note(notes.Proposed(op=op, kind=ask.kind, by=ctx.me, text=o.text))
        # Before it is sent, and whether or not we vote: the attempt is used up for good.
        ctx.persist(f"proposal/{op}", msgspec.msgpack.encode(signed))
        self.gate.on_opened(ctx, o)
        if self.gate.broadcasts:
            ctx.multicast(ctx.others, signed)
            self.consider(ctx, o)
        else:
            self.gate.on_proposed(ctx, o)

    def enter(self, ctx: Ctx, signed: SignedProposal) -> Operation:
        """Open the operation that `signed` proposes."""
        proposal = signed.proposal
        self.ledger.clock = max(self.ledger.clock, proposal.lamport)
        o = self.ledger.operations.setdefault(signed.op, Operation(signed.op))
        if not o.describe(self.ledger.kinds, signed):
            ctx.blame(proposal.by, f"invalid proposal: {o.invalid_reason}")
        o.status, o.heard_at = Status.OPEN, ctx.now
        self.ledger.pending[o.op] = o
        ctx.set_timer(f"deadline/{o.op}", proposal.deadline)
        return o

    def hear(self, ctx: Ctx, signed: SignedProposal) -> None:
        """A genuine proposal reached us: open its operation and vote, unless we know it."""
        proposal, known = signed.proposal, self.ledger.operations.get(signed.op)
        if known is not None and known.signed is not None:
            self.compare(ctx, known, signed)
            return
        if self.ledger.undecided(proposal.by) >= 2 * MAX_OPEN:
            ctx.note(notes.Ignored(op=signed.op, by=proposal.by, why="too many open proposals"))
            return
        if proposal.lamport > self.ledger.clock + MAX_LEAP:
            # Not raised: votes that came along are counted already (`catchup.on_proposal_state`).
            ctx.blame(proposal.by, "a time stamp far ahead of everyone's")
            return
        o = self.enter(ctx, signed)
        ctx.note(notes.Heard(op=o.op, kind=o.kind, by=o.by))
        self.gate.on_opened(ctx, o)
        self.consider(ctx, o)
        self.weigh(ctx, o)

    # --- voting ---------------------------------------------------------------------------

    def consider(self, ctx: Ctx, o: Operation) -> None:
        """Vote, if our vote policy says how."""
        past = o.tally.votes.get(ctx.me)
        if o.mine is None and past is not None:  # cast before a crash that lost our store
            if past.proposal_hash != o.proposal_hash:
                return  # on the proposer's other version; a second vote would be a lie of ours
            self._take(ctx, o, past)
        if o.mine is not None or o.status is not Status.OPEN or self.vote_policy == "silent":
            return
        if why := o.invalid_reason or self._forbidden(o):
            self.cast(ctx, o, False, why)
            return
        match self.vote_policy:
            case "approve":
                self.cast(ctx, o, True)
            case "reject":
                self.cast(ctx, o, False, "rejects everything")
            case "validate":
                spec = self.ledger.kinds[o.kind]
                wrong = spec.validate(spec.read(o.params), self.ledger.known())
                self.cast(ctx, o, wrong is None, wrong or "")
            case "hand" if o.by == ctx.me:
                self.cast(ctx, o, True)  # a proposer approves

    def _forbidden(self, o: Operation) -> str:
        """Why rules forbid `o`, as far as what they belong to is known here, or it cannot be."""
        if o.signed is None or o.kind not in self.ledger.kinds:
            return ""
        proposal = o.signed.proposal
        forbidden = self.ledger.kinds[o.kind].forbidden(proposal, self.ledger.known())
        return forbidden or self.gate.objection(proposal)

    def vote_by_hand(self, ctx: Ctx, op: str, approve: bool, reason: str) -> None:
        o = self.ledger.operations.get(op)
        if o is None or o.signed is None:
            raise UsageError(f"operation {op!r} is not known{nearest(op, self.ledger.operations)}")
        if o.mine is not None:
            word = "approved" if o.mine.approve else "rejected"
            raise UsageError(f"party {ctx.me} has {word} {op}; a vote is final")
        if o.status is not Status.OPEN:
            raise UsageError(f"{op} is {o.status}: too late to vote")
        if approve and (why := o.invalid_reason or self._forbidden(o)):
            raise UsageError(f"{op} cannot be approved: {why}")
        self.cast(ctx, o, approve, reason)

    def cast(self, ctx: Ctx, o: Operation, approve: bool, reason: str = "") -> None:
        """Vote, for good."""
        assert o.signed is not None
        proposal = o.signed.proposal
        vote = statements.sign_vote(self.ledger.identity, proposal, ctx.me, approve, reason)
        self._take(ctx, o, vote)
        ctx.note(notes.Voted(op=o.op, approve=approve, reason=vote.reason))
        if self.gate.broadcasts:
            ctx.multicast(ctx.others, vote)
        else:
            self.gate.on_voted(ctx, o)
        self.count(ctx, vote)

    def _take(self, ctx: Ctx, o: Operation, vote: SignedVote) -> None:
        o.mine = vote
        ctx.persist(f"vote/{o.op}", msgspec.msgpack.encode((o.signed, vote)))

    def count(self, ctx: Ctx, vote: SignedVote) -> None:
        """A genuine vote reached us."""
        o = self.ledger.operations.get(vote.op)
        if o is None:
            if sum(vote.voter in k.tally.votes for k in self.ledger.unheard()) >= MAX_OPEN:
                return
            o = Operation(vote.op)
            self.ledger.operations[vote.op] = self.ledger.pending[vote.op] = o
            self.gate.on_opened(ctx, o)
        earlier = o.tally.add(vote, ctx.now)
        if earlier is not None:
            if statements.contradict(earlier, vote):
                self._accuse(ctx, vote.voter, "voted both ways", earlier, vote)
        elif o.signed is not None:
            if vote.proposal_hash != o.proposal_hash and vote.voter != ctx.me:
                # It voted on another proposal under this id. To see it is to prove it.
                ctx.send(vote.voter, Fetch(o.op))
            self.weigh(ctx, o)

    def weigh(self, ctx: Ctx, o: Operation) -> None:
        """Are the votes enough, or can they never be? Nothing that is decided is weighed again."""
        if o.signed is None or o.status not in (Status.OPEN, Status.EXPIRED):
            return
        result = o.tally.result(o.proposal_hash, self.ledger.policy)
        approving = dict(o.tally.approvals(o.proposal_hash))
        fulfilled = result is TallyResult.ENOUGH and not self.lacks(o, approving)
        if fulfilled and o.certificate is None and self.gate.broadcasts:
            self.gate.on_enough(ctx, o)
        else:
            self._weigh_withdrawals(ctx, o)

    def lacks(self, o: Operation, approving: Iterable[Party]) -> str:
        """Which approvals rules want besides these."""
        spec = self.ledger.kinds.get(o.kind)
        if spec is None or o.invalid_reason or o.signed is None:
            return ""
        return spec.lacking(o.params, self.ledger.known(), approving) or ""

    # --- waiting no longer ----------------------------------------------------------------

    def withdraw(self, ctx: Ctx, o: Operation) -> None:
        """Say that we wait no longer for votes on `o`."""
        assert o.signed is not None
        own = statements.sign_withdrawal(self.ledger.identity, o.signed.proposal, ctx.me, o.missing)
        o.withdrawals[ctx.me] = own
        ctx.persist(f"withdrawal/{o.op}", msgspec.msgpack.encode(own))
        ctx.multicast(ctx.others, own)
        self._weigh_withdrawals(ctx, o)

    def count_withdrawal(self, ctx: Ctx, withdrawal: Withdrawal) -> None:
        """A genuine withdrawal reached us."""
        o = self.ledger.operations.get(withdrawal.op)
        if o is None or o.signed is None:
            ctx.send(withdrawal.party, Fetch(withdrawal.op))
        elif withdrawal.proposal_hash == o.proposal_hash and not o.status.decided:
            o.withdrawals.setdefault(withdrawal.party, withdrawal)
            self._weigh_withdrawals(ctx, o)

    def _weigh_withdrawals(self, ctx: Ctx, o: Operation) -> None:
        if o.signed is None or o.status.decided or o.certificate or o.abort:
            return
        withdrawn = o.withdrawals.keys()
        # A voter for another version of the proposal does not approve this one; but that version
        # may be approved, and unless a second gate orders the two, nothing is said of it here.
        against = [
            vote
            for _, vote in sorted(o.tally.votes.items())
            if not vote.approve or (self.gate.ordered and vote.proposal_hash != o.proposal_hash)
        ]
        if self.ledger.policy.stopped({*(vote.voter for vote in against), *withdrawn}, withdrawn):
            words = tuple(o.withdrawals[p] for p in sorted(withdrawn))
            o.abort = AbortCertificate(o.signed, tuple(against), words)
            self.gate.on_stopped(ctx, o)

    # --- lies -----------------------------------------------------------------------------

    def compare(self, ctx: Ctx, o: Operation, signed: SignedProposal) -> None:
        """A genuine proposal for an operation that we know: is it the one that we know?"""
        if o.signed is None or o.by != signed.proposal.by:
            return  # two parties' ids may meet by chance: that is nobody's lie
        if o.signed.proposal != signed.proposal:
            self._accuse(ctx, o.by, "proposed two things", o.signed, signed)

    def _accuse(self, ctx: Ctx, party: Party, what: str, first: Any, second: Any) -> None:
        """Two signed statements contradict each other: keep both, once for each operation."""
        op, known = first.op, self.ledger.evidence
        if any(e.party == party and e.first.op == op and e.what == what for e in known):
            return
        if len(known) < MAX_EVIDENCE:
            known.append(Evidence(party, what, first, second))
        ctx.blame(party, f"{what} under one id, {op}", Strength.PROOF)


def known_vote_policy(name: str) -> str:
    if name not in VOTE_POLICIES:
        raise UsageError(f"vote policy {name!r} is not known{nearest(name, VOTE_POLICIES)}")
    return name


def checked_deadline(deadline: int) -> int:
    if not statements.MIN_DEADLINE <= deadline <= statements.MAX_DEADLINE:
        least, most = (
            format_duration(statements.MIN_DEADLINE),
            format_duration(statements.MAX_DEADLINE),
        )
        raise UsageError(f"deadline: use {least} to {most}, not {format_duration(deadline)}")
    return deadline
