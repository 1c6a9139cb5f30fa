"""Who may join a room of the signaling server: the rooms there are, and why not. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, check_session_id
from mpclab.crypto.identity import PUBLIC_BYTES, verify
from mpclab.signaling.messages import (
    JOIN_LABEL,
    NONCE_BYTES,
    PRESENCE_LABEL,
    Join,
    Member,
    join_parts,
    presence_parts,
)
from mpclab.signaling.status import RoomsSettings
from mpclab.signaling.throttle import Bucket

Connection: TypeAlias = int

_POLICY = re.compile(r"[a-z][a-z-]{0,31}(\(\d{1,6}\))?")


@dataclass(slots=True)
class Slot:
    """`bucket` belongs to the slot: a new connection brings no new credit."""

    member: Member
    connection: Connection | None
    joined_at: int
    bucket: Bucket


@dataclass(slots=True)
class Room:
    n: int
    t: int
    policy: str
    opened_at: int
    slots: dict[Party, Slot] = field(default_factory=dict)
    revision: int = 0
    left_at: int = 0  # when its last member went offline

    @property
    def online(self) -> list[Connection]:
        return [s.connection for s in self.slots.values() if s.connection is not None]

    def roster(self) -> tuple[Member, ...]:
        return tuple(self.slots[party].member for party in sorted(self.slots))


def why_not(
    rooms: Mapping[str, Room], settings: RoomsSettings, nonce: bytes, msg: Join
) -> tuple[str, str] | None:
    """Reason and hint for refusing `msg`, or None when it is in order.

    Args:
        rooms: by session.
        nonce: what its connection was challenged with.
    """
    try:
        check_session_id(msg.session)
    except UsageError as error:
        return "invalid session id", str(error)
    if not 1 <= msg.n <= settings.max_parties:
        return f"n = {msg.n}", f"use 1 to {settings.max_parties} parties"
    if not 1 <= msg.t <= msg.n:
        return f"t = {msg.t} of n = {msg.n}", f"use a threshold of 1 to {msg.n}"
    if not 1 <= msg.party <= msg.n:
        return f"party {msg.party} of n = {msg.n}", f"use an id of 1 to {msg.n}"
    if not _POLICY.fullmatch(msg.policy):
        return "invalid approval policy", "use unanimous or threshold(k)"
    if msg.mode not in ("create", "join", "either") or msg.epoch < 0:
        return "invalid mode or epoch", "the mode is create, join or either"
    if len(msg.key) != PUBLIC_BYTES or len(msg.incarnation) != NONCE_BYTES:
        return "invalid key or incarnation", "a key has 32 bytes, an incarnation 16"
    presence = presence_parts(msg.session, msg.party, msg.incarnation, msg.epoch)
    if not (
        verify(msg.key, JOIN_LABEL, join_parts(nonce, msg), msg.signature)
        and verify(msg.key, PRESENCE_LABEL, presence, msg.presence)
    ):
        return "the signature is wrong", "sign this connection's challenge with the party's key"
    return _why_not_here(rooms, settings, msg)


def _why_not_here(
    rooms: Mapping[str, Room], settings: RoomsSettings, msg: Join
) -> tuple[str, str] | None:
    """The part of `why_not` that depends on the rooms there are."""
    room = rooms.get(msg.session)
    if room is None:
        if msg.mode == "join":
            return (
                "no such session",
                "check its id, or create it",
            )  # ids are invitations: no hint
        if len(rooms) >= settings.max_rooms and longest_empty(rooms) is None:
            return (
                "the server has no room for another session",
                "close one first, or try again later",
            )
        return None
    if msg.mode == "create":
        return "the session exists already", "join it, or choose another id"
    for name in ("n", "t", "policy"):
        ours, theirs = getattr(room, name), getattr(msg, name)
        if ours != theirs:
            return f"{name} = {theirs}, but this session has {name} = {ours}", f"use {ours}"
    slot = room.slots.get(msg.party)
    if slot is not None and slot.member.key != msg.key:
        free = [str(p) for p in range(1, room.n + 1) if p not in room.slots][:8]
        hint = f"free: {', '.join(free)}" if free else "the session is complete"
        return f"id {msg.party} is taken by another key", hint
    for party, other in room.slots.items():
        if party != msg.party and other.member.key == msg.key:
            return f"this key sits here as party {party}", "one key is one party"
    return None


def longest_empty(rooms: Mapping[str, Room]) -> str | None:
    """The session that nobody has been in for longest: the first to go for a new one."""
    empty = [(room.left_at, name) for name, room in rooms.items() if not room.online]
    return min(empty)[1] if empty else None
