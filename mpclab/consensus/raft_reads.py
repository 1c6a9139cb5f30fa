"""Reads that take no place in Raft's log (Ongaro's thesis, §6.4), as the leader serves them.

A read must see all that was decided when it was asked for. The leader knows what is decided once
an entry of its own term is (step 1); it takes its commit index (2), makes sure that it still leads
(3), and whoever asked answers when it has applied as much (4 and 5).

It makes sure by a *round* of heartbeats that a majority answers: a later leader's voters would have
answered with the greater term. Reads that come while one is under way wait for the next, together:
their answers must come from heartbeats sent after them.

With *leases* (§6.4.1) a confirmed round serves for a while: its voters help nobody to become leader
for an election timeout after they heard it. That counts on clocks: no party's may run faster than
`DRIFT` beside another's.
"""

from __future__ import annotations

from typing import NamedTuple

from mpclab.consensus.raft_voters import Voters
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party

DRIFT = 10
"""Percent by which clocks may differ in speed: a lease is so much shorter than the least election
timeout (thesis, §6.4.1: election timeout / clock drift bound)."""


class Wanted(NamedTuple):
    """A read: whose, and its name there."""

    by: Party
    read: str


class Rounds:
    """The heartbeat rounds of one leader, `me`, in one term, and the reads that wait for one."""

    def __init__(self, me: Party) -> None:
        self.me = me
        self.number = 0
        """The latest round; every heartbeat carries it."""
        self.begun: dict[int, int] = {}  # when, µs; of those not confirmed yet
        self.answered: dict[Party, int] = {}
        self.confirmed_at = -1
        """When the latest confirmed round began, µs; -1: none is."""
        self.under_way: list[tuple[Wanted, int]] = []  # with the commit index of its beginning
        self.needed = 0
        """The round that those wait for."""
        self.waiting: list[Wanted] = []

    def begin(self, now: int) -> None:
        """A new round: heartbeats from here on carry its number."""
        self.number += 1
        self.begun[self.number] = now
        self.answered[self.me] = self.number

    def answer(self, peer: Party, round: int, voters: Voters) -> bool:
        """`peer` answered a heartbeat of `round`; whether the round that reads wait for is
        confirmed.

        Raises:
            PeerFault: there was no such round.
        """
        if round > self.number:
            raise PeerFault(f"answers round {round}, and the latest is {self.number}")
        self.answered[peer] = max(round, self.answered.get(peer, 0))
        return self.is_confirmed(voters)

    def is_confirmed(self, voters: Voters) -> bool:
        """Whether a majority has answered the round that reads wait for, or a later one."""
        reached = voters.reached(self.answered)
        for round in [r for r in self.begun if r <= reached]:
            self.confirmed_at = max(self.confirmed_at, self.begun.pop(round))
        return reached >= self.needed

    def take(self, commit: int) -> None:
        """Let the reads that wait be those of the latest round."""
        self.under_way = [(wanted, commit) for wanted in self.waiting]
        self.waiting, self.needed = [], self.number

    def lasts(self, timeout: int) -> int:
        """Until when the lease lasts, µs; -1: there is none. `timeout`: the least for elections."""
        return -1 if self.confirmed_at < 0 else self.confirmed_at + timeout * (100 - DRIFT) // 100
