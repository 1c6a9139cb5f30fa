"""Messages as arrows: solid on a data channel, dashed when relayed, ending in a cross when lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from mpclab.core.ids import Party
from mpclab.plots import style
from mpclab.plots.clock import Clock
from mpclab.trace.flights import Flight


def end_of(flight: Flight) -> int:
    """When a flight ended; one that still flies is shown where it began."""
    return flight.sent_at if flight.ended_at is None else flight.ended_at


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
    typical = float(np.median([end_of(f) - f.sent_at for f in found]) or 1.0)
    ways: dict[str, list[tuple[tuple[float, float], tuple[float, float]]]] = {}
    colours: dict[str, list[tuple[float, float, float, float]]] = {}
    tips: list[tuple[float, float, float, float]] = []
    tip_colours: list[tuple[float, float, float, float]] = []
    halos = []
    for flight in found:
        y0, y1 = places[flight.sender], places[flight.receiver]
        x0 = clock.beyond(flight.sent_at)
        lost = flight.fate != "delivered"
        if lost:  # as far as it came: half way, with the slope of an ordinary one
            far = 0.5 if flight.via != "none" else 0.22
            x1 = clock.beyond(max(end_of(flight), flight.sent_at + typical))
            x1, y1 = x0 + (x1 - x0) * far, y0 + (y1 - y0) * far
        else:
            x1 = clock.beyond(end_of(flight))
        proof = flight.sent_row in witnesses or flight.ended_row in witnesses
        if proof:
            halos.append(((x0, y0), (x1, y1)))
        colour = to_rgba(style.party_colour(flight.sender), 1.0 if proof else alpha)
        style_name = "lost" if lost else "relay" if flight.via == "relay" else "link"
        ways.setdefault(style_name, []).append(((x0, y0), (x1, y1)))
        colours.setdefault(style_name, []).append(colour)
        if flight.fate == "delivered":
            tips.append((x1, y1, x1 - x0, y1 - y0))
            tip_colours.append(colour)
        elif flight.fate == "dropped":
            ax.plot(
                x1,
                y1,
                marker=style.CROSS,
                ms=5,
                mew=1.5,
                color=style.BAD,
                zorder=5,
                alpha=1.0 if proof or not witnesses else 0.5,
            )
        else:
            ax.plot(x1, y1, marker=".", ms=3, color=colour, zorder=5)
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
