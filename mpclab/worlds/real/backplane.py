"""Redis between signaling servers: the rooms that they share, and messages from one to another.

    mpclab:room:ID    a hash: `v` its version, `terms`, and `seat/N` of each member, JSON
    mpclab:used:ID    a hash: tickets that were used or revoked, until the last of them expires
    mpclab:spent      which sessions have such a hash, so that there are never too many of them
    mpclab:server:ID  that a server is there; expires with its lease
    mpclab:seq        numbers every change of every room
    mpclab:born       drawn when there is none: whoever finds another one knows that Redis forgot
    channels          mpclab:room:ID changes of a room · mpclab:to:ID messages for a server

A join costs two round trips, and one where the server has the room already: what it has is judged,
and the claim is refused if that was old.

Seats are taken by scripts, which Redis runs one at a time: on the condition that the room is at the
version by which the claim was judged. A server that is not heard of for its lease has lost its
seats: whoever sees them marks them as left, and they are kept for their keys as ever.

While Redis is away members of one server go on as before, what they say to others waits (up to
`MOST_WAITING` bytes), and nobody new gets in. When it is back each server puts its members' seats
there again, before anybody new gets in anywhere (`_settle`); so nobody takes a seat that is only
forgotten, and nobody's connection ends.

Two other designs were weighed. Streams instead of pub/sub would replay what a server missed; but
messages are sealed and numbered end to end, and the parties' own windows repair a loss, as on any
relay. One server as the home of each session needs no shared state, until it dies: see
`signaling.shared`.

Whoever can write to this Redis can forge the presence of members to other servers and read what a
server reads: keep it private, with a password and TLS (`rediss://`) where others share the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
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

MOST_WAITING: Final = 32 * 1024 * 1024
"""Bytes for other servers that may wait for Redis; further ones are left out."""
A_PARCEL: Final = 512 * 1024
"""Bytes of messages that go in one publication."""
PACE: Final = 0.003
"""Seconds between publications: one costs as much as a dozen messages, and what comes meanwhile
goes in the next. The first after a while goes at once."""
MOST_SPENT: Final = 16_384
"""Sessions of which used tickets are known though nobody is there."""
OUT_OF_TOUCH: Final = "the servers are out of touch with each other"
_BEATS: Final = 4  # in a lease
_MOST_FETCHES: Final = 8  # of one room, that changes all the time
_PATIENCE: Final = 5.0  # seconds that Redis may take for an answer
LEAST_LEASE: Final = 0.5
"""Seconds. Less, and one slow answer would cost a server its seats."""

Ticket: TypeAlias = tuple[bytes, int]


@dataclass(frozen=True)
class _Resync:
    """A room of ours is to be as it is in Redis, and the other way round."""

    session: str
    done: asyncio.Future[None]


@dataclass(frozen=True)
class BackplaneSettings:
    """Where Redis is, and how servers use it. Times in seconds.

    Attributes:
        url: redis://host:port/number, rediss:// for TLS, unix:///path.
        login: user name and password, where the url has none.
        prefix: of all keys and channels.
        lease: a server that is not heard of for so long has lost its seats.
        keep: how long a seat that was left is kept at the most.

    Raises:
        UsageError: a time that cannot be.
    """

    url: str
    login: tuple[str, str] | None = None
    prefix: str = "mpclab"
    lease: float = 6.0
    keep: float = 600.0

    def __post_init__(self) -> None:
        if not LEAST_LEASE <= self.lease < float("inf"):
            raise UsageError(f"lease {self.lease} s: use at least {LEAST_LEASE}")
        if not 0 <= self.keep < float("inf"):
            raise UsageError(f"keep {self.keep} s: use 0 or more")

    @property
    def patience(self) -> float:
        """Seconds for a beat's answer. One beat may fail and the next still be in time."""
        return min(_PATIENCE, self.lease / 2)


def _spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Run `work`; it is one of `tasks` until it ends."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Site(Protocol):
    """The world of the server, as the backplane needs it."""

    def ask_rooms(self, ask: Any) -> None:
        """Put an ask to the rooms machine."""

    def shared_sessions(self) -> Collection[str]:
        """Of which rooms the machine has replicas."""

    def shared_room(self, session: str) -> SharedRoom | None:
        """The machine's replica; None: it has none."""

    def deliver(self, session: str, party: Party, text: bytes) -> None:
        """Send a message of another server's to a member of ours."""


class _Record(msgspec.Struct):
    """A seat in Redis. `id` names the server and its connection."""

    id: str
    on: int
    key: str
    member: str
    since: int
    kept: int


