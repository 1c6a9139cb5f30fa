"""Hashing of structured data, without ambiguity and apart by purpose.

A hash of several values is safe to sign only if no two different lists of values give the same
bytes: ("ab", "c") and ("a", "bc") must differ, and so must the text "1" and the number 1. So
every part carries its type and its length, and every use carries a label:

    part  :=  tag (1 byte)  ‖  length of body (8 bytes, big-endian)  ‖  body

The tag is `b` for bytes, `s` for text (UTF-8), `i` for an integer (two's complement, big-endian,
shortest form) and `t` for a tuple (body: its parts, one after the other). The encoding is
injective, because it can be read back from left to right in one way only.

`bool` is refused: Python takes it for an `int`, and `True` would hash as 1.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

Part: TypeAlias = bytes | str | int | tuple["Part", ...]

DIGEST_BYTES = 32
_PREFIX = b"mpclab transcript v1\0"
_HEADS = {tag: [tag + size.to_bytes(8, "big") for size in range(256)]
          for tag in (b"b", b"s", b"i", b"t")}  # fmt: skip
"""Tag and length of short bodies, which nearly all are."""


def encode(*parts: Part) -> bytes:
    """The parts as bytes, injectively."""
    pieces: list[bytes] = []
    for part in parts:
        if type(part) is bytes:  # nearly all are
            tag, body = b"b", part
        else:
            tag, body = _tag_and_body(part)
        size = len(body)
        pieces.append(_HEADS[tag][size] if size < 256 else tag + size.to_bytes(8, "big"))
        pieces.append(body)
    return b"".join(pieces)


def digest(label: str, *parts: Part) -> bytes:
    """SHA-256 of the parts under a label that says what the hash is for, 32 bytes."""
    return hashlib.sha256(_PREFIX + encode(label, *parts)).digest()


def _tag_and_body(part: Part) -> tuple[bytes, bytes]:
    if isinstance(part, str):
        return b"s", part.encode()
    if isinstance(part, bool):
        raise TypeError("a part is never a bool: say which number or text is meant")
    if isinstance(part, int):
        # One bit more than the magnitude needs, for the sign: 127 is 1 byte, 128 is 2.
        magnitude = part if part >= 0 else ~part
        return b"i", part.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)
    if isinstance(part, tuple):
        return b"t", encode(*part)
    if isinstance(part, bytes):
        return b"b", part
    raise TypeError(f"a part is bytes, str, int or a tuple of these, not {type(part).__name__}")
