"""`chained-hotstuff`: every block's votes serve the three blocks before it too.

Yin et al., PODC 2019, §5, Algorithm 3 and Fig. 2; assumptions in `hotstuff_base`.

One kind of proposal, one kind of vote. The votes on the block of view v go to the leader of
v + 1, whose block carries their certificate: it is the *prepare* of its parent, the *pre-commit*
of its grandparent and the *commit* of the one before. So about 2(n − 1) messages for each block
when there is always something to propose, and seven delays from a block's proposal until it is
decided, as in basic HotStuff.

* **Two-chain**: a party that sees a certificate of b″ is locked on its parent b′.
* **Three-chain**: if b, b′, b″ are certified and were proposed in consecutive views, b is decided.
* Guarantees: one log, as with PBFT.

Deviations: there are no dummy blocks; views in sequence stand for "direct parent". A leader
keeps its post for four views: with a new one in each, one dead leader of four parties would break
every three-chain. Operations go to all parties. Nobody proposes while nothing is undecided.
"""

from collections.abc import Mapping
from typing import ClassVar

from mpclab.consensus.hotstuff_base import HotStuffBase, other_block
from mpclab.consensus.hotstuff_messages import (
    GENESIS,
    QC,
    ROOT,
    Block,
    CommonMessage,
    HotStuffRequest,
    HotStuffVote,
    digest_of,
)
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class ChainedGeneric(Message, frozen=True):
    """A block, and the certificate of its parent."""

    block: Block
    justify: QC


