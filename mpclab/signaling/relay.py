"""Frames that travel by the server, sealed end to end.

A `Channel` belongs to one pair of parties in one pair of *incarnations*. A party draws the name of
its incarnation (16 random bytes, told in its signed presence) each time it starts. So keys are
never used again after a restart, and a box of an earlier incarnation does not open in this one.
Within a pair every box carries a strictly increasing number: nothing opens twice, or out of order.

A frame larger than a box is cut into pieces; a lost piece loses its frame, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import MAX_MESSAGE, Message, decoder
from mpclab.crypto.errors import SealError
from mpclab.crypto.identity import Identity, ReceiveWindow, Seal
from mpclab.crypto.transcript import digest, encode
from mpclab.signaling.messages import Count, Sealed, encode_payload
from mpclab.signaling.negotiate import Pair

PIECE: Final = 32 * 1024
"""Bytes of a frame in one box: with base64 and JSON around it, it fits a signaling message."""
MAX_RELAYED: Final = MAX_MESSAGE + 2048
"""The largest frame that is relayed: the largest message, with its path and number."""
_REQUEST_BYTES: Final = 60 * 1024
_ENVELOPE_BYTES: Final = 48  # around a payload: {"type":"Envelope","to":1000,"payload":…},


class Piece(Message, frozen=True):
    """The bytes of a frame from `offset` on; `last` ends it."""

    offset: Count
    data: bytes
    last: bool


class Hello(Message, frozen=True):
    """I am here, in this incarnation. `relay`: I cannot reach you directly, use the server.

    `nonce` is drawn by the asking side; the reply has the same, and so proves that its sender runs
    now: a box that the server withheld since an earlier incarnation has another.
    """

    reply: bool
    relay: bool
    nonce: bytes = b""


class Candidates(Message, frozen=True):
    """Our addresses for the link of this offer. Sealed: they are nobody else's business."""

    offer: bytes
    candidates: tuple[str, ...]


class OfferRequest(Message, frozen=True):
    """From the answering side: the link of this offer (b"": any) is dead, offer anew."""

    offer: bytes


Content: TypeAlias = Piece | Hello | Candidates | OfferRequest

_decode = decoder(Content)
_encode = msgspec.msgpack.Encoder().encode


class Replayed(SealError):
    """The box is authentic, and came before: whoever carries boxes shows it again."""


class Channel:
    """Our side of a sealed channel to one peer.

    Args:
        identity: ours.
        key: the peer's identity key.
        pair: from us to the peer.

    Raises:
        SealError: the key is not a valid one.
    """

    def __init__(self, identity: Identity, key: bytes, pair: Pair) -> None:
        low, high = (pair, pair.back) if pair.sender < pair.receiver else (pair.back, pair)
        context = encode("mpclab relay", *low.parts, *high.parts)
        self.incarnations = digest("mpclab incarnations", context)[:8]
        self._seal = Seal(identity, key, context)
        self._window = ReceiveWindow()
        self._sent = 0
        self._partial = b""

    def close(self, content: Content) -> Sealed:
        """`content` in a box for the peer."""
        self._sent += 1
        return Sealed(self.incarnations, self._seal.seal(self._sent, _encode(content)))

    def open(self, sealed: Sealed) -> Content:
        """What is in the peer's box.

        Raises:
            SealError: it is not from the peer in these incarnations.
            Replayed: it is, and was opened or passed over before.
            msgspec.DecodeError: it is, and is nonsense.
        """
        number, plaintext = self._seal.open(sealed.box)
        try:
            self._window.accept(number)
        except SealError as error:
            raise Replayed(str(error)) from None
        content: Content = _decode(plaintext)  # type: ignore[assignment]
        return content

    def cut(self, frame: bytes) -> Iterator[Sealed]:
        """A frame's bytes as one or more boxes."""
        for start in range(0, len(frame), PIECE):
            end = start + PIECE
            yield self.close(Piece(start, frame[start:end], end >= len(frame)))

    def join(self, piece: Piece) -> bytes | None:
        """The frame's bytes when `piece` completes it.

        Raises:
            SealError: a frame larger than any frame may be.
        """
        if piece.offset != len(self._partial):
            self._partial = b""  # pieces before this one were lost, and so is the frame
            if piece.offset != 0:
                return None
        if len(self._partial) + len(piece.data) > MAX_RELAYED:
            self._partial = b""
            raise SealError(f"a relayed frame of more than {MAX_RELAYED} bytes")
        whole = self._partial + piece.data
        self._partial = b"" if piece.last else whole
        return whole if piece.last else None


def pack(envelopes: list[tuple[Party, Sealed]]) -> Iterator[tuple[tuple[Party, bytes], ...]]:
    """Encoded envelopes, grouped into as few signaling messages as their size allows."""
    group: list[tuple[Party, bytes]] = []
    size = 0
    for to, sealed in envelopes:
        payload = encode_payload(sealed)
        length = len(payload) + _ENVELOPE_BYTES
        if group and size + length > _REQUEST_BYTES:
            yield tuple(group)
            group, size = [], 0
        group.append((to, payload))
        size += length
    if group:
        yield tuple(group)
