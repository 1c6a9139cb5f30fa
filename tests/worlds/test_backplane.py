"""Several servers behind one Redis are one server: rooms, seats, messages, tickets; and what is
lost when one of them, or Redis, is killed: a reconnect of its own clients, and nothing else."""

import asyncio
import random
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpclab.core import SECOND, UsageError
from mpclab.core.ids import SERVER
from mpclab.core.sharing import ClaimSeat, GiveSeatUp, Seat, SeatClaimed, SharedRoom
from mpclab.signaling.messages import (
    Announce,
    Announced,
    Challenge,
    Envelope,
    Leave,
    PeerJoined,
    PeerLeft,
    Refused,
    Relay,
    Relayed,
    Revoked,
    Roster,
    Welcome,
    Who,
)
from mpclab.signaling.revoking import RevokeTicket
from mpclab.signaling.rooms import PATH, CloseSession, FreeSeat, build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.signaling.tickets import issue
from mpclab.trace.tail import TailTrace
from mpclab.worlds.real import backplane
from mpclab.worlds.real.backplane import Backplane, BackplaneSettings
from mpclab.worlds.real.websocket import WebSocketWorld
from tests.cli.test_serve import Member, connect
from tests.services import Service, free_port, redis_server, running
from tests.signaling.bench import identity
from tests.signaling.test_tickets import revoking

LEASE = 1.0
KEEP = 60.0


class Servers:
    """Servers of one Redis, in this process."""

    def __init__(self, redis: Service, port: int) -> None:
        self.redis = redis
        self.port = port
        self.keep_least = 10 * SECOND
        self.worlds: list[WebSocketWorld] = []

    def start(self) -> tuple[WebSocketWorld, str]:
        shares = BackplaneSettings(f"redis://127.0.0.1:{self.port}/0", lease=LEASE, keep=KEEP)
        world = WebSocketWorld(record=False, trace=TailTrace(keep=2000), backplane=shares)
        self.worlds.append(world)
        rooms = RoomsSettings(
            shared=True, unix=time.time_ns() // 1000 - world.now,
            ping_every=SECOND // 5, pong_within=200 * SECOND,
            keep_idle=int(KEEP * SECOND), keep_idle_least=self.keep_least, rate=2000, burst=4000,
        )  # fmt: skip
        url = world.host_server(build_server(rooms), port=0)
        self.ready(world)
        return world, url

    def ready(self, *worlds: WebSocketWorld) -> None:
        until(lambda: all(world.call(world.why_not_ready) == "" for world in worlds))


