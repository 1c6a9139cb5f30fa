"""Schnorr signatures by one signer, and proofs that one knows a secret.

A signature on a message under public key P is (R, z) with z·G = R + c·P and the ciphersuite's
challenge c. Encoded, R comes first and z second: 64 bytes for Ed25519 (an RFC 8032 signature) and
for BIP 340, 65 for RFC 9591's secp256k1.
"""

from __future__ import annotations

from mpclab.crypto.ciphersuites import Ciphersuite
from mpclab.crypto.errors import BadProof, EncodingError
from mpclab.crypto.groups import Element
from mpclab.crypto.identity import Coins
from mpclab.crypto.shamir import random_scalar


def has_even_y(element: Element) -> bool:
    """Whether a secp256k1 point has an even y coordinate (BIP 340)."""
    return element[0] == 2


def even_y(suite: Ciphersuite, element: Element) -> Element:
    """Of ±`element` the one with even y, for an x-only suite; else the element as it is."""
    return b"\x02" + element[1:] if suite.x_only else element


def nonce_generate(suite: Ciphersuite, secret: int, coins: Coins) -> int:
    """A secret nonce from 32 random bytes and the secret key (RFC 9591 §4.1).

    The key goes in so that a poor source of coins does not repeat a nonce across keys.
    """
    return suite.h3(coins.randbytes(32) + suite.group.encode_scalar(secret))


def encode_signature(suite: Ciphersuite, commitment: Element, response: int) -> bytes:
    """(R, z) as bytes."""
    head = commitment[1:] if suite.x_only else commitment
    return head + suite.group.encode_scalar(response)


def sign(suite: Ciphersuite, secret: int, message: bytes, coins: Coins) -> bytes:
    """Sign with a whole secret key, as a single party."""
    group = suite.group
    public = group.base_mult(secret)
    nonce = nonce_generate(suite, secret, coins)
    commitment = group.base_mult(nonce)
    if suite.x_only:  # BIP 340, "Default Signing": negate what has an odd y
        secret = secret if has_even_y(public) else -secret
        nonce = nonce if has_even_y(commitment) else -nonce
    challenge = suite.challenge(commitment, public, message)
    return encode_signature(suite, commitment, nonce + challenge * secret)


def verify(suite: Ciphersuite, public: Element, message: bytes, signature: bytes) -> bool:
    """Whether a signature is valid (RFC 9591 Appendix B; BIP 340, "Verification").

    `public` is the full element also for BIP 340, which looks at its x coordinate only.
    Stricter than RFC 8032: R must be a point of prime order other than the identity.
    """
    group = suite.group
    if suite.x_only:
        signature = b"\x02" + signature
        public = b"\x02" + public[1:]
    head, tail = signature[: group.element_bytes], signature[group.element_bytes :]
    try:
        response = group.decode_scalar(tail)
        return _holds(suite, head, response, suite.challenge(head, public, message), public)
    except EncodingError:
        return False


def _holds(
    suite: Ciphersuite, commitment: bytes, response: int, challenge: int, public: bytes
) -> bool:
    """Whether z·G = R + c·P, for R and P as they came.

    R is compared with z·G - c·P, so its bytes need no check of their own: what is equal to an
    element's one encoding is it.
    """
    group = suite.group
    found = group.add(group.base_mult(response), group.decode_and_mult(-challenge, public))
    return commitment == found != group.identity


def prove_possession(
    suite: Ciphersuite, identifier: int, secret: int, context: bytes, coins: Coins
) -> bytes:
    """Prove that `identifier` knows the logarithm of secret·G (FROST, ePrint 2020/852, Fig. 1).

    The proof is (R, μ) with c = HDKG(identifier ‖ public ‖ R ‖ context), encoded like a signature.
    An empty context gives ZF FROST's proofs, in every ciphersuite; a context of session and
    attempt keeps a proof from being replayed.
    """
    group = suite.group
    nonce = 1 + random_scalar(group.order - 1, coins)
    commitment = group.base_mult(nonce)
    if suite.x_only and not has_even_y(commitment):  # ZF frost-secp256k1-tr, `generate_nonce`
        nonce, commitment = -nonce, even_y(suite, commitment)
    challenge = _proof_challenge(suite, identifier, group.base_mult(secret), commitment, context)
    return encode_signature(suite, commitment, nonce + secret * challenge)


def check_possession(
    suite: Ciphersuite, identifier: int, public: Element, context: bytes, proof: bytes
) -> None:
    """Raise `BadProof`, blaming `identifier`, unless it proved that it knows public's logarithm."""
    group = suite.group
    proof = b"\x02" + proof if suite.x_only else proof
    commitment = proof[: group.element_bytes]
    challenge = _proof_challenge(suite, identifier, public, commitment, context)
    try:
        response = group.decode_scalar(proof[group.element_bytes :])
        holds = _holds(suite, commitment, response, challenge, public)
    except EncodingError as error:
        raise BadProof(identifier, f"malformed proof of possession: {error}") from error
    if not holds:
        raise BadProof(identifier, "the proof of possession does not hold")


def _proof_challenge(
    suite: Ciphersuite, identifier: int, public: Element, commitment: Element, context: bytes
) -> int:
    # All but the last part of a proof that can hold have a fixed length: no ambiguity.
    return suite.hdkg(suite.group.encode_scalar(identifier) + public + commitment + context)
