"""The asyncio host of nodes: what all real worlds share.

One daemon thread with its own event loop runs every node of a world, so that a notebook's
kernel stays responsive; calls cross over and wait for their answer. A host is a loop over
effects, and a crash may fall between any two of them. What a subclass adds is links.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar

from mpclab.core.effects import (
    Asked,
    CancelTimer,
    Delivered,
    Effect,
    Event,
    LinkClosed,
    LinkOpened,
    Persist,
    Send,
    SetTimer,
    Started,
    TimerFired,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.node import Node
from mpclab.core.wire import Frame
from mpclab.faults.border import Border
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.base import Build, World, record, text_of
from mpclab.worlds.lanes import Lanes
from mpclab.worlds.replay import Recording, describe_error
from mpclab.worlds.store import MemoryStore, SqliteStore, Store

T = TypeVar("T")

QUIET = 0.1
"""A run without an end is over when nothing happened for this long (s) and no timer is set."""


class NodeFailed(RuntimeError):
    """A node raised what it should not: a bug. It was stopped; the others go on.

    Attributes:
        actor: whose node it was.
        recording: its inputs up to this one, to be replayed.
    """

    def __init__(self, actor: Party, at: int, event: Event, error: BaseException) -> None:
        who = "the server" if actor == SERVER else f"party {actor}"
        super().__init__(
            f"{who} failed at {at / 1000:.3f} ms on {_brief(event)}: {describe_error(error)}"
        )
        self.actor = actor
        self.recording: Recording | None = None


class Host:
    """One actor: its node, what it stored, its timers, and what is wrong with it."""

    def __init__(self, world: RealWorld, actor: Party, build: Build, store: Store) -> None:
        self.world = world
        self.actor = actor
        self.build = build
        self.store = store
        self.base = 0  # of its session: party p is the actor base + p
        self.life = 0
        self.node: Node | None = None  # None: crashed
        self.recording: Recording | None = None
        self.filter: Callable[[list[Effect]], list[Effect]] | None = None
        self.paused: list[Event] | None = None  # what waits for the resumption
        self.handling: Event | None = None  # the event whose effects are being performed
        self.timers: dict[tuple[Path, str], tuple[asyncio.TimerHandle, bool]] = {}
        self._inbox: deque[Event] = deque()

    @property
    def alive(self) -> bool:
        return self.node is not None

    def begin(self) -> None:
        """A new life, from what is stored."""
        stored = self.store.load()
        self.life += 1
        self.recording = recording = Recording(self.actor, stored)
        self.node = self.build(recording.recording_coins, stored)
        self.base = self.actor - self.node.me
        self.feed(Started())

    def end(self) -> None:
        """Stop between two effects. Links are the world's to drop."""
        self.node = None
        self.paused = None
        self._inbox.clear()
        for handle, _ in self.timers.values():
            handle.cancel()
        self.timers.clear()

    def feed(self, event: Event) -> None:
        """Step the node and perform what it answers: at once, or after the step under way."""
        if self.paused is not None:
            self.paused.append(event)
            return
        self._inbox.append(event)
        if self.handling is None:
            self._work()

    def ask(self, event: Asked) -> None:
        """`feed`, but what the machine thinks of the ask is raised to the asker."""
        if self.handling is not None:
            raise UsageError("ask from inside a step; schedule it with `at`")
        self._inbox.append(event)
        self._work(raising=True)

    def _work(self, raising: bool = False) -> None:
        world = self.world
        while self._inbox and self.node is not None:
            self.handling = event = self._inbox.popleft()
            now = world.now
            try:
                self._step(event, now)
            except UsageError as error:  # an ask that cannot be done; the step had no effect
                if self.recording is not None:
                    self.recording.add(event, now, (), describe_error(error))
                if raising:
                    raise
                world.failed(self, event, now, error)
            except Exception as error:
                world.failed(self, event, now, error)
                if raising:
                    raise
            finally:
                self.handling = None
                world.stepped()

    def _step(self, event: Event, now: int) -> None:
        node, life, world = self.node, self.life, self.world
        assert node is not None
        if type(event) is TimerFired:
            world.trace.append(rows.Fired(now, self.actor, event.path, event.name))
        elif type(event) is Delivered:
            sender = world.actor_of(self, event.sender)
            world.trace.delivered(now, self.actor, sender, event.frame.id)
        effects = node.step(event, now)
        if self.recording is not None:
            self.recording.add(event, now, effects)
        if self.filter is not None:
            effects = self.filter(effects)
        for effect in effects:
            world.perform(self, effect, now)
            if self.node is None or self.life != life:
                return  # crashed between two effects

    def set_timer(self, effect: SetTimer) -> None:
        self.cancel_timer(effect.path, effect.name)
        self._arm(effect.path, effect.name, effect.at, effect.background)

    def _arm(self, path: Path, name: str, at: int, background: bool) -> None:
        # uvloop counts in whole milliseconds and may come early: then `_fire` arms again.
        delay = max(0, at - self.world.now) / 1e6
        handle = self.world.loop.call_later(delay, self._fire, path, name, at, background)
        self.timers[path, name] = handle, background

    def cancel_timer(self, path: Path, name: str) -> None:
        if known := self.timers.pop((path, name), None):
            known[0].cancel()

    def _fire(self, path: Path, name: str, at: int, background: bool) -> None:
        if self.world.now < at:
            self._arm(path, name, at, background)
        else:
            del self.timers[path, name]
            self.feed(TimerFired(path, name))


