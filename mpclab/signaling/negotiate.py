"""Offers, answers and confirmations: what is signed, and how it is checked. Pure functions.

An offer and its answer are signed end to end, so that the server that carries them can neither
write nor change one. That is not enough: a member may take another's description and sign it
as its own (the "re-signing" or identity misbinding attack). So the first message on each new
data channel, in both directions, is a `Confirm`: a signature over both certificate fingerprints
*as the transport saw them*, both ids, the session and the offer. An attacker in the middle of
the channel sees other fingerprints, and a member that re-signed a description cannot make its
owner confirm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity, verify
from mpclab.crypto.transcript import Part, digest
from mpclab.signaling.messages import NONCE_BYTES, VERSION, Answer, Offer

MAX_SDP: Final = 16 * 1024
MAX_CANDIDATES: Final = 32
MAX_CANDIDATE: Final = 512
_MAX_FINGERPRINTS: Final = 8

_DESCRIPTION: Final = "mpclab description"
_CONFIRM: Final = "mpclab confirm"
_FINGERPRINT = re.compile(r"^a=fingerprint:(\S{1,16}) ([0-9A-Fa-f:]{1,255})\r?$", re.M)


class Confirm(Message, frozen=True):
    """First on a link: I sign whom I see. `seen`: I hold yours already, do not answer."""

    offer: bytes
    mine: str
    yours: str
    signature: bytes
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """One direction between two parties in one session, in their present incarnations."""

    session: str
    sender: Party
    receiver: Party
    sender_incarnation: bytes
    receiver_incarnation: bytes

    @property
    def parts(self) -> tuple[Part, ...]:
        return (
            VERSION, self.session, self.sender, self.receiver, self.sender_incarnation,
            self.receiver_incarnation,
        )  # fmt: skip

    @property
    def back(self) -> Pair:
        """The other direction."""
        return Pair(
            self.session,
            self.receiver,
            self.sender,
            self.receiver_incarnation,
            self.sender_incarnation,
        )


def fingerprints(sdp: str) -> tuple[tuple[str, str], ...]:
    """The DTLS fingerprints in an SDP: sorted (algorithm, hex) pairs, in one spelling.

    Raises:
        PeerFault: there are none or too many, or the SDP is too long.
    """
    if len(sdp) > MAX_SDP:
        raise PeerFault(f"a description of {len(sdp)} characters; {MAX_SDP} is the most")
    found = sorted({(name.lower(), value.upper()) for name, value in _FINGERPRINT.findall(sdp)})
    if not 1 <= len(found) <= _MAX_FINGERPRINTS:
        raise PeerFault(f"a description with {len(found)} fingerprints")
    return tuple(found)


def names(found: tuple[tuple[str, str], ...], fingerprint: str) -> bool:
    """Whether `fingerprint` (SHA-256, as a transport reports it) is among those of an SDP."""
    return ("sha-256", fingerprint.upper()) in found


def offer_hash(pair: Pair, offer: Offer) -> bytes:
    """The hash of an offer for its answer and for the confirmations, 32 bytes."""
    return digest("mpclab offer", *_offer_parts(pair, offer))


def sign_offer(
    identity: Identity, pair: Pair, *, epoch: int, nonce: bytes, attempt: int, expires: int,
    sdp: str,
) -> Offer:  # fmt: skip
    """Our description of a new link. `expires`: server time, µs."""
    unsigned = Offer(epoch, pair.receiver_incarnation, nonce, attempt, expires, sdp, b"")
    signature = identity.sign(_DESCRIPTION, *_offer_parts(pair, unsigned))
    return Offer(epoch, pair.receiver_incarnation, nonce, attempt, expires, sdp, signature)


def check_offer(key: bytes, pair: Pair, offer: Offer) -> None:
    """Raise `PeerFault` unless the sender of `pair` signed this offer for its receiver."""
    if len(offer.nonce) != NONCE_BYTES or offer.attempt < 1 or offer.epoch < 0:
        raise PeerFault("an offer with no valid nonce, attempt or epoch")
    if not verify(key, _DESCRIPTION, _offer_parts(pair, offer), offer.signature):
        raise _forged("offer", pair)


def sign_answer(
    identity: Identity, pair: Pair, *, epoch: int, nonce: bytes, offer: bytes, sdp: str
) -> Answer:
    """Our description for the link of the offer with the hash `offer`."""
    unsigned = Answer(epoch, pair.receiver_incarnation, nonce, offer, sdp, b"")
    signature = identity.sign(_DESCRIPTION, *_answer_parts(pair, unsigned))
    return Answer(epoch, pair.receiver_incarnation, nonce, offer, sdp, signature)


def check_answer(key: bytes, pair: Pair, answer: Answer) -> None:
    """Raise `PeerFault` unless the sender of `pair` signed this answer for its receiver."""
    if len(answer.nonce) != NONCE_BYTES or answer.epoch < 0:
        raise PeerFault("an answer with no valid nonce or epoch")
    if not verify(key, _DESCRIPTION, _answer_parts(pair, answer), answer.signature):
        raise _forged("answer", pair)


def sign_confirm(identity: Identity, pair: Pair, offer: bytes, mine: str, yours: str) -> Confirm:
    """Our confirmation of a link: the fingerprints as our transport sees them."""
    signature = identity.sign(_CONFIRM, *pair.parts, offer, mine, yours)
    return Confirm(offer, mine, yours, signature)


def check_confirm(key: bytes, pair: Pair, msg: Confirm, mine: str, yours: str) -> None:
    """Raise `PeerFault` unless the peer sees the link as we do.

    Args:
        key: the peer's identity key.
        pair: from the peer to us.
        msg: its confirmation.
        mine: our fingerprint, as our transport shows it to the peer.
        yours: the peer's, as our transport saw it.
    """
    if not verify(key, _CONFIRM, (*pair.parts, msg.offer, msg.mine, msg.yours), msg.signature):
        raise PeerFault(
            "the link is not confirmed by its party's key: somebody else is at the other end",
            strength=Strength.SUSPECT,
        )
    if (msg.mine, msg.yours) != (yours, mine):
        raise PeerFault(
            "the two ends of the link see different fingerprints: somebody sits in the middle",
            strength=Strength.SUSPECT,
        )


def _offer_parts(pair: Pair, offer: Offer) -> tuple[Part, ...]:
    return (
        *pair.parts, "offer", offer.epoch, offer.nonce, offer.attempt, offer.expires,
        digest("mpclab sdp", offer.sdp), fingerprints(offer.sdp),
    )  # fmt: skip


def _answer_parts(pair: Pair, answer: Answer) -> tuple[Part, ...]:
    return (
        *pair.parts, "answer", answer.epoch, answer.nonce, answer.offer,
        digest("mpclab sdp", answer.sdp), fingerprints(answer.sdp),
    )  # fmt: skip


def _forged(what: str, pair: Pair) -> PeerFault:
    return PeerFault(
        f"an {what} that party {pair.sender} did not sign: changed on the way, or made by "
        f"somebody else in its name",
        strength=Strength.SUSPECT,
    )
