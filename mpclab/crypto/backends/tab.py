"""Primitives in a browser tab: libsodium.js and noble-curves. See `mpclab.crypto.primitives`.

The page registers `tab.mjs`, beside this file, as the module `mpclab_primitives`. noble's
multiplication of a point that is not the generator is not constant-time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

js: Any = None
to_js: Any = None
if sys.platform == "emscripten":
    import mpclab_primitives as js
    from pyodide.ffi import to_js

_SHORT = 1024
"""Bytes up to which hex is the faster way into JavaScript."""


class PrimitiveError(Exception):
    """There is no answer: a point off the curve, an altered ciphertext, a wrong length."""


def _hex(data: bytes) -> Any:
    return data.hex() if len(data) <= _SHORT else to_js(data)


def _answer(answer: str | None) -> bytes:
    if answer is None:
        raise PrimitiveError("no answer")
    return bytes.fromhex(answer)


def _long_answer(answer: Any) -> bytes:
    if answer is None:
        raise PrimitiveError("no answer")
    data: bytes = answer.to_bytes()
    return data


def sign_keypair(seed: bytes) -> tuple[bytes, bytes]:
    pair = _answer(js.sign_keypair(seed.hex()))
    return pair[:32], pair[32:]


def seed_of(secret: bytes) -> bytes:
    return _answer(js.seed_of(secret.hex()))


def sign(message: bytes, secret: bytes) -> bytes:
    return _answer(js.sign(_hex(message), secret.hex()))


def verify(signature: bytes, message: bytes, public: bytes) -> bool:
    return bool(js.verify(signature.hex(), _hex(message), public.hex()))


def x25519_secret(secret: bytes) -> bytes:
    return _answer(js.x25519_secret(secret.hex()))


def x25519_public(public: bytes) -> bytes:
    return _answer(js.x25519_public(public.hex()))


def x25519(secret: bytes, public: bytes) -> bytes:
    return _answer(js.x25519(secret.hex(), public.hex()))


def aead_encrypt(message: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    return _long_answer(js.aead_encrypt(_hex(message), _hex(aad), nonce.hex(), key.hex()))


def aead_decrypt(sealed: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    return _long_answer(js.aead_decrypt(_hex(sealed), _hex(aad), nonce.hex(), key.hex()))


def password_key(password: bytes, salt: bytes) -> bytes:
    return _answer(js.password_key(_hex(password), salt.hex()))


def ed25519_is_valid(point: bytes) -> bool:
    return bool(js.ed25519_is_valid(point.hex()))


def ed25519_base_mult(scalar: bytes) -> bytes:
    return _answer(js.ed25519_base_mult(scalar.hex()))


def ed25519_mult(scalar: bytes, point: bytes) -> bytes:
    return _answer(js.ed25519_mult(scalar.hex(), point.hex()))


def ed25519_add(left: bytes, right: bytes) -> bytes:
    return _answer(js.ed25519_add(left.hex(), right.hex()))


def ed25519_sub(left: bytes, right: bytes) -> bytes:
    return _answer(js.ed25519_sub(left.hex(), right.hex()))


def secp256k1_is_valid(point: bytes) -> bool:
    return bool(js.secp256k1_is_valid(point.hex()))


def secp256k1_base_mult(scalar: bytes) -> bytes:
    return _answer(js.secp256k1_base_mult(scalar.hex()))


def secp256k1_mult(scalar: bytes, point: bytes) -> bytes:
    return _answer(js.secp256k1_mult(scalar.hex(), point.hex()))


def secp256k1_sum(points: Sequence[bytes]) -> bytes | None:
    if any(len(point) != 33 for point in points):
        raise PrimitiveError("not a point of secp256k1")
    return _answer(js.secp256k1_sum(b"".join(points).hex())) or None


def ed25519_accepts(public: bytes, message: bytes, signature: bytes) -> bool:
    """noble's opinion of a signature."""
    return bool(js.ed25519_accepts(public.hex(), _hex(message), signature.hex()))


def schnorr_accepts(public: bytes, commitment: bytes, challenge: int, response: int) -> bool:
    """Whether noble finds response · G - challenge · public = commitment on secp256k1."""
    return bool(
        js.schnorr_accepts(public.hex(), commitment.hex(), f"{challenge:x}", f"{response:x}")
    )
