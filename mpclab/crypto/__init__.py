"""Cryptography as pure functions: identities, secret sharing, key generation, signatures.

Nothing here knows of machines, messages, clocks or sockets, and every coin is an argument. The
light names are re-exported; the rest is imported from its module, so that whoever needs only
identities does not load elliptic-curve libraries. To read in this order:

`transcript`, `identity`       what is hashed and signed, who signs, and how two parties whisper
`groups`, `ristretto`          where the arithmetic happens, and what is let in
`shamir`, `feldman`            sharing a secret, and checking the shares
`ciphersuites`, `schnorr`      hash functions; signatures by one, proofs of possession
`keys`, `pedersen`             what holders of a key hold, and how they make it
`proactive`                    refresh, reshare, repair: new shares of the same key
`frost`                        signing with a threshold of shares
`formats`, `independent`       OpenSSL's and OpenSSH's formats, and OpenSSL's opinion
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
