"""The space-time diagram (Lamport 1978): lines are parties, arrows are messages, time runs right.

An arrow begins where a message is sent and ends where it arrives; a lost one ends in a cross
on its way. The glyph at its beginning says what kind of message it is, its colour who sent it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D

from mpclab.core.ids import MS, SERVER, Party
from mpclab.plots import style
from mpclab.plots.clock import Clock, Scale, choose_scale
from mpclab.plots.lanes import (
    STRIP,
    Span,
    draw_faults,
    draw_lanes,
    fault_spans,
    lives,
    name_lanes,
    strip_rows,
)
from mpclab.plots.marks import Mark, draw_marks, find_marks, mark_legend
from mpclab.trace import Row, Trace
from mpclab.trace.flights import Flight, flights
from mpclab.trace.fold import State

_LEFT, _RIGHT, _TOP = 0.85, 0.3, 0.72  # margins of a figure of our own, inches
_WIDTH = 11.0


@dataclass(slots=True)
class _Scene:
    """What will be drawn: chosen once, then only read."""

    rows: list[Row]
    flights: list[Flight]
    marks: list[Mark]
    faults: list[Span]
    lanes: tuple[Party, ...]
    start: int
    end: int
    cut: int  # messages left out because there were too many
    hidden: int  # background messages left out


def spacetime(
    trace: Trace,
    *,
    ax: Axes | None = None,
    since: int | None = None,
    until: int | None = None,
    kinds: Collection[str] | None = None,
    parties: Sequence[Party] | None = None,
    background: bool = False,
    timers: bool = False,
    scale: Scale = "auto",
    highlight: Iterable[int] = (),
    max_messages: int = 2000,
    legend: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw who told whom what, and when; the axes drawn on.

    Args:
        ax: draw here; by default on a new figure of a fitting size (`.figure` of the result).
        since, until: the window, µs; by default from the first to the last thing that counts.
        kinds: only these kinds of message.
        parties: only these lanes, in this order (0 is the signaling server).
        background: also heartbeats and the like.
        timers: also a small tick where a timer went off.
        scale: "time"; "order", where every event has the same room; or "auto".
        highlight: row numbers to stand out, such as a verdict's witnesses.
        max_messages: draw no more arrows than this, the earliest first, and say so.
    """
    with style.styled():
        scene = _read(trace, since, until, kinds, parties, background, timers, max_messages)
        return _draw(scene, ax, scale, frozenset(highlight), legend, title)


def _read(
    trace: Trace,
    since: int | None,
    until: int | None,
    kinds: Collection[str] | None,
    parties: Sequence[Party] | None,
    background: bool,
    timers: bool,
    max_messages: int,
) -> _Scene:
    rows = list(trace)
    all_flights = flights(trace)
    wanted = [f for f in all_flights if background or not f.background]
    hidden = len(all_flights) - len(wanted)
    if kinds is not None:
        wanted = [f for f in wanted if f.kind in kinds]
    lanes = tuple(parties) if parties is not None else _lanes_of(rows, wanted)
    wanted = [f for f in wanted if f.sender in lanes and f.receiver in lanes]
    marks = [m for m in find_marks(rows, timers=timers) if m.party in lanes]
    moments = [t for f in wanted for t in (f.sent_at, f.ended_at) if t is not None]
    moments += [m.at for m in marks]
    faults = fault_spans(rows, end=max((row.at for row in rows), default=0))
    start = since if since is not None else min(moments, default=0)
    end = until if until is not None else max(moments, default=start + MS)
    if since is None and moments and start < 0.15 * (end - start):
        start = 0
    wanted = [f for f in wanted if f.sent_at <= end and _end_of(f) >= start]
    marks = [m for m in marks if start <= m.at <= end]
    faults = [
        Span(max(s.start, start), min(s.end, end), s.what, s.number, s.parties, s.row)
        for s in faults
        if s.start <= end and s.end >= start
    ]
    cut = max(0, len(wanted) - max_messages)
    return _Scene(rows, wanted[:max_messages], marks, faults, lanes, start, end, cut, hidden)


def _lanes_of(rows: Iterable[Row], wanted: Iterable[Flight]) -> tuple[Party, ...]:
    parties = {row.actor for row in rows if row.actor > SERVER}
    talks = {p for f in wanted for p in (f.sender, f.receiver)}
    server = {SERVER} if SERVER in talks else set()
    return tuple(sorted(server | parties | {p for p in talks if p > SERVER}))


def _end_of(flight: Flight) -> int:
    return flight.sent_at if flight.ended_at is None else flight.ended_at


