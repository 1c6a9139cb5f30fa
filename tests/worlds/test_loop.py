"""The thread of a real world ends, whatever runs in it."""

import asyncio
import threading

import pytest

from mpclab.core.errors import UsageError
from mpclab.worlds.real import loop as module
from mpclab.worlds.real.loop import LoopThread


async def nothing() -> None:
    pass


def test_a_task_that_never_ends_does_not_hold_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSING_SECONDS", 0.2)
    ended = threading.Event()

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    thread = LoopThread("stuck", lambda loop, context: None)
    thread.call(lambda: thread.spawn(stuck(), closing=True))
    thread.close(nothing)
    assert ended.is_set()
    assert not [one for one in threading.enumerate() if one.name == "stuck"]


def test_a_task_that_ends_in_time_ends_by_itself() -> None:
    said: list[str] = []
    go = asyncio.Event()

    async def slow() -> None:
        await go.wait()
        said.append("goodbye")

    async def shut_down() -> None:
        go.set()

    thread = LoopThread("slow", lambda loop, context: None)
    thread.call(lambda: thread.spawn(slow(), closing=True))
    thread.close(shut_down)
    assert said == ["goodbye"]


def test_nobody_comes_in_while_it_ends() -> None:
    thread = LoopThread("ending", lambda loop, context: None)
    said: list[str] = []

    async def shut_down() -> None:
        def late() -> None:
            with pytest.raises(UsageError, match="this world is closed"):
                thread.call(said.append, "late")
            thread.settle()
            said.append("refused")

        await asyncio.to_thread(late)

    thread.close(shut_down)
    assert said == ["refused"]
