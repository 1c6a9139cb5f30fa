"""One scenario a fault, in every world: nothing goes wrong that must not, and what can be
settled once the fault is over is settled."""

import pytest

from mpclab.core.ids import SECOND
from mpclab.lab import Lab, Scenario

PLAIN = """
parties: 4
policy: threshold(3)
operations:
  - {at: 0ms, by: 1, kind: note, text: "one"}
  - {at: 300ms, by: 2, kind: note, text: "two"}
checks: [agreement, validity, integrity, termination, certificates, durability, blame]
until: 25s
patience: 8s
seed: 3
"""

FAULTS = {
    "loss": "{at: 0ms, for: 1s, kind: loss, rate: 0.4}",
    "delay": '{at: 0ms, for: 1s, kind: delay, delay: "normal(40ms, 20ms)"}',
    "duplicate": "{at: 0ms, for: 1s, kind: duplicate, rate: 0.5}",
    "reorder": "{at: 0ms, for: 1s, kind: reorder, rate: 0.5}",
    "corrupt": "{at: 0ms, for: 1s, kind: corrupt, rate: 0.3}",
    "hold": "{at: 0ms, for: 1s, kind: hold, from: [1], to: [2, 3]}",
    "partition": "{at: 0ms, for: 1s, kind: partition, groups: [[1, 2], [3, 4]]}",
    "crash": "{at: 50ms, kind: crash, party: 3, restart_after: 500ms}",
    "pause": "{at: 0ms, for: 1s, kind: pause, party: 3}",
    "slow": "{at: 0ms, for: 1s, kind: slow, party: 2, step: 5ms}",
    "skew": "{at: 0ms, for: 1s, kind: skew, party: 4, offset: 2s}",
    "reset": "{at: 50ms, kind: reset, between: [1, 2]}",
    "server-kill": "{at: 0ms, for: 1s, kind: server-kill}",
}


@pytest.mark.parametrize("world", ["simulated", "websocket", "webrtc"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_does_no_harm_that_it_must_not(fault: str, world: str) -> None:
    scenario = Scenario.from_text(PLAIN + f"faults:\n  - {FAULTS[fault]}\nworld: {world}\n")
    run = scenario.run()
    assert not run.violated, [v for v in run.verdicts if v.verdict == "violated"]
    assert [o.status for o in run.outcomes] == ["committed", "committed"], run
    begun = [row for row in run.trace.rows if getattr(row, "phase", "") == "begin"]
    assert begun, "the fault never began"
    assert run.trace.end < 25 * SECOND + run.ready_at


@pytest.mark.parametrize("world", ["simulated", "webrtc"])
def test_without_a_data_channel_the_server_carries_on(world: str) -> None:
    with Lab(parties=3, world=world, seed=4) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        fault = lab.inject(kind="no-link", from_=[1], to=[2])
        lab.run(lambda: lab.state.link(1, 2) == "relay", limit=60)
        operation = lab.propose(by=1, kind="note", text="the long way")
        lab.run()
        assert operation.status == "committed"
        lab.heal(fault)
        lab.run(lambda: lab.state.link(1, 2) == "confirmed", limit=90)
        assert lab.state.link(1, 2) == "confirmed"
