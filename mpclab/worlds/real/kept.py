"""Open worlds of this process: a forgotten lab lets go, and a forked child holds nothing.

A notebook runs the cell `lab = Lab(…); lab.start_server()` again: the lab that was there before is
nobody's any more, but its thread and its port live on. A caller that finds a port taken calls
`let_go` first, and can say whether the port is taken by this very process (`holder`).
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class Holder(Protocol):
    """A world that has sockets."""

    @property
    def server_url(self) -> str: ...
    def descriptors(self) -> list[int]: ...
    def disown(self) -> None: ...


_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_closing: list[threading.Thread] = []
PATIENCE = 10.0
"""Seconds that worlds which nobody holds may take to close."""


def hold(holder: Holder) -> None:
    """Know a world, for as long as it lives."""
    _holders.add(holder)


def close_elsewhere(close: Callable[[], None]) -> None:
    """Close a world that nobody holds from another thread than its own; `let_go` waits."""
    thread = threading.Thread(target=close, name="mpclab closing", daemon=True)
    _closing.append(thread)
    thread.start()


def let_go() -> None:
    """Have worlds that nobody holds close (as their finalizers do), and wait for them."""
    gc.collect()
    while _closing:
        thread = _closing.pop()
        if thread is not threading.current_thread():
            thread.join(PATIENCE)


def holder(port: int) -> Holder | None:
    """The world of this process that listens at `port`."""
    return next((it for it in list(_holders) if it.server_url.endswith(f":{port}")), None)


def _in_child() -> None:
    """After a fork: the child has none of its parent's threads, and must not keep its sockets."""
    for it in list(_holders):
        for descriptor in it.descriptors():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        it.disown()
    _holders.clear()
    _closing.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
