"""A second opinion on a signature, from OpenSSL and not from the code that made it.

The signatures of this package come out of libsodium, libsecp256k1 and our own arithmetic. Before
one is shown to anyone, the `cryptography` package (OpenSSL) is asked as well.

For Ed25519 that is one call. OpenSSL knows no Schnorr signatures on secp256k1, but it knows
ECDSA, and ECDSA verification can be made to compute any sum we like. It accepts (r, s) on the
hash e under the key Q exactly if the x coordinate of

    (e/s)·G + (r/s)·Q

is r, modulo the order n. We want zG - cP compared with R: so Q = P, r = x(R), s = -r/c and
e = z·s. That decides R up to its sign. Asking again about (z + k)·G - cP, whose x coordinate
must be that of R + kG, decides the sign too: no other point has both. k is 1, or 2 where R is
±G, as for the nonce 1, which is a valid one: there R + G is not given by the chord.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256

from mpclab.crypto.ciphersuites import Ciphersuite
from mpclab.crypto.groups import ED25519, SECP256K1, Element

_P = 2**256 - 2**32 - 977  # the field of secp256k1 (SEC 2 §2.4.1)
_N = SECP256K1.order
_MULTIPLES = {
    k: ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), SECP256K1.base_mult(k))
    for k in (1, 2)
}


def verify_independently(
    suite: Ciphersuite, public: Element, message: bytes, signature: bytes
) -> bool:
    """Whether OpenSSL finds the signature valid.

    Raises:
        ValueError: a ciphersuite of which OpenSSL knows nothing (ristretto255).
    """
    try:
        if suite.group is ED25519:
            ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        elif suite.group is SECP256K1:
            _verify_secp256k1(suite, public, message, signature)
        else:
            raise ValueError(f"no independent library verifies {suite.name}")
    except InvalidSignature:
        return False
    return True


def _verify_secp256k1(
    suite: Ciphersuite, public: Element, message: bytes, signature: bytes
) -> None:
    if suite.x_only:
        signature, public = b"\x02" + signature, b"\x02" + public[1:]
    z = int.from_bytes(signature[33:], "big")
    if len(signature) != 65 or z >= _N:
        raise InvalidSignature
    curve = ec.SECP256K1()
    try:
        commitment = ec.EllipticCurvePublicKey.from_encoded_point(curve, signature[:33])
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, public)
    except ValueError:
        raise InvalidSignature from None
    challenge = suite.challenge(signature[:33], public, message)
    r, k = commitment.public_numbers(), 1
    g = _MULTIPLES[k].public_numbers()
    if r.x == g.x:
        k = 2
        g = _MULTIPLES[k].public_numbers()
    slope = (r.y - g.y) * pow(r.x - g.x, -1, _P)
    _check_x(key, z, challenge, r.x)
    _check_x(key, z + k, challenge, (slope * slope - r.x - g.x) % _P)


def _check_x(key: ec.EllipticCurvePublicKey, z: int, challenge: int, x: int) -> None:
    """Raise `InvalidSignature` unless z·G - challenge·key has the x coordinate x modulo n."""
    r = x % _N
    s = -r * pow(challenge, -1, _N) % _N
    e = z * s % _N
    key.verify(
        utils.encode_dss_signature(r, s),
        e.to_bytes(32, "big"),
        ec.ECDSA(utils.Prehashed(SHA256())),
    )
