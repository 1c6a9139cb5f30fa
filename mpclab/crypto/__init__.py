"""Cryptography as pure functions: identities, secret sharing, key generation, signatures.

Nothing here knows of machines, messages, clocks or sockets, and every coin is an argument. The
names that need elliptic-curve libraries load them when they are first used: whoever needs only
identities does not. To read in this order:

`transcript`, `identity`       what is hashed and signed, who signs, and how two parties whisper
`groups`, `ristretto`          where the arithmetic happens, and what is let in
`shamir`, `feldman`            sharing a secret, and checking the shares
`ciphersuites`, `schnorr`      hash functions; signatures by one, proofs of possession
`keys`, `pedersen`             what holders of a key hold, and how they make it
`proactive`                    refresh, reshare, repair: new shares of the same key
`frost`                        signing with a threshold of shares
`formats`, `independent`       OpenSSL's and OpenSSH's formats, and OpenSSL's opinion
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from mpclab.crypto.ciphersuites import FROST_BIP340, FROST_ED25519
    from mpclab.crypto.keys import GroupKey, KeyShare, trusted_dealer_keygen
    from mpclab.crypto.shamir import evaluate

_HOMES = {
    "FROST_BIP340": "mpclab.crypto.ciphersuites",
    "FROST_ED25519": "mpclab.crypto.ciphersuites",
    "GroupKey": "mpclab.crypto.keys",
    "KeyShare": "mpclab.crypto.keys",
    "evaluate": "mpclab.crypto.shamir",
    "trusted_dealer_keygen": "mpclab.crypto.keys",
}

__all__ = [
    "FROST_BIP340",
    "FROST_ED25519",
    "BadCommitment",
    "BadProof",
    "BadShare",
    "BadSignature",
    "Blamed",
    "Coins",
    "CryptoError",
    "EncodingError",
    "GroupKey",
    "Identity",
    "KeyShare",
    "Part",
    "ReceiveWindow",
    "Seal",
    "SealError",
    "check_signature",
    "digest",
    "encode",
    "evaluate",
    "trusted_dealer_keygen",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mpclab.crypto' has no attribute {name!r}")
