"""The hash chain: one head for one set of operations, whatever the order of learning."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.coordinator.history import History, Record, genesis
from mpclab.coordinator.statements import Certificate, SignedProposal
from mpclab.operations.proposal import Proposal


def record(k: int, stamp: int = 1, by: int = 1, index: int | None = None) -> Record:
    proposal = Proposal("s", f"a{k}", by, stamp, "note", (("text", f"{k}"),), 1)
    return Record(Certificate(SignedProposal(proposal, b""), ()), index)


def chain(records: list[Record]) -> History:
    history = History("s")
    for one in records:
        history.add(one)
    return history


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_without_a_log_the_head_depends_on_the_set_alone(
    stamps: list[tuple[int, int]], rng: random.Random
) -> None:
    records = [record(k, stamp, by) for k, (stamp, by) in enumerate(stamps)]
    shuffled = records.copy()
    rng.shuffle(shuffled)
    one, other = chain(records), History("s")
    for r in shuffled:
        other.add(r)
        assert other.verify()  # heads computed in between are thrown away where they must be
    assert one.head == other.head
    assert one.entries() == other.entries()
    assert [e.index for e in one.entries()] == list(range(len(records)))


@given(st.integers(0, 8), st.randoms(use_true_random=False))
def test_with_a_log_the_index_is_the_place(count: int, rng: random.Random) -> None:
    records = [record(k, stamp=99 - k, index=k) for k in range(count)]
    shuffled = records.copy()
    rng.shuffle(shuffled)
    history = chain(shuffled)
    assert [e.record.op for e in history.entries()] == [r.op for r in records]
    assert history.head == chain(records).head


def test_the_chain_ends_before_a_gap() -> None:
    history = chain([record(0, index=0), record(2, index=2)])
    assert len(history) == 2
    assert [e.index for e in history.entries()] == [0]
    before = history.head
    assert history.head_at(record(2).op) == before
    history.add(record(1, index=1))
    assert [e.index for e in history.entries()] == [0, 1, 2]
    assert history.head != before


def test_a_place_that_repeats_an_operation_is_skipped() -> None:
    history = chain([record(0, index=0), record(2, index=2)])
    history.skip(1)
    assert [e.index for e in history.entries()] == [0, 2]
    assert history.verify()


def test_everything_changes_the_head() -> None:
    base = [record(0), record(1, stamp=2)]
    heads = {
        chain(base).head,
        chain(base[:1]).head,
        chain(base[1:]).head,
        chain([record(0, stamp=2), record(1, stamp=1)]).head,
        chain([record(0), record(2, stamp=2)]).head,
        genesis("s"),
        genesis("other"),
        History("s").head,
    }
    assert len(heads) == 7, "only the empty history is its genesis"


def test_tampering_is_found() -> None:
    history = chain([record(k, stamp=k + 1) for k in range(5)])
    assert history.verify()
    history._packed[record(2).op] = record(7, stamp=3).pack()
    assert not history.verify()


def test_an_operation_is_recorded_once() -> None:
    history = chain([record(0)])
    with pytest.raises(ValueError, match="already"):
        history.add(record(0))
    assert record(0).op in history
    with pytest.raises(KeyError):
        history.head_at("nothing")


def test_a_place_in_the_log_fits_when_all_before_it_is_known() -> None:
    history = History("s1")
    assert history.fits(0)
    assert not history.fits(1)
    history.skip(0)
    assert history.fits(1)
    assert not history.fits(2)
