"""`Cells`: messages that arrived, packed to twenty bytes each.

They are most of any trace, and become `Delivered` rows when somebody reads them. `cells.pyx` is the
same in C, for `make compiled`; `tests/test_compiled.py` holds both to a list.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from mpclab.core.ids import Party

_CELL = struct.Struct("=qiiI")  # at, actor, sender, id
SIZE = _CELL.size
_pack = _CELL.pack
_LARGE = 2**32 - 1  # stands for an id that is no smaller; only a peer's own counting is so high


class Cells:
    """Deliveries in order, numbered from 0.

    Safe to read while another thread appends.

    Args:
        keep: how many of the newest are wanted; up to twice as many are there. None: all.
    """

    __slots__ = ("_kept", "_limit", "keep")

    def __init__(self, keep: int | None = None) -> None:
        self.keep = keep
        self._limit = sys.maxsize if keep is None else SIZE * (2 * keep or 4096)
        # Together, so that a reader gets all or nothing of what was forgotten: how many are gone,
        # those after, and their ids that have no room, by number of the delivery.
        self._kept: tuple[int, bytearray, dict[int, int]] = (0, bytearray(), {})

    def add(self, at: int, actor: Party, sender: Party, id: int) -> None:
        gone, packed, large = self._kept
        if 0 <= id < _LARGE:
            packed += _pack(at, actor, sender, id)
        else:
            large[gone + len(packed) // SIZE] = id
            packed += _pack(at, actor, sender, _LARGE)
        if len(packed) > self._limit:
            self._forget()

    def _forget(self) -> None:
        gone, packed, large = self._kept
        cut = len(packed) // SIZE - (self.keep or 1)  # one says when the last arrived
        left = {number: id for number, id in large.items() if number >= gone + cut}
        self._kept = (gone + cut, packed[cut * SIZE :], left)

    def __len__(self) -> int:
        """How many there were."""
        gone, packed, _ = self._kept
        return gone + len(packed) // SIZE

    @property
    def bytes(self) -> int:
        """What they take in memory."""
        return sys.getsizeof(self._kept[1])

    @property
    def end(self) -> int:
        """When the last one arrived, µs; 0: there was none."""
        packed = self._kept[1]
        at: int = _CELL.unpack_from(packed, len(packed) - SIZE)[0] if packed else 0
        return at

    def read(self, first: int, last: int) -> Iterator[tuple[int, Party, Party, int]]:
        """(at, actor, sender, id) of those numbered `first` to `last - 1`, as far as they are
        kept."""
        if self.keep == 0:
            return
        gone, packed, large = self._kept
        begin = max(first, gone)
        some = bytes(packed[(begin - gone) * SIZE : max(0, last - gone) * SIZE])
        for number, cell in enumerate(_CELL.iter_unpack(some), begin):
            yield cell if cell[3] != _LARGE else (*cell[:3], large[number])

    @property
    def gone(self) -> int:
        """How many are not kept any more."""
        return len(self) if self.keep == 0 else self._kept[0]
