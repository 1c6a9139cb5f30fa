"""Rows of a trace as columns, in Parquet or Arrow files: for DuckDB, Polars, pandas, Spark, R.

There is a column for each field that any kind of row has (empty where a row has no such field), by
the row's own names; `row` says its kind, and a note is JSON text. Nothing is lost: what was written
is read back. pyarrow does the work, and is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path as FilePath
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec

from mpclab.core.errors import UsageError
from mpclab.trace.rows import Delivered, Row

ENDINGS = (".arrow", ".parquet")
AT_ONCE = 65_536
"""Rows in one batch, or row group: what is in memory at a time."""

_KINDS: dict[str, type[Any]] = {cls.__struct_config__.tag: cls for cls in get_args(Row)}
_NUMBERS = {cls: number for number, cls in enumerate(_KINDS.values())}
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.decode


def _pyarrow(part: str = "") -> Any:
    try:
        return import_module("pyarrow" + part)
    except ImportError:
        raise UsageError(
            "Parquet and Arrow files need pyarrow: pip install 'mpclab[columnar]'"
        ) from None


def _columns() -> dict[str, Any]:
    """The type of each column, by name."""
    pa = _pyarrow()
    plain = {int: pa.int64(), str: pa.string(), bool: pa.bool_()}
    columns: dict[str, Any] = {"row": pa.dictionary(pa.int8(), pa.string())}
    for cls in _KINDS.values():
        for name, hint in get_type_hints(cls).items():
            if name not in cls.__struct_fields__:
                continue
            (*kinds,) = {kind for kind in get_args(hint) if kind not in (NoneType, ...)} or {hint}
            if name == "note":
                columns[name] = pa.string()
            elif getattr(hint, "__origin__", None) is tuple:
                columns[name] = pa.list_(plain[kinds[0]])
            else:
                columns[name] = plain[kinds[0]]
    return columns


def write(rows: Iterable[Row], path: FilePath) -> None:
    """Write rows to a file, as its ending says.

    Raises:
        UsageError: pyarrow is not installed; or a row has text or a number that columns cannot
            hold (a half of a pair of UTF-16, 2⁶³ or more), then there is no file.
    """
    try:
        _write(rows, path)
    except (_pyarrow().ArrowException, UnicodeEncodeError, OverflowError) as error:
        path.unlink(missing_ok=True)
        raise UsageError(f"{path.name}: a column cannot hold what a row has: {error}") from error


def _write(rows: Iterable[Row], path: FilePath) -> None:
    pa = _pyarrow()
    columns = _columns()
    schema = pa.schema(list(columns.items()))
    if path.suffix == ".parquet":
        writer = _pyarrow(".parquet").ParquetWriter(path, schema, compression="zstd")
    else:
        writer = _pyarrow(".ipc").new_file(str(path), schema)
    left = iter(rows)
    with writer:
        while some := list(islice(left, AT_ONCE)):
            writer.write_batch(_batch(some, columns))


def _batch(some: list[Row], columns: dict[str, Any]) -> Any:
    pa = _pyarrow()
    cells: dict[str, list[Any]] = {name: [None] * len(some) for name in columns}
    kinds, times, actors = cells["row"], cells["at"], cells["actor"]
    senders, ids = cells["sender"], cells["id"]
    for number, row in enumerate(some):
        kinds[number], times[number], actors[number] = _NUMBERS[type(row)], row.at, row.actor
        if type(row) is Delivered:  # nearly all
            senders[number], ids[number] = row.sender, row.id
            continue
        for name in row.__struct_fields__[2:]:
            value = getattr(row, name)
            cells[name][number] = _encode(value).decode() if name == "note" else value
    arrays = [pa.array(cells[name], type=kind) for name, kind in columns.items() if name != "row"]
    # An Arrow file has one dictionary for all batches: of all kinds, whichever there are.
    arrays.insert(0, pa.DictionaryArray.from_arrays(pa.array(kinds, pa.int8()), list(_KINDS)))
    return pa.record_batch(arrays, names=list(columns))


def read(path: FilePath) -> Iterator[Row]:
    """The rows of a file that `write` wrote.

    Raises:
        UsageError: pyarrow is not installed, or the file is something else.
    """
    pa = _pyarrow()
    try:
        for batch in _batches(path):
            batch.validate(full=True)  # pyarrow may abort the process on one that is not
            yield from _rows(batch.to_pydict())
    except (pa.ArrowException, msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a trace: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise  # of the system: no such file, …
        raise UsageError(f"{path}: not a trace: {error}") from error  # pyarrow's, of what it read


def _batches(path: FilePath) -> Iterator[Any]:
    if path.suffix == ".parquet":
        with _pyarrow(".parquet").ParquetFile(path) as file:
            yield from file.iter_batches(AT_ONCE)
    else:
        with _pyarrow().memory_map(str(path)) as mapped:
            file = _pyarrow(".ipc").open_file(mapped)
            for number in range(file.num_record_batches):
                yield file.get_batch(number)


def _rows(cells: dict[str, list[Any]]) -> Iterator[Row]:
    arrivals = zip(cells["at"], cells["actor"], cells["sender"], cells["id"], strict=True)
    for number, (kind, arrival) in enumerate(zip(cells["row"], arrivals, strict=True)):
        if kind == "delivered":
            if {*map(type, arrival)} != {int}:
                raise TypeError(f"a delivery is four whole numbers, not {arrival}")
            yield Delivered(*arrival)
            continue
        names = _KINDS[kind].__struct_fields__
        fields = {name: cells[name][number] for name in names}
        if "note" in fields:
            fields["note"] = _decode(fields["note"])
        row: Row = msgspec.convert({"row": kind, **fields}, Row)
        yield row
