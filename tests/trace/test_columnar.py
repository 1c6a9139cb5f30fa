"""A trace survives the way into a Parquet or Arrow file and back, and others read it, too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet
import pytest

from mpclab.core import UsageError
from mpclab.core.notes import Started
from mpclab.lab import play
from mpclab.testing import experiments
from mpclab.trace import Delivered, Trace, columnar, rows


@pytest.mark.parametrize("ending", columnar.ENDINGS)
@pytest.mark.parametrize("protocol", ["pbft", "raft", "direct"])
def test_what_is_written_is_read_back(
    protocol: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columnar, "AT_ONCE", 100)
    file = tmp_path / f"run{ending}"
    for seed in range(4):
        run = play(experiments.draw(seed, protocol))
        run.save(file)
        assert Trace.load(file).digest() == run.trace.digest()


def test_every_kind_of_row_has_its_columns(tmp_path: Path) -> None:
    trace = Trace()
    trace.append(rows.Blamed(1, 2, ("a", "b"), None, "nobody knows", "someone"))
    trace.append(rows.Delivered(2, 3, 1, 2**63 - 1))
    trace.append(rows.Lied(3, 1, (), "Vote", 7, (2, 3), ()))
    trace.append(rows.Fault(4, rows.WORLD, 0, "crash", "begin", (1,), "party 1", life="crashed"))
    trace.append(rows.Sent(5, 1, 8, (2,), ("x",), "Vote", 9, "relay", True, "ü\n"))
    file = tmp_path / "rows.parquet"
    trace.save(file)
    assert list(Trace.load(file)) == list(trace)
    table = pyarrow.dataset.dataset(file).to_table()
    assert table["row"].to_pylist() == ["blamed", "delivered", "lied", "fault", "sent"]
    assert table["path"].to_pylist()[0] == ["a", "b"]
    assert table["id"].to_pylist() == [None, 2**63 - 1, 7, None, 8]


@pytest.mark.parametrize("ending", [".jsonl", *columnar.ENDINGS])
def test_what_a_file_cannot_hold_is_said_and_leaves_none(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"run{ending}"
    for sent in (rows.Sent(5, 1, 2**63, (2,), (), "Vote", 9),
                 rows.Sent(5, 1, 2, (2,), (), "Vo\ud800te", 9)):  # fmt: skip
        trace = Trace()
        trace.append(sent)
        if ending == ".jsonl" and sent.id == 2**63:
            trace.save(file)
            assert list(Trace.load(file)) == [sent]
            continue
        with pytest.raises(UsageError, match=r"run\."):
            trace.save(file)
        assert not file.exists()


def test_deliveries_are_small(tmp_path: Path) -> None:
    trace = Trace()
    for number in range(100_000):
        trace.append(Delivered(number * 17, number % 7, number % 5, number // 7))
    trace.save(file := tmp_path / "run.parquet")
    assert file.stat().st_size < 10 * len(trace)


@pytest.mark.parametrize("ending", columnar.ENDINGS)
def test_other_files_are_refused(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"no{ending}"
    file.write_bytes(b"no trace, for sure, and of some length")
    with pytest.raises(UsageError, match="not a trace"):
        Trace.load(file)
    table = pyarrow.table({"row": ["sent"], "at": [1]})
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, file)
    else:
        with pyarrow.ipc.new_file(str(file), table.schema) as writer:
            writer.write(table)
    with pytest.raises(UsageError, match="not a trace"):
        Trace.load(file)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("note", ["{", None]),
        ("note", ['{"word":"no such word"}', None]),
        ("at", [0, None]),
        ("sender", [None, None]),
        ("actor", [1, 2**40]),
    ],
)
def test_wrong_cells_are_refused(column: str, values: list[Any], tmp_path: Path) -> None:
    trace = Trace()
    trace.append(rows.Noted(0, 1, (), Started()))
    trace.append(Delivered(1, 2, 3, 4))
    trace.save(file := tmp_path / "run.parquet")
    table = pyarrow.parquet.read_table(file)
    at = table.schema.get_field_index(column)
    wrong = table.set_column(at, column, pyarrow.array(values, table.schema.field(at).type))
    pyarrow.parquet.write_table(wrong, file)
    with pytest.raises(UsageError, match="not a trace"):
        Trace.load(file)


@pytest.mark.parametrize("ending", columnar.ENDINGS)
def test_damaged_files_are_read_or_refused(ending: str, tmp_path: Path) -> None:
    trace = Trace()
    trace.append(rows.Noted(0, 1, (), Started()))
    trace.append(Delivered(1, 2, 3, 4))
    trace.save(file := tmp_path / f"run{ending}")
    good, refused = file.read_bytes(), 0
    for at in range(0, len(good), 11):
        file.write_bytes(good[:at] + bytes([good[at] ^ 0x11]) + good[at + 1 :])
        try:
            list(Trace.load(file))
        except UsageError:
            refused += 1
    assert refused
    with pytest.raises(FileNotFoundError):
        Trace.load(tmp_path / f"none{ending}")


def test_without_pyarrow_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"mpclab\[columnar\]"):
        Trace().save(tmp_path / "run.arrow")
