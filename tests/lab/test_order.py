"""A log is committed in its order and by all, also by who was away for long."""

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


AWAY = """
name: found by a soak, raft seed 5003
world: simulated
parties: 5
threshold: 3
policy: unanimous
agreement: raft
network: {delay: 'uniform(50ms, 400ms)'}
operations:
  - {at: 1051ms, by: 4, kind: note, text: number 2}
  - {at: 1178500us, by: 5, kind: note, text: number 0}
  - {at: 1810ms, by: 4, kind: note, text: number 1}
  - {at: 1854750us, by: 5, kind: note, text: number 3}
faults:
  - {at: 826ms, for: 2452ms, kind: loss, from: [4], to: [2], both: true, rate: 0.47, burst: 3}
  - {at: 1721ms, for: 3059ms, kind: crash, party: 3, torn: true}
  - {at: 1984ms, for: 783ms, kind: delay, from: [4], to: [2], delay: exponential(43ms)}
  - {at: 2354ms, for: 2635ms, kind: loss, from: [5], to: [2], both: true, rate: 0.44, burst: 8}
  - {at: 2821ms, for: 1524ms, kind: delay, from: [4], to: [1], delay: exponential(140ms)}
  - {at: 2884ms, for: 1245ms, kind: loss, from: [3], to: [4], rate: 0.4}
  - {at: 4544ms, for: 576ms, kind: delay, from: [1], delay: exponential(93ms)}
  - {at: 5151ms, for: 769ms, kind: crash, party: 4, torn: true}
  - {at: 5295ms, for: 1148ms, kind: delay, from: [5], to: [4], delay: exponential(31ms)}
  - {at: 5314ms, for: 986ms, kind: delay, from: [1], to: [5], delay: exponential(283ms)}
  - {at: 5882ms, for: 652ms, kind: loss, from: [5], to: [2], rate: 0.48}
  - {at: 5911ms, for: 719ms, kind: delay, from: [5], delay: exponential(244ms)}
  - {at: 6422ms, for: 146ms, kind: delay, from: [1], to: [3], delay: exponential(135ms)}
  - {at: 6865ms, for: 305ms, kind: delay, from: [3], to: [4], both: true, delay: exponential(81ms)}
  - {at: 6935ms, for: 557ms, kind: loss, rate: 0.3}
  - {at: 7119ms, for: 137ms, kind: loss, from: [5], rate: 0.49}
  - {at: 7503ms, for: 215ms, kind: crash, party: 4, torn: true}
checks: [agreement, validity, integrity, total-order, durability, leaders, certificates, blame]
until: 60s
seed: 5003
"""


def test_who_gave_up_while_it_was_away_commits_what_the_others_did() -> None:
    run = Scenario.from_text(AWAY).run()
    assert not run.violated, run
    assert [o.status for o in run.outcomes] == ["committed", "committed", "aborted", "aborted"]
    gave_up = {(row.actor, row.note.op) for row in run.trace.notes("aborted")}
    committed = {(row.actor, row.note.op) for row in run.trace.notes("committed")}
    assert gave_up & committed, "party 3 gave up first, which is what this is about"
