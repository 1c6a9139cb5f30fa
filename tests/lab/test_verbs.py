"""What cannot be is refused in words that say what can, and the lab goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mpclab.core import UsageError
from mpclab.lab import Lab


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Lab(4), "from a scenario or from fields, not from 4"),
        (lambda: Lab("run.yaml"), "Lab(Scenario.from_file(…))"),
        (lambda: Lab(partys=4), "did you mean 'parties'"),
        (lambda: Lab(agreement={"raft": {"prevot": False}}), "did you mean 'prevote'"),
    ],
)
def test_a_lab_that_cannot_be_made(make: Callable[[], Lab], says: str) -> None:
    with pytest.raises(UsageError) as error:
        make()
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda lab: lab.inject(7), "a fault is its kind or a mapping of fields, not 7"),
        (lambda lab: lab.inject("partitoin"), "did you mean 'partition'"),
        (lambda lab: lab.inject("crash"), "party"),
        (lambda lab: lab.set_private(1, "a"), "'a' is not a number"),
        (lambda lab: lab.set_private(9, 1), "party 9: use 1 to 3"),
        (lambda lab: lab.set_votes(9, "approve"), "party 9: use 1 to 3"),
        (lambda lab: lab.set_votes(1, "aprove"), "did you mean 'approve'"),
        (lambda lab: lab.wait(-1), "wait: -1 is not a number of seconds"),
        (lambda lab: lab.wait("1 sec"), "wait: '1 sec' is not a duration"),
        (lambda lab: lab.wait(None), "wait: None is not a number of seconds"),
        (lambda lab: lab.run(limit=-0.5), "limit: -0.5"),
        (lambda lab: lab.join(timeout=float("nan")), "timeout: nan"),
        (lambda lab: lab.vote(1, "nothing"), "'nothing' is not known"),
        (lambda lab: lab.crash(9), "party 9 is not here; parties here: 1, 2, 3"),
        (lambda lab: lab.propose(by=9), "party 9 is not here"),
    ],
)
def test_a_verb_that_cannot_be_done(do: Callable[[Lab], object], says: str) -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        with pytest.raises(UsageError) as error:
            do(lab)
        assert says in str(error.value)
        lab.propose(by=1, kind="note", text="all the same")
        assert [outcome.status for outcome in lab.run()] == ["committed"]


def test_to_join_one_must_be_there() -> None:
    with Lab(parties=3) as lab:
        lab.start_server()
        with pytest.raises(UsageError, match=r"call spawn\(\) first"):
            lab.join()


def test_a_fault_may_be_named_by_its_kind() -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        fault = lab.inject("partition", isolated=3).fault
        assert fault == lab.inject(kind="partition", isolated=3).fault


def test_a_duration_is_written_one_way_everywhere() -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        lab.wait("1.5s")
        assert lab.now == 1_500_000
        lab.join(timeout="2s")
        lab.run(lambda: False, limit="500ms")
        assert lab.now == 2_000_000
        assert all(fault.fault.lasts for fault in lab.nemesis(3, lasts="2s"))
