"""Messages larger than a frame travel in pieces, each a frame of its own.

So a link is never taken by one message for long: other frames come between the pieces, each piece
tells that its sender lives, and a piece that is lost or late concerns its own message alone. The
node cuts what goes by link; what is relayed is cut by the relay, into its own boxes.

Pieces may come in any order and more than once. An incomplete message is forgotten when its
sender's later pieces need the room: at most one largest message is kept for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party, Path
from mpclab.core.wire import MAX_MESSAGE, PIECE, Frame, Message, decoder

PIECES: Final[Path] = ("pieces",)
"""Where pieces are sent: to the node itself."""


class Piece(Message, frozen=True):
    """Bytes `offset …` of the message that its sender numbered `of`; `last` ends it."""

    background = True

    of: int
    path: tuple[str, ...]
    offset: int
    data: bytes
    last: bool


_decode = decoder(Piece)


def cut(frame: Frame) -> Iterator[Piece]:
    """A frame whose body is larger than `PIECE`, in parts."""
    body = frame.body
    for offset in range(0, len(body), PIECE):
        data = body[offset : offset + PIECE]
        yield Piece(frame.id, frame.path, offset, data, offset + PIECE >= len(body))


class _Partial:
    """The pieces of one message that have come."""

    __slots__ = ("data", "held", "size")

    def __init__(self) -> None:
        self.data: dict[int, bytes] = {}
        self.held = 0
        self.size: int | None = None  # known once the last piece is there


class Assembly:
    """Puts the pieces of all senders together."""

    def __init__(self) -> None:
        self._partials: dict[Party, dict[tuple[int, Path], _Partial]] = {}

    def join(self, sender: Party, frame: Frame) -> Frame | None:
        """The whole frame when this piece completes it.

        Raises:
            PeerFault: a piece of no message.
            msgspec.DecodeError: not even a piece.
        """
        piece = frame.open(_decode)
        assert isinstance(piece, Piece)
        size = len(piece.data)
        if (
            not 0 <= piece.of < 2**63
            or piece.path == PIECES
            or len(piece.path) > Frame.MAX_PATH
            or sum(map(len, piece.path)) > Frame.MAX_PATH_TEXT
            or piece.offset % PIECE
            or not 0 < size <= PIECE
            or not (piece.last or size == PIECE)
            or not 0 <= piece.offset <= MAX_MESSAGE - size
        ):
            raise PeerFault("a piece that belongs to no message")
        mine = self._partials.setdefault(sender, {})
        key = piece.of, piece.path
        partial = mine.get(key)
        if partial is None:
            partial = mine[key] = _Partial()
        if piece.offset not in partial.data:
            partial.data[piece.offset] = piece.data
            partial.held += size
        if piece.last:
            partial.size = piece.offset + size
        if partial.held == partial.size:
            del mine[key]
            whole = b"".join(partial.data[offset] for offset in sorted(partial.data))
            return Frame(piece.of, piece.path, body=whole)
        while sum(it.held for it in mine.values()) > MAX_MESSAGE:
            del mine[next(iter(mine))]
        return None

    def forget(self, sender: Party) -> None:
        """Drop incomplete messages: their link is gone, and with it the rest."""
        self._partials.pop(sender, None)
