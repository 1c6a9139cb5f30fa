"""Lanes: one horizontal line for each party, as far as it lived; what several plots share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mpclab.core.ids import SERVER, Party
from mpclab.plots import style
from mpclab.plots.clock import Clock
from mpclab.trace import WORLD, Fault, Noted, Row
from mpclab.trace.fold import CRASHED, LEFT, PAUSED, UP, State

STRIP = 0.46  # height of one line of fault names, in lanes
BAND_TOP = 0.62  # the first of them stands this far above the first lane


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasts, µs."""

    start: int
    end: int
    what: str
    number: int = 0
    parties: tuple[Party, ...] = ()
    row: int = 0


def lives(rows: Iterable[Row], lanes: Sequence[Party], end: int) -> dict[Party, list[Span]]:
    """For each lane, what it was from when to when: up, paused, crashed, left."""
    state = State()
    since: dict[Party, tuple[int, str]] = dict.fromkeys(lanes, (0, UP))
    found: dict[Party, list[Span]] = {lane: [] for lane in lanes}
    for row in rows:
        state.apply(row)
        if not isinstance(row, Noted | Fault):
            continue  # nothing else changes a life
        for lane in lanes:
            if lane == SERVER:
                life = CRASHED if state.server == "down" else UP
            else:
                life = state.parties[lane].life if lane in state.parties else UP
            start, before = since[lane]
            if life != before:
                found[lane].append(Span(start, row.at, before))
                since[lane] = (row.at, life)
    for lane, (start, life) in since.items():
        found[lane].append(Span(start, max(end, start), life))
    return found


def fault_spans(rows: Iterable[Row], end: int) -> list[Span]:
    """The declared faults as spans, in the order of their beginning."""
    found: dict[int, Span] = {}
    closed: list[Span] = []
    for number, row in enumerate(rows):
        if not isinstance(row, Fault) or (row.actor != WORLD and row.phase == "act"):
            continue
        if row.phase == "begin":
            what = row.text or row.kind
            found[row.index] = Span(row.at, end, what, row.index, row.parties, number)
        elif row.phase == "end" and row.index in found:
            one = found.pop(row.index)
            closed.append(Span(one.start, row.at, one.what, one.number, one.parties, one.row))
    return sorted([*closed, *found.values()], key=lambda span: (span.start, span.number))


def draw_lanes(
    ax: Axes, clock: Clock, spans: dict[Party, list[Span]], places: dict[Party, float]
) -> None:
    """The lines themselves: solid while up, dotted while paused, interrupted by a crash."""
    small = len(places) > 12
    for lane, y in places.items():
        colour = style.party_colour(lane)
        for span in spans[lane]:
            if span.end < clock.start:
                continue
            left, right = clock.x(span.start), clock.x(span.end)
            if span.start < clock.start:  # it was there before the window
                left = ax.get_xlim()[0]
            if right <= left and span is not spans[lane][-1]:
                continue
            if span.what == UP:
                ax.plot(
                    (left, right),
                    (y, y),
                    color=colour,
                    lw=1.3 if small else 1.8,
                    alpha=0.75,
                    solid_capstyle="butt",
                    zorder=2,
                )
            elif span.what == PAUSED:
                ax.plot((left, right), (y, y), color=colour, lw=1.6, ls=(0, (1, 2)), zorder=2)
            else:
                ax.plot((left, right), (y, y), color=style.FAINT, lw=0.7, ls=(0, (1, 4)), zorder=1)
            if span.what in (CRASHED, LEFT, PAUSED):
                word = {CRASHED: "crashed", LEFT: "left", PAUSED: "paused"}[span.what]
                if lane == SERVER and span.what == CRASHED:
                    word = "stopped"
                ax.annotate(
                    word,
                    ((left + right) / 2, y),
                    (0, 2.5),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    fontsize=style.SMALL,
                    color=style.MUTED,
                    fontstyle="italic",
                    zorder=3,
                    clip_on=True,
                )
                if span.what != PAUSED and span.start >= clock.start:
                    ax.plot(left, y, marker=style.CROSS, ms=6, mew=2, color=style.INK, zorder=8)
                if span is not spans[lane][-1]:
                    ax.plot(
                        right, y, marker="o", ms=4.5, mfc=style.PAPER, mec=colour, mew=1.6, zorder=7
                    )


def draw_pauses(ax: Axes, clock: Clock, bottom: float) -> None:
    """A dotted line where a pause is shortened, and how long it is where there is room."""
    written = -clock.span
    for x, pause in clock.breaks:
        ax.axvline(x, color=style.FAINT, lw=0.8, ls=(0, (1, 3)), zorder=0.4)
        if x - written > 0.05 * clock.span:
            written = x
            ax.annotate(
                style.milliseconds(pause),
                (x, bottom),
                (0, 2),
                ha="center",
                textcoords="offset points",
                fontsize=6,
                color=style.MUTED,
            )


def name_lanes(ax: Axes, places: dict[Party, float]) -> None:
    """A chip with its name at the left of each lane."""
    size = style.LABEL if len(places) <= 12 else style.SMALL
    for lane, y in places.items():
        ax.annotate(
            style.party_name(lane),
            (0, y),
            (-9, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=size,
            color="white",
            fontweight="bold",
            annotation_clip=False,
            bbox={
                "boxstyle": "round,pad=0.32,rounding_size=0.7"
                if len(places) <= 12
                else "round,pad=0.18,rounding_size=0.5",
                "fc": style.party_colour(lane),
                "ec": "none",
            },
        )


def strip_rows(faults: Sequence[Span], clock: Clock, inches: float) -> list[int]:
    """For each fault the line of the strip above the lanes that holds its name: no overlaps."""
    ends: list[float] = []
    rows = []
    for fault in faults:
        left = clock.x(fault.start)
        width = style.text_width(fault.what, style.SMALL) / 72 / inches * clock.span * 1.06
        right = max(clock.x(fault.end), left + width) + 0.012 * clock.span
        row = next((i for i, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [right]
        rows.append(row)
    return rows


def draw_faults(
    ax: Axes,
    clock: Clock,
    faults: Sequence[Span],
    rows: Sequence[int],
    places: dict[Party, float],
) -> None:
    """Bands behind the lanes that a fault touches, and its name in the strip above."""
    top, bottom = min(places.values()) - 0.5, max(places.values()) + 0.5
    for i, (fault, row) in enumerate(zip(faults, rows, strict=True)):
        colour = style.band_colour(i)
        left, right = clock.x(fault.start), clock.x(fault.end)
        width = max(right - left, 0.004 * clock.span)
        aimed = [places[p] for p in fault.parties if p in places]
        boxes = [(y - 0.5, 1.0) for y in aimed] or [(top, bottom - top)]
        for low, height in boxes:
            ax.add_patch(
                Rectangle(
                    (left, low),
                    width,
                    height,
                    fc=colour,
                    ec="none",
                    alpha=style.FAULT_FILL_ALPHA,
                    zorder=0.5,
                )
            )
        y = top - 0.16 - STRIP * row
        ax.plot((left, left + width), (y, y), color=colour, lw=2.6, solid_capstyle="butt", zorder=3)
        for edge in (left, left + width):
            ax.plot(
                (edge, edge),
                (y, bottom if not aimed else max(aimed) + 0.5),
                color=colour,
                lw=0.6,
                alpha=0.35,
                zorder=0.6,
            )
        ax.annotate(
            fault.what,
            (left, y),
            (1, 2.5),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=style.SMALL,
            color=style.mix(colour, "#000000", 0.25),
            zorder=9,
            annotation_clip=False,
        )
