"""The mistake: a party votes for whatever extends some certificate, whatever it is locked on.

In HotStuff-2 the lock is all that stands between two phases and two decisions: HotStuff has a third
phase in which a quorum tells each other that it is locked. No liar is needed to be split.
"""

from mpclab.consensus.hotstuff2 import HotStuff2
from mpclab.consensus.hotstuff_messages import QC


class UnlockedHotStuff2(HotStuff2):
    """HotStuff-2 without its lock."""

    title = "HotStuff-2 that does not mind its lock (wrong)"

    def is_safe(self, digest: bytes, justify: QC) -> bool:
        return True  # wrong: the certificate must be ranked no lower than the lock