def until(condition: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


@contextmanager
def servers_of_a_redis(folder: Path) -> Iterator[Servers]:
    port = free_port()
    with running(redis_server(folder, port)) as redis:
        made = Servers(redis, port)
        try:
            yield made
        finally:
            for world in made.worlds:
                world.close()
            for world in made.worlds:
                assert not world.failures, world.failures[0]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with servers_of_a_redis(tmp_path) as made:
        yield made


class Speaker(Member):
    """A connection that says something else than `Join`."""

    def __init__(self, url: str, word: Callable[..., Any], *args: Any, **fields: Any) -> None:
        self.socket = connect(url, compression=None, ping_interval=None, legacy=True)
        challenge = self.hear(Challenge)
        assert isinstance(challenge, Challenge)
        self.say(word(challenge.nonce, *args, **fields))
        self.answer = self.hear(Revoked, Refused)


def say(member: Member, to: int, text: str) -> None:
    payload = msgspec.Raw(msgspec.json.encode({"t": text}))
    member.say(Relay((Envelope(to, payload),)))


def heard(member: Member, *kinds: type) -> str:
    msg = member.hear(*(kinds or (Relayed,)))
    assert isinstance(msg, Relayed | Announced)
    return f"{msg.sender}: {msgspec.json.decode(msg.payload)['t']}"


def came_in(member: Member) -> Member:
    assert isinstance(member.answer, Welcome), member.answer
    return member


def refused(member: Member) -> str:
    assert isinstance(member.answer, Refused), member.answer
    return member.answer.reason


# --- as one -----------------------------------------------------------------------------------


def test_members_of_different_servers_meet_and_nobody_else_hears_them(servers: Servers) -> None:
    (_, a), (_, b) = servers.start(), servers.start()
    one = came_in(Member(a, "s", 1))
    two = came_in(Member(b, "s", 2))
    assert isinstance(two.answer, Welcome)
    assert [m.party for m in two.answer.members if m.online] == [1, 2]
    met = one.hear(PeerJoined)
    assert isinstance(met, PeerJoined)
    assert met.member.key == identity(2).public
    strangers = [came_in(Member(url, "t", p)) for url, p in ((a, 1), (b, 2))]
    say(one, 2, "hello")
    say(two, 1, "hi")
    assert (heard(two), heard(one)) == ("1: hello", "2: hi")
    two.say(Announce(msgspec.Raw(b'{"t":"all"}')))
    assert heard(one, Announced) == "2: all"
    for number in range(100):
        say(one, 2, str(number))
    assert [heard(two) for _ in range(100)] == [f"1: {n}" for n in range(100)], "in order"
    say(strangers[0], 2, "t")
    assert heard(strangers[1]) == "1: t", "and nothing of the other session"
    two.say(Leave())
    gone = one.hear(PeerLeft)
    assert isinstance(gone, PeerLeft)
    assert (gone.party, gone.gone) == (2, True)
    assert came_in(Member(a, "s", 2, key=identity(9))), "a seat that was given up is anybody's"


def test_what_is_said_to_another_server_costs_its_sender_as_well(servers: Servers) -> None:
    (world, a), (_, b) = servers.start(), servers.start()
    one = came_in(Member(a, "s", 1))
    others = [came_in(Member(b, "s", party)) for party in (2, 3)]
    until(lambda: online(one) == [1, 2, 3])
    assert world._server is not None
    [connection] = world._server._by_number.values()
    for word in (
        Announce(msgspec.Raw(b'{"t":"%b"}' % (b"x" * 30_000))),
        Relay(tuple(Envelope(p, msgspec.Raw(b'{"t":"%b"}' % (b"x" * 15_000))) for p in (2, 3))),
    ):
        before = connection._credit
        one.say(word)
        for other in others:
            heard(other, Relayed, Announced)
        cost = before - connection._credit
        assert cost > (90_000 if isinstance(word, Announce) else 60_000)


def test_of_many_that_race_for_a_seat_at_two_servers_one_gets_it(servers: Servers) -> None:
    urls = [servers.start()[1], servers.start()[1]]
    with ThreadPoolExecutor(12) as pool:
        for seat in (1, 2, 3):
            racers = list(
                pool.map(
                    lambda i, seat=seat: Member(
                        urls[i % 2], "s", seat, key=identity(100 * seat + i)
                    ),
                    range(12),
                )
            )
            winners = [m for m in racers if isinstance(m.answer, Welcome)]
            assert len(winners) == 1, seat
            assert {refused(m) for m in racers if m not in winners} == {
                f"id {seat} is taken by another key"
            }


def test_rules_of_a_room_hold_at_every_server(servers: Servers) -> None:
    (_, a), (_, b) = servers.start(), servers.start()
    came_in(Member(a, "s", 1, access="invited"))
    assert refused(Member(b, "s", 2)) == "this session is by invitation"
    assert refused(Member(b, "s", 2, n=4)).startswith("n = 4, but this session has n = 3")
    text = issue(identity(1), "s", expires=int(time.time()) + 60, coins=random.SystemRandom())
    came_in(Member(a, "s", 2, ticket=text))
    assert refused(Member(b, "s", 3, ticket=text)) == "ticket was used by another key"
    other = issue(identity(1), "t", expires=int(time.time()) + 60, coins=random.SystemRandom())
    assert refused(Member(b, "s", 3, ticket=other)) == "ticket is for another session"
    assert refused(Member(b, "s", 3, key=identity(1))) == "this key sits here as party 1"
    assert refused(Member(b, "s", 3, mode="create")) == "the session exists already"


def test_a_party_that_joins_at_another_server_has_its_seat_there(servers: Servers) -> None:
    (_, a), (_, b) = servers.start(), servers.start()
    one, two = came_in(Member(a, "s", 1)), came_in(Member(a, "s", 2))
    moved = came_in(Member(b, "s", 1))
    assert one.ended()[1] == "the same party joined again"
    say(two, 1, "where are you?")
    assert heard(moved) == "2: where are you?"
    back = came_in(Member(a, "s", 1))
    assert moved.ended()[1] == "the same party joined again"
    say(two, 1, "and now?")
    assert heard(back) == "2: and now?"


def test_an_operator_closes_and_frees_at_any_server(servers: Servers) -> None:
    (world, a), (_, b) = servers.start(), servers.start()
    one, two, three = (came_in(Member(url, "s", p)) for p, url in ((1, a), (2, b), (3, b)))
    until(lambda: len(world.look(SERVER, lambda n: n.machine(PATH).rooms["s"].slots)) == 3)
    world.ask(SERVER, PATH, FreeSeat("s", 2))
    assert two.ended()[1] == "the operator freed this seat"
    assert came_in(Member(b, "s", 2, key=identity(9)))
    world.ask(SERVER, PATH, CloseSession("s"))
    for member in (one, three):
        assert member.ended()[1] == "the session was closed"
    assert came_in(Member(b, "s", 1, key=identity(9), n=5)), "there is no such room any more"


# --- what dies --------------------------------------------------------------------------------


def test_a_server_that_is_killed_costs_its_clients_a_reconnect_and_nobody_else(
    servers: Servers,
) -> None:
    (world, a), (_, b) = servers.start(), servers.start()
    one, two, three = (came_in(Member(url, "s", p)) for p, url in ((1, a), (2, b), (3, b)))
    two.hear(PeerJoined)
    world.stop_server(kill=True)
    left = two.hear(PeerLeft)
    assert isinstance(left, PeerLeft)
    assert (left.party, left.gone) == (1, False)
    assert refused(Member(b, "s", 1, key=identity(9))) == "id 1 is taken by another key"
    again = came_in(Member(b, "s", 1))
    for reader, who in ((again, 1), (two, 2)):
        say(three, who, "still here")
        assert heard(reader) == "3: still here"
    del one


def test_its_clients_need_not_wait_for_its_lease(servers: Servers) -> None:
    (world, a), (_, b) = servers.start(), servers.start()
    came_in(Member(a, "s", 1))
    two = came_in(Member(b, "s", 2))
    world.stop_server(kill=True)
    again = came_in(Member(b, "s", 1))
    say(two, 1, "at once")
    assert heard(again) == "2: at once"


@pytest.mark.parametrize("strangers", [False, True])
def test_a_redis_that_forgets_everything_costs_nobody_a_session(
    servers: Servers, strangers: bool
) -> None:
    (first, a), (second, b) = servers.start(), servers.start()
    one, two = came_in(Member(a, "s", 1)), came_in(Member(b, "s", 2))
    neighbour = came_in(Member(a, "s", 3))
    text = issue(identity(1), "u", expires=int(time.time()) + 60, coins=random.SystemRandom())
    came_in(Member(a, "u", 1, access="invited"))
    used = came_in(Member(b, "u", 2, ticket=text))
    one.hear(PeerJoined)
    servers.redis.kill()
    until(lambda: first.call(first.why_not_ready) and second.call(second.why_not_ready))
    say(one, 3, "between us")
    assert heard(neighbour) == "1: between us", "one server's members go on"
    assert refused(Member(a, "new", 1)) in (
        "out of touch with Redis", "the servers are out of touch with each other",
    )  # fmt: skip
    say(one, 2, "meanwhile")
    servers.redis.start()
    if strangers:  # who is quicker than the servers gets no seat that is only forgotten
        for url in (a, b):
            assert refused(Member(url, "s", 2, key=identity(9)))
    servers.ready(first, second)
    for url in (a, b):
        assert refused(Member(url, "s", 1, key=identity(9))) == "id 1 is taken by another key"
        assert refused(Member(url, "u", 3, ticket=text)) == "ticket was used by another key"
    assert heard(two) == "1: meanwhile", "what was said meanwhile has waited"
    say(two, 1, "again")
    assert heard(one) == "2: again"
    del used


def test_a_redis_that_is_not_there_is_waited_for(servers: Servers) -> None:
    servers.redis.kill()
    shares = BackplaneSettings(f"redis://127.0.0.1:{servers.port}/0", lease=LEASE)
    with WebSocketWorld(record=False, trace=TailTrace(keep=99), backplane=shares) as world:
        url = world.host_server(build_server(RoomsSettings(shared=True)), port=0)
        assert refused(Member(url, "s", 1)) == "out of touch with Redis"
        servers.redis.start()
        servers.ready(world)
        came_in(Member(url, "s", 1))


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="--redis"):
        Backplane(BackplaneSettings("http://hidden:secret@x"), site=None)  # type: ignore[arg-type]


