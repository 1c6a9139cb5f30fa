"""Damage in the log beside an SQLite database, which SQLite passes over in silence.

What was written since the last checkpoint is in the file `…-wal` alone, and is read from there
after a crash: frame by frame, until the first whose checksum is wrong, as if nothing came after it.
That is right for the last frames, which a power cut may have torn: nobody was told yet that they
are kept. It is wrong in the middle: a party would go on without what it has promised. So we look
before SQLite does. With `synchronous=FULL` a transaction is on the disk before the next begins;
where one has a frame that is not whole and a later one has one that is, there is damage. (etcd does
so with its log: a torn end is cut off, a wrong record before it is refused.) Damage to the last
transaction looks like a torn end, and a log that was cut off like a shorter one: neither is seen.

Source: "Database File Format", §4 The Write-Ahead Log, https://sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path as FilePath
from typing import Final

_HEADER: Final = 32
_FRAME: Final = 24
_MAGIC: Final = 0x377F0682  # the last bit: whether checksums read their words big-endian
_MASK: Final = 0xFFFFFFFF


def is_damaged(log: FilePath) -> bool:
    """Whether a log has lost what was kept: its own header, or what a later write came after."""
    try:
        data = log.read_bytes()
        while _shows_damage(data):
            before, data = data, log.read_bytes()
            if data[: len(before)] == before:
                return True
            # Whoever has it open wrote to it while we read: that was of two times.
    except FileNotFoundError:
        pass
    return False


def _shows_damage(data: bytes) -> bool:
    if len(data) <= _HEADER + _FRAME:
        return False  # nothing was kept in it yet
    magic, _, size, _, *salts_and_sum = struct.unpack(">8I", data[:_HEADER])
    big = bool(magic & 1)
    told = tuple(salts_and_sum[2:])
    if magic & ~1 != _MAGIC or _add(data[: _HEADER - 8], (0, 0), big) != told:
        return True
    count = (len(data) - _HEADER) // (_FRAME + size)
    frames = [_HEADER + k * (_FRAME + size) for k in range(count)]
    heads = [data[at : at + _FRAME] for at in frames]
    sums = [told, *(struct.unpack(">2I", head[16:]) for head in heads)]
    salts = data[16:24]
    broken, over = False, False
    for head, at, after in zip(
        heads, _sums_of(data, size, count, sums, big), sums[1:], strict=True
    ):
        ours = head[8:16] == salts  # else of the log's last turn, behind this one's end; or damage
        whole = ours and at == after
        if whole and over:
            return True
        broken = broken or not whole
        over = broken and (over or (ours and head[4:8] != bytes(4)))
    return False


def _sums_of(
    data: bytes, size: int, count: int, before: list[tuple[int, int]], big: bool
) -> list[tuple[int, int]]:
    """What each frame's checksum should be, going on from the one that is told before it.

    SQLite's sum is linear, modulo 2^32, in what it goes on from and in each word; so all frames,
    which are of one length, are products with the same numbers."""
    import numpy  # asked for after a crash alone

    pairs = 1 + size // 8  # eight bytes of the frame's head, and the page
    start, words = _weights(pairs)
    weights = numpy.array(words, numpy.uint32)
    found: list[tuple[int, int]] = []
    for first in range(0, count, _AT_ONCE):
        some = min(_AT_ONCE, count - first)
        raw = numpy.frombuffer(
            data, numpy.uint8, some * (_FRAME + size), _HEADER + first * (_FRAME + size)
        ).reshape(some, _FRAME + size)
        summed = numpy.concatenate((raw[:, :8], raw[:, _FRAME:]), axis=1)
        read = summed.view(">u4" if big else "<u4").astype(numpy.uint32)
        from_words = read @ weights
        from_before = numpy.array(before[first : first + some], numpy.uint32) @ numpy.array(
            start, numpy.uint32
        )
        found += map(tuple, (from_words + from_before).tolist())
    return found


_AT_ONCE: Final = 2048  # frames


def _weights(pairs: int) -> tuple[list[list[int]], list[list[int]]]:
    """By how much each of the two sums that a frame goes on from, and each of its words, counts in
    the two sums after it. From the end: a sum that is one more before the last k pairs of words."""
    one, two = [1, 0], [0, 1]
    words: list[list[int]] = []
    for _ in range(pairs):  # a pair x, y: one += x + two, two += y + one
        more = [(a + b) & _MASK for a, b in zip(one, two, strict=True)]
        words += [two, more]
        one, two = more, [(a + b) & _MASK for a, b in zip(more, two, strict=True)]
    return [one, two], words[::-1]


def _add(data: bytes, before: tuple[int, ...], big: bool) -> tuple[int, int]:
    """SQLite's checksum over `data`, whose length is a multiple of 8, going on from `before`."""
    words = array("I", data)
    if big != (words.itemsize == 4 and struct.pack("=I", 1) == struct.pack(">I", 1)):
        words.byteswap()
    one, two = before
    for k in range(0, len(words), 2):
        one = (one + words[k] + two) & _MASK
        two = (two + words[k + 1] + one) & _MASK
    return one, two
