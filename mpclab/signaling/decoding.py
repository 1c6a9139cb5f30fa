"""Clients' messages, decoded for the server: malformed bytes become a message that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from mpclab.core.wire import Message, decoder
from mpclab.signaling.messages import MAX_MESSAGE, ClientMessage, Relay


class Malformed(Message, frozen=True):
    """Stands for malformed bytes. Never on the wire."""

    reason: str


class _RelayText(msgspec.Struct, forbid_unknown_fields=True):
    """A client's whole text, where it asks to relay: nearly all that a server hears."""

    id: Annotated[int, msgspec.Meta(ge=0)]
    msg: Relay


open_relay: Callable[[bytes], Any] = decoder(_RelayText, "json")
_decode = decoder(ClientMessage, "json")


def lenient(data: bytes) -> Message:
    if len(data) > MAX_MESSAGE:
        return Malformed(f"{len(data)} bytes; {MAX_MESSAGE} is the most")
    try:
        data.decode()  # payloads are passed on unread, and bad text costs a reader its connection
        return _decode(data)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        return Malformed(str(error)[:200])
