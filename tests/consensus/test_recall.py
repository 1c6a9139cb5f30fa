"""A log in a session keeps the values of its latest decisions; older ones are on record there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mpclab.consensus import (
    bullshark_history,
    decided_log,
    hotstuff_blocks,
    pbft_log,
    raft_history,
    streamlet_final,
    tendermint_base,
)
from mpclab.consensus.hotstuff_base import HotStuffBase
from mpclab.consensus.hotstuff_blocks import BlockTree
from mpclab.consensus.hotstuff_messages import ROOT, Block, digest_of
from mpclab.consensus.raft import Raft
from mpclab.consensus.registry import agreement
from mpclab.consensus.streamlet import Streamlet
from mpclab.consensus.streamlet_messages import Notarised
from mpclab.core.ids import SECOND
from mpclab.core.machine import Ctx
from mpclab.testing.sessions import AT, Sessions

LOGS = (
    "pbft", "hotstuff", "chained-hotstuff", "hotstuff-2", "tendermint", "streamlet", "paxos", "vr",
    "bullshark",
)  # fmt: skip
LATEST = 3
WHOLE = ("done/", "block/", "height/", "chosen/", "commit/")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbft_log, "KEPT_VALUES", LATEST)
    monkeypatch.setattr(hotstuff_blocks, "KEPT", LATEST)
    monkeypatch.setattr(tendermint_base, "KEPT", LATEST)
    monkeypatch.setattr(decided_log, "KEPT", LATEST)
    monkeypatch.setattr(bullshark_history, "KEPT", LATEST)
    monkeypatch.setattr(streamlet_final, "KEPT", LATEST)
    monkeypatch.setattr(raft_history, "KEPT", LATEST)


def values(machine: Any) -> int:
    """How many decided values the machine of a log holds itself."""
    if hasattr(machine, "history"):
        return sum(not isinstance(r, str) and bool(r.op) for r in machine.history._requests)
    if isinstance(machine, HotStuffBase):
        tree = machine.tree
        held = sum(bool(tree.blocks[d].op) for d in tree.executed - tree.recorded)
        return held + len(tree.old._values)
    if isinstance(machine, Streamlet):
        final = machine.tree.final._blocks
        return sum(isinstance(it, Notarised) and bool(it.block.ops) for it in final)
    if hasattr(machine, "log"):
        return sum(not isinstance(c, decided_log.Recorded) for c in machine.log._commands)
    if hasattr(machine, "ordered"):
        commits = machine.ordered._commits
        return sum(len(c.ops) for c in commits if not isinstance(c, bytes))
    return sum(not isinstance(d, tendermint_base.Recorded) for d in machine.decision)


def stored(s: Sessions, p: int) -> int:
    """How many values a party's log has in its store."""
    items = s.world.disk(p)[(*AT, "agreement")]
    whole = [data for key, data in items.items() if key.startswith(WHOLE)]
    return sum(b"note" in data for data in whole)


def settle(s: Sessions, operations: int) -> list[str]:
    ops = []
    for k in range(operations):
        ops.append(s.propose(k % 3 + 1, text=f"note {k}"))
        s.run(2 * SECOND)
    return ops


@pytest.mark.parametrize("word", LOGS)
def test_who_was_away_gets_what_the_others_keep_on_record_alone(word: str) -> None:
    s = Sessions(4, agreement=agreement(word), policy="threshold(3)")
    s.cut({1, 2, 3}, {4})
    ops = settle(s, 9)
    for p in (1, 2, 3):
        assert values(s.session(p).agreement) <= LATEST + 3, "a few wait for their execution"
        assert stored(s, p) <= LATEST + 3
    s.world.crash(2)  # what it left to its record is there again
    s.world.restart(2)
    s.heal()
    s.run(60 * SECOND)
    late, back = (s.session(p).agreement for p in (4, 2))
    assert late.backlog.done == set(ops), "the log itself caught up"  # type: ignore[attr-defined]
    assert late.backlog.done == back.backlog.done  # type: ignore[attr-defined]
    assert len(s.heads()) == 1
    ops += settle(s, 3)
    assert values(late) <= LATEST + 3, "also of what it learnt in one step, before it was on record"
    assert stored(s, 4) <= LATEST + 3
    assert {status for op in ops for status in s.statuses(op).values()} == {"executed"}
    assert not s.blames()


class SmallRaft(Raft):
    """Its snapshots are as short as what it keeps itself."""

    def start(self, ctx: Ctx) -> None:
        self.options = dataclasses.replace(self.options, compaction=LATEST)
        super().start(ctx)


def test_a_snapshot_of_raft_holds_what_its_leader_keeps_on_record_alone() -> None:
    s = Sessions(4, agreement=SmallRaft, policy="threshold(3)")
    s.cut({1, 2, 3}, {4})
    ops = settle(s, 9)
    for p in (1, 2, 3):
        assert len(s.session(p).agreement.log.history._values) == LATEST  # type: ignore[attr-defined]
        assert sum(key.startswith("old/") for key in s.world.disk(p)[(*AT, "agreement")]) > LATEST
        s.world.crash(p)
        s.world.restart(p)
    s.heal()
    s.run(20 * SECOND)
    late = s.session(4).agreement.log.history  # type: ignore[attr-defined]
    assert [entry.op for entry in late] == [
        entry.op
        for entry in s.session(1).agreement.log.history  # type: ignore[attr-defined]
    ]
    assert {entry.op for entry in late} == set(ops)
    assert len(late._values) == LATEST
    assert len(s.heads()) == 1


def test_a_log_keeps_what_is_on_record_otherwise() -> None:
    """Another certificate of the same proposal: its hash is not the one that was voted for."""
    record = {"a": b"one", "b": b"other", "c": b"three", "d": b"four"}
    tree = BlockTree(record.get)
    parent = ROOT
    blocks = []
    for view, (op, value) in enumerate(zip("abcdefg", (b"one", b"two", b"three"), strict=False), 1):
        blocks.append(Block(view, parent, op, value))
        parent = digest_of(blocks[-1])
        tree.add(parent, blocks[-1])
    for block in blocks:
        tree.execute(digest_of(block))
    for view in range(4, 8):
        empty = Block(view, parent, "", b"")
        parent = digest_of(empty)
        tree.add(parent, empty)
        tree.execute(parent)
    assert tree.old._values == {1: b"two"}
    assert not tree.blocks.keys() & {digest_of(block) for block in blocks}
    assert tree.page(digest_of(blocks[2])) == tuple(reversed(blocks))
