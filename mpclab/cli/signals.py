"""SIGTERM and SIGHUP are Ctrl-C: what systemd, docker, `kill` and a terminal that is closed send
ends a program as its user would."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ENDING = ("SIGTERM", "SIGINT", "SIGHUP")


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, the first of them raises `KeyboardInterrupt`; later ones are ignored, so
    that nobody is interrupted while saying goodbye. Holds for process 1 of a container too,
    where a signal without a handler does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            raise KeyboardInterrupt

    before: dict[int, Any] = {}
    for number in [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]:
        if signal.getsignal(number) is signal.SIG_IGN and number != signal.SIGTERM:
            continue  # a shell's background job, or nohup: it is for somebody else
        before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
