"""The signaling server as a machine: rooms, presence, relay. It never sees a secret.

Each connection is challenged; it has three seconds to join a room with a signature over the
server's nonce. From then on the server stamps the sender of whatever it passes on, and only
members of one room reach each other. A slot belongs to the key that first took it: the same key
joining again takes it over (a party resumes), another key is refused.

One client cannot harm another: a message that is malformed, oversized or out of order costs its
sender the connection and nobody else anything; who sends too fast is slowed to its rate, and
dropped when its backlog is full; rooms, members, connections and backlogs are bounded.

What a malicious member can still do: fill its own backlog, announce up to its rate, take free
slots of rooms whose id it knows (ids are invitations; a roster of keys closes a room, at the
parties; a room that is invited or closed lets nobody in without a ticket or a key of its roster).
What a malicious *server* can still do: refuse service to some or all, delay, drop or
replay, lie about who is present, show a stranger's key for a slot to parties without a roster,
let somebody join another server by passing on its challenge. It cannot speak for a party that
others know, read or change what is sealed, or put itself into a link: see `mesh`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from mpclab.core import notes
from mpclab.core.effects import HangUp, LinkClosed, LinkEvent, LinkOpened
from mpclab.core.errors import PeerFault, UsageError, nearest
from mpclab.core.ids import SECOND, SERVER, Party, Path, check_session_id
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Coins, Node
from mpclab.core.sharing import (
    ClaimSeat,
    ForgetRoom,
    GiveSeatUp,
    NoteTickets,
    RoomChanged,
    RoomClosed,
    RoomIs,
    Seat,
    SeatChanged,
    SeatClaimed,
    SharedRoom,
    WantRoom,
)
from mpclab.core.telling import HearRows
from mpclab.core.wire import Decode, Message
from mpclab.crypto.identity import PUBLIC_BYTES
from mpclab.signaling.admission import (
    NO_ROOM,
    Connection,
    Room,
    Shares,
    Slot,
    door_for,
    session_status,
    taken,
    why_malformed,
    why_not,
    why_not_here,
)
from mpclab.signaling.decoding import Malformed, lenient, open_passed_on
from mpclab.signaling.kept_rooms import (
    keep_room,
    keep_slot,
    keep_spent,
    take_up,
    take_up_spent,
)
from mpclab.signaling.messages import (
    NONCE_BYTES,
    Announce,
    Announced,
    Challenge,
    ClientMessage,
    Join,
    Leave,
    LeftOut,
    Member,
    PeerJoined,
    PeerLeft,
    Ping,
    Pong,
    Refused,
    Relay,
    Relayed,
    Revoke,
    Revoked,
    Roster,
    Rows,
    Welcome,
    Who,
)
from mpclab.signaling.revoking import (
    WHY,
    Revocation,
    RevokeTicket,
    why_no_revocation,
    why_not_revoke,
)
from mpclab.signaling.shared import (
    MOST_TRIES,
    Pending,
    claimed,
    replica,
    seat_of,
    slot_of,
    take_terms,
    terms_of,
)
from mpclab.signaling.status import (
    LogLine,
    RoomsSettings,
    RoomsStatus,
)
from mpclab.signaling.telling import Listening
from mpclab.signaling.throttle import Bucket
from mpclab.signaling.tickets import INVITED, Door, Spent

Build: TypeAlias = Callable[[Coins, Mapping[Path, Mapping[str, bytes]]], Node]
PATH: Path = ("signaling",)

_encode = msgspec.json.Encoder().encode

MOST_EACH = 8
"""Letters for one party in one `Relay`."""


class CloseSession(msgspec.Struct, frozen=True):
    """Ask: close a session; its members are told."""

    session: str


class FreeSeat(msgspec.Struct, frozen=True):
    """Ask: free a party's slot, for whatever key comes next; who sits there is told."""

    session: str
    party: Party


@dataclass(slots=True)
class _Client:
    nonce: bytes
    bucket: Bucket
    heard_at: int
    origin: str
    wanted: str  # the session in its url, by which a proxy may have chosen us
    session: str = ""
    party: Party = 0
    backlog: list[ClientMessage] = field(default_factory=list)  # an empty deque takes 760 bytes
    pending: Pending | None = None  # what it waits for, where rooms are shared
    told: tuple[int, tuple[Party, ...]] = (0, ())  # when of which readers: see `left_out`


