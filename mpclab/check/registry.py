"""The checks by name, and how to run some of them on a trace."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from mpclab.check.agreement import agreement
from mpclab.check.blame import blame
from mpclab.check.facts import Facts, PolicyLike
from mpclab.check.integrity import integrity
from mpclab.check.linearizability import linearizability
from mpclab.check.order import durability, leaders, total_order
from mpclab.check.termination import termination
from mpclab.check.validity import certificates, validity
from mpclab.check.verdict import Verdict
from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import Party
from mpclab.trace import Trace

CHECKS: dict[str, Callable[[Facts], Verdict]] = {
    "agreement": agreement,
    "validity": validity,
    "integrity": integrity,
    "termination": termination,
    "total-order": total_order,
    "linearizability": linearizability,
    "durability": durability,
    "leaders": leaders,
    "certificates": certificates,
    "blame": blame,
}


def run_checks(
    trace: Trace,
    names: Iterable[str] = ("agreement", "validity", "integrity", "termination"),
    *,
    n: int,
    policy: PolicyLike = "unanimous",
    faulty: Iterable[Party] | None = None,
) -> list[Verdict]:
    """Judge a trace by these checks, in this order.

    Args:
        policy: `"unanimous"`, `"threshold(k)"`, or anything that says how many are `needed`.
        faulty: parties whose word does not count; by default those that the Byzantine faults
            in the trace aim at.

    Raises:
        UsageError: a name that is no check; says which is nearest.
    """
    wanted = list(names)
    check_names(wanted)
    ordered, numbers = in_order_of_time(trace)
    facts = Facts.of(ordered, n=n, policy=policy, faulty=faulty)
    verdicts = [CHECKS[name](facts) for name in wanted]
    if numbers is None:
        return verdicts
    return [
        replace(v, witnesses=tuple(sorted(numbers[row] for row in v.witnesses))) for v in verdicts
    ]


def in_order_of_time(trace: Trace) -> tuple[Trace, list[int] | None]:
    """The same rows in the order of their times, and each one's number in `trace`; None: as is.

    The rows of a party in a process of its own arrive a little late. All processes of a machine
    read one clock, so sorted by time an effect follows its cause again.
    """
    rows = list(trace)
    if all(earlier.at <= later.at for earlier, later in pairwise(rows)):
        return trace, None
    numbers = sorted(range(len(rows)), key=lambda number: rows[number].at)
    ordered = Trace()
    for number in numbers:
        ordered.append(rows[number])
    return ordered, numbers


def check_names(names: Iterable[str]) -> None:
    """Raise `UsageError` for the first of `names` that is no check."""
    for name in names:
        if name not in CHECKS:
            raise UsageError(f"checks: {name!r} is not known{nearest(name, CHECKS)}")
