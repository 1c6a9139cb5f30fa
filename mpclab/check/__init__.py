"""Checks: pure functions from a trace to a verdict, with the rows that prove it.

One of your own is a function of `Facts`; its further parameters may be set in a scenario file:

    @register
    def soon(facts: Facts, within: Duration = 500 * MS) -> Verdict: ...
"""

from mpclab.check.facts import Facts
from mpclab.check.registry import CHECKS, Check, check_names, run_checks
from mpclab.check.verdict import Verdict, ok, unknown, violated

__all__ = [
    "CHECKS",
    "Check",
    "Facts",
    "Verdict",
    "check_names",
    "ok",
    "run_checks",
    "unknown",
    "violated",
]