class _Event(msgspec.Struct):
    """A change of a room. `seat` "": it is nobody's; `closed`: the whole room is no more; `noted`:
    names and values of tickets that were revoked (`undo`: or are good again), and `guests`: the
    keys, in hex, that came in by them."""

    seq: int
    by: str
    party: int = 0
    seat: str = ""
    why: str = ""
    closed: int = 0
    noted: list[str] = []
    undo: int = 0
    guests: str = ""


_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(_Record).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_encode_parcel = msgspec.msgpack.Encoder().encode
_decode_parcel = msgspec.msgpack.Decoder(tuple[str, int, list[tuple[str, int, bytes]]]).decode

_ANNOUNCE = """
local function changed(room, seq, channel, by, party, seat, why)
  redis.call('HSET', room, 'v', seq)
  redis.call('PUBLISH', channel, cjson.encode({
    seq = seq, by = by, party = tonumber(party), seat = seat, why = why}))
end
"""
# What the sessions of ARGV[1] … are noted to have used. Of too many the oldest are forgotten, but
# those in which somebody is.
_NOTE = """
local function note(spent, most, rooms, useds, session)
  local now = redis.call('TIME')[1]
  redis.call('ZADD', spent, now, session)
  local over = redis.call('ZCARD', spent) - most
  for i = 1, math.min(over, 8) do
    local oldest = redis.call('ZPOPMIN', spent)[1]
    if redis.call('EXISTS', rooms .. oldest) == 1 then
      redis.call('ZADD', spent, now, oldest)
    else
      redis.call('DEL', useds .. oldest)
    end
  end
end
"""
# KEYS: room, used, born, used everywhere. ARGV: what keys of servers begin with. Returns the room's
# fields, its used tickets, those everywhere, born, and which servers of its seats are gone.
_LOOK = """
local fields, dead, asked = redis.call('HGETALL', KEYS[1]), {}, {}
for i = 1, #fields, 2 do
  local server = string.match(fields[i + 1], '^{"id":"([^:"]*):[^"]*","on":1,')
  if server and not asked[server] then
    asked[server] = true
    if redis.call('EXISTS', ARGV[1] .. server) == 0 then dead[#dead + 1] = server end
  end
end
return {fields, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[4]),
  redis.call('GET', KEYS[3]), dead}
"""
# KEYS: room, used, seq, born, spent. ARGV: channel, by, version, terms, party, seat, ttl ms,
# ticket, its value, its expiry, born, session, what keys of rooms and of used tickets begin with,
# most spent. Returns the room's new version; 0: it has changed meanwhile.
_CLAIM = (
    _ANNOUNCE
    + _NOTE
    + """
if redis.call('GET', KEYS[4]) ~= ARGV[11] then return 0 end
if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[3] then return 0 end
if ARGV[8] ~= '' then
  local user = redis.call('HGET', KEYS[2], ARGV[8])
  if user and user ~= ARGV[9] then return 0 end
  redis.call('HSET', KEYS[2], ARGV[8], ARGV[9])
  redis.call('EXPIREAT', KEYS[2], ARGV[10], 'NX')
  redis.call('EXPIREAT', KEYS[2], ARGV[10], 'GT')
  note(KEYS[5], tonumber(ARGV[15]), ARGV[13], ARGV[14], ARGV[12])
end
local seq = redis.call('INCR', KEYS[3])
redis.call('HSET', KEYS[1], 'terms', ARGV[4], 'seat/' .. ARGV[5], ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
changed(KEYS[1], seq, ARGV[1], ARGV[2], ARGV[5], ARGV[6], '')
return seq
"""
)
# KEYS: room, used, seq, spent. ARGV: channel, by, undo, expiry of the last, session, what keys of
# rooms and of used tickets begin with, most spent, guests, then each name and its value. Whoever is
# about to claim a seat there has to judge again. What is revoked everywhere is not forgotten.
_REVOKE = (
    _ANNOUNCE
    + _NOTE
    + """
for i = 10, #ARGV, 2 do
  if ARGV[3] ~= '1' then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  elseif string.sub(redis.call('HGET', KEYS[2], ARGV[i]) or '', 1, 2) == '- ' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
redis.call('EXPIREAT', KEYS[2], ARGV[4], 'NX')
redis.call('EXPIREAT', KEYS[2], ARGV[4], 'GT')
if ARGV[5] ~= '' then note(KEYS[4], tonumber(ARGV[8]), ARGV[6], ARGV[7], ARGV[5]) end
local seq = redis.call('INCR', KEYS[3])
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'v', seq) end
redis.call('PUBLISH', ARGV[1], cjson.encode({
  seq = seq, by = ARGV[2], noted = {unpack(ARGV, 10)}, undo = tonumber(ARGV[3]),
  guests = ARGV[9]}))
return seq
"""
)
# KEYS: room, seq. ARGV: channel, by, whose, expected, party, seat or '', why. Returns the room's
# new version and the one before; 0, 0: nothing was changed.
_LEAVE = (
    _ANNOUNCE
    + """
local now = redis.call('HGET', KEYS[1], 'seat/' .. ARGV[5])
if not now then return {0, 0} end
local seat = cjson.decode(now)
if ARGV[3] == 'mine' and seat.id ~= ARGV[4] then return {0, 0} end
if ARGV[3] == 'idle' and seat.on == 1 then return {0, 0} end
if ARGV[3] == 'same' and now ~= ARGV[4] then return {0, 0} end
local before = tonumber(redis.call('HGET', KEYS[1], 'v'))
local seq = redis.call('INCR', KEYS[2])
if ARGV[6] == '' then
  redis.call('HDEL', KEYS[1], 'seat/' .. ARGV[5])
else
  redis.call('HSET', KEYS[1], 'seat/' .. ARGV[5], ARGV[6])
end
changed(KEYS[1], seq, ARGV[1], ARGV[2], ARGV[5], ARGV[6], ARGV[7])
if redis.call('HLEN', KEYS[1]) <= 2 then redis.call('DEL', KEYS[1]) end
return {seq, before}
"""
)
# KEYS: room, seq. ARGV: channel, by, terms, ttl ms, then party, seat, '1' if it is our member's.
# Puts seats where nobody's are, and our members' where they are kept for their keys.
_RESTORE = (
    _ANNOUNCE
    + """
local lost = redis.call('EXISTS', KEYS[1]) == 0
for i = 5, #ARGV, 3 do
  local field, seat = 'seat/' .. ARGV[i], ARGV[i + 1]
  local now, take = redis.call('HGET', KEYS[1], field), false
  if ARGV[i + 2] == '1' then
    take = not now
    if now then
      local there, ours = cjson.decode(now), cjson.decode(seat)
      take = there.key == ours.key and there.on == 0
    end
  else
    take = lost and not now
  end
  if take then
    redis.call('HSET', KEYS[1], 'terms', ARGV[3], field, seat)
    changed(KEYS[1], redis.call('INCR', KEYS[2]), ARGV[1], ARGV[2], ARGV[i], seat, '')
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""
)
# KEYS: room, seq. ARGV: channel, by, why.
_CLOSE = """
if redis.call('DEL', KEYS[1]) == 1 then
  redis.call('PUBLISH', ARGV[1], cjson.encode({
    seq = redis.call('INCR', KEYS[2]), by = ARGV[2], why = ARGV[3], closed = 1}))
end
return 1
"""


class Backplane:
    """One server's side of what servers share.

    Raises:
        UsageError: the `redis` package is not there, or the url is none.
    """

    def __init__(self, settings: BackplaneSettings, site: Site) -> None:
        try:
            from redis import asyncio as redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
            from redis.exceptions import RedisError
        except ImportError:
            raise UsageError("--redis: pip install 'mpclab[server]'") from None
        self.settings = settings
        self.site = site
        self.me = secrets.token_hex(8)
        more: dict[str, Any] = {}
        if settings.login is not None:
            more["username"], more["password"] = settings.login
        try:
            # Who finds no connection free waits: everybody may leave at once.
            pool = redis.BlockingConnectionPool.from_url(
                settings.url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE,
                retry=Retry(NoBackoff(), 0), protocol=2, max_connections=64, timeout=_PATIENCE,
                **more,
            )  # fmt: skip
            self._redis = redis.Redis.from_pool(pool)
        except ValueError as error:
            raise UsageError(f"--redis {settings.url.partition('://')[0]}: {error}") from error
        self._errors = (RedisError, OSError, TimeoutError)
        self._look = self._redis.register_script(_LOOK)
        self._claim = self._redis.register_script(_CLAIM)
        self._revoke = self._redis.register_script(_REVOKE)
        self._leave = self._redis.register_script(_LEAVE)
        self._restore = self._redis.register_script(_RESTORE)
        self._close = self._redis.register_script(_CLOSE)
        self._numbers: dict[tuple[str, Party], tuple[str, int]] = {}  # → its id, our number of it
        self._where: dict[int, tuple[str, str, Party]] = {}  # our number → server, session, party
        self._next = -1
        self._seen: dict[str, int] = {}  # session → the newest change that we know
        self._todo: dict[str, deque[Any]] = {}  # session → what is to be done, in order
        self._owed: list[GiveSeatUp | NoteTickets] = []  # what Redis could not be told
        self._waiting: dict[str, list[tuple[str, int, bytes]]] = {}  # server → messages
        self._waiting_bytes = 0
        # A publication whose answer is lost may have been heard: it is sent again as it was.
        self._parcels = 0  # that we sent, to whomever
        self._underway: dict[str, tuple[int, int]] = {}  # server → its parcel, of so many messages
        self._taken: dict[str, int] = {}  # server → its last parcel that we heard
        self._has_messages = asyncio.Event()
        self._has_beaten = asyncio.Event()
        self._born = b""
        self._restored = False  # our members' seats are there, since Redis forgot
        self._settled_at = float("inf")  # monotonic; nobody new gets in before
        self._heard_at = float("-inf")  # monotonic, when Redis last answered a beat
        self._listening = False
        self._tasks: set[asyncio.Task[None]] = set()  # that go on until the end
        self._works: set[asyncio.Task[None]] = set()  # that do what was asked
        self._stopped = False

    # --- for the world --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen, to beat and to send; Redis may come later."""
        for work in (self._beat_on(), self._mend_on(), self._listen_on(), self._send_on()):
            _spawn(work, self._tasks)

    async def stop(self, *, goodbye: bool) -> None:
        """End. With `goodbye` what was asked is done first, and our seats are left now; else, as
        after a kill, when our lease runs out."""
        self._stopped = True
        await _end(self._tasks)
        if goodbye and self._works:
            await asyncio.wait(self._works, timeout=self.settings.patience)
        # What still ran would open connections that nobody closes.
        await _end(self._works)
        with contextlib.suppress(*self._errors):
            if goodbye:
                await self._redis.delete(self._key("server", self.me))
        with contextlib.suppress(*self._errors):
            await self._redis.aclose()

    def why_not_ready(self) -> str:
        """Why nobody new gets in; "": they do."""
        now = time.monotonic()
        if not self._listening or now - self._heard_at > self.settings.lease:
            return "out of touch with Redis"
        settled = self._restored and now >= self._settled_at
        return "" if settled else "finding the other servers again"

    def do(self, wanted: Any) -> None:
        """Do what the rooms machine put out: in order for each session, and not now. A claim comes
        first: it is of who was just told how the room is, and any change would void it."""
        match wanted:
            case WantRoom() | ClaimSeat() | GiveSeatUp() | ForgetRoom() | NoteTickets() | _Resync():
                todo = self._todo.get(wanted.session)
                if todo is not None:
                    (todo.appendleft if isinstance(wanted, ClaimSeat) else todo.append)(wanted)
                    return
                self._todo[wanted.session] = deque([wanted])
                _spawn(self._work(wanted.session), self._works)

    def send(self, number: int, text: bytes) -> bool:
        """Send a message to a member at another server; False: it is left out."""
        there = self._where.get(number)
        if there is None or self._waiting_bytes + len(text) > MOST_WAITING:
            return False
        server, session, party = there
        self._waiting.setdefault(server, []).append((session, party, text))
        self._waiting_bytes += len(text)
        self._has_messages.set()
        return True

    # --- what the machine wants -----------------------------------------------------------------

    async def _work(self, session: str) -> None:
        todo = self._todo[session]
        while todo:
            wanted = todo.popleft()
            try:
                await self._do(wanted)
            except self._errors as error:
                self._not_now(wanted, error)
        del self._todo[session]

    def _not_now(self, wanted: Any, error: Exception) -> None:
        match wanted:
            case WantRoom(connection, session):
                self.site.ask_rooms(RoomIs(connection, session, None, {}, OUT_OF_TOUCH))
            case ClaimSeat():
                answer = SeatClaimed(
                    wanted.connection, wanted.session, False, None, {}, OUT_OF_TOUCH
                )
                self.site.ask_rooms(answer)
                kept = msgspec.structs.replace(
                    wanted.seat, connection=None, kept_until=_unix() + _LEAST
                )
                # Redis may have granted it, and only its answer been lost.
                self._owed.append(
                    GiveSeatUp(
                        wanted.session, wanted.party, wanted.connection, kept, "connection lost"
                    )
                )
            case GiveSeatUp(whose="mine") | NoteTickets():
                self._owed.append(wanted)
            case _Resync(_, done) if not done.done():
                done.set_exception(error)
            case _:
                pass  # `_resync` sees to it

    async def _do(self, wanted: Any) -> None:
        site = self.site
        match wanted:
            case WantRoom(connection, session, fresh):
                if why := self.why_not_ready():
                    site.ask_rooms(RoomIs(connection, session, None, {}, why))
                elif not fresh and (known := self._known(session)):
                    site.ask_rooms(RoomIs(connection, session, None, {}, version=known))
                else:
                    room, used = await self._fetch(session)
                    site.ask_rooms(RoomIs(connection, session, room, used))
            case ClaimSeat():
                await self._claim_seat(wanted)
            case GiveSeatUp(session, party, connection, seat, why, whose):
                record = "" if seat is None else self._record(seat, connection, online=False)
                expected = self._id(connection)
                await self._change_seat(session, party, whose, expected, record, why)
            case ForgetRoom(session, close):
                if close:
                    await self._close(
                        keys=[self._key("room", session), self._key("seq")],
                        args=[self._key("room", session), self.me, close],
                    )
                if session not in site.shared_sessions():
                    self._forget(session)
            case NoteTickets():
                await self._note(wanted)
            case _Resync(session, done):
                await self._resync_now(session)
                if not done.done():
                    done.set_result(None)

    def _known(self, session: str) -> str:
        """The version at which the machine has a room, as far as we have heard; "": it has not."""
        seen = self._seen.get(session, 0)
        return str(seen) if seen and session in self.site.shared_sessions() else ""

    async def _claim_seat(self, claim: ClaimSeat) -> None:
        """Claim a seat, and say what came of it. If it was granted, nothing had changed since the
        claim was judged; if nothing was heard of since either, what was judged still holds."""
        session, connection = claim.session, claim.connection
        seq = await self._try_claim(claim)
        if seq and self._seen.get(session) == int(claim.version or 0):
            self._seen[session] = seq
            answer = SeatClaimed(
                connection, session, True, None, {},
                version=str(seq), party=claim.party, seat=claim.seat,
            )  # fmt: skip
        else:
            room, used = await self._fetch(session)
            answer = SeatClaimed(connection, session, seq > 0, room, used)
        self.site.ask_rooms(answer)

    async def _try_claim(self, claim: ClaimSeat) -> int:
        name, user, expires = claim.used or (b"", b"", 0)
        session = claim.session
        return int(
            await self._claim(
                keys=[
                    self._key("room", session), self._key("used", session), self._key("seq"),
                    self._key("born"), self._key("spent"),
                ],
                args=[
                    self._key("room", session), self.me, claim.version, claim.terms, claim.party,
                    self._record(claim.seat, claim.connection, online=True), self._ttl,
                    name.hex(), _value(user, expires) if claim.used else "", expires,
                    self._born, session, self._key("room", ""), self._key("used", ""), MOST_SPENT,
                ],
            )
        )  # fmt: skip

    async def _note(self, it: NoteTickets) -> None:
        """Note what is revoked, then free the seats of who came in by it."""
        session = it.session
        pairs = [text for name, at in it.names.items() for text in (name.hex(), _value(b"", at))]
        await self._revoke(
            keys=[
                self._key("room", session), self._key("used", session), self._key("seq"),
                self._key("spent"),
            ],
            args=[
                self._key("room", session), self.me, int(it.undo), max(it.names.values()), session,
                self._key("room", ""), self._key("used", ""), MOST_SPENT,
                " ".join(sorted(key.hex() for key in it.guests)), *pairs,
            ],
        )  # fmt: skip
        room = None
        if session:
            room, _ = await self._fetch(session)
        if session not in self.site.shared_sessions():
            self._forget(session)
        elif room is not None:
            self.site.ask_rooms(RoomChanged(session, room))
        for party, seat in room.seats.items() if room is not None and not it.undo else ():
            if seat.key in it.guests:  # in nobody's name: we hear of it as the others do
                await self._change_seat(session, party, "any", "", "", it.why, by="")

    async def _change_seat(
        self, session: str, party: Party, whose: str, expected: str, record: str, why: str,
        by: str | None = None,
    ) -> None:  # fmt: skip
        by = self.me if by is None else by
        seq, before = await self._leave(
            keys=[self._key("room", session), self._key("seq")],
            args=[self._key("room", session), by, whose, expected, party, record, why],
        )
        if seq and by and self._seen.get(session) == before:
            self._seen[session] = seq

    async def _fetch(self, session: str) -> tuple[SharedRoom | None, dict[bytes, Ticket]]:
        """A room as it is, and its used tickets. Seats of servers that are gone are marked left.

        A change that was heard of while Redis answered is in no answer that was older: such a room
        is fetched again, or the change would be undone here, and nobody would tell of it again.
        """
        self._seen.setdefault(session, 0)  # from now on we want to hear of it
        tries = 0
        while True:
            tries += 1
            listed, tickets, everywhere, born, gone = await self._look(
                keys=[
                    self._key("room", session), self._key("used", session), self._key("born"),
                    self._key("used", ""),
                ],
                args=[self._key("server", "")],
            )  # fmt: skip
            if born != self._born:
                raise ConnectionError("Redis has forgotten everything")  # a beat sees to it
            fields = _pairs(listed)
            records = {
                int(name[5:]): _decode_record(value)
                for name, value in fields.items()
                if name.startswith(b"seat/")
            }
            dead = {server.decode() for server in gone} - {self.me}
            version = fields[b"v"].decode() if records else ""
            if records and int(version) < self._seen.get(session, 0) and tries < _MOST_FETCHES:
                continue
            if not any(r.on and _server(r) in dead for r in records.values()):
                break
            for party, record in records.items():
                if record.on and _server(record) in dead:
                    await self._bury(session, party, record, fields[b"seat/%d" % party].decode())
        noted = _pairs(everywhere) | _pairs(tickets)
        used = {bytes.fromhex(n.decode()): _ticket(v) for n, v in noted.items()}
        if not records:
            return None, used
        self._seen[session] = max(int(version), self._seen.get(session, 0))
        seats = {party: self._seat(session, party, r) for party, r in records.items()}
        return SharedRoom(version, fields[b"terms"], seats, used), used

    async def _gone(self, servers: set[str]) -> set[str]:
        """Those of the servers whose lease ran out."""
        if not servers:
            return set()
        order = sorted(servers)
        there = await self._redis.mget([self._key("server", it) for it in order])
        return {it for it, value in zip(order, there, strict=True) if value is None}

    async def _bury(self, session: str, party: Party, record: _Record, now: str) -> None:
        """Mark the seat of a server that is gone as left, if it is still as we saw it."""
        here = _unix()
        kept = min(here - record.since, round(self.settings.keep * 1e6))
        left = msgspec.structs.replace(record, on=0, kept=here + max(kept, _LEAST))
        why = "its server is gone"
        await self._change_seat(session, party, "same", now, _encode(left).decode(), why)

    # --- seats ----------------------------------------------------------------------------------

    def _seat(self, session: str, party: Party, record: _Record) -> Seat:
        """A seat as the machine knows it, with its number here."""
        number: int | None = None
        if record.on and _server(record) == self.me:
            number = int(record.id.partition(":")[2])
        elif record.on:
            number = self._number(session, party, record.id)
        if number is None or number > 0:
            self._drop(session, party)
        return Seat(
            bytes.fromhex(record.key), record.member.encode(), number, record.since, record.kept
        )

    def _number(self, session: str, party: Party, id: str) -> int:
        known = self._numbers.get((session, party))
        if known is not None and known[0] == id:
            return known[1]
        self._drop(session, party)
        number, self._next = self._next, self._next - 1
        self._numbers[session, party] = id, number
        self._where[number] = id.partition(":")[0], session, party
        return number

    def _drop(self, session: str, party: Party) -> None:
        known = self._numbers.pop((session, party), None)
        if known is not None:
            del self._where[known[1]]

    def _forget(self, session: str) -> None:
        self._seen.pop(session, None)
        for key in [key for key in self._numbers if key[0] == session]:
            self._drop(*key)

    def _record(self, seat: Seat, connection: int, *, online: bool) -> str:
        record = _Record(
            self._id(connection), int(online), seat.key.hex(), seat.member.decode(),
            seat.since, seat.kept_until,
        )  # fmt: skip
        return _encode(record).decode()

    def _id(self, connection: int) -> str:
        return f"{self.me}:{connection}"

    def _key(self, *parts: str) -> str:
        return ":".join((self.settings.prefix, *parts))

    @property
    def _ttl(self) -> int:
        """How long a room outlives the last server that has members in it, ms."""
        return round((self.settings.keep + 2 * self.settings.lease + 60) * 1000)

    # --- beats ----------------------------------------------------------------------------------

    async def _beat_on(self) -> None:
        while not self._stopped:
            try:
                async with asyncio.timeout(self.settings.patience):
                    await self._beat()
            except self._errors:
                pass
            await asyncio.sleep(self.settings.lease / _BEATS)

    async def _mend_on(self) -> None:
        """After each beat what may take longer than we have until the next."""
        while not self._stopped:
            await self._has_beaten.wait()
            self._has_beaten.clear()
            with contextlib.suppress(*self._errors):
                await self._mend()

    async def _mend(self) -> None:
        if not self._restored:
            born = self._born
            await self._resync()
            self._restored = born == self._born
        owed, self._owed = self._owed, []
        for wanted in owed:
            self.do(wanted)
        await self._look_after_rooms()

    async def _beat(self) -> None:
        """Renew our lease; see who is gone, and whether Redis has forgotten everything."""
        milliseconds = round(self.settings.lease * 1000)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._key("server", self.me), b"1", px=milliseconds)
            pipe.time()
            pipe.get(self._key("born"))
            _, (seconds, micros), born = await pipe.execute()
        now = seconds * 1000 + micros // 1000
        if born is None:
            drawn = f"{secrets.token_hex(8)} {now}"
            await self._redis.set(self._key("born"), drawn, nx=True)
            born = await self._redis.get(self._key("born")) or b""
        if born != self._born:
            age = now - int(born.split()[1])
            left = self.settings.lease - age / 1000  # by then who has seats has beaten
            self._restored = False
            self._settled_at = time.monotonic() + max(0.0, left)
            self._seen.clear()  # its numbers begin anew
            self._born = born
        self._heard_at = time.monotonic()
        self._has_beaten.set()

    async def _look_after_rooms(self) -> None:
        """Keep our rooms from expiring, and mark the seats of servers that are gone."""
        rooms = list(self.site.shared_sessions())
        servers = {where[0] for where in self._where.values()}
        dead = await self._gone(servers | self._taken.keys())
        for server in dead:
            self._taken.pop(server, None)
        async with self._redis.pipeline(transaction=False) as pipe:
            for session in rooms:
                pipe.pexpire(self._key("room", session), self._ttl)
            there = await pipe.execute() if rooms else []
        ill = {where[1] for where in self._where.values() if where[0] in dead}
        ill |= {s for s, is_there in zip(rooms, there, strict=True) if not is_there}
        for session in sorted(ill):
            await self._resync_room(session)

    async def _resync(self) -> None:
        for session in list(self.site.shared_sessions()):
            await self._resync_room(session)

    async def _resync_room(self, session: str) -> None:
        """`_resync_now` when it is its turn: a seat that is just being claimed is in Redis and not
        in our replica, as is one that was left while Redis was away."""
        done = asyncio.get_running_loop().create_future()
        self.do(_Resync(session, done))
        await done

    async def _resync_now(self, session: str) -> None:
        """Put our members' seats where they are missing, and learn what we missed."""
        room = self.site.shared_room(session)
        if room is None:
            return
        seats: list[Any] = []
        for party, seat in room.seats.items():
            if seat.connection is None:
                record = self._record(seat, 0, online=False)
                seats += [party, record, "0"]
            elif seat.connection > 0:
                seats += [party, self._record(seat, seat.connection, online=True), "1"]
        await self._restore(
            keys=[self._key("room", session), self._key("seq")],
            args=[self._key("room", session), self.me, room.terms, self._ttl, *seats],
        )
        used: dict[bytes, Ticket] = {}
        if room.used and not self._restored:  # else ours are older: it may be undone by now
            # What is revoked everywhere is noted there, and may be undone there.
            everywhere = await self._redis.hkeys(self._key("used", ""))
            used = {n: u for n, u in room.used.items() if n.hex().encode() not in everywhere}
        if used:
            async with self._redis.pipeline(transaction=True) as pipe:
                for name, (user, expires) in used.items():
                    value = _value(user, expires)
                    pipe.hsetnx(self._key("used", session), name.hex(), value)
                pipe.expireat(self._key("used", session), max(e for _, e in used.values()))
                await pipe.execute()
        now, _ = await self._fetch(session)
        if now is None:
            return
        self.site.ask_rooms(RoomChanged(session, now))
        ours = {seat.connection for seat in room.seats.values()}
        for party, seat in now.seats.items():
            number = seat.connection
            if number is not None and number > 0 and number not in ours:
                # It left while Redis was away.
                kept = msgspec.structs.replace(seat, connection=None, kept_until=_unix() + _LEAST)
                record = self._record(kept, number, online=False)
                await self._change_seat(
                    session, party, "mine", self._id(number), record, "connection lost"
                )

    # --- what other servers say -----------------------------------------------------------------

    async def _listen_on(self) -> None:
        while not self._stopped:
            try:
                async with self._redis.pubsub() as channels:
                    await channels.subscribe(self._key("to", self.me))
                    await channels.psubscribe(self._key("room", "*"))
                    await self._hear_on(channels)
            except (*self._errors, msgspec.DecodeError):
                pass
            self._listening = False
            await asyncio.sleep(min(0.2, self.settings.lease / _BEATS))

    async def _hear_on(self, channels: Any) -> None:
        """Hear what is published until the connection ends. One of which nothing is heard is
        pinged: it may have ended, and nobody have told us. Where we stand still for however long,
        one wait is over before we read what came meanwhile; so there is one more."""
        silences = 0
        while True:
            message = await channels.get_message(timeout=self.settings.lease / _BEATS)
            if message is None:
                silences += 1
                if silences == 1:
                    await channels.ping()
                elif silences == 3:
                    raise ConnectionError("no answer to a ping")
                continue
            silences = 0
            if message["type"] == "psubscribe":
                await self._beat()  # it may have forgotten everything
                await self._resync()  # and said what we did not hear
                self._listening = True
            elif message["type"] in ("message", "pmessage"):
                self._hear(message["channel"].decode(), message["data"])

    def _hear(self, channel: str, data: bytes) -> None:
        kind, _, name = channel.removeprefix(f"{self.settings.prefix}:").partition(":")
        if kind == "to":
            server, number, messages = _decode_parcel(data)
            if number > self._taken.get(server, 0):
                self._taken[server] = number
                for session, party, text in messages:
                    self.site.deliver(session, party, text)
            return
        event, session = _decode_event(data), name
        if event.noted and event.by != self.me:
            pairs = zip(event.noted[::2], event.noted[1::2], strict=True)
            names = {bytes.fromhex(name): _ticket(value.encode())[1] for name, value in pairs}
            guests = frozenset(map(bytes.fromhex, event.guests.split()))
            self.site.ask_rooms(NoteTickets(session, names, guests, event.why, event.undo == 1))
        if event.by == self.me or event.seq <= self._seen.get(session, event.seq):
            return  # not of a room of ours, or we have seen it since
        self._seen[session] = event.seq
        if event.noted:
            return
        if event.closed:
            self.site.ask_rooms(RoomClosed(session, event.why))
            return
        seat = None
        if event.seat:
            seat = self._seat(session, event.party, _decode_record(event.seat))
        else:
            self._drop(session, event.party)
        self.site.ask_rooms(SeatChanged(session, event.party, seat, event.why))

    # --- messages for other servers -------------------------------------------------------------

    async def _send_on(self) -> None:
        while not self._stopped:
            await self._has_messages.wait()
            self._has_messages.clear()
            went = await asyncio.gather(*map(self._send_to, list(self._waiting)))
            await asyncio.sleep(PACE if any(went) else self.settings.lease / _BEATS / 4)
            if self._waiting:
                self._has_messages.set()

    async def _send_to(self, server: str) -> bool:
        """`_send_parcel`, or False: Redis does not answer now."""
        try:
            return await self._send_parcel(server)
        except self._errors:
            return False

    async def _send_parcel(self, server: str) -> bool:
        """Send some of what waits for a server; False: it does not listen now."""
        waiting = self._waiting[server]
        if server not in self._underway:
            size = count = 0
            while count < len(waiting) and size < A_PARCEL:
                size += len(waiting[count][2])
                count += 1
            self._parcels += 1
            self._underway[server] = self._parcels, count
        number, count = self._underway[server]
        parcel = _encode_parcel((self.me, number, waiting[:count]))
        heard = await self._redis.publish(self._key("to", server), parcel)
        if not heard and any(there[0] == server for there in self._where.values()):
            return False  # it is finding its way back to Redis, or its lease has not run out yet
        del self._underway[server]
        self._waiting_bytes -= sum(len(text) for _, _, text in waiting[:count])
        del waiting[:count]
        if not waiting:
            del self._waiting[server]
        return True


_LEAST: Final = 10_000_000
"""µs for which a seat is kept whose party vanished, at the least."""


def _server(record: _Record) -> str:
    return record.id.partition(":")[0]


def _value(user: bytes, expires: int) -> str:
    return f"{user.hex() or '-'} {expires}"


def _ticket(value: bytes) -> Ticket:
    user, expires = value.decode().split()
    return bytes.fromhex(user.removeprefix("-")), int(expires)


def _pairs(listed: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(listed[::2], listed[1::2], strict=True))


def _unix() -> int:
    return time.time_ns() // 1000
