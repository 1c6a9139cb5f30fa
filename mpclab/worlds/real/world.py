"""The base of all real worlds: an event loop in a thread of its own, and hosts of nodes in it.

One daemon thread runs every node of a world, so that a notebook's kernel stays responsive;
calls cross over and wait for their answer. Subclasses carry frames and open links.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar

from mpclab.core.effects import Effect, Event, Persist, Send, Started
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.trace.tail import TailTrace
from mpclab.worlds.failures import NodeFailed
from mpclab.worlds.host import Host
from mpclab.worlds.live import QUIET, LiveWorld
from mpclab.worlds.real.descriptors import explained, raise_descriptor_limit
from mpclab.worlds.real.failpoints import from_environment
from mpclab.worlds.real.loop import LoopThread
from mpclab.worlds.real.store import SqliteStore
from mpclab.worlds.stores import MemoryStore, Store

T = TypeVar("T")

_PLACES: dict[type, str] = {Persist: "persist", Send: "send"}
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.005
"""Seconds between two looks at what a `run` waits for."""


class RealWorld(LiveWorld):
    """Nodes on an event loop of their own. Subclasses carry frames and open links.

    Args:
        folder: where parties keep what they persist, a SQLite file each; None: in memory.
        seed: of the coins of *faults* (which frames are lost); nodes' coins come from the
            operating system.
        record: keep every input of every node, up to a bound, so that all can be replayed.
            Recordings hold **all that parties knew**, their secrets included.
        trace: where rows go, instead of a new `Trace`; a `TailTrace` where memory must not grow
            with what happens.

    Attributes:
        failpoints: where parties of this world shall end, or a server that is alone in it; None:
            nowhere.
    """

    name: ClassVar[str] = "real"

    def __init__(
        self,
        *,
        folder: str | FilePath | None = None,
        seed: int = 0,
        record: bool = False,
        trace: Trace | None = None,
    ) -> None:
        raise_descriptor_limit()
        self._folder = FilePath(folder) if folder is not None else None
        self._activity = threading.Event()
        self._closed = False
        self.failpoints = from_environment()
        self.thread = LoopThread(f"mpclab {self.name} world", self._stray)
        super().__init__(self.thread.loop, seed=seed, record=record, trace=trace)

    # --- effects, and the places between them ------------------------------------------------

    def perform(self, host: Host, effect: Effect) -> None:
        place = _PLACES.get(type(effect)) if self.failpoints is not None else None
        if place is not None and host.actor == SERVER and len(self.actors) > 1:
            place = None  # what a server does between two of a party's effects counts for nobody
        if place is None:
            super().perform(host, effect)
        elif not self._ends_at(host, f"before-{place}"):
            super().perform(host, effect)
            self._ends_at(host, f"after-{place}")

    def _ends_at(self, host: Host, place: str) -> bool:
        """Whether a failpoint ends the party here."""
        if self.failpoints is None or not self.failpoints.hit(place):
            return False
        self._crash(host.actor)
        return True

    # --- the World interface ---------------------------------------------------------------

    def since(self, moment: int) -> int:
        """How long after this world a clock began, µs; `moment` in ns of the monotonic clock,
        which all processes of a machine share."""
        return (moment - self.began) // 1000

    def is_mine(self) -> bool:
        """Whether this is the world's own thread."""
        return self.thread.is_current()

    def _store_of(self, actor: Party) -> Store:
        """Where an actor keeps what it persists. The server's sessions end with the world."""
        if self._folder is None or actor == SERVER:
            return MemoryStore()
        owner = self._owners.get(actor, {})
        name = f"{owner['session']}-{owner['party']}" if owner else f"party-{actor}"
        older = self._folder / f"party-{actor}.sqlite"
        if owner and older.exists():
            raise UsageError(
                f"{older} is of an earlier version and does not say whose it is; use another "
                f"folder, or move it away"
            )
        return SqliteStore(self._folder / f"{name}.sqlite", owner)

    # --- time ---------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool] | None = None, *, limit: int | None = None) -> bool:
        if self.thread.is_current():
            raise RuntimeError("run() was called in the world's own thread; it would never end")
        end = None if limit is None else self.now + limit
        pause = _SHORTEST_PAUSE
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
                # Each step wakes us: leave the interpreter to the world's thread for a while, and
                # the longer the longer this goes on, so that looking costs little beside it.
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _idle(self) -> bool:
        return not self.thread.tasks and super()._idle()

    def close(self) -> None:
        if self.thread.is_current():
            raise RuntimeError("close() was called in the world's own thread")
        if not self._closed:
            self.thread.close(self._shut_down)
            self._closed = True
            if isinstance(self.trace, TailTrace):
                self.trace.close()

    def disown(self) -> None:
        """In a forked child: this world is the parent's."""
        self._closed = True
        self.thread.disown()

    async def _shut_down(self) -> None:
        for timer in self._actions:
            timer.cancel()
        for host in self._hosts.values():
            host.end()
        for host in self._hosts.values():
            self.drop_links(host, goodbye=True)
            host.store.close()
        self._delays.close()

    # --- crossing threads -------------------------------------------------------------------

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)` in the world's thread; its result, or what it raised."""
        return self.thread.call(function, *args)

    def spawn(self, work: Coroutine[Any, Any, None], *, closing: bool = False) -> None:
        """Run `work` in the world's thread. `close` waits for it; `settle` if it is closing."""
        self.thread.spawn(work, closing=closing)

    def settle(self) -> None:
        """Wait until what is being closed is closed (not in the world's own thread)."""
        self.thread.settle()

    def stepped(self) -> None:
        """Something happened that a `run` may have waited for."""
        super().stepped()
        if not self._activity.is_set():
            self._activity.set()

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody awaited, in a callback or a task: a bug of ours."""
        if self.excuses(context):
            return
        error = self._explained(context.get("exception") or RuntimeError(context["message"]))
        failure = NodeFailed(rows.WORLD, self.now, Started(), error, self.seed)
        self.failures.append(failure)
        self._unraised.append(failure)
        self.stepped()

    def failed(self, host: Host, event: Event, error: Exception) -> None:
        super().failed(host, event, self._explained(error))

    def _explained(self, error: Exception) -> Exception:
        parties = sum(actor != SERVER for actor in self.actors)
        return explained(error, parties, channels=self.name == "webrtc")

    def excuses(self, context: dict[str, Any]) -> bool:
        """Whether an exception that nobody awaited is no bug of ours."""
        return False
