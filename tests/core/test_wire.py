"""Any bytes are a message of the protocol or a `DecodeError`, and nothing else ever."""

import contextlib
import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core.wire import MAX_FRAME, Frame, Message, decoder


class Ping(Message, frozen=True):
    number: int
    text: str = ""
    data: bytes = b""


class Wrapped(Message, frozen=True):
    items: tuple[Ping, ...]
    raw: msgspec.Raw = msgspec.Raw(b"null")


class Other(Message, frozen=True):
    number: int


DECODERS = {codec: decoder(Ping | Wrapped, codec) for codec in ("json", "msgpack")}
ENCODE = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode}

messages = st.builds(Ping, st.integers(-(2**63), 2**63 - 1), st.text(), st.binary())


@given(messages, st.sampled_from(["json", "msgpack"]))
def test_what_is_encoded_decodes_to_itself(msg: Ping, codec: str) -> None:
    assert Frame(1, (), msg, codec=codec).open(DECODERS[codec]) == msg


@given(st.binary(max_size=400), st.sampled_from(["json", "msgpack"]))
def test_random_bytes_are_no_message(data: bytes, codec: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        DECODERS[codec](data)


@given(messages, st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["json", "msgpack"]))
def test_a_damaged_message_is_a_message_or_an_error(
    msg: Ping, place: int, byte: int, codec: str
) -> None:
    data = bytearray(ENCODE[codec](Wrapped((msg,))))
    data[place % len(data)] = byte
    with contextlib.suppress(msgspec.DecodeError):
        assert isinstance(DECODERS[codec](bytes(data)), Message)


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("json", b'{"type":"Ping","number":"\xff"}'),
        ("json", b'{"type":"Ping","number":1,"text":"\xff\xfe"}'),
        ("json", b'{"type":"Wrapped","items":[],"raw":' + b"[" * 60_000),
        ("json", b'{"a":' * 20_000),
        ("msgpack", msgspec.msgpack.encode(Ping(1, "zzzz")).replace(b"zzzz", b"\xff\xfe\xfd\xfc")),
        ("msgpack", b"\x81\xa1a" * 50_000),
        ("msgpack", b"\x82\xa4type\xa7Wrapped\xa3raw" + b"\x91" * 60_000),
    ],
    ids=["number", "text", "nested raw", "nested object", "text", "nested map", "nested raw"],
)
def test_text_that_is_not_utf8_and_deep_nesting_are_decode_errors(codec: str, data: bytes) -> None:
    """msgspec raises `UnicodeDecodeError` and `RecursionError` for these."""
    with pytest.raises(msgspec.DecodeError):
        DECODERS[codec](data)


@pytest.mark.parametrize(
    "msg", [Other(1), {"type": "Ping", "number": 1.5}, {"type": "Ping", "number": 1, "x": 0}, None]
)
def test_wrong_types_and_unknown_fields_are_refused(msg: object) -> None:
    for codec, encode in ENCODE.items():
        with pytest.raises(msgspec.ValidationError):
            DECODERS[codec](encode(msg))


@given(st.integers(0, 2**62), st.lists(st.text(max_size=8), max_size=16), messages)
def test_a_frame_survives_the_wire(id: int, path: list[str], msg: Ping) -> None:
    frame = Frame.from_bytes(Frame(id, tuple(path), msg).to_bytes())
    assert (frame.id, frame.path) == (id, tuple(path))
    assert frame.kind == "?"
    assert frame.open(DECODERS["msgpack"]) == msg
    assert frame.kind == "Ping"


@given(st.binary(max_size=200))
def test_random_bytes_are_a_frame_or_a_decode_error(data: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        Frame.from_bytes(data)


@pytest.mark.parametrize(
    "frame",
    [
        (-1, (), b""),
        (2**63, (), b""),
        (1, ("x",) * 17, b""),
        (1, ("x" * 1025,), b""),
        (1, (), b"x" * MAX_FRAME),
        (1, ("a",)),
        ("1", (), b""),
    ],
    ids=["negative id", "id of 64 bits", "deep path", "long path", "large", "short", "text id"],
)
def test_frames_over_the_bounds_are_refused(frame: object) -> None:
    with pytest.raises(msgspec.DecodeError):
        Frame.from_bytes(msgspec.msgpack.encode(frame))


def test_a_frame_is_encoded_once_and_shared_by_copies() -> None:
    frame = Frame(1, ("a",), Ping(7))
    assert frame.body is frame.body
    assert copy.deepcopy(frame) is frame
    assert copy.deepcopy(frame.msg) is frame.msg


def test_a_message_that_stays_here_still_goes_through_its_bytes() -> None:
    """What would not survive the wire does not survive a simulation either."""
    with pytest.raises(msgspec.ValidationError):
        Frame(1, (), Ping("not a number")).open(DECODERS["msgpack"])  # type: ignore[arg-type]
