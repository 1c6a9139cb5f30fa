"""A common coin from a threshold key, for `acs`: nobody knows it before t parties have said so.

C. Cachin, K. Kursawe and V. Shoup, "Random oracles in Constantinople", PODC 2000, §4.3: the coin
of a name is a hash of x·B, where x is the shared key and B the name hashed to the group. A party's
part is x_i·B with a proof that its share is in it: the beacon's (`beacon`), from any key that a
`dkg` made. With f < t ≤ n − f liars alone do not know it, and need not help.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import decoder
from mpclab.crypto.groups import Element
from mpclab.crypto.identity import Coins
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.crypto.shamir import lagrange_coefficients
from mpclab.crypto.transcript import digest
from mpclab.mpc.beacon import Part, base_point, is_right, prove
from mpclab.mpc.records import KeyRecord

_NO_DRAW: Final = -1
"""In the place of the number of a beacon's value: a coin tells nothing of any of these."""

_decode = decoder(Part)


class KeyCoin:
    """The coins of one key, at one party.

    Args:
        record: of the key. `share`: ours; None: we only look on.
    """

    def __init__(self, record: KeyRecord, share: KeyShare | None) -> None:
        self.record, self.share = record, share
        self.key = record.key()
        self.needed = record.threshold
        self.name = f"a key of {len(record.holders)} parties, {record.threshold} of whom toss it"

    def part(self, about: bytes, coins: Coins) -> bytes:
        if self.share is None:
            return b""
        group = self.key.suite.group
        return msgspec.msgpack.encode(prove(group, self.share, _base(self.key, about), coins))

    def is_right(self, about: bytes, party: Party, part: bytes) -> bool:
        return party in self.record.holders and _is_right(self.key, party, about, part)

    def toss(self, about: bytes, parts: Mapping[Party, bytes]) -> int:
        group = self.key.suite.group
        chosen = sorted(parts)[: self.needed]
        weights = lagrange_coefficients(tuple(chosen), group.order)
        points = {p: _read(parts[p]).point for p in chosen}
        point = group.linear_combination((weights[p], points[p]) for p in chosen)
        return digest("mpclab key coin", _base(self.key, about), point)[0] & 1


def _read(part: bytes) -> Part:
    found = _decode(part)
    assert isinstance(found, Part)
    return found


@lru_cache(maxsize=1 << 10)
def _base(key: GroupKey, about: bytes) -> Element:
    return base_point(key, _NO_DRAW, about)


@lru_cache(maxsize=1 << 12)
def _is_right(key: GroupKey, party: Party, about: bytes, part: bytes) -> bool:
    """Remembered: it is asked again with each part that comes, and at each simulated party."""
    try:
        return is_right(key, party, _base(key, about), _read(part))
    except msgspec.DecodeError:
        return False
