"""`pbft`: practical Byzantine fault tolerance. A primary proposes, two rounds of votes decide.

M. Castro and B. Liskov, "Practical Byzantine fault tolerance", OSDI 1999, §4; with authenticated
links instead of signatures as in ACM TOCS 20(4), 2002 (the sections below). The view change is
in `pbft_views`.

* Assumes: n > 3f, at most f parties Byzantine, authenticated links, collision-resistant hashes
  and signatures. Safety needs no timing. Progress needs that delays do not grow faster than the
  timeouts, which double (partial synchrony). What honest parties persist outlives a crash; one
  that loses its store counts among the f.
* Guarantees: one log. No two honest parties decide different operations at one place; what is
  decided is valid; an operation that an honest party submits is decided in the end.

2n(n − 1) messages for an operation that the primary holds (pre-prepare n − 1, prepare (n − 1)²,
commit n(n − 1)), and three delays.

Why q = (n + f)//2 + 1 (2f + 1 when n = 3f + 1): two quorums share an honest party. *Prepared*
(q for one request at one place) means that no other can be prepared there in this view.
*Committed* (q prepared it) means that every later view knows: any q VIEW-CHANGEs contain an
honest party that prepared it.

Deviations: one operation in each place. State is the history itself, so who lags takes each of
its places from f + 1 parties that say the same. Retransmission by `PbftStatus` (thesis §5.2).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from mpclab.consensus import pbft_repair
from mpclab.consensus.agreement import Agreement, Decided, Submit, with_values
from mpclab.consensus.pbft_messages import (
    KeptSlot,
    PbftCheckpoint,
    PbftCommit,
    PbftExecuted,
    PbftPrepare,
    PbftPrePrepare,
    PbftRequest,
    PbftStatus,
    Slot,
    digest_of,
)
from mpclab.consensus.pbft_views import (
    GENESIS,
    NULL,
    CheckpointId,
    Claim,
    PbftNewView,
    PbftViewChange,
    begun_by,
    decide,
    genuine,
    sign,
    sign_new_view,
)
from mpclab.consensus.quorum import Tally, at_least, byzantine_quorum, max_faulty
from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest as hash_of

_encode = msgspec.msgpack.encode


class Pbft(Agreement):
    """One replica."""

    title = "PBFT"

    INTERVAL: ClassVar = 8
    """Places between checkpoints (K)."""
    WINDOW: ClassVar = 16
    """How far beyond the stable checkpoint places may be used (L)."""
    OPEN: ClassVar = 256
    """Undecided operations that we keep for others."""
    GOSSIP: ClassVar = 5
    """Patiences between asking a few others, for no reason, whether we missed anything."""
    TRIES: ClassVar = 12
    """Nudges without progress before we count an operation as blocked."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def quorum_of(self, n: int) -> int:
        return byzantine_quorum(n)

    def start(self, ctx: Ctx) -> None:
        self.f = max_faulty(ctx.n)
        self.quorum = self.quorum_of(ctx.n)
        self.view, self.active = 0, True
        self.slots: dict[int, Slot] = {}
        self.requests: dict[bytes, PbftRequest] = {NULL: PbftRequest("", b"")}  # by digest
        self.pending: dict[str, bytes] = {}  # not yet executed, whoever wants it
        self.mine: set[str] = set()  # our own submits among them
        self.wanted: set[bytes] = set()  # digests of requests that a new view chose and we lack
        self.assigned: dict[str, int] = {}  # as primary, in this view: op → place
        self.next = 0  # the last place that the primary used
        self.stable, self.executed, self.seen = 0, 0, 0
        self.chain = GENESIS  # digest of the history
        self.marks: dict[int, bytes] = {0: GENESIS}  # our checkpoints from `stable` on
        self.checkpoints: dict[int, Tally] = {}
        self.history: list[PbftRequest] = []
        self.done: set[str] = set()
        self.claims: dict[int, Tally] = {}  # what others say they executed, by place
        self.told: dict[bytes, PbftRequest] = {}  # the requests that they say
        self.changes: dict[int, dict[Party, PbftViewChange]] = {}
        self.new_view: PbftNewView | None = None
        self.failures = 0  # view changes since something was executed
        self.tries = 0
        self.heard: set[Party] = set()  # since the last nudge; and since the one before
        self.heard_before: set[Party] = set()
        self.ahead: dict[Party, int] = {}  # the highest place that each has voted at
        self.armed: set[str] = set()
        pbft_repair.recover(self, ctx)
        ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)
        ctx.note(notes.EnteredView(view=self.view))
        if ctx.me == self.primary(ctx, self.view):
            ctx.note(notes.BecameLeader(view=self.view))

    def primary(self, ctx: Ctx, view: int) -> Party:
        return view % ctx.n + 1  # §4.1: p = v mod |R|

    # --- requests -------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value) and op not in self.done:
                self.mine.add(op)
                self._take(ctx, op, value)
                if ctx.me != self.primary(ctx, self.view):
                    ctx.send(self.primary(ctx, self.view), PbftRequest(op, value))

    def _take(self, ctx: Ctx, op: str, value: bytes) -> None:
        """Somebody wants `op`: see that it is decided."""
        self.pending.setdefault(op, value)
        self.watch(ctx)
        self.propose(ctx)

    def propose(self, ctx: Ctx) -> None:
        """§4.1: the primary gives pending requests the next places, while the window is open."""
        if not self.active or ctx.me != self.primary(ctx, self.view):
            return
        for op, value in self.pending.items():
            if op in self.assigned or op in self.done:
                continue
            if self.next >= self.stable + self.WINDOW:
                return
            self.next += 1
            self.assigned[op] = self.next
            slot = self._slot(ctx, self.next)
            assert slot is not None, "inside the window"
            digest = digest_of(op, value)
            self._keep_request(ctx, digest, PbftRequest(op, value))
            self._accept(ctx, self.next, slot, digest)  # stored: no second one is ever said
            ctx.broadcast(PbftPrePrepare(self.view, self.next, op, value))

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
        self.heard.add(sender)
        match msg:
            case PbftCommit():  # nearly all are votes: keep their path short
                self._on_vote(ctx, sender, msg.view, msg.seq, msg.digest, True)
            case PbftPrepare():
                self._on_vote(ctx, sender, msg.view, msg.seq, msg.digest, False)
            case PbftPrePrepare():
                self._on_pre_prepare(ctx, sender, msg)
            case PbftRequest(op, value):
                if not self.fits(op, value) or not op:
                    raise PeerFault(f"requested a value of {op!r} that is not valid")
                if (digest := digest_of(op, value)) in self.wanted:
                    self._keep_request(ctx, digest, msg)
                    for place, slot in sorted(self.slots.items()):
                        if slot.digest == digest and slot.view == self.view:
                            self._accept(ctx, place, slot, digest)
                if op not in self.done and len(self.pending) < self.OPEN:
                    self._take(ctx, op, value)
            case PbftCheckpoint(seq, value):
                self._on_checkpoint(ctx, sender, seq, value)
            case PbftViewChange():
                self._on_view_change(ctx, sender, msg)
            case PbftNewView():
                self._on_new_view(ctx, sender, msg)
            case PbftStatus():
                pbft_repair.on_status(self, ctx, sender, msg)
            case PbftExecuted(first, requests):
                pbft_repair.on_done(self, ctx, sender, first, requests)

    def _on_pre_prepare(self, ctx: Ctx, sender: Party, msg: PbftPrePrepare) -> None:
        if msg.view != self.view or not self.active:
            return
        if sender != self.primary(ctx, msg.view):
            raise PeerFault(f"proposed in view {msg.view}, which another party leads")
        if msg.op and not self.fits(msg.op, msg.value):
            raise PeerFault(f"proposed a value of {msg.op} that is not valid")
        slot = self._slot(ctx, msg.seq)
        if slot is None:
            return
        digest = digest_of(msg.op, msg.value)
        if slot.view == msg.view and slot.digest != digest:
            raise PeerFault(f"proposed two operations at place {msg.seq} of view {msg.view}")
        self._keep_request(ctx, digest, PbftRequest(msg.op, msg.value))
        if msg.op and msg.op not in self.done:
            self.pending.setdefault(msg.op, msg.value)
        if slot.view < msg.view:
            self._accept(ctx, msg.seq, slot, digest)
        self.watch(ctx)

    def _accept(self, ctx: Ctx, seq: int, slot: Slot, digest: bytes) -> None:
        """Pre-prepared: stored, then said."""
        slot.view, slot.digest = self.view, digest
        slot.is_prepared = slot.is_committed = False
        slot.accepted[digest] = self.view
        self._keep_slot(ctx, seq, slot)
        if ctx.me != self.primary(ctx, self.view) and digest in self.requests:
            ctx.broadcast(PbftPrepare(self.view, seq, digest))
        self._advance(ctx, seq, slot)

    def _on_vote(
        self, ctx: Ctx, sender: Party, view: int, seq: int, digest: bytes, is_commit: bool
    ) -> None:
        slot = self.slots.get(seq) or self._slot(ctx, seq)
        if slot is None:
            self._note_ahead(ctx, sender, seq)
            return
        if view < slot.view or view > self.view + self.WINDOW:
            return
        by_view = slot.commits if is_commit else slot.prepares
        tally = by_view.get(view)
        if tally is None:
            tally = by_view[view] = Tally()
        if not tally.add(sender, digest):
            raise PeerFault(f"voted for two requests at place {seq} of view {view}")
        if self.quorum - 1 <= tally.support[digest] <= self.quorum:
            if view == slot.view and not slot.is_committed:
                self._advance(ctx, seq, slot)

    def _advance(self, ctx: Ctx, seq: int, slot: Slot) -> None:
        view, digest = slot.view, slot.digest
        if not slot.is_prepared and (prepares := slot.prepares.get(view)) is not None:
            # §4.2: the pre-prepare and q − 1 matching PREPAREs from different *backups*
            leader = self.primary(ctx, view)
            count = prepares.count(digest) - (prepares.said.get(leader) == digest)
            if count >= self.quorum - 1 and digest in self.requests and self.active:
                slot.is_prepared = True
                slot.prepared = (view, digest)
                self._keep_slot(ctx, seq, slot)
                ctx.note(notes.Phase(phase="prepared", op=self.requests[digest].op, view=view))
                ctx.broadcast(PbftCommit(view, seq, digest))
        commits = slot.commits.get(view)
        if slot.is_prepared and commits is not None and commits.count(digest) >= self.quorum:
            slot.is_committed = True
            self.execute_ready(ctx)

    def execute_ready(self, ctx: Ctx) -> None:
        while (slot := self.slots.get(self.executed + 1)) is not None and slot.is_committed:
            self.execute(ctx, self.requests[slot.digest])
        self.propose(ctx)

    def execute(self, ctx: Ctx, request: PbftRequest) -> None:
        seq = self.executed = self.executed + 1
        self.seen = max(self.seen, seq)
        ctx.persist(f"done/{seq}", _encode(request))
        self.remember(ctx, request)
        self.claims.pop(seq, None)
        self.failures = self.tries = 0
        ctx.cancel_timer("progress")
        self.armed.discard("progress")
        self.watch(ctx)
        if seq % self.INTERVAL == 0:
            self.marks[seq] = self.chain
            ctx.broadcast(PbftCheckpoint(seq, self.chain))

    def remember(self, ctx: Ctx, request: PbftRequest) -> None:
        self.history.append(request)
        self.chain = hash_of("mpclab pbft history", self.chain, request.op, request.value)
        self.pending.pop(request.op, None)
        self.mine.discard(request.op)
        if request.op and request.op not in self.done:  # a primary may place one twice
            self.done.add(request.op)
            place = len(self.done) - 1
            ctx.note(notes.Decided(op=request.op, index=place))
            ctx.output(Decided(request.op, request.value, place))

    # --- checkpoints and garbage, §4.3 ----------------------------------------------------

    def _on_checkpoint(self, ctx: Ctx, sender: Party, seq: int, value: bytes) -> None:
        if seq <= self.stable or seq % self.INTERVAL or seq > self.executed + 64 * self.WINDOW:
            return
        tally = self.checkpoints.setdefault(seq, Tally())
        if not tally.add(sender, value):
            raise PeerFault(f"has two histories at checkpoint {seq}")
        self._note_ahead(ctx, sender, seq)
        if tally.count(value) >= self.quorum and self.marks.get(seq) == value:
            self._collect(ctx, seq)

    def _collect(self, ctx: Ctx, seq: int) -> None:
        """Checkpoint `seq` is stable: forget how we came there."""
        self.stable = seq
        ctx.persist("stable", _encode(seq))
        gone: set[bytes] = set()
        for old in [s for s in self.slots if s <= seq]:
            gone |= self.slots.pop(old).accepted.keys()
            ctx.persist(f"slot/{old}", None)
        for slot in self.slots.values():  # a request may stand at two places
            gone -= slot.accepted.keys()
        for digest in sorted(gone - {NULL}):
            self.requests.pop(digest, None)
            ctx.persist(f"request/{digest.hex()}", None)
        self.marks = {s: d for s, d in self.marks.items() if s >= seq}
        self.checkpoints = {s: t for s, t in self.checkpoints.items() if s > seq}
        self.propose(ctx)

    def _slot(self, ctx: Ctx, seq: int) -> Slot | None:
        """The place `seq`, if it is inside the window."""
        if not self.stable < seq <= self.stable + self.WINDOW:
            return None
        if seq > self.seen:
            self.seen = seq
            self.watch(ctx)
        return self.slots.setdefault(seq, Slot())

    def _note_ahead(self, ctx: Ctx, sender: Party, seq: int) -> None:
        """Somebody works beyond our window: believed when f + 1 do, then we ask what we missed."""
        if seq > self.ahead.get(sender, 0):
            self.ahead[sender] = seq
            if len(self.ahead) > self.f:
                self.seen = max(self.seen, sorted(self.ahead.values())[-self.f - 1])
                self.watch(ctx)

    # --- view change, §4.4 ------------------------------------------------------------------

    def _leave_for(self, ctx: Ctx, view: int) -> None:
        """Stop taking part in the current view, and tell what we know of it."""
        self.view, self.active = view, False
        self.failures += 1
        self._keep_view(ctx)
        ctx.note(notes.Phase(phase="view-change", view=view))
        ctx.broadcast(self.change(ctx))
        self.arm(ctx, "progress", self.patience << min(self.failures, 8))
        self.watch(ctx)

    def change(self, ctx: Ctx) -> PbftViewChange:
        slots = sorted(self.slots.items())
        prepared = tuple(Claim(s, *x.prepared) for s, x in slots if x.prepared is not None)
        accepted = tuple(Claim(s, v, d) for s, x in slots for d, v in sorted(x.accepted.items()))
        marks = tuple(CheckpointId(s, d) for s, d in sorted(self.marks.items()))
        change = PbftViewChange(self.view, ctx.me, self.stable, marks, prepared, accepted)
        return sign(change, self.identity, self.session)

    def _on_view_change(self, ctx: Ctx, sender: Party, msg: PbftViewChange) -> None:
        if sender not in self.keys:
            return  # not introduced yet: we cannot tell
        if msg.party != sender or not self._genuine(msg):
            raise PeerFault("sent a view change that is not its own, or absurd")
        if msg.view < self.view or (msg.view == self.view and self.active):
            pbft_repair.show_view(self, ctx, sender)
            return
        for view in [v for v, of in self.changes.items() if sender in of and v < msg.view]:
            del self.changes[view][sender]  # one of each party: the latest
        self.changes.setdefault(msg.view, {}).setdefault(sender, msg)
        # §4.5.2: f + 1 want to leave, so one honest party does: join the first of them
        ahead = sorted(v for v, of in self.changes.items() for p in of if v > self.view)
        if len(ahead) > self.f:
            self._leave_for(ctx, ahead[0])
        if not self.active and ctx.me == self.primary(ctx, self.view):
            self._begin_view(ctx)

    def _gone(self, view: int) -> int:
        """How many have left for `view` or a later one."""
        return sum(len(of) for v, of in self.changes.items() if v >= view)

    def _begin_view(self, ctx: Ctx) -> None:
        changes = self.changes.get(self.view, {})
        if len(changes) >= self.quorum:
            decision = decide(changes.values(), self.quorum, self.f)
            if decision is not None:
                every = tuple(changes[p] for p in sorted(changes))
                # Before others may know of it: we never begin this view again, in another way,
                # nor propose something new at a place where it has chosen.
                start, chosen = decision
                last = chosen[-1].seq if chosen else start.seq
                ctx.persist("next", _encode((self.view, last)))
                ctx.persist("view", _encode((self.view, True)))
                ctx.broadcast(sign_new_view(self.identity, self.session, self.view, every))

    def _on_new_view(self, ctx: Ctx, sender: Party, msg: PbftNewView) -> None:
        if msg.view < self.view or (msg.view == self.view and self.active):
            return
        leader = self.primary(ctx, msg.view)
        parties = {c.party for c in msg.changes}
        if not parties | {leader} <= set(ctx.members):
            raise PeerFault("showed view changes of parties that are no members")
        if not parties | {leader} <= self.keys.keys():
            return  # not introduced yet: we cannot tell
        if not begun_by(msg, self.keys[leader], self.session):
            raise PeerFault(f"showed a new view {msg.view} that its primary did not sign")
        fair = len(parties) == len(msg.changes) >= self.quorum and all(
            c.view == msg.view and self._genuine(c) for c in msg.changes
        )
        decision = decide(msg.changes, self.quorum, self.f) if fair else None
        if decision is None:
            reason = f"began view {msg.view} without enough view changes"
            raise PeerFault(reason, party=leader, strength=Strength.PROOF)
        self._enter(ctx, msg, *decision)

    def _enter(
        self, ctx: Ctx, msg: PbftNewView, start: CheckpointId, chosen: tuple[CheckpointId, ...]
    ) -> None:
        self.view, self.active, self.new_view = msg.view, True, msg
        self._keep_view(ctx)
        self.changes = {v: of for v, of in self.changes.items() if v > msg.view}
        self.assigned.clear()
        self.next = chosen[-1].seq if chosen else start.seq
        ctx.note(notes.EnteredView(view=self.view))
        if ctx.me == self.primary(ctx, self.view):
            ctx.note(notes.BecameLeader(view=self.view))
        if start.seq > self.stable and self.marks.get(start.seq) == start.digest:
            self._collect(ctx, start.seq)
        for mark in chosen:
            if (slot := self._slot(ctx, mark.seq)) is not None and slot.view < self.view:
                if mark.digest not in self.requests:
                    self.wanted.add(mark.digest)
                else:
                    self.assigned[self.requests[mark.digest].op] = mark.seq
                self._accept(ctx, mark.seq, slot, mark.digest)
        if self.wanted or self.executed < start.seq:
            ctx.multicast(ctx.others, pbft_repair.status(self))
        self.arm(ctx, "progress", self.patience << min(self.failures, 8))
        for op in sorted(self.mine):
            if ctx.me != self.primary(ctx, self.view):
                ctx.send(self.primary(ctx, self.view), PbftRequest(op, self.pending[op]))
        self.watch(ctx)
        self.propose(ctx)

    def _genuine(self, change: PbftViewChange) -> bool:
        return genuine(change, self.keys[change.party], self.session, self.WINDOW)

    # --- what was lost ----------------------------------------------------------------------

    def arm(self, ctx: Ctx, timer: str, delay: int) -> None:
        self.armed.add(timer)
        ctx.set_timer(timer, delay, background=self.tries > self.TRIES)

    def watch(self, ctx: Ctx) -> None:
        """Something is open: the primary must end it in time, and we ask for what we miss."""
        waiting = self.pending or not self.active
        if waiting and "progress" not in self.armed:
            self.arm(ctx, "progress", self.patience << min(self.failures, 8))
        if (waiting or self.seen > self.executed) and "nudge" not in self.armed:
            self.arm(ctx, "nudge", self.patience // 2)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        self.armed.discard(name)
        if name == "gossip":
            ctx.multicast(ctx.rng.sample(ctx.others, self.f + 1), pbft_repair.status(self))
            ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)
        elif name == "nudge":
            pbft_repair.nudge(self, ctx)
        elif self.active and self.pending:
            self._leave_for(ctx, self.view + 1)
        elif not self.active and self._gone(self.view) >= self.quorum:
            # §4.5.2: alone we do not run ahead; a quorum came here and its primary failed
            self._leave_for(ctx, self.view + 1)
        self.watch(ctx)

    # --- the store --------------------------------------------------------------------------

    def _keep_request(self, ctx: Ctx, digest: bytes, request: PbftRequest) -> None:
        self.wanted.discard(digest)
        if digest not in self.requests:
            self.requests[digest] = request
            ctx.persist(f"request/{digest.hex()}", _encode(request))

    def _keep_slot(self, ctx: Ctx, seq: int, slot: Slot) -> None:
        kept = KeptSlot(slot.view, slot.digest, slot.prepared, tuple(slot.accepted.items()))
        ctx.persist(f"slot/{seq}", _encode(kept))

    def _keep_view(self, ctx: Ctx) -> None:
        ctx.persist("view", _encode((self.view, self.active)))

    # --- lies -------------------------------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """A request's other value, and in votes its digest."""
        others = dict(values)
        for request in self.requests.values():
            if request.value in values:
                other = digest_of(request.op, values[request.value])
                others[digest_of(request.op, request.value)] = other
        return with_values(msg, others) or super().variant(msg, values)
