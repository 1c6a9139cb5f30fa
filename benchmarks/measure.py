"""Medians of several runs, and how a result is printed: beside its aim, and beside a peer."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One figure.

    Attributes:
        aim: what we want it to be, in the same unit; None: nothing was promised.
        more: more is better (a rate), else less is (a time).
        peer, peer_value: whom it is compared with, measured in this same run.
    """

    name: str
    value: float
    unit: str
    aim: float | None = None
    more: bool = False
    peer: str = ""
    peer_value: float | None = None

    def __str__(self) -> str:
        text = f"{self.name:<58} {self.value:>10,.1f} {self.unit}"
        if self.aim is not None:
            met = self.value >= self.aim if self.more else self.value <= self.aim
            text += f"   aim {'≥' if self.more else '≤'} {self.aim:,.4g} {'✓' if met else '✗'}"
        if self.peer_value:
            ratio = self.value / self.peer_value
            ratio = ratio if self.more else 1 / ratio
            text += f"   {ratio:.2f} × {self.peer} ({self.peer_value:,.1f})"
        return text


def show(result: Result) -> Result:
    print(result, flush=True)
    return result


def median(work: Callable[[], float], runs: int = 3) -> float:
    """The median of what `work` returns, over `runs` runs after one that is not counted."""
    work()
    return statistics.median(work() for _ in range(runs))


def least(work: Callable[[], float], runs: int = 7) -> float:
    """The least of what `work` returns: what else the machine does only ever adds to CPU time."""
    return min(work() for _ in range(runs))


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, s."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def heading(text: str) -> None:
    print(f"\n{text}", file=sys.stdout, flush=True)
