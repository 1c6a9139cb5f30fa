"""What `acs` needs of a common coin that a threshold key tosses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mpclab.core.ids import Party
from mpclab.crypto.identity import Coins

OPENING = (1, 0)
"""The coin of the first rounds of an agreement: what everybody wants anyhow, and its contrary."""


class ThresholdCoin(Protocol):
    """A coin that shows when `needed` parties have given their parts, and not before.

    Attributes:
        needed: more than f, so that liars alone do not know it, and n − f at most.
        name: what a trace says of it.
    """

    needed: int
    name: str

    def part(self, about: bytes, coins: Coins) -> bytes:
        """Ours for this toss, the same every time; empty where we hold no share."""

    def is_right(self, about: bytes, party: Party, part: bytes) -> bool:
        """Whether this is that party's part."""

    def toss(self, about: bytes, parts: Mapping[Party, bytes]) -> int:
        """The bit, from `needed` right parts: the same whichever they are."""


def hashed(about: bytes) -> int:
    """The coin of who has no key: all can compute it, also beforehand."""
    return about[0] & 1
