"""Binary agreement with a common coin, about one party's batch in one epoch.

A. Mostéfaoui, H. Moumen and M. Raynal, "Signature-free asynchronous Byzantine consensus with
t < n/3 and O(n²) messages", PODC 2014, as in Fig. 11 of the HoneyBadgerBFT paper, whose steps are
quoted. Expected rounds are constant, if nobody can foresee the coin.

Two changes, both known. *CONF*: in the paper the adversary may see the coin while some have not
fixed what they will do with it, and then keep them apart for ever; one more vote, on the set of
bits, comes before the coin is tossed (E. MacBrough, "Cobalt", 2018, §3). In the first rounds, whose
coin is known to all anyhow (`OPENING`), there is none. *FINISH*: who has decided
b says so and stops; that counts as its word, b, in every step in which it said nothing else, and
f + 1 of them are believed. All honest parties go on with b from the round of the first decision, so
these are the words that it would say.

Why it is safe. A bit that 2f + 1 say in BVAL is an honest party's. Two quorums of n − f AUXs (or
CONFs) share an honest party, so where one party ends a round with {b} alone, no other ends it with
the other bit alone: it has b alone, or both and takes the coin. Who decides has b alone and the
coin shows b.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from mpclab.consensus.acs_coin import OPENING
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party

Step: TypeAlias = Literal["bval", "aux", "conf"]
Say: TypeAlias = Callable[[Step, int, int], None]
"""Say in a step of a round these bits, unless we have said so before: 1 is {0}, 2 is {1}."""
Toss: TypeAlias = Callable[[int], int | None]
"""The coin of a round; None while it is in the air."""


@dataclass(slots=True)
class Binary:
    """One agreement at one party.

    Attributes:
        round: ours; 0: we have no input.
        decision: the bit.
        heard: by step and round, the bits that each party said.
        finished: what each party says it decided.
    """

    n: int
    f: int
    round: int = 0
    decision: int | None = None
    heard: dict[tuple[Step, int], dict[Party, int]] = field(default_factory=dict)
    finished: dict[Party, int] = field(default_factory=dict)

    AHEAD = 32
    """Rounds ahead of ours that we listen to."""

    def listens(self, round: int) -> bool:
        return 1 <= round <= self.round + self.AHEAD and self.decision is None

    def hear(self, party: Party, step: Step, round: int, bits: int) -> None:
        """A party's word in a step. It may say BVAL for both bits, one after the other."""
        if not self.listens(round):
            return
        said = self.heard.setdefault((step, round), {})
        if step == "bval":
            said[party] = said.get(party, 0) | bits
        elif said.setdefault(party, bits) != bits:
            raise PeerFault(f"said two things in {step.upper()} of round {round}")

    def finish(self, party: Party, bit: int) -> None:
        if self.finished.setdefault(party, bit) != bit:
            raise PeerFault("decided two bits")

    # --- the rounds ---

    def advance(self, say: Say, toss: Toss) -> int | None:
        """Take all steps that what was heard allows; the bit, once it is decided."""
        while self.decision is None:
            for bit in (0, 1):
                if sum(b == bit for b in self.finished.values()) > self.f:
                    self.decision = bit  # one of them is honest
                    return bit
            if not self.round or not self._play(say, toss):
                break
        return self.decision

    def _play(self, say: Say, toss: Toss) -> bool:
        """Our round, as far as it goes; whether it is over."""
        r = self.round
        values = 0  # bin_values
        backing = self._said("bval", r).values()
        for bits in (1, 2):
            count = sum(bool(b & bits) for b in backing)
            if count > self.f:
                say("bval", r, bits)  # "from f + 1 nodes, … multicast BVAL_r(b)"
            if count > 2 * self.f:
                values |= bits  # "from 2f + 1 nodes: bin_values_r := bin_values_r ∪ {b}"
        if not values:
            return False
        say("aux", r, values & -values)  # the lower, where both came at once
        if not (seen := self._union("aux", r, values)):
            return False
        if r > len(OPENING):
            say("conf", r, seen)
            if not (seen := self._union("conf", r, values)):
                return False
        coin = toss(r)
        if coin is None:
            return False
        if seen == 1 << coin:
            self.decision = coin
            return True
        estimate = seen if seen != 3 else 1 << coin
        self.begin(r + 1, estimate, say)
        return True

    def begin(self, round: int, bits: int, say: Say) -> None:
        """Enter a round with an estimate."""
        self.round = round
        say("bval", round, bits)

    def _union(self, step: Step, round: int, values: int) -> int:
        """All bits of n − f words that have no bits but `values`; 0: there are not so many."""
        fit = [b for b in self._said(step, round).values() if b | values == values]
        if len(fit) < self.n - self.f:
            return 0
        union = 0
        for bits in fit:
            union |= bits
        return union

    def _said(self, step: Step, round: int) -> dict[Party, int]:
        """By party, its word; who has finished says the same in every step."""
        heard = self.heard.get((step, round), {})
        if not self.finished:
            return heard
        return {party: 1 << bit for party, bit in self.finished.items()} | heard
