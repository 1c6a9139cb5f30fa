"""The first gate: proposals, votes, and whether they are enough.

Everyone votes once on each operation, as its vote policy says or by hand. Proposals and votes are
stored before they are sent, and a party that lost its store takes its own vote back from those who
heard it. Votes may come before the proposal; they wait for it, and it is asked for.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mpclab.coordinator import statements
from mpclab.coordinator.messages import Fetch, Propose
from mpclab.coordinator.policy import Policy, TallyResult
from mpclab.coordinator.statements import Evidence, SignedProposal, SignedVote
from mpclab.coordinator.tally import Operation, Status
from mpclab.core import notes
from mpclab.core.errors import Strength, UsageError, nearest
from mpclab.core.ids import SECOND, Party, format_duration, new_id
from mpclab.core.machine import Ctx, Machine
from mpclab.crypto.identity import Identity
from mpclab.operations import Known, Operations, Result
from mpclab.operations.proposal import Proposal, operation_id

VOTE_POLICIES = ("approve", "reject", "silent", "validate", "hand")

MAX_OPEN = 64
"""How many of one party's proposals may be open at a time. Others bear with twice as many, since
they may learn of an end later than the proposer, and do not hear what is more; votes on proposals
not heard of are counted for as many operations of one voter. It bounds what waits, is asked for
and has timers. What has *ended* stays in memory, an abort too, so it bounds only how fast that
grows: by 2 MAX_OPEN operations of one proposer in each `MIN_DEADLINE`."""
MAX_EVIDENCE = 256
MAX_LEAP = 2**20
"""How far a proposal's stamp may be ahead of ours, so that nobody uses the clock up."""
RETRY = 1 * SECOND


