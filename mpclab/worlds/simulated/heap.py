"""`Heap`: entries in the order of their time, and of their number where times are equal.

`heap.pyx` is the same in C, for `make compiled`; `tests/test_compiled.py` holds both to sorting.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any


class Heap:
    """Entries of (time, number, item); no two have one number.

    Attributes:
        time, number, item: of the first entry; `item` is None when there is none.
    """

    __slots__ = ("_entries", "item", "number", "time")

    def __init__(self, entries: Iterable[tuple[int, int, Any]] = ()) -> None:
        self._entries = list(entries)
        heapify(self._entries)
        self._look()

    def _look(self) -> None:
        if self._entries:
            self.time, self.number, self.item = self._entries[0]
        else:
            self.time, self.number, self.item = 0, 0, None

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, time: int, number: int, item: Any) -> None:
        heappush(self._entries, (time, number, item))
        self.time, self.number, self.item = self._entries[0]

    def pop(self) -> None:
        """Take the first entry out."""
        heappop(self._entries)
        self._look()

    def again(self, time: int) -> None:
        """Let the first entry be there once more, later."""
        entries = self._entries
        heapreplace(entries, (time, self.number, self.item))
        self.time, self.number, self.item = entries[0]

    def entries(self) -> list[tuple[int, int, Any]]:
        """All of them, in no order."""
        return list(self._entries)
