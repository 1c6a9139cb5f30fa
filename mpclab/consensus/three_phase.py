"""`3pc`: three-phase commit. Nobody waits for a dead coordinator, *if* the network is punctual.

D. Skeen, "Nonblocking commit protocols", SIGMOD 1981; the termination rules TR1–TR4 as in
Bernstein, Hadzilacos and Goodman, *Concurrency Control and Recovery in Database Systems*, 1987,
§7.5. 5(n − 1) messages (the 5N of N participants beside a coordinator), five delays.

* Assumes **synchrony**: a message between two parties that are up arrives, and within half of
  `patience`; there are no partitions; parties crash, and come back with what they stored.
* Guarantees then: agreement, and that all who stay up end, whoever crashes.
* Without synchrony it is *unsafe*: in a partition the side that is ready commits, the other
  aborts. That is the lesson of the protocol, and a test finds it.

Why the third phase: between `uncertain` and `committed` lies `ready`. Nobody commits while
anybody up is still uncertain, so those who find only uncertain ones among themselves know that
none has committed, and may abort.

A party that comes back was absent and may not vote for an outcome: it asks. When *all* had
crashed, they wait until all are back (only then is it known who was last).
"""

import msgspec

from mpclab.consensus.atomic import (
    ABORTED,
    COMMITTED,
    READY,
    Approvals,
    AtomicCommit,
    AtomicInquiry,
    AtomicOutcome,
    AtomicPrepare,
    AtomicVote,
    Record,
)
from mpclab.core import notes
from mpclab.core.errors import Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class ThreePhasePreCommit(Message, frozen=True):
    """Enough have approved: get ready to commit."""

    op: str
    approvals: Approvals


class ThreePhaseAck(Message, frozen=True):
    """I am ready."""

    op: str


class ThreePhaseUnsettled(Message, frozen=True):
    """The coordinator is still at it."""

    op: str


class ThreePhaseStateWanted(Message, frozen=True):
    """The coordinator is silent and I take over: where are you?"""

    op: str


class ThreePhaseState(Message, frozen=True):
    """Where I am. `absent`: I crashed since, so that others may have gone on."""

    op: str
    state: str
    absent: bool
    approvals: Approvals


