"""Primitives that libraries compute for us, and the one place where the libraries are chosen.

Natively libsodium (by PyNaCl) and libsecp256k1 (by coincurve); in a browser tab libsodium again
(libsodium.js) and noble-curves, which the page hands to Python. `Primitives` says what a back-end
offers; everything is bytes in and bytes out, and `PrimitiveError` is raised for what has no
answer: a point off the curve, an altered ciphertext. Lengths are the caller's to check.

The libraries differ at the edges. `groups` evens that out, and is where to look for groups.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

if sys.platform == "emscripten":
    from mpclab.crypto.backends import tab as chosen
else:
    from mpclab.crypto.backends import native as chosen


class Primitives(Protocol):
    """The functions of a back-end. Keys, points and scalars have 32 bytes unless said otherwise;
    Ed25519 scalars are little-endian, those of secp256k1 big-endian."""

    def sign_keypair(self, seed: bytes, /) -> tuple[bytes, bytes]:
        """The public key and the secret key (64 bytes) of a seed."""

    def seed_of(self, secret: bytes, /) -> bytes:
        """The seed that a secret key was made from."""

    def sign(self, message: bytes, secret: bytes, /) -> bytes:
        """An Ed25519 signature, 64 bytes (RFC 8032)."""

    def verify(self, signature: bytes, message: bytes, public: bytes, /) -> bool:
        """Whether an Ed25519 signature is good; lengths are the caller's to check."""

    def x25519_secret(self, secret: bytes, /) -> bytes:
        """The Montgomery form of an Ed25519 secret key (64 bytes)."""

    def x25519_public(self, public: bytes, /) -> bytes:
        """The Montgomery form of an Ed25519 public key; fails for points of small order."""

    def x25519(self, secret: bytes, public: bytes, /) -> bytes:
        """The secret that two keys share (RFC 7748)."""

    def aead_encrypt(self, message: bytes, aad: bytes, nonce: bytes, key: bytes, /) -> bytes:
        """XChaCha20-Poly1305, 16 bytes longer than the message; the nonce has 24."""

    def aead_decrypt(self, sealed: bytes, aad: bytes, nonce: bytes, key: bytes, /) -> bytes:
        """What `aead_encrypt` was given; fails for anything else."""

    def password_key(self, password: bytes, salt: bytes, /) -> bytes:
        """Argon2id at libsodium's "moderate" limits, 256 MiB; the salt has 16 bytes."""

    def ed25519_is_valid(self, point: bytes, /) -> bool:
        """Whether bytes are a point of the subgroup of prime order, other than the identity."""

    def ed25519_base_mult(self, scalar: bytes, /) -> bytes:
        """scalar · generator; the scalar is not 0."""

    def ed25519_mult(self, scalar: bytes, point: bytes, /) -> bytes:
        """scalar · point; the scalar is not 0. Fails for points outside the subgroup."""

    def ed25519_add(self, left: bytes, right: bytes, /) -> bytes:
        """left + right. Fails for bytes that are no point."""

    def ed25519_sub(self, left: bytes, right: bytes, /) -> bytes:
        """left - right. Fails for bytes that are no point."""

    def secp256k1_is_valid(self, point: bytes, /) -> bool:
        """Whether 33 bytes are a point."""

    def secp256k1_base_mult(self, scalar: bytes, /) -> bytes:
        """scalar · generator, 33 bytes; the scalar is not 0."""

    def secp256k1_mult(self, scalar: bytes, point: bytes, /) -> bytes:
        """scalar · point, 33 bytes; the scalar is not 0. Fails for bytes that are no point."""

    def secp256k1_sum(self, points: Sequence[bytes], /) -> bytes | None:
        """The sum of one or more points; None for infinity. Fails for bytes that are no point."""


primitives: Primitives = chosen
"""The back-end of this process."""

PrimitiveError = chosen.PrimitiveError
"""Raised by the back-end of this process where there is no answer."""
