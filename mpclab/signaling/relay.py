"""Frames that travel by the server, sealed end to end.

A `Channel` belongs to one pair of parties in one pair of *incarnations*. A party draws the name of
its incarnation (16 random bytes, told in its signed presence) each time it starts. So keys are
never used again after a restart, and a box of an earlier incarnation does not open in this one.
Within a pair every box carries a strictly increasing number: nothing opens twice, or out of order.

A frame larger than a box is cut into pieces; a lost piece loses its frame, and no other.

Flow control. The server keeps what a slow reader has no room for, up to a bound, and leaves the
rest out. So a sender has at most `WINDOW` bytes on their way to one peer, which says how far it has
come (`Taken`); what waits for that costs nobody else anything. When nothing is heard of boxes for
long they are taken for lost (`forgive`), so that a lost word ends no conversation.
"""

from __future__ import annotations

from collections import deque
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

WINDOW: Final = 512 * 1024
"""Bytes of frames that may be on their way to one peer."""
MAX_QUEUED: Final = 64 * 1024 * 1024
"""Bytes of frames that may wait for one peer; further ones are left out."""
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


class Taken(Message, frozen=True):
    """We have opened your boxes up to this number; those before it that did not come will not."""

    background = True

    number: int


Content: TypeAlias = Piece | Hello | Candidates | OfferRequest | Taken

_decode = decoder(Content)
_encode = msgspec.msgpack.Encoder().encode


class Replayed(SealError):
    """The box is authentic, and came before: its carrier replays it."""


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
        self._queue: deque[Piece] = deque()
        self._queued = 0
        self._on_their_way: deque[tuple[int, int]] = deque()  # (number of the box, bytes)
        self._unanswered = 0  # their bytes
        self._opened = 0  # the number of the newest box from the peer
        self._untold = 0  # bytes that came since we last said how far we have come

    def close(self, content: Content) -> Sealed:
        """`content` in a box for the peer."""
        self._sent += 1
        return Sealed(self.incarnations, self._seal.seal(self._sent, _encode(content)))

    def open(self, sealed: Sealed) -> Content:
        """Open the peer's box.

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
        self._opened = number
        if isinstance(content, Piece):
            self._untold += len(content.data)
        return content

    # --- frames, at the pace of the peer --------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether something waits until the peer has taken what is on its way."""
        return bool(self._queue)

    @property
    def owed(self) -> Taken | None:
        """The acknowledgement due to the peer, so that it can go on."""
        if self._untold < WINDOW // 4:
            return None
        self._untold = 0
        return Taken(self._opened)

    def put(self, frame: bytes) -> bool:
        """Take a frame to be sent, in pieces; False: too much waits already."""
        if self._queued + len(frame) > MAX_QUEUED:
            return False
        for start in range(0, len(frame), PIECE):
            end = start + PIECE
            self._queue.append(Piece(start, frame[start:end], end >= len(frame)))
        self._queued += len(frame)
        return True

    def release(self) -> Iterator[Sealed]:
        """The boxes that may leave now."""
        while self._queue and self._unanswered < WINDOW:
            piece = self._queue.popleft()
            box = self.close(piece)
            self._queued -= len(piece.data)
            self._unanswered += len(piece.data)
            self._on_their_way.append((self._sent, len(piece.data)))
            yield box

    def taken(self, number: int) -> None:
        """The peer has come so far."""
        while self._on_their_way and self._on_their_way[0][0] <= number:
            self._unanswered -= self._on_their_way.popleft()[1]

    def forgive(self) -> None:
        """Count everything on its way as lost."""
        self._on_their_way.clear()
        self._unanswered = 0

    def clear(self) -> None:
        """Drop everything that waits to be sent."""
        self.forgive()
        self._queue.clear()
        self._queued = 0

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
