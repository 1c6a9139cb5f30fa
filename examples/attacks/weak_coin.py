"""The liveness attack on weak common coins: who orders the messages and knows the next toss keeps
honest parties apart for ever. Ben-Or with coins of its own is not stopped that way.

    python examples/attacks/weak_coin.py
    wrong-ben-or: nothing decided in 300 rounds
    ben-or: decided after 8 rounds

survives: ben-or
does not: wrong-ben-or, whose coin has no secret in it

Four parties, none of them lies (n = 4, t = 1, so each counts three messages, its own included).
Three begin with one bit m, one with the other. In each round the scheduler lets one party alone
hear three reports of m, so that it alone proposes m; then it chooses who hears that proposal and
adopts m, and who tosses. A toss of the other bit keeps them apart, and the scheduler picks the
majority of the next round to be against the next toss.

A program and no scenario file: what a message says decides when it arrives, and the faults of
links in a file see its kind, its size and its parties alone.
"""

from __future__ import annotations

import random

from mpclab.consensus.agreement import Oppose, Submit
from mpclab.consensus.benor import NEITHER, BenOr, BenOrProposal, BenOrReport, Coin, common_coin
from mpclab.consensus.registry import agreement
from mpclab.core.effects import Asked, Effect, Output, Send, Started
from mpclab.core.ids import Party
from mpclab.core.node import Node
from mpclab.core.wire import Frame
from mpclab.testing.cluster import AT, IDENTITIES

MEMBERS = (1, 2, 3, 4)
MOST = 300
"""Rounds that we look at."""


class Scheduler:
    """Orders all messages; `known` is the coin as far as it knows it."""

    def __init__(self, protocol: type[BenOr], known: Coin, seed: int) -> None:
        self.known = known
        self.sent: dict[tuple[type, int], dict[Party, tuple[int, Frame]]] = {}
        self.ended: set[Party] = set()
        keys = {p: IDENTITIES[p].public for p in MEMBERS}
        self.nodes = {
            p: Node(
                p, 4, protocol(IDENTITIES[p], keys, session="s"), at=AT,
                coins=lambda path, p=p: random.Random(f"{seed} {p}"),  # type: ignore[misc]
            )
            for p in MEMBERS
        }  # fmt: skip
        first = 1 - known("a", 1)
        for p in MEMBERS:
            self.take(p, self.nodes[p].step(Started(), 0))
            bit = 1 - first if p == 4 else first
            ask = Submit("a", b"value") if bit else Oppose("a", "no")
            self.take(p, self.nodes[p].step(Asked(AT, ask), 0))

    def take(self, p: Party, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(_, frame) if isinstance(frame.msg, BenOrReport | BenOrProposal):
                    msg = frame.msg
                    self.sent.setdefault((type(msg), msg.round), {})[p] = msg.bit, frame
                case Output():
                    self.ended.add(p)

    def show(self, step: type, round: int, to: Party, some: list[Party]) -> None:
        """`to` hears two others; the rest comes when it does not count any more."""
        for p in some[:2]:
            self.take(to, self.nodes[to].deliver(p, self.sent[step, round][p][1], 0))

    def play(self, round: int) -> None:
        reports = {p: bit for p, (bit, _) in self.sent[BenOrReport, round].items()}
        ones = sum(reports.values())
        m = 1 if ones >= 2 else 0
        holders = [p for p in MEMBERS if reports[p] == m]
        chosen = holders[0]
        for p in MEMBERS:
            same = [q for q in MEMBERS if q != p and reports[q] == m]
            other = [q for q in MEMBERS if q != p and reports[q] != m]
            self.show(BenOrReport, round, p, same + other if p == chosen else other + same)
        said = {p: bit for p, (bit, _) in self.sent[BenOrProposal, round].items()}
        wanted = 1 - self.known("a", round + 1)  # the majority that the next toss is against
        adopting = 2 if wanted == m else 0  # beside the chosen one
        for p in MEMBERS:
            proposers = [q for q in MEMBERS if q != p and said[q] != NEITHER]
            neither = [q for q in MEMBERS if q != p and said[q] == NEITHER]
            adopts = p != chosen and adopting > 0
            adopting -= adopts
            self.show(
                BenOrProposal, round, p, proposers + neither if adopts else neither + proposers
            )

    def rounds(self, most: int) -> int:
        """How many rounds it took until somebody decided."""
        for round in range(1, most + 1):
            if self.ended or len(self.sent.get((BenOrReport, round), {})) < 4:
                return round - 1
            self.play(round)
        return most


def attack(word: str, seed: int = 1) -> tuple[int, bool]:
    """Rounds of the protocol of this name under attack, and whether somebody decided."""
    run = Scheduler(agreement(word), common_coin(b"s"), seed)  # type: ignore[arg-type]
    return run.rounds(MOST), bool(run.ended)


if __name__ == "__main__":
    for word in ("wrong-ben-or", "ben-or"):
        rounds, decided = attack(word)
        end = "decided after" if decided else "nothing decided in"
        print(f"{word}: {end} {rounds} rounds")  # noqa: T201  a program of its own
