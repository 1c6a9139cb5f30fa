"""PBFT's messages in the normal case, and the state of one place in the log."""

from dataclasses import dataclass, field

import msgspec

from mpclab.consensus.pbft_views import NULL
from mpclab.consensus.quorum import Tally
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest as hash_of


class PbftRequest(Message, frozen=True):
    """Get this decided."""

    op: str
    value: bytes


class PbftPrePrepare(Message, frozen=True):
    """The primary of `view` puts an operation at place `seq`, from 1."""

    view: int
    seq: int
    op: str
    value: bytes


class PbftPrepare(Message, frozen=True):
    """I accepted that."""

    view: int
    seq: int
    digest: bytes


class PbftCommit(Message, frozen=True):
    """I know that a quorum accepted it."""

    view: int
    seq: int
    digest: bytes


class PbftCheckpoint(Message, frozen=True):
    """I executed all up to `seq`, and this is the digest of my history."""

    seq: int
    digest: bytes


class PbftStatus(Message, frozen=True):
    """I have something open, and this is how far I am: what did I miss?"""

    view: int
    active: bool
    executed: int
    wanted: tuple[bytes, ...]  # digests of requests that I lack


class PbftExecuted(Message, frozen=True):
    """What I executed from place `first` on."""

    first: int
    requests: tuple[PbftRequest, ...]


class KeptSlot(msgspec.Struct, frozen=True):
    """A slot as persisted."""

    view: int
    digest: bytes
    prepared: tuple[int, bytes] | None
    accepted: tuple[tuple[bytes, int], ...]


@dataclass(slots=True)
class Slot:
    """One place in the log, on its way."""

    view: int = -1  # of the pre-prepare that we accepted last
    digest: bytes = b""
    is_prepared: bool = False  # in `view`
    is_committed: bool = False
    prepared: tuple[int, bytes] | None = None  # P: last view in which we prepared, and what
    accepted: dict[bytes, int] = field(default_factory=dict)  # Q: digest → last view
    prepares: dict[int, Tally] = field(default_factory=dict)  # by view
    commits: dict[int, Tally] = field(default_factory=dict)


def digest_of(op: str, value: bytes) -> bytes:
    """What votes name a request by."""
    return hash_of("mpclab pbft request", op, value) if op else NULL
