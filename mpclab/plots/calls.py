"""Clients outside the group: a lane for each below the parties, and on it its calls as bars.

A bar begins where the client asks and ends where its call does; what it says is what was asked of
whom. How it ended is told by colour, edge and sign alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from mpclab.plots import style
from mpclab.plots.clock import Clock
from mpclab.trace.calls import OPEN, Call

_LOOKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ok": ("✓", style.GOOD, {"ls": "-"}),
    "failed": ("✗", style.BAD, {"ls": "-"}),
    "unknown": ("?", style.WARN, {"ls": (0, (3, 2))}),
    OPEN: ("…", style.MUTED, {"ls": (0, (1, 1.5))}),
}
"""Sign, colour and edge of each end of a call."""
_TALL = 0.62  # of a lane


def rows_of(calls: Iterable[Call], end: int) -> dict[tuple[int, int], tuple[int, int]]:
    """For each call (client, number) its line on the client's lane, and how many the lane has: a
    client may make a call before another one of its has ended."""
    lines: dict[int, list[int]] = {}
    placed: dict[tuple[int, int], int] = {}
    for call in sorted(calls, key=lambda c: (c.at, c.number)):
        ends = lines.setdefault(call.client, [])
        line = next((i for i, until in enumerate(ends) if until <= call.at), len(ends))
        ends[line : line + 1] = [end if call.ended_at is None else call.ended_at]
        placed[call.client, call.number] = line
    return {name: (line, len(lines[name[0]])) for name, line in placed.items()}


def draw_calls(
    ax: Axes,
    clock: Clock,
    calls: Sequence[Call],
    places: dict[int, float],
    witnesses: frozenset[int],
) -> None:
    """The bars of `calls`, on the lanes that stand at `places`, by client."""
    points = ax.get_window_extent().width / ax.figure.dpi * 72 / (clock.span * 1.05)
    lines = rows_of(calls, clock.end)
    written: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for client, y in places.items():
        ax.axhline(y, color=style.FAINT, lw=0.7, zorder=1)
        _name(ax, client, y)
    for call in sorted(calls, key=lambda c: not witnesses & {c.row, c.ended_row}):
        line, of = lines[call.client, call.number]
        tall = _TALL / of
        low = places[call.client] - _TALL / 2 + line * tall
        left = clock.x(call.at)
        right = clock.x(clock.end if call.ended_at is None else call.ended_at)
        right = max(right, left + 0.004 * clock.span)
        sign, colour, edge = _LOOKS[call.end]
        proves = bool(witnesses & {call.row, call.ended_row})
        ax.add_patch(
            Rectangle(
                (left, low),
                right - left,
                tall * 0.86,
                fc=style.WITNESS if proves else style.tint(colour, 0.8),
                ec=colour,
                lw=1.8 if proves else 1.1,
                zorder=4,
                **edge,
            )
        )
        text = f"{sign} {style.shorten(call.words, 24)} @{call.party}"
        start = left * points + 2
        box = (start, start + style.text_width(text, style.SMALL) + 3)
        others = written.setdefault((call.client, line), [])
        if any(box[0] < b and a < box[1] for a, b in others):
            continue  # words are longer than their bar
        others.append(box)
        ax.annotate(
            text,
            (left, low + tall * 0.43),
            (2.5, 0),
            textcoords="offset points",
            va="center",
            ha="left",
            fontsize=style.SMALL if of == 1 else 6,
            color=style.mix(colour, "#000000", 0.2),
            zorder=9,
            annotation_clip=True,
            path_effects=[withStroke(linewidth=2, foreground=style.PAPER)],
        )


def _name(ax: Axes, client: int, y: float) -> None:
    ax.annotate(
        f"client {client}",
        (0, y),
        (-9, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=style.SMALL,
        color=style.INK,
        annotation_clip=False,
        bbox={"boxstyle": "square,pad=0.3", "fc": style.PAPER, "ec": style.MUTED, "lw": 0.9},
    )


def call_legend(calls: Sequence[Call]) -> list[Patch]:
    """Legend entries of the ends that are there."""
    words = {"ok": "call ok", "failed": "call failed", "unknown": "call unknown", OPEN: "call open"}
    counts = {end: sum(c.end == end for c in calls) for end in _LOOKS}
    return [
        Patch(fc=style.tint(colour, 0.8), ec=colour, label=f"{words[end]} ({counts[end]})", **edge)
        for end, (_, colour, edge) in _LOOKS.items()
        if counts[end]
    ]
