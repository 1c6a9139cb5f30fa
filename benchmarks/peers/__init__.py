"""The same votes in other engines, each as its own users would write them: all-to-all rounds with
N(250, 50) ms delays, the next one as soon as all votes of the last are in. No peer keeps a trace.

Each module has `run(n, rounds)`, which returns how many messages were delivered.
"""

from __future__ import annotations

MEAN, DEVIATION = 250.0, 50.0
"""Of the delays, ms."""


class Tally:
    """One voter's rounds, as in `benchmarks.votes.AllToAll`."""

    __slots__ = ("n", "round", "votes")

    def __init__(self, n: int) -> None:
        self.n = n
        self.round = 0
        self.votes: dict[int, dict[int, bool]] = {}

    def take(self, sender: int, round: int) -> bool:
        """Count a vote; whether the voter goes on to its next round."""
        votes = self.votes.setdefault(round, {})
        votes[sender] = True
        if round == self.round and len(votes) == self.n:
            del self.votes[round]
            self.round += 1
            return True
        return False
