"""Parties that crash, sleep, are slow, lose track of time, or leave."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS
from mpclab.faults.plan import heal_all, inject, parse_fault
from mpclab.trace import rows
from mpclab.worlds.simulated import SimulatedWorld
from tests.faults.shouting import everything, heard, put, shouters

ALL = list(range(1, 11))


def said(world: SimulatedWorld, party: int) -> list[int]:
    """When a party sent its words, ms."""
    return [row.at // MS for row in world.trace.of(rows.Sent) if row.actor == party]


def phases(world: SimulatedWorld) -> list[tuple[str, str]]:
    return [(row.kind, row.phase) for row in world.trace.of(rows.Fault)]


# --- crash and restart --------------------------------------------------------------------------


def test_a_crashed_party_hears_and_says_nothing() -> None:
    world = shouters(3)
    put(world, 3, kind="crash", party=2, at="450ms")
    world.run()
    assert heard(world, 1, 2) == [1, 2, 3, 4]
    assert heard(world, 1, 3) == ALL
    with pytest.raises(UsageError, match="party 2 is not running"):
        everything(world, 2)
    assert (
        sum(row.why == "crashed" and row.actor == 2 for row in world.trace.of(rows.Dropped)) == 12
    )


def test_a_restarted_party_goes_on_from_what_it_stored() -> None:
    world = shouters(3)
    put(world, 3, kind="crash", party=2, at="450ms", restart_after="1s")
    world.run()
    assert heard(world, 1, 2) == ALL
    assert said(world, 2) == [100, 200, 300, 400, 1550, 1650, 1750, 1850, 1950, 2050]


def test_with_amnesia_it_begins_again() -> None:
    world = shouters(3)
    put(world, 3, kind="crash", party=2, at="450ms", restart_after="1s", amnesia=True)
    world.run()
    assert heard(world, 1, 2) == [1, 2, 3, 4, *ALL]


def test_messages_of_two_lives_have_different_numbers() -> None:
    world = shouters(3)
    put(world, 3, kind="crash", party=2, at="450ms", restart_after="1s", amnesia=True)
    world.run()
    ids = [row.id for row in world.trace.of(rows.Sent) if row.actor == 2]
    assert len(ids) == len(set(ids)) == 14


def test_timers_of_an_earlier_life_are_gone() -> None:
    world = shouters(3)
    put(world, 3, kind="crash", party=2, at="450ms", restart_after="20ms")
    world.run()
    assert said(world, 2)[4] == 470 + 100  # not 500


def test_restart_may_be_a_fault_of_its_own() -> None:
    world = shouters(3)
    put(world, 3, kind="crash", party=2, at="450ms")
    put(world, 3, kind="restart", party=2, at="900ms")
    world.run()
    assert heard(world, 1, 2) == ALL
    assert phases(world) == [("crash", "begin"), ("restart", "begin"), ("restart", "end")]


def test_what_cannot_happen_is_said_and_the_run_goes_on() -> None:
    world = shouters(3)
    for at, kind in (
        ("100ms", "restart"),
        ("200ms", "crash"),
        ("300ms", "crash"),
        ("350ms", "pause"),
    ):
        put(world, 3, kind=kind, party=2, at=at)
    world.run()
    acts = [row.text for row in world.trace.of(rows.Fault) if row.phase == "act"]
    assert acts == [
        "does not happen: party 2 has not crashed",
        "does not happen: party 2 is not running",
        "does not happen: party 2 is not running",
    ]
    assert heard(world, 1, 3) == ALL


# --- pause --------------------------------------------------------------------------------------


def test_a_paused_party_catches_up_when_it_resumes() -> None:
    world = shouters(3)
    put(world, 3, kind="pause", party=2, at="250ms", for_="500ms")
    world.run()
    assert heard(world, 2, 1) == ALL
    arrivals = [at // MS for at, sender, _ in everything(world, 2) if sender == 1]
    assert arrivals == [110, 210, 750, 750, 750, 750, 750, 810, 910, 1010]
    assert said(world, 2)[:4] == [100, 200, 750, 850]  # one word was due; its timer had waited


def test_a_party_that_crashes_while_paused_loses_what_it_had_not_read() -> None:
    world = shouters(3)
    put(world, 3, kind="pause", party=2, at="250ms")
    put(world, 3, kind="crash", party=2, at="500ms")
    world.run(limit=550 * MS)
    lost = [row for row in world.trace.of(rows.Dropped) if row.why == "crashed"]
    assert [(row.actor, row.at // MS) for row in lost] == [(2, 500)] * 4 + [(2, 510)] * 2


def test_pausing_twice_is_pausing_once() -> None:
    world = shouters(2)
    world.pause(2)
    world.pause(2)
    world.run(limit=200 * MS)
    world.resume(2)
    world.resume(2)
    world.run()
    assert heard(world, 2, 1) == ALL


# --- slow ---------------------------------------------------------------------------------------


def test_a_slow_party_takes_its_time_for_each_step() -> None:
    """Three steps come each 100 ms (its timer, two words); at 40 ms each it falls behind."""
    world = shouters(3, words=4)
    put(world, 3, kind="slow", party=2, step="40ms")
    world.run()
    times = [at // MS for at, sender, _ in everything(world, 2) if sender != 2]
    assert times == [180, 220, 260, 300, 380, 420, 460, 500]  # 340 is its own second word
    assert heard(world, 2, 1) == heard(world, 2, 3) == [1, 2, 3, 4]
    assert said(world, 2)[0] == 140
    assert said(world, 1) == [100, 200, 300, 400]


def test_after_a_slow_time_the_order_stays() -> None:
    world = shouters(2, words=20, pause=20 * MS)
    put(world, 2, kind="slow", party=2, step="30ms", at="100ms", for_="100ms")
    world.run()
    assert heard(world, 2, 1) == list(range(1, 21))
    last = max(at for at, sender, _ in everything(world, 2) if sender == 1)
    assert last == 410 * MS  # it has caught up


# --- clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drift", "said"),
    [(9, "10 times as fast as it should"), (0.1, "10% too fast"), (-0.25, "25% too slow")],
)
def test_a_drift_is_said_in_words(drift: float, said: str) -> None:
    fault = parse_fault({"kind": "skew", "party": 2, "drift": drift}, 3)
    assert fault.sentence() == f"the clock of party 2 runs {said}"


def test_a_skewed_clock_shows_another_time() -> None:
    world = shouters(2, words=1)
    put(world, 2, kind="skew", party=2, offset="5s", at="105ms")
    world.run()
    assert [at // MS for at, sender, _ in everything(world, 2) if sender == 1] == [5110]
    assert [at // MS for at, sender, _ in everything(world, 1) if sender == 2] == [110]


def test_a_drifting_clock_makes_timers_early_or_late() -> None:
    for drift, each in ((1.0, 50), (-0.5, 200)):
        world = shouters(2, words=4)
        put(world, 2, kind="skew", party=2, drift=drift)
        world.run()
        assert said(world, 2) == [each, 2 * each, 3 * each, 4 * each]
        assert said(world, 1) == [100, 200, 300, 400]


def test_a_jump_of_the_clock_moves_deadlines() -> None:
    """Timers are deadlines: a jump ahead makes them due, a jump back puts them off."""
    ahead, back = shouters(2, words=3), shouters(2, words=3)
    put(ahead, 2, kind="skew", party=2, offset="60ms", at="130ms")
    put(back, 2, kind="skew", party=2, offset="-60ms", at="130ms")
    ahead.run()
    back.run()
    assert said(ahead, 2) == [100, 140, 240]
    assert said(back, 2) == [100, 260, 360]


def test_a_clock_that_is_set_right_goes_on() -> None:
    world = shouters(2, words=5)
    put(world, 2, kind="skew", party=2, drift=1.0, at="0ms", for_="120ms")
    world.run()
    assert heard(world, 1, 2) == [1, 2, 3, 4, 5]
    assert said(world, 2)[:2] == [50, 100]
    # set at 100 ms for 300 ms of its own clock, which is right again from 120 ms on
    assert said(world, 2)[2] == 300


skews = st.fixed_dictionaries(
    {
        "party": st.integers(1, 3),
        "at": st.integers(0, 1500).map("{}ms".format),
        "for_": st.integers(1, 900).map("{}ms".format),
        "offset": st.integers(-3000, 3000).filter(bool).map("{}ms".format),
        "drift": st.sampled_from([-0.9, -0.5, 0.0, 2.0]),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(skews, min_size=1, max_size=3))
def test_time_never_goes_back_whatever_clocks_show(faults: list[dict[str, Any]]) -> None:
    """A clock that is set right made what was due long ago happen long ago."""
    world = shouters(3)
    for fault in faults:
        put(world, 3, kind="skew", **fault)
    world.run()
    times = [row.at for row in world.trace]
    assert times == sorted(times)
    assert heard(world, 1, 2) == ALL


# --- leaving, and healing all -------------------------------------------------------------------


def test_who_leaves_is_gone() -> None:
    world = shouters(3)
    put(world, 3, kind="leave", party=2, at="250ms")
    world.run()
    assert world.actors == (1, 3)
    assert heard(world, 1, 2) == [1, 2]
    assert {row.why for row in world.trace.of(rows.Dropped)} == {"gone"}


def test_heal_all_ends_what_is_active() -> None:
    world = shouters(3)
    for fields in ({"kind": "crash", "party": 1}, {"kind": "loss", "rate": 1}, {"kind": "hold"}):
        inject(parse_fault(fields, 3), world)
    assert world.actors == (2, 3)
    heal_all(world)
    assert world.actors == (1, 2, 3)
    assert world.link_rules.quiet
    world.run()
    assert heard(world, 2, 1) == ALL
