"""The part that 2pc and 3pc share: one party asks all for votes, and announces the outcome.

The submitter of an operation coordinates it (only its proposer does), and every party, the
coordinator too, is a participant. Both protocols tolerate crashes, not lies: the links must be
authenticated and every party honest. A party's store outlives its crash; a party that
comes back *without* its store may contradict itself.

A record goes `asked` → `uncertain` (we approved: no longer ours to decide) → [`ready` in 3pc] →
`committed` or `aborted`. With the policy "all must approve" a party that has not approved may
abort alone; with fewer needed it may not, since it is not asked for its consent.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import (
    Agreement,
    Cast,
    Decided,
    Learnt,
    Refused,
    Submit,
    VoteWanted,
)
from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

Approvals = tuple[tuple[Party, bytes], ...]

ASKED, UNCERTAIN, READY, COMMITTED, ABORTED = "asked", "uncertain", "ready", "committed", "aborted"


class AtomicPrepare(Message, frozen=True):
    """The coordinator asks for a vote."""

    op: str
    value: bytes


class AtomicVote(Message, frozen=True):
    op: str
    approve: bool
    reason: str
    signature: bytes


class AtomicOutcome(Message, frozen=True):
    """How it ended. `value` is given to those who may not have it."""

    op: str
    commit: bool
    reason: str
    approvals: Approvals
    value: bytes = b""
    rejected: tuple[Party, ...] = ()
    missing: tuple[Party, ...] = ()


class AtomicInquiry(Message, frozen=True):
    """How did it end? I cannot know."""

    op: str
    coordinator: Party


class Record(msgspec.Struct, frozen=True):
    """All that a party must remember of one operation."""

    coordinator: Party
    value: bytes
    state: str = ASKED
    reason: str = ""
    approvals: Approvals = ()
    rejected: tuple[Party, ...] = ()
    missing: tuple[Party, ...] = ()

    @property
    def settled(self) -> bool:
        return self.state in (COMMITTED, ABORTED)


class AtomicCommit(Agreement):
    """Voting, and keeping the record. Subclasses say what follows enough approvals, and what to
    do when nobody speaks."""

    votes_inside = True
    refuses = True
    archives = frozenset({"op"})

    contradiction: ClassVar = Strength.KNOWN
    """How sure it is that who tells another outcome than ours broke the protocol."""
    timers: ClassVar[tuple[str, ...]] = ("again", "votes", "tick")
    """Those of one operation, by kind."""
    VOTING: ClassVar = 5
    """How long the coordinator waits for votes, in patiences (a person may have to click)."""

    enough: int
    """How many approvals commit."""
    records: dict[str, Record]
    """The stored records, by operation; an outcome stays, for any party that asks."""
    votes: dict[str, dict[Party, AtomicVote]]
    """At the coordinator, while it counts."""
    own_votes: dict[str, AtomicVote]
    silence: dict[str, int]
    """Ticks since somebody who knows spoke, while we wait for an outcome."""

    @classmethod
    def liars(cls, n: int) -> int:
        return 0

    def start(self, ctx: Ctx) -> None:
        self.enough = self.needed or ctx.n
        self.records, self.votes, self.own_votes, self.silence = {}, {}, {}, {}
        for key, data in ctx.stored.items():
            record = msgspec.msgpack.decode(data, type=Record)
            op = key.removeprefix("op/")
            self.records[op] = record
            if record.settled:
                self._report(ctx, op, record)
            else:
                self.recover(ctx, op, record)

    # --- for the subclass -----------------------------------------------------------------

    def recover(self, ctx: Ctx, op: str, record: Record) -> None:
        """We restarted and this operation is not settled."""
        raise NotImplementedError

    def on_enough(self, ctx: Ctx, op: str, record: Record) -> None:
        """We coordinate, and enough approvals are here (in `record.approvals`)."""
        raise NotImplementedError

    def on_tick(self, ctx: Ctx, op: str, record: Record, silence: int) -> None:
        """A patience has passed, the `silence`-th without news, and nothing is settled."""
        raise NotImplementedError

    # --- asking and voting ----------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op not in self.records and self.fits(op, value):
                # Remembered before anyone can vote: after a crash we must answer for it.
                self.keep(ctx, op, Record(ctx.me, value))
                self.votes[op] = {}
                ctx.set_timer(f"votes/{op}", self.VOTING * self.patience)
                ctx.set_timer(f"again/{op}", self.patience)
                ctx.note(notes.Phase(phase="prepare", op=op))
                ctx.broadcast(AtomicPrepare(op, value))
            case Submit(op) | Cast(op) if op in self.records and self.records[op].state == ABORTED:
                # Aborted before our user heard of it, or voted: a late vote re-opens nothing.
                self._report(ctx, op, self.records[op])
            case Cast(op) if op in self.records and op not in self.own_votes:
                self._vote(ctx, ask)
            case Learnt(outcome, by):
                self._learn(ctx, outcome, by)

    def _learn(self, ctx: Ctx, outcome: Decided | Refused, by: Party) -> None:
        """The user knows it already; from now on we answer with it, and announce nothing else."""
        record = self.records.setdefault(outcome.op, Record(by, b""))
        if record.settled:
            return
        match outcome:
            case Decided(op, value, _, approvals):
                ending = msgspec.structs.replace(
                    record, state=COMMITTED, value=value, approvals=approvals
                )
            case Refused(op, reason, rejected, missing):
                ending = msgspec.structs.replace(
                    record, state=ABORTED, reason=reason, rejected=rejected, missing=missing
                )
        self._close(ctx, op, ending)

    def take_prepare(self, ctx: Ctx, sender: Party, op: str, value: bytes) -> None:
        record = self.records.get(op)
        if record is None:
            if not self.fits(op, value):
                raise PeerFault(f"proposed a value of {op} that is not valid")
            record = self.records[op] = Record(sender, value)
        elif record.coordinator != sender or (record.value and record.value != value):
            raise PeerFault(f"proposed {op}, which party {record.coordinator} coordinates")
        elif record.settled:
            if record.state == ABORTED and sender != ctx.me:
                # We gave up before it asked, or heard that another did. We may have approved
                # before: that is told as an outcome, not as a second vote.
                self.tell(ctx, sender, op, record)
            return
        if (vote := self.own_votes.get(op)) is not None:
            ctx.send(sender, vote)  # ours was lost
        elif op not in self.silence:
            self.watch(ctx, op)
            ctx.output(VoteWanted(op, value, sender))

    def _vote(self, ctx: Ctx, cast: Cast) -> None:
        op, record = cast.op, self.records[cast.op]
        if record.settled:
            return
        vote = self.own_votes[op] = AtomicVote(op, cast.approve, cast.reason, cast.signature)
        if cast.approve:
            own = ((ctx.me, cast.signature),)
            self.keep(ctx, op, msgspec.structs.replace(record, state=UNCERTAIN, approvals=own))
        elif self.enough == ctx.n and record.coordinator != ctx.me:
            # Our No settles it, so we need not wait to hear that.
            why = f"party {ctx.me} rejected: {cast.reason}"
            self.settle(ctx, op, False, why, rejected=(ctx.me,))
        else:
            self.keep(ctx, op, msgspec.structs.replace(record, state=UNCERTAIN))
        ctx.send(record.coordinator, vote)

    def take_vote(self, ctx: Ctx, sender: Party, vote: AtomicVote) -> None:
        record = self.records.get(vote.op)
        if record is None or record.coordinator != ctx.me:
            raise PeerFault(f"voted on {vote.op}, which we do not coordinate")
        votes = self.votes.get(vote.op)
        if votes is None or record.settled or record.state == READY:
            return
        if votes.setdefault(sender, vote).approve != vote.approve:
            raise PeerFault(f"voted both ways on {vote.op}")
        approvals = tuple((p, v.signature) for p, v in sorted(votes.items()) if v.approve)
        rejections = _rejections(votes)
        lack = self.lacks(vote.op, [p for p, _ in approvals])
        if len(approvals) >= self.enough and not lack:
            ctx.cancel_timer(f"votes/{vote.op}")
            ctx.cancel_timer(f"again/{vote.op}")
            record = msgspec.structs.replace(record, approvals=approvals)
            self.on_enough(ctx, vote.op, record)
        elif len(rejections) > ctx.n - self.enough:
            who = ", ".join(map(str, rejections))
            why = f"rejected by {who}: {vote.reason}"
            self.announce(ctx, vote.op, False, why, rejected=rejections)
        elif len(votes) == ctx.n:
            self.announce(ctx, vote.op, False, lack, rejected=rejections)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        kind, op = name.split("/", 1)
        record = self.records[op]
        if record.settled:
            return
        match kind:
            case "again":
                missing = [p for p in ctx.members if p not in self.votes[op]]
                ctx.multicast(missing, AtomicPrepare(op, record.value))
                ctx.set_timer(name, self.patience)
            case "votes":
                silent = tuple(p for p in ctx.members if p not in self.votes[op])
                why = f"no vote from {', '.join(map(str, silent))} in time"
                rejected = _rejections(self.votes[op])
                self.announce(ctx, op, False, why, rejected=rejected, missing=silent)
            case "tick":
                self.silence[op] += 1
                self.on_tick(ctx, op, record, self.silence[op])

    def heard_of(self, op: str) -> None:
        """Somebody who knows more spoke of an operation whose outcome we wait for."""
        if op in self.silence:
            self.silence[op] = 0

    def watch(self, ctx: Ctx, op: str, *, background: bool = False) -> None:
        """Tick after a patience, to see whether somebody spoke."""
        self.silence.setdefault(op, 0)
        ctx.set_timer(f"tick/{op}", self.patience, background=background)

    # --- ending ---------------------------------------------------------------------------

    def announce(
        self,
        ctx: Ctx,
        op: str,
        commit: bool,
        reason: str = "",
        approvals: Approvals = (),
        *,
        rejected: tuple[Party, ...] = (),
        missing: tuple[Party, ...] = (),
    ) -> None:
        """Settle, then tell everybody."""
        self.settle(ctx, op, commit, reason, approvals, rejected=rejected, missing=missing)
        ctx.multicast(
            ctx.others, AtomicOutcome(op, commit, reason, approvals, b"", rejected, missing)
        )

    def settle(
        self,
        ctx: Ctx,
        op: str,
        commit: bool,
        reason: str = "",
        approvals: Approvals = (),
        *,
        rejected: tuple[Party, ...] = (),
        missing: tuple[Party, ...] = (),
    ) -> None:
        """The record says how it ended: stored before anyone hears of it."""
        record = msgspec.structs.replace(
            self.records[op],
            state=COMMITTED if commit else ABORTED,
            reason=reason,
            approvals=approvals,
            rejected=rejected,
            missing=missing,
        )
        self._close(ctx, op, record)
        self._report(ctx, op, record)

    def _close(self, ctx: Ctx, op: str, record: Record) -> None:
        """Keep how it ended, and wait for nothing more."""
        self.keep(ctx, op, record)
        self.votes.pop(op, None)
        self.own_votes.pop(op, None)
        self.silence.pop(op, None)
        for timer in self.timers:
            ctx.cancel_timer(f"{timer}/{op}")

    def take_outcome(self, ctx: Ctx, sender: Party, msg: AtomicOutcome) -> None:
        record = self.records.get(msg.op)
        if record is None:
            record = self.records[msg.op] = Record(sender, msg.value)
        if record.settled:
            if (record.state == COMMITTED) != msg.commit:
                why = f"says that {msg.op} ended otherwise than we know"
                raise PeerFault(why, strength=self.contradiction)
            return
        if not record.value and msg.value:
            record = self.records[msg.op] = msgspec.structs.replace(record, value=msg.value)
        if msg.commit and not record.value:  # committed without our vote: what was it?
            ctx.send(sender, AtomicInquiry(msg.op, record.coordinator))
            self.watch(ctx, msg.op)
            return
        # A coordinator that hears of an abort has all others hear of it.
        end = self.announce if record.coordinator == ctx.me and not msg.commit else self.settle
        end(
            ctx, msg.op, msg.commit, msg.reason, msg.approvals,
            rejected=msg.rejected, missing=msg.missing,
        )  # fmt: skip

    def tell(self, ctx: Ctx, to: Party, op: str, record: Record) -> None:
        """Answer an inquiry about what is settled."""
        commit = record.state == COMMITTED
        r = record
        told = AtomicOutcome(op, commit, r.reason, r.approvals, r.value, r.rejected, r.missing)
        ctx.send(to, told)

    def keep(self, ctx: Ctx, op: str, record: Record) -> None:
        self.records[op] = record
        ctx.persist(f"op/{op}", msgspec.msgpack.encode(record))

    def _report(self, ctx: Ctx, op: str, record: Record) -> None:
        if record.state == COMMITTED:
            ctx.note(notes.Decided(op=op, index=None))
            ctx.output(Decided(op, record.value, None, record.approvals))
        else:
            ctx.output(Refused(op, record.reason, record.rejected, record.missing))


def _rejections(votes: Mapping[Party, AtomicVote]) -> tuple[Party, ...]:
    return tuple(p for p, vote in sorted(votes.items()) if not vote.approve)
