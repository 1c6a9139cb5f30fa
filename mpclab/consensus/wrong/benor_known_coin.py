"""The mistake: a common coin that everybody, the adversary too, can compute beforehand.

Two rounds are enough with a common coin, so why toss at all: a hash of the session will do. But
an adversary that orders messages sees the next toss before it decides who hears which proposals,
and keeps half of the parties at the other bit, round after round. Nothing false is ever decided;
nothing is decided.
"""

from mpclab.consensus.benor import BenOr, common_coin
from mpclab.core.machine import Ctx


class KnownCoinBenOr(BenOr):
    """Ben-Or with a predictable coin."""

    title = "Ben-Or with a coin known beforehand (wrong)"

    def start(self, ctx: Ctx) -> None:
        self.coin = common_coin(self.session.encode())  # wrong: no secret is in it
        super().start(ctx)
