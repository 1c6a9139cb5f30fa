"""`Inventory`: which operations are decided here, so that two parties find what one of them lacks.

The ids are spread over `BUCKETS` buckets, and each bucket has a digest of the set of ids in it: the
sum of their hashes (AdHash, Bellare and Micciancio 1997), which costs the same for the
ten-thousandth operation as for the first. Two parties that compare 32 digests know in which
buckets they differ, and name the ids of those alone. A digest that a liar made to fit hides from
the other what the liar has, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpclab.crypto.transcript import digest

BUCKETS = 32
_BYTES = 8
_MODULUS = 1 << 8 * _BYTES


def bucket_of(op: str) -> int:
    return _hash(op) % BUCKETS


def _hash(op: str) -> int:
    return int.from_bytes(digest("mpclab decided", op)[:_BYTES])


class Inventory:
    """The ids of decided operations; grows only."""

    def __init__(self) -> None:
        self._ids: list[dict[str, None]] = [{} for _ in range(BUCKETS)]
        self._sums = [0] * BUCKETS

    def add(self, op: str) -> None:
        bucket = self._ids[bucket_of(op)]
        if op not in bucket:
            bucket[op] = None
            self._sums[bucket_of(op)] = (self._sums[bucket_of(op)] + _hash(op)) % _MODULUS

    def __contains__(self, op: str) -> bool:
        return op in self._ids[bucket_of(op)]

    def __len__(self) -> int:
        return sum(map(len, self._ids))

    @property
    def digests(self) -> bytes:
        """The digests of all buckets, one after the other."""
        return b"".join(total.to_bytes(_BYTES) for total in self._sums)

    def digests_with(self, more: Iterable[str]) -> bytes:
        """`digests`, were the ids `more` in here too."""
        sums = list(self._sums)
        for op in more:
            if op not in self:
                sums[bucket_of(op)] = (sums[bucket_of(op)] + _hash(op)) % _MODULUS
        return b"".join(total.to_bytes(_BYTES) for total in sums)

    @property
    def digest(self) -> bytes:
        """One digest of all, 8 bytes."""
        return (sum(self._sums) % _MODULUS).to_bytes(_BYTES)

    def differing(self, digests: bytes) -> list[int]:
        """The buckets in which the party with these `digests` holds other ids than we."""
        theirs = [digests[k : k + _BYTES] for k in range(0, len(digests), _BYTES)]
        return [k for k, total in enumerate(self._sums) if total.to_bytes(_BYTES) != theirs[k]]

    def ids(self, bucket: int) -> tuple[str, ...]:
        """In the order in which they were decided here."""
        return tuple(self._ids[bucket])


DIGESTS_BYTES = BUCKETS * _BYTES
