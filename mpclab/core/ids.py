"""Names and units: parties, paths, durations, generated ids."""

import random
import re
from typing import Annotated, Final, TypeAlias

from mpclab.core.errors import UsageError

Party: TypeAlias = int
"""A participant, `1..n`. `SERVER` is the signaling server's place in the same numbering."""

Path: TypeAlias = tuple[str, ...]
"""Address of a machine in its party's tree: ("session", "coin-3"). Derived from agreed data."""

SERVER: Final = 0

STRIDE: Final = 10_000
"""Party p of a world's k-th session (k from 0) is the actor `k * STRIDE + p`."""

US: Final = 1
MS: Final = 1_000
SECOND: Final = 1_000_000
"""Durations and times are integer microseconds: `150 * MS`."""

Duration: TypeAlias = Annotated[int, "duration"]
"""Microseconds; a parameter of this type is written as `500ms` in files and forms."""

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s|min)\s*")
_UNITS = {"us": US, "µs": US, "ms": MS, "s": SECOND, "min": 60 * SECOND}


def parse_duration(text: str | int, field: str = "duration") -> int:
    """Microseconds in `"250ms"`, `"1.5s"`, `"2min"`, `"80us"`; a bare 0 is allowed.

    Raises:
        UsageError: naming `field`, for anything else.
    """
    if text == 0:
        return 0
    match = _DURATION.fullmatch(str(text))
    if not match:
        raise UsageError(
            f"{field}: {text!r} is not a duration; write a number and a unit that is not "
            f"negative, such as 250ms, 1.5s or 2min"
        )
    return round(float(match[1]) * _UNITS[match[2]])


def format_duration(us: int) -> str:
    """The shortest exact text that `parse_duration` reads back."""
    for unit, size in (("s", SECOND), ("ms", MS)):
        if us % size == 0 and us >= size:
            return f"{us // size}{unit}"
    return f"{us}us" if us else "0ms"


_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # no 0/o, 1/l/i: ids are read aloud


def new_id(rng: random.Random, length: int = 8) -> str:
    """A generated id, `length` characters of a 31-letter alphabet (4.95 bits each)."""
    return "".join(rng.choice(_ALPHABET) for _ in range(length))


_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_session_id(text: str) -> str:
    """`text` itself when it may name a session.

    Raises:
        UsageError: for anything but 1 to 64 letters, digits, dots, dashes or underscores.
    """
    if not _SESSION_ID.fullmatch(text):
        raise UsageError(
            f"session id {text!r}: use 1 to 64 letters, digits, '.', '-' or '_', "
            f"beginning with a letter or digit"
        )
    return text
