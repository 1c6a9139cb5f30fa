"""The cost of a lab that nobody touches: CPU of the process that shows it, in each world.

Four parties have joined and committed one note; then nothing happens for a while. CPU time, so
that what else the machine does hardly matters. `killed`: the same with the signaling server killed,
which parties try to reach again.
"""

from __future__ import annotations

import time
from typing import Any, Final

from benchmarks.measure import Result, heading, show
from mpclab.panels import Coordinator

SECONDS: Final = 10.0
SETTLE: Final = 3.0  # what was done before has been painted
AIM: Final = 1.0  # % of a core


def _spent(seconds: float) -> float:
    """% of a core that this process takes while it is left alone."""
    time.sleep(SETTLE)
    began, cpu = time.monotonic(), time.process_time()
    time.sleep(seconds)
    return 100 * (time.process_time() - cpu) / (time.monotonic() - began)


def measure(world: str) -> list[Any]:
    with Coordinator(parties=4, world=world, seed=3) as panel:
        _ = panel.widget
        lab = panel.lab
        lab.start_server(0)
        lab.spawn()
        lab.join()
        lab.propose(by=1, kind="note", text="tea")
        lab.run()
        alone = Result(f"{world}: left alone, % of a core", _spent(SECONDS), "%", AIM)
        lab.stop_server(kill=True)
        killed = Result(f"{world}: its server killed, % of a core", _spent(SECONDS), "%", AIM)
    return [alone, killed]


def main() -> None:
    heading("An idle lab under the coordinator")
    for world in ("simulated", "websocket", "webrtc"):
        for result in measure(world):
            show(result)
