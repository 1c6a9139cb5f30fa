"""Two parties find what one of them lacks, and pages are bounded by bytes."""

from hypothesis import given
from hypothesis import strategies as st

from mpclab.coordinator.catchup import PAGE_BYTES, _page
from mpclab.coordinator.inventory import BUCKETS, DIGESTS_BYTES, Inventory, bucket_of

IDS = st.sets(st.text("23456789abcdefghjkmnpqrstuvwxyz", min_size=10, max_size=10), max_size=60)


def made(ids: set[str]) -> Inventory:
    inventory = Inventory()
    for op in sorted(ids):
        inventory.add(op)
        inventory.add(op)  # twice is once
    return inventory


@given(IDS, IDS)
def test_the_buckets_that_differ_are_those_of_what_only_one_has(a: set[str], b: set[str]) -> None:
    ours, theirs = made(a), made(b)
    expected = {bucket_of(op) for op in a ^ b}
    assert set(ours.differing(theirs.digests)) == expected
    assert set(theirs.differing(ours.digests)) == expected
    assert (ours.digest == theirs.digest) is (a == b)
    assert len(ours.digests) == DIGESTS_BYTES
    assert {op for k in range(BUCKETS) for op in ours.ids(k)} == a
    assert len(ours) == len(a)
    assert all(op in ours for op in a)


@given(st.lists(st.binary(max_size=PAGE_BYTES), max_size=12))
def test_a_page_is_as_much_as_fits_and_never_nothing(items: list[bytes]) -> None:
    page = _page(items)
    assert list(page) == items[: len(page)]
    assert bool(page) is bool(items)
    assert len(page) == 1 or sum(map(len, page)) <= PAGE_BYTES
    if len(page) < len(items):
        assert sum(len(item) + 5 for item in items[: len(page) + 1]) > PAGE_BYTES


def test_what_else_is_held_counts_as_if_it_were_in() -> None:
    one, other = Inventory(), Inventory()
    for op in ("a", "b", "c"):
        one.add(op)
    other.add("a")
    assert other.digests_with(["b", "c", "a"]) == one.digests
    assert other.digests_with([]) == other.digests
