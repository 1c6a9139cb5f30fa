"""A key that was agreed here and not yet confirmed by all: what a crash must not take away."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.crypto.keys import KeyShare
from mpclab.mpc.messages import Confirm
from mpclab.mpc.records import KeyRecord, seal_share


class Pending(Message, frozen=True):
    """Written before the confirmation of `digest` is sent.

    Attributes:
        signers: all who must confirm.
        share: ours, sealed; empty when we are no holder.
    """

    record: KeyRecord
    signers: tuple[Party, ...]
    share: bytes

    @classmethod
    def make(
        cls,
        record: KeyRecord,
        signers: tuple[Party, ...],
        identity: Identity,
        share: KeyShare | None,
    ) -> Pending:
        return cls(record, signers, seal_share(identity, share) if share is not None else b"")

    @property
    def digest(self) -> bytes:
        return self.record.transcript

    def unconfirmed(self, confirms: Mapping[Party, Confirm]) -> tuple[Party, ...]:
        """Who has not signed this very transcript."""
        return tuple(
            p for p in self.signers if p not in confirms or confirms[p].digest != self.digest
        )

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Pending:
        return msgspec.msgpack.decode(data, type=cls)
