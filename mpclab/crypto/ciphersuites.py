"""The ciphersuites of FROST (RFC 9591 §6): a group and the hash functions that go with it.

* `FROST_ED25519` (§6.1): its signatures are Ed25519 signatures (RFC 8032).
* `FROST_RISTRETTO255` (§6.2).
* `FROST_SECP256K1` (§6.5): Schnorr signatures of RFC 9591's own kind.
* `FROST_BIP340`: the same group with Bitcoin's Schnorr signatures (BIP 340). Not in the RFC; its
  context string is that of ZF FROST's "TR" suite.

Legend: H1 makes binding factors, H2 challenges, H3 nonces; H4 and H5 shorten the message and the
commitment list. HDKG, for the proofs of key generation, follows ZF FROST.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import ClassVar

from mpclab.crypto.groups import ED25519, SECP256K1, Element, Group
from mpclab.crypto.ristretto import RISTRETTO255


class Ciphersuite(ABC):
    """A group and the hash functions H1 to H5 over it."""

    name: ClassVar[str]
    group: ClassVar[Group]
    context: ClassVar[bytes]
    x_only: ClassVar[bool] = False
    """Whether signatures hold x coordinates only, with even y understood (BIP 340)."""

    @abstractmethod
    def hash(self, data: bytes) -> bytes:
        """The suite's hash function."""

    @abstractmethod
    def hash_to_scalar(self, tag: bytes, data: bytes) -> int:
        """A scalar, uniform if the hash is ideal; `tag` separates the purposes."""

    def h1(self, data: bytes) -> int:
        return self.hash_to_scalar(b"rho", data)

    def h2(self, data: bytes) -> int:
        return self.hash_to_scalar(b"chal", data)

    def h3(self, data: bytes) -> int:
        return self.hash_to_scalar(b"nonce", data)

    def h4(self, data: bytes) -> bytes:
        return self.hash(self.context + b"msg" + data)

    def h5(self, data: bytes) -> bytes:
        return self.hash(self.context + b"com" + data)

    def hdkg(self, data: bytes) -> int:
        return self.hash_to_scalar(b"dkg", data)

    def challenge(self, commitment: Element, public: Element, message: bytes) -> int:
        """`compute_challenge` of RFC 9591 §4.6: c = H2(R ‖ PK ‖ message)."""
        return self.h2(commitment + public + message)

    def __repr__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: dict[int, object]) -> Ciphersuite:
        return self

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return ciphersuite, (self.name,)


class _Sha512Suite(Ciphersuite):
    """SHA-512, its 64 bytes read as a little-endian number and reduced (RFC 9591 §6.1, §6.2)."""

    def hash(self, data: bytes) -> bytes:
        return hashlib.sha512(data).digest()

    def hash_to_scalar(self, tag: bytes, data: bytes) -> int:
        return self._reduce(self.context + tag + data)

    def _reduce(self, data: bytes) -> int:
        return int.from_bytes(hashlib.sha512(data).digest(), "little") % self.group.order


class _FrostEd25519(_Sha512Suite):
    name = "FROST(Ed25519, SHA-512)"
    group = ED25519
    context = b"FROST-ED25519-SHA512-v1"

    def h2(self, data: bytes) -> int:
        # No context here: the challenge must be that of RFC 8032.
        return self._reduce(data)


class _FrostRistretto255(_Sha512Suite):
    name = "FROST(ristretto255, SHA-512)"
    group = RISTRETTO255
    context = b"FROST-RISTRETTO255-SHA512-v1"


class _FrostSecp256k1(Ciphersuite):
    name = "FROST(secp256k1, SHA-256)"
    group = SECP256K1
    context = b"FROST-secp256k1-SHA256-v1"

    def hash(self, data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def hash_to_scalar(self, tag: bytes, data: bytes) -> int:
        # hash_to_field of RFC 9380 §5.2 with m = count = 1 and L = 48.
        uniform = expand_message_xmd(data, self.context + tag, 48)
        return int.from_bytes(uniform, "big") % self.group.order


class _FrostBip340(_FrostSecp256k1):
    name = "FROST(secp256k1, BIP 340)"
    context = b"FROST-secp256k1-SHA256-TR-v1"
    x_only = True

    def challenge(self, commitment: Element, public: Element, message: bytes) -> int:
        # BIP 340, "Verification": the tagged hash of the two x coordinates and the message.
        tag = hashlib.sha256(b"BIP0340/challenge").digest()
        data = tag + tag + commitment[1:] + public[1:] + message
        return int.from_bytes(hashlib.sha256(data).digest(), "big") % self.group.order


def expand_message_xmd(message: bytes, tag: bytes, length: int) -> bytes:
    """`expand_message_xmd` of RFC 9380 §5.3.1 with SHA-256, for up to 8160 bytes."""
    block, digest_size = 64, 32
    blocks = -(-length // digest_size)
    if blocks > 255 or len(tag) > 255:
        raise ValueError("too many bytes are asked for, or the tag is too long")
    suffix = tag + bytes([len(tag)])
    b_0 = hashlib.sha256(
        bytes(block) + message + length.to_bytes(2, "big") + b"\0" + suffix
    ).digest()
    uniform, previous = b"", bytes(digest_size)
    for index in range(1, blocks + 1):
        mixed = bytes(a ^ b for a, b in zip(b_0, previous, strict=True))
        previous = hashlib.sha256(mixed + bytes([index]) + suffix).digest()
        uniform += previous
    return uniform[:length]


FROST_ED25519: Ciphersuite = _FrostEd25519()
FROST_RISTRETTO255: Ciphersuite = _FrostRistretto255()
FROST_SECP256K1: Ciphersuite = _FrostSecp256k1()
FROST_BIP340: Ciphersuite = _FrostBip340()

CIPHERSUITES: dict[str, Ciphersuite] = {
    suite.name: suite
    for suite in (FROST_ED25519, FROST_RISTRETTO255, FROST_SECP256K1, FROST_BIP340)
}


def ciphersuite(name: str) -> Ciphersuite:
    """The ciphersuite of that name; `ValueError` names the ones there are."""
    try:
        return CIPHERSUITES[name]
    except KeyError:
        raise ValueError(
            f"unknown ciphersuite {name!r}; use one of {', '.join(CIPHERSUITES)}"
        ) from None
