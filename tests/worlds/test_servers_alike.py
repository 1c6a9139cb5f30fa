"""Servers that share a Redis answer as one lone server does: both are asked the same, at random.
`make soak ARGS="--servers 20"` does so for longer."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from mpclab.core import SECOND, UsageError
from mpclab.core.ids import SERVER
from mpclab.signaling.messages import Leave, Refused, Welcome
from mpclab.signaling.rooms import PATH, CloseSession, FreeSeat, build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.trace.tail import TailTrace
from mpclab.worlds.real import backplane
from mpclab.worlds.real.websocket import WebSocketWorld
from tests.cli.test_serve import Member
from tests.signaling.bench import identity
from tests.worlds.test_backplane import (
    KEEP,
    Servers,
    heard,
    say,
    servers,
    servers_of_a_redis,
    until,
)

__all__ = ["servers", "servers_of_a_redis"]

SESSIONS, PARTIES, OTHER_KEY = ("s", "t"), 3, 50
DEEDS = {"join": 10, "leave": 2, "vanish": 2, "say": 6, "free": 1, "close": 1}
NOT_NOW = ("out of touch with Redis", "finding the other servers again", backplane.OUT_OF_TOUCH)
DISASTERS = {"kill a server": 1, "Redis forgets": 1, "Redis restarts": 1}


class Both:
    """One lone server, and three that are to be as one; a member at both for each seat."""

    def __init__(self, servers: Servers, lone: WebSocketWorld, seed: int) -> None:
        self.servers, self.lone = servers, lone
        rooms = RoomsSettings(
            unix=time.time_ns() // 1000 - lone.now, ping_every=SECOND // 5,
            pong_within=200 * SECOND, keep_idle=int(KEEP * SECOND),
            keep_idle_least=servers.keep_least, rate=2000, burst=4000,
        )  # fmt: skip
        self.url = lone.host_server(build_server(rooms), port=0)
        self.random = random.Random(seed)
        self.there = [servers.start() for _ in range(3)]
        self.members: dict[tuple[str, int], tuple[Member, Member, WebSocketWorld]] = {}
        self.told: list[str] = []

    def play(self, steps: int, deeds: dict[str, int]) -> None:
        for _ in range(steps):
            what = self.random.choices(list(deeds), list(deeds.values()))[0]
            getattr(self, what.lower().replace(" ", "_"))()
            try:
                until(self._agree, 30)
            except AssertionError:
                raise AssertionError(
                    f"{self._rooms(self.lone)}, but {[self._rooms(w) for w, _ in self.there]}, "
                    f"after {'; '.join(self.told)}"
                ) from None

    # --- deeds ----------------------------------------------------------------------------------

    def join(self) -> None:
        at = self.random.choice(SESSIONS), self.random.randint(1, PARTIES)
        session, party = at
        world, url = self.random.choice(self.there)
        more: dict[str, Any] = {
            "key": identity(party + OTHER_KEY * (self.random.random() < 0.3)),
            "n": 4 if self.random.random() < 0.1 else 3,
        }
        self.told.append(f"join {at} {more['n']} {more['key'].public.hex()[:4]}")
        lone, shared = (Member(u, session, party, **more) for u in (self.url, url))
        while isinstance(shared.answer, Refused) and shared.answer.reason in NOT_NOW:
            self.servers.ready(world)  # a machine that stands still for a lease
            shared = Member(url, session, party, **more)
        self._same(lone.answer, shared.answer)
        if not isinstance(lone.answer, Welcome):
            return
        if (before := self.members.pop(at, None)) is not None:
            assert before[0].ended() == before[1].ended(), self.told
        self.members[at] = lone, shared, world

    def leave(self) -> None:
        for member in self._some_member()[:2]:
            member.say(Leave())

    def vanish(self) -> None:
        for member in self._some_member()[:2]:
            member.socket.close()

    def say(self) -> None:
        if len(self.members) < 2:
            return
        (session, sender), reader = self.random.sample(sorted(self.members), 2)
        if session != reader[0]:
            return
        for side in (0, 1):
            for number in range(3):
                say(self.members[session, sender][side], reader[1], f"{len(self.told)} {number}")
        self.told.append(f"say {session} {sender} {reader}")
        for _ in range(3):
            lone, shared = (heard(self.members[reader][side]) for side in (0, 1))
            assert lone == shared, self.told

    def free(self) -> None:
        at = self.random.choice(SESSIONS), self.random.randint(1, PARTIES)
        if self._operator(FreeSeat(*at), at[0]):
            self._ended(at)

    def close(self) -> None:
        session = self.random.choice(SESSIONS)
        if self._operator(CloseSession(session), session):
            for at in [at for at in self.members if at[0] == session]:
                self._ended(at)

    # --- disasters ------------------------------------------------------------------------------

    def kill_a_server(self) -> None:
        world, _ = gone = self.random.choice(self.there)
        self.told.append("kill a server")
        world.stop_server(kill=True)
        self.there[self.there.index(gone)] = self.servers.start()
        for at in [at for at, (_, _, its) in self.members.items() if its is world]:
            self.members.pop(at)[0].socket.close()

    def redis_forgets(self) -> None:
        self.told.append("Redis forgets")
        world = self.there[0][0]
        plane = world._backplane
        assert plane is not None
        born = plane._born
        asyncio.run_coroutine_threadsafe(plane._redis.flushall(), world.thread.loop).result(20)
        until(lambda: all(w._backplane._born not in (b"", born) for w, _ in self.there))  # type: ignore[union-attr]
        self.servers.ready(*(w for w, _ in self.there))
        self._nobody_is_left()

    def redis_restarts(self) -> None:
        self.told.append("Redis restarts")
        self.servers.redis.kill()
        self.servers.redis.start()
        until(lambda: any(w.call(w.why_not_ready) for w, _ in self.there))
        self.servers.ready(*(w for w, _ in self.there))
        self._nobody_is_left()

    def _nobody_is_left(self) -> None:
        """Sessions in which nobody was when Redis forgot them are known nowhere any more."""
        for session, seats in self._rooms(self.lone).items():
            if not seats:
                self.lone.ask(SERVER, PATH, CloseSession(session))

    # --- what is compared -----------------------------------------------------------------------

    def _some_member(self) -> tuple[Any, ...]:
        if not self.members:
            return ()
        at = self.random.choice(sorted(self.members))
        self.told.append(f"gone {at}")
        return self.members.pop(at)

    def _operator(self, ask: Any, session: str) -> bool:
        """Whether it was done; at both or at none."""
        where = [world for world, _ in self.there if session in self._rooms(world)]
        if not where:  # where nobody is in, only Redis knows of the session
            return False
        answers = [self._answer(w, ask) for w in (self.lone, self.random.choice(where))]
        self.told.append(f"{ask}: {answers[0] or 'done'}")
        assert answers[0] == answers[1], self.told
        return not answers[0]

    @staticmethod
    def _answer(world: WebSocketWorld, ask: Any) -> str:
        try:
            world.ask(SERVER, PATH, ask)
        except UsageError as error:
            return str(error)
        return ""

    def _ended(self, at: tuple[str, int]) -> None:
        if at in self.members:
            lone, shared, _ = self.members.pop(at)
            assert lone.ended() == shared.ended(), self.told

    def _same(self, lone: Any, shared: Any) -> None:
        assert type(lone) is type(shared), f"{lone} {shared} after {'; '.join(self.told)}"
        if isinstance(lone, Refused):
            assert lone.reason == shared.reason, self.told
        else:
            a, b = ({m.party: (m.key, m.online) for m in it.members} for it in (lone, shared))
            assert a == b, self.told

    @staticmethod
    def _rooms(world: WebSocketWorld) -> dict[str, dict[int, tuple[str, str]]]:
        status = world.look(SERVER, lambda node: node.machine(PATH).status())
        return {
            s.session: {m.party: (m.key, m.state) for m in s.members if m.state == "online"}
            for s in status.sessions
        }

    def _agree(self) -> bool:
        """Whether everywhere those are in whom the lone server has in."""
        lone = {s: seats for s, seats in self._rooms(self.lone).items() if seats}
        shared = [
            {s: seats for s, seats in self._rooms(world).items() if seats}
            for world, _ in self.there
        ]
        return all(
            seats == lone.get(s) for one in shared for s, seats in one.items()
        ) and lone.keys() == {s for one in shared for s in one}


def life(servers: Servers, seed: int, steps: int) -> None:
    """Ordinary deeds, then disasters, then deeds again."""
    least = servers.keep_least = 600 * SECOND  # no seat is lost to a slow machine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backplane, "_LEAST", least)
        with WebSocketWorld(record=False, trace=TailTrace(keep=99)) as lone:
            both = Both(servers, lone, seed)
            both.play(steps, DEEDS)
            both.play(steps // 12, DISASTERS | {"join": 1})
            both.play(steps // 4, DEEDS)


def test_servers_of_one_redis_answer_as_one_does(servers: Servers) -> None:
    life(servers, seed=1, steps=48)
