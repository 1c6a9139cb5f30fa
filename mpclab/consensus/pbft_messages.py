"""PBFT's messages, and what its votes name a request by."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A view or a place. Larger ones are malformed: nothing that is stored or counted on overflows."""

GENESIS = digest("mpclab pbft genesis")
"""The digest of the history before anything was executed, and of checkpoint 0."""

NULL = digest("mpclab pbft null request")
"""The digest of the null request, which fills a place where nothing can have been committed."""


class PbftRequest(Message, frozen=True):
    """Get this decided. With an empty `op` and value: the null request."""

    op: str
    value: bytes


class PbftPrePrepare(Message, frozen=True):
    """The primary of `view` puts an operation at place `seq`, from 1."""

    view: Number
    seq: Number
    op: str
    value: bytes


class PbftPrepare(Message, frozen=True):
    """I accepted that."""

    view: Number
    seq: Number
    digest: bytes


class PbftCommit(Message, frozen=True):
    """I know that a quorum accepted it."""

    view: Number
    seq: Number
    digest: bytes


class PbftCheckpoint(Message, frozen=True):
    """I executed all up to `seq`, and this is the digest of my history."""

    seq: Number
    digest: bytes


class Claim(Message, frozen=True):
    """In `view`, I prepared (or pre-prepared) the request `digest` at `seq`."""

    seq: Number
    view: Number
    digest: bytes


class CheckpointId(Message, frozen=True):
    """The state after `seq` requests has this digest."""

    seq: Number
    digest: bytes


class PbftViewChange(Message, frozen=True):
    """I have left for `view`. Signed, since the new primary shows it to all.

    `stable` is h, the last stable checkpoint; `checkpoints` is C, our checkpoints from there on;
    `prepared` is P, the last view in which we prepared each place; `accepted` is Q, the last
    view in which we pre-prepared each request at each place.
    """

    view: Number
    party: Party
    stable: Number
    checkpoints: tuple[CheckpointId, ...]
    prepared: tuple[Claim, ...]
    accepted: tuple[Claim, ...]
    signature: bytes = b""


class PbftNewView(Message, frozen=True):
    """The primary of `view` begins it with these VIEW-CHANGEs, and signs that. Where it begins
    and with what is what `decide` says: the paper's O needs no words."""

    view: Number
    changes: tuple[PbftViewChange, ...]
    signature: bytes


class PbftStatus(Message, frozen=True):
    """This is how far I am: what did I miss? (thesis §5.2)"""

    view: Number
    active: bool
    stable: Number
    executed: Number
    wanted: tuple[bytes, ...]  # digests of requests that I lack


class PbftExecuted(Message, frozen=True):
    """What I executed from place `first` on; I am at `executed`."""

    first: Number
    requests: tuple[PbftRequest, ...]
    executed: Number


def digest_of(op: str, value: bytes) -> bytes:
    """The digest by which votes name a request. The null request is the one without a name."""
    return digest("mpclab pbft request", op, value) if op else NULL


def extended(history: bytes, request: PbftRequest) -> bytes:
    """The digest of a history with one request more."""
    return digest("mpclab pbft history", history, request.op, request.value)
