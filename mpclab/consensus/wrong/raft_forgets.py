"""The mistake: the term is stored, but not for whom we voted in it.

A voter that crashes and comes back in the same term votes again, for another: two candidates get
their majority in one term, and two leaders write two logs.
"""

import msgspec

from mpclab.consensus.raft import Raft
from mpclab.core.machine import Ctx


class ForgetfulRaft(Raft):
    """Raft that does not remember its vote."""

    title = "Raft that forgets its vote (wrong)"

    def _keep_term(self, ctx: Ctx) -> None:
        ctx.persist("term", msgspec.msgpack.encode((self.term, 0)))  # wrong: §5.2 stores votedFor
