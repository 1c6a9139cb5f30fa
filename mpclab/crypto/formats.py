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

from mpclab.crypto.groups import ED25519, SECP256K1, Element, Group

_MAGIC = b"SSHSIG"
_KEY_TYPE = b"ssh-ed25519"
_HASH = b"sha512"
_P = 2**256 - 2**32 - 977  # the field of secp256k1 (SEC 2 §2.4.1)
# DER up to the key itself: SEQUENCE { SEQUENCE { algorithm }, BIT STRING }.
_ED25519_INFO = bytes.fromhex("302a300506032b6570032100")  # RFC 8410 §4
_SECP256K1_INFO = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a034200")  # RFC 5480 §2


def pem(group: Group, public: Element) -> str:
    """A public key as PEM text, "-----BEGIN PUBLIC KEY-----".

    Raises:
        EncodingError: the bytes are no element of the group.
        ValueError: keys of the group have no standard form (ristretto255).
    """
    if group not in (ED25519, SECP256K1):
        raise ValueError(f"there is no standard form of a {group.name} key")
    group.decode_element(public)
    info = _ED25519_INFO + public if group is ED25519 else _SECP256K1_INFO + _uncompressed(public)
    lines = textwrap.wrap(base64.b64encode(info).decode(), 64)
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def _uncompressed(point: Element) -> bytes:
    """A point of secp256k1 with both coordinates, 65 bytes (SEC 1 §2.3.4: y² = x³ + 7)."""
    x = int.from_bytes(point[1:], "big")
    y = pow(x**3 + 7, (_P + 1) // 4, _P)
    if y & 1 != point[0] & 1:
        y = _P - y
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


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
