"""The mistake: a party votes for a block that extends any notarised chain, however short.

"It is notarised, so it is good to build on" sounds enough. But one party alone may have seen the
third of three blocks in a row, which makes the second final. Leaders who saw less extend the first;
only those who have seen the second can refuse, since their longest chain is longer.
"""

from mpclab.consensus.streamlet import Streamlet


class AnyChainStreamlet(Streamlet):
    """Streamlet without "longest"."""

    title = "Streamlet that extends any notarised chain (wrong)"

    def may_vote(self, parent: bytes) -> bool:
        return True  # wrong: it must end one of the longest
