"""The mistake: ECHOs and READYs are counted by message, not by party.

It looks right in every honest run, where everybody says everything once. But one liar can say a
READY as often as a quorum is large, or a link deliver it so often, and a value that nobody else
is ready for is delivered.
"""

from mpclab.consensus.bracha import Bracha, BrachaAgain, BrachaEcho, BrachaInit, BrachaReady
from mpclab.consensus.quorum import Tally, fingerprint
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx


class MessageCountingBracha(Bracha):
    """Bracha's broadcast that counts messages."""

    title = "Bracha counting messages (wrong)"

    def on_message(
        self, ctx: Ctx, sender: Party, msg: BrachaInit | BrachaEcho | BrachaReady | BrachaAgain
    ) -> None:
        match msg:
            case BrachaEcho(dealer, op, value) if (dealer, op) in self.broadcasts:
                self._again(self.broadcasts[dealer, op].echoes, sender, fingerprint(value))
            case BrachaReady(dealer, op, digest) if (dealer, op) in self.broadcasts:
                self._again(self.broadcasts[dealer, op].readies, sender, digest)
        super().on_message(ctx, sender, msg)

    def _again(self, tally: Tally, sender: Party, what: bytes) -> None:
        if tally.said.get(sender) == what:
            tally.support[what] += 1  # wrong: the same party once more
