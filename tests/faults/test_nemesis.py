"""The nemesis: reproducible, within its limits, and survived by those who owe it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND
from mpclab.faults.byzantine import ByzantineFault
from mpclab.faults.nemesis import DRAWN, nemesis
from mpclab.faults.nodes import PartyFault
from mpclab.faults.plan import KINDS, Fault, parse_fault, schedule
from mpclab.trace import rows
from tests.faults.plans import plans
from tests.faults.shouting import shouters

EVERYTHING = tuple(DRAWN)


def draw(seed: int, n: int, rate: float = 3.0) -> list[Fault]:
    return nemesis(seed, n, EVERYTHING, until=10 * SECOND, rate=rate)


@given(st.integers(), st.integers(2, 10))
def test_the_same_seed_draws_the_same_plan(seed: int, n: int) -> None:
    plan = draw(seed, n)
    assert plan == draw(seed, n)
    assert [f.at for f in plan] == sorted(f.at for f in plan)
    assert [parse_fault(f.as_fields(), n) for f in plan] == plan


def test_another_seed_draws_another_plan() -> None:
    assert len({str([f.as_fields() for f in draw(seed, 4)]) for seed in range(50)}) == 50


@given(st.integers(), st.integers(2, 10), st.data())
def test_at_most_f_parties_are_faulty_at_any_time(seed: int, n: int, data: st.DataObject) -> None:
    f = data.draw(st.integers(0, n))
    plan = nemesis(seed, n, EVERYTHING, until=10 * SECOND, rate=5, most=f)
    liars = {x.party for x in plan if isinstance(x, ByzantineFault)}
    own = [x for x in plan if isinstance(x, PartyFault) and not isinstance(x, ByzantineFault)]
    for moment in {x.at for x in own} | {0}:
        down = {x.party for x in own if x.at <= moment < x.at + (x.lasts or 0)}
        assert len(liars | down) <= f


@given(st.integers(), st.integers(2, 10))
def test_everything_heals_in_time(seed: int, n: int) -> None:
    for fault in draw(seed, n):
        assert fault.momentary or fault.lasts is not None
        assert fault.at + (fault.lasts or 0) <= 10 * SECOND


def test_the_rate_is_kept_where_nothing_is_refused() -> None:
    count = sum(len(nemesis(s, 4, ["loss"], until=20 * SECOND, rate=2)) for s in range(50))
    assert count / 50 == pytest.approx(40, rel=0.1)


def test_every_kind_that_can_be_drawn_is() -> None:
    seen = {fault.word for seed in range(20) for fault in draw(seed, 7)}
    assert seen == set(DRAWN) <= {*KINDS, "torn-crash"}


@given(plans(4, EVERYTHING, until=2 * SECOND))
def test_any_plan_runs_heals_and_leaves_nothing_behind(plan: list[Fault]) -> None:
    world = shouters(4, words=5)
    for fault in plan:
        schedule(fault, world)
    world.run()
    assert world.link_rules.quiet
    assert not world.link_rules.active
    assert world.link_rules.held == 0
    assert set(world.actors) == {1, 2, 3, 4}
    marks = [(row.index, row.phase) for row in world.trace.of(rows.Fault) if row.phase != "act"]
    assert sorted(marks) == sorted((i, p) for i in range(len(plan)) for p in ("begin", "end"))


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (["lose"], "kinds: 'lose' cannot be drawn; did you mean 'loss'?"),
        (["server-stop"], "kinds: 'server-stop' cannot be drawn"),
        ([], "needs two parties, kinds"),
    ],
)
def test_bad_input_is_refused(kinds: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        nemesis(1, 4, kinds)
    assert words in str(caught.value)
