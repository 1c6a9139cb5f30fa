"""What security costs: the same computation, semi-honest, with aborts, and with cheats named.

All parties in one process on the simulated network: CPU time of all together, bytes that they send,
and rounds.
"""

from __future__ import annotations

import time

from mpclab.core.ids import Party
from mpclab.core.machine import Machine
from mpclab.mpc import arithmetic
from mpclab.mpc.compute import Compute
from mpclab.mpc.identifiable import Identifiable
from mpclab.mpc.verified import verified
from mpclab.testing.cast import CONTEXT, IDENTITIES, KEYS, Cast
from mpclab.trace import rows

LEVELS = ("semi-honest", "malicious", "identifiable")


def machine(kind: str, n: int, security: str, me: Party) -> Machine:
    everyone = tuple(range(1, n + 1))
    givers = everyone[:2] if kind == "compare" else everyone
    circuit = arithmetic.build(kind, givers, everyone)
    given = (me + 3,) if me in givers else None
    if security == "identifiable":
        identity = IDENTITIES[me]
        return Identifiable(circuit, givers, everyone, context=CONTEXT, identity=identity,
                            keys=KEYS, given=given)  # fmt: skip
    circuit = verified(circuit) if security == "malicious" else circuit
    return Compute(circuit, givers, everyone, given=given)


def measured(kind: str, n: int, security: str) -> tuple[float, int, int]:
    """Milliseconds of CPU (the least of four), KiB sent, rounds."""
    least, sent, rounds = float("inf"), 0, 0
    for _ in range(4):
        began = time.process_time()
        cast = Cast(n, lambda p: machine(kind, n, security, p)).run()
        least = min(least, time.process_time() - began)
        found = [row for row in cast.world.trace if isinstance(row, rows.Sent)]
        sent = sum(row.size * len(row.to) for row in found) // 1024
        rounds = len({row.time for row in found})
    return least * 1000, sent, rounds


def main() -> None:
    print("\nsecurity of computations: CPU of all parties, what they send")
    for n in (4, 7):
        for kind in ("sum", "product", "compare", "max"):
            for security in LEVELS:
                ms, kib, times = measured(kind, n, security)
                print(f"  n = {n}  {kind:8} {security:13} {ms:8.1f} ms {kib:6} KiB "
                      f"{times:3} moments of sending")  # fmt: skip
