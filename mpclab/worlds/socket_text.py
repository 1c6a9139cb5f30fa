"""Frames between a client and the signaling server, as text.

On the wire each message is one text frame, `{"id": 7, "msg": {"type": "Join", …}}`; the path is
always `SIGNALING` and never sent. A frame's id makes one message of its sending and its arrival
in the trace, for all clients that live in this world.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mpclab.core.ids import Path
from mpclab.core.wire import Frame, decoder

SIGNALING: Path = ("signaling",)


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    msg: msgspec.Raw


_open_envelope: Callable[[bytes], Any] = decoder(_Envelope, "json")


def to_text(frame: Frame) -> bytes:
    """A frame as the text that travels between a client and the server."""
    return b'{"id":%d,"msg":%b}' % (frame.id, frame.body)


def from_text(text: bytes) -> Frame:
    """Read the text of `to_text`; the message itself is left to its machine.

    Raises:
        msgspec.DecodeError: for anything but an id and a message.
    """
    envelope = _open_envelope(text)
    if not 0 <= envelope.id < 2**63:
        raise msgspec.DecodeError("an id is a number of 0 to 2⁶³ − 1")
    return Frame(envelope.id, SIGNALING, body=bytes(envelope.msg), codec="json")
