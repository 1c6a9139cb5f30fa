"""The host of one node where time is real: the loop over its effects, its timers, its clock.

`for effect in node.step(event, now): world.perform(effect)`, and around it what a party may
suffer: a crash between two effects, a pause, a slow machine, a wrong clock, corruption.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from mpclab.core.effects import (
    Asked,
    Delivered,
    Effect,
    Event,
    SetTimer,
    Started,
    TimerFired,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.node import Coins, Node
from mpclab.trace import rows
from mpclab.worlds.adversary import Adversaries, Site
from mpclab.worlds.base import Build
from mpclab.worlds.clock import Skew
from mpclab.worlds.recording import Recording, describe_error
from mpclab.worlds.stores import Store
from mpclab.worlds.turns import MOST_WAITING, Turns

LATE = 0.25
"""Seconds of delay from which on we are busy: then nobody else is given up for it at once."""
_WAIT_MORE = 1.0
_WAIT_MOST = 30_000_000  # µs


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """What lets things happen later: an event loop of asyncio, or of a browser."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call `callback(*args)` in `delay` seconds."""


class HostingWorld(Site, Protocol):
    """The world as a host needs it."""

    loop: Loop
    turns: Turns
    adversaries: Adversaries
    record: bool

    def actor_of(self, host: Host, number: int) -> Party: ...
    def perform(self, host: Host, effect: Effect) -> None: ...
    def dropped(self, src: Party, dst: Party, id: int, why: str) -> None: ...
    def failed(self, host: Host, event: Event, error: Exception) -> None: ...
    def bug_in(self, host: Host) -> Exception | None: ...
    def stepped(self) -> None: ...
    def is_slow(self, host: Host, seconds: float) -> None: ...


