"""The mistake: a change of voters takes place at once, at each party when it reads of it.

Parties do not read of it at the same time. While some count by the old set and some by the new, a
majority of each may choose a leader of its own in one term (Ongaro and Ousterhout, Fig. 10). Joint
consensus has both sets agree in between (§6).
"""

from mpclab.consensus.raft import Raft
from mpclab.consensus.raft_voters import Voters
from mpclab.core.ids import Party


class AtOnceRaft(Raft):
    """Raft without joint consensus."""

    title = "Raft that changes its voters at once (wrong)"

    def _switch(self, before: Voters, new: tuple[Party, ...]) -> Voters:
        return Voters(new)  # wrong: not C_old,new
