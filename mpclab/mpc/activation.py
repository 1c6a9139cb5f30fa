"""When a key that was agreed becomes the one that is used: the certificate, and why it is enough.

A participant signs a transcript once, by its `Confirm`, *after* it stored its share of what the
transcript makes (`Pending`). The signatures of all participants on one record are its certificate.
It can be checked by anyone who knows who took part, and whoever has it keeps it for as long as the
key lives, through restarts, and gives it to all who ask.

What follows, for any number of liars up to t - 1 among the holders, any links and any restarts:

* All honest holders of a certified record have stored their shares of it. So the old shares may go
  as soon as the certificate is here: if n holders signed and t - 1 of them lied, n - (t - 1) hold
  the new share; n ≥ 2t - 1 acknowledgements would be enough to sign without any liar, and here
  there are always all of them.
* As long as one party that can be reached has a certificate, everyone has: it is asked for, again
  and again, by every party that signed and does not know how it ended. If nobody has one, nobody
  who is honest has deleted anything, and the old shares sign.
* Not to be had: that all know at once. A liar may show the last signature to one party, years
  later. Until then that party used the old shares, like all others, and then tells them.

ChillDKG (bip-frost-dkg, "CertEq") has the same certificate, and the coordinator's last message is
lost in the same way; there a participant recovers its share, and the certificate with it, from the
public *recovery data* and its host secret key, by asking any other participant for the data. Here
the share itself is stored (sealed), not the sealed shares of all dealers: a refresh must be able
to delete. So ours needs the party's store, and theirs does not; and theirs makes new keys only,
while ours also decides which of two sharings of one key is the one in use.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.crypto.keys import KeyShare
from mpclab.crypto.transcript import digest
from mpclab.mpc.facts import Parameters
from mpclab.mpc.messages import CONFIRM, Certificate, Confirm, confirm_parts, genuine
from mpclab.mpc.records import KeyRecord, open_share, seal_share


def activation_digest(record: KeyRecord) -> bytes:
    """The digest that all sign, 32 bytes: of everything that the record says."""
    return digest("mpclab activation", record.to_bytes())


class Pending(Message, frozen=True):
    """The record that we signed, and our share: written before the signature is sent.

    Attributes:
        share: ours, sealed; empty when we are no holder.
    """

    record: KeyRecord
    share: bytes

    @classmethod
    def make(cls, record: KeyRecord, identity: Identity, share: KeyShare | None) -> Pending:
        return cls(record, seal_share(identity, share) if share is not None else b"")

    @property
    def digest(self) -> bytes:
        return activation_digest(self.record)

    def opened(self, identity: Identity, me: Party) -> KeyShare | None:
        """Our share, if we are a holder."""
        if not self.share:
            return None
        return open_share(identity, self.record.key(), me, self.share)

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Pending:
        return msgspec.msgpack.decode(data, type=cls)


def unconfirmed(
    participants: tuple[Party, ...], wanted: bytes, confirms: Mapping[Party, Confirm]
) -> tuple[Party, ...]:
    """The parties that have not signed the transcript with this digest."""
    return tuple(p for p in participants if p not in confirms or confirms[p].digest != wanted)


def check_certificate(
    parameters: Parameters,
    excluded: tuple[Party, ...],
    threshold: int,
    certificate: Certificate,
) -> KeyRecord:
    """The record that this certificate activates.

    Args:
        parameters: of the last dealing, in which `excluded` took no part any more.

    Raises:
        PeerFault: it certifies nothing; who brought it is to blame.
    """
    try:
        record = KeyRecord.from_bytes(certificate.record)
    except UsageError as error:
        raise PeerFault(f"certificate of a malformed record: {error}") from None
    if (record.holders, record.excluded) != (parameters.receivers, excluded):
        raise PeerFault("certificate of a record for other holders")
    if record.threshold != threshold:
        raise PeerFault(f"certificate of a record with threshold {record.threshold}")
    wanted = activation_digest(record)
    if tuple(confirm.party for confirm in certificate.confirms) != parameters.participants:
        raise PeerFault("certificate without the signatures of all participants")
    for confirm in certificate.confirms:
        parts = confirm_parts(parameters.context, confirm.party, wanted)
        key = parameters.keys[confirm.party]
        if confirm.digest != wanted or not genuine(key, CONFIRM, parts, confirm.signature):
            raise PeerFault(f"certificate without a genuine signature of party {confirm.party}")
    return record
