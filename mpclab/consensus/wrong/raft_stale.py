"""The mistake: a leader answers reads without making sure that it still leads.

Others may have chosen a leader of a later term meanwhile, and decided what the old one has not
heard of: whoever reads there sees the past. Ongaro's thesis, §6.4, has it exchange heartbeats with
a majority first.
"""

from mpclab.consensus.raft import Raft
from mpclab.core.machine import Ctx


class StaleReadRaft(Raft):
    """Raft whose leader trusts itself."""

    title = "Raft that reads without a round (wrong)"

    def _in_lease(self, ctx: Ctx) -> bool:
        return True  # wrong: nothing was confirmed
