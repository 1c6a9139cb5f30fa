"""Shares sealed so that a wrong one can be proved to everyone.

A dealer encrypts each share to its receiver and signs all ciphertexts together. The receiver of
a share that does not fit the dealer's commitments must be able to convince the others without
giving any key away, and must not be able to convince them of a lie. So this is hashed ElGamal
with a proof of decryption (ETHDKG, Schindler et al., ePrint 2019/985, has the same dispute):

    dealer      draws e, publishes E = e·G and a proof that it knows e;
                ciphertext for receiver r:  share + H(context, dealer, r, E, P_r, e·P_r)  mod q
    receiver    S = p_r·E, the same point; share = ciphertext - H(…, S)
    in dispute  publishes S and a Chaum-Pedersen proof that log_G(P_r) = log_E(S).
                Everyone decrypts, and sees who lied: the dealer or the receiver.

The group is always Ed25519, and P_r is the receiver's identity key, whatever the shares are of.
The proof of e matters: without it a dealer could copy another's E, provoke a dispute, and read
the other dealer's share in what is published. Each ciphertext decrypts to *some* scalar, so there
is no "unreadable" share that nobody can be blamed for.

No forward secrecy: a later thief of a receiver's identity key can open its recorded shares.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

from mpclab.core.ids import Party
from mpclab.crypto import schnorr
from mpclab.crypto.ciphersuites import FROST_ED25519
from mpclab.crypto.errors import BadProof, EncodingError
from mpclab.crypto.groups import ED25519, Element
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.shamir import random_scalar
from mpclab.crypto.transcript import digest, encode

_Q = ED25519.order
SCALAR_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """A dealer's one-time encryption key. Delete it with the polynomial; `repr` hides it."""

    secret: int = field(repr=False)
    public: Element
    proof: bytes


@dataclass(frozen=True, slots=True)
class EncryptionContext:
    """The context that a ciphertext is bound to.

    Attributes:
        context: what the dealing is for; of session, operation and attempt.
        order: of the group that the share is a scalar of (of 32 bytes).
    """

    context: bytes
    dealer: Party
    receiver: Party
    receiver_key: Element
    ephemeral: Element
    order: int


def new_ephemeral(context: bytes, dealer: Party, coins: Coins) -> Ephemeral:
    secret = 1 + random_scalar(_Q - 1, coins)
    proof = schnorr.prove_possession(FROST_ED25519, dealer, secret, _proof_context(context), coins)
    return Ephemeral(secret, ED25519.base_mult(secret), proof)


def check_ephemeral(context: bytes, dealer: Party, public: bytes, proof: bytes) -> None:
    """Raise `BadProof` unless the dealer knows its one-time key, here and now."""
    schnorr.check_possession(FROST_ED25519, dealer, public, _proof_context(context), proof)


@lru_cache(maxsize=4096)
def is_identity_key(key: bytes) -> bool:
    """Whether one can encrypt to this identity key: an element of the prime-order group."""
    try:
        ED25519.decode_element(key)
    except EncodingError:
        return False
    return True


def encrypt(bound: EncryptionContext, ephemeral: Ephemeral, share: int) -> bytes:
    """The share for one receiver, 32 bytes. One share for each receiver and ephemeral key!"""
    point = ED25519.mult(ephemeral.secret, bound.receiver_key)
    return ((share + _pad(bound, point)) % bound.order).to_bytes(SCALAR_BYTES)


def decrypt(bound: EncryptionContext, identity: Identity, ciphertext: bytes) -> int:
    """The share, by its receiver. Check it against the commitments."""
    return _unpad(bound, ED25519.mult(_scalar(identity), bound.ephemeral), ciphertext)


def disclose(bound: EncryptionContext, identity: Identity, coins: Coins) -> tuple[Element, bytes]:
    """The point S and the proof that it is right: opens this one ciphertext to everyone."""
    secret = _scalar(identity)
    point = ED25519.mult(secret, bound.ephemeral)
    nonce = 1 + random_scalar(_Q - 1, coins)
    challenge = _challenge(
        bound, point, ED25519.base_mult(nonce), ED25519.mult(nonce, bound.ephemeral)
    )
    response = nonce + challenge * secret
    return point, ED25519.encode_scalar(challenge) + ED25519.encode_scalar(response)


def open_disclosed(bound: EncryptionContext, point: bytes, proof: bytes, ciphertext: bytes) -> int:
    """The share that the receiver disclosed, by anyone.

    Raises:
        BadProof: the *receiver* disclosed something else than its ciphertext's key.
    """
    try:
        ED25519.decode_element(point)
        challenge = ED25519.decode_scalar(proof[:SCALAR_BYTES])
        response = ED25519.decode_scalar(proof[SCALAR_BYTES:])
    except EncodingError as error:
        raise BadProof(bound.receiver, f"malformed disclosure: {error}") from error
    first = ED25519.linear_combination(
        [(response, ED25519.generator), (-challenge, bound.receiver_key)]
    )
    second = ED25519.linear_combination([(response, bound.ephemeral), (-challenge, point)])
    if _challenge(bound, point, first, second) != challenge:
        raise BadProof(bound.receiver, "the disclosure does not hold")
    return _unpad(bound, point, ciphertext)


def _scalar(identity: Identity) -> int:
    """The identity's secret scalar (RFC 8032 §5.1.5), modulo the order."""
    head = bytearray(hashlib.sha512(identity.export_seed()).digest()[:32])
    head[0] &= 248
    head[31] = head[31] & 127 | 64
    return int.from_bytes(head, "little") % _Q


def _pad(bound: EncryptionContext, point: Element) -> int:
    # 64 bytes reduced modulo an order of 32: uniform up to a bias of 2^-256.
    parts = ("mpclab share pad", *_parts(bound), point)
    return int.from_bytes(hashlib.sha512(encode(*parts)).digest()) % bound.order


def _unpad(bound: EncryptionContext, point: Element, ciphertext: bytes) -> int:
    return (int.from_bytes(ciphertext) - _pad(bound, point)) % bound.order


def _challenge(bound: EncryptionContext, point: Element, first: Element, second: Element) -> int:
    return int.from_bytes(digest("mpclab disclosure", *_parts(bound), point, first, second)) % _Q


def _parts(bound: EncryptionContext) -> tuple[bytes | int, ...]:
    return (
        bound.context,
        bound.dealer,
        bound.receiver,
        bound.receiver_key,
        bound.ephemeral,
        bound.order,
    )


def _proof_context(context: bytes) -> bytes:
    return digest("mpclab ephemeral key", context)
