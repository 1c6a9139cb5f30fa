"""Messages of dealers and receivers that share a key: signed, so that anyone may relay them.

Every fact names its author and carries the author's signature. So it does not matter who
delivers it, a lost one can be had from anybody who holds it, and two that contradict each other
convict their author before everyone.
"""

from __future__ import annotations

from functools import lru_cache

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto import identity
from mpclab.crypto.transcript import Part, digest

DEAL, ACK, CONFIRM = "mpclab dealing", "mpclab dealing accepted", "mpclab dealing confirmed"
ABSENT = "mpclab dealing not heard"
"""Labels of signatures."""


class Deal(Message, frozen=True):
    """A dealer's commitments, and a sealed share for each receiver, in the receivers' order."""

    dealer: Party
    commitments: tuple[bytes, ...]
    proof: bytes
    ephemeral: bytes
    ephemeral_proof: bytes
    ciphertexts: tuple[bytes, ...]
    signature: bytes = b""


class Receipt(Message, frozen=True):
    """Some party's dealing, as another saw it: its hash and its dealer's signature."""

    dealer: Party
    hash: bytes
    signature: bytes


class Complaint(Message, frozen=True):
    """The author's share from `dealer` is wrong, and here is the key to see it."""

    dealer: Party
    point: bytes
    proof: bytes


class Ack(Message, frozen=True):
    """`party` has judged all dealings, for the `number`-th time.

    Attributes:
        receipts: one for each dealer that is not in `excluded`, in the dealers' order.
        excluded: whom it knows to have cheated.
    """

    party: Party
    number: int
    receipts: tuple[Receipt, ...]
    excluded: tuple[Party, ...]
    complaints: tuple[Complaint, ...]
    signature: bytes = b""


class Confirm(Message, frozen=True):
    """`party` stands by the record with this digest and by no other, and has stored its share."""

    party: Party
    digest: bytes
    signature: bytes


class Absence(Message, frozen=True):
    """`party` waited a whole round in vain for the words of these."""

    party: Party
    silent: tuple[Party, ...]
    signature: bytes = b""


class Equivocation(Message, frozen=True):
    """Proof that a dealer signed two dealings."""

    first: Receipt
    second: Receipt


class Want(Message, frozen=True):
    """Asks for what these authors said (acknowledgements: for the `number`-th time), and for
    what convicts the parties in `proofs`."""

    deals: tuple[Party, ...] = ()
    number: int = 0
    acks: tuple[Party, ...] = ()
    confirms: tuple[Party, ...] = ()
    proofs: tuple[Party, ...] = ()


class Certificate(Message, frozen=True):
    """All participants signed this record: the key is in use, for everyone who sees this.

    Attributes:
        without: those convicted and left out, dealing by dealing; empty when nobody was.
        confirms: one of each participant of the last dealing, ascending.
    """

    without: tuple[tuple[Party, ...], ...]
    record: bytes
    confirms: tuple[Confirm, ...]


class Announce(Message, frozen=True):
    """For members that take no part in a repair: it is done."""

    record: bytes


@lru_cache(maxsize=1 << 14)
def deal_hash(context: bytes, deal: Deal) -> bytes:
    return digest(
        "mpclab dealing", context, deal.dealer, deal.commitments, deal.proof, deal.ephemeral,
        deal.ephemeral_proof, deal.ciphertexts,
    )  # fmt: skip


def deal_parts(context: bytes, dealer: Party, hash: bytes) -> tuple[Part, ...]:
    """The parts that a dealer signs."""
    return context, dealer, hash


def ack_parts(context: bytes, ack: Ack) -> tuple[Part, ...]:
    complaints = tuple((c.dealer, c.point, c.proof) for c in ack.complaints)
    return context, ack.party, ack.number, _hash(ack.receipts), ack.excluded, complaints


@lru_cache(maxsize=256)
def _hash(receipts: tuple[Receipt, ...]) -> bytes:
    """Remembered: honest participants have seen the same."""
    return digest("mpclab receipts", tuple((s.dealer, s.hash, s.signature) for s in receipts))


def absence_parts(context: bytes, absence: Absence) -> tuple[Part, ...]:
    return context, absence.party, absence.silent


def confirm_parts(context: bytes, party: Party, digest: bytes) -> tuple[Part, ...]:
    return context, party, digest


@lru_cache(maxsize=1 << 15)
def genuine(key: bytes, label: str, parts: tuple[Part, ...], signature: bytes) -> bool:
    """`identity.verify`, remembered: facts are passed on, and simulated parties share this
    process."""
    return identity.verify(key, label, parts, signature)
