"""The sessions that a server keeps over a restart, and how they are taken up again.

A record a session and one a member, each written when it changes. Nobody is online after a
restart, so every slot is idle, kept for its key as long as slots are kept at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mpclab.core.errors import StateError
from mpclab.core.machine import Ctx
from mpclab.signaling.admission import Room, Slot
from mpclab.signaling.messages import Count, Member, Number
from mpclab.signaling.status import RoomsSettings
from mpclab.signaling.throttle import Bucket
from mpclab.signaling.tickets import OPEN, Door, Spent


class _RoomRecord(msgspec.Struct, forbid_unknown_fields=True):
    n: Number
    t: Number
    policy: str
    revision: Count
    agreement: str = ""
    access: str = OPEN
    owner: bytes = b""
    roster: tuple[bytes, ...] = ()
    used: tuple[tuple[bytes, bytes, Count], ...] = ()  # tickets: name, key, when it expires


_encode = msgspec.json.Encoder().encode
_decode_room = msgspec.json.Decoder(_RoomRecord).decode
_decode_spent = msgspec.json.Decoder(tuple[tuple[bytes, bytes, Count], ...]).decode
_decode_member = msgspec.json.Decoder(Member).decode


def keep_room(ctx: Ctx, session: str, room: Room | None) -> None:
    """Note what a session is; None: it is no more."""
    record = None
    if room is not None:
        door = room.door
        used = tuple((name, key, at) for name, (key, at) in door.used.items())
        record = _encode(
            _RoomRecord(
                room.n, room.t, room.policy, room.revision, room.agreement,
                door.access, door.owner, door.roster, used,
            )
        )  # fmt: skip
    ctx.persist(f"room/{session}", record)


def keep_slot(ctx: Ctx, session: str, party: int, slot: Slot | None) -> None:
    """Note whose a slot is; None: nobody's."""
    record = None
    if slot is not None:
        record = _encode(msgspec.structs.replace(slot.member, online=False))
    ctx.persist(f"slot/{session}/{party}", record)


def keep_spent(ctx: Ctx, session: str, used: Mapping[bytes, tuple[bytes, int]]) -> None:
    """Note which tickets of a session that is no more were used."""
    record = _encode([(name, key, at) for name, (key, at) in used.items()]) if used else None
    ctx.persist(f"spent/{session}", record)


def take_up_spent(stored: Mapping[str, bytes]) -> Spent:
    """The used tickets of sessions that are no more.

    Raises:
        StateError: a record is damaged; names it.
    """
    spent = Spent()
    for key in sorted(stored):
        if key.startswith("spent/"):
            try:
                used = _decode_spent(stored[key])
            except (msgspec.DecodeError, RecursionError) as error:
                raise StateError(f"damaged record {key!r}: {error}") from error
            door = Door()
            door.used = {name: (owner, at) for name, owner, at in used}
            spent.put(key.removeprefix("spent/"), door, 0)
    return spent


def take_up(stored: Mapping[str, bytes], settings: RoomsSettings, now: int) -> dict[str, Room]:
    """The sessions as they were, everybody offline; one without members was beginning or ending.

    Raises:
        StateError: a record is damaged; names it.
    """
    rooms: dict[str, Room] = {}
    try:
        for key in sorted(stored):  # room/… before slot/…
            what, _, rest = key.partition("/")
            if what == "room":
                r = _decode_room(stored[key])
                door = Door(r.access, r.owner, r.roster)
                door.used = {name: (owner, at) for name, owner, at in r.used}
                rooms[rest] = Room(
                    r.n, r.t, r.policy, now,
                    revision=r.revision + _SKIP, agreement=r.agreement, door=door,
                )  # fmt: skip
            elif what == "slot":
                member = _decode_member(stored[key])
                bucket = Bucket(settings.rate, settings.burst, now)
                kept_until = now + settings.keep_idle
                slot = Slot(member, None, now, bucket, kept_until)
                rooms[rest.rpartition("/")[0]].slots[member.party] = slot
    except KeyError as error:
        raise StateError(f"damaged record {key!r}: its session is not there") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise StateError(f"damaged record {key!r}: {error}") from error
    return rooms


_SKIP = 1_000_000
"""Revisions that are passed over at a restart: those of the last moments may not be stored."""
