"""How soon a party that was killed is back: seated, connected, and at the end of what it missed.

In each world and with each protocol parties are killed in turn, an operation is settled without
them, and they are started again. The clock is the world's own: virtual in the simulated one. Names
of worlds and protocols choose: `python -m benchmarks.rejoin webrtc raft`.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

from benchmarks.measure import Result, heading, show
from mpclab.consensus.registry import AGREEMENTS
from mpclab.lab import Lab

TIMES = 8
WORLDS = ("simulated", "websocket", "webrtc")


def rejoins(world: str, agreement: str, times: int = TIMES) -> list[float]:
    """Seconds from each start to the end of the operation that was missed, of parties in turn."""
    with Lab(world=world, parties=4, policy="threshold(3)", agreement=agreement, seed=1) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join(timeout=120)
        took = []
        for k in range(times):
            away = 1 + k % 4
            lab.crash(away)
            lab.propose(by=1 + away % 4, kind="note", text=f"without party {away}")
            lab.run(limit=60)
            (op, one) = list(lab.state.operations.items())[-1]
            began = lab.world.now
            lab.restart(away)
            lab.join(timeout=120)
            lab.run(limit=60)
            took.append((lab.world.now - began) / 1e6)
            assert one.standing.get(away) == "executed", (world, agreement, op, one.standing)
        return took


def main(wanted: Sequence[str] = ()) -> None:
    worlds = [w for w in WORLDS if w in wanted] or WORLDS
    protocols = [p for p in AGREEMENTS if p in wanted] or [
        p for p in AGREEMENTS if not p.startswith("wrong")
    ]
    for world in worlds:
        heading(f"a killed party is back with all that it missed, {world} world, 4 parties")
        for protocol in protocols:
            took = rejoins(world, protocol)
            p95 = statistics.quantiles(took, n=20, method="inclusive")[-1]
            show(Result(f"{protocol}, p50", statistics.median(took), "s"))
            show(Result(f"{protocol}, p95 of {len(took)}", p95, "s", 5))


if __name__ == "__main__":
    main(sys.argv[1:])
