"""Messages and frames: what travels between parties.

A message is a frozen, typed struct; decoding checks every field. A frame is a message on its
way: who it is for (the path of a machine) and the sender's number for it, so that it has one
identity at send and at delivery. Bodies are msgpack between parties and JSON towards the
signaling server, whose clients may be browsers.
"""

import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any, ClassVar, TypeAlias

import msgspec

from mpclab.core.ids import Path
from mpclab.core.nesting import is_deep

Decode: TypeAlias = Callable[[bytes], "Message"]

_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "msgpack": msgspec.msgpack.Encoder().encode,
    "json": msgspec.json.Encoder().encode,
}

_IN_A_TAB = sys.platform == "emscripten"

MAX_MESSAGE = 8 * 1024 * 1024
"""Largest message, encoded, in bytes: in all worlds, and checked where it is sent."""
PIECE = 48 * 1024
"""Largest body of one frame, in bytes; a larger message travels in pieces of this size."""
MAX_FRAME = 64 * 1024
"""Largest frame on a link, in bytes: what every WebRTC implementation takes as one message."""


class Message(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, tag=True):
    """Base of everything that travels: `class Vote(Message): operation: str; approve: bool`.

    Fields are `int | str | bytes | bool | tuple` and other messages; never `Any`, `dict` or
    `float`. The class name is the tag on the wire and the kind in a trace and in a fault's
    `messages`, so it names its protocol where another has such a message too: `PbftCommit`,
    `RaftHeartbeat`. A class whose messages are mere
    housekeeping (heartbeats) says `background = True`; pictures and counts leave them out.
    """

    background: ClassVar[bool] = False

    def __deepcopy__(self, memo: dict[int, Any]) -> "Message":
        return self


def decoder(types: Any, codec: str = "msgpack") -> Decode:
    """A function from bytes to one of `types` (a `Message` class or a union of them).

    The function raises `msgspec.DecodeError` for anything else.
    """
    if codec == "json":
        return _strict(msgspec.json.Decoder(types).decode, codec)
    return _strict(msgspec.msgpack.Decoder(types).decode)


def _strict(
    parse: Callable[[bytes], Any], codec: str = "msgpack", *, look: bool = _IN_A_TAB
) -> Callable[[bytes], Any]:
    """`parse`, raising `DecodeError` also where msgspec lets other errors of hostile bytes
    through: text that is not UTF-8, and nesting deeper than Python's stack. With `look` the depth
    is known before `parse` has a try."""

    def decode(data: bytes) -> Any:
        try:
            if look and is_deep(data, codec):
                raise RecursionError
            return parse(data)
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(f"text that is not UTF-8: {error.reason}") from None
        except RecursionError:
            raise msgspec.DecodeError("nested too deeply") from None

    return decode


FUNCTIONS: tuple[type, ...] = (FunctionType, BuiltinFunctionType, type(decoder))
"""The types of functions, of compiled ones too: what never changes."""


class Unreadable(Exception):
    """A message that its receivers could not read: says which, and which field is wrong."""


class Frame:
    """One message on its way; immutable to its readers, shared by all receivers.

    Attributes:
        id: the sender's running number; (sender, id) names the message in the trace.
        path: the machine it is for.
        suspect: an adversary made it; only `core.strict` cares.
        kind: the message's type name, for the trace ("?" for bytes not yet opened).
        msg: the message if it is known here: the sender's object, or what `open` decoded.
        opened_by: the decoder that made `msg`; None: it is the sender's object.
        codec: how the message is written: "msgpack" or "json".
    """

    __slots__ = (
        "_body",
        "background",
        "codec",
        "id",
        "kind",
        "msg",
        "opened_by",
        "path",
        "suspect",
    )

    MAX_PATH: ClassVar = 16
    MAX_PATH_TEXT: ClassVar = 1024  # characters of all its names

    def __init__(
        self,
        id: int,
        path: Path,
        msg: Message | None = None,
        *,
        body: bytes | None = None,
        codec: str = "msgpack",
        background: bool = False,
    ) -> None:
        self.id = id
        self.path = path
        if msg is None:
            self.kind = "?"
            self.background = background
        else:
            self.kind = type(msg).__name__
            self.background = background or msg.background
        self.msg = msg
        self._body = body
        self.codec = codec
        self.opened_by: Decode | None = None
        self.suspect = False

    @property
    def body(self) -> bytes:
        """The message's bytes, encoded once however many receivers there are."""
        if self._body is None:
            self._body = _ENCODERS[self.codec](self.msg)
        return self._body

    def open(self, decode: Decode) -> Message:
        """The message, decoded and checked by `decode`; decoded once per decoder.

        Also a message that never left this process goes through its bytes, so that what
        would not survive the wire does not survive a simulation either.

        Raises:
            msgspec.DecodeError: the bytes are not a message that `decode` knows.
        """
        if self.opened_by is not decode:
            self.msg = decode(self.body)
            self.opened_by = decode
            self.kind = type(self.msg).__name__
        msg: Message = self.msg  # type: ignore[assignment]
        return msg

    def try_out(self, decode: Decode) -> None:
        """Read the frame as its receivers will (they need not decode it again here).

        Raises:
            Unreadable: it cannot be encoded, or not be read back: a bug of its sender.
        """
        try:
            if self._body is None:
                self._body = _ENCODERS[self.codec](self.msg)
            self.msg = decode(self._body)
            self.opened_by = decode
        except (msgspec.MsgspecError, TypeError, OverflowError, UnicodeEncodeError) as error:
            raise Unreadable(f"{self.msg!r:.120}, which nobody can read: {error}") from error

    def to_bytes(self) -> bytes:
        """The frame for a data channel: msgpack of (id, path, body)."""
        return _ENCODERS["msgpack"]((self.id, self.path, self.body))

    @classmethod
    def from_bytes(cls, data: bytes, limit: int = MAX_FRAME) -> "Frame":
        """Parse `to_bytes`; `limit` is the most bytes that may come this way.

        Raises:
            msgspec.DecodeError: for bytes that are not a frame, or one over the bounds.
        """
        if len(data) > limit:
            raise msgspec.DecodeError(f"frame of {len(data)} bytes; {limit} is the most")
        id, path, body = _decode_frame(data)
        if not 0 <= id < 2**63:
            raise msgspec.DecodeError("frame id is not a number of 0 to 2⁶³ − 1")
        if len(path) > cls.MAX_PATH or sum(map(len, path)) > cls.MAX_PATH_TEXT:
            raise msgspec.DecodeError("frame with too long a path")
        return cls(id, path, body=body)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frame":
        return self

    def __repr__(self) -> str:
        return f"Frame({self.id}, {'/'.join(self.path) or '.'}, {self.kind})"


_decode_frame = _strict(msgspec.msgpack.Decoder(tuple[int, tuple[str, ...], bytes]).decode)