class Host:
    """One actor: its node, what it stored, its timers, and what is wrong with it."""

    def __init__(self, world: HostingWorld, actor: Party, build: Build, store: Store) -> None:
        self.world = world
        self.actor = actor
        self.build = build
        self.store = store
        self.base = 0  # of its session: party p is the actor base + p
        self.incarnation = 0
        self.frames = 1  # the number of the next incarnation's first frame
        self.node: Node | None = None  # None: crashed
        self.recording: Recording | None = None
        self.paused: list[Event] | None = None  # what waits for the resumption
        self.cost = 0  # µs that each step takes (fault "slow")
        self.skew: Skew | None = None
        self.drawn = 0  # coins that adversaries took without a key
        self.timers: dict[tuple[Path, str], tuple[Timer, bool]] = {}
        self._working = False
        self._put_off = False  # what is left in the inbox has another turn
        self._inbox: deque[Event] = deque()
        self._late: deque[tuple[int, Event]] = deque()  # what a slow party will come to
        self._late_timer: Timer | None = None

    @property
    def alive(self) -> bool:
        return self.node is not None

    @property
    def is_delayed(self) -> bool:
        """Whether an event that came now would have to wait, or would see another clock."""
        return (
            self._working
            or bool(self._inbox)
            or self.paused is not None
            or bool(self.cost or self._late)
            or self.skew is not None
        )

    @property
    def clock(self) -> int:
        """The reading of the party's own clock, µs."""
        now = self.world.now
        return now if self.skew is None else self.skew.local(now)

    # --- incarnations -----------------------------------------------------------------------

    def begin(self) -> None:
        """A new incarnation, from what is stored."""
        stored = self.store.load()
        self.incarnation += 1
        coins: Coins = _system_coins
        if self.world.record:
            self.recording = Recording(self.actor, stored)
            coins = self.recording.recording_coins
        self.node = self.build(coins, stored)
        self.node.next_id = self.frames
        self.world.adversaries.enter(self.world, self)
        self.base = self.actor - self.node.me
        self.feed(Started())

    def end(self) -> None:
        """Stop between two effects. Links are the world's to drop."""
        if self.node is not None:
            self.frames = self.node.next_id
        self.node = None
        waiting = [*(self.paused or ()), *self._inbox, *(event for _, event in self._late)]
        for event in waiting:
            if type(event) is Delivered:
                sender = self.world.actor_of(self, event.sender)
                self.world.dropped(sender, self.actor, event.frame.id, "crashed")
        self.paused = None
        self._inbox.clear()
        self._late.clear()
        for handle, _ in self.timers.values():
            handle.cancel()
        self.timers.clear()

    # --- steps ------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Step the node and perform what it answers: at once, or when its turn comes."""
        if self.node is None:
            return
        if self.paused is not None:
            self.paused.append(event)
        elif self.cost or self._late:
            now = self.world.now
            busy = self._late[-1][0] if self._late else now
            self._late.append((max(busy, now) + self.cost, event))
            self._come_to_it()
        else:
            self._inbox.append(event)
            if not self._working:
                self._work()

    def _come_to_it(self) -> None:
        """Do what a slow party has had the time for."""
        if self._late_timer is not None:
            self._late_timer.cancel()
            self._late_timer = None
        while self._late and self._late[0][0] <= self.world.now:
            self._inbox.append(self._late.popleft()[1])
        if self._late:
            wait = max(1000, self._late[0][0] - self.world.now) / 1e6
            self._late_timer = self.world.loop.call_later(wait, self._come_to_it)
        if not self._working:
            self._work()

    def ask(self, event: Asked) -> None:
        """`feed` now; what the machine thinks of the ask is raised to the asker."""
        if self._working:
            raise UsageError("ask from inside a step; schedule it with `at`")
        self._inbox.append(event)
        self._work(raising=True)

    def pause(self) -> None:
        """Do nothing until `resume`."""
        self.paused = list(self._inbox)
        self._inbox.clear()

    def resume(self) -> None:
        """Go on with what arrived during a pause."""
        waiting, self.paused = self.paused or [], None
        for event in waiting:
            self.feed(event)

    @property
    def is_behind(self) -> bool:
        """Whether something waits for its turn."""
        return bool(self._inbox)

    def go_on(self) -> None:
        """It is our turn again."""
        self._put_off = False
        if not self._working:
            self._work()

    def _work(self, raising: bool = False) -> None:
        """Step through the inbox, as far as this turn goes. Whoever asks does not wait, nor does
        the server, whose steps are short and whose readers are not to fill its memory."""
        turns, patient = self.world.turns, not raising and self.actor != SERVER
        while self._inbox and self.node is not None:
            if patient and turns.over and len(self._inbox) <= MOST_WAITING:
                if not self._put_off:
                    self._put_off = True
                    turns.put_off(self)
                return
            self._working = True
            event = self._inbox.popleft()
            began = time.perf_counter()
            try:
                self._step(event, self.clock)
            except UsageError:
                # An ask that cannot be done. Elsewhere: a bug.
                if type(event) is not Asked:
                    raise
                if raising:
                    raise
            finally:
                self._working = False
                turns.spend(began, time.perf_counter())
                self.world.stepped()

    def _step(self, event: Event, now: int) -> None:
        """One step, recorded; a bug ends this incarnation and is kept for the world's caller."""
        node, recording, world = self.node, self.recording, self.world
        assert node is not None
        if type(event) is TimerFired:
            if node.timers.get((event.path, event.name), now + 1) > now:
                return  # replaced or cancelled while it waited
            world.trace.append(rows.Fired(world.now, self.actor, event.path, event.name))
        elif type(event) is Delivered:
            sender = world.actor_of(self, event.sender)
            world.trace.delivered(world.now, self.actor, sender, event.frame.id)
        first, said = node.next_id, recording.dictate(node) if recording else None
        try:
            effects = node.step(event, now)
        except Exception as error:
            refused = type(event) is Asked and isinstance(error, UsageError)
            effects = node.out if refused else []  # what others did before one refused
            if recording is not None:
                recording.add(event, now, first, effects, describe_error(error), said=said)
            if refused:
                self._do(event, effects)
                raise
            world.failed(self, event, error)
            return
        if recording is not None:
            recording.add(event, now, first, effects, said=said)
        if node.contained and (bug := world.bug_in(self)) is not None:
            world.failed(self, event, bug)
            return
        self._do(event, effects)

    def _do(self, event: Event, effects: list[Effect]) -> None:
        try:
            self.perform(self.world.adversaries.filtered(self.world, self, effects))
        except Exception as error:
            self.world.failed(self, event, error)

    def perform(self, effects: list[Effect]) -> None:
        """Do what the node wants, one after another, until the end of its incarnation."""
        incarnation = self.incarnation
        for effect in effects:
            if self.node is None or self.incarnation != incarnation:
                return  # crashed between two effects
            self.world.perform(self, effect)

    # --- timers -----------------------------------------------------------------------------

    def set_timer(self, effect: SetTimer) -> None:
        self.cancel_timer(effect.path, effect.name)
        self._arm(effect.path, effect.name, effect.at, effect.background)

    def cancel_timer(self, path: Path, name: str) -> None:
        if known := self.timers.pop((path, name), None):
            known[0].cancel()

    def set_skew(self, skew: Skew | None) -> None:
        """Another clock: what was due at a time of the old one is due at that of the new."""
        self.skew = skew
        if self.node is not None:
            for (path, name), at in self.node.timers.items():
                if known := self.timers.get((path, name)):
                    known[0].cancel()
                    self._arm(path, name, at, known[1])

    def _arm(self, path: Path, name: str, at: int, background: bool) -> None:
        # uvloop counts in whole milliseconds and may come early: then `_fire` arms again.
        due = at if self.skew is None else self.skew.world(at)
        now = self.world.now
        delay = max(0, due - now)
        expected = now + delay
        handle = self.world.loop.call_later(
            delay / 1e6, self._fire, path, name, at, background, expected, expected
        )
        self.timers[path, name] = handle, background

    def _fire(
        self, path: Path, name: str, at: int, background: bool, first: int, expected: int
    ) -> None:
        """The time has come, unless we are so busy that what it waited for may have come as well.

        A deadline says of others that they are silent. When we ourselves come late to it, or have
        events waiting for a turn, it is asked again a little later. Background timers say
        something or look after something; they wait for nobody.

        Args:
            first, expected: when we wanted to be called, in world time: at first, and this time.
        """
        if self.clock < at:
            self._arm(path, name, at, background)
            return
        world = self.world
        late = (world.now - expected) / 1e6
        busy = max(world.turns.behind, late)
        if busy >= LATE and not background and world.now - first < _WAIT_MOST:
            world.is_slow(self, busy)
            wait = min(busy, _WAIT_MORE)
            handle = world.loop.call_later(
                wait, self._fire, path, name, at, background, first, world.now + int(wait * 1e6)
            )
            self.timers[path, name] = handle, background
            return
        del self.timers[path, name]
        self.feed(TimerFired(path, name))


def _system_coins(path: Path) -> random.Random:
    """Coins of the operating system; nobody notes them."""
    return random.SystemRandom()
