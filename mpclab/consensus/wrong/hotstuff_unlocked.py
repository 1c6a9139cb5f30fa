"""The mistake: a party votes for whatever the leader proposes, whatever it is locked on.

"The certificate that a proposal shows is valid, so a quorum stood behind it" sounds enough. But a
decision may be known to one party alone, whose leader withheld the certificate from the others.
Only their locks keep the next leader, if it lies, from deciding something else.
"""

from mpclab.consensus.hotstuff import HotStuff
from mpclab.consensus.hotstuff_messages import QC


class UnlockedHotStuff(HotStuff):
    """HotStuff without safeNode."""

    title = "HotStuff that does not mind its lock (wrong)"

    def is_safe(self, digest: bytes, justify: QC) -> bool:
        return True  # wrong: Alg. 1, safeNode
