"""The depth of bytes is known before they are decoded, whatever they are."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core.nesting import is_deep
from mpclab.core.wire import Message, _strict

ENCODE = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode}
leaves = st.none() | st.integers(-(2**40), 2**40) | st.text('[]{}"\\a', max_size=40) | st.booleans()
values = st.recursive(
    leaves | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=60,
)


def depth(value: Any) -> int:
    """Levels, empty containers left out where msgpack's have nothing in them."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list) or not value:
        return 0
    return 1 + max(map(depth, value))


@pytest.mark.parametrize("codec", ENCODE)
@given(value=values, wrapped=st.integers(0, 12))
def test_it_is_the_depth_of_the_value(codec: str, value: Any, wrapped: int) -> None:
    for _ in range(wrapped):
        value = [1, value, "["]
    levels = depth(value)
    data = ENCODE[codec](value)
    assert not is_deep(data, codec, levels + 1)
    if levels > 1:
        assert is_deep(data, codec, levels - 1)


@given(data=st.binary(max_size=300))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    for codec in ENCODE:
        assert is_deep(data, codec, 3) in (True, False)


class Deep(Message, frozen=True):
    raw: msgspec.Raw


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("json", b'{"type":"Deep","raw":' + b"[" * 60_000),
        ("json", b'{"a":' * 20_000),
        ("json", b'["' + b'\\"[' * 100 + b'",' + b"[" * 60_000),
        ("msgpack", b"\x82\xa4type\xa4Deep\xa3raw" + b"\x91" * 60_000),
        ("msgpack", b"\x81\xa1a" * 50_000),
        ("msgpack", b"\xdd\x00\x00\x00\x01" * 9_000),
    ],
)
def test_a_tab_refuses_what_is_deep_before_it_decodes(codec: str, data: bytes) -> None:
    seen = []
    read = _strict(seen.append, codec, look=True)
    with pytest.raises(msgspec.DecodeError, match="nested too deeply"):
        read(data)
    assert not seen


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("json", b"[" * 65 + b'"\\' * 500_000),
        ("json", b'"' + b'\\"' * 500_000 + b"[" * 65),
        ("msgpack", b"\x91\xc0" * 500_000),
        ("msgpack", b"\xdd\xff\xff\xff\xff" + b"\x90" * 1_000_000),
    ],
)
def test_hostile_bytes_take_linear_time(codec: str, data: bytes) -> None:
    def cost(part: bytes) -> float:
        began = time.process_time()
        is_deep(part, codec, 10**6)
        is_deep(part, codec)
        return time.process_time() - began

    assert cost(data) < 100 * cost(data[: len(data) // 10]) + 0.5