class ThreePhase(AtomicCommit):
    """Prepare, pre-commit, commit; and a backup coordinator."""

    title = "three-phase commit"
    synchronous = True
    contradiction = Strength.SUSPECT  # a late message splits honest parties, see above
    timers = (*AtomicCommit.timers, "acks", "states")

    acks: dict[str, set[Party]]
    """The parties that are ready, at the coordinator."""
    states: dict[str, dict[Party, ThreePhaseState]]
    """Where everybody is, at a backup coordinator."""
    absent: set[str]
    """Operations in which we were down for a while, so that others may have gone on."""

    def start(self, ctx: Ctx) -> None:
        self.acks, self.states, self.absent = {}, {}, set()
        super().start(ctx)

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: AtomicPrepare
        | AtomicVote
        | AtomicOutcome
        | AtomicInquiry
        | ThreePhasePreCommit
        | ThreePhaseAck
        | ThreePhaseUnsettled
        | ThreePhaseStateWanted
        | ThreePhaseState,
    ) -> None:
        record = self.records.get(msg.op)
        match msg:
            case AtomicVote():
                self.take_vote(ctx, sender, msg)
            case ThreePhaseAck(op):
                if op in self.acks and record is not None and not record.settled:
                    self.acks[op].add(sender)
                    self._commit_if_ready(ctx, op, record)
            case ThreePhaseState(op):
                if op in self.states:
                    self.states[op][sender] = msg
                    if len(self.states[op]) == ctx.n:
                        self._terminate(ctx, op)
            case AtomicPrepare(op, value):
                self.take_prepare(ctx, sender, op, value)
            case ThreePhasePreCommit(op, approvals):
                if record is not None and not record.settled:
                    self._get_ready(ctx, op, record, approvals)
                    ctx.send(sender, ThreePhaseAck(op))
            case AtomicOutcome():
                self.take_outcome(ctx, sender, msg)
            case AtomicInquiry(op):
                if record is not None and record.settled:
                    self.tell(ctx, sender, op, record)
                elif record is not None and record.coordinator == ctx.me:
                    if op not in self.absent:
                        ctx.send(sender, ThreePhaseUnsettled(op))
            case ThreePhaseUnsettled(op):
                self.heard_of(op)
            case ThreePhaseStateWanted(op):
                self._answer(ctx, sender, op, record)

    # --- the coordinator ------------------------------------------------------------------

    def on_enough(self, ctx: Ctx, op: str, record: Record) -> None:
        ctx.note(notes.Phase(phase="pre-commit", op=op))
        self._ready_all(ctx, op, record, record.approvals)

    def _ready_all(self, ctx: Ctx, op: str, record: Record, approvals: Approvals) -> None:
        self._get_ready(ctx, op, record, approvals)
        self.acks[op] = {ctx.me}
        ctx.multicast(ctx.others, ThreePhasePreCommit(op, approvals))
        ctx.set_timer(f"acks/{op}", self.patience)
        self._commit_if_ready(ctx, op, self.records[op])

    def _get_ready(self, ctx: Ctx, op: str, record: Record, approvals: Approvals) -> None:
        self.heard_of(op)
        self.keep(ctx, op, msgspec.structs.replace(record, state=READY, approvals=approvals))

    def _commit_if_ready(self, ctx: Ctx, op: str, record: Record) -> None:
        if len(self.acks[op]) == ctx.n:
            ctx.cancel_timer(f"acks/{op}")
            self.announce(ctx, op, True, "", record.approvals)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        kind, op = name.split("/", 1)
        record = self.records[op]
        if kind == "acks" and not record.settled:
            # By synchrony, who has not answered is down: nobody up is uncertain.
            self.announce(ctx, op, True, "", record.approvals)
        elif kind == "states" and not record.settled:
            self._terminate(ctx, op)
        elif kind not in ("acks", "states"):
            super().on_timer(ctx, name)

    # --- when it is silent ------------------------------------------------------------------

    def _close(self, ctx: Ctx, op: str, record: Record) -> None:
        super()._close(ctx, op, record)
        self.acks.pop(op, None)
        self.absent.discard(op)

    def recover(self, ctx: Ctx, op: str, record: Record) -> None:
        self.absent.add(op)
        ctx.multicast(ctx.others, AtomicInquiry(op, record.coordinator))
        self.watch(ctx, op)

    def on_tick(self, ctx: Ctx, op: str, record: Record, silence: int) -> None:
        rank = (ctx.me - record.coordinator) % ctx.n  # the coordinator itself: 0
        if op in self.absent:
            ctx.multicast(ctx.others, AtomicInquiry(op, record.coordinator))
            if silence == 3:
                why = "was down meanwhile, and nobody who was up is found"
                ctx.note(notes.Blocked(op=op, waiting_for=ctx.others, why=why))
            if silence % 3 == 0:
                self._take_over(ctx, op)  # perhaps all are back
        elif rank == 0:
            return  # it has its own timers
        elif silence == 1:
            ctx.send(record.coordinator, AtomicInquiry(op, record.coordinator))
        elif silence >= 1 + 2 * rank:
            self._take_over(ctx, op)
        self.watch(ctx, op, background=silence > 3 + 2 * ctx.n)

    def _take_over(self, ctx: Ctx, op: str) -> None:
        ctx.note(notes.Phase(phase="termination", op=op))
        self.states[op] = {}
        ctx.set_timer(f"states/{op}", self.patience)
        ctx.broadcast(ThreePhaseStateWanted(op))

    def _answer(self, ctx: Ctx, asker: Party, op: str, record: Record | None) -> None:
        if record is None:
            ctx.send(asker, ThreePhaseState(op, "asked", False, ()))
            return
        if asker != ctx.me:
            self.heard_of(op)  # somebody is at it
        if record.settled and asker != ctx.me:
            self.tell(ctx, asker, op, record)
        else:
            absent = op in self.absent
            ctx.send(asker, ThreePhaseState(op, record.state, absent, record.approvals))

    def _terminate(self, ctx: Ctx, op: str) -> None:
        """Skeen's termination rules, over the states of those who are up."""
        heard = self.states.pop(op, {})
        record = self.records[op]
        ctx.cancel_timer(f"states/{op}")
        if record.settled:
            return  # meanwhile somebody told us: it is not ours to decide again
        if len(heard) == ctx.n:
            counted = heard  # nobody can know more than all together
        else:
            counted = {p: s for p, s in heard.items() if not s.absent}
            if op in self.absent:
                return  # TR0: it is not ours to decide
        states = {s.state for s in counted.values()}
        if ABORTED in states:
            r = record
            self.announce(ctx, op, False, r.reason, rejected=r.rejected, missing=r.missing)  # TR1
        elif COMMITTED in states or READY in states:
            # TR2, and TR4: the uncertain get ready first
            ready = next(s for s in counted.values() if s.state in (COMMITTED, READY))
            self._ready_all(ctx, op, record, ready.approvals)
        else:
            why = f"party {record.coordinator} fell silent and nobody was ready"
            self.announce(ctx, op, False, why, missing=(record.coordinator,))  # TR3
