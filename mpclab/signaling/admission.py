"""Admission to the rooms of the signaling server, or the reason against it. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

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
from mpclab.signaling.status import RoomsSettings, SessionStatus, SlotStatus, TicketStatus
from mpclab.signaling.throttle import Bucket
from mpclab.signaling.tickets import (
    ACCESS,
    CLOSED,
    INVITED,
    NOBODY,
    OPEN,
    Door,
    Spent,
    belongs,
    why_not_ticket,
)

Connection: TypeAlias = int

MAX_AGREEMENT: Final = 64
_POLICY = re.compile(r"[a-z][a-z-]{0,31}(\(\d{1,6}\))?")


@dataclass(slots=True)
class Slot:
    """A party's place in a room.

    Attributes:
        connection: None: idle, the party may come back.
        bucket: belongs to the slot: a new connection brings no new credit.
        kept_until: until when an idle slot is kept for its key.
    """

    member: Member
    connection: Connection | None
    joined_at: int
    bucket: Bucket
    kept_until: int = 0

    def is_over(self, now: int) -> bool:
        """Whether its party vanished, and too long ago to have it kept."""
        return self.connection is None and now >= self.kept_until


@dataclass(slots=True)
class Room:
    n: int
    t: int
    policy: str
    opened_at: int
    slots: dict[Party, Slot] = field(default_factory=dict)
    revision: int = 0
    left_at: int = 0  # when its last member went offline
    agreement: str = ""  # the first to name one names it for all
    openers: tuple[str, ...] = ()  # the address and the key that this room counts for
    door: Door = field(default_factory=Door)

    @property
    def online(self) -> list[Connection]:
        return [s.connection for s in self.slots.values() if s.connection is not None]

    @property
    def here(self) -> list[Connection]:
        """Those of this server; others' are below 0."""
        return [c for c in self.online if c > 0]

    def roster(self) -> tuple[Member, ...]:
        return tuple(self.slots[party].member for party in sorted(self.slots))


def why_not(
    rooms: Mapping[str, Room],
    settings: RoomsSettings,
    nonce: bytes,
    msg: Join,
    now: int,
    spent: Spent,
) -> tuple[str, str] | None:
    """Reason and hint for refusing `msg`, or None when it is in order.

    Args:
        rooms: by session, without slots that are over.
        nonce: what its connection was challenged with.
        now: the server's clock, µs.
        spent: used tickets of rooms that are no more.
    """  # fmt: skip
    return why_malformed(settings, nonce, msg) or why_not_here(rooms, settings, msg, now, spent)


def why_malformed(settings: RoomsSettings, nonce: bytes, msg: Join) -> tuple[str, str] | None:
    """The part of `why_not` that does not depend on the rooms there are."""
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
    if len(msg.agreement) > MAX_AGREEMENT or not msg.agreement.isprintable():
        return "invalid agreement protocol", f"its name has at most {MAX_AGREEMENT} characters"
    if msg.mode not in ("create", "join", "either"):
        return "invalid mode", "the mode is create, join or either"
    if len(msg.key) != PUBLIC_BYTES or len(msg.incarnation) != NONCE_BYTES:
        return "invalid key or incarnation", "a key has 32 bytes, an incarnation 16"
    if msg.access not in ("", *ACCESS):
        return "invalid access", "the access is open, invited or closed"
    if len(msg.owner) not in (0, PUBLIC_BYTES):
        return "invalid owner", "an owner is a key of 32 bytes"
    if (len(msg.roster) != msg.n) if msg.access == CLOSED else msg.roster:
        return "invalid roster", "a closed session has a roster of n keys, others have none"
    presence = presence_parts(msg.session, msg.party, msg.incarnation, msg.epoch)
    if not (
        verify(msg.key, JOIN_LABEL, join_parts(nonce, msg), msg.signature)
        and verify(msg.key, PRESENCE_LABEL, presence, msg.presence)
    ):
        return "the signature is wrong", "sign this connection's challenge with the party's key"
    return None


def door_for(settings: RoomsSettings, msg: Join) -> Door:
    """The door of the room that `msg` opens."""
    if msg.access == CLOSED:
        return Door(CLOSED, msg.owner or msg.key, msg.roster)
    if msg.access == INVITED or (settings.access == INVITED and not msg.access):
        return Door(INVITED, msg.owner or msg.key)
    return Door(OPEN, msg.key)


def _why_not_open(
    settings: RoomsSettings, msg: Join, time: int, spent: Spent
) -> tuple[str, str] | None:
    """Reason and hint for not letting `msg` open its room."""
    door = door_for(settings, msg)
    door.used = dict(spent.of(msg.session))
    if not belongs(msg.session, door.access, door.owner, door.roster):
        return "this session's id says that it is another's", "name its owner, or choose another id"
    operators = settings.operators
    if settings.access == INVITED and msg.key not in operators:
        reason = "this server is by invitation"
        if msg.ticket:
            reason = why_not_ticket(
                msg.ticket, msg.session, msg.party, msg.key, time, operators, operators
            ) or door.why_not_again(msg.ticket, msg.key, time)
        if reason:
            return reason, "ask its operator for a ticket"
    if reason := door.why_not(msg.session, msg.party, msg.key, msg.ticket, time, operators):
        return reason, _ASK
    return None


