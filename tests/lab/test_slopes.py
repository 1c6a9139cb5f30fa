"""What happens late in a long run costs what it cost early.

Function calls are counted, which a busy machine does not change; and CPU time is taken, early and
late in turn, the least of some tries. What grows with the run would differ by a factor of 16 or 32.
"""

from __future__ import annotations

import cProfile
import gc
import time
from collections.abc import Callable, Iterator

import pytest

from mpclab.check import run_checks
from mpclab.core.node import Node
from mpclab.lab import Lab
from mpclab.lab.scenario import DEFAULT_CHECKS
from mpclab.trace import Trace
from mpclab.trace.fold import State

FLAT = 1.3
"""How many more calls a late one may take than an early one."""
BUSY = 2.0
"""How much more CPU time: caches are colder in a long run, and others use this machine."""
TRIES = 2


def growth(early: Callable[[], object], late: Callable[[], object]) -> tuple[float, float]:
    """How many times the calls, and the CPU time, of `early` `late` takes."""
    calls, least = [0] * 2, [float("inf")] * 2
    for which, work in enumerate((early, late)):
        counter = cProfile.Profile()
        counter.runcall(work)
        calls[which] = sum(one.callcount for one in counter.getstats())
    for _ in range(TRIES):
        for which, work in enumerate((early, late)):
            gc.collect()
            began = time.process_time()
            work()
            least[which] = min(least[which], time.process_time() - began)
    return calls[1] / calls[0], least[1] / least[0]


def propose(lab: Lab, count: int) -> None:
    for _ in range(count):
        lab.propose(by=1, text="x")
        lab.run()


@pytest.fixture(scope="module")
def labs() -> Iterator[tuple[Lab, Lab]]:
    """Two labs, one after 100 operations and one after 3,200."""
    strict, Node.strict = Node.strict, False
    try:
        with Lab(parties=2, mesh="ready") as young, Lab(parties=2, mesh="ready") as old:
            for lab, count in ((young, 100), (old, 3200)):
                lab.spawn()
                lab.join()
                propose(lab, count)
            assert [outcome.status for outcome in old.outcomes()] == ["committed"] * 3200
            yield young, old
    finally:
        Node.strict = strict


def test_operation_3200_costs_what_operation_100_does(labs: tuple[Lab, Lab]) -> None:
    young, old = labs
    calls, cpu = growth(lambda: propose(young, 20), lambda: propose(old, 20))
    assert calls <= FLAT
    assert cpu <= BUSY


@pytest.fixture(scope="module")
def traces(labs: tuple[Lab, Lab]) -> tuple[Trace, Trace]:
    """The first sixteenth of a long trace, and the whole."""
    rows = list(labs[1].trace)
    short, whole = Trace(), Trace()
    for number, row in enumerate(rows):
        whole.append(row)
        if number < len(rows) // 16:
            short.append(row)
    return short, whole


@pytest.mark.parametrize("judge", ["fold", *DEFAULT_CHECKS])
def test_a_row_of_a_long_trace_costs_what_one_of_a_short_trace_does(
    judge: str, traces: tuple[Trace, Trace]
) -> None:
    short, whole = traces

    def read(trace: Trace) -> None:
        if judge == "fold":
            state = State()
            for row in trace:
                state.apply(row)
        else:
            run_checks(trace, [judge], n=2)

    calls, cpu = growth(lambda: read(short), lambda: read(whole))
    longer = len(whole) / len(short)
    assert calls <= FLAT * longer
    assert cpu <= BUSY * longer
