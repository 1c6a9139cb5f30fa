"""Merkle trees: one hash of many leaves, and short proofs that a leaf is among them.

R. C. Merkle, "A digital signature based on a conventional encryption function", CRYPTO '87. A leaf
is hashed with its place and the number of leaves, and inner nodes under a label of their own, so
that no node passes for a leaf and no leaf for one at another place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from mpclab.crypto.transcript import digest

Branch: TypeAlias = tuple[bytes, ...]
"""The siblings on the way from a leaf to the root, 32 bytes each."""


def _leaf(count: int, place: int, data: bytes) -> bytes:
    return digest("mpclab merkle leaf", count, place, data)


def _node(left: bytes, right: bytes) -> bytes:
    return digest("mpclab merkle node", left, right)


def tree(leaves: Sequence[bytes]) -> tuple[bytes, tuple[Branch, ...]]:
    """The root, 32 bytes, and for each leaf its branch: the siblings from the leaf up.

    An odd node at the end of a level is its own sibling.
    """
    level = [_leaf(len(leaves), place, data) for place, data in enumerate(leaves)]
    branches: list[list[bytes]] = [[] for _ in leaves]
    height = 0
    while len(level) > 1:
        for place, branch in enumerate(branches):
            at = (place >> height) ^ 1
            branch.append(level[min(at, len(level) - 1)])
        level = [_node(*(level[k : k + 2] * 2)[:2]) for k in range(0, len(level), 2)]
        height += 1
    return level[0], tuple(map(tuple, branches))


def is_leaf(root: bytes, branch: Branch, count: int, place: int, data: bytes) -> bool:
    """Whether `data` is the leaf at `place`, from 0, of a tree of `count` leaves and that root."""
    if len(branch) != (count - 1).bit_length() or any(len(each) != 32 for each in branch):
        return False
    return _leads(root, branch, place, _leaf(count, place, data))


@lru_cache(maxsize=1 << 12)
def _leads(root: bytes, branch: Branch, place: int, here: bytes) -> bool:
    """Remembered, without the data: simulated parties check the same ones."""
    for sibling in branch:
        here = _node(sibling, here) if place & 1 else _node(here, sibling)
        place >>= 1
    return here == root
