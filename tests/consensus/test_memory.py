"""What a decided operation leaves in the memory of a protocol's machine, for good: SECURITY.md says
how many bytes, and this holds it to that."""

from __future__ import annotations

import gc
import re
import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpclab.consensus import (
    hotstuff_blocks,
    pbft_log,
    raft_history,
    streamlet_final,
    tendermint_base,
)
from mpclab.consensus.agreement import Agreement
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.node import Node
from mpclab.testing.cluster import AT, Cluster

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
FIGURES = {
    name: int(bytes_.replace(",", ""))
    for names, bytes_ in re.findall(r"^\| (`.*`) \| ([\d,]+) \| ", SECURITY, re.MULTILINE)
    for name in re.findall(r"`([\w-]+)`", names)
}
"""By protocol: bytes for an operation with a value of 600 bytes among four."""

VALUE = 600
BUILT = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, type)
GIVEN = ("recall", "identity", "keys", "valid", "means", "options")


def held(root: Any, but: list[Any]) -> int:
    """Bytes of all that is reached from `root`, each thing once."""
    seen: dict[int, Any] = {id(one): one for one in but}
    ahead, total = [root], 0
    while ahead:
        one = ahead.pop()
        if id(one) in seen or isinstance(one, BUILT):
            continue
        seen[id(one)] = one
        total += sys.getsizeof(one)
        ahead += gc.get_referents(one)
        if isinstance(one, msgspec.Struct):  # which the collector need not know
            ahead += [getattr(one, name) for name in one.__struct_fields__]
    return total


def grown(protocol: type[Agreement], operations: int) -> float:
    """By how many bytes a machine grows with each operation, and what its node keeps for it."""
    record: dict[str, bytes] = {}
    short = {"compaction": 4} if protocol.title == "Raft" else {}
    c = Cluster(protocol, 4, recall=record.get, **short)

    def run(first: int, last: int) -> int:
        for k in range(first, last):
            op = f"an id {k:04}"
            record[op] = op.encode() * (VALUE // 10)
            c.submit(k % 4 + 1, op, record[op])
            c.run_until(lambda op=op: c.all_decided(op))  # type: ignore[misc]

        def size(node: Node) -> int:
            machine: Any = node.machine(AT)
            but = [getattr(machine, name) for name in GIVEN]
            return held([vars(machine), node.stored.get(AT, {})], but)

        return c.world.look(2, size)  # type: ignore[no-any-return]

    before = run(0, operations)
    return (run(operations, 2 * operations) - before) / operations


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Node, "strict", False)
    for module, kept in (
        (hotstuff_blocks, "KEPT"), (pbft_log, "KEPT_VALUES"), (raft_history, "KEPT"),
        (streamlet_final, "KEPT"), (tendermint_base, "KEPT"),
    ):  # fmt: skip
        monkeypatch.setattr(module, kept, 4)


@pytest.mark.parametrize("name", FIGURES)
def test_an_operation_leaves_no_more_than_is_said(name: str) -> None:
    assert FIGURES[name] / 2 <= grown(AGREEMENTS[name], 40) <= FIGURES[name]
