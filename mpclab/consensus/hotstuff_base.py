"""What basic and chained HotStuff share: blocks, quorum certificates, the pacemaker, execution.

M. Yin, D. Malkhi, M. K. Reiter, G. Golan Gueta and I. Abraham, "HotStuff: BFT consensus with
linearity and responsiveness", PODC 2019 (arXiv 1803.05069: the sections and algorithms below).

* Assumes: n > 3f, at most f Byzantine, authenticated links, unforgeable signatures. Safety needs
  no timing; progress needs partial synchrony. What honest parties persist outlives a crash.
* A **quorum certificate** is n − f Ed25519 signatures on (phase, view, block). It is as long as
  a quorum: the paper's threshold signature would be short, with the same meaning.
* The **pacemaker** keeps honest parties in one view. The paper leaves it open (§6). Ours: who
  times out broadcasts `Wish`; f + 1 wishes are joined, n − f are followed; timeouts double.
  Quadratic, but only where something failed (compare Bravo, Chockler and Gotsman, "Making
  Byzantine consensus live", DISC 2020).

A block names its parent by hash, so who has a certified block can take all before it from
anybody: nothing else is needed to catch up.
"""

from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import Agreement, Decided, Submit
from mpclab.consensus.hotstuff_messages import (
    GENESIS,
    QC,
    ROOT,
    Block,
    Blocks,
    Fetch,
    NewView,
    Proof,
    Request,
    Status,
    Vote,
    Wish,
    digest_of,
)
from mpclab.consensus.quorum import at_least, max_faulty, signed_by
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

_encode = msgspec.msgpack.encode
_VOTE = "mpclab hotstuff vote"


