"""The news of a party's mesh for the machine on top of it: asks that any application may handle."""

import msgspec

from mpclab.core.ids import Party


class Introduced(msgspec.Struct, frozen=True):
    """`party` is in the session; `key` is its Ed25519 identity key, 32 bytes."""

    party: Party
    key: bytes


class AcceptKey(msgspec.Struct, frozen=True):
    """`party` has another identity key from now on, as our own user says: a new device, say. Shares
    that were dealt to the old one stay with it."""

    party: Party
    key: bytes


class PeerUp(msgspec.Struct, frozen=True):
    """Frames to and from `party` now travel, by "link" or by "relay"."""

    party: Party
    via: str


class PeerDown(msgspec.Struct, frozen=True):
    """`party` cannot be reached any more; `reason` in words."""

    party: Party
    reason: str
