"""A log is committed in its order and by all, also by who was away for long."""

import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.lab import Scenario

SCENARIO = """
name: found by a soak, pbft seed 3
parties: 5
policy: threshold(4)
agreement: pbft
network: {delay: 'uniform(50ms, 250ms)'}
operations:
  - {at: 107ms, by: 4, kind: note, text: number 2}
  - {at: 536ms, by: 5, kind: note, text: number 1}
  - {at: 2124ms, by: 5, kind: note, text: number 3}
  - {at: 5125ms, by: 5, kind: note, text: number 0}
faults:
  - {at: 970ms, for: 275ms, kind: crash, party: 4}
  - {at: 1662ms, for: 2414ms, kind: delay, delay: exponential(77ms)}
  - {at: 1833ms, for: 1299ms, kind: partition, groups: [[1], [2, 3, 4, 5]]}
  - at: 1980ms
    for: 1582ms
    kind: delay
    from: [4]
    to: [1]
    both: true
    delay: exponential(143ms)
  - {at: 3093ms, for: 2121ms, kind: loss, from: [2], rate: 0.45, burst: 3}
  - {at: 4428ms, for: 635ms, kind: pause, party: 5}
  - {at: 4801ms, for: 351ms, kind: delay, from: [2], delay: exponential(257ms)}
checks: [agreement, validity, integrity, total-order, durability]
until: 60s
seed: 3
"""


def test_records_that_come_too_early_wait_for_those_before_them() -> None:
    run = Scenario.from_text(SCENARIO).run()
    assert [o.status for o in run.outcomes] == ["committed"] * 4
    assert not run.violated, run
    places: dict[int, list[int]] = {}
    for row in run.trace.notes("committed"):
        places.setdefault(row.actor, []).append(row.note.index)
    assert all(mine == sorted(mine) for mine in places.values())


CUT_OFF = """
parties: 4
policy: threshold(3)
agreement: AGREEMENT
mesh: ready
network: {delay: 10ms}
operations:
  - {at: 500ms, by: 1, kind: note, text: pay}
faults:
  - {at: 505ms, for: 11500ms, kind: partition, isolated: 4}
checks: [agreement, validity, integrity, termination, blame]
until: 120s
"""


@pytest.mark.parametrize("name", AGREEMENTS)
def test_what_expired_where_a_party_was_cut_off_is_committed_there_too(name: str) -> None:
    run = Scenario.from_text(CUT_OFF.replace("AGREEMENT", name)).run()
    [outcome] = run.outcomes
    assert (outcome.status, run.ok) == ("committed", True), run
    if name not in ("2pc", "3pc"):  # they have deadlines of their own
        expired = {row.actor for row in run.trace.notes("expired")}
        assert expired == {4}, "this is what it is about"
    assert {row.actor for row in run.trace.notes("committed")} == {1, 2, 3, 4}


PARTED = """\
parties: 4
threshold: 2
policy: threshold(3)
agreement: raft
network: {delay: 'uniform(5ms, 200ms)'}
operations:
  - {at: 1785ms, by: 1, kind: note, text: t0}
  - {at: 1988ms, by: 1, kind: note, text: t1}
  - {at: 3868ms, by: 2, kind: note, text: t2}
  - {at: 2110ms, by: 4, kind: note, text: t3}
  - {at: 500ms, by: 3, kind: note, text: t4}
faults:
  - {at: 1379ms, for: 3750ms, kind: partition, groups: [[1], [2, 3, 4]]}
checks: [agreement, validity, integrity, termination, total-order]
until: 40s
seed: 2425
mesh: ready
patience: 3s
"""


def test_a_run_goes_on_where_what_had_expired_is_approved_after_all() -> None:
    """1 had given up both of its operations; back among the others, all of them certify them."""
    run = Scenario.from_text(PARTED).run()
    assert {o.status for o in run.outcomes} == {"committed"}, run
    assert run.ok, run
    assert {row.actor for row in run.trace.notes("expired")} == {1}, "this is what it is about"
