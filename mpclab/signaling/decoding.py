"""Clients' messages, decoded for the server: malformed bytes become a message that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from mpclab.core.wire import Message, decoder
from mpclab.signaling.messages import MAX_MESSAGE, Announce, ClientMessage, Relay


class Malformed(Message, frozen=True):
    """Stands for malformed bytes. Never on the wire."""

    reason: str


class _PassedOn(msgspec.Struct, forbid_unknown_fields=True):
    """A client's whole text, where it is for other clients: nearly all that a server hears."""

    id: Annotated[int, msgspec.Meta(ge=0)]
    msg: Relay | Announce


open_passed_on: Callable[[bytes], Any] = decoder(_PassedOn, "json")
_decode = decoder(ClientMessage, "json")


def lenient(data: bytes) -> Message:
    if len(data) > MAX_MESSAGE:
        return Malformed(f"{len(data)} bytes; {MAX_MESSAGE} is the most")
    try:
        data.decode()  # payloads are passed on unread, and bad text costs a reader its connection
        return _decode(data)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        return Malformed(str(error)[:200])
