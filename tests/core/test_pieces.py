"""Messages larger than a frame: cut, carried in any order, put together; and malformed pieces."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.core import Ctx, Machine, Message, Node, UsageError
from mpclab.core.effects import Blame, Delivered, Effect, Received, Send, Started
from mpclab.core.errors import PeerFault
from mpclab.core.pieces import PIECES, Assembly, Piece, cut
from mpclab.core.wire import MAX_MESSAGE, PIECE, Frame


class Big(Message, frozen=True):
    data: bytes


class Reader(Machine):
    """Sends `size` bytes to all when it starts; keeps what it hears."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.heard: list[int] = []

    def start(self, ctx: Ctx) -> None:
        if self.size:
            ctx.broadcast(Big(bytes(self.size)))

    def on_message(self, ctx: Ctx, sender: int, msg: Big) -> None:
        self.heard.append(len(msg.data))
        ctx.output(len(msg.data))


def node(me: int, machine: Machine) -> Node:
    return Node(me, 2, machine, coins=lambda path: random.Random(0))


def sends(effects: list[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


@settings(max_examples=30, deadline=None)
@given(st.integers(PIECE + 1, 4 * PIECE), st.integers(0, 99), st.integers(0, 4))
def test_pieces_in_any_order_and_more_than_once_are_the_message(
    size: int, seed: int, again: int
) -> None:
    rng = random.Random(seed)
    frame = Frame(7, ("a", "b"), body=rng.randbytes(size))
    pieces = list(cut(frame))
    assert [len(p.data) for p in pieces[:-1]] == [PIECE] * (len(pieces) - 1)
    rng.shuffle(pieces)
    pieces[1:1] = pieces[:1] * again
    assembly = Assembly()
    joined = [assembly.join(2, Frame(1, PIECES, piece)) for piece in pieces]
    [whole] = [frame for frame in joined if frame is not None]
    assert (whole.id, whole.path, whole.body) == (7, ("a", "b"), frame.body)


def test_what_never_becomes_whole_makes_room() -> None:
    assembly = Assembly()
    for number in range(3 * MAX_MESSAGE // PIECE):
        piece = Piece(number, (), 0, bytes(PIECE), False)
        assert assembly.join(2, Frame(number, PIECES, piece)) is None
        assert sum(it.held for it in assembly._partials[2].values()) <= MAX_MESSAGE
    assembly.forget(2)
    assert not assembly._partials


@pytest.mark.parametrize(
    "piece",
    [
        Piece(-1, (), 0, b"x", True),
        Piece(2**63, (), 0, b"x", True),
        Piece(1, PIECES, 0, b"x", True),
        Piece(1, ("x" * 2000,), 0, b"x", True),
        Piece(1, ("x",) * 17, 0, b"x", True),
        Piece(1, (), 1, b"x", True),
        Piece(1, (), -PIECE, b"x", True),
        Piece(1, (), 0, b"", True),
        Piece(1, (), 0, b"x", False),
        Piece(1, (), 0, bytes(PIECE + 1), True),
        Piece(1, (), -(-MAX_MESSAGE // PIECE) * PIECE, b"x", True),
    ],
)
def test_a_piece_of_no_message_is_its_senders_fault(piece: Piece) -> None:
    with pytest.raises(PeerFault, match="belongs to no message"):
        Assembly().join(2, Frame(1, PIECES, piece))
    effects = node(1, Reader()).step(Delivered(2, Frame(1, PIECES, piece)), 0)
    assert [(e.party, e.reason) for e in effects if isinstance(e, Blame)] == [
        (2, "a piece that belongs to no message")
    ]


def test_bytes_that_are_no_piece_are_blamed() -> None:
    with pytest.raises(msgspec.DecodeError):
        Assembly().join(2, Frame(1, PIECES, body=b"\xff"))
    [blame] = node(1, Reader()).step(Delivered(2, Frame(1, PIECES, body=b"\xff")), 0)
    assert isinstance(blame, Blame)
    assert blame.reason.startswith("malformed piece")


def test_a_large_message_is_named_once_and_carried_in_pieces() -> None:
    one, two = node(1, Reader(200_000)), node(2, Reader())
    named, *pieces = sends(one.step(Started(), 0))
    assert (named.via, named.frame.kind) == ("pieces", "Big")
    assert {(p.via, p.frame.kind, p.frame.background) for p in pieces} == {("link", "Piece", True)}
    assert all(len(p.frame.to_bytes()) <= 64 * 1024 for p in pieces)
    effects = [e for p in pieces for e in two.step(Delivered(1, p.frame), 0)]
    assert [(e.sender, e.frame.id) for e in effects if isinstance(e, Received)] == [
        (1, named.frame.id)
    ]
    reader = two.machine(())
    assert isinstance(reader, Reader)
    assert reader.heard == [200_000]


def test_a_message_over_the_limit_is_an_error_where_it_is_sent() -> None:
    with pytest.raises(UsageError, match=rf"Big has \d+ bytes; a message takes {MAX_MESSAGE} at"):
        node(1, Reader(MAX_MESSAGE)).step(Started(), 0)
