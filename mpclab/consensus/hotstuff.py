"""`hotstuff`: three phases of votes, all by way of the leader.

Yin et al., PODC 2019, Algorithm 2 (basic HotStuff); assumptions in `hotstuff_base`.

In each view the leader proposes one block and collects votes on it three times:
**prepare** (this block extends what I am locked on, or something newer), **pre-commit** (n − f
voted prepare), **commit** (n − f know that: I am locked now). Then it tells all to **decide**.
7(n − 1) messages and seven delays from the proposal, and n − 1 NEW-VIEWs before it: linear, where
PBFT is quadratic. The third phase buys that a new leader may propose without waiting for the
slowest honest party (§4.4: with two phases, only one of them may know of a lock).

* Guarantees: one log, as with PBFT. A party locked on a block votes against it only when shown a
  certificate of a *later* view, which cannot exist if the block was decided.

Deviations: leaders rotate with each view, decided or not. An operation goes to the leader of the
moment, and after a timeout to all. A proposal that comes before the end of the view before is
kept until then.
"""

from collections.abc import Mapping
from typing import ClassVar

from mpclab.consensus.agreement import Attack, Sayings
from mpclab.consensus.hotstuff_base import HotStuffBase, other_block
from mpclab.consensus.hotstuff_messages import (
    QC,
    ROOT,
    Block,
    CommonMessage,
    HotStuffProof,
    HotStuffVote,
    digest_of,
)
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class HotStuffPropose(Message, frozen=True):
    """The leader's block; `justify` certifies its parent."""

    block: Block
    justify: QC


class HotStuffAdvance(Message, frozen=True):
    """n − f voted: on to the next phase. After commit votes it means: decide."""

    qc: QC


