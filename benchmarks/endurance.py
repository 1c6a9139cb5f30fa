"""What operation 10,000 costs beside operation 100, and what a settled operation leaves behind.

CPU time of all four parties and the lab, in a simulated world that keeps no rows of traffic, and of
three parties on real sockets. What is kept is counted when every bounded cache is full: what more a
party's machines refer to, and what more is in its store, after a block of operations.
"""

from __future__ import annotations

import gc
import sys
import time
import types
from collections import Counter
from collections.abc import Sequence

import msgspec

from benchmarks.measure import Result, heading, show
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.node import Node
from mpclab.lab import Lab

OPERATIONS = 10_000
REAL = 1_000
KEPT_AFTER, KEPT_OVER = 600, 600
"""Operations before kept bytes are counted (every cache is full then), and while they are."""
_BLOCK = 50
_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def _settle(lab: Lab, count: int) -> float:
    """CPU seconds of `count` notes, proposed in turn and settled one after another."""
    began = time.process_time()
    for k in range(count):
        lab.propose(by=1 + k % len(lab.parties), kind="note", text=f"operation {k}")
        lab.run()
    return time.process_time() - began


def _ready(world: str, parties: int, agreement: str) -> Lab:
    lab = Lab(world=world, parties=parties, agreement=agreement, seed=1, trace="off")
    lab.start_server(port=0)
    lab.spawn()
    lab.join()
    return lab


def slope(world: str, parties: int, agreement: str, operations: int) -> float:
    """CPU time of the last operations in that of those around the hundredth."""
    with _ready(world, parties, agreement) as lab:
        _settle(lab, 100)
        early = min(_settle(lab, _BLOCK) for _ in range(3))
        _settle(lab, operations - 100 - 6 * _BLOCK)
        late = min(_settle(lab, _BLOCK) for _ in range(3))
        ended = Counter(outcome.status for outcome in lab.outcomes())
        assert ended == {"committed": operations}, ended
        return late / early


def _held(node: Node) -> int:
    """Bytes that a node's machines hold, all that they refer to included."""
    found, seen, left = 0, set[int](), [seat.machine for seat in node._seats.values()]
    while left:
        one = left.pop()
        if id(one) not in seen and not isinstance(one, _CODE):
            seen.add(id(one))
            found += sys.getsizeof(one)
            left.extend(gc.get_referents(one))
            if isinstance(one, msgspec.Struct):  # those without gc tell of no referents
                left.extend(getattr(one, name) for name in one.__struct_fields__)
    return found


def kept(agreement: str) -> tuple[float, float]:
    """Bytes that a settled operation leaves in one party's memory, and in its store."""

    def now() -> tuple[int, int]:
        node = lab.world.look(1, lambda node: node)
        stored = lab.world._hosts[1].stored  # type: ignore[attr-defined]
        values = (len(key) + len(v) for items in stored.values() for key, v in items.items())
        return _held(node), sum(values)

    with _ready("simulated", 4, agreement) as lab:
        _settle(lab, KEPT_AFTER)
        before = now()
        _settle(lab, KEPT_OVER)
        after = now()
    return (after[0] - before[0]) / KEPT_OVER, (after[1] - before[1]) / KEPT_OVER


def main(agreements: Sequence[str] = ()) -> None:
    Node.strict = False
    heading(f"operation {OPERATIONS:,} in CPU time of operation 100")
    for agreement in agreements or ("direct", "raft"):
        value = slope("simulated", 4, agreement, OPERATIONS)
        show(Result(f"simulated, 4 parties, {agreement}", value, "×", 1.3))
    for agreement in agreements or ("direct", "raft"):
        value = slope("websocket", 3, agreement, REAL)
        show(Result(f"real sockets, 3 parties, {agreement}, operation {REAL:,}", value, "×", 1.3))
    heading("kept for each settled operation")
    for agreement in agreements or [name for name in AGREEMENTS if not name.startswith("wrong")]:
        memory, disk = kept(agreement)
        show(Result(f"{agreement}, in a party's memory", memory / 1024, "KB", 2))
        show(Result(f"{agreement}, in its store", disk / 1024, "KB"))


if __name__ == "__main__":
    main(sys.argv[1:])
