"""A tail keeps the newest rows at their positions, and what it does not keep it can write."""

import os
from pathlib import Path

import pytest

from benchmarks.votes import voting_world
from mpclab.core.errors import UsageError
from mpclab.core.notes import Started
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD, Delivered, Noted, Persisted
from mpclab.trace.tail import LOST, TailTrace


def row(at: int) -> Persisted:
    return Persisted(at, 1, (), "key", 1)


def test_positions_stay_when_old_rows_go() -> None:
    trace = TailTrace(keep=3)
    for at in range(10):
        trace.append(row(at))
        trace.delivered(at, 1, 2, at)
    assert len(trace.rows) == 10
    assert (trace.rows[9], trace.rows[-3], trace.rows[6]) == (row(9), row(7), LOST)
    assert list(trace.rows) == [row(7), row(8), row(9)]
    assert (len(trace), trace.deliveries, trace.end) == (20, 10, 9)
    assert trace.since((8, 0)) == ([row(8), row(9)], (10, 0))
    with pytest.raises(IndexError):
        trace.rows[10]


def test_a_reader_that_polls_goes_on_after_rows_were_lost() -> None:
    trace, read, seen = TailTrace(keep=2), 0, []
    for at in range(5):
        trace.append(row(at))
    while read < len(trace.rows):
        seen.append(trace.rows[read])
        read += 1
    assert seen == [LOST, LOST, LOST, row(3), row(4)]
    assert LOST.actor == WORLD


def test_every_row_is_written_to_a_file_that_its_owner_alone_reads(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    trace, whole = TailTrace(keep=1, file=file), Trace()
    for one in (row(1), Delivered(2, 1, 2, 7), Noted(3, 1, (), Started()), row(4)):
        trace.append(one)
        whole.append(one)
    assert not trace.forgets  # it wants every row
    trace.close()
    assert trace.forgets
    trace.append(row(5))
    assert Trace.load(file).digest() == whole.digest()
    assert not whole.forgets
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot record to"):
        TailTrace(file=tmp_path / "none" / "rows")


def test_a_full_disk_ends_the_recording_and_nothing_else() -> None:
    trace = TailTrace(keep=2, file="/dev/full")
    for at in range(20_000):
        trace.append(row(at))
    trace.flush()
    assert trace.rows[-1] == row(19_999)


def test_a_simulated_world_tells_a_tail_of_deliveries(tmp_path: Path) -> None:
    whole = voting_world(4, 2)
    tail = voting_world(4, 2, trace=TailTrace(keep=1, file=tmp_path / "rows"))
    for world in (whole, tail):
        world.run()
    tail.trace.close()  # type: ignore[attr-defined]
    assert len(tail.trace) == len(whole.trace)
    assert tail.trace.deliveries == whole.trace.deliveries > 0
    assert Trace.load(tmp_path / "rows").digest() == whole.trace.digest()