class Approval(Machine):
    """What a session does up to the certificate; `Session` goes on from there."""

    def __init__(
        self,
        session: str,
        policy: Policy,
        identity: Identity,
        keys: dict[Party, bytes],
        votes: str,
        kinds: Operations,
        deadline: int,
    ) -> None:
        self.session = session
        self.policy = policy
        self.identity = identity
        self.keys = dict(keys)
        self.vote_policy = known_vote_policy(votes)
        self.kinds = kinds
        self.deadline = checked_deadline(deadline)
        self.operations: dict[str, Operation] = {}
        self.pending: dict[str, Operation] = {}  # those that are unheard or open
        self.results: dict[str, Result] = {}
        self.evidence: list[Evidence] = []
        self.clock = 0  # Lamport's
        self._retrying = False

    # --- for the second gate --------------------------------------------------------------

    broadcasts: bool = True
    """Proposals and votes are broadcast here, not inside the agreement protocol."""

    def on_proposed(self, ctx: Ctx, o: Operation) -> None:
        """We proposed `o`, and the protocol has to carry it."""
        raise NotImplementedError

    def on_voted(self, ctx: Ctx, o: Operation) -> None:
        """We voted on `o`, and the protocol has to carry the vote."""
        raise NotImplementedError

    def on_enough(self, ctx: Ctx, o: Operation) -> None:
        """The votes here satisfy the policy."""
        raise NotImplementedError

    def on_impossible(self, ctx: Ctx, o: Operation) -> None:
        """So many rejected (`o.rejected`) that the policy can never be satisfied."""
        raise NotImplementedError

    # --- proposing ------------------------------------------------------------------------

    def propose(self, ctx: Ctx, ask: Propose) -> None:
        params = self.kinds[ask.kind].check(ask.params)
        deadline = self.deadline if ask.deadline is None else checked_deadline(ask.deadline)
        if max(len(ask.attempt), len(ask.kind)) > statements.MAX_NAME:
            raise UsageError(f"attempt, kind: at most {statements.MAX_NAME} characters")
        attempt = ask.attempt or new_id(ctx.rng, 16)
        op = operation_id(self.session, ctx.me, attempt)
        if op in self.operations:
            raise UsageError(f"attempt {attempt!r} was used before, for operation {op}")
        if sum(o.by == ctx.me for o in self.open()) >= MAX_OPEN:
            raise UsageError(f"{MAX_OPEN} of your proposals are open; wait for their end")
        self.clock += 1
        proposal = Proposal(self.session, attempt, ctx.me, self.clock, ask.kind, params, deadline)
        signed = statements.sign_proposal(self.identity, proposal)
        o = self.enter(ctx, signed)
        ctx.note(notes.Proposed(op=op, kind=ask.kind, by=ctx.me, text=o.text))
        # Before it is sent, and whether or not we vote: the attempt is used up for good.
        ctx.persist(f"proposal/{op}", msgspec.msgpack.encode(signed))
        if self.broadcasts:
            ctx.multicast(ctx.others, signed)
            self.consider(ctx, o)
        else:
            self.on_proposed(ctx, o)

    def enter(self, ctx: Ctx, signed: SignedProposal) -> Operation:
        """Open the operation that `signed` proposes."""
        proposal = signed.proposal
        self.clock = max(self.clock, proposal.lamport)
        o = self.operations.setdefault(signed.op, Operation(signed.op))
        if not o.describe(self.kinds, signed):
            ctx.blame(proposal.by, f"proposed what cannot be: {o.invalid_reason}")
        o.status, o.heard_at = Status.OPEN, ctx.now
        self.pending[o.op] = o
        ctx.set_timer(f"deadline/{o.op}", proposal.deadline)
        self.retry_later(ctx)
        return o

    def hear(self, ctx: Ctx, signed: SignedProposal) -> None:
        """A genuine proposal reached us: open its operation and vote, unless we know it."""
        proposal, known = signed.proposal, self.operations.get(signed.op)
        if known is not None and known.signed is not None:
            self.compare(ctx, known, signed)
            return
        if sum(o.by == proposal.by for o in self.open()) >= 2 * MAX_OPEN:
            ctx.note(notes.Ignored(op=signed.op, by=proposal.by, why="too many open proposals"))
            return
        if proposal.lamport > self.clock + MAX_LEAP:
            # Not raised: votes that came along are counted already (`catchup.on_proposal_state`).
            ctx.blame(proposal.by, "a time stamp far ahead of everyone's")
            return
        o = self.enter(ctx, signed)
        ctx.note(notes.Heard(op=o.op, kind=o.kind, by=o.by))
        self.consider(ctx, o)
        self._weigh(ctx, o)

    # --- voting ---------------------------------------------------------------------------

    def consider(self, ctx: Ctx, o: Operation) -> None:
        """Vote, if our vote policy says how."""
        past = o.tally.votes.get(ctx.me)
        if o.mine is None and past is not None:  # cast in an earlier life, whose store was lost
            if past.proposal_hash != o.proposal_hash:
                return  # on the proposer's other story; a second vote would be a lie of ours
            self._take(ctx, o, past)
        if o.mine is not None or o.status is not Status.OPEN or self.vote_policy == "silent":
            return
        if o.invalid_reason:
            self._cast(ctx, o, False, o.invalid_reason)
            return
        match self.vote_policy:
            case "approve":
                self._cast(ctx, o, True)
            case "reject":
                self._cast(ctx, o, False, "rejects everything")
            case "validate":
                heard = {
                    op: k.signed.proposal
                    for op, k in self.operations.items()
                    if k.signed is not None
                }
                known = Known(heard, self.results)
                spec = self.kinds[o.kind]
                wrong = spec.validate(spec.read(o.params), known)
                self._cast(ctx, o, wrong is None, wrong or "")
            case "hand" if o.by == ctx.me:
                self._cast(ctx, o, True)  # who proposes approves

    def vote_by_hand(self, ctx: Ctx, op: str, approve: bool, reason: str) -> None:
        o = self.operations.get(op)
        if o is None or o.signed is None:
            raise UsageError(f"operation {op!r} is not known{nearest(op, self.operations)}")
        if o.mine is not None:
            word = "approved" if o.mine.approve else "rejected"
            raise UsageError(f"party {ctx.me} has {word} {op}; a vote is final")
        if o.status is not Status.OPEN:
            raise UsageError(f"{op} is {o.status}: too late to vote")
        if approve and o.invalid_reason:
            raise UsageError(f"{op} cannot be approved: {o.invalid_reason}")
        self._cast(ctx, o, approve, reason)

    def _cast(self, ctx: Ctx, o: Operation, approve: bool, reason: str = "") -> None:
        assert o.signed is not None
        vote = statements.sign_vote(self.identity, o.signed.proposal, ctx.me, approve, reason)
        self._take(ctx, o, vote)
        ctx.note(notes.Voted(op=o.op, approve=approve, reason=vote.reason))
        if self.broadcasts:
            ctx.multicast(ctx.others, vote)
        else:
            self.on_voted(ctx, o)
        self.count(ctx, vote)

    def _take(self, ctx: Ctx, o: Operation, vote: SignedVote) -> None:
        o.mine = vote
        ctx.persist(f"vote/{o.op}", msgspec.msgpack.encode((o.signed, vote)))

    def count(self, ctx: Ctx, vote: SignedVote) -> None:
        """A genuine vote reached us."""
        o = self.operations.get(vote.op)
        if o is None:
            if sum(vote.voter in k.tally.votes for k in self._unheard()) >= MAX_OPEN:
                return
            o = self.operations[vote.op] = self.pending[vote.op] = Operation(vote.op)
            self.retry_later(ctx)
        earlier = o.tally.add(vote, ctx.now)
        if earlier is not None:
            if statements.contradict(earlier, vote):
                self._accuse(ctx, vote.voter, "voted both ways", earlier, vote)
        elif o.signed is not None:
            if vote.proposal_hash != o.proposal_hash and vote.voter != ctx.me:
                # It voted on another proposal under this id. To see it is to prove it.
                ctx.send(vote.voter, Fetch(o.op, (), False))
            self._weigh(ctx, o)

    def _weigh(self, ctx: Ctx, o: Operation) -> None:
        """Are the votes enough, or can they never be?"""
        if o.certificate is not None or o.status not in (Status.OPEN, Status.ABORTED):
            return
        match o.tally.result(o.proposal_hash, self.policy):
            case TallyResult.ENOUGH if self.broadcasts:
                self.on_enough(ctx, o)
            case TallyResult.IMPOSSIBLE if o.status is Status.OPEN:
                o.rejected = o.tally.against(o.proposal_hash)
                self.on_impossible(ctx, o)

    # --- lies -----------------------------------------------------------------------------

    def compare(self, ctx: Ctx, o: Operation, signed: SignedProposal) -> None:
        """A genuine proposal for an operation that we know: is it the one that we know?"""
        if o.signed is None or o.by != signed.proposal.by:
            return  # two parties' ids may meet by chance: that is nobody's lie
        if o.signed.proposal != signed.proposal:
            self._accuse(ctx, o.by, "proposed two things", o.signed, signed)

    def _accuse(self, ctx: Ctx, party: Party, what: str, first: Any, second: Any) -> None:
        """Two signed statements contradict each other: keep both, once for each operation."""
        op = first.op
        if any(e.party == party and e.first.op == op and e.what == what for e in self.evidence):
            return
        if len(self.evidence) < MAX_EVIDENCE:
            self.evidence.append(Evidence(party, what, first, second))
        ctx.blame(party, f"{what} under one id, {op}", Strength.PROOF)

    # --- what is open ---------------------------------------------------------------------

    def open(self) -> list[Operation]:
        return [o for o in self.pending.values() if o.status is Status.OPEN]

    def _unheard(self) -> list[Operation]:
        return [o for o in self.pending.values() if o.status is Status.UNHEARD]

    def retry_later(self, ctx: Ctx) -> None:
        if not self._retrying and self.broadcasts:
            self._retrying = True
            ctx.set_timer("retry", RETRY)


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
