"""Streamlet's messages, and what its votes name a block by."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""An epoch or a height. Larger ones are malformed."""

Votes: TypeAlias = tuple[tuple[Party, bytes], ...]
"""Who voted, with the signatures."""

VOTE = "mpclab streamlet vote"
"""The label under which votes are signed."""


class StreamletRequest(Message, frozen=True):
    """Get this decided."""

    op: str
    value: bytes


class Block(Message, frozen=True):
    """(h, e, txs) of the paper: the parent's hash, the epoch, operations in order."""

    parent: bytes
    epoch: Number
    ops: tuple[StreamletRequest, ...]


class StreamletPropose(Message, frozen=True):
    """The block of its epoch, and the votes that notarise its parent (none for genesis)."""

    block: Block
    proof: Votes


class StreamletVote(Message, frozen=True):
    """The voter's signature on the block that was proposed in `epoch`."""

    epoch: Number
    block: bytes
    signature: bytes


class Notarised(Message, frozen=True):
    """A block with votes of 2n/3 parties."""

    block: Block
    votes: Votes


class StreamletStatus(Message, frozen=True):
    """I am in this epoch, `height` blocks of mine are final, and my longest notarised chain ends
    with `after`: what comes after it?"""

    epoch: Number
    height: Number
    after: bytes


class StreamletChain(Message, frozen=True):
    """Notarised blocks, parents before their children."""

    chain: tuple[Notarised, ...]


def digest_of(block: Block) -> bytes:
    """H(block), 32 bytes: what a vote signs and a child names."""
    ops = tuple((one.op, one.value) for one in block.ops)
    return digest("mpclab streamlet block", block.parent, block.epoch, *ops)


GENESIS = Block(b"", 0, ())
ROOT = digest_of(GENESIS)
