"""Where a time stands on the x axis: to scale, or in the order of events.

On real sockets a message takes a tenth of a millisecond and a run lasts seconds: to scale,
every arrow is upright and nothing can be read. `order` gives each moment at which something
happens the same room, shortens the pauses between, and writes the real times below.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes

from mpclab.core.errors import UsageError, nearest
from mpclab.plots import style

Scale: TypeAlias = Literal["auto", "time", "order"]
_PAUSE_FACTOR = 12  # a gap this much longer than the typical one is a pause,
_PAUSE_PART = 0.05  # if it is also this part of the whole
_PAUSE_ROOM = 2.5  # room of a pause, in steps
_TOO_STEEP = 0.012  # typical flight, as a part of the span, below which arrows look upright


class Clock:
    """Maps µs to x, monotonically. `breaks` are the pauses: (x, how long in µs)."""

    def __init__(self, scale: str, moments: Iterable[int], start: int, end: int) -> None:
        self.scale = scale
        self.breaks: list[tuple[float, int]] = []
        inside = sorted({m for m in moments if start <= m <= end} | {start, end})
        if scale == "time":
            self._times = np.array([start, max(end, start + 1)], dtype=float)
            self._places = self._times / 1000.0
        else:
            gaps = np.diff(inside)
            typical = float(np.median(gaps)) if len(gaps) else 1.0
            places = [0.0]
            for gap in gaps:
                pause = gap > max(_PAUSE_FACTOR * typical, _PAUSE_PART * (end - start))
                if pause:
                    self.breaks.append((places[-1] + _PAUSE_ROOM / 2, int(gap)))
                places.append(places[-1] + (_PAUSE_ROOM if pause else 1.0))
            self._times = np.array(inside, dtype=float)
            self._places = np.array(places)
        self.start, self.end = start, end

    def x(self, us: float) -> float:
        """The place of a time; times outside the window stand at its edge."""
        return float(np.interp(us, self._times, self._places))

    def beyond(self, us: float) -> float:
        """The same, but times outside the window stand outside too, where axes clip."""
        if self.scale == "time":
            return us / 1000.0
        if us < self.start:
            return float(self._places[0]) - 0.1 * self.span
        return self.x(us) if us <= self.end else float(self._places[-1]) + 0.1 * self.span

    @property
    def span(self) -> float:
        return float(self._places[-1] - self._places[0]) or 1.0

    def dress(self, ax: Axes, ticks: int = 9) -> None:
        """Limits, ticks and label of the x axis."""
        low, high = float(self._places[0]), float(self._places[-1])
        pad = 0.02 * self.span
        ax.set_xlim(low - pad, high + 1.6 * pad)
        if self.scale == "time":
            seconds = self.end - self.start > 5_000_000
            unit = 1000.0 if seconds else 1.0
            step = style.nice_step(self.span / unit, ticks) * unit
            first = np.ceil(low / step - 1e-9) * step
            where = np.arange(first, high + step * 1e-6, step) + 0.0
            ax.set_xticks(where, [f"{w / unit + 0.0:g}" for w in where.round(9)])
            ax.set_xlabel("time (s)" if seconds else "time (ms)", loc="right", labelpad=2)
            return
        picks = np.unique(np.linspace(0, len(self._times) - 1, ticks).round().astype(int))
        shown: list[int] = []
        for pick in picks:  # pauses bring moments close together: keep the labels apart
            if not shown or self._places[pick] - self._places[shown[-1]] > 0.06 * self.span:
                shown.append(int(pick))
        digits = max(0, 2 - int(np.log10(max(1.0, (self.end - self.start) / 1000))))
        ax.set_xticks(self._places[shown], [f"{self._times[i] / 1000:.{digits}f}" for i in shown])
        ax.set_xlabel("events in their order, not to scale · time in ms", loc="right", labelpad=2)


def choose_scale(scale: str, flight_times: Sequence[int], start: int, end: int) -> str:
    """`scale` itself, or for "auto" the one in which arrows can be told apart."""
    if scale not in ("auto", "time", "order"):
        raise UsageError(
            f"scale: {scale!r} is not known{nearest(scale, ('auto', 'time', 'order'))}"
        )
    if scale != "auto":
        return scale
    if not flight_times or end <= start:
        return "time"
    steep = float(np.median(flight_times)) / (end - start) < _TOO_STEEP
    return "order" if steep else "time"