def _draw(
    scene: _Scene,
    ax: Axes | None,
    scale: str,
    witnesses: frozenset[int],
    legend: bool,
    title: str | None,
) -> Axes:
    lanes = scene.lanes
    if not lanes:
        return style.empty(ax or style.new_axes(7, 2), "nothing has happened yet")
    taken = [_end_of(f) - f.sent_at for f in scene.flights if f.fate == "delivered"]
    scale = choose_scale(scale, taken, scene.start, scene.end)
    moments = [t for f in scene.flights for t in (f.sent_at, _end_of(f))]
    clock = Clock(scale, moments + [m.at for m in scene.marks], scene.start, scene.end)
    inches = _WIDTH - _LEFT - _RIGHT
    handles = [_kind_handles(scene.flights) + _fate_handles(scene), mark_legend(scene.marks)]
    lines = sum(len(style.legend_lines(part, inches)) for part in handles)
    strips = strip_rows(scene.faults, clock, inches)
    height = max(strips, default=-1) + 1
    own = ax is None
    if ax is None:
        room = (len(lanes) + STRIP * height) * _lane_height(len(lanes))
        below = 0.52 + (style.LEGEND_LINE * lines + 0.06 if legend else 0)
        ax = style.new_axes(_WIDTH, room + _TOP + below)
        style.place(ax, _LEFT, below, _RIGHT, _TOP)
    places = {lane: float(i) for i, lane in enumerate(lanes)}
    ax.set_ylim(len(lanes) - 0.5, -0.5 - STRIP * height - (0.1 if height else 0))
    ax.set_yticks([])
    ax.spines[["left", "right", "top"]].set_visible(False)
    clock.dress(ax)
    for x, pause in clock.breaks:
        ax.axvline(x, color=style.FAINT, lw=0.8, ls=(0, (1, 3)), zorder=0.4)
        ax.annotate(
            style.milliseconds(pause),
            (x, len(lanes) - 0.5),
            (0, 2),
            ha="center",
            textcoords="offset points",
            fontsize=6,
            color=style.MUTED,
        )
    draw_faults(ax, clock, scene.faults, strips, places)
    draw_lanes(ax, clock, lives(scene.rows, lanes, scene.end), places)
    _draw_flights(ax, clock, scene.flights, places, witnesses)
    draw_marks(ax, clock, scene.marks, places, witnesses, scene.flights)
    name_lanes(ax, places)
    if legend:
        style.legend_below(ax, handles, inches if own else None)
    style.headline(ax, title or _title(scene), _subtitle(scene, clock))
    return ax


def _lane_height(lanes: int) -> float:
    """Inches for one lane: generous for few, never below what a name needs."""
    return max(0.27, min(0.68, 4.2 / lanes))


# --- messages -----------------------------------------------------------------------------


def _draw_flights(
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
    typical = float(np.median([_end_of(f) - f.sent_at for f in found]) or 1.0)
    ways: dict[str, list[tuple[tuple[float, float], tuple[float, float]]]] = {}
    colours: dict[str, list[tuple[float, float, float, float]]] = {}
    tips: list[tuple[float, float, float, float]] = []
    tip_colours: list[tuple[float, float, float, float]] = []
    halos = []
    for flight in found:
        y0, y1 = places[flight.sender], places[flight.receiver]
        x0 = clock.x(flight.sent_at)
        lost = flight.fate != "delivered"
        if lost:  # as far as it came: half way, with the slope of an ordinary one
            far = 0.5 if flight.via != "none" else 0.22
            x1 = clock.x(max(_end_of(flight), flight.sent_at + typical))
            x1, y1 = x0 + (x1 - x0) * far, y0 + (y1 - y0) * far
        else:
            x1 = clock.x(_end_of(flight))
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
            point = (clock.x(flight.sent_at), places[flight.sender])
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


# --- words --------------------------------------------------------------------------------


def _kind_handles(found: Sequence[Flight]) -> list[Line2D]:
    counts = Counter(f.kind for f in found if not f.copy)
    return [
        Line2D(
            [],
            [],
            ls="none",
            marker=glyph,
            ms=5.5,
            mfc=style.MUTED,
            mec="none",
            label=f"{kind} ({counts[kind]})",
        )
        for kind, glyph in style.kind_glyphs(f.kind for f in found).items()
    ]


def _fate_handles(scene: _Scene) -> list[Line2D]:
    handles = []
    lost = sum(f.fate == "dropped" for f in scene.flights)
    if lost:
        handles.append(
            Line2D(
                [],
                [],
                color=style.MUTED,
                lw=1,
                ls=(0, (2, 1.5)),
                ms=5,
                mew=1.5,
                marker=style.CROSS,
                mec=style.BAD,
                label=f"lost ({lost})",
            )
        )
    relayed = sum(f.via == "relay" for f in scene.flights)
    if relayed:
        handles.append(
            Line2D(
                [],
                [],
                color=style.MUTED,
                lw=1,
                ls=(0, (4, 2)),
                label=f"relayed, sealed ({relayed})",
            )
        )
    return handles


def _title(scene: _Scene) -> str:
    state = State()
    for row in scene.rows:
        if row.at > scene.end:
            break
        state.apply(row)
    parties = sum(lane > SERVER for lane in scene.lanes)
    words = style.count(parties, "party")
    ops = list(state.operations.values())
    if ops:
        tally = Counter(op.status for op in ops)
        split = [op for op in ops if op.split]
        each = [f"{tally[w]} {w}" for w in ("committed", "aborted", "open") if tally[w]]
        if len(ops) == 1:
            what = f"{ops[0].op} is " + ("open" if ops[0].status == "open" else ops[0].status)
            words += f": {what}"
        else:
            words += f", {style.count(len(ops), 'operation')}: {', '.join(each)}"
        if split:
            words += f" — but parties disagree on {split[0].op}"
    else:
        words += f", {style.count(len(scene.flights), 'message')}"
    return words


def _subtitle(scene: _Scene, clock: Clock) -> str:
    sent = sum(not f.copy for f in scene.flights)
    parts = [f"{style.count(sent, 'message')} in {style.milliseconds(clock.end - clock.start)}"]
    if lost := sum(f.fate == "dropped" for f in scene.flights):
        parts.append(f"{lost} lost")
    if flying := sum(f.fate == "flying" for f in scene.flights):
        parts.append(f"{flying} still under way")
    if scene.cut:
        parts.append(f"{style.count(scene.cut, 'later message')} not drawn (max_messages)")
    if scene.hidden:
        parts.append(f"{style.count(scene.hidden, 'background message')} hidden")
    return "  ·  ".join(parts)
