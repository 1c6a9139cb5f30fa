"""What parties elsewhere tell a lab of: asks of `signaling.telling` and its outputs.

A party that runs in a tab, or by `mpclab party` somewhere, has a trace of its own. If its user
wishes, it tells the rows that are about itself to parties of its session that want them.
"""

from __future__ import annotations

import msgspec

from mpclab.core.ids import Party, Path

ROWS: Path = ("rows",)
"""Where the machine that tells and hears sits in a party."""


class WantRows(msgspec.Struct, frozen=True):
    """Ask: hear what parties elsewhere tell of themselves."""


class TellRows(msgspec.Struct, frozen=True):
    """Ask: tell whoever wants it, of us: `count` new rows, a JSON object a line.

    Attributes:
        at: our clock when they were read, µs since our world began.
    """

    rows: bytes
    count: int
    at: int


class Told(msgspec.Struct, frozen=True):
    """Output: `party` told these rows of itself, and signed them.

    Attributes:
        at: its clock when it read them. `begins`: it is another incarnation than before.
    """

    party: Party
    rows: bytes
    at: int
    begins: bool


class Unheard(msgspec.Struct, frozen=True):
    """Output: `party` told us of itself, and cannot be reached any more."""

    party: Party
