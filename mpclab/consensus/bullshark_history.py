"""Bullshark's commits, in order: what every anchor ordered.

Kept once: of old commits only the places and the ids of operations, where the values are on the
caller's record (`consensus.agreement.KEPT`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mpclab.consensus.agreement import KEPT, Recall
from mpclab.consensus.bullshark_messages import BullsharkOp, Commit, Place
from mpclab.core.machine import Ctx

_encode = msgspec.msgpack.encode


class Recorded(msgspec.Struct, frozen=True, array_like=True):
    """An old commit whose values are on record."""

    round: int
    places: tuple[Place, ...]
    ops: tuple[str, ...]


class History:
    """The commits by number.

    Args:
        recall: the value on the caller's record, or None.
    """

    def __init__(self, recall: Recall) -> None:
        self.recall = recall
        self._commits: list[Commit | bytes] = []  # bytes: a packed `Recorded`
        self._old = 0  # so many of them were looked up on record

    def __len__(self) -> int:
        return len(self._commits)

    def add(self, ctx: Ctx, commit: Commit) -> None:
        """The next one: stored. What is old by now is kept without its values."""
        ctx.persist(f"commit/{len(self._commits)}", _encode(commit))
        self._commits.append(commit)
        while self._old < len(self._commits) - KEPT:
            one = self._commits[self._old]
            if isinstance(one, Commit):
                values = [self.recall(it.op) for it in one.ops]
                if None in values:
                    break  # not on record yet
                if values == [it.value for it in one.ops]:
                    ops = tuple(it.op for it in one.ops)
                    packed = self._commits[self._old] = _encode(
                        Recorded(one.round, one.places, ops)
                    )
                    # The record was stored before this: a crash leaves the one or the other.
                    ctx.persist(f"old/{self._old}", packed)
                    ctx.persist(f"commit/{self._old}", None)
            self._old += 1

    def at(self, number: int) -> Commit | None:
        """A commit with its values; None when they are not on record any more."""
        kept = self._commits[number]
        if isinstance(kept, Commit):
            return kept
        recorded = msgspec.msgpack.decode(kept, type=Recorded)
        values = [self.recall(op) for op in recorded.ops]
        ops = tuple(
            BullsharkOp(op, value)
            for op, value in zip(recorded.ops, values, strict=True)
            if value is not None
        )
        if len(ops) < len(values):
            return None
        return Commit(recorded.round, recorded.places, ops)

    def page(self, first: int, most: int, size: int) -> tuple[Commit, ...]:
        """So many commits from number `first` on, with so many bytes of values, at most, unless the
        first alone has more."""
        found: list[Commit] = []
        for number in range(first, min(first + most, len(self._commits))):
            if (commit := self.at(number)) is None:
                break
            size -= sum(len(one.value) for one in commit.ops)
            if found and size < 0:
                break
            found.append(commit)
        return tuple(found)

    def recover(self, ctx: Ctx) -> Iterator[Commit]:
        """What is stored, in order.

        Raises:
            ValueError: the values of an old commit are not on record any more.
        """
        stored = ctx.stored
        while True:
            number = len(self._commits)
            if (data := stored.get(f"old/{number}")) is not None:
                self._commits.append(data)
            elif (data := stored.get(f"commit/{number}")) is not None:
                self._commits.append(msgspec.msgpack.decode(data, type=Commit))
            else:
                return
            if (commit := self.at(number)) is None:
                raise ValueError(f"the values of commit {number} are not on record any more")
            yield commit
