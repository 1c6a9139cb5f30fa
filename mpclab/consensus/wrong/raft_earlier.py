"""The mistake: an entry of an earlier term is committed as soon as a majority holds it.

Ongaro and Ousterhout, Fig. 8: the leader of a later term, elected by one who has that entry and one
whose own last entry is of a term between, may still write over it. §5.4.2 has a leader count the
replicas of its own term's entries alone. A new leader begins with such an entry (§8), with which
the earlier ones go: the mistake shows where they go one by one (`batch: 1`), or not at all.
"""

from mpclab.consensus.raft import Raft
from mpclab.core.machine import Ctx


class EarlierTermRaft(Raft):
    """Raft that counts replicas for entries of every term."""

    title = "Raft that commits entries of earlier terms (wrong)"

    def _advance(self, ctx: Ctx) -> None:
        if self.followers is not None:
            index = self.followers.replicated()
            if index > self.commit:  # wrong: §5.4.2 commits only what is of this term
                self._commit(ctx, index)
                self._tell(ctx)
