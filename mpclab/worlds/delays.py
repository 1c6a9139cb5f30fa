"""Link rules at real links: the one place that every outgoing frame passes.

With no fault active a frame goes straight to its link. Otherwise each receiver's delivery is
judged; a delayed frame waits here, and frames of one direction keep their order (as on a data
channel) unless the fault is that they do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from mpclab.core.ids import Party
from mpclab.core.wire import Frame
from mpclab.faults import draws
from mpclab.faults.link_rules import Delivery, LinkRules
from mpclab.worlds.base import speaker
from mpclab.worlds.host import Host, Loop, Timer

Put = Callable[[Frame], None]


class CarryingWorld(Protocol):
    """The world as delay queues need it."""

    link_rules: LinkRules
    loop: Loop

    @property
    def now(self) -> int: ...
    def call(self, function: Callable[[], None]) -> None: ...
    def actor_of(self, host: Host, number: int) -> Party: ...
    def dropped(self, src: Party, dst: Party, id: int, why: str) -> None: ...
    def way(self, host: Host, dst: int) -> Put | None: ...
    def fan_out(self, host: Host, to: tuple[int, ...], frame: Frame) -> bool: ...


class _DelayQueue:
    """Frames from one actor to another that wait for their time, in order."""

    __slots__ = ("timer", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, Put, Frame]] = deque()
        self.timer: Timer | None = None


class DelayQueues:
    """All directed links of a world.

    Args:
        world: whose `link_rules` judges, and whose links carry.
        seed: of the faults' coins.
    """

    def __init__(self, world: CarryingWorld, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._queues: dict[tuple[Party, int], _DelayQueue] = {}
        self._loose: set[Timer] = set()
        self._draws = 0

    @property
    def holding(self) -> bool:
        """Whether some frame waits here."""
        return bool(self._loose) or any(queue.waiting for queue in self._queues.values())

    def transmit(self, host: Host, to: tuple[int, ...], frame: Frame) -> None:
        """Send `frame` to each of `to`, through the active link rules."""
        world = self._world
        if world.link_rules.quiet and not self._queues and world.fan_out(host, to, frame):
            return
        for dst in to:
            put = world.way(host, dst)
            if put is not None and world.link_rules.quiet and (host.actor, dst) not in self._queues:
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
            judged, dst, len(frame.body), now, draw, relayed=judged != src, kind=frame.kind
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
        queue = self._queues.get((src, dst))
        if queue is None:
            if not delivery.delay:
                put(frame)
                return
            queue = self._queues[src, dst] = _DelayQueue()
        last = queue.waiting[-1][0] if queue.waiting else 0
        queue.waiting.append((max(last, now + delivery.delay), put, frame))
        if queue.timer is None:
            self._flow((src, dst), queue)

    def _flow(self, key: tuple[Party, int], queue: _DelayQueue) -> None:
        """Let go what is due, and come back for the next."""
        queue.timer = None
        while queue.waiting:
            due, put, frame = queue.waiting[0]
            early = due - self._world.now
            if early > 0:
                queue.timer = self._world.loop.call_later(early / 1e6, self._flow, key, queue)
                return
            queue.waiting.popleft()
            put(frame)
        self._queues.pop(key, None)

    def close(self) -> None:
        """Forget what waits."""
        for handle in self._loose:
            handle.cancel()
        self._loose.clear()
        for queue in self._queues.values():
            if queue.timer is not None:
                queue.timer.cancel()
        self._queues.clear()
