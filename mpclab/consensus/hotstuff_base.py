"""The base of basic and chained HotStuff: blocks, quorum certificates, the pacemaker, execution.

M. Yin, D. Malkhi, M. K. Reiter, G. Golan Gueta and I. Abraham, "HotStuff: BFT consensus with
linearity and responsiveness", PODC 2019 (arXiv 1803.05069: the sections and algorithms below).

* Assumes: n > 3f, at most f Byzantine, authenticated links, unforgeable signatures. Safety needs
  no timing; progress needs partial synchrony. An honest party's store outlives a crash.
* A **quorum certificate** is n − f Ed25519 signatures on (phase, view, block). It is as long as
  a quorum: the paper's threshold signature would be short, with the same meaning.
* The **pacemaker** keeps honest parties in one view. The paper leaves it open (§6). Ours: who
  times out broadcasts `Wish`; f + 1 wishes are joined, n − f are followed; timeouts double.
  Quadratic, but only where something failed (compare Bravo, Chockler and Gotsman, "Making
  Byzantine consensus live", DISC 2020).

How a party that missed blocks catches up is in `hotstuff_blocks`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import Agreement, Submit, flipped
from mpclab.consensus.backlog import Backlog
from mpclab.consensus.hotstuff_blocks import BlockFetch, BlockTree
from mpclab.consensus.hotstuff_messages import (
    QC,
    ROOT,
    Block,
    HotStuffBlocks,
    HotStuffFetch,
    HotStuffNewView,
    HotStuffProof,
    HotStuffRequest,
    HotStuffStatus,
    HotStuffVote,
    HotStuffWish,
    digest_of,
)
from mpclab.consensus.quorum import at_least, max_faulty, signed_by
from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

_encode = msgspec.msgpack.encode
_VOTE = "mpclab hotstuff vote"


class Kept(msgspec.Struct, frozen=True):
    """The state that a party stores: `HotStuffBase` says what each is."""

    view: int
    voted: tuple[int, int]
    proposed_in: int
    high: QC
    locked: QC
    proof: QC
    tip: bytes


class HotStuffBase(Agreement):
    """Everything but the phases. Subclasses handle proposals and certificates."""

    orders = True
    archives = frozenset({"block", "old"})

    PHASES: ClassVar[tuple[str, ...]] = ()
    unvaried: ClassVar[tuple[type[Message], ...]] = (HotStuffProof, HotStuffFetch, HotStuffBlocks)
    OPEN: ClassVar = 256
    """Undecided operations that we keep for others."""
    GOSSIP: ClassVar = 5
    """Patiences between asking a few others whether we missed anything."""
    TRIES: ClassVar = 8
    """Timeouts without progress before we count an operation as blocked."""

    members: frozenset[Party]
    f: int
    quorum: int
    """n − f."""
    genesis: QC
    """The certificate of the root; nobody has to vote for it."""

    # --- stored: what we must never contradict ---
    view: int
    high: QC
    """The highest certificate of the first phase: what a leader must extend."""
    locked: QC
    """The certificate that we vote against only when shown a newer one."""
    proof: QC
    """The certificate on which we executed up to the tip."""
    voted: tuple[int, int]
    """The last view and phase, counted from 1, in which we voted."""
    proposed_in: int
    """The last view in which we proposed. Stored: a leader that comes back in the middle of its
    view must not propose another block in it."""
    tree: BlockTree

    # --- what is open ---
    fetch: BlockFetch
    backlog: Backlog

    # --- the pacemaker ---
    new_views: dict[int, dict[Party, QC]]
    """By view: the highest certificates of those who are in it, to us as its leader."""
    first: tuple[int, bytes]
    """The latest view in which we kept a proposed block, and that block."""
    wishes: dict[Party, int]
    """The highest view that each party wished for."""
    wish: int
    failures: int
    """Timeouts in a row: the next one waits twice as long."""
    timing: bool
    """The view's timers are set."""
    last_sent: dict[str, tuple[tuple[Party, ...], Message]]
    """The last message of each kind that must arrive, and to whom: lost ones are sent again."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def start(self, ctx: Ctx) -> None:
        self.members = frozenset(ctx.members)
        self.f = max_faulty(ctx.n)
        self.quorum = ctx.n - self.f
        self.genesis = QC(self.PHASES[0], 0, ROOT, ())
        self.view, self.voted, self.proposed_in = 0, (0, 0), 0
        self.high = self.locked = self.proof = self.genesis
        self.tree = BlockTree(self.recall)
        self.fetch = BlockFetch(self.tree, self.patience)
        self.backlog = Backlog(self.TRIES)
        self.new_views, self.wishes, self.wish = {}, {}, 0
        self.failures = 0
        self.timing = False
        self.first = 0, ROOT
        self.last_sent = {}
        self._recover(ctx)
        ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)

    # --- for the subclass -----------------------------------------------------------------

    def leader(self, ctx: Ctx, view: int) -> Party:
        raise NotImplementedError

    def next_try(self, view: int) -> int:
        """The view to wish for when `view` failed."""
        return view + 1

    def entered(self, ctx: Ctx) -> None:
        """We are in a new view."""

    def propose(self, ctx: Ctx) -> None:
        """If we lead, and know enough, and there is something to do: do it."""
        raise NotImplementedError

    def learn(self, ctx: Ctx, source: Party, qc: QC) -> None:
        """A valid certificate, from `source`, that may prove something to be decided."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether something is on its way that a failed leader would hold up."""
        return bool(self.backlog.pending) or self.fetch.urgent

    # --- requests -------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value):
                known = op in self.backlog.pending  # somebody has handed it in already
                if self.backlog.add(op, value, own=True):
                    if not known:
                        self.hand_in(ctx, op)
                    self.watch(ctx)
                    self.propose(ctx)

    def hand_in(self, ctx: Ctx, op: str) -> None:
        """Give our operation to the party that proposes now."""
        self.hand_to_leader(ctx, op)

    def hand_to_leader(self, ctx: Ctx, op: str) -> None:
        if (leader := self.leader(ctx, self.view)) != ctx.me:
            ctx.send(leader, HotStuffRequest(op, self.backlog.pending[op]))

    def oldest_request(self) -> str | None:
        """Our own oldest open operation. It alone is said again: the others have their turn when
        it is decided, so that what is said of each does not grow with the backlog."""
        return next((op for op in self.backlog.pending if op in self.backlog.own), None)

    def on_request(self, ctx: Ctx, op: str, value: bytes) -> None:
        if not op or not self.fits(op, value):
            raise PeerFault(f"requested a value of {op!r} that is not valid")
        if len(self.backlog.pending) < self.OPEN and self.backlog.add(op, value):
            self.watch(ctx)
            self.propose(ctx)

    def next_block(self, parent: bytes) -> Block | None:
        """The block to propose upon `parent`: an operation that its branch lacks, an empty
        block if the branch has something to be decided, else nothing."""
        if self.tree.missing(parent) is not None:
            return None
        branch = {block.op for _, block in self.tree.branch(parent)}
        for op, value in self.backlog.pending.items():
            if op not in branch:
                return Block(self.view, parent, op, value)
        return Block(self.view, parent, "", b"") if any(branch) else None

    # --- votes and certificates -----------------------------------------------------------

    def vote(self, ctx: Ctx, to: Party, phase: str, block: bytes) -> None:
        """Vote once in each phase of each view: stored, then sent."""
        rank = (self.view, self.PHASES.index(phase) + 1)
        if rank <= self.voted:
            return
        self.voted = rank
        self.keep(ctx)
        self.say(ctx, (to,), self._signed(phase, self.view, block))

    def _signed(self, phase: str, view: int, block: bytes) -> HotStuffVote:
        signature = self.identity.sign(_VOTE, self.session, phase, view, block)
        return HotStuffVote(phase, view, block, signature)

    def check_vote(self, sender: Party, vote: HotStuffVote) -> bool:
        """Whether its voter signed it; False too when we do not know the voter's key yet.

        The phase is part of what is signed. A vote for a phase that this protocol does not have
        would make a certificate void that counts it, so no honest party casts one.

        Raises:
            PeerFault: it is wrong.
        """
        if vote.phase not in self.PHASES:
            raise PeerFault(f"voted in phase {vote.phase!r}, which does not exist")
        if sender not in self.keys:
            return False
        parts = (self.session, vote.phase, vote.view, vote.block)
        if not signed_by(self.keys[sender], _VOTE, parts, vote.signature):
            raise PeerFault("voted with a wrong signature")
        return True

    def check_qc(self, qc: QC) -> bool:
        """A certificate is n − f signatures of different parties; genesis needs none.

        False when we cannot tell, since we do not know a voter's key yet.

        Raises:
            PeerFault: it is wrong.
        """
        if qc == self.genesis:
            return True
        parts = (self.session, qc.phase, qc.view, qc.block)
        parties = {p for p, _ in qc.votes}
        if (
            qc.phase not in self.PHASES
            or len(parties) != len(qc.votes)
            or len(parties) < self.quorum
            or not parties <= self.members
            or not all(
                signed_by(self.keys[p], _VOTE, parts, s) for p, s in qc.votes if p in self.keys
            )
        ):
            raise PeerFault("invalid quorum certificate")
        return parties <= self.keys.keys()

    # --- the pacemaker ----------------------------------------------------------------------

    def enter(self, ctx: Ctx, view: int, *, tell: bool = True) -> None:
        """Go to a later view; `tell` its leader."""
        if view <= self.view:
            return
        self.view = view
        self.keep(ctx)
        self.new_views = {v: m for v, m in self.new_views.items() if v >= view}
        ctx.note(notes.EnteredView(view=view))
        leader = self.leader(ctx, view)
        if leader == ctx.me:
            ctx.note(notes.BecameLeader(view=view))
        self.unwatch(ctx)
        self.entered(ctx)
        if tell:
            self.say(ctx, (leader,), HotStuffNewView(view, self.high))
        self.watch(ctx)

    def take_new_view(self, ctx: Ctx, sender: Party, view: int, high: QC) -> None:
        # Alg. 2, line 36: a NEW-VIEW carries a certificate of the first phase. With another one
        # its receiver would propose what nobody can accept.
        if high.view > view or high.phase != self.PHASES[0]:
            raise PeerFault("NEW-VIEW with a certificate of the future or of another phase")
        if not self.check_qc(high) or view < self.view or self.leader(ctx, view) != ctx.me:
            return
        if any(sender in m for v, m in self.new_views.items() if v > view):
            return  # it has gone on; one word of each party is kept
        for other in [v for v, m in self.new_views.items() if sender in m and v < view]:
            del self.new_views[other][sender]
        self.new_views.setdefault(view, {})[sender] = high
        self.propose(ctx)

    def take_wish(self, ctx: Ctx, sender: Party, view: int) -> None:
        self.wishes[sender] = max(view, self.wishes.get(sender, 0))
        ranked = sorted(self.wishes.values(), reverse=True)
        if len(ranked) > self.f and ranked[self.f] > max(self.wish, self.view):
            self._wish_for(ctx, ranked[self.f])  # an honest party wishes it
        if len(ranked) >= self.quorum and ranked[self.quorum - 1] > self.view:
            self.enter(ctx, ranked[self.quorum - 1])

    def _wish_for(self, ctx: Ctx, view: int) -> None:
        self.wish = view
        self.say(ctx, ctx.members, HotStuffWish(view))

    def watch(self, ctx: Ctx) -> None:
        """While something is open, the view must end in time."""
        if self.busy and not self.timing:
            self.timing = True
            delay = 2 * self.patience << min(self.failures, 8)
            hopeless = self.backlog.is_hopeless
            # Who waits for an operation waits for it also where gossip brought us into the view.
            alive = bool(self.backlog.pending) and not hopeless
            ctx.set_timer("view", delay, background=hopeless, foreground=alive)
            ctx.set_timer("again", self.patience, background=hopeless)

    def unwatch(self, ctx: Ctx) -> None:
        self.timing = False
        ctx.cancel_timer("view")
        ctx.cancel_timer("again")

    def say(self, ctx: Ctx, to: tuple[Party, ...], msg: Message) -> None:
        """Send, and remember the last of its kind, in case it is lost."""
        self.last_sent[type(msg).__name__] = (to, msg)
        ctx.multicast(to, msg)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "gossip":
                ctx.multicast(
                    ctx.rng.sample(ctx.others, self.f + 1), HotStuffStatus(self.tree.height)
                )
                ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)
            case "fetch":
                self.fetch.again(ctx)
            case "again":
                for to, msg in self.last_sent.values():
                    ctx.multicast([p for p in to if p != ctx.me], msg)
                ctx.multicast(ctx.others, HotStuffStatus(self.tree.height))
                ctx.set_timer("again", self.patience, background=self.backlog.is_hopeless)
            case _:
                self.unwatch(ctx)
                if self.busy:
                    self._time_out(ctx)
                    self.watch(ctx)

    def _time_out(self, ctx: Ctx) -> None:
        """The view has not ended in time: all are asked to leave it."""
        self.failures += 1
        if (op := self.oldest_request()) is not None:  # so that all wait for it
            ctx.multicast(ctx.others, HotStuffRequest(op, self.backlog.pending[op]))
        self._wish_for(ctx, max(self.wish, self.next_try(self.view)))
        self.backlog.attempt(ctx, f"view {self.view} has no quorum of {self.quorum}")

    # --- executing ----------------------------------------------------------------------------

    def execute(self, ctx: Ctx, source: Party, target: bytes, proof: QC) -> None:
        """Execute all up to `target`, which `proof` decides; fetch what is missing first."""
        if target in self.tree.executed:
            return
        if self.tree.missing(target) is not None:
            self.aim(ctx, source, proof)
            return
        branch = self.tree.branch(target)
        if branch[-1][1].parent != self.tree.tip:
            # More than f must have lied. Not who passed the certificate on: it is genuine.
            ctx.blame(None, "certificate contradicts a decided value", Strength.SOMEONE)
            return
        self.fetch.done(ctx)
        self.proof = proof
        self.tree.tip = target
        self.failures = 0
        self.keep(ctx)
        for digest, block in reversed(branch):
            self._run(ctx, digest, block)
        for digest in self.tree.prune():
            ctx.persist(f"block/{digest.hex()}", None)

    def _run(self, ctx: Ctx, digest: bytes, block: Block) -> None:
        for old, without_value in self.tree.execute(digest):
            # The record was stored before this: a crash leaves the one or the other.
            ctx.persist(f"old/{old.hex()}", _encode(without_value))
            ctx.persist(f"block/{old.hex()}", None)
        self.backlog.decide(ctx, block.op, block.value)  # once: a leader may propose one twice

    def aim(self, ctx: Ctx, source: Party, qc: QC) -> None:
        """Fetch what is missing before the block of `qc`, which `source` holds."""
        if self.tree.is_past(qc.view):
            return  # what it certifies is executed, or never will be

        def rank(of: QC) -> tuple[bool, bool, int]:
            return (of.view > self.tree.height, self.decides(of), of.view)

        goal = self.fetch.goal
        if goal is None or rank(qc) > rank(goal):
            self.fetch.goal = qc
        self.fetch.want(ctx, source)
        self.watch(ctx)

    def decides(self, qc: QC) -> bool:
        """Whether a certificate of this phase decides something by itself."""
        return qc.phase == self.PHASES[-1]

    def take_others(self, ctx: Ctx, sender: Party, msg: Message) -> None:
        """Messages that have nothing to do with phases."""
        match msg:
            case HotStuffRequest(op, value):
                self.on_request(ctx, op, value)
            case HotStuffNewView(view, high):
                self.take_new_view(ctx, sender, view, high)
            case HotStuffWish(view):
                self.take_wish(ctx, sender, view)
            case HotStuffStatus(executed):
                if executed < self.tree.height:
                    ctx.send(sender, HotStuffProof(self.proof))
            case HotStuffProof(qc):
                if self.check_qc(qc):
                    self.learn(ctx, sender, qc)
            case HotStuffFetch(block):
                if page := self.tree.page(block):
                    ctx.send(sender, HotStuffBlocks(page))
            case HotStuffBlocks(blocks):
                self._take_page(ctx, sender, blocks)

    def _take_page(self, ctx: Ctx, sender: Party, blocks: tuple[Block, ...]) -> None:
        """Add what we asked for; ask for more only when something was added."""
        added = self.fetch.matching(blocks)
        goal = self.fetch.goal
        if not added or goal is None:
            return
        for digest, block in added:
            self.add_block(ctx, digest, block)
        if self.tree.missing(added[-1][1].parent) is not None:
            self.fetch.want(ctx, sender)
        else:
            ctx.note(notes.CaughtUp(records=len(added), source=sender))
            self.learn(ctx, sender, goal)

    # --- the store --------------------------------------------------------------------------

    def add_block(self, ctx: Ctx, digest: bytes, block: Block) -> None:
        if digest not in self.tree.blocks:
            self.tree.add(digest, block)
            ctx.persist(f"block/{digest.hex()}", _encode(block))

    def is_first(self, digest: bytes) -> bool:
        """Whether this is the first block that is proposed to us in this view. A liar that leads it
        may propose any number that nobody votes for; we keep one."""
        if self.first[0] < self.view:
            self.first = self.view, digest
        return self.first[1] == digest

    def keep(self, ctx: Ctx) -> None:
        """Store what we must never contradict: before the message that says it."""
        kept = Kept(
            self.view, self.voted, self.proposed_in, self.high, self.locked, self.proof,
            self.tree.tip,
        )  # fmt: skip
        ctx.persist("state", _encode(kept))

    def _recover(self, ctx: Ctx) -> None:
        data = ctx.stored.get("state")
        if data is None:
            self.enter(ctx, 1)
            return
        kept = msgspec.msgpack.decode(data, type=Kept)
        self.voted, self.proposed_in = kept.voted, kept.proposed_in
        self.high, self.locked, self.proof = kept.high, kept.locked, kept.proof
        self.tree.tip = kept.tip
        for key, value in ctx.stored.items():
            kind, _, name = key.partition("/")
            if kind in ("block", "old"):
                digest = bytes.fromhex(name)
                self.tree.add(digest, msgspec.msgpack.decode(value, type=Block))
                if kind == "old":
                    self.tree.recorded.add(digest)
        for digest, _ in reversed(self.tree.branch(self.tree.tip)):
            if (block := self.tree.whole(digest)) is None:
                raise ValueError(f"the value of block {digest.hex()} is not on record any more")
            self._run(ctx, digest, block)
        self.view = kept.view - 1
        self.enter(ctx, kept.view)
        ctx.multicast(ctx.others, HotStuffStatus(self.tree.height))

    # --- lies -------------------------------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Votes are for another block, and signed; a NEW-VIEW hides what we know."""
        match msg:
            case HotStuffVote(phase, view, digest):
                block = self.tree.blocks.get(digest)
                other = digest_of(other_block(block, values)) if block else flipped(digest)
                return self._signed(phase, view, other)
            case HotStuffNewView(view, high) if high != self.genesis:
                return HotStuffNewView(view, self.genesis)
            case HotStuffWish(view):
                return HotStuffWish(view + 1)
            case HotStuffStatus(executed):
                return HotStuffStatus(executed + 1)
            case HotStuffRequest():
                return super().variant(msg, values)
        return None

    def resigned(self, msg: Message) -> Message:
        if isinstance(msg, HotStuffVote):
            return self._signed(msg.phase, msg.view, msg.block)
        return msg


def other_block(block: Block, values: Mapping[bytes, bytes]) -> Block:
    """A block that its leader could have proposed too: another value of its operation, one without
    the operation, or (where there is none) an empty block of another hash."""
    if block.value in values:
        return msgspec.structs.replace(block, value=values[block.value])
    if block.op:
        return Block(block.view, block.parent, "", b"")
    return Block(block.view, block.parent, "", flipped(block.value))
