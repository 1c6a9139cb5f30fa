"""Streamlet's final blocks: one chain, and what is kept of its old part.

Whoever was away takes every block with the votes that notarise it, so these are kept of all. The
values of old blocks are left to the coordinator's record (`consensus.agreement.KEPT`).
"""

from __future__ import annotations

import msgspec

from mpclab.consensus.agreement import KEPT, Recall
from mpclab.consensus.streamlet_messages import (
    GENESIS,
    ROOT,
    Block,
    Notarised,
    StreamletRequest,
    Votes,
)

_LENGTH = len(ROOT)


class OldBlock(msgspec.Struct, frozen=True, tag=True):
    """A final block whose values are on record, under the ids `ops`; its votes are packed."""

    epoch: int
    ops: tuple[str, ...]
    votes: bytes


class FinalChain:
    """The final blocks by height, the root included. Grows only.

    Attributes:
        old: so many of them, from the root on, were looked up on record.
    """

    def __init__(self, recall: Recall = lambda op: None) -> None:
        self._recall = recall
        self._names = bytearray(ROOT)
        self._blocks: list[Notarised | OldBlock] = [Notarised(GENESIS, ())]
        self.old = 1

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def height(self) -> int:
        """Of the last one."""
        return len(self) - 1

    def name(self, height: int) -> bytes:
        """The hash of a block."""
        return bytes(self._names[height * _LENGTH : (height + 1) * _LENGTH])

    def add(self, name: bytes, it: Notarised | OldBlock) -> None:
        """The next one."""
        self._names += name
        self._blocks.append(it)

    def at(self, height: int) -> Notarised:
        """A block with its values and votes.

        Raises:
            ValueError: its values were on record, and are not any more.
        """
        kept = self._blocks[height]
        if isinstance(kept, Notarised):
            return kept
        ops: list[StreamletRequest] = []
        for op in kept.ops:
            if (value := self._recall(op)) is None:
                raise ValueError(f"the values of final block {height} are not on record any more")
            ops.append(StreamletRequest(op, value))
        votes = msgspec.msgpack.decode(kept.votes, type=Votes)
        return Notarised(Block(self.name(height - 1), kept.epoch, tuple(ops)), votes)

    def leave_old(self) -> list[tuple[int, Notarised | OldBlock]]:
        """Leave the values of blocks that are old by now to the record; their heights, and what is
        kept of each: all of it, where the record says it otherwise."""
        left = []
        while self.old < len(self) - KEPT:
            kept = self._blocks[self.old]
            if isinstance(kept, Notarised):
                ops = kept.block.ops
                values = [self._recall(one.op) for one in ops]
                if None in values:
                    break  # not on record yet
                if values == [one.value for one in ops]:
                    votes = msgspec.msgpack.encode(kept.votes)
                    kept = OldBlock(kept.block.epoch, tuple(one.op for one in ops), votes)
                    self._blocks[self.old] = kept
                left.append((self.old, kept))
            self.old += 1
        return left
