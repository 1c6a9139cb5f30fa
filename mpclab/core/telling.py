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


class HearRows(msgspec.Struct, frozen=True):
    """Ask of the signaling server: hear what the members of a session tell of themselves, for the
    lab that hosts the server; not `wanted`: no more."""

    session: str
    wanted: bool


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
        at: its clock when it read them.
        life: a number of the incarnation in which it told them, the same for no other; rows number
            `first` to `first + count - 1` of it.
        session: where it told them to a server of ours; "": to a party of ours.
    """

    party: Party
    rows: bytes
    at: int
    life: int
    first: int
    count: int
    session: str = ""


class Unheard(msgspec.Struct, frozen=True):
    """Output: `party` told us of itself, and cannot be reached any more."""

    party: Party
    session: str = ""
