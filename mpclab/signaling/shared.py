"""Rooms that several servers share, as the rooms machine has them.

Each server has a machine of its own and, of every session in which it has members, a *replica*
room: its own members by their connections, the others' by negative numbers, whose messages the host
carries to their servers. What all share is kept elsewhere (a *backplane*), by compare-and-set: the
machine asks for a room as it is now, judges a `Join` by it with the very rules of a lone server,
and claims the seat on the condition that nothing has changed; if it has, it judges again.

Why so, and not one server as the home of each session to which the others forward: a home that dies
takes its rooms' state along, and whoever takes them over has to adopt connections that it never
admitted. Here no server has anything that is not also elsewhere, and one that dies leaves seats
whose lease runs out.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mpclab.core.sharing import Seat, SharedRoom
from mpclab.signaling.admission import Room, Slot
from mpclab.signaling.messages import Join, Member, Revoke
from mpclab.signaling.status import RoomsSettings
from mpclab.signaling.throttle import Bucket
from mpclab.signaling.tickets import Door


class Terms(msgspec.Struct, frozen=True):
    """What a room is besides its seats."""

    n: int
    t: int
    policy: str
    agreement: str
    access: str
    owner: bytes
    roster: tuple[bytes, ...]


@dataclass(slots=True)
class Pending:
    """A `Join`, or an owner's word, that waits until the shared room is known."""

    join: Join | Revoke
    tries: int = 0
    opens: bool = False  # there was no such room when we claimed


MOST_TRIES = 16
"""Times that a claim may come too late before its client is asked to try again."""


_encode = msgspec.json.Encoder().encode
_decode_terms = msgspec.json.Decoder(Terms).decode
_decode_member = msgspec.json.Decoder(Member).decode


def terms_of(room: Room, agreement: str = "") -> bytes:
    """A room's terms, for all; `agreement` where it has none yet."""
    door = room.door
    return _encode(
        Terms(
            room.n, room.t, room.policy, room.agreement or agreement,
            door.access, door.owner, door.roster,
        )
    )  # fmt: skip


def take_terms(room: Room, terms: bytes) -> None:
    """What may have changed of a room's terms."""
    room.agreement = _decode_terms(terms).agreement


def replica(shared: SharedRoom, settings: RoomsSettings, now: int) -> Room:
    """A room of ours that is as the shared one."""
    t = _decode_terms(shared.terms)
    door = Door(t.access, t.owner, t.roster)
    door.used = dict(shared.used)
    room = Room(t.n, t.t, t.policy, now, agreement=t.agreement, door=door)
    for party, seat in shared.seats.items():
        room.slots[party] = slot_of(seat, settings, now)
    return room


def slot_of(seat: Seat, settings: RoomsSettings, now: int) -> Slot:
    """A seat as the replica has it; times by our own clock."""
    member = _decode_member(seat.member)
    return Slot(
        msgspec.structs.replace(member, online=seat.connection is not None),
        seat.connection,
        seat.since - settings.unix,
        Bucket(settings.rate, settings.burst, now),
        seat.kept_until - settings.unix,
    )


def seat_of(slot: Slot, settings: RoomsSettings) -> Seat:
    """A slot of ours as all have it."""
    return Seat(
        slot.member.key, _encode(slot.member), slot.connection, slot.joined_at + settings.unix,
        slot.kept_until + settings.unix,
    )  # fmt: skip


def claimed(member: Member, connection: int, since: int) -> Seat:
    """The seat that a connection of ours wants."""
    return Seat(member.key, _encode(member), connection, since)
