"""Simulated time against the wall clock: a thread that lets the world run a little, often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mpclab.core.ids import SECOND
from mpclab.worlds.simulated import SimulatedWorld

_TICK = 0.03  # seconds of wall clock between two slices


class Pacer:
    """Runs `world` at `speed` virtual seconds a second until `stop`.

    An error in the world stops the pacing and is raised by the next `wait` or `stop`.
    """

    def __init__(self, world: SimulatedWorld, speed: float) -> None:
        self._world = world
        self._speed = speed
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._go, name="mpclab-pacer", daemon=True)
        self._thread.start()

    def _go(self) -> None:
        last = time.monotonic()
        while not self._over.wait(_TICK):
            now = time.monotonic()
            try:
                self._world.run(limit=round((now - last) * self._speed * SECOND))
            except BaseException as error:  # kept for the caller; a thread has nobody to tell
                self._error = error
                return
            last = now

    @property
    def speed(self) -> float:
        """Virtual seconds a second; 0 once an error has stopped it."""
        return self._speed if self._error is None else 0.0

    def wait(self, until: Callable[[], bool] | None, limit: int) -> bool:
        """Block until `until()` holds or `limit` virtual µs have passed; whether it held."""
        end = self._world.now + limit
        while self._error is None and self._world.now < end:
            if until is not None and until():
                return True
            if self._over.wait(_TICK):
                break
        self._raise()
        return until() if until is not None else False

    def stop(self) -> None:
        """Time stands still again."""
        self._over.set()
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
