"""Primitives by libsodium (PyNaCl) and libsecp256k1 (coincurve). See `mpclab.crypto.primitives`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import nacl.bindings as sodium
from nacl import pwhash
from nacl.exceptions import CryptoError as PrimitiveError

if TYPE_CHECKING:
    from coincurve import PublicKey

sign_keypair = sodium.crypto_sign_seed_keypair
seed_of = sodium.crypto_sign_ed25519_sk_to_seed
x25519_secret = sodium.crypto_sign_ed25519_sk_to_curve25519
x25519_public = sodium.crypto_sign_ed25519_pk_to_curve25519
x25519 = sodium.crypto_scalarmult
aead_encrypt = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt
aead_decrypt = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt
ed25519_is_valid = sodium.crypto_core_ed25519_is_valid_point
ed25519_base_mult = sodium.crypto_scalarmult_ed25519_base_noclamp
ed25519_mult = sodium.crypto_scalarmult_ed25519_noclamp
ed25519_add = sodium.crypto_core_ed25519_add
ed25519_sub = sodium.crypto_core_ed25519_sub


def sign(message: bytes, secret: bytes) -> bytes:
    signed: bytes = sodium.crypto_sign(message, secret)
    return signed[:64]


def verify(signature: bytes, message: bytes, public: bytes) -> bool:
    try:
        sodium.crypto_sign_open(signature + message, public)
    except PrimitiveError:
        return False
    return True


def password_key(password: bytes, salt: bytes) -> bytes:
    kdf = pwhash.argon2id
    key: bytes = kdf.kdf(32, password, salt, kdf.OPSLIMIT_MODERATE, kdf.MEMLIMIT_MODERATE)
    return key


@cache
def _points() -> type[PublicKey]:
    """Imported when the first point is computed with: a session is light until then."""
    from coincurve import PublicKey

    return PublicKey


def secp256k1_is_valid(point: bytes) -> bool:
    try:
        _points()(point)
    except ValueError:
        return False
    return True


def secp256k1_base_mult(scalar: bytes) -> bytes:
    product: bytes = _points().from_valid_secret(scalar).format()
    return product


def secp256k1_mult(scalar: bytes, point: bytes) -> bytes:
    product: bytes = _point(point).multiply(scalar).format()
    return product


def secp256k1_sum(points: Sequence[bytes]) -> bytes | None:
    summands = [_point(point) for point in points]
    try:
        total: bytes = _points().combine_keys(summands).format()
    except ValueError:  # all points are valid, so the sum is the point at infinity
        return None
    return total


def _point(data: bytes) -> PublicKey:
    try:
        return _points()(data)
    except ValueError:
        raise PrimitiveError("not a point of secp256k1") from None


__all__ = [
    "PrimitiveError",
    "aead_decrypt",
    "aead_encrypt",
    "ed25519_add",
    "ed25519_base_mult",
    "ed25519_is_valid",
    "ed25519_mult",
    "ed25519_sub",
    "password_key",
    "secp256k1_base_mult",
    "secp256k1_is_valid",
    "secp256k1_mult",
    "secp256k1_sum",
    "seed_of",
    "sign",
    "sign_keypair",
    "verify",
    "x25519",
    "x25519_public",
    "x25519_secret",
]
