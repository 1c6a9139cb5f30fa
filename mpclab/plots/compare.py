"""Two traces above each other, aligned in time; and the distributions of two sets of times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mpclab.plots import style
from mpclab.plots.spacetime import spacetime
from mpclab.trace import Trace


def compare(
    a: Trace,
    b: Trace,
    marks_a: Iterable[int] = (),
    marks_b: Iterable[int] = (),
    *,
    since: tuple[int, int] = (0, 0),
    names: tuple[str, str] = ("a", "b"),
) -> style.Picture:
    """Draw two space-time diagrams of the same parties, over the same stretch of time.

    Args:
        marks_a, marks_b: rows to stand out in each.
        since: where each begins, µs of its own clock.
        names: what to call them.
    """
    actors = sorted({row.actor for trace in (a, b) for row in trace if row.actor > 0})
    length = max(a.end - since[0], b.end - since[1], 1)
    height = 1.4 + 0.55 * len(actors)
    with style.styled():
        figure = style.Picture(figsize=(11.0, 2 * height), dpi=110)
        above, below = figure.subplots(2, 1)
    for ax, trace, marks, start, name in (
        (above, a, marks_a, since[0], names[0]), (below, b, marks_b, since[1], names[1]),
    ):  # fmt: skip
        spacetime(
            trace, ax=ax, since=start, until=start + length, parties=actors, scale="time",
            highlight=marks, legend=False, title=name,
        )  # fmt: skip
    figure.subplots_adjust(hspace=0.45)
    return figure


def distributions(
    a: Sequence[float], b: Sequence[float], *, names: tuple[str, str], what: str, note: str = ""
) -> style.Picture:
    """Draw two empirical distributions: their ECDFs beside each other, and their quantiles
    against each other (Q–Q), where points on the line mean that they are alike."""
    with style.styled():
        figure = style.Picture(figsize=(9.0, 3.6), dpi=110)
        left, right = figure.subplots(1, 2)
        for values, name, line in ((a, names[0], "-"), (b, names[1], "--")):
            ordered = np.sort(np.asarray(values, dtype=float))
            share = np.arange(1, len(ordered) + 1) / max(1, len(ordered))
            left.step(ordered, share, where="post", label=name, linestyle=line)
        left.set_xlabel(what)
        left.set_ylabel("part of them")
        left.legend()
        if len(a) and len(b):
            levels = np.linspace(0.02, 0.98, 25)
            one, two = np.quantile(a, levels), np.quantile(b, levels)
            right.plot(one, two, "o", markersize=3.5)
            ends = [min(one[0], two[0]), max(one[-1], two[-1])]
            right.plot(ends, ends, linewidth=0.8, color=style.MUTED)
        right.set_xlabel(f"{names[0]}, {what}")
        right.set_ylabel(f"{names[1]}, {what}")
        if note:
            figure.suptitle(note)
        figure.tight_layout()
    return figure
