"""How many are enough: quorum sizes, and counting who is for what.

With n parties of which f may fail:

* **crash** (parties stop, but never lie): two quorums must meet, so a majority, n//2 + 1; one
  must be left when f are silent, so n > 2f.
* **Byzantine** (parties may do anything): two quorums must meet in an *honest* party, so
  2q − n > f, the smallest q is (n + f)//2 + 1; q honest ones must be left, so n − f ≥ q, which
  is n > 3f. With n = 3f + 1 this is the 2f + 1 of the papers.

Among f + 1 parties one is honest.
"""

from functools import lru_cache

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.crypto import identity
from mpclab.crypto.transcript import Part, digest


def majority(n: int) -> int:
    """The smallest crash quorum."""
    return n // 2 + 1


def max_faulty(n: int) -> int:
    """The most Byzantine parties that `n` tolerate under n > 3f."""
    return (n - 1) // 3


def byzantine_quorum(n: int) -> int:
    """The smallest number such that any two sets of it share an honest party."""
    return (n + max_faulty(n)) // 2 + 1


def at_least(n: int, least: int, title: str, why: str) -> None:
    """Raise `UsageError` when `n` parties are too few."""
    if n < least:
        raise UsageError(f"parties: {title} needs at least {least}, not {n}: {why}")


def fingerprint(value: bytes) -> bytes:
    """The digest by which votes name a value, 32 bytes."""
    return digest("mpclab value", value)


class Tally:
    """The parties' values, one for each: `add` counts, and reports self-contradiction."""

    __slots__ = ("said", "support")

    def __init__(self) -> None:
        self.said: dict[Party, bytes] = {}
        self.support: dict[bytes, int] = {}

    def add(self, party: Party, what: bytes) -> bool:
        """Count `party` for `what`; False when it said something else before."""
        said = self.said
        if party in said:
            return said[party] == what
        said[party] = what
        support = self.support
        support[what] = support.get(what, 0) + 1
        return True

    def remove(self, party: Party) -> None:
        """As if `party` had said nothing."""
        if (what := self.said.pop(party, None)) is not None:
            self.support[what] -= 1

    def count(self, what: bytes) -> int:
        return self.support.get(what, 0)

    def best(self) -> tuple[bytes, int]:
        """The value of most parties, and their number; the smaller bytes where two are equal."""
        return max(self.support.items(), key=lambda item: (item[1], item[0]), default=(b"", 0))


@lru_cache(maxsize=1 << 14)
def signed_by(public: bytes, label: str, parts: tuple[Part, ...], signature: bytes) -> bool:
    """`identity.verify`, remembered: a certificate passes many hands, and the answer is a pure
    function of the arguments."""
    return identity.verify(public, label, parts, signature)
