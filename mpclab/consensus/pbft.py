"""`pbft`: practical Byzantine fault tolerance. A primary proposes, two rounds of votes decide.

M. Castro and B. Liskov, "Practical Byzantine fault tolerance", OSDI 1999, §4; with authenticated
links instead of signatures as in ACM TOCS 20(4), 2002 (the sections below) and Castro's thesis
(MIT/LCS/TR-817, 2001). The view change is in `pbft_views`, with the story of a split.

* Assumes: n > 3f, at most f parties Byzantine, authenticated links, collision-resistant hashes
  and signatures. Safety needs no timing. Progress needs that delays do not grow faster than the
  timeouts, which double (partial synchrony). An honest party's store outlives a crash; one
  that loses its store counts among the f. As a primary it gives places away a second time, which
  is said of it; the others leave its view.
* Guarantees: one log. No two honest parties decide different operations at one place; what is
  decided is valid; an operation that an honest party submits is decided in the end.

2n(n − 1) messages for an operation that the primary holds (pre-prepare n − 1, prepare (n − 1)²,
commit n(n − 1)), and three delays.

Why q = (n + f)//2 + 1 (2f + 1 when n = 3f + 1): two quorums share an honest party. *Prepared*
(q for one request at one place) means that no other can be prepared there in this view.
*Committed* (q prepared it) means that every later view knows: any q VIEW-CHANGEs contain an
honest party that prepared it.

Deviations: one operation in each place. State is the history itself, so who lags takes each of
its places from f + 1 parties that say the same (`pbft_transfer`). A new primary begins its view
also while it lacks a request that it must propose again: an honest party has it (A2), and whoever
lacks it asks. Retransmission by `PbftStatus` (thesis §5.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mpclab.consensus.agreement import Agreement, Submit, with_values
from mpclab.consensus.backlog import Backlog
from mpclab.consensus.options import Options, count
from mpclab.consensus.pbft_attacks import ATTACKS
from mpclab.consensus.pbft_log import Executed, Slot, Slots
from mpclab.consensus.pbft_messages import (
    PbftCheckpoint,
    PbftCommit,
    PbftExecuted,
    PbftNewView,
    PbftPrepare,
    PbftPrePrepare,
    PbftRequest,
    PbftStatus,
    PbftViewChange,
    digest_of,
)
from mpclab.consensus.pbft_transfer import StateTransfer, page
from mpclab.consensus.pbft_views import View
from mpclab.consensus.quorum import Tally, at_least, byzantine_quorum, max_faulty
from mpclab.core import notes
from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

_NOTHING = PbftRequest("", b"")


@dataclass(frozen=True, kw_only=True)
class PbftOptions(Options):
    """The settings of PBFT, the same for all parties."""

    checkpoint: int = count(8, "places between checkpoints (K)", most=1024)
    window: int = count(16, "places after the stable checkpoint that may be in use (L)", most=4096)

    def __post_init__(self) -> None:
        if self.window < 2 * self.checkpoint:  # §4.3: L is a small multiple of K
            raise UsageError(
                f"window: {self.window} is less than twice the checkpoint interval "
                f"({self.checkpoint}): the log would wait for every checkpoint"
            )


class Pbft(Agreement):
    """One replica."""

    title = "PBFT"
    orders = True
    archives = frozenset({"slot", "request", "done", "old"})
    options_type = PbftOptions
    attacks = ATTACKS
    view_type: ClassVar[type[View]] = View
    options: PbftOptions

    OPEN: ClassVar = 256
    """Undecided operations that we keep for others."""
    GOSSIP: ClassVar = 5
    """Patiences between asking a few others, for no reason, whether we missed anything."""
    OVERTAKEN: ClassVar = 512
    """Operations that may be executed before one that waits: more than an honest queue holds."""
    TRIES: ClassVar = 12
    """Retransmissions without a decision before we count an operation as blocked."""

    f: int
    quorum: int
    now: View
    """The view that we are in, or have left the one before for."""
    slots: Slots
    history: Executed
    transfer: StateTransfer
    backlog: Backlog
    wanted: set[bytes]
    """Digests of requests that the view began with and we lack."""
    assigned: dict[str, int]
    """As primary, in this view: operation → place."""
    next: int
    """As primary: the last place that we used."""
    checkpoints: dict[int, Tally]
    """CHECKPOINTs for places after the stable one."""
    failures: int
    """View changes since something was executed: timeouts double with each."""
    timers: set[str]
    """Those that run."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def quorum_of(self, n: int) -> int:
        return byzantine_quorum(n)

    def start(self, ctx: Ctx) -> None:
        window, stored = self.options.window, ctx.stored
        self.f = max_faulty(ctx.n)
        self.quorum = self.quorum_of(ctx.n)
        self.now = self.view_type(
            self.identity, self.keys, self.session, ctx.members, self.quorum, window
        )
        self.slots = Slots(stored, window)
        self.history = Executed(stored, self.options.checkpoint, self.slots.stable, self.recall)
        self.transfer = StateTransfer(self.f, 4 * window)
        self.backlog = Backlog(self.TRIES)
        self.wanted, self.assigned, self.next = set(), {}, 0
        self.checkpoints = {}
        self.failures = 0
        self.timers = set()
        if stored:
            self._recover(ctx)
        ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)
        self._note_view(ctx)

    def _note_view(self, ctx: Ctx) -> None:
        ctx.note(notes.EnteredView(view=self.view))
        if self.leads(ctx):
            ctx.note(notes.BecameLeader(view=self.view))

    @property
    def view(self) -> int:
        """The number of the view."""
        return self.now.number

    @property
    def active(self) -> bool:
        """Whether we take part in it."""
        return self.now.active

    def leads(self, ctx: Ctx) -> bool:
        """Whether we are the primary of the view that we are in."""
        return ctx.me == self.now.primary(self.view)

    @property
    def executed(self) -> int:
        """The last place that we executed."""
        return self.history.count

    @property
    def stable(self) -> int:
        """The last stable checkpoint (h)."""
        return self.slots.stable

    # --- requests -------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value):
                if self.backlog.add(op, value, own=True):
                    self.watch(ctx)
                    self.propose(ctx)
                    if not self.leads(ctx):
                        ctx.send(self.now.primary(self.view), PbftRequest(op, value))

    def _on_request(self, ctx: Ctx, msg: PbftRequest) -> None:
        self._check_request(msg.op, msg.value, "requested")
        digest = digest_of(msg.op, msg.value)
        if digest in self.wanted:
            self.wanted.discard(digest)
            self.slots.keep_request(ctx, digest, msg)
            for seq in sorted(s for s, d in self.now.chosen.items() if d == digest):
                self.assigned[msg.op] = seq
                if (slot := self.slots.slots.get(seq)) is not None and slot.view == self.view:
                    self._vote(ctx, seq, slot)
        if msg.op and len(self.backlog.pending) < self.OPEN:
            self.backlog.add(msg.op, msg.value)
            self.watch(ctx)
            self.propose(ctx)

    def _check_request(self, op: str, value: bytes, did: str) -> None:
        """External validity. A null request has no value: its digest would not cover it."""
        if (op and not self.fits(op, value)) or (value and not op):
            raise PeerFault(f"{did} an invalid value of {op!r}")

    def propose(self, ctx: Ctx) -> None:
        """§4.2: the primary gives pending requests the next places, while the window is open."""
        if not (self.active and self.leads(ctx)):
            return
        for op, value in list(self.backlog.pending.items()):
            if op in self.assigned:
                continue
            # A primary that slept may have executed, and collected, more than it ever proposed.
            seq = max(self.next, self.stable, self.executed) + 1
            if (slot := self.slots.at(seq)) is None:
                return  # §4.3: H is reached; a checkpoint will move it
            self.next = seq
            self.assigned[op] = seq
            digest = digest_of(op, value)
            self.slots.keep_request(ctx, digest, PbftRequest(op, value))
            # Stored before it is said: after a crash no second request is given this place.
            self._accept(ctx, seq, slot, digest)
            ctx.broadcast(PbftPrePrepare(self.view, seq, op, value))

    # --- the three phases, §4.2 -------------------------------------------------------------

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: PbftPrepare
        | PbftCommit
        | PbftPrePrepare
        | PbftRequest
        | PbftCheckpoint
        | PbftViewChange
        | PbftNewView
        | PbftStatus
        | PbftExecuted,
    ) -> None:
        match msg:
            case PbftCommit():  # nearly all are votes: keep their path short
                self._on_vote(ctx, sender, msg.view, msg.seq, msg.digest, True)
            case PbftPrepare():
                self._on_vote(ctx, sender, msg.view, msg.seq, msg.digest, False)
            case PbftPrePrepare():
                self._on_pre_prepare(ctx, sender, msg)
            case PbftRequest():
                self._on_request(ctx, msg)
            case PbftCheckpoint(seq, digest):
                self._on_checkpoint(ctx, sender, seq, digest)
            case PbftViewChange():
                self._on_view_change(ctx, sender, msg)
            case PbftNewView():
                self._on_new_view(ctx, msg)
            case PbftStatus():
                self._on_status(ctx, sender, msg)
            case PbftExecuted():
                self._on_executed(ctx, sender, msg)
        self.backlog.hear(sender)

    def _on_pre_prepare(self, ctx: Ctx, sender: Party, msg: PbftPrePrepare) -> None:
        # §4.2: a backup accepts it provided that it is in view v, …
        if msg.view != self.view or not self.active:
            return
        if sender != self.now.primary(msg.view):
            raise PeerFault(f"proposed in view {msg.view}, which another party leads")
        self._check_request(msg.op, msg.value, "proposed")
        digest = digest_of(msg.op, msg.value)
        # … in a new view: what is proposed again is what the VIEW-CHANGEs chose (§4.4), …
        if msg.seq <= self.now.last_chosen and self.now.chosen.get(msg.seq) != digest:
            raise PeerFault(f"proposed at place {msg.seq} against its own new view {msg.view}")
        # … the sequence number is between the watermarks h and H, …
        if (slot := self.slots.at(msg.seq)) is None:
            self._see(ctx, sender, msg.seq)
            return
        # … and it has not accepted another for the same view and sequence number.
        if slot.view == msg.view and slot.digest != digest:
            where = f"place {msg.seq} of view {msg.view}"
            raise PeerFault(f"proposed two operations at {where}: it lies, or lost its store")
        self.wanted.discard(digest)
        news = digest not in self.slots.requests
        self.slots.keep_request(ctx, digest, PbftRequest(msg.op, msg.value))
        if msg.op:
            self.backlog.add(msg.op, msg.value)
        if slot.view < msg.view:
            self._accept(ctx, msg.seq, slot, digest)
        elif news:
            self._vote(ctx, msg.seq, slot)
        self.watch(ctx)

    def _accept(self, ctx: Ctx, seq: int, slot: Slot, digest: bytes) -> None:
        """Pre-prepared in this view: stored (Q), then said."""
        self.slots.accept(ctx, self.view, seq, digest)
        self._vote(ctx, seq, slot)

    def _vote(self, ctx: Ctx, seq: int, slot: Slot) -> None:
        """§4.2: enter the prepare phase, once the request itself is here."""
        if slot.digest in self.slots.requests:
            if not self.leads(ctx):
                ctx.broadcast(PbftPrepare(self.view, seq, slot.digest))
            self._advance(ctx, seq, slot)

    def _on_vote(
        self, ctx: Ctx, sender: Party, view: int, seq: int, digest: bytes, is_commit: bool
    ) -> None:
        # §4.2: accepted if its view is the replica's current view. That of a view ahead is kept
        # until its NEW-VIEW comes; that of an earlier one certifies nothing any more.
        if not self.view <= view <= self.view + self.options.window:
            return
        slot = self.slots.slots.get(seq) or self.slots.at(seq)
        if slot is None:
            self._see(ctx, sender, seq)
            return
        by_view = slot.commits if is_commit else slot.prepares
        tally = by_view.get(view)
        if tally is None:
            tally = by_view[view] = Tally()
        if not tally.add(sender, digest):
            raise PeerFault(f"voted for two requests at place {seq} of view {view}")
        if len(tally.said) == self.f + 1:
            for party in tally.said:
                self.transfer.see(party, seq)
            self.watch(ctx)
        if self.quorum - 1 <= tally.support[digest] <= self.quorum:
            self._advance(ctx, seq, slot)

    def _advance(self, ctx: Ctx, seq: int, slot: Slot) -> None:
        view, digest = slot.view, slot.digest
        # A slot's certificates belong to one view: the one that we are in and have not left.
        # (`pbft_views` tells what happens otherwise.)
        if view != self.view or not self.active:
            return
        if not slot.is_prepared and (prepares := slot.prepares.get(view)) is not None:
            # §4.2: the pre-prepare and q − 1 matching PREPAREs from different *backups*
            primary = self.now.primary(view)
            votes = prepares.count(digest) - (prepares.said.get(primary) == digest)
            if votes >= self.quorum - 1 and digest in self.slots.requests:
                self.slots.prepare(ctx, seq, slot)  # stored (P), then said
                op = self.slots.requests[digest].op
                ctx.note(notes.Phase(phase="prepared", op=op, view=view))
                ctx.broadcast(PbftCommit(view, seq, digest))
        commits = slot.commits.get(view)
        if slot.is_prepared and commits is not None and commits.count(digest) >= self.quorum:
            slot.committed = digest  # committed-local: prepared, and q COMMITs
            self._execute_ready(ctx)

    def _execute_ready(self, ctx: Ctx) -> None:
        """§4.2: execute what is committed, after all with lower numbers."""
        slots, begun = self.slots, self.executed
        while (slot := slots.slots.get(self.executed + 1)) is not None:
            if slot.committed is None or slot.committed not in slots.requests:
                break
            self._execute(ctx, slots.requests[slot.committed])
        if self.executed > begun:
            self.transfer.forget(self.executed)
            self.propose(ctx)
            if self.active and self.backlog.overtaken() > self.OVERTAKEN:
                # Thesis §2.3.5: a primary may not starve one request by ordering others for ever.
                self._leave_for(ctx, self.view + 1)

    def _execute(self, ctx: Ctx, request: PbftRequest) -> None:
        self.history.add(ctx, request)
        seq = self.executed
        self.assigned.pop(request.op, None)
        self.backlog.decide(ctx, request.op, request.value)
        self.failures = 0
        self._stop(ctx, "progress")
        self.watch(ctx)
        if seq in self.history.checkpoints:
            ctx.broadcast(PbftCheckpoint(seq, self.history.digest))

    # --- checkpoints and garbage, §4.3 ----------------------------------------------------

    def _on_checkpoint(self, ctx: Ctx, sender: Party, seq: int, digest: bytes) -> None:
        reach = self.executed + 4 * self.options.window
        if seq % self.options.checkpoint or not self.stable < seq <= reach:
            self._see(ctx, sender, seq)
            return
        tally = self.checkpoints.setdefault(seq, Tally())
        if not tally.add(sender, digest):
            raise PeerFault(f"has two histories at checkpoint {seq}")
        self._see(ctx, sender, seq)
        self._collect_reached(ctx)

    def _collect_reached(self, ctx: Ctx) -> None:
        """§4.3: q CHECKPOINTs with one digest prove it stable; we collect what we have reached.
        So does the start of a view: f + 1 vouch for it, and q can begin from it."""
        start = self.now.start
        for seq, digest in sorted(self.history.checkpoints.items(), reverse=True):
            tally = self.checkpoints.get(seq)
            is_stable = tally is not None and tally.count(digest) >= self.quorum
            if seq > self.stable and (is_stable or (seq, digest) == (start.seq, start.digest)):
                self._collect(ctx, seq)
                return

    def _collect(self, ctx: Ctx, seq: int) -> None:
        """Checkpoint `seq` is stable: forget how we came there, and move the window."""
        self.slots.collect(ctx, seq)
        self.history.collect(seq)
        self.checkpoints = {s: t for s, t in self.checkpoints.items() if s > seq}
        self._take_chosen(ctx)
        self.propose(ctx)

    def _see(self, ctx: Ctx, sender: Party, seq: int) -> None:
        """`sender` works at place `seq`: when f + 1 are ahead of us, we ask what we missed."""
        self.transfer.see(sender, seq)
        self.watch(ctx)

    # --- view change, §4.4 ------------------------------------------------------------------

    def _leave_for(self, ctx: Ctx, view: int) -> None:
        """Stop taking part in the current view, and tell what we know of it."""
        self.failures += 1
        self.wanted.clear()
        # §4.4: h, C, P and Q; then the messages of the views before are removed from the log.
        change = self.now.leave(
            ctx, view, self.stable, self.history.ids(),
            self.slots.prepared(), self.slots.accepted(),
        )  # fmt: skip
        self.slots.leave(view)
        ctx.note(notes.Phase(phase="view-change", view=view))
        self._stop(ctx, "progress")
        ctx.broadcast(change)
        self.watch(ctx)

    def _on_view_change(self, ctx: Ctx, sender: Party, msg: PbftViewChange) -> None:
        if not self.now.hear(sender, msg):
            self._show_view(ctx, sender)
            return
        if (view := self.now.to_join()) is not None:
            self._leave_for(ctx, view)  # even if our timer has not expired
        if not self.active and self.leads(ctx):
            if (begun := self.now.propose(ctx)) is not None:
                ctx.broadcast(begun)
        self.watch(ctx)

    def _on_new_view(self, ctx: Ctx, msg: PbftNewView) -> None:
        if not self.now.enter(ctx, msg):
            return
        start = self.now.start
        self.slots.leave(self.view)
        self._note_view(ctx)
        self.assigned.clear()
        self.wanted.clear()
        self.next = self.now.last_chosen
        self._collect_reached(ctx)
        self._take_chosen(ctx)
        if self.wanted or self.executed < start.seq:
            ctx.multicast(ctx.others, self._status())
        self._stop(ctx, "progress")
        if not self.leads(ctx):
            for op in sorted(self.backlog.own):
                request = PbftRequest(op, self.backlog.pending[op])
                ctx.send(self.now.primary(self.view), request)
        self.watch(ctx)
        self.propose(ctx)

    def _take_chosen(self, ctx: Ctx) -> None:
        """§4.4: pre-prepared is what the new view chose, as far as the window reaches."""
        for seq, digest in sorted(self.now.chosen.items()):
            slot = self.slots.at(seq)
            if slot is None or slot.view >= self.view or not self.active:
                continue
            if digest not in self.slots.requests:
                for op, value in self.backlog.pending.items():
                    if digest_of(op, value) == digest:
                        self.slots.keep_request(ctx, digest, PbftRequest(op, value))
            if digest not in self.slots.requests:
                self.wanted.add(digest)
            else:
                self.assigned[self.slots.requests[digest].op] = seq
            self._accept(ctx, seq, slot, digest)

    # --- what was lost, thesis §5.2 ---------------------------------------------------------

    def _status(self) -> PbftStatus:
        wanted = tuple(sorted(self.wanted))
        return PbftStatus(self.view, self.active, self.stable, self.executed, wanted)

    def _on_status(self, ctx: Ctx, sender: Party, msg: PbftStatus) -> None:
        """Say again to `sender` what it missed: word for word what was said before."""
        if sender == ctx.me:
            return
        if msg.executed < self.executed:
            ctx.send(sender, page(self.history, msg.executed + 1))
        for seq, digest in sorted(self.history.checkpoints.items()):
            if seq > msg.stable:
                ctx.send(sender, PbftCheckpoint(seq, digest))
        if (msg.view, msg.active) < (self.view, self.active):
            self._show_view(ctx, sender)
        for digest in msg.wanted:
            if (held := self.slots.requests.get(digest)) is not None:
                ctx.send(sender, held)
        if msg.view == self.view and self.active and msg.active:
            for seq, slot in sorted(self.slots.slots.items()):
                if seq > msg.executed and slot.view == self.view:
                    self._repeat(ctx, sender, seq, slot)

    def _repeat(self, ctx: Ctx, to: Party, seq: int, slot: Slot) -> None:
        """Say again what we said of one place in this view."""
        if (request := self.slots.requests.get(slot.digest)) is None:
            return
        if self.leads(ctx):
            ctx.send(to, PbftPrePrepare(self.view, seq, request.op, request.value))
        else:
            ctx.send(to, PbftPrepare(self.view, seq, slot.digest))
        if slot.is_prepared:
            ctx.send(to, PbftCommit(self.view, seq, slot.digest))

    def _show_view(self, ctx: Ctx, to: Party) -> None:
        """Show how our view began; or, while it has not, that we left for it."""
        shown = self.now.new_view if self.active else self.now.my_change
        if shown is not None and to != ctx.me:
            ctx.send(to, shown)

    def _on_executed(self, ctx: Ctx, sender: Party, msg: PbftExecuted) -> None:
        for request in msg.requests:
            if request.value and not request.op:
                raise PeerFault("says that it executed a null request with a value")
        begun, goal = self.executed, self.now.start
        self.transfer.hear(sender, msg, begun)
        while (agreed := self.transfer.next(self.executed)) is not None:
            self._execute(ctx, agreed)  # one honest party executed it there
        if self.executed < goal.seq:
            for request in self.transfer.leading_to(goal, self.executed, self.history.digest):
                self._execute(ctx, request)
        if self.executed > begun:
            ctx.note(notes.CaughtUp(records=self.executed - begun, source=sender))
            self.backlog.renew()
            self._collect_reached(ctx)
            self._execute_ready(ctx)
            self.transfer.forget(self.executed)
            ctx.multicast(ctx.others, self._status())
        self.watch(ctx)

    def _retransmit(self, ctx: Ctx) -> None:
        """Something is open and does not come forward: say again what may have been lost."""
        # §4.1: the primary did not answer, so the request goes to everybody
        for op in sorted(self.backlog.own):
            ctx.multicast(ctx.others, PbftRequest(op, self.backlog.pending[op]))
        ctx.multicast(ctx.others, self._status())
        if self.now.my_change is not None:
            ctx.multicast(ctx.others, self.now.my_change)
        self.backlog.attempt(ctx, f"view {self.view} has no quorum of {self.quorum}")

    # --- timers -----------------------------------------------------------------------------

    def watch(self, ctx: Ctx) -> None:
        """Something is open: the primary must end it in time, and we ask for what we miss."""
        # §4.5.2: a replica that left waits for a quorum to come along, then for the NEW-VIEW
        due = bool(self.backlog.pending) if self.active else self.now.is_awaited
        if due and "progress" not in self.timers:
            self._arm(ctx, "progress", self.patience << min(self.failures, 8))
        if "retransmit" not in self.timers and self._lacks_something():
            self._arm(ctx, "retransmit", self.patience // 2)

    def _lacks_something(self) -> bool:
        return (
            bool(self.backlog.pending)
            or not self.active
            or self.executed < max(self.transfer.highest, self.now.start.seq)
            or self.executed >= self.stable + 2 * self.options.checkpoint
        )

    def _arm(self, ctx: Ctx, timer: str, delay: int) -> None:
        self.timers.add(timer)
        hopeless = self.backlog.is_hopeless
        # Who waits for an operation waits for it also where gossip led us here.
        alive = bool(self.backlog.pending) and not hopeless
        ctx.set_timer(timer, delay, background=hopeless, foreground=alive)

    def _stop(self, ctx: Ctx, timer: str) -> None:
        if timer in self.timers:
            self.timers.discard(timer)
            ctx.cancel_timer(timer)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        self.timers.discard(name)
        match name:
            case "gossip":
                ctx.multicast(ctx.rng.sample(ctx.others, self.f + 1), self._status())
                ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)
            case "retransmit" if self._lacks_something():
                self._retransmit(ctx)
            case "progress" if self.active and self.backlog.pending:
                self._leave_for(ctx, self.view + 1)
            case "progress" if not self.active and self.now.is_awaited:
                # §4.5.2: alone we do not run ahead; a quorum came here and its primary failed
                self._leave_for(ctx, self.view + 1)
        self.watch(ctx)

    # --- after a crash ----------------------------------------------------------------------

    def _recover(self, ctx: Ctx) -> None:
        """Go on from what we stored: never say anything that contradicts an earlier life."""
        stored = ctx.stored
        self.slots.sweep(ctx)
        for request in self.history.between(1, self.executed):
            self.backlog.decide(ctx, request.op, request.value)
        self.now.recover(stored)
        self.next = self.now.last_chosen
        current = [
            (seq, slot)
            for seq, slot in sorted(self.slots.slots.items())
            if slot.view == self.view and slot.digest in self.slots.requests and self.active
        ]
        for seq, slot in current:
            request = self.slots.requests[slot.digest]
            self.next = max(self.next, seq)
            self.assigned[request.op] = seq
            if request.op:
                self.backlog.add(request.op, request.value)
        ctx.multicast(ctx.others, self._status())
        if self.now.my_change is not None:
            ctx.broadcast(self.now.my_change)
        for seq, slot in current:  # what we may have said is said again
            if not self.leads(ctx):
                ctx.broadcast(PbftPrepare(self.view, seq, slot.digest))
            if slot.prepared == (slot.view, slot.digest):
                slot.is_prepared = True
                ctx.broadcast(PbftCommit(self.view, seq, slot.digest))
        self._take_chosen(ctx)
        self.watch(ctx)

    # --- lies, for adversaries alone --------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """A request's other value, and in votes its digest; what was prepared is denied, or what
        was not is claimed, and signed; a new view begins with that."""
        match msg:
            case PbftViewChange():
                return self.now.variant(msg)
            case PbftNewView():
                return self.now.other_beginning(msg)
            case PbftExecuted(first, requests, executed) if requests:
                one = requests[0]
                other = PbftRequest(one.op, values[one.value]) if one.value in values else _NOTHING
                return PbftExecuted(first, (other, *requests[1:]), executed)
        others = dict(values)
        for request in self.slots.requests.values():
            if request.value in values:
                digest = digest_of(request.op, values[request.value])
                others[digest_of(request.op, request.value)] = digest
        return with_values(msg, others) or super().variant(msg, values)

    def resigned(self, msg: Message) -> Message:
        return self.now.resigned(msg)
