"""The space-time diagram (Lamport 1978): lines are parties, arrows are messages, time runs right.

An arrow begins where a message is sent and ends where it arrives; a lost one ends in a cross
on its way. The glyph at its beginning says what kind of message it is, its colour who sent it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mpclab.core.ids import MS, SERVER, Party
from mpclab.plots import style
from mpclab.plots.arrows import draw_flights, end_of
from mpclab.plots.calls import call_legend, draw_calls
from mpclab.plots.clock import Clock, Scale, choose_scale
from mpclab.plots.lanes import (
    STRIP,
    Span,
    draw_faults,
    draw_lanes,
    draw_pauses,
    fault_spans,
    lives,
    name_lanes,
    strip_rows,
)
from mpclab.plots.marks import Mark, draw_marks, find_marks, mark_legend
from mpclab.trace import Row, Trace
from mpclab.trace.calls import Call, calls_of
from mpclab.trace.flights import Flight, flights
from mpclab.trace.fold import State

_LEFT, _RIGHT, _TOP = 0.85, 0.3, 0.72  # margins of a figure of our own, inches
_WIDTH = 11.0


@dataclass(slots=True)
class _Scene:
    """The rows and lines to draw: chosen once, then only read."""

    rows: list[Row]
    flights: list[Flight]
    marks: list[Mark]
    faults: list[Span]
    lanes: tuple[Party, ...]
    start: int
    end: int
    late: int  # later messages left out because there were too many
    early: int  # earlier ones
    hidden: int  # background messages left out
    calls: list[Call]


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
    keep: Literal["first", "last"] = "first",
    legend: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw who told whom what, and when; the axes drawn on.

    Args:
        ax: draw here; by default on a new figure of a fitting size (`.figure` of the result).
        since, until: the window, µs; by default from the first to the last thing that counts.
        kinds: only these kinds of message.
        parties: only these lanes, in this order. 0 is the signaling server: leave it out to
            see the parties' own messages alone.
        background: also heartbeats and the like.
        timers: also a small tick where a timer went off.
        scale: "time"; "order", where every event has the same room; or "auto".
        highlight: row numbers to stand out, such as a verdict's witnesses.
        max_messages: draw no more arrows than this, and say so: the picture ends (or begins)
            where the first message was left out, so that no vote stands there without its arrow.
        keep: when there are more, the first or the last of them.
    """
    with style.styled():
        room = max_messages if keep == "first" else -max_messages
        scene = _read(trace, since, until, kinds, parties, background, timers, room)
        return _draw(scene, ax, scale, frozenset(highlight), legend, title)


def _read(
    trace: Trace,
    since: int | None,
    until: int | None,
    kinds: Collection[str] | None,
    parties: Sequence[Party] | None,
    background: bool,
    timers: bool,
    room: int,
) -> _Scene:
    """Choose what is drawn. `room`: so many messages, a negative number for the last ones."""
    rows = list(trace)
    all_flights = flights(trace)
    wanted = [f for f in all_flights if background or not f.background]
    hidden = len(all_flights) - len(wanted)
    if kinds is not None:
        wanted = [f for f in wanted if f.kind in kinds]
    window = (since or 0, math.inf if until is None else until)
    inside = [f for f in wanted if f.sent_at <= window[1] and end_of(f) >= window[0]]
    lanes = tuple(parties) if parties is not None else _lanes_of(rows, inside)
    wanted = [f for f in inside if f.sender in lanes and f.receiver in lanes]
    marks = [m for m in find_marks(rows, timers=timers) if m.party in lanes]
    calls = [c for c in calls_of(rows) if not c.session and c.party in lanes]
    moments = [t for f in wanted for t in (f.sent_at, f.ended_at) if t is not None]
    moments += [m.at for m in marks] + [t for c in calls for t in c.moments]
    faults = fault_spans(rows, end=max((row.at for row in rows), default=0))
    start = since if since is not None else min(moments, default=0)
    end = until if until is not None else max(moments, default=start + MS)
    if since is None and moments and start < 0.15 * (end - start):
        start = 0
    wanted = [f for f in wanted if f.sent_at <= end and end_of(f) >= start]
    cut = max(0, len(wanted) - abs(room))
    if cut and room > 0:
        end = wanted[room].sent_at
        wanted = wanted[:room]
    elif cut:
        start = wanted[room].sent_at
        wanted = wanted[room:]
    marks = _readable([m for m in marks if start <= m.at <= end], 0.012 * (end - start))
    faults = [
        Span(max(s.start, start), min(s.end, end), s.what, s.number, s.parties, s.row)
        for s in faults
        if s.start <= end and s.end >= start
    ]
    calls = [c for c in calls if c.at <= end and (c.ended_at is None or c.ended_at >= start)]
    early = cut if room < 0 else 0
    late = cut - early
    return _Scene(rows, wanted, marks, faults, lanes, start, end, late, early, hidden, calls)


