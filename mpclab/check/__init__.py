"""Checks: pure functions from a trace to a verdict, with the rows that prove it."""

from mpclab.check.facts import Facts
from mpclab.check.registry import CHECKS, check_names, run_checks
from mpclab.check.verdict import Verdict

__all__ = ["CHECKS", "Facts", "Verdict", "check_names", "run_checks"]
