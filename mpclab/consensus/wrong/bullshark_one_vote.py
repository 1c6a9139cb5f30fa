"""The mistake: one vote orders an anchor.

A certified vertex of the next round refers to it, so it "is in the DAG for good". But a later
anchor may refer to n − f others of that round, and find no path: those who saw the vote have
ordered what everybody else passes over.
"""

from mpclab.consensus.bullshark import Bullshark
from mpclab.consensus.bullshark_dag import Dag


class _OneVote(Dag):
    def is_committed(self, round: int) -> bool:
        return self.votes(round) > 0  # wrong: f + 1 of them


class OneVoteBullshark(Bullshark):
    """Bullshark with one vote for f + 1."""

    title = "Bullshark that orders an anchor by one vote (wrong)"
    dags = _OneVote