class RealWorld(World):
    """Nodes on an event loop of their own. Subclasses carry frames and open links.

    Args:
        folder: where parties keep what they persist, a SQLite file each; None: in memory.
        seed: of the coins of *faults* (which frames are lost); nodes' coins come from the
            operating system.
    """

    name: ClassVar[str] = "real"

    def __init__(self, *, folder: str | FilePath | None = None, seed: int = 0) -> None:
        self.trace = Trace()
        self.border = Border()
        self.recordings: dict[Party, list[Recording]] = {}
        self.failures: list[NodeFailed] = []
        self.loop = _new_loop()
        self._folder = FilePath(folder) if folder is not None else None
        self._hosts: dict[Party, Host] = {}
        self._lanes = Lanes(self, seed)
        self._began = time.monotonic_ns()
        self._last_step = time.monotonic()
        self._actions: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._activity = threading.Event()
        self._unraised: deque[NodeFailed] = deque()
        self._closed = False
        self.loop.set_exception_handler(self._stray)
        self._thread = threading.Thread(
            target=self.loop.run_forever, name=f"mpclab {self.name} world", daemon=True
        )
        self._thread.start()

    # --- the World interface ---------------------------------------------------------------

    @property
    def now(self) -> int:
        return (time.monotonic_ns() - self._began) // 1000

    @property
    def actors(self) -> tuple[Party, ...]:
        """The actors that are up, in the order in which they were first hosted."""
        return tuple(actor for actor, host in self._hosts.items() if host.alive)

    def host(self, actor: Party, build: Build) -> None:
        self.call(self._host, actor, build)

    def _host(self, actor: Party, build: Build) -> None:
        known = self._hosts.get(actor)
        if known is not None and known.alive:
            raise UsageError(f"{_who(actor)} is already here")
        if known is not None:
            known.store.close()
        store: Store = MemoryStore()
        if self._folder is not None:
            name = "server" if actor == SERVER else f"party-{actor}"
            store = SqliteStore(self._folder / f"{name}.sqlite")
        host = self._hosts[actor] = Host(self, actor, build, store)
        host.life = known.life if known else 0
        self._begin(host)

    def _begin(self, host: Host) -> None:
        try:
            host.begin()
        finally:
            if host.recording is not None:
                self.recordings.setdefault(host.actor, []).append(host.recording)

    def ask(self, actor: Party, path: Path, ask: Any) -> None:
        self.call(self._ask, actor, path, ask)

    def _ask(self, actor: Party, path: Path, ask: Any) -> None:
        host = self.alive(actor)
        if host.paused is not None:
            raise UsageError(f"{_who(actor)} is paused")
        self.trace.append(rows.Asked(self.now, actor, path, text_of(ask)))
        host.ask(Asked(path, ask))

    def look(self, actor: Party, read: Callable[[Node], Any]) -> Any:
        def read_it() -> Any:
            node = self.alive(actor).node
            assert node is not None
            return read(node)

        return self.call(read_it)

    def crash(self, actor: Party) -> None:
        self.call(self._crash, actor)

    def _crash(self, actor: Party) -> None:
        host = self.alive(actor)
        host.end()
        self.drop_links(host, goodbye=False)

    def restart(self, actor: Party, *, amnesia: bool = False) -> None:
        self.call(self._restart, actor, amnesia)

    def _restart(self, actor: Party, amnesia: bool) -> None:
        host = self._hosts.get(actor)
        if host is None or host.alive:
            raise UsageError(f"{_who(actor)} has not crashed")
        if amnesia:
            host.store.clear()
        self._begin(host)

    def remove(self, actor: Party) -> None:
        self.call(self._remove, actor)
        self.settle()

    def _remove(self, actor: Party) -> None:
        host = self.alive(actor)
        host.end()
        self.drop_links(host, goodbye=True)
        host.store.close()
        del self._hosts[actor]

    def pause(self, actor: Party) -> None:
        """The party does nothing until `resume`; what arrives waits."""

        def pause_it() -> None:
            host = self.alive(actor)
            host.paused = host.paused or []

        self.call(pause_it)

    def resume(self, actor: Party) -> None:
        """The party goes on with what arrived meanwhile."""

        def resume_it() -> None:
            host = self.alive(actor)
            waiting, host.paused = host.paused or [], None
            for event in waiting:
                host.feed(event)

        self.call(resume_it)

    def set_filter(
        self, actor: Party, filter: Callable[[list[Effect]], list[Effect]] | None
    ) -> None:
        """Put a party's effects through `filter`: that is what a Byzantine party is."""

        def set_it() -> None:
            self.alive(actor).filter = filter

        self.call(set_it)

    def at(self, time: int, action: Callable[[], None]) -> None:
        def act() -> None:
            self._actions.discard(handle)
            action()
            self.stepped()

        def set_it() -> asyncio.TimerHandle:
            timer = self.loop.call_later(max(0, time - self.now) / 1e6, act)
            self._actions.add(timer)
            return timer

        handle = self.call(set_it)

    def run(self, until: Callable[[], bool] | None = None, *, limit: int | None = None) -> bool:
        if threading.current_thread() is self._thread:
            raise RuntimeError("run() was called in the world's own thread; it would never end")
        end = None if limit is None else self.now + limit
        while True:
            self._activity.clear()
            if self._unraised:
                raise self._unraised.popleft()
            if until is not None and until():
                return True
            left = QUIET if end is None else (end - self.now) / 1e6
            if left <= 0 or (end is None and self.call(self._idle)):
                return False
            if self._activity.wait(left):
                # Each step wakes us: leave the interpreter to the world's thread for a while.
                time.sleep(0.001)

    def _idle(self) -> bool:
        foreground = any(
            not background
            for host in self._hosts.values()
            for _, background in host.timers.values()
        )
        busy = foreground or self._actions or self._tasks or self._lanes.holding
        return not busy and time.monotonic() - self._last_step >= QUIET

    def close(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("close() was called in the world's own thread")
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._shut_down(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _shut_down(self) -> None:
        for timer in self._actions:
            timer.cancel()
        for host in self._hosts.values():
            host.end()
        for host in self._hosts.values():
            self.drop_links(host, goodbye=True)
            host.store.close()
        self._lanes.close()
        while self._tasks:
            await asyncio.wait(self._tasks)
        current = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not current]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.loop.shutdown_asyncgens()

    # --- crossing threads -------------------------------------------------------------------

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)` in the world's thread; its result, or what it raised."""
        if threading.current_thread() is self._thread:
            return function(*args)
        if self._closed:
            raise UsageError("this world is closed")
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(function(*args))
            except BaseException as error:
                answer.set_exception(error)

        self.loop.call_soon_threadsafe(work)
        return answer.result()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in the world's thread; `settle` and `close` wait for it."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def settle(self) -> None:
        """Wait for what was begun (unless called in the world's own thread)."""

        async def wait() -> None:
            while self._tasks:
                await asyncio.wait(set(self._tasks))

        if threading.current_thread() is not self._thread:
            asyncio.run_coroutine_threadsafe(wait(), self.loop).result()

    # --- steps, for hosts ------------------------------------------------------------------

    def alive(self, actor: Party) -> Host:
        """The host of an actor that runs."""
        host = self._hosts.get(actor)
        if host is None or not host.alive:
            raise UsageError(f"{_who(actor)} is not running")
        return host

    def stepped(self) -> None:
        """Something happened that a `run` may have waited for."""
        self._last_step = time.monotonic()
        if not self._activity.is_set():
            self._activity.set()

    def failed(self, host: Host, event: Event, now: int, error: Exception) -> None:
        """A bug: stop this node, keep the error for `run`, let the others go on."""
        failure = NodeFailed(host.actor, now, event, error)
        failure.__cause__ = error
        failure.recording = host.recording
        if host.recording is not None and (
            not host.recording.steps or host.recording.steps[-1].event is not event
        ):
            host.recording.add(event, now, (), describe_error(error))
        self.failures.append(failure)
        self._unraised.append(failure)
        self.trace.append(rows.Noted(now, host.actor, (), "failed", {"error": str(failure)}))
        if host.alive:
            self._crash(host.actor)

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody awaited, in a callback or a task: a bug of ours."""
        error = context.get("exception") or RuntimeError(context["message"])
        failure = NodeFailed(rows.WORLD, self.now, Started(), error)
        failure.__cause__ = error
        self.failures.append(failure)
        self._unraised.append(failure)
        self.stepped()

    # --- effects ---------------------------------------------------------------------------

    def perform(self, host: Host, effect: Effect, now: int) -> None:
        """Do what a node wants."""
        kind = type(effect)
        if kind is Send:
            self.send(host, effect, now)  # type: ignore[arg-type]
        elif kind is SetTimer:
            host.set_timer(effect)  # type: ignore[arg-type]
        elif kind is CancelTimer:
            host.cancel_timer(effect.path, effect.name)  # type: ignore[union-attr]
        else:
            if kind is Persist:
                host.store.put(effect.path, effect.key, effect.value)  # type: ignore[union-attr]
            self.note(host, effect, now)
            self.link_verb(host, effect)

    def note(self, host: Host, effect: Effect, now: int) -> None:
        """Append the row of an effect."""
        record(self.trace, now, host.actor, effect, host.base)

    def send(self, host: Host, effect: Send, now: int) -> None:
        """A frame leaves a party: its row, and if it goes by link, the way to the link."""
        actors = tuple([self.actor_of(host, dst) for dst in effect.to])
        self.note(host, Send(actors, effect.frame, effect.via), now)
        if effect.via == "link":
            self._lanes.transmit(host, effect.to, effect.frame, now)
        elif effect.via == "none":
            for dst in actors:
                self.dropped(host.actor, dst, effect.frame.id, "no link")

    def dropped(self, src: Party, dst: Party, id: int, why: str) -> None:
        self.trace.append(rows.Dropped(self.now, dst, src, id, why))

    def linked(self, host: Host, event: LinkOpened | LinkClosed) -> None:
        """A link of a party came up or went away: its row, and the party is told."""
        state, detail = "open", ""
        if type(event) is LinkClosed:
            state, detail = "closed", event.reason
        peer = self.actor_of(host, event.peer)
        self.trace.append(rows.Linked(self.now, host.actor, peer, state, event.attempt, detail))
        host.feed(event)

    # --- what a subclass says ----------------------------------------------------------------

    def actor_of(self, host: Host, number: int) -> Party:
        """The actor whom `host` knows by `number`: a party of its session, or 0, the server."""
        return host.base + number if number != SERVER else SERVER

    def way(self, host: Host, dst: int) -> Callable[[Frame], None] | None:
        """A function that puts a frame on the link from `host` to `dst`; None: no link."""
        return None

    def fan_out(self, host: Host, to: tuple[int, ...], frame: Frame) -> bool:
        """Send to several at once where no fault is active; False: not supported."""
        return False

    def link_verb(self, host: Host, effect: Effect) -> None:
        """Open, answer or close a link."""

    def drop_links(self, host: Host, *, goodbye: bool) -> None:
        """Close all links of an actor; without goodbye: as a machine that lost its power."""


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform != "win32":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def _who(actor: Party) -> str:
    return "the server" if actor == SERVER else f"party {actor}"


def _brief(event: Event) -> str:
    match event:
        case Delivered(sender, frame):
            return f"{frame} from {sender}"
        case TimerFired(path, name):
            return f"timer {name!r} of {'/'.join(path) or 'its top'}"
        case Asked(path, ask):
            return f"an ask of {'/'.join(path) or 'its top'}: {text_of(ask)}"
    return type(event).__name__
