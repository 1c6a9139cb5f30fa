"""`Trace`: the append-only log of rows.

Deliveries are most of any trace, so they are kept as twenty bytes each instead of as objects, and
become `Delivered` rows when somebody reads them. Order is the order of appending.
"""

import hashlib
import struct
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.notes import AnyNote, Remark, class_of
from mpclab.trace import columnar
from mpclab.trace.cells import Cells
from mpclab.trace.rows import Delivered, Noted, Row, Sent

_encoder = msgspec.json.Encoder(order="deterministic")
_decode = msgspec.json.Decoder(Row).decode
_NO_ROOM = (OverflowError, struct.error)  # an actor or a time that no run has
_AT_ONCE = 4096  # rows made or written together


class Trace:
    """Rows in the order in which they happened; `len`, iterate, `since(cursor)`, `save`.

    Args:
        keep: how many deliveries are wanted at least, the newest; None: all.

    Attributes:
        rows: every row that is not a delivery, in order. Treat it as read-only.
        cells: the deliveries.
    """

    def __init__(self, keep: int | None = None) -> None:
        self.rows: list[Row] = []
        self._places = array("q")  # for each of `rows`: how many deliveries came before it
        self.cells = Cells(keep)

    # --- writing (hosts only) ---

    def append(self, row: Row) -> None:
        if type(row) is Delivered:
            self.delivered(row.at, row.actor, row.sender, row.id)
        else:
            self._places.append(len(self.cells))
            self.rows.append(row)

    def delivered(self, at: int, actor: Party, sender: Party, id: int) -> None:
        """Append `Delivered(at, actor, sender, id)` without making the object."""
        self.cells.add(at, actor, sender, id)

    # --- reading ---

    def __len__(self) -> int:
        return len(self.rows) + self.deliveries

    def __getitem__(self, number: int | slice) -> Row | list[Row]:
        """Row `number`, as verdicts and the diagram name it (-1: the last); or some of them."""
        chosen = range(len(self))[number]
        if isinstance(chosen, int):
            return next(islice(self, chosen, None))
        return [row for i, row in enumerate(self) if i in chosen]

    def __repr__(self) -> str:
        sent = sum(type(row) is Sent for row in self.rows)
        passed = f"{sent} sends, {self.deliveries} arrivals, {self.end / 1e6:g} s"
        return f"Trace({len(self)} rows, {passed})"

    @property
    def forgets(self) -> bool:
        """Whether rows that nobody has read yet may be gone: then hosts need not write all."""
        return False

    @property
    def whole(self) -> bool:
        """Whether every row is kept; else some that say which messages there were are gone."""
        return not self.forgets

    @property
    def deliveries(self) -> int:
        """How many messages arrived."""
        return len(self.cells)

    def __iter__(self) -> Iterator[Row]:
        return self._merge((0, 0), self._ends())

    def since(self, cursor: tuple[int, int] = (0, 0)) -> tuple[list[Row], tuple[int, int]]:
        """The rows appended after `cursor`, and the cursor for next time.

        Safe while another thread appends: rows are read up to a length taken first.
        """
        ends = self._ends()
        return list(self._merge(cursor, ends)), ends

    def _ends(self) -> tuple[int, int]:
        rows = len(self.rows)  # first: no row is taken whose deliveries are not
        return rows, len(self.cells)

    def _merge(self, start: tuple[int, int], end: tuple[int, int]) -> Iterator[Row]:
        (first, cell), (last, cells) = start, end
        cell = max(cell, self.cells.gone)
        arrivals = self._arrivals(cell, cells)
        for number in range(first, last):
            if (before := self._places[number] - cell) > 0:
                yield from islice(arrivals, before)
                cell += before
            yield self.rows[number]
        yield from arrivals

    def _arrivals(self, first: int, last: int) -> Iterator[Delivered]:
        """The deliveries numbered so."""
        for start in range(first, last, _AT_ONCE):
            for cell in self.cells.read(start, min(last, start + _AT_ONCE)):
                yield Delivered(*cell)

    @property
    def end(self) -> int:
        """Time of the last row, in µs."""
        last = self.rows[-1].at if self.rows else 0
        return max(last, self.cells.end)

    def of(self, *kinds: type[Any]) -> Iterator[Any]:
        """The rows of these types, in order."""
        return (row for row in (self if Delivered in kinds else self.rows) if type(row) in kinds)

    def notes(self, *kinds: type[AnyNote] | str) -> list[Noted]:
        """The notes of these classes, or of these words.

        Raises:
            UsageError: a word that no class has; says which is nearest.
        """
        wanted = {class_of(kind) if isinstance(kind, str) else kind for kind in kinds}
        return [row for row in self.rows if type(row) is Noted and type(row.note) in wanted]

    def remarks(self, *what: str) -> list[Noted]:
        """The remarks of these names; without names, all of them."""
        return [row for row in self.notes(Remark) if not what or row.word in what]

    def sent(self) -> dict[tuple[Party, int], Sent]:
        """Every message sent, by (sender, id)."""
        return {(row.actor, row.id): row for row in self.rows if type(row) is Sent}

    # --- keeping ---

    def digest(self) -> str:
        """SHA-256 over every row in order, as hex: equal digests, equal traces."""
        state = hashlib.sha256()
        for text in self._texts():
            state.update(text)
        return state.hexdigest()

    def lines(self) -> Iterator[bytes]:
        """One JSON object a row, each ending in a newline."""
        return (line for text in self._texts() for line in text.splitlines(keepends=True))

    def _texts(self) -> Iterator[bytes]:
        """The lines, many in one text."""
        rows = iter(self)
        while some := list(islice(rows, _AT_ONCE)):
            yield _encoder.encode_lines(some)

    def save(self, path: str | FilePath) -> None:
        """Write the trace as JSONL, or, by the ending of its name, as `.parquet` or `.arrow`.

        Raises:
            UsageError: a row has what the file cannot hold; then there is no file.
        """
        if FilePath(path).suffix in columnar.ENDINGS:
            columnar.write(self, FilePath(path))
            return
        try:
            with open(path, "wb") as file:
                file.writelines(self._texts())
        except UnicodeEncodeError as error:
            FilePath(path).unlink()
            raise UsageError(f"{path}: the text of a row is not Unicode: {error}") from error

    @classmethod
    def load(cls, path: str | FilePath) -> "Trace":
        """Read what `save` wrote.

        Raises:
            UsageError: the file is not a trace; names the first wrong line.
        """
        trace = cls()
        if FilePath(path).suffix in columnar.ENDINGS:
            try:
                for row in columnar.read(FilePath(path)):
                    trace.append(row)
            except _NO_ROOM as error:
                raise UsageError(f"{path}: not a trace: {error}") from error
            return trace
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    trace.append(_decode(line))
                except (msgspec.DecodeError, *_NO_ROOM) as error:
                    raise UsageError(
                        f"{path}, line {number}: not a row of a trace: {error}"
                    ) from error
        return trace
