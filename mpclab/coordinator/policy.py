"""Approval policies: who must approve. Pure functions of a set of votes.

A verdict never changes once it is ENOUGH or IMPOSSIBLE, whatever votes come later (no party
votes twice), so parties that hold different subsets of the same votes never contradict
each other.
"""

import enum
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import Party


class TallyResult(enum.StrEnum):
    ENOUGH = "enough"
    IMPOSSIBLE = "impossible"
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class Policy:
    """At least `needed` of `n` parties must approve. `str()` is what a scenario file says."""

    name: str
    needed: int
    n: int

    def result(self, votes: Mapping[Party, bool]) -> TallyResult:
        """The tally of `votes` (party → approved?). Votes of non-members do not count."""
        approvals = sum(votes[p] for p in votes if 1 <= p <= self.n)
        rejections = sum(not votes[p] for p in votes if 1 <= p <= self.n)
        return self.judge(approvals, rejections)

    def judge(self, approvals: int, rejections: int) -> TallyResult:
        """The tally of so many votes of different members."""
        if approvals >= self.needed:
            return TallyResult.ENOUGH
        if rejections > self.n - self.needed:
            return TallyResult.IMPOSSIBLE
        return TallyResult.NOT_YET

    def stopped(self, against: Set[Party], withdrawn: Set[Party]) -> bool:
        """Whether an operation may be aborted: so many reject it or wait no longer (`against`)
        that the others are too few to approve it, or most of all parties have `withdrawn`.

        Where all must approve, one withdrawal is enough: each party could have rejected, and who
        withdraws uses that right late, also after it approved. With `needed` = n − f and f liars
        at the most, it takes an honest party too.
        """
        return len(against) > self.n - self.needed or len(withdrawn) > self.n // 2

    def __str__(self) -> str:
        return self.name


_THRESHOLD = re.compile(r"threshold\(\s*(\d+)\s*\)")


def parse_policy(text: str, n: int) -> Policy:
    """`"unanimous"` or `"threshold(k)"` among `n` parties.

    Raises:
        UsageError: for anything else, or when k is not in 1..n.
    """
    text = text.strip()
    if text == "unanimous":
        return Policy("unanimous", n, n)
    if match := _THRESHOLD.fullmatch(text):
        k = int(match[1])
        if not 1 <= k <= n:
            raise UsageError(f"policy: threshold({k}) among {n} parties; use 1 to {n}")
        return Policy(f"threshold({k})", k, n)
    hint = nearest(text, ("unanimous", "threshold(2)"))
    raise UsageError(f"policy: {text!r} is not known{hint}")
