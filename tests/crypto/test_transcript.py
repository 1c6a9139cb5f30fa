"""The transcript encoding is injective and its digests are stable."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.crypto.transcript import DIGEST_BYTES, digest, encode

parts = st.recursive(
    st.one_of(st.binary(max_size=12), st.text(max_size=8), st.integers()),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)
lists_of_parts = st.lists(parts, max_size=4)


def typed(part):
    """Python's equality, made to tell 1 from "1" and from b"1" at every depth."""
    if isinstance(part, tuple):
        return ("tuple", *map(typed, part))
    return (type(part).__name__, part)


@given(lists_of_parts, lists_of_parts)
def test_two_lists_encode_alike_only_if_they_are_the_same(left, right):
    same = list(map(typed, left)) == list(map(typed, right))
    assert (encode(*left) == encode(*right)) == same


def decode(data):
    """Reads an encoding back: if this can be written, the encoding is injective."""
    found = []
    while data:
        tag, size, rest = data[:1], int.from_bytes(data[1:9], "big"), data[9:]
        body, data = rest[:size], rest[size:]
        assert len(body) == size
        match tag:
            case b"b":
                found.append(body)
            case b"s":
                found.append(body.decode())
            case b"i":
                found.append(int.from_bytes(body, "big", signed=True))
            case b"t":
                found.append(tuple(decode(body)))
            case _:
                raise AssertionError(tag)
    return found


@given(lists_of_parts)
def test_an_encoding_can_be_read_back(original):
    assert list(map(typed, decode(encode(*original)))) == list(map(typed, original))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("ab", "c"), ("a", "bc")),
        ((1,), ("1",)),
        ((b"1",), ("1",)),
        ((), ((),)),
        (("a", "b"), (("a", "b"),)),
        ((("a",), "b"), (("a", "b"),)),
        ((0,), (b"\0",)),
        ((255,), (-1,)),
    ],
)
def test_classic_ambiguities_are_told_apart(left, right):
    assert digest("label", *left) != digest("label", *right)


def test_the_label_separates_purposes():
    assert digest("vote", 1) != digest("commit", 1)
    assert digest("a", "b") != digest("ab")


@pytest.mark.parametrize("part", [True, None, 1.5, ["a"], {"a": 1}])
def test_other_types_are_refused(part):
    with pytest.raises(TypeError):
        digest("label", part)
    with pytest.raises(TypeError):
        digest("label", ("nested", part))


def test_the_format_is_what_the_module_says():
    """Digests are signed and stored, so this value must never change."""
    by_hand = (
        b"mpclab transcript v1\0"
        + b"s" + (4).to_bytes(8, "big") + b"vote"
        + b"i" + (1).to_bytes(8, "big") + b"\x07"
        + b"t" + (10).to_bytes(8, "big") + b"b" + (1).to_bytes(8, "big") + b"x"
    )  # fmt: skip
    assert digest("vote", 7, (b"x",)) == hashlib.sha256(by_hand).digest()
    assert len(digest("vote")) == DIGEST_BYTES


@pytest.mark.parametrize("number", [0, 1, -1, 127, 128, -128, -129, 255, 256, 2**255, -(2**255)])
def test_integers_take_the_shortest_twos_complement(number):
    body = encode(number)[9:]
    assert int.from_bytes(body, "big", signed=True) == number
    if len(body) > 1:
        with pytest.raises(OverflowError):
            number.to_bytes(len(body) - 1, "big", signed=True)
