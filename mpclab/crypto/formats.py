"""Public keys and signatures in the formats that other programs read.

* PEM "SubjectPublicKeyInfo" (RFC 5280; for Ed25519 RFC 8410): `openssl pkeyutl -verify`.
* OpenSSH's public key line and armoured signatures, "SSHSIG" (OpenSSH, PROTOCOL.sshsig):
  `ssh-keygen -Y verify`. An SSHSIG signature is not one on the message but on a blob that wraps
  the message's hash, so the parties sign `sshsig_payload(…)` and `sshsig_armour` packs the result.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mpclab.crypto.groups import ED25519, SECP256K1, Element, Group

_MAGIC = b"SSHSIG"
_KEY_TYPE = b"ssh-ed25519"
_HASH = b"sha512"


def public_key(
    group: Group, public: Element
) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    """A public key as an object of the `cryptography` package."""
    if group is ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(public)
    if group is SECP256K1:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public)
    raise ValueError(f"there is no standard form of a {group.name} key")


def pem(group: Group, public: Element) -> str:
    """A public key as PEM text, "-----BEGIN PUBLIC KEY-----"."""
    encoded = public_key(group, public).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded.decode()


def ssh_public_key(public: bytes, comment: str = "") -> str:
    """An Ed25519 public key (32 bytes) as OpenSSH writes it, without a newline."""
    blob = base64.b64encode(_ssh_key_blob(public)).decode()
    return f"{_KEY_TYPE.decode()} {blob} {comment}".rstrip()


def allowed_signers_line(principal: str, public: bytes, namespace: str) -> str:
    """A line of the file for `ssh-keygen -Y verify -f FILE -I PRINCIPAL -n NAMESPACE`."""
    for word in (principal, namespace):
        if not word or not word.isascii() or not word.isprintable() or set(word) & set(' "'):
            raise ValueError(f"{word!r} does not go into an allowed_signers file")
    return f'{principal} namespaces="{namespace}" {ssh_public_key(public)}'


def sshsig_payload(namespace: str, message: bytes) -> bytes:
    """The bytes that an SSHSIG signature on `message` signs."""
    return sshsig_payload_of_hash(namespace, hashlib.sha512(message).digest())


def sshsig_payload_of_hash(namespace: str, sha512: bytes) -> bytes:
    """The same, for a message of which the hash is known, 64 bytes."""
    if not namespace:
        raise ValueError("SSHSIG needs a namespace, such as 'file'")
    return _MAGIC + b"".join(map(_string, (namespace.encode(), b"", _HASH, sha512)))


def sshsig_armour(namespace: str, public: bytes, signature: bytes) -> str:
    """An SSHSIG file from an Ed25519 key (32 bytes) and signature (64) on `sshsig_payload`."""
    if len(public) != 32 or len(signature) != 64:
        raise ValueError("an Ed25519 key has 32 bytes and a signature 64")
    blob = (
        _MAGIC
        + (1).to_bytes(4, "big")  # version
        + _string(_ssh_key_blob(public))
        + _string(namespace.encode())
        + _string(b"")  # reserved
        + _string(_HASH)
        + _string(_string(_KEY_TYPE) + _string(signature))
    )
    lines = textwrap.wrap(base64.b64encode(blob).decode(), 70)
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def _ssh_key_blob(public: bytes) -> bytes:
    return _string(_KEY_TYPE) + _string(public)


def _string(data: bytes) -> bytes:
    """A string of RFC 4251 §5: length in 4 bytes, then the bytes."""
    return len(data).to_bytes(4, "big") + data