class HotStuffBase(Agreement):
    """Everything but the phases. Subclasses handle proposals and certificates."""

    PHASES: ClassVar[tuple[str, ...]] = ()
    PAGE: ClassVar = 32
    """Blocks in one answer, at most."""
    OPEN: ClassVar = 256
    """Undecided operations that we keep for others."""
    GOSSIP: ClassVar = 5
    """Patiences between asking a few others whether we missed anything."""
    TRIES: ClassVar = 8
    """Timeouts without progress before we count an operation as blocked."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def start(self, ctx: Ctx) -> None:
        self.members = frozenset(ctx.members)
        self.f = max_faulty(ctx.n)
        self.quorum = ctx.n - self.f
        genesis = QC(self.PHASES[0], 0, ROOT, ())
        self.view = 0
        self.high = self.locked = self.proof = genesis
        self.voted = (0, 0)  # the last view and phase in which we voted
        self.blocks: dict[bytes, Block] = {ROOT: GENESIS}
        self.tip = ROOT  # the last executed block
        self.executed: set[bytes] = {ROOT}
        self.goal: QC | None = None  # proves blocks that we cannot execute yet
        self.done: set[str] = set()
        self.pending: dict[str, bytes] = {}
        self.mine: set[str] = set()
        self.new_views: dict[int, dict[Party, QC]] = {}
        self.wishes: dict[Party, int] = {}
        self.wish = 0
        self.heard: set[Party] = set()  # since the last timeout; and since the one before
        self.heard_before: set[Party] = set()
        self.failures = self.tries = 0
        self.armed = False
        self.said: dict[str, tuple[tuple[Party, ...], Message]] = {}  # last, by kind
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

    def learn(self, ctx: Ctx, qc: QC) -> None:
        """A valid certificate that may prove something to be decided."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether something is on its way that a failed leader would hold up."""
        return bool(self.pending) or self.goal is not None

    # --- requests -------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value) and op not in self.done:
                self.mine.add(op)
                self.pending.setdefault(op, value)
                self.hand_in(ctx, op)
                self.watch(ctx)
                self.propose(ctx)

    def hand_in(self, ctx: Ctx, op: str) -> None:
        """Give our operation to who proposes now."""
        if (leader := self.leader(ctx, self.view)) != ctx.me:
            ctx.send(leader, Request(op, self.pending[op]))

    def on_request(self, ctx: Ctx, op: str, value: bytes) -> None:
        if not op or not self.fits(op, value):
            raise PeerFault(f"requested a value of {op!r} that is not valid")
        if op not in self.done and len(self.pending) < self.OPEN:
            self.pending.setdefault(op, value)
            self.watch(ctx)
            self.propose(ctx)

    def next_block(self, parent: bytes) -> Block | None:
        """What to propose upon `parent`: an operation that its branch does not hold, an empty
        block if the branch has something to be decided, else nothing."""
        branch = set()
        walk = parent
        while walk not in self.executed:
            if walk not in self.blocks:
                return None
            branch.add(self.blocks[walk].op)
            walk = self.blocks[walk].parent
        for op, value in self.pending.items():
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
        signature = self.identity.sign(_VOTE, self.session, phase, self.view, block)
        self.say(ctx, (to,), Vote(phase, self.view, block, signature))

    def check_vote(self, sender: Party, vote: Vote) -> bool:
        """Whether its voter signed it; False too when we do not know the voter's key yet."""
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
        if qc.view == 0 and qc.block == ROOT:
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
            raise PeerFault("showed a certificate that is none")
        return parties <= self.keys.keys()

    def extends(self, block: bytes, ancestor: bytes) -> bool:
        """Whether `ancestor` is on the way from `block` to the root, as far as we know it."""
        height = self.blocks[ancestor].view if ancestor in self.blocks else 0
        while block != ancestor:
            known = self.blocks.get(block)
            if known is None or known.view <= height:
                return False
            block = known.parent
        return True

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
            self.say(ctx, (leader,), NewView(view, self.high))
        self.watch(ctx)

    def take_new_view(self, ctx: Ctx, sender: Party, view: int, high: QC) -> None:
        if high.view > view:
            raise PeerFault("showed a certificate from the future")
        if not self.check_qc(high) or view < self.view or self.leader(ctx, view) != ctx.me:
            return
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
        self.say(ctx, ctx.members, Wish(view))

    def watch(self, ctx: Ctx) -> None:
        """While something is open, the view must end in time."""
        if self.busy and not self.armed:
            self.armed = True
            delay = 2 * self.patience << min(self.failures, 8)
            ctx.set_timer("view", delay, background=self.tries > 4 * self.TRIES)
            ctx.set_timer("again", self.patience, background=self.tries > 4 * self.TRIES)

    def unwatch(self, ctx: Ctx) -> None:
        self.armed = False
        ctx.cancel_timer("view")
        ctx.cancel_timer("again")

    def say(self, ctx: Ctx, to: tuple[Party, ...], msg: Message) -> None:
        """Send, and remember the last of its kind, in case it is lost."""
        self.said[type(msg).__name__] = (to, msg)
        ctx.multicast(to, msg)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name == "gossip":
            height = self.blocks[self.tip].view
            ctx.multicast(ctx.rng.sample(ctx.others, self.f + 1), Status(height))
            ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)
            return
        if name == "again":
            for to, msg in self.said.values():
                ctx.multicast([p for p in to if p != ctx.me], msg)
            ctx.multicast(ctx.others, Status(self.blocks[self.tip].view))
            self._fetch_missing(ctx)
            ctx.set_timer("again", self.patience, background=self.tries > 4 * self.TRIES)
            return
        self.unwatch(ctx)
        if not self.busy:
            return
        self.failures += 1
        self.tries += 1
        for op in sorted(self.mine & self.pending.keys()):  # so that all wait for it
            ctx.multicast(ctx.others, Request(op, self.pending[op]))
        self._wish_for(ctx, max(self.wish, self.next_try(self.view)))
        if self.tries == self.TRIES:
            missing = [p for p in ctx.others if p not in self.heard | self.heard_before]
            why = f"view {self.view} has no quorum of {self.quorum}"
            for op in sorted(self.pending):
                ctx.note(notes.Blocked(op=op, waiting_for=tuple(missing), why=why))
        self.heard_before, self.heard = self.heard, set()
        self.watch(ctx)

    # --- executing ----------------------------------------------------------------------------

    def execute(self, ctx: Ctx, target: bytes, proof: QC) -> bool:
        """Execute all up to `target`, which `proof` decides; False while blocks are missing."""
        if target in self.executed:
            return True
        chain = []
        walk = target
        while walk not in self.executed:
            if (block := self.blocks.get(walk)) is None:
                self.goal = proof
                self._fetch_missing(ctx)
                self.watch(ctx)
                return False
            chain.append((walk, block))
            walk = block.parent
        if walk != self.tip:
            raise PeerFault("decided against what is decided")  # more than f must have lied
        self.goal = None
        self.proof = proof
        self.tip = target
        self.failures = self.tries = 0
        self.keep(ctx)
        for digest, block in reversed(chain):
            self._run(ctx, digest, block)
        return True

    def _run(self, ctx: Ctx, digest: bytes, block: Block) -> None:
        self.executed.add(digest)
        self.pending.pop(block.op, None)
        self.mine.discard(block.op)
        if block.op and block.op not in self.done:  # a leader may propose one twice
            self.done.add(block.op)
            place = len(self.done) - 1
            ctx.note(notes.Decided(op=block.op, index=place))
            ctx.output(Decided(block.op, block.value, place))

    def _missing(self) -> bytes | None:
        """The first block that keeps us from executing what `goal` decides."""
        walk = self.goal.block if self.goal is not None else ROOT
        while walk not in self.executed:
            if walk not in self.blocks:
                return walk
            walk = self.blocks[walk].parent
        return None

    def _fetch_missing(self, ctx: Ctx) -> None:
        if (missing := self._missing()) is not None:
            ctx.multicast(ctx.others, Fetch(missing))

    def take_others(self, ctx: Ctx, sender: Party, msg: Message) -> None:
        """Messages that have nothing to do with phases."""
        match msg:
            case Request(op, value):
                self.on_request(ctx, op, value)
            case NewView(view, high):
                self.take_new_view(ctx, sender, view, high)
            case Wish(view):
                self.take_wish(ctx, sender, view)
            case Status(executed):
                if executed < self.blocks[self.tip].view:
                    ctx.send(sender, Proof(self.proof))
            case Proof(qc):
                if self.check_qc(qc):
                    self.learn(ctx, qc)
            case Fetch(block):
                page: list[Block] = []
                size = 0
                while block in self.blocks and block != ROOT and len(page) < self.PAGE:
                    size += len(self.blocks[block].value)
                    if page and size > 128 * 1024:
                        break
                    page.append(self.blocks[block])
                    block = page[-1].parent
                if page:
                    ctx.send(sender, Blocks(tuple(page)))
            case Blocks(blocks):
                missing = self._missing()
                for block_ in blocks:
                    if missing is None or digest_of(block_) != missing:
                        break  # not what we asked for, or here already
                    self.add_block(ctx, missing, block_)
                    missing = self._missing()
                if self.goal is not None:
                    if missing is None:
                        self.learn(ctx, self.goal)
                        ctx.note(notes.CaughtUp(records=len(blocks), source=sender))
                    elif missing not in self.blocks:
                        self._fetch_missing(ctx)

    # --- the store --------------------------------------------------------------------------

    def add_block(self, ctx: Ctx, digest: bytes, block: Block) -> None:
        if digest not in self.blocks:
            self.blocks[digest] = block
            ctx.persist(f"block/{digest.hex()}", _encode(block))

    def keep(self, ctx: Ctx) -> None:
        """Store what we must never contradict: before the message that says it."""
        state = (self.view, self.voted, self.high, self.locked, self.proof, self.tip)
        ctx.persist("state", _encode(state))

    def _recover(self, ctx: Ctx) -> None:
        data = ctx.stored.get("state")
        if data is None:
            self.enter(ctx, 1)
            return
        kept = msgspec.msgpack.decode(data, type=tuple[int, tuple[int, int], QC, QC, QC, bytes])
        view, self.voted, self.high, self.locked, self.proof, self.tip = kept
        for key, value in ctx.stored.items():
            kind, _, name = key.partition("/")
            if kind == "block":
                self.blocks[bytes.fromhex(name)] = msgspec.msgpack.decode(value, type=Block)
        chain = []
        walk = self.tip
        while walk != ROOT:
            chain.append((walk, self.blocks[walk]))
            walk = self.blocks[walk].parent
        for digest, block in reversed(chain):
            self._run(ctx, digest, block)
        self.view = view - 1
        self.enter(ctx, view)
        ctx.multicast(ctx.others, Status(self.blocks[self.tip].view))