class Rooms(Machine):
    """The server. `sender` and `to` are connection numbers, given by the host."""

    codec = "json"
    messages = ClientMessage

    def __init__(self, settings: RoomsSettings | None = None) -> None:
        self.settings = settings or RoomsSettings()
        self.clients: dict[Connection, _Client] = {}
        self.rooms: dict[str, Room] = {}
        self.spent = Spent()
        self._revoking: list[RevokeTicket] = []  # until a shared room is known
        self._shares = Shares(self.settings)
        self._hears: dict[str, Listening] = {}  # sessions whose members may tell us their rows
        self.relayed = 0
        self.refused = 0
        self.errors = 0
        self.log: deque[LogLine] = deque(maxlen=self.settings.log_lines)

    @classmethod
    def decode(cls) -> Decode:
        """Bytes that are no message become `Malformed`: the sender has to be told so."""
        return lenient

    def status(self) -> RoomsStatus:
        """A snapshot of the server. Holds no secret."""
        return RoomsStatus(
            tuple(session_status(name, room) for name, room in self.rooms.items()),
            len(self.clients), self.relayed, self.refused, self.errors, tuple(self.log),
        )  # fmt: skip

    # --- connections ----------------------------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        if self.settings.keep:
            self.rooms = take_up(ctx.stored, self.settings, ctx.now)
            self.spent = take_up_spent(ctx.stored)
            for session in [name for name, room in self.rooms.items() if not room.slots]:
                # We were killed while it began or ended.
                self._put_away(ctx, session, self.rooms.pop(session).door)
                keep_room(ctx, session, None)
        ctx.set_timer("ping", self.settings.ping_every, background=True)

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        match event:
            case LinkOpened(_, connection):
                self._open(ctx, connection, event.origin, event.session)
            case LinkClosed(_, connection, _, reason) if connection in self.clients:
                self._forget(ctx, connection, reason or "connection lost")

    def _open(self, ctx: Ctx, connection: Connection, origin: str, wanted: str) -> None:
        if len(self.clients) >= self.settings.max_connections:
            self.refused += 1
            self._part(ctx, connection, "the server is full", "try again later", final=False)
            return
        # The nonce only has to be new; in the simulation it follows from the seed.
        nonce = ctx.rng.randbytes(NONCE_BYTES)
        bucket = Bucket(self.settings.rate, self.settings.burst, ctx.now)
        self.clients[connection] = _Client(nonce, bucket, ctx.now, origin, wanted)
        ctx.send(connection, Challenge(nonce))
        ctx.set_timer(f"join-{connection}", self.settings.join_within)

    def _forget(self, ctx: Ctx, connection: Connection, why: str, *, gone: bool = False) -> None:
        """The connection is no more; its slot is idle, or free when the party is `gone`."""
        client = self.clients.pop(connection)
        ctx.cancel_timer(f"join-{connection}")
        ctx.cancel_timer(f"drain-{connection}")
        room = self.rooms.get(client.session)
        if room is None:
            return
        slot = room.slots.get(client.party)
        if slot is None or slot.connection != connection:
            return  # another server has the seat already
        heard = self._hears.get(client.session)
        if heard is not None and client.party in heard:
            ctx.output(heard.lost(client.party))
        if gone:
            del room.slots[client.party]
            self._keep(ctx, client.session, client.party)
        else:
            slot.connection = None
            slot.member = msgspec.structs.replace(slot.member, online=False)
            kept = max(ctx.now - slot.joined_at, self.settings.keep_idle_least)
            slot.kept_until = ctx.now + min(kept, self.settings.keep_idle)
        if self.settings.shared:
            left = None if gone else seat_of(slot, self.settings)
            ctx.output(GiveSeatUp(client.session, client.party, connection, left, why))
        room.revision += 1
        ctx.multicast(room.here, PeerLeft(client.party, why, gone, room.revision))
        ctx.note(notes.Left(session=client.session, party=client.party, why=why))
        self._say(ctx, f"{client.session}: party {client.party} left: {why}")
        if not room.online:
            room.left_at = ctx.now
        if self.settings.shared:
            self._close_if_unused(ctx, client.session)
        elif not room.slots:
            self._close(ctx, client.session)

    def _keep(self, ctx: Ctx, session: str, party: Party = 0) -> None:
        """Persist what a session, or one of its slots, is now."""
        if self.settings.keep:
            room = self.rooms.get(session)
            if party:
                keep_slot(ctx, session, party, room.slots.get(party) if room else None)
            else:
                keep_room(ctx, session, room)

    def _keep_spent(self, ctx: Ctx, session: str) -> None:
        if self.settings.keep:
            keep_spent(ctx, session, self.spent.used.get(session, {}))

    def _put_away(self, ctx: Ctx, session: str, door: Door) -> None:
        """Keep the used and revoked tickets of a session that is no more."""
        time = self.settings.unix_seconds(ctx.now)
        for one in (session, *self.spent.put(session, door, time)):
            self._keep_spent(ctx, one)

    def _sweep(self, ctx: Ctx, session: str) -> None:
        """Free the slots whose parties vanished too long ago, and a room that has none left."""
        room = self.rooms[session]
        for party in [p for p, slot in room.slots.items() if slot.is_over(ctx.now)]:
            self._vacate(ctx, session, party, "did not come back")
        if not room.slots and not room.here:
            self._close(ctx, session)

    def _part(
        self, ctx: Ctx, connection: Connection, reason: str, hint: str = "", *, final: bool = True
    ) -> None:
        """Tell a client why, and close its connection."""
        ctx.send(connection, Refused(reason, hint, final))
        ctx.do(HangUp(ctx.path, connection, reason=reason))

    def _expel(self, ctx: Ctx, connection: Connection, reason: str, hint: str = "") -> None:
        self.errors += 1
        client = self.clients[connection]
        ctx.note(notes.Expelled(reason=reason, session=client.session, party=client.party))
        self._say(ctx, f"connection {connection} closed: {reason}")
        self._part(ctx, connection, reason, hint, final=False)
        self._forget(ctx, connection, reason)

    # --- time -----------------------------------------------------------------------------

    def on_timer(self, ctx: Ctx, name: str) -> None:
        what, _, which = name.partition("-")
        match what:
            case "ping":
                self._ping(ctx)
            case "join":
                self._expel(ctx, int(which), "did not join in time")
            case "drain":
                self._drain(ctx, int(which))

    def _ping(self, ctx: Ctx) -> None:
        ctx.set_timer("ping", self.settings.ping_every, background=True)
        patience = self.settings.ping_every + self.settings.pong_within
        for connection, client in list(self.clients.items()):
            if client.session and ctx.now - client.heard_at >= patience:
                self._expel(ctx, connection, "no answer to pings")
        for session, room in list(self.rooms.items()):
            if online := room.here:
                ctx.multicast(online, Ping(room.revision))
            if len(room.online) < len(room.slots):
                self._sweep(ctx, session)
        for session in dict.fromkeys(ask.session for ask in self._revoking):
            ctx.output(WantRoom(0, session, fresh=True))  # it could not be reached

    # --- messages -------------------------------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Connection, msg: Message) -> None:
        client = self.clients.get(sender)
        if client is None:
            return  # on its way when we closed the connection
        client.heard_at = ctx.now
        match msg:
            case Malformed(reason):
                self._expel(ctx, sender, f"not a signaling message: {reason}")
            case Pong() if client.session:
                pass
            case Join() if not client.session:
                self._join(ctx, sender, client, msg)
            case Revoke() if not client.session:
                self._hear_owner(ctx, sender, client, msg)
            case Relay() | Announce() | Who() | Leave() | Rows() if client.session:
                self._admit(ctx, sender, client, msg)
            case _:
                hint = "answer the challenge with Join first" if not client.session else ""
                self._expel(ctx, sender, f"{type(msg).__name__} out of order", hint)

    def _admit(self, ctx: Ctx, sender: Connection, client: _Client, msg: ClientMessage) -> None:
        """Handle at once what is within the sender's rate; keep the rest for later."""
        if not client.backlog and client.bucket.take(ctx.now, self._worth(client, msg)):
            self._handle(ctx, sender, client, msg)
        elif len(client.backlog) >= self.settings.backlog:
            rate = self.settings.rate
            self._expel(ctx, sender, "too many messages", f"send at most {rate} a second")
        else:
            if not client.backlog:
                ctx.set_timer(f"drain-{sender}", client.bucket.wait(ctx.now))
            client.backlog.append(msg)

    def pass_on(
        self, sender: Connection, text: bytes, now: int
    ) -> list[tuple[tuple[Connection, ...], bytes]] | None:
        """The deliveries of `text` of `sender`, where it is a `Relay` or an `Announce` with no
        other effect: receivers and what they hear. The same checks as `_admit` and `_handle`,
        without a step: the fast path of hosts that keep no trace. None: take the step."""
        client = self.clients.get(sender)
        if client is None or not client.session or client.backlog:
            return None
        try:
            text.isascii() or text.decode()
            msg = open_passed_on(text).msg
        except (UnicodeDecodeError, msgspec.DecodeError):
            return None
        room = self.rooms[client.session]
        if isinstance(msg, Announce):
            if not client.bucket.take(now, self._worth(client, msg)):
                return None
            client.heard_at = now
            others = tuple([c for c in room.online if c != sender])
            self.relayed += len(others)
            self.log.append(LogLine(now, _announced(client)))
            heard = b'{"type":"Announced","sender":%d,"payload":%b}'
            return [(others, heard % (client.party, msg.payload))] if others else []
        envelopes = msg.envelopes
        if len(envelopes) > MOST_EACH or any(not 1 <= e.to <= room.n for e in envelopes):
            return None  # the step looks closer
        if not client.bucket.take(now):
            return None
        client.heard_at = now
        said: list[tuple[tuple[Connection, ...], bytes]] = []
        for envelope in envelopes:
            slot = room.slots.get(envelope.to)
            if slot is None or slot.connection is None or envelope.to == client.party:
                continue
            body = b'{"type":"Relayed","sender":%d,"payload":%b}'
            said.append(((slot.connection,), body % (client.party, envelope.payload)))
        self.relayed += len(said)
        return said

    def left_out(self, sender: Connection, reader: Connection, now: int) -> bytes | None:
        """The message for `sender` that what it said to `reader` was left out, if one is due."""
        client, slow = self.clients.get(sender), self.clients.get(reader)
        if client is None or slow is None or not client.session or client.session != slow.session:
            return None
        since, told = client.told
        if now - since >= SECOND:
            since, told = now, ()
        if slow.party in told:
            return None
        client.told = since, (*told, slow.party)
        return _encode(LeftOut(slow.party))

    def _worth(self, client: _Client, msg: ClientMessage) -> int:
        """How many messages this one counts for: what tells all, or tells of all, is dear."""
        if isinstance(msg, Announce | Who):
            return 1 + len(self.rooms[client.session].slots) // 16
        return 1

    def _drain(self, ctx: Ctx, sender: Connection) -> None:
        client = self.clients[sender]
        while client.backlog and client.bucket.take(
            ctx.now, self._worth(client, client.backlog[0])
        ):
            self._handle(ctx, sender, client, client.backlog.pop(0))
            if sender not in self.clients:
                return
        if client.backlog:
            ctx.set_timer(f"drain-{sender}", client.bucket.wait(ctx.now))

    def _handle(self, ctx: Ctx, sender: Connection, client: _Client, msg: ClientMessage) -> None:
        room = self.rooms[client.session]
        match msg:
            case Relay(envelopes):
                if any(not 1 <= envelope.to <= room.n for envelope in envelopes):
                    self._expel(
                        ctx, sender, f"envelope to an unknown party; this session has 1..{room.n}"
                    )
                    return
                if (
                    max(Counter(envelope.to for envelope in envelopes).values(), default=0)
                    > MOST_EACH
                ):
                    # They leave as so many messages: a thousand at once would drown a reader
                    # before its writer is slowed.
                    self._expel(ctx, sender, f"more than {MOST_EACH} envelopes for one party")
                    return
                for envelope in envelopes:
                    slot = room.slots.get(envelope.to)
                    if slot is None or slot.connection is None or envelope.to == client.party:
                        continue  # presence has told the sender, or is about to
                    self.relayed += 1
                    ctx.send(slot.connection, Relayed(client.party, envelope.payload))
            case Announce(payload):
                others = [c for c in room.online if c != sender]
                self.relayed += len(others)
                if others:
                    ctx.multicast(others, Announced(client.party, payload))
                self._say(ctx, _announced(client))
            case Who():
                ctx.send(sender, Roster(room.roster(), room.revision))
            case Leave():
                self._forget(ctx, sender, "left", gone=True)
                ctx.do(HangUp(ctx.path, sender, reason="left"))
            case Rows():
                self._hear(ctx, sender, client, msg)

    # --- what members tell of themselves ----------------------------------------------------

    def _hear(self, ctx: Ctx, sender: Connection, client: _Client, msg: Rows) -> None:
        heard = self._hears.get(client.session)
        if heard is None:
            return  # we wanted it once
        key = self.rooms[client.session].slots[client.party].member.key
        try:
            told = heard.take(client.party, key, msg)
        except PeerFault as fault:
            self._expel(ctx, sender, str(fault))
            return
        if told is not None:
            ctx.output(told)

    def _want(self, ctx: Ctx, session: str, wanted: bool) -> None:
        if not wanted:
            self._hears.pop(session, None)
        elif session not in self._hears:
            heard = self._hears[session] = Listening(session, server=True)
            slots = self.rooms[session].slots if session in self.rooms else {}
            for party, slot in slots.items():
                if slot.connection is not None and slot.connection > 0:
                    ctx.send(slot.connection, heard.wanted(party))

    # --- joining --------------------------------------------------------------------------

    def _is_elsewhere(
        self, ctx: Ctx, sender: Connection, client: _Client, msg: Join | Revoke
    ) -> bool:
        """Whether a client is refused since it did not name its session in the url."""
        if client.wanted == msg.session or not (client.wanted or self.settings.by_path):
            return False
        reason = "the url's path names another session" if client.wanted else "no session named"
        self._refuse(ctx, sender, msg, reason, "connect to …/s/SESSION")
        return True

    def _join(self, ctx: Ctx, sender: Connection, client: _Client, msg: Join) -> None:
        if self._is_elsewhere(ctx, sender, client, msg):
            return
        if self.settings.shared:
            malformed = why_malformed(self.settings, client.nonce, msg)
            if malformed is not None:
                self._refuse(ctx, sender, msg, *malformed)
            elif client.pending is None:
                client.pending = Pending(msg)
                ctx.output(WantRoom(sender, msg.session))
            return
        if msg.session in self.rooms:
            self._sweep(ctx, msg.session)
        refusal = why_not(self.rooms, self.settings, client.nonce, msg, ctx.now, self.spent)
        if refusal is not None:
            soon = refusal[0] == taken(msg.party) and self._is_away(msg)
            self._refuse(ctx, sender, msg, *refusal, final=not soon)
            return
        if msg.session not in self.rooms and not self._open_room(ctx, client.origin, msg):
            self._refuse(ctx, sender, msg, *NO_ROOM, final=False)
            return
        self._seat(ctx, sender, client, msg)

    def _seat(self, ctx: Ctx, sender: Connection, client: _Client, msg: Join) -> None:
        """Let a client into its room, which there is."""
        ctx.cancel_timer(f"join-{sender}")
        room = self.rooms[msg.session]
        if not room.agreement and msg.agreement:
            room.agreement = msg.agreement
            self._keep(ctx, msg.session)
        time, operators = self.settings.unix_seconds(ctx.now), self.settings.operators
        if room.door.spend(msg.session, msg.party, msg.key, msg.ticket, time, operators):
            self._keep(ctx, msg.session)
        old = room.slots.get(msg.party)
        if old is not None and old.connection is not None and old.connection > 0:
            # The same key: its earlier connection is dead, or a second copy of the party.
            self._part(ctx, old.connection, "the same party joined again", "close one of them")
            self._forget(ctx, old.connection, "joined again")
        client.session, client.party = msg.session, msg.party
        client.heard_at = ctx.now  # it waited for us, if others share the room: no ping was due
        member = Member(msg.party, msg.key, msg.incarnation, msg.epoch, msg.presence)
        joined_at = ctx.now if old is None else old.joined_at
        client.bucket = client.bucket if old is None else old.bucket
        room.slots[msg.party] = Slot(member, sender, joined_at, client.bucket)
        room.revision += 1
        self._keep(ctx, msg.session, msg.party)
        ctx.note(notes.Joined(session=msg.session, party=msg.party, connection=sender))
        self._say(ctx, f"{msg.session}: party {msg.party} {'joined' if old is None else 'is back'}")
        settings = self.settings
        ctx.send(
            sender,
            Welcome(
                msg.session, msg.party, room.roster(), room.revision, ctx.now,
                settings.ping_every, settings.rate, settings.burst,
            ),
        )  # fmt: skip
        if (heard := self._hears.get(msg.session)) is not None:
            ctx.send(sender, heard.wanted(msg.party))
        if others := [c for c in room.here if c != sender]:
            ctx.multicast(others, PeerJoined(member, room.revision))

    def _is_away(self, msg: Join) -> bool:
        """Whether the slot that `msg` wants is kept for a party that is gone: it may be free soon,
        as when the same command is run again after a kill."""
        return self.rooms[msg.session].slots[msg.party].connection is None

    def _refuse(
        self, ctx: Ctx, sender: Connection, msg: Join | Revoke, reason: str, hint: str,
        final: bool = True,
    ) -> None:  # fmt: skip
        self.refused += 1
        session, party = msg.session[:64], msg.party if isinstance(msg, Join) else 0
        ctx.note(notes.JoinRefused(reason=reason, session=session, party=party))
        who = f"party {party}" if party else "an owner's word"
        self._say(ctx, f"{session}: {who} refused: {reason}")
        self._part(ctx, sender, reason, hint, final=final)
        self._forget(ctx, sender, reason)

    def _open_room(self, ctx: Ctx, origin: str, msg: Join) -> bool:
        """Open the room that `msg` wants; False: there is no place, and no lonely room to end."""
        openers = (*((f"address {origin}",) if origin else ()), f"key {msg.key.hex()}")
        closing = self._shares.make_room(self.rooms, openers)
        if closing is None:
            return False
        for session in closing:
            self._end(ctx, session, "another session needed the room", "try again", final=False)
        room = Room(
            msg.n, msg.t, msg.policy, ctx.now,
            agreement=msg.agreement, openers=openers, door=door_for(self.settings, msg),
        )  # fmt: skip
        room.door.used = self.spent.take(msg.session)
        self.rooms[msg.session] = room
        self._shares.opened(room)
        self._keep(ctx, msg.session)
        if room.door.used:
            self._keep_spent(ctx, msg.session)
        ctx.note(notes.Opened(session=msg.session, n=msg.n, t=msg.t, policy=msg.policy))
        self._say(ctx, f"{msg.session}: opened for {msg.n} parties")
        return True

    # --- closing --------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case CloseSession(session):
                if session not in self.rooms:
                    raise UsageError(f"no session {session!r}{nearest(session, self.rooms)}")
                self._end(ctx, session, "the session was closed", "open another one", final=True)
            case FreeSeat(session, party):
                self._free(ctx, session, party)
            case RevokeTicket():
                self._ask_to_revoke(ctx, ask)
            case NoteTickets("", names, guests, _, undo):
                self._note_everywhere(ctx, Revocation(names, guests), undo)
            case NoteTickets(session, names, _, _, undo) if session in self.rooms:
                Revocation(names).apply(self.rooms[session].door, undo)
            case HearRows(session, wanted):
                self._want(ctx, session, wanted)
            case RoomIs() | SeatClaimed():
                self._go_on(ctx, ask)
            case SeatChanged(session, party, seat, why):
                self._change(ctx, session, party, seat, why)
            case RoomChanged(session, room) if session in self.rooms:
                self._merge(ctx, session, room)
            case RoomClosed(session, why) if session in self.rooms:
                self._end(ctx, session, why, "open another one", final=True, told=True)
            case RoomChanged() | RoomClosed() | NoteTickets():
                pass  # our last member left meanwhile
            case _:
                raise UsageError(f"the server does not know {type(ask).__name__}")

    def _free(
        self, ctx: Ctx, session: str, party: Party, why: str = "the operator freed this seat"
    ) -> None:
        room = self.rooms.get(session)
        if room is None:
            raise UsageError(f"no session {session!r}{nearest(session, self.rooms)}")
        slot = room.slots.get(party)
        if slot is not None and slot.connection is not None and slot.connection < 0:
            ctx.output(GiveSeatUp(session, party, slot.connection, None, why, "any"))
            self._change(ctx, session, party, None, why)
            return
        if slot is None:
            raise UsageError(f"nobody has the seat of party {party} in {session}")
        if slot.connection is not None:
            self._part(ctx, slot.connection, why, "ask the server's operator")
            self._forget(ctx, slot.connection, why, gone=True)
        else:
            self._vacate(ctx, session, party, why)
            if not room.slots:
                self._close(ctx, session)

    # --- invitations that are taken back ----------------------------------------------------

    def _door(self, session: str) -> Door:
        """What we know of who may come into a session, whether it is open or not."""
        if session in self.rooms:
            return self.rooms[session].door
        door = Door()
        door.used = self.spent.of(session)
        return door

    def _hear_owner(self, ctx: Ctx, sender: Connection, client: _Client, msg: Revoke) -> None:
        """An owner, or an operator, takes an invitation back."""
        if self._is_elsewhere(ctx, sender, client, msg):
            return
        malformed = why_no_revocation(client.nonce, msg)
        room = self.rooms.get(msg.session)
        if malformed is not None:
            self._refuse(ctx, sender, msg, *malformed)
        elif not self.settings.shared:
            self._heed_owner(ctx, sender, client, msg, room.door if room is not None else None)
        elif client.pending is None:
            client.pending = Pending(msg)
            ctx.output(WantRoom(sender, msg.session, fresh=True))

    def _heed_owner(
        self, ctx: Ctx, sender: Connection, client: _Client, msg: Revoke, door: Door | None
    ) -> None:
        """Do so, if its word counts at this door, the session's."""
        client.pending = None
        refusal = why_not_revoke(self.settings, msg, door)
        if refusal is None:
            try:
                self._revoke(ctx, msg, door or self._door(msg.session))
            except UsageError as error:
                refusal = str(error), "see mpclab revoke --help"
        if refusal is not None:
            self._refuse(ctx, sender, msg, *refusal)
            return
        ctx.send(sender, Revoked(msg.session))
        ctx.do(HangUp(ctx.path, sender, reason="done"))
        self._forget(ctx, sender, "done")

    def _ask_to_revoke(self, ctx: Ctx, ask: RevokeTicket) -> None:
        room = self.rooms.get(ask.session)
        if ask.session:
            check_session_id(ask.session)
        if room is not None and room.door.access != INVITED:
            raise UsageError(f"session {ask.session} is {room.door.access}: it has no tickets")
        if self.settings.shared:
            Revocation.of(ask, Door(owner=bytes(PUBLIC_BYTES)), (), 0)  # its form, at least
            self._revoking.append(ask)
            ctx.output(WantRoom(0, ask.session, fresh=True))  # we are not told who used what
        else:
            self._revoke(ctx, ask, self._door(ask.session))

    def _revoke(self, ctx: Ctx, ask: RevokeTicket | Revoke, door: Door) -> None:
        """Note at this door what is revoked, and free the seats of who came in that way."""
        time, operators = self.settings.unix_seconds(ctx.now), self.settings.operators
        it = Revocation.of(ask, door, operators, time)
        undo, session = isinstance(ask, RevokeTicket) and ask.undo, ask.session
        it.apply(door, undo)
        self._say(ctx, f"{session}: {'an invitation is good again' if undo else WHY}")
        if self.settings.shared:
            ctx.output(NoteTickets(session, it.names, it.guests, WHY, undo))
        elif session not in self.rooms:
            self._put_away(ctx, session, door)
        if not session:
            self._note_everywhere(ctx, it, undo)
        elif session in self.rooms:
            self._keep(ctx, session)
            if not undo and not self.settings.shared:
                self._send_away(ctx, session, it.guests)

    def _note_everywhere(self, ctx: Ctx, it: Revocation, undo: bool) -> None:
        """Note in all our rooms what an operator takes back in every session. One in which there is
        no place for it ends: else its owner could keep an operator's word out with tickets."""
        for name in [name for name, room in self.rooms.items() if room.door.access == INVITED]:
            if name not in self.rooms:
                continue
            try:
                it.apply(self.rooms[name].door, undo)
            except UsageError:
                self._end(ctx, name, "too many tickets", "open another session", final=True)
                continue
            self._keep(ctx, name)
            if not undo:
                self._send_away(ctx, name, it.guests)

    def _send_away(self, ctx: Ctx, session: str, guests: frozenset[bytes]) -> None:
        """Free the seats of those who came in by what was taken back."""
        room = self.rooms[session]
        if room.door.access == INVITED:
            out = guests - {room.door.owner}
            for party in [p for p, slot in room.slots.items() if slot.member.key in out]:
                self._free(ctx, session, party, WHY)

    # --- rooms that other servers share -----------------------------------------------------

    def _go_on(self, ctx: Ctx, ask: RoomIs | SeatClaimed) -> None:
        """A client's room is known, or its claim decided: judge it by what the room is now."""
        if not ask.connection:
            self._go_on_revoking(ctx, ask)
            return
        client = self.clients.get(ask.connection)
        granted = type(ask) is SeatClaimed and ask.granted
        if client is None or client.pending is None:  # it went meanwhile
            if isinstance(ask, SeatClaimed) and granted:
                self._give_back(ctx, ask)
            if ask.session in self.rooms and ask.room is not None:
                self._merge(ctx, ask.session, ask.room)
            self._close_if_unused(ctx, ask.session)
            return
        pending, msg = client.pending, client.pending.join
        if isinstance(msg, Revoke):
            if ask.why_not:
                self._refuse(ctx, ask.connection, msg, ask.why_not, "try again", final=False)
            else:
                door = self._shared_door(ctx, ask)
                self._heed_owner(ctx, ask.connection, client, msg, door)
            self._close_if_unused(ctx, ask.session)
            return
        is_open = pending.opens or msg.session in self.rooms
        stands = bool(ask.version) and is_open
        if granted and (stands or _has_seat(ask.room, msg.party, ask.connection)):
            if pending.opens and msg.session not in self.rooms:
                if not self._open_room(ctx, client.origin, msg):
                    why = GiveSeatUp(msg.session, msg.party, ask.connection, None, NO_ROOM[0])
                    ctx.output(why)
                    self._refuse_shared(ctx, ask.connection, msg, *NO_ROOM, final=False)
                    return
            if ask.room is not None:
                self._merge(ctx, msg.session, ask.room, but=msg.party)
            self._seat(ctx, ask.connection, client, msg)
            client.pending = None  # until now, its own former seat given up, it kept the room open
            return
        pending.tries += 1
        if ask.why_not or pending.tries > MOST_TRIES:
            why_not = ask.why_not or "too many come at once"
            self._refuse_shared(ctx, ask.connection, msg, why_not, "try again", final=False)
            return
        if ask.room is not None:
            self._merge(ctx, msg.session, ask.room)
        if msg.session in self.rooms:
            self._sweep(ctx, msg.session)
        spent = Spent()
        spent.used[msg.session] = dict(ask.used)
        refusal = why_not_here(self.rooms, self.settings, msg, ctx.now, spent)
        if refusal is not None and ask.version:
            ctx.output(WantRoom(ask.connection, msg.session, fresh=True))
        elif refusal is not None:
            soon = refusal[0] == taken(msg.party) and self._is_away(msg)
            self._refuse_shared(ctx, ask.connection, msg, *refusal, final=not soon)
        else:
            self._claim(ctx, ask.connection, msg, ask)

    def _go_on_revoking(self, ctx: Ctx, ask: RoomIs | SeatClaimed) -> None:
        """What an operator takes back, in a room that is known now; else at the next ping."""
        if not ask.why_not:
            asks = [it for it in self._revoking if it.session == ask.session]
            self._revoking = [it for it in self._revoking if it.session != ask.session]
            for it in asks:
                door = self._shared_door(ctx, ask)
                if door is None:
                    door = Door()
                    door.used = dict(ask.used)
                try:
                    self._revoke(ctx, it, door)
                except UsageError as error:  # an id whose issuer is not known
                    self._say(ctx, f"{ask.session}: nothing was taken back: {error}")
        self._close_if_unused(ctx, ask.session)

    def _shared_door(self, ctx: Ctx, ask: RoomIs | SeatClaimed) -> Door | None:
        """The door of a room that others share; None: there is no such room."""
        room = self.rooms.get(ask.session)
        if ask.room is not None and room is not None:
            self._merge(ctx, ask.session, ask.room)
        elif ask.room is not None:
            room = replica(ask.room, self.settings, ctx.now)
        return room.door if room is not None and (ask.room is not None or ask.version) else None

    def _claim(
        self, ctx: Ctx, connection: Connection, msg: Join, ask: RoomIs | SeatClaimed
    ) -> None:
        settings, room = self.settings, self.rooms.get(msg.session)
        client = self.clients[connection]
        assert client.pending is not None
        client.pending.opens = room is None
        if room is None:
            room = Room(msg.n, msg.t, msg.policy, ctx.now, door=door_for(settings, msg))
            room.door.used = dict(ask.used)
        time, door, used = settings.unix_seconds(ctx.now), room.door, None
        before = set(door.used)
        if door.spend(msg.session, msg.party, msg.key, msg.ticket, time, settings.operators):
            [name] = door.used.keys() - before
            used = (name, *door.used.pop(name))  # noted when the claim is granted
        old = room.slots.get(msg.party)
        since = (ctx.now if old is None else old.joined_at) + settings.unix
        member = Member(msg.party, msg.key, msg.incarnation, msg.epoch, msg.presence)
        version = ask.room.version if ask.room is not None else ask.version
        ctx.output(
            ClaimSeat(
                connection, msg.session, version, terms_of(room, msg.agreement), msg.party,
                claimed(member, connection, since), used,
            )
        )  # fmt: skip

    def _refuse_shared(
        self, ctx: Ctx, connection: Connection, msg: Join, reason: str, hint: str, final: bool
    ) -> None:
        self._refuse(ctx, connection, msg, reason, hint, final=final)
        room = self.rooms.get(msg.session)
        if room is None:
            ctx.output(ForgetRoom(msg.session))
        elif not room.here:
            self._close(ctx, msg.session)

    def _give_back(self, ctx: Ctx, claim: SeatClaimed) -> None:
        """A seat was claimed for a connection that is gone: it is kept, for a moment."""
        until = ctx.now + self.settings.unix + self.settings.keep_idle_least
        seats = dict(claim.room.seats) if claim.room is not None else {}
        if claim.seat is not None:
            seats[claim.party] = claim.seat
        for party, seat in seats.items():
            if seat.connection == claim.connection:
                kept = msgspec.structs.replace(seat, connection=None, kept_until=until)
                why = "connection lost"
                ctx.output(GiveSeatUp(claim.session, party, claim.connection, kept, why))

    def _merge(self, ctx: Ctx, session: str, shared: SharedRoom, but: Party = 0) -> None:
        """Have our replica be as the shared room is; our members are told what changed."""
        seats = {p: self._living(seat) for p, seat in shared.seats.items() if p != but}
        shared = msgspec.structs.replace(shared, seats=seats)
        room = self.rooms.get(session)
        if room is None:
            self.rooms[session] = replica(shared, self.settings, ctx.now)
            return
        take_terms(room, shared.terms)
        room.door.used = dict(shared.used)
        for party in sorted((room.slots.keys() | seats.keys()) - {but}):
            self._change(ctx, session, party, seats.get(party), "not there any more")
            if session not in self.rooms:
                return

    def _living(self, seat: Seat) -> Seat:
        """A seat as it is; one of a connection of ours that has gone meanwhile is idle."""
        number = seat.connection
        if number is None or number < 0 or number in self.clients:
            return seat
        return msgspec.structs.replace(seat, connection=None)

    def _change(self, ctx: Ctx, session: str, party: Party, seat: Seat | None, why: str) -> None:
        """Another server changed a seat."""
        room = self.rooms.get(session)
        if room is None:
            return
        slot = room.slots.get(party)
        ours = slot.connection if slot is not None else None
        if seat is not None and ours is not None and seat.connection == ours:
            return
        new = slot_of(seat, self.settings, ctx.now) if seat is not None else None
        if new is not None:
            room.slots[party] = new
        else:
            room.slots.pop(party, None)
        if ours is not None and ours > 0:
            # The same party joined at another server, an operator freed its seat, or it was
            # given away while this server was out of touch.
            reason, hint = why, ""
            if new is not None and new.connection is not None:
                assert slot is not None
                if new.member.key == slot.member.key:
                    reason, hint = "the same party joined again", "close one of them"
                else:
                    reason, hint = "another key has this seat now", "join again, at a free seat"
            self._part(ctx, ours, reason, hint)
            self._forget(ctx, ours, reason)
        was_there = ours is not None
        changed = slot is None or new is None or slot.member != new.member
        room.revision += 1
        if new is not None and new.connection is not None:
            if not was_there or changed:
                ctx.multicast(room.here, PeerJoined(new.member, room.revision))
        elif was_there or (slot is not None and new is None):
            ctx.multicast(room.here, PeerLeft(party, why, new is None, room.revision))
        self._close_if_unused(ctx, session)

    def _close_if_unused(self, ctx: Ctx, session: str) -> None:
        """Forget a room that others share if no member of ours is in it, nor wants to be: one that
        joins again is both gone and about to come."""
        room = self.rooms.get(session)
        if (room is not None and room.here) or self._is_wanted(session):
            return
        if room is not None:
            self._close(ctx, session)
        else:
            ctx.output(ForgetRoom(session))

    def _is_wanted(self, session: str) -> bool:
        """Whether somebody waits to be let into it."""
        return any(
            c.pending is not None and c.pending.join.session == session
            for c in self.clients.values()
        )

    def connection_of(self, session: str, party: Party) -> Connection:
        """Our connection of a member; 0: it is not here."""
        room = self.rooms.get(session)
        slot = room.slots.get(party) if room is not None else None
        there = slot.connection if slot is not None else None
        return there if there is not None and there > 0 else 0

    def shared_room(self, session: str) -> SharedRoom | None:
        """A room of ours as all should have it."""
        room = self.rooms.get(session)
        if room is None:
            return None
        seats = {party: seat_of(slot, self.settings) for party, slot in room.slots.items()}
        return SharedRoom("", terms_of(room), seats, room.door.used)

    def _vacate(self, ctx: Ctx, session: str, party: Party, why: str) -> None:
        """An idle slot is nobody's any more."""
        room = self.rooms[session]
        del room.slots[party]
        self._keep(ctx, session, party)
        room.revision += 1
        ctx.multicast(room.here, PeerLeft(party, why, True, room.revision))
        if self.settings.shared:
            ctx.output(GiveSeatUp(session, party, 0, None, why, "idle"))
        self._say(ctx, f"{session}: party {party}: {why}")

    def _end(
        self, ctx: Ctx, session: str, reason: str, hint: str, *, final: bool, told: bool = False
    ) -> None:
        """Close a session, whoever is in it; `told` by another server, which closed it."""
        if self.settings.shared and not told:
            ctx.output(ForgetRoom(session, reason))
        for connection in self.rooms[session].here:
            self._part(ctx, connection, reason, hint, final=final)
            self._forget(ctx, connection, reason)
        if session in self.rooms:
            self._close(ctx, session)

    def _close(self, ctx: Ctx, session: str) -> None:
        room = self.rooms.pop(session)
        self._shares.closed(room)
        if self.settings.shared:
            ctx.output(ForgetRoom(session))
        elif room.door.used:
            self._put_away(ctx, session, room.door)
        if self.settings.keep:  # in this order: we may be killed meanwhile
            for party in room.slots:
                keep_slot(ctx, session, party, None)
        self._keep(ctx, session)
        ctx.note(notes.Closed(session=session))
        self._say(ctx, f"{session}: closed")

    def _say(self, ctx: Ctx, text: str) -> None:
        self.log.append(LogLine(ctx.now, text))


def _has_seat(room: SharedRoom | None, party: Party, connection: Connection) -> bool:
    """Whether the seat that a connection was granted is its own still: meanwhile the room may have
    been closed, or the seat freed."""
    seat = room.seats.get(party) if room is not None else None
    return seat is not None and seat.connection == connection


def _announced(client: _Client) -> str:
    return f"{client.session}: party {client.party} announced to all"


def build_server(settings: RoomsSettings | None = None) -> Build:
    """How a world makes the server's node."""

    def build(coins: Coins, stored: Mapping[Path, Mapping[str, bytes]]) -> Node:
        return Node(SERVER, 0, Rooms(settings), at=PATH, coins=coins, stored=stored)

    return build
