"""Another message: what a liar says when its protocol offers nothing better.

For adversaries alone. Names, ids and signatures stay, so that it still is about the same thing.
"""

from typing import Any

import msgspec

_NAMES = frozenset({"op", "id", "session", "kind", "attempt", "signature", "key", "public"})


def altered(msg: Any, story: int = 1) -> Any:
    """`msg` with one thing changed; None when it says nothing that could be said otherwise.

    The first of: a truth value (flipped), a text, bytes (same length). Names and signatures
    stay. Nested messages are searched last.
    """
    fields = {f: getattr(msg, f) for f in msg.__struct_fields__ if f not in _NAMES}
    for name, value in fields.items():
        if isinstance(value, bool):
            return msgspec.structs.replace(msg, **{name: value ^ bool(story % 2)})
    for name, value in fields.items():
        if isinstance(value, str) and value:
            return msgspec.structs.replace(msg, **{name: f"{value}, version {story + 1}"})
        if isinstance(value, bytes) and value:
            other = bytes([value[0] ^ (story & 0xFF or 1)]) + value[1:]
            return msgspec.structs.replace(msg, **{name: other})
    for name, value in fields.items():
        if isinstance(value, msgspec.Struct):
            inner = altered(value, story)
            if inner is not None:
                return msgspec.structs.replace(msg, **{name: inner})
    return None
