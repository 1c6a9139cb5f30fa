"""A check: whatever is committed is committed soon after it was proposed."""

from __future__ import annotations

from mpclab import SECOND, Duration, register
from mpclab.check import Facts, Verdict, ok, unknown, violated
from mpclab.core.notes import Committed, Proposed
from mpclab.trace import Noted


@register
def prompt(facts: Facts, within: Duration = 2 * SECOND) -> Verdict:
    """No honest party commits an operation later than `within` after it was proposed."""
    proposed: dict[str, int] = {}
    late = []
    commits = 0
    for number, row in enumerate(facts.rows):
        match row:
            case Noted(at=at, note=Proposed(op=op)):
                proposed.setdefault(op, at)
            case Noted(at=at, actor=actor, note=Committed(op=op)) if op in proposed:
                commits += 1
                took = at - proposed[op]
                if took > within and actor not in facts.faulty:
                    late.append((f"party {actor} committed after {took / 1000:g} ms", [number]))
    if late:
        return violated("prompt", late)
    if not commits:
        return unknown("prompt", "nothing was committed")
    return ok("prompt", f"each of {commits} commits came within {within / 1000:g} ms")
