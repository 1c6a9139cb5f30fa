"""A threshold signature as other programs want it: raw, PEM, OpenSSH.

openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in message -sigfile message.bin
ssh-keygen -Y verify -f allowed_signers -I PRINCIPAL -n NAMESPACE -s message.sig < message
"""

from __future__ import annotations

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.wire import Message, decoder
from mpclab.crypto import formats, taproot
from mpclab.crypto.groups import ED25519
from mpclab.crypto.independent import verify_independently
from mpclab.mpc.records import KeyRecord

PRINCIPAL = "mpclab"


class SignatureRecord(Message, frozen=True):
    """A signature with all that is needed to verify it.

    Attributes:
        namespace: of an SSHSIG signature; empty for one on the message itself.
        hashed: the function that `message` is the hash of; empty when it is the message itself.
    """

    record: KeyRecord
    message: bytes
    signature: bytes
    namespace: str = ""
    hashed: str = ""

    @property
    def payload(self) -> bytes:
        """The bytes that were signed."""
        return payload(self.message, self.namespace, self.hashed)

    def verify(self) -> bool:
        """Ask OpenSSL."""
        key = self.record.key()
        return verify_independently(key.suite, key.public, self.payload, self.signature)

    def files(self) -> dict[str, bytes]:
        """File contents by name; what there is depends on the key and on what was signed."""
        suite, public = self.record.key().suite, self.record.public
        group = suite.group
        found = {"key.pem": formats.pem(group, public).encode()}
        found[f"message.{self.hashed}" if self.hashed else "message"] = self.message
        if suite.x_only:
            found["key.x-only"] = taproot.x_only(public).hex().encode()
        if not self.namespace:
            found["message.bin"] = self.signature
        else:
            armour = formats.sshsig_armour(self.namespace, public, self.signature)
            line = formats.allowed_signers_line(PRINCIPAL, public, self.namespace)
            found["message.sig"] = armour.encode()
            found["allowed_signers"] = f"{line}\n".encode()
        if group is ED25519:
            found["key.pub"] = f"{formats.ssh_public_key(public, PRINCIPAL)}\n".encode()
        return found

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> SignatureRecord:
        """Parse `to_bytes`. `UsageError` for a malformed signature record."""
        try:
            record = _decode(data)
        except msgspec.DecodeError as error:
            raise UsageError(f"not the record of a signature: {error}") from None
        assert isinstance(record, SignatureRecord)
        return record


_decode = decoder(SignatureRecord)


def payload(message: bytes, namespace: str, hashed: str = "") -> bytes:
    """The bytes to sign: `message`, or OpenSSH's wrapping of it when there is a namespace.

    Raises:
        UsageError: OpenSSH has no such hash function.
    """
    if not namespace:
        return message
    if not hashed:
        return formats.sshsig_payload(namespace, message)
    if hashed != "sha512":
        raise UsageError(f"message: SSH signatures are on a sha512 hash, not on a {hashed} one")
    return formats.sshsig_payload_of_hash(namespace, message)
