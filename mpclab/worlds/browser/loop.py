"""`PageLoop`: things that happen later, by one timer of the page."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from mpclab.worlds.browser.page import Page


class _Handle:
    __slots__ = ("act",)

    def __init__(self, act: Callable[[], object] | None) -> None:
        self.act = act

    def cancel(self) -> None:
        self.act = None


class PageLoop:
    """What is due, in order; the page wakes us when the first of it is.

    Args:
        failed: told what a callback raised. The others are called all the same.
    """

    def __init__(self, page: Page, failed: Callable[[Exception], None]) -> None:
        self._page = page
        self._failed = failed
        self._waiting: list[tuple[float, int, _Handle]] = []
        self._order = count()
        self._wakes_at = float("inf")

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> _Handle:
        handle = _Handle((lambda: callback(*args)) if args else callback)
        due = time.monotonic() + max(0.0, delay)
        heapq.heappush(self._waiting, (due, next(self._order), handle))
        if due < self._wakes_at:
            self._sleep()
        return handle

    def wake(self) -> None:
        """Do what is due now. Of what comes up meanwhile nothing, so that the page has its turn."""
        self._wakes_at = float("inf")
        now, due = time.monotonic(), []
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][2].act is None):
            due.append(heapq.heappop(self._waiting)[2])
        for handle in due:
            act, handle.act = handle.act, None
            if act is not None:
                try:
                    act()
                except Exception as error:
                    self._failed(error)
        self._sleep()

    def _sleep(self) -> None:
        if self._waiting:
            self._wakes_at = self._waiting[0][0]
            delay = max(0.0, self._wakes_at - time.monotonic())
            self._page.wake_in(delay * 1000, self.wake)
