"""A second opinion on a signature, from a library that had no part in making it.

The signatures of this package come out of libsodium, libsecp256k1 and our own arithmetic. Before
one is shown to anyone, OpenSSL is asked as well (`backends.openssl`). In a browser tab, where
there is no OpenSSL, the second opinion is that of noble-curves (`backends.tab`).
"""

from __future__ import annotations

import sys

from mpclab.crypto.ciphersuites import Ciphersuite
from mpclab.crypto.groups import ED25519, SECP256K1, Element

if sys.platform == "emscripten":
    from mpclab.crypto.backends.tab import ed25519_accepts, schnorr_accepts
else:
    from mpclab.crypto.backends.openssl import ed25519_accepts, schnorr_accepts


def verify_independently(
    suite: Ciphersuite, public: Element, message: bytes, signature: bytes
) -> bool:
    """Whether the other library finds the signature valid.

    Raises:
        ValueError: a ciphersuite of which it knows nothing (ristretto255).
    """
    if suite.group is ED25519:
        return ed25519_accepts(public, message, signature)
    if suite.group is not SECP256K1:
        raise ValueError(f"no independent library verifies {suite.name}")
    if suite.x_only:
        signature, public = b"\x02" + signature, b"\x02" + public[1:]
    response = int.from_bytes(signature[33:], "big")
    if len(signature) != 65 or response >= SECP256K1.order:
        return False
    challenge = suite.challenge(signature[:33], public, message)
    return schnorr_accepts(public, signature[:33], challenge, response)
