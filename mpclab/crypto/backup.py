"""Secrets under a passphrase: what leaves a party's store on purpose, to be taken back later.

    "mpclab backup 1\\n" ‖ salt (16 bytes) ‖ nonce (24) ‖ XChaCha20-Poly1305 ciphertext and tag

The key is Argon2id of the passphrase and the salt (RFC 9106), by libsodium, at its "moderate"
limits: 256 MiB and about a second, for one who guesses as for one who knows. The content is
bound to a label that says what it is.
"""

from __future__ import annotations

from mpclab.crypto.errors import SealError
from mpclab.crypto.identity import Coins
from mpclab.crypto.primitives import PrimitiveError, primitives

MAGIC = b"mpclab backup 1\n"
_SALT, _NONCE = 16, 24
SHORTEST = 8
"""Characters of a passphrase, at least."""


def seal(passphrase: str, label: str, secret: bytes, coins: Coins) -> bytes:
    """`secret` as a file's content; `coins` from the operating system.

    Raises:
        ValueError: a passphrase that is too short to be one.
    """
    if len(passphrase) < SHORTEST:
        raise ValueError(f"a passphrase has at least {SHORTEST} characters")
    salt, nonce = coins.randbytes(_SALT), coins.randbytes(_NONCE)
    key = primitives.password_key(passphrase.encode(), salt)
    aad = MAGIC + label.encode()
    sealed = primitives.aead_encrypt(secret, aad, nonce, key)
    return MAGIC + salt + nonce + sealed


def unseal(passphrase: str, label: str, data: bytes) -> bytes:
    """The plaintext that `seal` sealed.

    Raises:
        SealError: another passphrase, another label, or not what `seal` gave.
    """
    if not data.startswith(MAGIC):
        raise SealError("not a backup of mpclab")
    rest = data[len(MAGIC) :]
    salt, nonce, sealed = rest[:_SALT], rest[_SALT : _SALT + _NONCE], rest[_SALT + _NONCE :]
    if len(salt) < _SALT:
        raise SealError("a backup that was cut short")
    aad = MAGIC + label.encode()
    try:
        key = primitives.password_key(passphrase.encode(), salt)
        return primitives.aead_decrypt(sealed, aad, nonce, key)
    except (PrimitiveError, ValueError):
        raise SealError("another passphrase, or an altered backup") from None
