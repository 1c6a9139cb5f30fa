"""Every order of a few events: right protocols are exhausted, wrong ones are found."""

from collections import Counter

import pytest

from mpclab.consensus.registry import agreement
from mpclab.consensus.wrong import OneEcho, Pbft2f
from mpclab.core import UsageError
from mpclab.plots import spacetime
from mpclab.search import explore, walk
from mpclab.trace import Delivered, Sent


def test_a_right_protocol_is_exhausted_and_says_to_what_bound() -> None:
    found = explore(agreement("2pc"), parties=3, timers=1)
    assert found.exhausted
    assert found.counterexample is None
    assert found.decided > 100
    assert "states (every one)" in str(found)
    again = explore(agreement("2pc"), parties=3, timers=1)
    assert (again.states, again.transitions, again.depth) == (
        found.states, found.transitions, found.depth,
    )  # fmt: skip


def test_crashes_between_effects_and_losses_are_tried_too() -> None:
    calm = explore(agreement("2pc"), parties=2)
    torn = explore(agreement("2pc"), parties=2, crashes=1, torn=True, losses=1)
    assert torn.exhausted
    assert torn.counterexample is None
    assert torn.states > 10 * calm.states


def test_the_counterexample_is_a_shortest_one_and_can_be_drawn() -> None:
    found = explore(OneEcho, parties=3, liars={3}, submits={1: "a", 3: "b"}).counterexample
    assert found is not None
    assert found.problem == "parties 1 and 2 end b differently"
    assert [step.what for step in found.steps] == ["submit", "deliver", "deliver"]
    kinds = Counter(type(row) for row in found.trace)
    assert kinds[Delivered] == 2
    assert kinds[Sent] >= 4  # to each of two, the one story and the other
    decided = found.trace.notes("decided")
    assert {row.actor for row in decided} >= {1, 2}
    assert len(spacetime(found.trace).collections) >= 2  # arrows and their heads
    assert "party 3 submits b" in str(found)


def test_a_wrong_quorum_is_found_by_a_random_walk() -> None:
    found = walk(Pbft2f, parties=4, liars={1}, runs=200)
    assert found.counterexample is not None
    assert "differently" in found.counterexample.problem


def test_the_right_one_stands_the_same_walks() -> None:
    found = walk(agreement("pbft"), parties=4, liars={1}, runs=40, depth=60)
    assert found.counterexample is None
    assert found.decided > 0


def test_one_seed_is_one_walk() -> None:
    one, two = (walk(Pbft2f, parties=4, liars={1}, runs=50, seed=9) for _ in range(2))
    assert str(one) == str(two)


@pytest.mark.parametrize(
    ("bounds", "why"),
    [({"budget": 20}, "20 states"), ({"depth": 3}, "3 events"), ({"seconds": 0.0}, "0 s")],
)
def test_what_was_not_tried_is_said(bounds: dict[str, float], why: str) -> None:
    found = explore(agreement("2pc"), parties=3, timers=1, **bounds)  # type: ignore[arg-type]
    assert not found.exhausted
    assert why in found.stopped
    assert "not all" in str(found)


def test_it_can_be_cancelled() -> None:
    found = explore(agreement("2pc"), parties=3, timers=1, progress=lambda *_: False)
    assert found.stopped == "cancelled"


def test_parties_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="party 9: use 1 to 3"):
        explore(agreement("2pc"), parties=3, submits={9: "a"})
