"""How deeply bytes are nested, found out without following them down.

Decoders recurse. Natively that ends in a `RecursionError`; in a browser tab, whose stack is the
browser's, one message nested 10,000 deep ends Python for good. So a tab looks before it decodes.
Bytes that are no message at all may pass: the decoder says what is wrong with them.
"""

from __future__ import annotations

import re
from typing import Final

DEEPEST: Final = 64
"""Levels that a message may have; ours have about ten."""

_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{\]}]', re.DOTALL)
_CONTAINERS: Final = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])

# What follows a msgpack marker: bytes to skip; (bytes of a length, bytes besides); (bytes of a
# count, items for each).
_FIXED: Final = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
_SIZED: Final = {
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip
_COUNTED: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def is_deep(data: bytes, codec: str, deepest: int = DEEPEST) -> bool:
    """Whether `data`, of the codec "json" or "msgpack", has more than `deepest` levels."""
    if len(data) <= deepest:
        return False
    if codec == "json":
        return data.count(b"[") + data.count(b"{") > deepest and _is_deep_json(data, deepest)
    shallow = len(data.translate(None, _CONTAINERS)) >= len(data) - deepest
    return not shallow and _is_deep_msgpack(data, deepest)


def _is_deep_json(data: bytes, deepest: int) -> bool:
    depth = 0
    for token in _TOKENS.finditer(data):
        mark = data[token.start()]
        if mark in b"[{":
            depth += 1
            if depth > deepest:
                return True
        elif mark in b"]}":
            depth -= 1
    return False


def _is_deep_msgpack(data: bytes, deepest: int) -> bool:
    at, end = 0, len(data)
    left: list[int] = []  # items that are still to come, at each level
    while at < end:
        mark = data[at]
        at += 1
        items = 0
        if 0x80 <= mark < 0x90:
            items = 2 * (mark & 15)
        elif 0x90 <= mark < 0xA0:
            items = mark & 15
        elif 0xA0 <= mark < 0xC0:
            at += mark & 31
        elif mark in _FIXED:
            at += _FIXED[mark]
        elif mark in _SIZED:
            width, more = _SIZED[mark]
            at += width + more + int.from_bytes(data[at : at + width], "big")
        elif mark in _COUNTED:
            width, each = _COUNTED[mark]
            items = each * int.from_bytes(data[at : at + width], "big")
            at += width
        if items:
            left.append(items)
            if len(left) > deepest:
                return True
            continue
        while left:
            left[-1] -= 1
            if left[-1]:
                break
            left.pop()
        else:
            return False  # the outermost value has ended
    return False
