"""The mistake: an epoch ends as soon as n − f agreements have said yes, without the others.

"n − f batches are all that is promised, and those are in everywhere." But an agreement that ends
later may say yes as well, and another party may have had it among its first n − f.
"""

from mpclab.consensus.acs import Acs
from mpclab.consensus.acs_epoch import Epoch


class EarlyAcs(Acs):
    """The common subset of those who are quick."""

    title = "asynchronous common subset, too early (wrong)"

    def is_over(self, it: Epoch) -> bool:
        enough = len(it.accepted) >= it.n - it.f
        return enough and it.all_delivered()  # wrong: all agreements must have ended
