"""Reed–Solomon erasure codes: n shards of some data, of which any k give it back.

I. S. Reed and G. Solomon, "Polynomial codes over certain finite fields", J. SIAM 8 (1960). The
bytes at one place of the k data shards are the values of a polynomial of degree < k over GF(2⁸) at
0, …, k − 1; the other shards are its values at k, …, n − 1. So k shards are interpolated, whichever
they are, and the data need no decoding where their own shards are there (a systematic code). Lost
shards are borne, wrong ones are not: whoever takes shards checks them one by one (`merkle`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

MOST = 256
"""Shards, at most: the elements of the field."""
_LENGTH = 4
"""Bytes before the data that say how long these are."""


def _tables() -> tuple[list[int], list[int]]:
    """Powers of 2 in GF(2)[x] / (x⁸ + x⁴ + x³ + x² + 1), and logarithms."""
    powers, logs, x = [0] * 510, [0] * 256, 1
    for k in range(255):
        powers[k] = powers[k + 255] = x
        logs[x] = k
        x = x << 1 ^ (0x11D if x & 0x80 else 0)
    return powers, logs


_POWERS, _LOGS = _tables()


def multiply(a: int, b: int) -> int:
    return _POWERS[_LOGS[a] + _LOGS[b]] if a and b else 0


def divide(a: int, b: int) -> int:
    """a / b, b not 0."""
    return _POWERS[_LOGS[a] + 255 - _LOGS[b]] if a else 0


@lru_cache(maxsize=256)
def _times(factor: int) -> bytes:
    """The products of all bytes with a factor, for `bytes.translate`."""
    return bytes(multiply(factor, x) for x in range(256))


@lru_cache(maxsize=1 << 12)
def _weights(points: tuple[int, ...], at: int) -> tuple[int, ...]:
    """Lagrange's: what the values at `points` count for the value at `at`."""
    found = []
    for x in points:
        weight = 1
        for y in points:
            if y != x:  # minus is plus
                weight = multiply(weight, divide(at ^ y, x ^ y))
        found.append(weight)
    return tuple(found)


def _value(shards: Mapping[int, bytes], at: int) -> bytes:
    """The shard at `at`, interpolated from all of `shards`."""
    if at in shards:
        return shards[at]
    total, size = 0, 0
    for (_, shard), weight in zip(
        sorted(shards.items()), _weights(tuple(sorted(shards)), at), strict=True
    ):
        total, size = total ^ int.from_bytes(shard.translate(_times(weight))), len(shard)
    return total.to_bytes(size)


def encode(data: bytes, k: int, n: int) -> tuple[bytes, ...]:
    """`n` shards of one length, any `k` of which give `data` back. 1 ≤ k ≤ n ≤ 256."""
    if not 1 <= k <= n <= MOST:
        raise ValueError(f"{k} of {n} shards: use 1 ≤ k ≤ n ≤ {MOST}")
    framed = len(data).to_bytes(_LENGTH) + data
    size = -(-len(framed) // k)
    framed = framed.ljust(k * size, b"\0")
    own = {i: framed[i * size : (i + 1) * size] for i in range(k)}
    return tuple(_value(own, i) for i in range(n))


def decode(shards: Mapping[int, bytes], k: int) -> bytes | None:
    """The data, from `k` shards or more by their numbers; None when these are no shards of any."""
    chosen = {i: shards[i] for i in sorted(shards)[:k]}
    if len(chosen) < k or len({len(shard) for shard in chosen.values()}) != 1:
        return None
    framed = b"".join(_value(chosen, i) for i in range(k))
    length = int.from_bytes(framed[:_LENGTH])
    return framed[_LENGTH : _LENGTH + length] if length <= len(framed) - _LENGTH else None
