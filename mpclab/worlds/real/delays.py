"""Link rules at real links: the one place that every outgoing frame passes.

With no fault active a frame goes straight to its link. Otherwise each receiver's delivery is
judged; a delayed frame waits here, and frames of one direction keep their order (as on a data
channel) unless the fault is that they do not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mpclab.core.ids import Party
from mpclab.core.wire import Frame
from mpclab.faults import draws
from mpclab.faults.link_rules import Delivery
from mpclab.worlds.base import speaker

if TYPE_CHECKING:
    from mpclab.worlds.real.host import Host
    from mpclab.worlds.real.world import RealWorld

Put = Callable[[Frame], None]


class _Lane:
    """Frames from one actor to another that wait for their time, in order."""

    __slots__ = ("timer", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, Put, Frame]] = deque()
        self.timer: asyncio.TimerHandle | None = None


class Lanes:
    """All directed links of a world.

    Args:
        world: whose `link_rules` judges, and whose links carry.
        seed: of the faults' coins.
    """

    def __init__(self, world: RealWorld, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._lanes: dict[tuple[Party, int], _Lane] = {}
        self._loose: set[asyncio.TimerHandle] = set()
        self._draws = 0

    @property
    def holding(self) -> bool:
        """Whether some frame waits here."""
        return bool(self._loose) or any(lane.waiting for lane in self._lanes.values())

    def transmit(self, host: Host, to: tuple[int, ...], frame: Frame) -> None:
        """Send `frame` to each of `to`, through the faults of the day."""
        world = self._world
        if world.link_rules.quiet and not self._lanes and world.fan_out(host, to, frame):
            return
        for dst in to:
            put = world.way(host, dst)
            if put is not None and world.link_rules.quiet and (host.actor, dst) not in self._lanes:
                put(frame)
            else:
                self._pass(host, dst, frame)

    def _pass(self, host: Host, dst: int, frame: Frame) -> None:
        """Send one frame to one receiver while faults are active."""
        world, src = self._world, host.actor
        put, party = world.way(host, dst), world.actor_of(host, dst)
        if put is None:
            world.dropped(src, party, frame.id, "no link")
            return
        delivery = self._judge(src, party, frame, world.now)
        if delivery.why is not None or delivery.corrupt:
            # Flipped bits are noticed by the link's authentication: so nothing arrives.
            world.dropped(src, party, frame.id, delivery.why or "corrupt")
        elif delivery.held is not None:
            again = partial(self._pass, host, dst, frame)
            world.link_rules.hold(delivery.held, partial(world.call, again))
        else:
            for _ in range(delivery.copies):
                self._release(src, dst, put, frame, world.now, delivery)

    def _judge(self, src: Party, dst: Party, frame: Frame, now: int) -> Delivery:
        self._draws += 1
        base = draws.key(self._seed, src, self._draws)

        def draw(purpose: str) -> float:
            return draws.uniform(draws.key(base, purpose), dst + (1 << 32))

        judged = speaker(src, dst, frame)
        return self._world.link_rules.judge(
            judged, dst, len(frame.body), now, draw, relayed=judged != src
        )

    def _release(
        self, src: Party, dst: int, put: Put, frame: Frame, now: int, delivery: Delivery
    ) -> None:
        if delivery.unordered and delivery.delay:

            def go() -> None:
                self._loose.discard(handle)
                put(frame)

            handle = self._world.loop.call_later(delivery.delay / 1e6, go)
            self._loose.add(handle)
            return
        lane = self._lanes.get((src, dst))
        if lane is None:
            if not delivery.delay:
                put(frame)
                return
            lane = self._lanes[src, dst] = _Lane()
        last = lane.waiting[-1][0] if lane.waiting else 0
        lane.waiting.append((max(last, now + delivery.delay), put, frame))
        if lane.timer is None:
            self._flow((src, dst), lane)

    def _flow(self, key: tuple[Party, int], lane: _Lane) -> None:
        """Let go what is due, and come back for the next."""
        lane.timer = None
        while lane.waiting:
            due, put, frame = lane.waiting[0]
            early = due - self._world.now
            if early > 0:
                lane.timer = self._world.loop.call_later(early / 1e6, self._flow, key, lane)
                return
            lane.waiting.popleft()
            put(frame)
        self._lanes.pop(key, None)

    def close(self) -> None:
        """Forget what waits."""
        for handle in self._loose:
            handle.cancel()
        self._loose.clear()
        for lane in self._lanes.values():
            if lane.timer is not None:
                lane.timer.cancel()
        self._lanes.clear()