class ChainedHotStuff(HotStuffBase):
    """One replica, and the leader in its turn."""

    title = "chained HotStuff"
    PHASES = ("generic",)

    TENURE: ClassVar = 4
    """Views in a row with one leader."""

    votes: dict[int, dict[Party, HotStuffVote]]
    """By view."""
    early: dict[int, ChainedGeneric]
    """Proposals for views that we are not in yet."""
    last_full: int
    """The last view whose block is not empty, as far as we know."""
    deciding: int
    """The view of the last certificate that decided an operation here,"""
    shown: int
    """… and of the last certificate that was shown to all."""

    def start(self, ctx: Ctx) -> None:
        self.votes, self.early = {}, {}
        self.last_full = self.deciding = self.shown = 0
        super().start(ctx)

    def leader(self, ctx: Ctx, view: int) -> Party:
        return (view - 1) // self.TENURE % ctx.n + 1

    def next_try(self, view: int) -> int:
        return ((view - 1) // self.TENURE + 1) * self.TENURE + 1  # the next leader's first

    @property
    def busy(self) -> bool:
        return super().busy or self.last_full > self.tree.height

    def hand_in(self, ctx: Ctx, op: str) -> None:
        ctx.multicast(ctx.others, HotStuffRequest(op, self.backlog.pending[op]))

    def on_message(self, ctx: Ctx, sender: Party, msg: ChainedGeneric | CommonMessage) -> None:
        match msg:
            case HotStuffVote():
                self._on_vote(ctx, sender, msg)
            case ChainedGeneric():
                self._on_generic(ctx, sender, msg)
            case _:
                self.take_others(ctx, sender, msg)
        self.backlog.hear(sender)

    def entered(self, ctx: Ctx) -> None:
        self.votes = {k: v for k, v in self.votes.items() if k >= self.view - 1}
        if (self.view - 1) % self.TENURE == 0 and (op := self.oldest_request()) is not None:
            self.hand_to_leader(ctx, op)  # this leader may have missed it
        early = self.early.pop(self.view, None)
        self.early = {v: m for v, m in self.early.items() if v > self.view}
        if early is not None:
            # A delivery of its own: if it is wrong, only it is undone, and its leader is blamed.
            ctx.redeliver(self.leader(ctx, self.view), early)

    # --- as the leader ----------------------------------------------------------------------

    def propose(self, ctx: Ctx) -> None:
        """Alg. 3, lines 2–6: extend the highest certificate, once in a view."""
        if self.proposed_in >= self.view or self.leader(ctx, self.view) != ctx.me:
            return
        heard = self.new_views.get(self.view, {})
        if self.high.view != self.view - 1 and len(heard) < self.quorum:
            return  # neither the certificate of the view before, nor word from a quorum
        source, high = max([(ctx.me, self.high), *heard.items()], key=lambda item: item[1].view)
        block = self.next_block(high.block)
        if block is None and self.deciding > self.shown:  # we know what the others do not yet
            block = Block(self.view, high.block, "", b"")
        if block is not None:
            self.proposed_in = self.view
            self.keep(ctx)
            self.say(ctx, ctx.members, ChainedGeneric(block, high))
        elif self.tree.missing(high.block) is not None:
            self.aim(ctx, source, high)

    def _on_vote(self, ctx: Ctx, sender: Party, msg: HotStuffVote) -> None:
        if not self.view - 1 <= msg.view <= self.view + 2 * ctx.n:
            return
        if self.leader(ctx, msg.view + 1) != ctx.me or msg.view <= self.high.view:
            return
        if not self.check_vote(sender, msg):
            return
        votes = self.votes.get(msg.view, {})
        if sender in votes and votes[sender].block != msg.block:
            raise PeerFault(f"voted for two blocks in view {msg.view}", strength=Strength.PROOF)
        self.votes.setdefault(msg.view, votes)[sender] = msg
        same = [(p, v.signature) for p, v in sorted(votes.items()) if v.block == msg.block]
        if len(same) >= self.quorum:
            qc = QC("generic", msg.view, msg.block, tuple(same))
            self._update(ctx, sender, qc)
            self.enter(ctx, msg.view + 1, tell=False)
            self.propose(ctx)

    # --- as a replica -----------------------------------------------------------------------

    def _on_generic(self, ctx: Ctx, sender: Party, msg: ChainedGeneric) -> None:
        block, justify = msg.block, msg.justify
        if sender != self.leader(ctx, block.view):
            raise PeerFault(f"proposed in view {block.view}, which another party leads")
        if block.op and not self.fits(block.op, block.value):
            raise PeerFault(f"proposed a value of {block.op} that is not valid")
        if not self.check_qc(justify):
            return
        if block.parent != justify.block or justify.view >= block.view:
            raise PeerFault("proposed a block that its certificate does not justify")
        digest = digest_of(block)
        if self.view < block.view <= self.view + 2 * ctx.n and justify.view < block.view - 1:
            self.early[block.view] = msg
            return
        if justify.view == block.view - 1:
            self.enter(ctx, block.view, tell=False)  # a quorum was in the view before
        self._update(ctx, sender, justify)
        self.shown = max(self.shown, justify.view)
        if block.view != self.view or self.voted[0] >= block.view or not self.is_first(digest):
            return
        self.add_block(ctx, digest, block)
        # Alg. 1, safeNode
        if self.tree.extends(digest, self.locked.block) or justify.view > self.locked.view:
            if block.op and self.backlog.add(block.op, block.value):
                self.last_full = block.view
            self.vote(ctx, self.leader(ctx, self.view + 1), "generic", digest)
            self.enter(ctx, self.view + 1, tell=False)

    def _update(self, ctx: Ctx, source: Party, qc: QC) -> None:
        """Alg. 3, lines 15–20: what one more certificate means for its ancestors."""
        blocks = self.tree.blocks
        second = blocks.get(qc.block)  # b″
        first = blocks.get(second.parent) if second else None  # b′
        base = blocks.get(first.parent) if first else None  # b
        if second is None or (base is None and second.parent != ROOT):
            self.aim(ctx, source, qc)
        if second is None:
            return
        if qc.view > self.high.view:
            self.high = qc  # PREPARE of b″
            self.keep(ctx)
        if first is None or second.parent == ROOT:
            return
        if first.view > self.locked.view:
            # PRE-COMMIT of b′. We keep no certificate of its own: its view is what counts.
            self.locked = QC("generic", first.view, second.parent, ())
            self.keep(ctx)
        if base is None or base == GENESIS:
            return
        if second.view == first.view + 1 == base.view + 2:
            known = len(self.backlog.done)
            self.execute(ctx, source, first.parent, qc)  # COMMIT of b
            if len(self.backlog.done) > known:
                self.deciding = qc.view

    def learn(self, ctx: Ctx, source: Party, qc: QC) -> None:
        goal = self.fetch.goal
        if goal is not None and qc.view >= goal.view and self.tree.missing(qc.block) is None:
            self.fetch.done(ctx)
        self._update(ctx, source, qc)
        self.enter(ctx, qc.view + 1)
        self.propose(ctx)

    # --- lies -------------------------------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        if isinstance(msg, ChainedGeneric):
            return ChainedGeneric(other_block(msg.block, values), msg.justify)
        return super().variant(msg, values)
