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


def more(state: int, number: int) -> int:
    """`key(*parts, number)`, where `state` is `key(*parts)` and `number` is not negative."""
    return mix((state + _GOLDEN * (number + 1)) & _MASK)


def uniform(base: int, lane: int) -> float:
    """A number in (0, 1), the draw `lane` of key `base`."""
    return ((mix((base + _GOLDEN * (lane + 1)) & _MASK) >> 11) + 0.5) * 2.0**-53


def uniforms(base: int, lanes: Sequence[int]) -> npt.NDArray[np.float64]:
    """`[uniform(base, lane) for lane in lanes]` at once; shape `(len(lanes),)`."""
    import numpy as np

    steps = np.asarray(lanes, dtype=np.uint64) + np.uint64(1)
    return _unit(np.uint64(base) + np.uint64(_GOLDEN) * steps)


def table(
    state: int, first: int, rows: int, flip: int, lanes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.float64]:
    """`uniform(more(state, first + i) ^ flip, lane)` for `rows` rows i and all `lanes`; shape
    `(rows, len(lanes))`."""
    import numpy as np

    steps = np.arange(first + 1, first + 1 + rows, dtype=np.uint64)
    bases = _mixed(np.uint64(state) + np.uint64(_GOLDEN) * steps) ^ np.uint64(flip)
    return _unit(bases[:, None] + np.uint64(_GOLDEN) * (lanes + np.uint64(1)))


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """`mix` of each."""
    import numpy as np

    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _unit(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Mixed words as numbers in (0, 1)."""
    import numpy as np

    result: npt.NDArray[np.float64] = (_mixed(x) >> np.uint64(11)).astype(np.float64)
    result += 0.5
    result *= 2.0**-53
    return result