# --- what crosses on its way --------------------------------------------------------------------


def online(member: Member) -> list[int]:
    member.say(Who())
    roster = member.hear(Roster)
    assert isinstance(roster, Roster)
    return [m.party for m in roster.members if m.online]


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, world: WebSocketWorld, word: str, do: object
) -> None:
    """`do` after Redis has granted the server's first claim and before the server hears so, which
    is when it has heard of an event with that word."""
    assert world._backplane is not None
    claim, hear = world._backplane._claim, world._backplane._hear
    claimed: list[int] = []
    events: list[str] = []

    async def slow(**given: Any) -> Any:
        answer = await claim(**given)
        claimed.append(answer)
        if len(claimed) == 1:
            await asyncio.to_thread(do)  # type: ignore[arg-type]
            while not any(word in event for event in events):
                await asyncio.sleep(0.01)
        return answer

    def told(channel: str, data: bytes) -> None:
        hear(channel, data)
        events.append(data.decode(errors="replace"))

    monkeypatch.setattr(world._backplane, "_claim", slow)
    monkeypatch.setattr(world._backplane, "_hear", told)


def test_a_member_that_comes_elsewhere_while_we_look_is_there(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world, a), (_, b) = servers.start(), servers.start()
    came_in(Member(b, "s", 2))
    late: list[Member] = []
    meanwhile(monkeypatch, world, '"party":3', lambda: late.append(Member(b, "s", 3)))
    one = came_in(Member(a, "s", 1))
    came_in(late[0])
    assert online(one) == [1, 2, 3]
    say(one, 3, "hello")
    assert heard(late[0]) == "1: hello"


