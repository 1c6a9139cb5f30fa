"""What servers that share their rooms say to whoever keeps what is shared, and hear from it.

The rooms machine puts these out and is asked them; a host with a *backplane* answers. The top of
`signaling.shared` says how they are used. Members and terms are bytes that only the machine reads.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mpclab.core.ids import Party


class Seat(msgspec.Struct, frozen=True):
    """A member's place. `since` and `kept_until` in Unix µs; `connection`: ours, or below 0 for one
    at another server; None: nobody is there now. A seat belongs to its key."""

    key: bytes
    member: bytes
    connection: int | None
    since: int
    kept_until: int = 0


class SharedRoom(msgspec.Struct, frozen=True):
    """A room as all servers have it. `version` changes with every change of it."""

    version: str
    terms: bytes
    seats: Mapping[Party, Seat]
    used: Mapping[bytes, tuple[bytes, int]]


# --- what the machine wants of its host ---------------------------------------------------------


class WantRoom(msgspec.Struct, frozen=True):
    """Output: tell me (`RoomIs`) how a room is, and from now on how it changes. `connection` 0:
    the server's operator asks. `fresh`: whatever we have of it already may be a moment old."""

    connection: int
    session: str
    fresh: bool = False


class ClaimSeat(msgspec.Struct, frozen=True):
    """Output: give a connection of ours this seat if the room is still at `version` ("": there is
    none), and note the ticket that it used; answered by `SeatClaimed`."""

    connection: int
    session: str
    version: str
    terms: bytes
    party: Party
    seat: Seat
    used: tuple[bytes, bytes, int] | None


class GiveSeatUp(msgspec.Struct, frozen=True):
    """Output: a seat is left (`seat`, which is kept for its key) or free (None). `whose`: "mine" if
    it is still the connection's, "idle" if nobody is there, "any" whatever it is."""

    session: str
    party: Party
    connection: int
    seat: Seat | None
    why: str
    whose: str = "mine"


class ForgetRoom(msgspec.Struct, frozen=True):
    """Output: none of our members is in that room any more. `close`: nobody's are to be."""

    session: str
    close: str = ""


class NoteTickets(msgspec.Struct, frozen=True):
    """Output: these tickets or keys of a session are revoked until then, Unix seconds (`undo`: are
    so no longer), and whoever sits there by one of the keys `guests` loses its seat. Ask: another
    server says so. `session` "": of every session; then every server frees the seats it has."""

    session: str
    names: Mapping[bytes, int]
    guests: frozenset[bytes]
    why: str
    undo: bool = False


# --- what the host tells the machine --------------------------------------------------------------


class RoomIs(msgspec.Struct, frozen=True):
    """Ask: the room for a connection that wants in; None: there is none. `why_not`: we cannot
    know now. `version`, if any: the room is as you have it, as far as we have heard."""

    connection: int
    session: str
    room: SharedRoom | None
    used: Mapping[bytes, tuple[bytes, int]]
    why_not: str = ""
    version: str = ""


class SeatClaimed(msgspec.Struct, frozen=True):
    """Ask: whether the claim of a connection was granted, and what the room is by now. `version`,
    if any: it is as you have it, with that seat as well."""

    connection: int
    session: str
    granted: bool
    room: SharedRoom | None
    used: Mapping[bytes, tuple[bytes, int]]
    why_not: str = ""
    version: str = ""
    party: Party = 0
    seat: Seat | None = None


class SeatChanged(msgspec.Struct, frozen=True):
    """Ask: another server changed a seat; None: it is nobody's now."""

    session: str
    party: Party
    seat: Seat | None
    why: str


class RoomChanged(msgspec.Struct, frozen=True):
    """Ask: the room as it is, after we may have missed something."""

    session: str
    room: SharedRoom


class RoomClosed(msgspec.Struct, frozen=True):
    """Ask: another server closed the room."""

    session: str
    why: str
