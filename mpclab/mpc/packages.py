"""The messages between signers, and the values that all of them compute alike from those."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto import frost
from mpclab.crypto.frost import SigningCommitment
from mpclab.crypto.independent import verify_independently
from mpclab.crypto.keys import GroupKey
from mpclab.mpc.records import KeyRecord

PACKAGE = "mpclab signing package"


class Commitment(Message, frozen=True):
    attempt: int
    hiding: bytes
    binding: bytes


class Entry(Message, frozen=True):
    party: Party
    hiding: bytes
    binding: bytes


class Package(Message, frozen=True):
    """The signers of this attempt with their commitments; signed by the leader."""

    attempt: int
    entries: tuple[Entry, ...]
    signature: bytes = b""


class Share(Message, frozen=True):
    """A signature share under the package with this digest and leader's signature."""

    attempt: int
    package: bytes
    endorsed: bytes
    share: bytes


class Signed(Message, frozen=True):
    signature: bytes


class Resend(Message, frozen=True):
    """I am in this attempt and something is missing."""

    attempt: int


class Spent(Message, frozen=True):
    """The nonces that we had prepared for this attempt are spent, or lost: it comes to nothing."""

    attempt: int


class Signature(msgspec.Struct, frozen=True):
    """The result: `signature` by the key of `record` on `message`, verified by two libraries."""

    record: KeyRecord
    message: bytes
    signature: bytes


@lru_cache(maxsize=256)
def prepared(
    key: GroupKey, message: bytes, commitments: tuple[SigningCommitment, ...]
) -> frost.Attempt:
    """`frost.prepare`, remembered: a signer needs it to judge a package, to sign and to add up."""
    return frost.prepare(key, message, commitments)


@lru_cache(maxsize=256)
def add_up(
    key: GroupKey,
    message: bytes,
    commitments: tuple[SigningCommitment, ...],
    shares: tuple[tuple[Party, int], ...],
) -> bytes:
    """`frost.aggregate`, remembered: simulated parties share this process, and add up the same."""
    return frost.aggregate_prepared(prepared(key, message, commitments), dict(shares))


@lru_cache(maxsize=256)
def verify_again(key: GroupKey, message: bytes, signature: bytes) -> bool:
    """Whether OpenSSL, too, finds it valid."""
    return verify_independently(key.suite, key.public, message, signature)


def commitments_of(package: Package) -> tuple[SigningCommitment, ...]:
    """The package's entries as FROST takes them."""
    return tuple(SigningCommitment(e.party, e.hiding, e.binding) for e in package.entries)
