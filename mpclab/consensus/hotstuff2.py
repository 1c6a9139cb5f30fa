"""`hotstuff-2`: HotStuff with two phases. A leader that may not know enough waits, and only then.

D. Malkhi and K. Nayak, "HotStuff-2: optimal two-phase responsive BFT", 2023 (IACR ePrint
2023/397); assumptions, pacemaker and catching up as in `hotstuff_base`.

HotStuff's third phase makes sure that whoever is locked was told so by a certificate that n − f
others hold, so that a new leader hears of it from any n − f. HotStuff-2 does without: a party locks
on a certificate that it may be the only one to hold. If its leader moves on without it, the party
refuses what is proposed, and with f silent liars that view comes to nothing. The remedy:

* a leader that holds the certificate of the view just before proposes at once: nobody can be
  locked on anything later (optimistic *responsiveness*: with good leaders it runs at the pace of
  the network);
* any other leader waits **Δ**, so that all honest parties' certificates arrive, and then extends
  the highest. A certificate is missing only after a view that failed, whose timeout was longer.

5(n − 1) messages and five delays from a proposal to its decision (propose, vote, prepare, vote2,
decide), and n − 1 NEW-VIEWs before it: HotStuff takes 7(n − 1) and seven.

* Guarantees: one log, as with HotStuff.
* **Lock**: the highest certificate that a party knows. It votes for a block whose certificate is no
  lower; two certificates of one view are of one block.
* **Double certificate** C(C(B)): n − f parties were locked on C(B) when they signed `vote2`. So B
  is decided: any certificate of a later view extends it.

Deviations: votes of both phases go to the leader of the view, who shows the double certificate to
all; in the paper `vote2` goes to the next leader, whose proposal carries it. Δ is the option
`delta`, doubled with each view that failed, as timeouts are; a leader that heard all n parties
waits no longer.
"""

from dataclasses import dataclass
from typing import ClassVar

from mpclab.consensus.hotstuff import HotStuff, HotStuffPropose
from mpclab.consensus.hotstuff_messages import QC, digest_of
from mpclab.consensus.options import Options, duration
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx


@dataclass(frozen=True, kw_only=True)
class HotStuff2Options(Options):
    """The settings of HotStuff-2."""

    delta: int | None = duration(
        None, "how long a leader waits for the certificates of others (a quarter of patience)"
    )

    @property
    def wait(self) -> int:
        """Δ, µs."""
        return self.patience // 4 if self.delta is None else self.delta


class HotStuff2(HotStuff):
    """One replica, and the leader in its turn."""

    title = "HotStuff-2"
    options_type = HotStuff2Options
    options: HotStuff2Options
    PHASES: ClassVar[tuple[str, ...]] = ("prepare", "commit")

    waited: bool
    """As the leader of this view: Δ is over."""

    def start(self, ctx: Ctx) -> None:
        self.waited = False
        super().start(ctx)

    def entered(self, ctx: Ctx) -> None:
        self.waited = False
        if self.leader(ctx, self.view) == ctx.me and not self.knows_all(ctx):
            delay = self.options.wait << min(self.failures, 8)
            ctx.set_timer("delta", delay, foreground=bool(self.backlog.pending))
        else:
            ctx.cancel_timer("delta")
        super().entered(ctx)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name == "delta":
            self.waited = True
            self.propose(ctx)
        else:
            super().on_timer(ctx, name)

    # --- as the leader ----------------------------------------------------------------------

    def knows_all(self, ctx: Ctx) -> bool:
        """Whether no honest party can be locked on a certificate that is higher than ours: we hold
        that of the view before, or all have told us theirs."""
        return self.high.view == self.view - 1 or len(self.new_views.get(self.view, {})) == ctx.n

    def propose(self, ctx: Ctx) -> None:
        """Propose: extend the highest certificate, at once or after Δ."""
        if self.proposed_in >= self.view or self.leader(ctx, self.view) != ctx.me:
            return
        if not (self.knows_all(ctx) or self.waited):
            return
        heard = self.new_views.get(self.view, {})
        source, high = max([(ctx.me, self.high), *heard.items()], key=lambda item: item[1].view)
        block = self.next_block(high.block)
        if block is not None:
            self.proposed, self.proposed_in = digest_of(block), self.view
            self.keep(ctx)
            self.say(ctx, ctx.members, HotStuffPropose(block, high))
        elif self.tree.missing(high.block) is not None:
            self.aim(ctx, source, high)  # we need its branch before we can extend it

    # --- as a replica -----------------------------------------------------------------------

    def is_safe(self, digest: bytes, justify: QC) -> bool:
        """Vote: the certificate of its parent is ranked no lower than our lock."""
        return justify.view >= self.locked.view

    def lock(self, qc: QC) -> None:
        """The highest certificate that we know is what we are locked on, and what we tell."""
        self.locked = self.high = max(self.locked, qc, key=lambda c: c.view)

    def certified(self, ctx: Ctx, sender: Party, qc: QC) -> None:
        if qc.phase == "prepare":
            self.lock(qc)
            self.vote(ctx, sender, "commit", qc.block)  # vote2
        else:
            self.learn(ctx, sender, qc)  # C(C(B)): decide