_ASK: Final = "ask the session's owner, or the server's operator, for a ticket"


def taken(party: Party) -> str:
    """The reason for refusing a slot that is another key's."""
    return f"id {party} is taken by another key"


def why_not_here(
    rooms: Mapping[str, Room], settings: RoomsSettings, msg: Join, now: int, spent: Spent
) -> tuple[str, str] | None:
    """The part of `why_not` that depends on the rooms there are."""
    time = settings.unix_seconds(now)
    room = rooms.get(msg.session)
    if room is None:
        if msg.mode == "join":
            return (
                "no such session",
                "check its id, or create it",
            )  # ids are invitations: no hint
        return _why_not_open(settings, msg, time, spent)
    if msg.mode == "create":
        return "the session exists already", "join it, or choose another id"
    for name in ("n", "t", "policy"):
        ours, theirs = getattr(room, name), getattr(msg, name)
        if ours != theirs:
            return f"{name} = {theirs}, but this session has {name} = {ours}", f"use {ours}"
    if room.agreement and msg.agreement and room.agreement != msg.agreement:
        return (
            f"agreement = {msg.agreement}, but this session has agreement = {room.agreement}",
            f"use {room.agreement}",
        )
    door, slot = room.door, room.slots.get(msg.party)
    if slot is None or slot.member.key != msg.key:  # a member that comes back was let in before
        reason = door.why_not(msg.session, msg.party, msg.key, msg.ticket, time, settings.operators)
        if reason:
            return reason, _ASK
    if msg.access and msg.access != door.access:
        return f"this session is {door.access}, not {msg.access}", "choose another id"
    if msg.owner and msg.owner != door.owner:
        return "this session has another owner", "choose another id, or ask the operator"
    if msg.roster and msg.roster != door.roster:
        return "this session has another roster", "choose another id, or ask the operator"
    if slot is not None and slot.member.key != msg.key:
        free = [str(p) for p in range(1, room.n + 1) if p not in room.slots][:8]
        hint = f"free: {', '.join(free)}" if free else "the session is complete"
        return taken(msg.party), hint
    for party, other in room.slots.items():
        if party != msg.party and other.member.key == msg.key:
            return f"this key sits here as party {party}", "one key is one party"
    return None


NO_ROOM: Final = "the server has no room for another session", "close one first, or try later"


class Shares:
    """Shares of the rooms: one address may open a quarter of all, and so may one key.

    An opener that has used up its share, or comes when all is full, opens a room at the cost of
    one in which nobody meets anybody: an empty one, or else the oldest with a single member online,
    of the same opener, or of the one with most rooms. So a room in use is never closed for another.
    """

    def __init__(self, settings: RoomsSettings) -> None:
        self._most = settings.max_rooms
        self._each = max(1, settings.max_rooms // 4)
        self._count: Counter[str] = Counter()

    def opened(self, room: Room) -> None:
        self._count.update(room.openers)

    def closed(self, room: Room) -> None:
        self._count.subtract(room.openers)
        for opener in room.openers:
            if self._count[opener] <= 0:
                del self._count[opener]

    def make_room(self, rooms: Mapping[str, Room], openers: tuple[str, ...]) -> list[str] | None:
        """The sessions to close so that `openers` may open another; None: no room can be made."""
        closing: list[str] = []
        for opener in openers:
            if self._count[opener] - len(closing) >= self._each:
                loneliest = _loneliest(rooms, opener)
                if loneliest is None:
                    return None
                closing.append(loneliest)
        if not closing and len(rooms) >= self._most:
            greediest = max(self._count, key=self._count.__getitem__, default="")
            loneliest = _loneliest(rooms, "", empty=True) or _loneliest(rooms, greediest)
            if loneliest is None:
                return None
            closing.append(loneliest)
        return closing


def _loneliest(rooms: Mapping[str, Room], opener: str, *, empty: bool = False) -> str | None:
    """The room, of `opener` if one is named, that is missed least."""
    lonely = [
        (online, room.left_at if online == 0 else room.opened_at, name)
        for name, room in rooms.items()
        if (not opener or opener in room.openers)
        and (online := len(room.online)) <= (0 if empty else 1)
    ]
    return min(lonely)[2] if lonely else None


def session_status(name: str, room: Room) -> SessionStatus:
    """A room for panels and programs."""
    members = tuple(
        SlotStatus(
            party,
            slot.member.key.hex()[:16],
            "online" if slot.connection is not None else "idle",
            slot.joined_at,
            slot.connection,
        )
        for party, slot in sorted(room.slots.items())
    )
    return SessionStatus(
        name, room.n, room.t, room.policy, members, room.opened_at,
        room.door.access, room.door.owner.hex(), *_tickets(room.door),
    )  # fmt: skip


def _tickets(door: Door) -> tuple[tuple[TicketStatus, ...], tuple[TicketStatus, ...]]:
    """What was used, and what is revoked."""
    used, revoked = [], []
    for name, (key, until) in door.used.items():
        if key != NOBODY:
            used.append(TicketStatus(name[PUBLIC_BYTES:].hex(), key.hex(), until))
        elif len(name) > PUBLIC_BYTES:
            revoked.append(TicketStatus(name[PUBLIC_BYTES:].hex(), "", until))
        else:
            revoked.append(TicketStatus("", name.hex(), until))
    return tuple(used), tuple(revoked)
