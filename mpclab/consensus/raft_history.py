"""What Raft decided, in order: the entries of the snapshot, and those applied since.

Of old operations whose values are on record (`consensus.agreement.KEPT`) the term and the id are
kept, 16 bytes beside the id itself, which the backlog holds anyway; a value is asked for when a
follower lacks it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from mpclab.consensus.agreement import KEPT, Recall
from mpclab.consensus.raft_messages import RaftEntry


class RaftHistory:
    """The decided operations, by place from 0. Grows only."""

    def __init__(self, recall: Recall = lambda op: None) -> None:
        self._recall = recall
        self._terms = array("Q")
        self._ops: list[str] = []
        self._values: dict[int, bytes] = {}  # of the latest, and of those on record otherwise
        self._old = 0  # so many were looked up on record

    def __len__(self) -> int:
        return len(self._ops)

    def __iter__(self) -> Iterator[RaftEntry]:
        return map(self.at, range(len(self)))

    def append(self, entry: RaftEntry, *, recorded: bool = False) -> None:
        """The next one; `recorded`: its value is on record, and not in `entry`."""
        if not recorded:
            self._values[len(self)] = entry.value
        self._terms.append(entry.term)
        self._ops.append(entry.op)

    def extend(self, entries: Iterable[RaftEntry]) -> None:
        for entry in entries:
            self.append(entry)

    def leave_old(self) -> list[int]:
        """Leave the values of operations that are old by now to the record; their places."""
        left = []
        while self._old < len(self) - KEPT:
            place = self._old
            if place in self._values:
                if (on_record := self._recall(self._ops[place])) is None:
                    break  # not yet
                if on_record == self._values[place]:
                    del self._values[place]
                    left.append(place)
            self._old += 1
        return left

    def at(self, place: int) -> RaftEntry:
        """The entry at this place, whole.

        Raises:
            ValueError: its value was on record, and is not any more.
        """
        op = self._ops[place]
        value = self._values.get(place)
        if value is None and (value := self._recall(op)) is None:
            raise ValueError(f"the value of place {place} is not on record any more")
        return RaftEntry(self._terms[place], op, value)

    def stored(self, place: int) -> tuple[bool, RaftEntry]:
        """Whether the value at this place is left to the record, and the entry as it is stored."""
        if place in self._values:
            return False, self.at(place)
        return True, RaftEntry(self._terms[place], self._ops[place], b"")

    def between(self, first: int, last: int) -> list[RaftEntry]:
        """The entries from `first` to `last`, exclusive, whole."""
        return [self.at(place) for place in range(first, min(last, len(self)))]
