"""`2pc`: two-phase commit, and what blocking looks like.

J. Gray, "Notes on data base operating systems" (1978); counted as in J. Gray and L. Lamport,
"Consensus on transaction commit", ACM TODS 31(1), 2006, §3.2: 3N − 3 messages when the
coordinator is one of the N participants, three delays to the others.

* Assumes: parties crash and come back with what they stored; nobody lies. No timing is needed
  for safety.
* Guarantees: **agreement** (no party commits what another aborts), **validity** (committed only
  with enough approvals; aborted only for a rejection or a failure).
* Does not guarantee **progress**: a party that has approved cannot know how the coordinator
  decided while that is down. It asks the others (the cooperative termination protocol of
  Bernstein, Hadzilacos and Goodman, *Concurrency Control and Recovery in Database Systems*,
  1987, §7.4); when they are all uncertain too it *must* wait. That is the note `blocked`.

There are no acknowledgements of the outcome: a party that missed it asks.
"""

from mpclab.consensus.atomic import (
    ABORTED,
    UNCERTAIN,
    AtomicCommit,
    AtomicInquiry,
    AtomicOutcome,
    AtomicPrepare,
    AtomicVote,
    Record,
)
from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class TwoPhaseUnsettled(Message, frozen=True):
    """The answer to an inquiry of who does not know either (or, the coordinator, not yet)."""

    op: str


class TwoPhase(AtomicCommit):
    """Prepare, vote, outcome."""

    title = "two-phase commit"

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: AtomicPrepare | AtomicVote | AtomicOutcome | AtomicInquiry | TwoPhaseUnsettled,
    ) -> None:
        match msg:
            case AtomicVote():
                self.take_vote(ctx, sender, msg)
            case AtomicPrepare(op, value):
                self.take_prepare(ctx, sender, op, value)
            case AtomicOutcome():
                self.take_outcome(ctx, sender, msg)
            case AtomicInquiry(op, coordinator):
                self._answer(ctx, sender, op, coordinator)
            case TwoPhaseUnsettled(op):
                record = self.records.get(op)
                if record is not None and record.coordinator == sender:
                    self.heard_of(op)  # it lives, and is still counting

    def on_enough(self, ctx: Ctx, op: str, record: Record) -> None:
        ctx.note(notes.Phase(phase="commit", op=op))
        self.announce(ctx, op, True, "", record.approvals)

    def recover(self, ctx: Ctx, op: str, record: Record) -> None:
        if record.coordinator == ctx.me:
            # Nobody was told Commit, since that is stored first: abort is safe.
            why = "its coordinator crashed before deciding"
            self.announce(ctx, op, False, why, missing=(ctx.me,))
        else:
            ctx.send(record.coordinator, AtomicInquiry(op, record.coordinator))
            self.watch(ctx, op)

    def on_tick(self, ctx: Ctx, op: str, record: Record, silence: int) -> None:
        coordinator = record.coordinator
        if coordinator == ctx.me:
            return  # it has its own timers
        blocked = silence > 3
        if silence == 1:
            ctx.send(coordinator, AtomicInquiry(op, coordinator))
        elif silence > 3 and record.state != UNCERTAIN and self.enough == ctx.n:
            # We have not approved: it cannot have been committed, and now never will be.
            why = f"party {coordinator} is silent and we had not voted"
            self.announce(ctx, op, False, why, missing=(coordinator,))
            return
        else:
            ctx.multicast(ctx.others, AtomicInquiry(op, coordinator))
            if silence == 3:
                why = f"approved, and cannot know what party {coordinator} decided"
                ctx.note(notes.Blocked(op=op, waiting_for=(coordinator,), why=why))
        self.watch(ctx, op, background=blocked)

    def _answer(self, ctx: Ctx, asker: Party, op: str, coordinator: Party) -> None:
        record = self.records.get(op)
        if record is None:
            # As coordinator: "presumed abort", since a decision would be on our record. As
            # participant: we have not voted, and by this never will.
            record = self.records[op] = Record(coordinator, b"")
            if coordinator == ctx.me or self.enough == ctx.n:
                why = f"party {ctx.me} had not heard of it"
                self.settle(ctx, op, False, why, missing=(ctx.me,))
                record = self.records[op]
            else:
                self.watch(ctx, op)
        if record.settled:
            self.tell(ctx, asker, op, record)
        elif record.state != UNCERTAIN and self.enough == ctx.n and coordinator != ctx.me:
            why = f"party {ctx.me} had not voted when asked how it ended"
            self.settle(ctx, op, False, why, missing=(ctx.me,))
            assert self.records[op].state == ABORTED
            self.tell(ctx, asker, op, self.records[op])
        else:
            ctx.send(asker, TwoPhaseUnsettled(op))
