"""An event loop in a thread of its own, so that a notebook's kernel stays responsive."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from mpclab.core.errors import UsageError

T = TypeVar("T")

CLOSING_SECONDS = 10.0
"""Seconds that a closing world gives its tasks. A peer connection that does not end is cancelled:
seen once in hundreds of meshes on a busy machine, where it held its notebook for good."""


class LoopThread:
    """One daemon thread with a running event loop, and the ways into it.

    Args:
        name: of the thread.
        stray: told of exceptions that nobody awaited.

    Attributes:
        loop: to be used in its own thread alone.
        tasks: what runs there; `close` waits for them.
    """

    def __init__(
        self, name: str, stray: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]
    ) -> None:
        self.loop = _new_loop()
        self.loop.set_exception_handler(stray)
        self.tasks: set[asyncio.Task[Any]] = set()
        self._closings: set[asyncio.Task[Any]] = set()  # those of them that free something
        self._ending: Future[None] | None = None  # the shutdown, once it has begun
        self._entry = threading.Lock()  # nobody comes in once the shutdown has begun
        self._stopped = False
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def is_current(self) -> bool:
        """Whether this is the loop's own thread."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)` in the loop's thread; its result, or what it raised.

        Raises:
            UsageError: the loop has ended, or is ending.
        """
        if self.is_current():
            return function(*args)
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(function(*args))
            except BaseException as error:
                answer.set_exception(error)

        with self._entry:
            if self._stopped or self._ending is not None:
                raise UsageError("this world is closed")
            self.loop.call_soon_threadsafe(work)
        while not wait((answer,), 1.0).done:
            if not self._thread.is_alive() and not answer.done():
                raise UsageError("this world is closed")
        return answer.result()

    def spawn(self, work: Coroutine[Any, Any, None], *, closing: bool = False) -> None:
        """Run `work` in the loop. `close` waits for it; `settle` too if it is closing something."""
        task = self.loop.create_task(work)
        for waited in (self.tasks, self._closings) if closing else (self.tasks,):
            waited.add(task)
            task.add_done_callback(waited.discard)

    def settle(self) -> None:
        """Wait until what is being closed is closed (not in the loop's own thread)."""

        async def wait_for_them() -> None:
            if self._closings:
                await asyncio.wait(set(self._closings))

        if not self.is_current():
            with self._entry:
                if self._stopped or self._ending is not None:
                    return  # the shutdown waits for them
                settled = asyncio.run_coroutine_threadsafe(wait_for_them(), self.loop)
            settled.result()

    def close(self, shut_down: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `shut_down` once, wait for all tasks, and end the thread.

        One that was interrupted is taken up where it was by calling it again.
        """
        with self._entry:
            if self._ending is None:
                self._ending = asyncio.run_coroutine_threadsafe(self._end(shut_down), self.loop)
        self._ending.result()
        if self._thread.is_alive():
            self._stopped = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        self.loop.close()

    def disown(self) -> None:
        """In a forked child: the thread is the parent's alone; there is nothing to end here."""
        self._entry = threading.Lock()  # the parent's may have been taken just then
        self._stopped = True

    async def _end(self, shut_down: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await shut_down()
        deadline = self.loop.time() + CLOSING_SECONDS
        while self.tasks and (left := deadline - self.loop.time()) > 0:
            await asyncio.wait(self.tasks, timeout=left)
        current = asyncio.current_task()
        late = [task for task in asyncio.all_tasks() if task is not current]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await self.loop.shutdown_asyncgens()


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform != "win32":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()
