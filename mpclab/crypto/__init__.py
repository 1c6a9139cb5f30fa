"""Cryptography as pure functions: identities, secret sharing, key generation, signatures.

Nothing here knows of machines, messages, clocks or sockets, and every coin is an argument. The
light names are re-exported; the rest is imported from its module (`mpclab.crypto.frost`, …), so
that whoever needs only identities does not load elliptic-curve libraries.
"""

from mpclab.crypto.errors import (
    BadCommitment,
    BadProof,
    BadShare,
    BadSignature,
    Blamed,
    CryptoError,
    EncodingError,
    SealError,
)
from mpclab.crypto.identity import Coins, Identity, ReceiveWindow, Seal, check_signature, verify
from mpclab.crypto.transcript import Part, digest, encode

__all__ = [
    "BadCommitment",
    "BadProof",
    "BadShare",
    "BadSignature",
    "Blamed",
    "Coins",
    "CryptoError",
    "EncodingError",
    "Identity",
    "Part",
    "ReceiveWindow",
    "Seal",
    "SealError",
    "check_signature",
    "digest",
    "encode",
    "verify",
]
