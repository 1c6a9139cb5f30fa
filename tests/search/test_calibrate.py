"""The network that a run was on is found again, and how far off the fit is."""

from typing import Any

import numpy as np
import pytest

from mpclab.core import UsageError
from mpclab.lab import Run, Scenario
from mpclab.search import calibrate
from mpclab.search.calibrate import _per_byte, ks_distance
from mpclab.trace.flights import Flight


def run_on(network: dict[str, Any], **more: Any) -> Run:
    fields = {
        "parties": 4, "agreement": "pbft", "mesh": "ready", "network": network, "seed": 5,
        "operations": [
            {"at": f"{300 * k}ms", "by": k % 4 + 1, "kind": "note", "text": f"n{k}"}
            for k in range(8)
        ],
        **more,
    }  # fmt: skip
    return Scenario.parse(fields).run()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("delay", "shape", "typical"),
    [
        ("normal(40ms, 4ms)", "normal", 40_000),
        ("uniform(10ms, 90ms)", "uniform", 50_000),
        ("exponential(30ms)", "exponential", 20_794),
        ("25ms", "constant", 25_000),
    ],
)
def test_the_network_of_a_simulated_run_is_found_again(
    delay: str, shape: str, typical: int
) -> None:
    found = calibrate(run_on({"delay": delay, "ordered": False}), seeds=2)
    assert found.network.delay.shape == shape
    assert found.network.delay.typical == pytest.approx(typical, rel=0.2)
    assert found.network.loss == 0
    assert found.network.bandwidth == 0
    assert found.network.ordered is (shape == "constant")
    assert found.distance < 2 * found.likely
    assert len(found.links) == 12


def test_loss_is_measured() -> None:
    found = calibrate(run_on({"delay": "20ms", "loss": 0.1}), seeds=1)
    assert found.network.loss == pytest.approx(0.1, abs=0.04)
    assert found.scenario.network == found.network


def test_commit_times_on_the_fitted_network_are_those_of_the_run() -> None:
    runs = [run_on({"delay": "normal(40ms, 10ms)", "ordered": False}).scenario.but(seed=s).run()
            for s in (1, 2, 3)]  # fmt: skip
    found = calibrate(runs, seeds=4)
    assert len(found.real) == 24
    assert len(found.simulated) == 32
    assert found.commit_distance < 0.45  # 19 of 20 pairs of samples of these sizes: 0.37
    wrong = found.scenario.but(network={"delay": "200ms"}).run()
    far = [o.committed_at_ms - o.proposed_at_ms for o in wrong.outcomes]
    assert ks_distance(found.real, far) == 1
    left, right = found.picture().axes
    assert len(left.lines) == 2
    assert len(right.lines) == 2
    assert len(found.overlay().axes) == 2
    assert "one distribution: below" in str(found)


def test_a_byte_costs_its_time() -> None:
    sizes = [100, 2_000, 8_000, 40_000] * 40
    measured = [
        Flight(1, 2, k, "M", (), size, "link", False, "", 0, k, "delivered",
               5_000 + size // 2 + k % 7, k)
        for k, size in enumerate(sizes)
    ]  # fmt: skip
    assert _per_byte(measured) == pytest.approx(0.5, rel=0.05)
    alike = [Flight(1, 2, k, "M", (), 400, "link", False, "", 0, k, "delivered", 5_000, k)
             for k in range(50)]  # fmt: skip
    assert _per_byte(alike) == 0


def test_the_distance_is_that_of_the_distributions() -> None:
    assert ks_distance([1, 2, 3], [1, 2, 3]) == 0
    assert ks_distance([1, 2], [3, 4]) == 1
    assert ks_distance([1, 2, 3, 4], [3, 4, 5, 6]) == 0.5
    assert ks_distance([], [1]) == 1
    rng = np.random.default_rng(1)
    assert ks_distance(rng.normal(size=2_000), rng.normal(size=2_000)) < 0.045


def test_a_run_on_real_sockets() -> None:
    fields = {"world": "websocket", "mesh": "negotiated", "until": "20s", "parties": 3}
    scenario = run_on({}, parties=3, operations=[
        {"at": f"{200 * k}ms", "by": k % 3 + 1, "kind": "note", "text": f"n{k}"} for k in range(6)
    ], agreement="raft").scenario.but(**fields)  # fmt: skip
    found = calibrate(scenario.run(), seeds=3)
    assert found.messages > 40
    assert found.network.loss == 0
    assert 0 < found.network.delay.typical < 1_000_000
    assert found.scenario.world == "simulated"
    assert found.scenario.run().ok
    assert 0 <= found.commit_distance <= 1


def test_what_cannot_be_fitted_is_refused() -> None:
    one = run_on({"delay": "20ms"})
    with pytest.raises(UsageError, match="runs of one scenario"):
        calibrate([one, run_on({"delay": "30ms"})])
    nothing = run_on({"delay": "20ms", "loss": 1.0}, until="2200ms")
    with pytest.raises(UsageError, match="messages arrived"):
        calibrate(nothing)


def test_delays_that_depend_on_each_other_are_told_from_those_that_do_not() -> None:
    network = {"delay": "exponential(30ms)", "ordered": False}
    apart = calibrate(run_on(network), seeds=1)
    # One draw after the other: only their number tells how far from 0 they may be.
    assert abs(apart.dependence) < 2 * apart.independent
    slow = [{"at": "0ms", "for": "1200ms", "kind": "delay", "delay": "200ms"}]
    bursts = calibrate(run_on(network, faults=slow), seeds=1)
    assert bursts.dependence > 3 * bursts.independent
    assert "a delay depends on the one before it by" in str(bursts)
