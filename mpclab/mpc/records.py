"""Keys and shares as bytes: what later operations find, and what is kept at rest.

A `KeyRecord` is public and the same at all parties. A share is sealed under a key that only its
owner's identity gives, bound to the key that it is a share of: a reader of a store without the
identity's seed learns nothing, and a share put in another's place does not open.
"""

from __future__ import annotations

import hashlib

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.wire import Message, decoder
from mpclab.crypto import backup, taproot
from mpclab.crypto.ciphersuites import ciphersuite
from mpclab.crypto.errors import CryptoError
from mpclab.crypto.groups import SECP256K1
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.crypto.primitives import PrimitiveError, primitives
from mpclab.crypto.transcript import digest

_NONCE = 24


class KeyRecord(Message, frozen=True):
    """A group key.

    Attributes:
        suite: name of the ciphersuite.
        commitments: to the shared polynomial; the first is the public key.
        holders: those that have a share.
        excluded: those that were left out while it was made: cheats, and the silent where that was
            agreed on.
        transcript: hash of how it was made, which every holder signed, 32 bytes.
        rules: for its use, as its makers agreed; empty for none. Read by `operations.rules`.
    """

    suite: str
    commitments: tuple[bytes, ...]
    holders: tuple[Party, ...]
    excluded: tuple[Party, ...] = ()
    transcript: bytes = b""
    rules: str = ""

    @property
    def public(self) -> bytes:
        return self.commitments[0]

    @property
    def threshold(self) -> int:
        return len(self.commitments)

    def key(self) -> GroupKey:
        return GroupKey(ciphersuite(self.suite), self.commitments)

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> KeyRecord:
        """Parse `to_bytes` and check every element.

        Raises:
            UsageError: it is no key record.
        """
        try:
            record = _decode(data)
            assert isinstance(record, KeyRecord)
            GroupKey.decode(ciphersuite(record.suite), record.commitments)
        except (msgspec.DecodeError, CryptoError, ValueError) as error:
            raise UsageError(f"not the record of a key: {error}") from None
        return record


def derived(
    record: KeyRecord, share: KeyShare | None, path: str, merkle_root: str
) -> tuple[KeyRecord, KeyShare | None]:
    """The key at a BIP 32 path below this one, tweaked for Taproot, and our share of it.

    Args:
        path: such as `0/5`; empty for the key itself.
        merkle_root: 64 hexadecimal digits; empty for no tweak.

    Raises:
        UsageError: the key is not on secp256k1, or what is asked for does not exist.
    """
    if not path and not merkle_root:
        return record, share
    key = record.key()
    try:
        if key.suite.group is not SECP256K1 or (merkle_root and not key.suite.x_only):
            raise ValueError("keys are derived on secp256k1, and tweaked of BIP 340 keys")
        if path:
            key, offset = taproot.derive(key, taproot.parse_path(path))
            share = taproot.move_share(share, key, offset) if share else None
        if merkle_root:
            root = bytes.fromhex(merkle_root)
            tweaked = taproot.tweak_key(key, root)
            share = taproot.tweak_share(share, tweaked, root) if share else None
            key = tweaked
    except (ValueError, CryptoError) as error:
        raise UsageError(f"derive, taproot: {error}") from None
    return msgspec.structs.replace(record, commitments=key.commitments), share


_decode = decoder(KeyRecord)


def seal_share(identity: Identity, share: KeyShare) -> bytes:
    """A share as it is stored."""
    body = share.suite.group.encode_scalar(share.secret)
    return seal_at_rest(identity, _context(share.key, share.identifier), body)


def open_share(identity: Identity, key: GroupKey, owner: Party, sealed: bytes) -> KeyShare:
    """The share that `seal_share` stored, checked against its key.

    Raises:
        UsageError: it does not open, or is no share of this key.
    """
    body = open_at_rest(identity, _context(key, owner), sealed)
    try:
        share = KeyShare(owner, key.suite.group.decode_scalar(body), key)
        share.check()
    except CryptoError as error:
        raise UsageError(f"the stored share is damaged: {error}") from None
    return share


class ShareBackup(Message, frozen=True):
    """A share outside its owner's store. `repr` does not show it."""

    record: KeyRecord
    owner: Party
    secret: bytes

    def __repr__(self) -> str:
        return f"ShareBackup({self.record.public.hex()[:16]}…, party {self.owner})"


_decode_backup = decoder(ShareBackup)
BACKUP = "mpclab share"


def back_up(record: KeyRecord, share: KeyShare, passphrase: str, coins: Coins) -> bytes:
    """A share as a file that only the passphrase opens; see `crypto.backup`.

    Raises:
        UsageError: the passphrase is too short.
    """
    secret = share.suite.group.encode_scalar(share.secret)
    body = msgspec.msgpack.encode(ShareBackup(record, share.identifier, secret))
    try:
        return backup.seal(passphrase, BACKUP, body, coins)
    except ValueError as error:
        raise UsageError(str(error)) from None


def restore(data: bytes, passphrase: str) -> tuple[KeyRecord, KeyShare]:
    """The share in a backup, checked against its key.

    Raises:
        UsageError: it does not open, or holds no share of the key that it names.
    """
    try:
        found = _decode_backup(backup.unseal(passphrase, BACKUP, data))
        assert isinstance(found, ShareBackup)
        key = KeyRecord.from_bytes(found.record.to_bytes()).key()
        share = KeyShare(found.owner, key.suite.group.decode_scalar(found.secret), key)
        share.check()
    except (CryptoError, msgspec.DecodeError) as error:
        raise UsageError(f"the backup does not open: {error}") from None
    return found.record, share


def seal_at_rest(identity: Identity, context: bytes, body: bytes) -> bytes:
    """Encrypt `body` to ourselves. The nonce is a keyed hash (as in `crypto.identity.Seal`)."""
    key = _rest_key(identity)
    nonce = hashlib.blake2b(context + body, key=key, digest_size=_NONCE, person=b"nonce").digest()
    return nonce + primitives.aead_encrypt(body, context, nonce, key)


def open_at_rest(identity: Identity, context: bytes, sealed: bytes) -> bytes:
    """The plaintext that `seal_at_rest` encrypted.

    Raises:
        UsageError: altered, of another identity or of another context.
    """
    try:
        return primitives.aead_decrypt(
            sealed[_NONCE:], context, sealed[:_NONCE], _rest_key(identity)
        )
    except (PrimitiveError, ValueError):
        raise UsageError("stored secret does not open with this party's key") from None


def _rest_key(identity: Identity) -> bytes:
    return hashlib.blake2b(
        identity.export_seed(), digest_size=32, person=b"mpclab at rest"
    ).digest()


def _context(key: GroupKey, owner: Party) -> bytes:
    return digest("mpclab share at rest", key.fingerprint(), owner)
