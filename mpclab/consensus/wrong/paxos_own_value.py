"""The mistake: a new leader proposes commands of its own where others told it what they accepted.

"A majority promised to me, so the place is mine" sounds enough. But one of them told of a proposal
that it had accepted, and that one may be chosen: a majority accepted it, and the old leader, who
counted them, has given it out. §2.2 has the new leader propose the command of the highest ballot
that it was told of, and its own only where it was told of none. No crash is needed, only a leader
that is not heard for a moment.
"""

from collections.abc import Sequence

from mpclab.consensus.decided_log import Command
from mpclab.consensus.paxos import Paxos
from mpclab.consensus.paxos_messages import PaxosVote


class OwnValuePaxos(Paxos):
    """Paxos without phase 2 (a)."""

    title = "Paxos that proposes its own value (wrong)"

    def command_for(self, votes: Sequence[PaxosVote]) -> Command:
        return self.new_command()  # wrong: the value of the highest-numbered proposal told of
