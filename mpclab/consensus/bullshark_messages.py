"""Bullshark's messages, and what an acknowledgement signs."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A round, or a number of commits. Larger ones are malformed."""

Place: TypeAlias = tuple[Number, Party]
"""The round and the source of a vertex. No two certified vertices have the same."""

Votes: TypeAlias = tuple[tuple[Party, bytes], ...]
"""Who acknowledged, with the signatures."""

ACK = "mpclab bullshark ack"
"""The label under which acknowledgements are signed."""


class BullsharkOp(Message, frozen=True):
    """An operation and its value: a transaction of the paper."""

    op: str
    value: bytes


class Vertex(Message, frozen=True):
    """v of the paper: v.round, v.source, v.block and v.edges.

    `parents` are the sources of n − f or more vertices of the round before (strong edges). `weak`
    are earlier vertices to which no other path leads.
    """

    round: Number
    source: Party
    ops: tuple[BullsharkOp, ...]
    parents: tuple[Party, ...]
    weak: tuple[Place, ...]

    @property
    def place(self) -> Place:
        return self.round, self.source


class Certified(Message, frozen=True):
    """A vertex with acknowledgements of n − f parties; with none while it is only proposed."""

    vertex: Vertex
    acks: Votes


class BullsharkPropose(Message, frozen=True):
    """Our vertex of its round."""

    vertex: Vertex


class BullsharkAck(Message, frozen=True):
    """To its source: this is the first vertex of yours in `round`, and I hold it and all that it
    refers to."""

    round: Number
    vertex: bytes
    signature: bytes


class BullsharkCertificate(Message, frozen=True):
    """n − f parties acknowledged this vertex of ours: the last step of its reliable broadcast."""

    round: Number
    vertex: bytes
    acks: Votes


class BullsharkStatus(Message, frozen=True):
    """I am in `round`, so many anchors are ordered here, and of the rounds from `first` on I hold
    the vertices of these sources. What else is there?"""

    round: Number
    commits: Number
    first: Number
    held: tuple[tuple[Party, ...], ...]


class BullsharkVertices(Message, frozen=True):
    """Certified vertices that you lack, those of earlier rounds first."""

    vertices: tuple[Certified, ...]


class Commit(Message, frozen=True):
    """What an anchor of `round` ordered: these vertices, with these operations, in this order.

    More than fits into a message is in several; the anchor itself is in the last of them.
    """

    round: Number
    places: tuple[Place, ...]
    ops: tuple[BullsharkOp, ...]


class BullsharkCommits(Message, frozen=True):
    """Commits from number `first` on, for a party whose vertices are forgotten here."""

    first: Number
    commits: tuple[Commit, ...]


def digest_of(vertex: Vertex) -> bytes:
    """The hash of a vertex, 32 bytes: what an acknowledgement signs."""
    ops = tuple((one.op, one.value) for one in vertex.ops)
    edges = vertex.parents, vertex.weak
    return digest("mpclab bullshark vertex", vertex.round, vertex.source, ops, *edges)
