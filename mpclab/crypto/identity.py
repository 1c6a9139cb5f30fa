"""A party's identity key, and channels of two parties that nobody overhears.

A party *is* its Ed25519 key: `Identity` holds the secret, everyone else knows the 32 public
bytes. It signs labelled parts, never loose bytes, so that a signature made for one purpose can
not be shown for another.

`Seal` is an authenticated, encrypted channel between two identities. Both sides derive the same
two keys, one for each direction, from X25519 of their keys mapped to the Montgomery curve (the
map and the safety of using one key pair for both: Thormarker, "On using the same key pair for
Ed25519 and an X25519 based KEM", ePrint 2021/509) and from a context that names the session,
the epoch and whatever else must match. A sealed message is

    sequence (8 bytes, big-endian) ‖ nonce (24) ‖ XChaCha20-Poly1305 ciphertext and tag (n + 16)

The nonce is not a counter: a party that restarts without its state would count from zero again
and encrypt twice under one nonce, which gives the plaintexts away. It is a keyed hash of the
sequence and the plaintext (the idea of SIV, Rogaway and Shrimpton 2006), so a repeated sequence
number reveals at most that the very same message was sent again. It needs no coins either, so a
replayed run seals the same bytes.

No forward secrecy: a thief of an identity key can open its recorded messages. Real WebRTC links
have DTLS below this.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import NoReturn, Protocol

from mpclab.crypto.errors import BadSignature, SealError
from mpclab.crypto.primitives import PrimitiveError, primitives
from mpclab.crypto.transcript import Part, digest, encode

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64

_SEQUENCE_BYTES = 8
_NONCE_BYTES = 24
_TAG_BYTES = 16
SEAL_OVERHEAD = _SEQUENCE_BYTES + _NONCE_BYTES + _TAG_BYTES
MAX_SEQUENCE = 2**64 - 1


class Coins(Protocol):
    """Random bytes: from `random.SystemRandom()` for real, from `random.Random(seed)` to replay."""

    def randbytes(self, n: int, /) -> bytes: ...


class Identity:
    """A party's Ed25519 key pair. Immutable; neither `repr` nor `pickle` gives the secret away."""

    public: bytes
    """The public key, 32 bytes: the party's name to everyone else."""

    _secret: bytes

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed is {SEED_BYTES} bytes, not {len(seed)}")
        public, secret = primitives.sign_keypair(seed)
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "_secret", secret)

    @classmethod
    def generate(cls, coins: Coins) -> Identity:
        """A new identity; real parties pass `random.SystemRandom()`."""
        return cls(coins.randbytes(SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """The identity of a seed of 32 secret bytes."""
        return cls(seed)

    def export_seed(self) -> bytes:
        """The 32 secret bytes, to be kept sealed. The only way to get them out."""
        return primitives.seed_of(self._secret)

    def sign(self, label: str, *parts: Part) -> bytes:
        """Sign parts under a label that says what the signature is for; 64 bytes."""
        return primitives.sign(_signed(label, parts), self._secret)

    @cached_property
    def _x25519_secret(self) -> bytes:
        return primitives.x25519_secret(self._secret)

    def _shared_secret(self, peer_public: bytes) -> bytes:
        """X25519 with a peer's Ed25519 key, 32 bytes, the same for both."""
        try:
            # Fails for bytes that are no point, and for points of small order.
            peer = primitives.x25519_public(peer_public)
            return primitives.x25519(self._x25519_secret, peer)
        except PrimitiveError as error:
            raise SealError("the peer's public key is not a valid Ed25519 key") from error

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an Identity does not change")

    def __repr__(self) -> str:
        return f"Identity({self.public.hex()[:16]}…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.public == other.public

    def __hash__(self) -> int:
        return hash(self.public)

    def __copy__(self) -> Identity:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Identity:
        return self  # immutable, so a forked party may share it

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Identity is not pickled by accident: store export_seed(), sealed")


def check_signature(public: bytes, label: str, parts: tuple[Part, ...], signature: bytes) -> None:
    """Raise `BadSignature` unless the owner of `public` signed these parts under this label."""
    if not verify(public, label, parts, signature):
        raise BadSignature(f"not a signature of {public.hex()[:16]}… on {label!r}")


def verify(public: bytes, label: str, parts: tuple[Part, ...], signature: bytes) -> bool:
    """Whether `signature` (64 bytes) was made by the owner of `public` on `label` and `parts`."""
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    return primitives.verify(signature, _signed(label, parts), public)


def _signed(label: str, parts: tuple[Part, ...]) -> bytes:
    return digest("mpclab signature", label, parts)


class Seal:
    """One side of a sealed channel between an identity and a peer.

    Direction, both keys and the context are part of what authenticates: a message sent to the
    peer does not open as if it came from the peer, nor in another session or epoch. Order and
    replay are the receiver's business: see `ReceiveWindow`.
    """

    __slots__ = ("_context", "_open", "_open_nonce", "_send", "_send_nonce", "peer")

    def __init__(self, identity: Identity, peer_public: bytes, context: bytes) -> None:
        """Derive the channel's keys (one X25519, about 0.1 ms): keep the object.

        Args:
            identity: this side.
            peer_public: the other side's Ed25519 key, 32 bytes.
            context: what both sides must agree on, such as session and epoch; any length.

        Raises:
            SealError: the peer's key is not a valid one.
        """
        if identity.public == peer_public:
            raise ValueError("a party needs no channel to itself")
        shared = identity._shared_secret(peer_public)
        self.peer = peer_public
        self._context = hashlib.sha256(context).digest()
        self._send, self._send_nonce = _keys(shared, identity.public, peer_public, context)
        self._open, self._open_nonce = _keys(shared, peer_public, identity.public, context)

    def seal(self, sequence: int, plaintext: bytes) -> bytes:
        """Encrypt and authenticate towards the peer: `SEAL_OVERHEAD` (48) bytes longer."""
        header = sequence.to_bytes(_SEQUENCE_BYTES, "big")
        nonce = _nonce(self._send_nonce, header, plaintext)
        associated = header + self._context
        return header + nonce + primitives.aead_encrypt(plaintext, associated, nonce, self._send)

    def open(self, sealed: bytes) -> tuple[int, bytes]:
        """The sequence number and plaintext of a message from the peer.

        Raises:
            SealError: it is not from the peer in this context, or was altered on the way. Either
                the peer or whoever carried the message is to blame; one cannot tell which.
        """
        if len(sealed) < SEAL_OVERHEAD:
            raise SealError(f"a sealed message has at least {SEAL_OVERHEAD} bytes")
        header = sealed[:_SEQUENCE_BYTES]
        nonce = sealed[_SEQUENCE_BYTES : _SEQUENCE_BYTES + _NONCE_BYTES]
        try:
            plaintext = primitives.aead_decrypt(
                sealed[_SEQUENCE_BYTES + _NONCE_BYTES :], header + self._context, nonce, self._open
            )
        except PrimitiveError:
            raise SealError("the message is not authentic") from None
        return int.from_bytes(header, "big"), plaintext

    def __repr__(self) -> str:
        return f"Seal(peer={self.peer.hex()[:16]}…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Seal holds keys and is not pickled: derive it again")

    def __deepcopy__(self, memo: dict[int, object]) -> Seal:
        return self  # immutable, so a forked party may share it


class ReceiveWindow:
    """Lets each sequence number of one sender through once, and only upwards."""

    __slots__ = ("_last",)

    def __init__(self, last: int = -1) -> None:
        self._last = last

    @property
    def last(self) -> int:
        """The highest sequence number accepted, or -1."""
        return self._last

    def accept(self, sequence: int) -> None:
        """Take note of an authentic message.

        Raises:
            SealError: the number was seen or passed over: a replay or a reordering.
        """
        if sequence <= self._last:
            raise SealError(f"sequence {sequence} after {self._last}: replayed or out of order")
        self._last = sequence


def _keys(shared: bytes, sender: bytes, receiver: bytes, context: bytes) -> tuple[bytes, bytes]:
    """Encryption key and nonce key of one direction, 32 bytes each."""
    material = hashlib.blake2b(
        encode(sender, receiver, context), key=shared, digest_size=64, person=b"mpclab seal v1"
    ).digest()
    return material[:32], material[32:]


def _nonce(key: bytes, header: bytes, plaintext: bytes) -> bytes:
    # The header has a fixed length, so the concatenation is unambiguous.
    return hashlib.blake2b(header + plaintext, key=key, digest_size=_NONCE_BYTES).digest()