def test_a_session_that_is_closed_while_a_seat_is_claimed_is_opened_anew(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world, a), (other, b) = servers.start(), servers.start()
    came_in(Member(b, "s", 2))
    meanwhile(monkeypatch, world, '"closed":1', lambda: other.ask(SERVER, PATH, CloseSession("s")))
    assert online(came_in(Member(a, "s", 1))) == [1]


def test_a_join_costs_one_round_trip_where_the_room_is_known(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come at once, to one server or to two."""
    (one, a), (two, b) = servers.start(), servers.start()
    calls: list[str] = []
    for world in (one, two):
        for name in ("_look", "_claim"):
            run = getattr(world._backplane, name)

            async def counted(run: Any = run, name: str = name, **given: Any) -> Any:
                calls.append(name)
                return await run(**given)

            monkeypatch.setattr(world._backplane, name, counted)
    first = came_in(Member(a, "s", 1, n=9))
    assert calls == ["_look", "_claim"]
    with ThreadPoolExecutor(5) as pool:
        late = list(pool.map(lambda p: came_in(Member(a, "s", p, n=9)), range(2, 7)))
    assert calls == ["_look", *["_claim"] * 6]
    with ThreadPoolExecutor(3) as pool:
        late += pool.map(lambda p: came_in(Member((a, b)[p % 2], "s", p, n=9)), range(7, 10))
    until(lambda: online(first) == list(range(1, 10)))


def test_an_invitation_is_taken_back_at_any_server(servers: Servers) -> None:
    (one, a), (two, b) = servers.start(), servers.start()
    owner, now = identity(1), int(time.time())
    texts = [issue(owner, "s", expires=now + 600, coins=random.Random(seed)) for seed in range(3)]
    opened = came_in(Member(a, "s", 1, access="invited"))
    guest = came_in(Member(b, "s", 2, ticket=texts[0]))
    one.ask(SERVER, PATH, RevokeTicket("s", ticket=texts[0]))
    assert guest.ended()[1] == "the invitation was taken back"
    for url in (a, b):
        assert refused(Member(url, "s", 2, ticket=texts[0])) == "ticket was taken back"
    # At a server that has nobody of the session.
    _, c = servers.start()
    banned = identity(3)
    guest = came_in(Member(b, "s", 3, ticket=texts[1]))
    until(lambda: online(opened) == [1, 3])
    word = Speaker(c, revoking, owner, guest=banned.public)
    assert isinstance(word.answer, Revoked)
    assert guest.ended()[1] == "the invitation was taken back"
    again = "this key's invitations were taken back"
    for url in (a, b, c):
        assert refused(Member(url, "s", 3, ticket=texts[2])) == again
    assert isinstance(Speaker(b, revoking, banned, guest=owner.public).answer, Refused)
    one.ask(SERVER, PATH, RevokeTicket("s", key=banned.public, undo=True))
    until(lambda: isinstance(Member(c, "s", 3, ticket=texts[2]).answer, Welcome))
    # It outlives the room.
    two.call(lambda: None)
    one.ask(SERVER, PATH, CloseSession("s"))
    assert opened.ended()
    for world in servers.worlds:  # who came in before would be sent away with the others
        until(lambda w=world: not w.look(SERVER, lambda node: node.machine(PATH).rooms))  # type: ignore[misc]
    opened = came_in(Member(c, "s", 1, access="invited"))
    assert refused(Member(a, "s", 2, ticket=texts[0])) == "ticket was taken back"


def test_what_an_operator_takes_back_everywhere_reaches_every_server(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose sessions no other server has, and however many sessions there were since."""
    monkeypatch.setattr(backplane, "MOST_SPENT", 1)
    (one, a), (_, b) = servers.start(), servers.start()
    owner, now = identity(1), int(time.time())
    texts = [issue(owner, "s", expires=now + 600, coins=random.Random(seed)) for seed in range(3)]
    came_in(Member(b, "s", 1, access="invited"))
    guest = came_in(Member(b, "s", 2, ticket=texts[0]))
    one.ask(SERVER, PATH, RevokeTicket("", key=identity(2).public))
    assert guest.ended()[1] == "the invitation was taken back"
    came_in(Member(b, "s", 3, ticket=texts[1]))
    again = "this key's invitations were taken back"
    for url in (a, b):
        assert refused(Member(url, "s", 2, ticket=texts[2])) == again
    one.ask(SERVER, PATH, RevokeTicket("", key=identity(2).public, undo=True))
    until(lambda: isinstance(Member(a, "s", 2, ticket=texts[2]).answer, Welcome))


def test_redis_does_not_keep_the_tickets_of_too_many_sessions(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens session after session fills nobody's memory."""
    monkeypatch.setattr(backplane, "MOST_SPENT", 3)
    (world, a) = servers.start()
    stays = came_in(Member(a, "stays", 1, access="invited"))
    for session in ("stays", "s1", "s2", "s3", "s4"):
        ticket = issue(identity(1), session, expires=int(time.time()) + 600, coins=random.Random(1))
        if session != "stays":
            came_in(Member(a, session, 1, access="invited"))
        came_in(Member(a, session, 2, ticket=ticket))
        if session != "stays":
            world.ask(SERVER, PATH, CloseSession(session))
            until(lambda s=session: s not in world._relaying.rooms)  # type: ignore[union-attr]
    plane = world._backplane
    assert plane is not None
    pattern = plane._key("used", "*")
    kept = asyncio.run_coroutine_threadsafe(plane._redis.keys(pattern), world.thread.loop)
    assert {k.decode().rpartition(":")[2] for k in kept.result(20)} == {"stays", "s3", "s4"}
    del stays


class Site:
    """A server's world that notes what its rooms are asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.rooms: dict[str, SharedRoom] = {}

    def ask_rooms(self, ask: Any) -> None:
        self.asked.append(ask)

    def shared_sessions(self) -> dict[str, SharedRoom]:
        return self.rooms

    def shared_room(self, session: str) -> SharedRoom | None:
        return self.rooms.get(session)

    def deliver(self, session: str, party: int, text: bytes) -> None:
        raise AssertionError

    def granted(self) -> int:
        return sum(isinstance(it, SeatClaimed) and it.granted for it in self.asked)


def alone(servers: Servers, body: Callable[[Backplane, Site], Coroutine[Any, Any, None]]) -> None:
    """Run `body` with a backplane whose rooms it plays itself."""

    async def run() -> None:
        site = Site()
        url = f"redis://127.0.0.1:{servers.port}/0"
        backplane = Backplane(BackplaneSettings(url, lease=LEASE), site)
        backplane.start()
        try:
            await soon(lambda: not backplane.why_not_ready())
            await body(backplane, site)
        finally:
            await backplane.stop(goodbye=True)

    asyncio.run(run())


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def claim(session: str, party: int, connection: int, version: str = "") -> ClaimSeat:
    member = b'{"party":%d}' % party
    seat = Seat(bytes([party]) * 32, member, connection, 0)
    return ClaimSeat(connection, session, version, b"{}", party, seat, None)


async def is_online(backplane: Backplane, session: str, party: int) -> bool:
    value = await backplane._redis.hget(backplane._key("room", session), f"seat/{party}")
    return b'"on":1' in (value or b"")


async def is_left(backplane: Backplane, session: str, party: int) -> None:
    async with asyncio.timeout(30):
        while await is_online(backplane, session, party):
            await asyncio.sleep(0.01)


def test_a_server_that_missed_that_a_ticket_is_good_again_does_not_take_it_back_anew(
    servers: Servers,
) -> None:
    async def body(backplane: Backplane, site: Site) -> None:
        expires = int(time.time()) + 600
        site.rooms["s"] = SharedRoom("", b"{}", {}, {b"ticket": (b"", expires)})
        used = backplane._key("used", "s")
        await backplane._resync_room("s")
        assert await backplane._redis.hlen(used) == 0
        await backplane._redis.flushall()
        while not await backplane._redis.hlen(used):  # what Redis forgot we tell it
            await asyncio.sleep(0.01)

    alone(servers, body)


def test_hundreds_that_come_at_once_all_find_a_connection(servers: Servers) -> None:
    async def body(backplane: Backplane, site: Site) -> None:
        for number in range(200):
            backplane.do(claim(f"s{number}", 1, number + 1))
        await soon(lambda: len(site.asked) == 200)
        assert [a for a in site.asked if not a.granted] == []

    alone(servers, body)


@pytest.mark.parametrize("goodbye", [True, False])
def test_who_stops_amid_its_work_leaves_no_connection_open(servers: Servers, goodbye: bool) -> None:
    async def run() -> None:
        site = Site()
        url = f"redis://127.0.0.1:{servers.port}/0"
        backplane = Backplane(BackplaneSettings(url, lease=LEASE), site)
        backplane.start()
        await soon(lambda: not backplane.why_not_ready())
        for number in range(200):
            backplane.do(claim(f"s{number}", 1, number + 1))
        await backplane.stop(goodbye=goodbye)
        done = len(site.asked)
        assert done == 200 if goodbye else done < 200
        await asyncio.sleep(0.1)  # time enough for what still ran
        assert len(site.asked) == done
        with closing(socket.create_connection(("127.0.0.1", servers.port))) as alone:
            alone.sendall(b"CLIENT LIST\r\n")
            assert alone.recv(65536).count(b" addr=") == 1

    asyncio.run(run())


def test_a_seat_that_is_claimed_while_its_room_is_looked_after_stays_ours(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(backplane: Backplane, site: Site) -> None:
        first = claim("s", 1, 1)
        backplane.do(first)
        await soon(site.granted)
        version = site.asked[-1].room.version
        site.rooms["s"] = SharedRoom("", b"{}", {1: first.seat}, {})
        restore = backplane._restore

        async def slow(**given: Any) -> Any:
            answer = await restore(**given)
            backplane.do(claim("s", 2, 2, version))
            for _ in range(30):  # time enough, if it were let
                await asyncio.sleep(0.01)
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(backplane, "_restore", slow)
            await backplane._resync_room("s")
        await soon(lambda: site.granted() == 2)
        assert await is_online(backplane, "s", 2)

    alone(servers, body)


def test_what_redis_could_not_be_told_is_told_later(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(backplane: Backplane, site: Site) -> None:
        lost = False
        run = backplane._claim

        async def unanswered(**given: Any) -> Any:
            await run(**given)
            raise TimeoutError

        async def away(**given: Any) -> Any:
            nonlocal lost
            lost = True
            raise ConnectionError

        first = claim("s", 1, 1)
        backplane.do(first)
        await soon(site.granted)
        with monkeypatch.context() as patch:
            patch.setattr(backplane, "_leave", away)
            kept = msgspec.structs.replace(first.seat, connection=None)
            backplane.do(GiveSeatUp("s", 1, 1, kept, "connection lost"))
            await soon(lambda: lost)
        await is_left(backplane, "s", 1)
        with monkeypatch.context() as patch:
            patch.setattr(backplane, "_claim", unanswered)
            backplane.do(claim("t", 1, 2))
            await soon(lambda: len(site.asked) == 2)
        assert site.asked[-1].why_not
        await is_left(backplane, "t", 1)

    alone(servers, body)


def test_a_connection_that_is_dead_and_does_not_end_is_noticed(servers: Servers) -> None:
    async def run() -> None:
        listening: list[asyncio.StreamWriter] = []  # to clients that have subscribed
        dead: set[asyncio.StreamWriter] = set()

        async def pump(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
        ) -> None:
            while data := await reader.read(65536):
                if writer is not client and b"PSUBSCRIBE" in data:
                    listening.append(client)
                if client not in dead:
                    writer.write(data)
            writer.close()

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, redis = await asyncio.open_connection("127.0.0.1", servers.port)
            with suppress(OSError):
                await asyncio.gather(pump(reader, redis, writer), pump(there, writer, writer))

        proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        backplane = Backplane(BackplaneSettings(f"redis://127.0.0.1:{port}/0", lease=LEASE), Site())
        backplane.start()
        try:
            await soon(lambda: not backplane.why_not_ready())
            dead.update(listening)
            await soon(backplane.why_not_ready)
            await soon(lambda: not backplane.why_not_ready())
            assert len(listening) == 2
        finally:
            await backplane.stop(goodbye=True)
            proxy.close()

    asyncio.run(run())


def test_what_came_while_we_stood_still_is_heard(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that lies unread in our socket is none that is missing."""
    from redis.asyncio.client import PubSub

    ping, listen, pings, begun = PubSub.ping, Backplane._hear_on, [], []

    async def stand_still(channels: Any) -> None:
        await ping(channels)
        pings.append(1)
        asyncio.get_running_loop().call_soon(time.sleep, LEASE * 0.6)

    async def listen_once(backplane: Backplane, channels: Any) -> None:
        begun.append(1)
        await listen(backplane, channels)

    async def body(backplane: Backplane, site: Site) -> None:
        await soon(lambda: len(pings) >= 2)  # it may take long to be ready
        assert len(begun) == 1

    monkeypatch.setattr(PubSub, "ping", stand_still)
    monkeypatch.setattr(Backplane, "_hear_on", listen_once)
    alone(servers, body)


def test_what_is_published_twice_is_heard_once(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world, a), (_, b) = servers.start(), servers.start()
    one = came_in(Member(a, "s", 1))
    two = came_in(Member(b, "s", 2))
    one.hear(PeerJoined)
    assert world._backplane is not None
    kind = type(world._backplane._redis)  # not this one: a server that reconnects has another
    publish = kind.publish
    published: list[bytes] = []

    async def unanswered(redis: Any, channel: str, data: bytes) -> int:
        published.append(data)
        heard = int(await publish(redis, channel, data))
        if data is published[0]:
            raise TimeoutError
        return heard

    monkeypatch.setattr(kind, "publish", unanswered)
    for text in ("once", "twice", "thrice"):
        say(one, 2, text)
    assert [heard(two) for _ in range(3)] == ["1: once", "1: twice", "1: thrice"]
    until(lambda: published[0] in published[1:])


@pytest.mark.parametrize("lease", [0.0, 0.4, float("nan"), float("inf")])
def test_a_lease_that_one_slow_answer_would_cost_is_refused(lease: float) -> None:
    with pytest.raises(UsageError, match=r"use at least 0\.5"):
        BackplaneSettings("redis://x", lease=lease)


def test_rooms_that_take_long_do_not_cost_a_server_its_lease(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(backplane: Backplane, site: Site) -> None:
        began = asyncio.Event()

        async def stuck() -> None:
            began.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(backplane, "_look_after_rooms", stuck)
        await began.wait()
        at = backplane._heard_at
        await soon(lambda: backplane._heard_at > at + LEASE / 2)

    alone(servers, body)
