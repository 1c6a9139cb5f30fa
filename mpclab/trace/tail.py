"""`TailTrace`: a trace that keeps its newest rows only, for programs that run for weeks.

Old rows go, unless there is a file to write them to. Deliveries, which are most of any trace, are
counted and written, and kept only if one asks for it. Positions stay what they were: row 70,000 is
row 70,000 also when the first 60,000 are gone, and reads as `LOST` then; so a reader that polls
needs no second way.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any, Final, SupportsIndex

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.notes import Remark
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD, Delivered, Noted, Row

KEEP: Final = 10_000
"""Rows that a tail keeps unless told otherwise: some megabytes."""

LOST: Final = Noted(0, WORLD, (), Remark("rows are not kept so long"))
"""Stands where a row was that is not kept any more."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class Tail(list[Row]):
    """A list that remembers its last `keep` items, at the positions where they were put."""

    def __init__(self, keep: int) -> None:
        super().__init__()
        self._kept: deque[Row] = deque(maxlen=keep)
        self._count = 0

    def append(self, row: Row) -> None:
        self._kept.append(row)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        at = int(index)
        at += self._count if at < 0 else 0
        if not 0 <= at < self._count:
            raise IndexError(f"row {at} of {self._count}")
        at -= self._count - len(self._kept)
        return self._kept[at] if at >= 0 else LOST

    def __iter__(self) -> Iterator[Row]:
        """The rows that are kept."""
        return iter(tuple(self._kept))


class TailTrace(Trace):
    """The newest rows of a trace.

    Args:
        keep: how many rows.
        deliveries: keep those too, among the rows; otherwise they are counted and written only.
        file: write every row to it, a JSON object a line, as it happens; `Trace.load` reads it.
            It is readable by its owner alone: rows hold texts, proposals, votes, addresses and
            who spoke with whom, but no key and no share.

    Attributes:
        failure: why the file is not written any more; "": it is, or there is none.

    Raises:
        UsageError: the file cannot be written.
    """

    def __init__(
        self, keep: int = KEEP, file: str | FilePath | None = None, *, deliveries: bool = False
    ) -> None:
        super().__init__()
        self._with_deliveries = deliveries
        self.rows = Tail(keep)
        self._arrived = 0
        self._end = 0
        self.failure = ""
        self._file = None
        if file is not None:
            try:
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    os.fchmod(descriptor, 0o600)
            except OSError as error:
                raise UsageError(f"cannot record to {file}: {error.strerror or error}") from error
            self._file = open(descriptor, "ab", buffering=64 * 1024)  # noqa: SIM115

    def append(self, row: Row) -> None:
        if type(row) is Delivered:
            self.delivered(row.at, row.actor, row.sender, row.id)
            return
        self.rows.append(row)
        self._end = max(self._end, row.at)
        self._write(row)

    def delivered(self, at: int, actor: Party, sender: Party, id: int) -> None:
        if self._with_deliveries:
            self.rows.append(Delivered(at, actor, sender, id))
        else:
            self._arrived += 1
        if self._file is not None:
            self._write(Delivered(at, actor, sender, id))

    def _write(self, row: Row) -> None:
        if self._file is None:
            return
        try:
            self._file.write(_encode(row) + b"\n")
        except OSError as error:
            self._fail(error)

    def flush(self) -> None:
        """Give what was written to the operating system."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        """A full disk ends the recording, and nothing else."""
        self.failure = self.failure or error.strerror or str(error)
        self.close()

    def close(self) -> None:
        """End the file; rows go on being kept."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self.failure = self.failure or error.strerror or str(error)

    def __len__(self) -> int:
        return len(self.rows) + self._arrived

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def since(self, cursor: tuple[int, int] = (0, 0)) -> tuple[list[Row], tuple[int, int]]:
        """The rows after `cursor` that are kept still."""
        end = len(self.rows)
        return list(self.rows)[cursor[0] - end :] if cursor[0] < end else [], (end, 0)

    @property
    def forgets(self) -> bool:
        return self._file is None

    @property
    def deliveries(self) -> int:
        return self._arrived

    @property
    def end(self) -> int:
        return self._end