class HotStuff(HotStuffBase):
    """One replica, and the leader in its turn."""

    title = "HotStuff"
    unvaried = (*HotStuffBase.unvaried, HotStuffAdvance)
    PHASES: ClassVar[tuple[str, ...]] = ("prepare", "pre-commit", "commit")

    proposed: bytes | None
    """Our block in this view, if we have proposed in it since we began."""
    votes: dict[str, dict[Party, bytes]]
    """The signatures on it, by phase."""
    early: dict[int, HotStuffPropose]
    """Proposals for views that we are not in yet."""
    open: bool
    """A proposal of this view is on its way."""

    def start(self, ctx: Ctx) -> None:
        self.proposed, self.votes, self.early, self.open = None, {}, {}, False
        super().start(ctx)

    def leader(self, ctx: Ctx, view: int) -> Party:
        return (view - 1) % ctx.n + 1

    @property
    def busy(self) -> bool:
        return super().busy or self.open

    def on_message(
        self, ctx: Ctx, sender: Party, msg: HotStuffPropose | HotStuffAdvance | CommonMessage
    ) -> None:
        match msg:
            case HotStuffVote():
                self._on_vote(ctx, sender, msg)
            case HotStuffAdvance(qc):
                self._on_advance(ctx, sender, qc)
            case HotStuffPropose():
                self._on_propose(ctx, sender, msg)
            case _:
                self.take_others(ctx, sender, msg)
        self.backlog.hear(sender)

    def entered(self, ctx: Ctx) -> None:
        self.proposed, self.votes, self.open = None, {}, False
        self.last_sent.pop("HotStuffPropose", None)
        self.last_sent.pop("HotStuffAdvance", None)
        if (op := self.oldest_request()) is not None:  # a view decides one block
            self.hand_to_leader(ctx, op)
        early = self.early.pop(self.view, None)
        self.early = {v: m for v, m in self.early.items() if v > self.view}
        if early is not None:
            # A delivery of its own: if it is wrong, only it is undone, and its leader is blamed.
            ctx.redeliver(self.leader(ctx, self.view), early)

    # --- as the leader ----------------------------------------------------------------------

    def propose(self, ctx: Ctx) -> None:
        """Alg. 2, lines 2–6: n − f NEW-VIEWs tell the highest certificate; extend it."""
        heard = self.new_views.get(self.view, {})
        if self.proposed_in >= self.view or self.leader(ctx, self.view) != ctx.me:
            return
        if len(heard) < self.quorum:
            return
        source, high = max([(ctx.me, self.high), *heard.items()], key=lambda item: item[1].view)
        block = self.next_block(high.block)
        if block is not None:
            self.proposed, self.proposed_in = digest_of(block), self.view
            self.keep(ctx)
            self.say(ctx, ctx.members, HotStuffPropose(block, high))
        elif self.tree.missing(high.block) is not None:
            self.aim(ctx, source, high)  # we need its branch before we can extend it

    def _on_vote(self, ctx: Ctx, sender: Party, msg: HotStuffVote) -> None:
        if msg.view != self.view or msg.block != self.proposed:
            return
        if not self.check_vote(sender, msg):
            return
        votes = self.votes.setdefault(msg.phase, {})
        if sender in votes or len(votes) >= self.quorum:
            return
        votes[sender] = msg.signature
        if len(votes) == self.quorum:
            signed = tuple(sorted(votes.items()))
            self.say(ctx, ctx.members, HotStuffAdvance(QC(msg.phase, self.view, msg.block, signed)))

    # --- as a replica -----------------------------------------------------------------------

    def _on_propose(self, ctx: Ctx, sender: Party, msg: HotStuffPropose) -> None:
        block, justify = msg.block, msg.justify
        if sender != self.leader(ctx, block.view):
            raise PeerFault(f"proposed in view {block.view}, which another party leads")
        if self.view < block.view <= self.view + 2 * ctx.n:
            self.early[block.view] = msg
        if block.view != self.view:
            return
        if block.op and not self.fits(block.op, block.value):
            raise PeerFault(f"proposed a value of {block.op} that is not valid")
        if not self.check_qc(justify):
            return
        if justify.phase != self.PHASES[0] or block.parent != justify.block:
            raise PeerFault("proposed a block that its certificate does not justify")
        digest = digest_of(block)
        if not self.is_first(digest):
            return
        if self.voted[0] < self.view:
            self.add_block(ctx, digest, block)
        if self.is_safe(digest, justify):
            self.lock(justify)
            if block.op:
                self.backlog.add(block.op, block.value)
            self.open = True
            self.watch(ctx)
            self.vote(ctx, sender, "prepare", digest)

    def is_safe(self, digest: bytes, justify: QC) -> bool:
        """Alg. 1, safeNode: it extends what we are locked on, or shows something newer."""
        return self.tree.extends(digest, self.locked.block) or justify.view > self.locked.view

    def lock(self, qc: QC) -> None:
        """What the certificate that a proposal shows means for our lock: nothing here."""

    def _on_advance(self, ctx: Ctx, sender: Party, qc: QC) -> None:
        if qc.view < self.view or not self.check_qc(qc):
            return
        if qc.phase != "commit" and sender != self.leader(ctx, qc.view):
            raise PeerFault(f"advanced view {qc.view}, which another party leads")
        if qc.view > self.view:
            self.enter(ctx, qc.view, tell=False)  # a quorum is there
        ctx.note(notes.Phase(phase=qc.phase, view=qc.view))
        self.certified(ctx, sender, qc)

    def certified(self, ctx: Ctx, sender: Party, qc: QC) -> None:
        """n − f voted in a phase of this view: go on to the next."""
        match qc.phase:
            case "prepare":  # Alg. 2, line 17
                self.high = max(self.high, qc, key=lambda c: c.view)
                self.vote(ctx, sender, "pre-commit", qc.block)
            case "pre-commit":  # line 24
                self.locked = max(self.locked, qc, key=lambda c: c.view)
                self.vote(ctx, sender, "commit", qc.block)
            case "commit":
                self.learn(ctx, sender, qc)

    def learn(self, ctx: Ctx, source: Party, qc: QC) -> None:
        if qc.phase == "commit":  # line 30: decide
            self.execute(ctx, source, qc.block, qc)
            self.enter(ctx, qc.view + 1)
        elif self.fetch.goal is qc:
            self.fetch.done(ctx)
            self.propose(ctx)

    # --- lies -------------------------------------------------------------------------------

    def withhold(self, to: tuple[Party, ...], msg: Message) -> Sayings:
        """Two leaders in collusion. The first shows the certificate that decides to one party
        alone; the next proposes against it, upon the root. Locks are what stops them (§4.3)."""
        match msg:
            case HotStuffAdvance(qc) if qc.phase == "commit":
                return [((max(to),), msg)] if to else []
            case HotStuffProof():
                return []
            case HotStuffPropose(block) if block.op and block.parent != ROOT:
                other = Block(block.view, ROOT, block.op, block.value)
                self.proposed = digest_of(other)  # so that we count the votes for it
                return [(to, HotStuffPropose(other, self.genesis))]
        return [(to, msg)]

    attacks: ClassVar[Mapping[str, Attack]] = {"withheld-certificate": withhold}

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        if isinstance(msg, HotStuffPropose):
            return HotStuffPropose(other_block(msg.block, values), msg.justify)
        return super().variant(msg, values)
