"""The messages that basic and chained HotStuff share, and the root of their tree."""

from typing import TypeAlias

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest as hash_of


class Block(Message, frozen=True):
    """A node of the tree. An empty `op` carries nothing but its ancestors further."""

    view: int
    parent: bytes
    op: str
    value: bytes


class QC(Message, frozen=True):
    """n − f parties voted for `block` in this phase of `view`."""

    phase: str
    view: int
    block: bytes
    votes: tuple[tuple[Party, bytes], ...]


class HotStuffRequest(Message, frozen=True):
    """Get this decided."""

    op: str
    value: bytes


class HotStuffVote(Message, frozen=True):
    phase: str
    view: int
    block: bytes
    signature: bytes


class HotStuffNewView(Message, frozen=True):
    """To the leader of `view`: I am in it, and this is my highest certificate."""

    view: int
    high: QC


class HotStuffWish(Message, frozen=True):
    """I want to be in `view`: the one before it has not decided in time."""

    view: int


class HotStuffStatus(Message, frozen=True):
    """I have executed up to the block of this view; did I miss anything?"""

    executed: int


class HotStuffProof(Message, frozen=True):
    """You did: this certificate made us execute."""

    qc: QC


class HotStuffFetch(Message, frozen=True):
    """I lack this block."""

    block: bytes


class HotStuffBlocks(Message, frozen=True):
    """A block and some of its ancestors, newest first."""

    blocks: tuple[Block, ...]


CommonMessage: TypeAlias = (
    HotStuffVote
    | HotStuffRequest
    | HotStuffNewView
    | HotStuffWish
    | HotStuffStatus
    | HotStuffProof
    | HotStuffFetch
    | HotStuffBlocks
)


def digest_of(block: Block) -> bytes:
    """The digest by which votes and children name a block."""
    return hash_of("mpclab hotstuff block", block.view, block.parent, block.op, block.value)


GENESIS = Block(0, b"", "", b"")
ROOT = digest_of(GENESIS)
