"""`Trace`: the append-only log of rows.

Deliveries are most of any trace, so they are kept as five integers in one array instead of as
objects, and become `Delivered` rows when somebody reads them. Order is the order of appending.
"""

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.notes import AnyNote, Remark, class_of
from mpclab.trace.rows import Delivered, Noted, Row, Sent

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Row).decode
_STRIDE = 5  # rows before it, at, actor, sender, id


class Trace:
    """Rows in the order in which they happened; `len`, iterate, `since(cursor)`, `save`.

    Attributes:
        rows: every row that is not a delivery, in order. Treat it as read-only.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._deliveries = array("q")

    # --- writing (hosts only) ---

    def append(self, row: Row) -> None:
        if type(row) is Delivered:
            self.delivered(row.at, row.actor, row.sender, row.id)
        else:
            self.rows.append(row)

    def delivered(self, at: int, actor: Party, sender: Party, id: int) -> None:
        """Append `Delivered(at, actor, sender, id)` without making the object."""
        self._deliveries.extend((len(self.rows), at, actor, sender, id))

    # --- reading ---

    def __len__(self) -> int:
        return len(self.rows) + len(self._deliveries) // _STRIDE

    @property
    def forgets(self) -> bool:
        """Whether rows that nobody has read yet may be gone: then hosts need not write all."""
        return False

    @property
    def deliveries(self) -> int:
        """How many messages arrived."""
        return len(self._deliveries) // _STRIDE

    def __iter__(self) -> Iterator[Row]:
        return self._merge(0, 0, len(self.rows), len(self._deliveries))

    def since(self, cursor: tuple[int, int] = (0, 0)) -> tuple[list[Row], tuple[int, int]]:
        """The rows appended after `cursor`, and the cursor for next time.

        Safe while another thread appends: rows are read up to a length taken first.
        """
        ends = len(self.rows), len(self._deliveries)
        return list(self._merge(*cursor, *ends)), ends

    def _merge(self, row: int, cell: int, rows: int, cells: int) -> Iterator[Row]:
        packed = self._deliveries
        while row < rows or cell < cells:
            if cell < cells and (packed[cell] <= row or row >= rows):
                at, actor, sender, id = packed[cell + 1 : cell + _STRIDE]
                cell += _STRIDE
                yield Delivered(at, actor, sender, id)
            else:
                yield self.rows[row]
                row += 1

    @property
    def end(self) -> int:
        """Time of the last row, in µs."""
        last = self.rows[-1].at if self.rows else 0
        return max(last, self._deliveries[-_STRIDE + 1]) if self._deliveries else last

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
        for line in self.lines():
            state.update(line)
        return state.hexdigest()

    def lines(self) -> Iterator[bytes]:
        """One JSON object a row, each ending in a newline."""
        return (_encode(row) + b"\n" for row in self)

    def save(self, path: str | FilePath) -> None:
        """Write the trace as JSONL."""
        with open(path, "wb") as file:
            file.writelines(self.lines())

    @classmethod
    def load(cls, path: str | FilePath) -> "Trace":
        """Read what `save` wrote.

        Raises:
            UsageError: the file is not a trace; names the first wrong line.
        """
        trace = cls()
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    trace.append(_decode(line))
                except msgspec.DecodeError as error:
                    raise UsageError(
                        f"{path}, line {number}: not a row of a trace: {error}"
                    ) from error
        return trace
