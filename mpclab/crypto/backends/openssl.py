"""The opinion of OpenSSL (`cryptography`) on signatures. See `mpclab.crypto.independent`.

OpenSSL knows no Schnorr signatures on secp256k1, but it knows ECDSA, and ECDSA verification can
be made to compute any sum we like. It accepts (r, s) on the hash e under the key Q exactly if the
x coordinate of

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

_P = 2**256 - 2**32 - 977  # the field of secp256k1 (SEC 2 §2.4.1)
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # its order
_MULTIPLES = {k: ec.derive_private_key(k, ec.SECP256K1()).public_key() for k in (1, 2)}


def ed25519_accepts(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def schnorr_accepts(public: bytes, commitment: bytes, challenge: int, response: int) -> bool:
    curve = ec.SECP256K1()
    try:
        nonce = ec.EllipticCurvePublicKey.from_encoded_point(curve, commitment)
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, public)
    except ValueError:
        return False
    r, k = nonce.public_numbers(), 1
    g = _MULTIPLES[k].public_numbers()
    if r.x == g.x:
        k = 2
        g = _MULTIPLES[k].public_numbers()
    slope = (r.y - g.y) * pow(r.x - g.x, -1, _P)
    try:
        _check_x(key, response, challenge, r.x)
        _check_x(key, response + k, challenge, (slope * slope - r.x - g.x) % _P)
    except InvalidSignature:
        return False
    return True


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
