"""Messages as arrows: solid on a data channel, dashed when relayed, ending in a cross when lost.

A message under way is as long as it has travelled, at the pace of those that arrived, and has no
head yet: while one watches, it grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from mpclab.core.ids import Party
from mpclab.plots import style
from mpclab.plots.clock import Clock
from mpclab.trace.flights import Flight

_LOST: Final[dict[str, Any]] = {"marker": style.CROSS, "ms": 5, "mew": 1.5, "color": style.BAD}
_UNDER_WAY: Final[dict[str, Any]] = {"marker": ".", "ms": 3, "color": style.MUTED}


def end_of(flight: Flight) -> int:
    """When a flight ended; one that still flies is shown where it began."""
    return flight.sent_at if flight.ended_at is None else flight.ended_at


def _typical(found: Sequence[Flight]) -> float:
    """The median flight of those that arrived, µs."""
    took = [end_of(f) - f.sent_at for f in found if f.fate == "delivered"]
    return float(np.median(took) if took else 0) or 1.0


def _came(flight: Flight, lanes: float, end: int, typical: float) -> float:
    """The part of its way that a message came which did not arrive.

    Args:
        lanes: from its sender's line to its receiver's.
        end: of the picture, µs.
        typical: how long an ordinary one takes, µs.
    """
    far = abs(lanes) or 1.0
    if flight.fate == "flying":
        return min(0.95, max(0.1, (end - flight.sent_at) / typical))
    if flight.via == "none":  # nothing leads there: it ends where it began
        return 0.3 / far
    return (far // 2 + 0.5) / far  # between two lines, so that the cross is nobody's


def draw_flights(
    ax: Axes,
    clock: Clock,
    found: Sequence[Flight],
    places: dict[Party, float],
    witnesses: frozenset[int],
) -> None:
    if not found:
        return
    crowd = len(found)
    alpha = 0.9 if crowd <= 60 else 0.7 if crowd <= 200 else 0.45 if crowd <= 800 else 0.25
    width = 1.1 if crowd <= 60 else 0.85 if crowd <= 300 else 0.6
    if witnesses:
        alpha *= 0.45
    typical = _typical(found)
    ways: dict[str, list[tuple[tuple[float, float], tuple[float, float]]]] = {}
    colours: dict[str, list[tuple[float, float, float, float]]] = {}
    tips: list[tuple[float, float, float, float]] = []
    tip_colours: list[tuple[float, float, float, float]] = []
    ends: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    halos = []
    for flight in found:
        y0, y1 = places[flight.sender], places[flight.receiver]
        x0 = clock.beyond(flight.sent_at)
        x1 = clock.beyond(end_of(flight))
        if flight.fate != "delivered":  # as far as it came, with the slope of an ordinary one
            far = _came(flight, y1 - y0, clock.end, typical)
            x1 = clock.beyond(max(end_of(flight), flight.sent_at + typical))
            x1, y1 = x0 + (x1 - x0) * far, y0 + (y1 - y0) * far
        proof = flight.sent_row in witnesses or flight.ended_row in witnesses
        if proof:
            halos.append(((x0, y0), (x1, y1)))
        colour = to_rgba(style.party_colour(flight.sender), 1.0 if proof else alpha)
        lost = flight.fate == "dropped"
        style_name = "lost" if lost else "relay" if flight.via == "relay" else "link"
        ways.setdefault(style_name, []).append(((x0, y0), (x1, y1)))
        colours.setdefault(style_name, []).append(colour)
        if flight.fate == "delivered":
            tips.append((x1, y1, x1 - x0, y1 - y0))
            tip_colours.append(colour)
        else:
            ends.setdefault((flight.fate, proof or not witnesses), []).append((x1, y1))
    for (fate, plain), points in ends.items():
        xs, ys = zip(*points, strict=True)
        look = _LOST if fate == "dropped" else _UNDER_WAY
        ax.plot(xs, ys, ls="none", zorder=5, alpha=1.0 if plain else 0.5, **look)
    if halos:
        ax.add_collection(
            LineCollection(
                halos, colors=style.WITNESS, linewidths=5.5, alpha=0.9, capstyle="round", zorder=3.4
            ),
            autolim=False,
        )
    for name, segments in ways.items():
        pattern = {"link": "-", "relay": (0, (4, 2)), "lost": (0, (2, 1.5))}[name]
        ax.add_collection(
            LineCollection(
                segments, colors=colours[name], linewidths=width, linestyles=[pattern], zorder=3.5
            ),
            autolim=False,
        )
    if tips:
        _draw_tips(
            ax,
            clock,
            np.array(tips),
            tip_colours,
            0.095 if crowd <= 200 else 0.07 if crowd <= 400 else 0.055,
        )
    _draw_glyphs(ax, clock, found, places)


def _draw_tips(
    ax: Axes, clock: Clock, tips: np.ndarray, colours: Sequence[tuple[float, ...]], inches: float
) -> None:
    """Arrow heads, all in one artist: arrows of one fixed length that are nothing but head."""
    x, y, dx, dy = tips.T
    dx = np.where((dx == 0) & (dy == 0), clock.span * 1e-9, dx)
    norm = np.hypot(dx, dy)
    ax.quiver(
        x,
        y,
        dx / norm,
        dy / norm,
        color=colours,
        angles="xy",
        pivot="tip",
        zorder=4,
        units="inches",
        scale_units="inches",
        scale=1 / inches,
        width=inches / 4,
        headwidth=3.1,
        headlength=4,
        headaxislength=3.5,
        minlength=0,
    )


def _draw_glyphs(
    ax: Axes, clock: Clock, found: Sequence[Flight], places: dict[Party, float]
) -> None:
    """One glyph for each sending, however many receivers it has."""
    glyphs = style.kind_glyphs(f.kind for f in found)
    seen: set[tuple[Party, int]] = set()
    groups: dict[tuple[str, Party], list[tuple[float, float]]] = {}
    for flight in found:
        if (flight.sender, flight.sent_row) not in seen:
            seen.add((flight.sender, flight.sent_row))
            point = (clock.beyond(flight.sent_at), places[flight.sender])
            groups.setdefault((flight.kind, flight.sender), []).append(point)
    size = 5.2 if len(seen) <= 60 else 4.2 if len(seen) <= 200 else 3.0
    for (kind, sender), points in groups.items():
        xs, ys = zip(*points, strict=True)
        ax.plot(
            xs,
            ys,
            ls="none",
            marker=glyphs[kind],
            ms=size,
            mec=style.PAPER,
            mew=0.6,
            mfc=style.party_colour(sender),
            zorder=6,
        )