def _readable(marks: list[Mark], close: float) -> list[Mark]:
    """Without the certificates that became a commit so soon that the two could not be told
    apart (µs)."""
    commits = {(m.party, m.op): m.at for m in marks if m.what == "committed"}

    def hasty(mark: Mark) -> bool:
        committed = commits.get((mark.party, mark.op))
        return committed is not None and 0 <= committed - mark.at <= close

    return [m for m in marks if m.what != "certified" or not hasty(m)]


def _lanes_of(rows: Iterable[Row], wanted: Iterable[Flight]) -> tuple[Party, ...]:
    parties = {row.actor for row in rows if row.actor > SERVER}
    talks = {p for f in wanted for p in (f.sender, f.receiver)}
    server = {SERVER} if SERVER in talks else set()
    return tuple(sorted(server | parties | {p for p in talks if p > SERVER}))


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
    taken = [end_of(f) - f.sent_at for f in scene.flights if f.fate == "delivered"]
    scale = choose_scale(scale, taken, scene.start, scene.end)
    moments = [t for f in scene.flights for t in (f.sent_at, end_of(f))]
    moments += [t for c in scene.calls for t in c.moments]
    clock = Clock(scale, moments + [m.at for m in scene.marks], scene.start, scene.end)
    inches = _WIDTH - _LEFT - _RIGHT
    handles: list[Sequence[Line2D | Patch]] = [
        _kind_handles(scene.flights) + _fate_handles(scene),
        mark_legend(scene.marks),
        call_legend(scene.calls),
    ]
    lines = sum(len(style.legend_lines(part, inches)) for part in handles)
    strips = strip_rows(scene.faults, clock, inches)
    height = max(strips, default=-1) + 1
    own = ax is None
    clients = sorted({c.client for c in scene.calls})
    drawn = len(lanes) + len(clients)
    if ax is None:
        room = (drawn + STRIP * height) * _lane_height(drawn)
        below = 0.52 + (style.LEGEND_LINE * lines + 0.06 if legend else 0)
        ax = style.new_axes(_WIDTH, room + _TOP + below)
        style.place(ax, _LEFT, below, _RIGHT, _TOP)
    places = {lane: float(i) for i, lane in enumerate(lanes)}
    below_them = {client: float(len(lanes) + i) for i, client in enumerate(clients)}
    ax.set_ylim(drawn - 0.5, -0.5 - STRIP * height - (0.1 if height else 0))
    ax.set_yticks([])
    ax.spines[["left", "right", "top"]].set_visible(False)
    clock.dress(ax)
    draw_pauses(ax, clock, drawn - 0.5)
    draw_faults(ax, clock, scene.faults, strips, places)
    draw_lanes(ax, clock, lives(scene.rows, lanes, scene.end), places)
    draw_flights(ax, clock, scene.flights, places, witnesses)
    draw_marks(ax, clock, scene.marks, places, witnesses, scene.flights)
    draw_calls(ax, clock, scene.calls, below_them, witnesses)
    name_lanes(ax, places)
    if legend:
        style.legend_below(ax, handles, inches if own else None)
    style.headline(ax, title or _title(scene), _subtitle(scene, clock))
    return ax


def _lane_height(lanes: int) -> float:
    """Inches for one lane: generous for few, never below what a name needs."""
    return max(0.27, min(0.68, 4.2 / lanes))


# --- words --------------------------------------------------------------------------------


def _kind_handles(found: Sequence[Flight]) -> list[Line2D | Patch]:
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


def _fate_handles(scene: _Scene) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
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
    flying = sum(f.fate == "flying" for f in scene.flights)
    if flying:
        label = f"under way ({flying})"
        handles.append(Line2D([], [], color=style.MUTED, lw=1, marker=".", ms=5, label=label))
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
    names = style.operation_names(state)
    if ops:
        split = [op for op in ops if op.split]
        if len(ops) == 1 and split:
            words += f" disagree on {names.get(ops[0].op, ops[0].op)}"
        elif len(ops) == 1:
            words += f": {names.get(ops[0].op, ops[0].op)} is {ops[0].status}"
        else:
            words += f", {style.count(len(ops), 'operation')}: {style.tally(ops)}"
            if split:
                words += f" — but parties disagree on {names.get(split[0].op, split[0].op)}"
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
    if scene.late:
        parts.append(f"{style.count(scene.late, 'later message')} not drawn")
    if scene.early:
        parts.append(f"{style.count(scene.early, 'earlier message')} not drawn")
    if scene.hidden:
        parts.append(f"{style.count(scene.hidden, 'background message')} hidden")
    return "  ·  ".join(parts)
