"""The log keeps rows of every kind in order, and gives them back from JSONL."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.core import UsageError, notes
from mpclab.trace import (
    Asked,
    Blamed,
    Delivered,
    Dropped,
    Fault,
    Fired,
    Linked,
    Noted,
    Output,
    Persisted,
    Row,
    Sent,
    Trace,
)

times = st.integers(0, 10**12)
actors = st.integers(-1, 1000)
words = st.text(max_size=8)
paths = st.lists(words, max_size=3).map(tuple)
rows: st.SearchStrategy[Row] = st.one_of(
    st.builds(
        Sent,
        times,
        actors,
        st.integers(0, 2**40),
        st.lists(actors, max_size=4).map(tuple),
        paths,
        words,
        st.integers(0, 10**6),
        words,
        st.booleans(),
        words,
    ),
    st.builds(Delivered, times, actors, actors, st.integers(0, 2**40)),
    st.builds(Dropped, times, actors, actors, st.integers(0, 2**40), words),
    st.builds(Fired, times, actors, paths, words),
    st.builds(Asked, times, actors, paths, words),
    st.builds(
        Noted,
        times,
        actors,
        paths,
        st.one_of(
            st.builds(
                notes.Remark,
                words,
                st.dictionaries(words, st.one_of(words, st.integers(-9, 9), st.booleans())),
            ),
            st.builds(notes.Decided, words, st.none() | st.integers(0, 9), words),
            st.builds(notes.Blocked, st.lists(actors).map(tuple), words, words),
            st.builds(notes.Paused),
        ),
    ),
    st.builds(Output, times, actors, paths, words),
    st.builds(Blamed, times, actors, paths, st.none() | actors, words, words),
    st.builds(Persisted, times, actors, paths, words, st.integers(0, 99)),
    st.builds(Linked, times, actors, actors, words),
    st.builds(
        Fault,
        times,
        actors,
        st.integers(0, 9),
        words,
        words,
        st.lists(actors, max_size=3).map(tuple),
        words,
    ),
)


def logged(items: list[Row]) -> Trace:
    trace = Trace()
    for item in items:
        trace.append(item)
    return trace


@given(st.lists(rows, max_size=30))
def test_order_is_the_order_of_appending(items: list[Row]) -> None:
    trace = logged(items)
    assert list(trace) == items
    assert len(trace) == len(items)
    assert trace.deliveries == sum(isinstance(item, Delivered) for item in items)


@given(st.lists(rows, max_size=30), st.integers(0, 30))
def test_a_cursor_gives_each_row_once(items: list[Row], split: int) -> None:
    trace = logged(items[:split])
    first, cursor = trace.since()
    for item in items[split:]:
        trace.append(item)
    second, cursor = trace.since(cursor)
    assert first + second == items
    assert trace.since(cursor)[0] == []


@settings(max_examples=25)
@given(items=st.lists(rows, max_size=20))
def test_saved_and_loaded_is_the_same_trace(
    items: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> None:
    trace = logged(items)
    file = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    trace.save(file)
    again = Trace.load(file)
    assert list(again) == items
    assert again.digest() == trace.digest()


@given(st.lists(rows, min_size=2, max_size=10, unique_by=repr))
def test_the_digest_sees_the_order(items: list[Row]) -> None:
    assert logged(items).digest() != logged(items[::-1]).digest()


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "{}",
        '{"row":"delivered","at":"x","actor":1}',
        '{"row":"delivered","at":1,"actor":9999999999,"sender":1,"id":1}',
        '{"row":"delivered","at":99999999999999999999,"actor":1,"sender":1,"id":1}',
    ],
)
def test_a_file_that_is_no_trace_is_refused_by_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "trace.jsonl"
    good = '{"row":"delivered","at":1,"actor":2,"sender":1,"id":1}'
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(UsageError, match=r"line 2"):
        Trace.load(file)


def test_the_end_is_the_last_row_of_any_kind() -> None:
    assert Trace().end == 0
    assert logged([Fired(5, 1, (), "x"), Delivered(9, 1, 2, 1)]).end == 9
    assert logged([Delivered(9, 1, 2, 1), Fired(11, 1, (), "x")]).end == 11


def test_ids_of_any_size_are_kept() -> None:
    """A peer's own counting may begin anywhere below 2**63, and is no reason for larger cells."""
    items: list[Row] = [Delivered(1, 1, 2, id) for id in (2**32 - 2, 2**32 - 1, 2**32, 2**63 - 1)]
    assert list(logged(items)) == items


def test_a_delivery_costs_twenty_bytes() -> None:
    trace = Trace()
    for number in range(1000):
        trace.delivered(number, 1, 2, number)
    assert trace.cells.bytes < 24 * 1000
