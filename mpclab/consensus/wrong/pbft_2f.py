"""The mistake: quorums of 2f, one less than 2f + 1.

"More than half of the 3f honest-looking others" sounds enough. But two sets of 2f among 3f + 1
may share f − 1 parties only, all of them liars: with n = 4 a primary that says x to one party and
y to the two others gets both decided.
"""

from mpclab.consensus.pbft import Pbft
from mpclab.consensus.quorum import max_faulty


class Pbft2f(Pbft):
    """PBFT whose quorums need not share an honest party."""

    title = "PBFT with quorums of 2f (wrong)"

    def quorum_of(self, n: int) -> int:
        return 2 * max_faulty(n)  # wrong: two of these share f − 1 parties
