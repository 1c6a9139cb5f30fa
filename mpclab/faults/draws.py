"""Keyed random draws: one number for each (seed, stream, key), whatever else was drawn.

A counter-based generator (splitmix64's finaliser over the key), so that one more message
somewhere moves no other message's delivery. Not for secrets. Scalar for a few receivers, NumPy
for many; both give the same numbers. NumPy is imported when many are drawn, for a browser's tab
has none.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 1 << 62  # so that a word is no small number


def mix(x: int) -> int:
    """splitmix64's finaliser: 64 bits to 64 well-mixed bits."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


def key(*parts: int | str) -> int:
    """Mix numbers and words into one 64-bit key; independent of `PYTHONHASHSEED`."""
    state = _GOLDEN
    for part in parts:
        number = _WORD + zlib.crc32(part.encode()) if isinstance(part, str) else part
        state = mix((state + _GOLDEN * ((number & _MASK) + 1)) & _MASK)
    return state


def uniform(base: int, lane: int) -> float:
    """A number in (0, 1), the draw `lane` of key `base`."""
    return ((mix((base + _GOLDEN * (lane + 1)) & _MASK) >> 11) + 0.5) * 2.0**-53


def uniforms(base: int, lanes: Sequence[int]) -> npt.NDArray[np.float64]:
    """`[uniform(base, lane) for lane in lanes]` at once; shape `(len(lanes),)`."""
    import numpy as np

    steps = np.asarray(lanes, dtype=np.uint64) + np.uint64(1)
    x = np.uint64(base) + np.uint64(_GOLDEN) * steps
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    result: npt.NDArray[np.float64] = ((x >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return result
