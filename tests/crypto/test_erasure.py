"""Erasure codes and Merkle trees: any k shards give the data back, and each proves its place."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from mpclab.crypto import erasure, merkle


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 4), (2, 4), (3, 5), (3, 7), (4, 10)])
@pytest.mark.parametrize("size", [0, 1, 101])
def test_any_k_shards_give_the_data_back(k: int, n: int, size: int) -> None:
    data = random.Random(size).randbytes(size)
    shards = erasure.encode(data, k, n)
    assert len({len(shard) for shard in shards}) == 1
    assert len(shards[0]) == -(-(size + 4) // k)
    for chosen in combinations(range(n), k):
        assert erasure.decode({i: shards[i] for i in chosen}, k) == data


def test_the_field_is_one() -> None:
    for a in range(1, 256):
        assert erasure.multiply(a, erasure.divide(1, a)) == 1
        assert erasure.multiply(a, 3) == erasure.multiply(a, 2) ^ a
    assert erasure.multiply(0x80, 2) == 0x1D
    assert erasure.multiply(0, 7) == erasure.divide(0, 7) == 0


def test_too_few_shards_or_none_of_any_data_give_nothing() -> None:
    shards = erasure.encode(b"some data", 3, 7)
    assert erasure.decode({0: shards[0], 1: shards[1]}, 3) is None
    assert erasure.decode({0: shards[0], 1: shards[1], 2: b""}, 3) is None
    assert erasure.decode({0: b"\xff\xff", 1: b"\xff\xff", 2: b"xx"}, 3) is None


def test_more_shards_than_elements_are_refused() -> None:
    with pytest.raises(ValueError, match="use 1 ≤ k ≤ n ≤ 256"):
        erasure.encode(b"", 2, 257)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8])
def test_a_branch_proves_one_leaf_at_one_place(count: int) -> None:
    leaves = [bytes([k]) for k in range(count)]
    root, branches = merkle.tree(leaves)
    for k, branch in enumerate(branches):
        right = [j for j in range(count) if merkle.is_leaf(root, branch, count, j, leaves[k])]
        assert right == [k]
        assert not merkle.is_leaf(root, branch, count, k, b"another")
        assert not merkle.is_leaf(root, (*branch, root), count, k, leaves[k])
        assert not merkle.is_leaf(root, branch, count + 8, k, leaves[k])


def test_a_branch_has_hashes_only() -> None:
    """Else whoever makes the tree chooses how long a proof is."""
    for size in (31, 32, 33):
        sibling = bytes(size)
        here = merkle._leaf(2, 0, b"leaf")
        root = merkle._node(here, sibling)
        assert merkle.is_leaf(root, (sibling,), 2, 0, b"leaf") == (size == 32)
