"""The timeline of a protocol: what each party was doing when. Phases, leaders, views, blocking.

The space-time diagram without its arrows, for runs with too many of them: a bar is a phase
(or a round of a lockstep protocol), a gold line below a lane the time for which a party
believed itself to be the leader, hatching the time for which it could not go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from mpclab.core import notes
from mpclab.core.ids import MS, SERVER, Party
from mpclab.plots import style
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
from mpclab.trace import Fault, Noted, Row, Trace
from mpclab.trace.fold import UP, State

_LEFT, _RIGHT, _TOP, _WIDTH = 0.85, 0.3, 0.72, 11.0
_SHOWN = ("proposed", "committed", "aborted", "expired", "leader", "view", "voters", "blamed")
IDLE = frozenset({"", "idle", "done", "decided", "committed", "follower"})
"""Phases in which nothing is going on: drawn as the bare lane."""


def timeline(
    trace: Trace,
    *,
    ax: Axes | None = None,
    since: int | None = None,
    until: int | None = None,
    parties: Sequence[Party] | None = None,
    scale: Scale = "time",
    highlight: Iterable[int] = (),
    legend: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw the phases of every party; the axes drawn on. Arguments as for `spacetime`."""
    rows = list(trace)
    lanes = tuple(parties or sorted({row.actor for row in rows if row.actor > SERVER}))
    marks = [m for m in find_marks(rows) if m.what in _SHOWN and m.party in lanes]
    noted = [r for r in rows if isinstance(r, Noted) and r.actor in lanes]
    moments = [r.at for r in noted if r.path]
    stops = [r.at for r in noted if not r.path]
    with style.styled():
        if not moments:
            return style.empty(ax or style.new_axes(7, 2), "no protocol has begun yet")
        start = since if since is not None else min(moments)
        end = until if until is not None else max(max(moments), start + MS)
        clock = Clock(choose_scale(scale, (), start, end), moments + stops, start, end)
        phases = [
            span
            for span in phase_spans(rows, end)
            if span.parties[0] in lanes and span.start <= end and span.end >= start
        ]
        faults = [s for s in fault_spans(rows, end) if s.start <= end and s.end >= start]
        colours = _phase_colours(phases)
        groups: list[Sequence[Line2D | Patch]] = []
        if legend:
            groups = [_phase_handles(colours, rows), mark_legend(marks)]
        ax = _axes(ax, clock, lanes, faults, groups)
        places = {lane: float(i) for i, lane in enumerate(lanes)}
        draw_lanes(ax, clock, lives(rows, lanes, end), places)
        draw_pauses(ax, clock, len(lanes) - 0.5)
        _draw_phases(ax, clock, phases, places, colours)
        _draw_terms(ax, clock, rows, places, end)
        inside: list[Mark] = [m for m in marks if start <= m.at <= end]
        draw_marks(ax, clock, inside, places, frozenset(highlight), ())
        name_lanes(ax, places)
        names = [name for name in colours if name != "blocked"]
        words = f"{style.count(len(lanes), 'party')} through {style.count(len(names), 'phase')}"
        if len(names) <= 4 and names:
            words += f": {', '.join(names)}"
        style.headline(ax, title or words, _subtitle(rows, clock))
    return ax


def phase_spans(rows: Iterable[Row], end: int) -> list[Span]:
    """Each party's phases and the times for which it was blocked; `parties` holds the party."""
    state = State()
    since: dict[Party, tuple[int, str]] = {}
    found: list[Span] = []
    for row in rows:
        state.apply(row)
        party = row.actor
        if not isinstance(row, Noted) or party <= SERVER:
            continue
        now = state.parties[party]
        word = "blocked" if now.blocked else now.phase if now.life == UP else ""
        started, before = since.get(party, (row.at, ""))
        if word != before:
            if before not in IDLE:
                found.append(Span(started, row.at, before, parties=(party,)))
            since[party] = (row.at, word)
    for party, (started, word) in since.items():
        if word not in IDLE:
            found.append(Span(started, max(end, started), word, parties=(party,)))
    return sorted(found, key=lambda span: (span.start, span.parties))


def _axes(
    ax: Axes | None,
    clock: Clock,
    lanes: Sequence[Party],
    faults: Sequence[Span],
    groups: Sequence[Sequence[Line2D | Patch]],
) -> Axes:
    inches = _WIDTH - _LEFT - _RIGHT
    strips = strip_rows(faults, clock, inches)
    height = max(strips, default=-1) + 1
    own = ax is None
    if ax is None:
        lines = sum(len(style.legend_lines(group, inches)) for group in groups)
        below = 0.5 + style.LEGEND_LINE * lines + 0.06
        each = max(0.27, min(0.56, 4.2 / len(lanes)))
        ax = style.new_axes(_WIDTH, (len(lanes) + STRIP * height) * each + _TOP + below)
        style.place(ax, _LEFT, below, _RIGHT, _TOP)
    ax.set_ylim(len(lanes) - 0.5, -0.5 - STRIP * height - (0.1 if height else 0))
    ax.set_yticks([])
    ax.spines[["left", "right", "top"]].set_visible(False)
    clock.dress(ax)
    draw_faults(ax, clock, faults, strips, {lane: float(i) for i, lane in enumerate(lanes)})
    style.legend_below(ax, groups, inches if own else None)
    return ax


def _phase_colours(phases: Iterable[Span]) -> dict[str, str]:
    """A colour for each phase, in the order of first appearance."""
    names = [n for n in dict.fromkeys(span.what for span in phases) if n != "blocked"]
    return {name: style.phase_colour(i) for i, name in enumerate(names)}


def _draw_phases(
    ax: Axes,
    clock: Clock,
    phases: Sequence[Span],
    places: dict[Party, float],
    colours: dict[str, str],
) -> None:
    points = ax.get_window_extent().width / ax.figure.dpi * 72 / (clock.span * 1.05)
    for span in phases:
        (party,) = span.parties
        left, right = clock.x(span.start), clock.x(span.end)
        y = places[party]
        stuck = span.what == "blocked"
        edge = style.WARN if stuck else colours[span.what]
        fill = style.tint(edge, 0.85 if stuck else 0.5)
        hatch = "////" if stuck else None
        box = Rectangle((left, y - 0.2), right - left, 0.4, lw=0.8, fc=fill, ec=edge, hatch=hatch)
        box.set_zorder(3)
        ax.add_patch(box)
        if (right - left) * points > style.text_width(span.what, 6.5) + 26 and len(places) <= 12:
            ax.annotate(
                span.what,
                ((left + right) / 2, y),
                ha="center",
                va="center_baseline",
                fontsize=6.5,
                color=style.INK,
                zorder=4,
            )


def _draw_terms(
    ax: Axes, clock: Clock, rows: Iterable[Row], places: dict[Party, float], end: int
) -> None:
    """A gold line under the lane of each party that believes itself to be the leader."""
    for party, start, stop in _terms(rows, end):
        if party in places:
            y = places[party] + 0.29
            span = (clock.x(start), clock.x(stop))
            ax.plot(span, (y, y), color=style.GOLD, lw=2.6, zorder=3, solid_capstyle="butt")


def _terms(rows: Iterable[Row], end: int) -> list[tuple[Party, int, int]]:
    """The parties that believed themselves to be the leader, from when to when."""
    state = State()
    since: dict[Party, int] = {}
    found: list[tuple[Party, int, int]] = []
    for row in rows:
        state.apply(row)
        if isinstance(row, Noted | Fault):  # nothing else makes or ends a leader
            leaders = state.leaders
            for party in [p for p in since if p not in leaders]:
                found.append((party, since.pop(party), row.at))
            for party in leaders:
                since.setdefault(party, row.at)
    return found + [(party, start, max(start, end)) for party, start in since.items()]


def _phase_handles(colours: dict[str, str], rows: Sequence[Row]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Patch(fc=style.tint(colour, 0.5), ec=colour, lw=0.8, label=name)
        for name, colour in colours.items()
    ]
    said = {type(row.note) for row in rows if isinstance(row, Noted)}
    if notes.Blocked in said:
        fill = style.tint(style.WARN, 0.85)
        handles.append(Patch(fc=fill, ec=style.WARN, hatch="////", lw=0.8, label="blocked"))
    if notes.BecameLeader in said:
        handles.append(Line2D([], [], color=style.GOLD, lw=2.6, label="leads"))
    return handles


def _subtitle(rows: Sequence[Row], clock: Clock) -> str:
    state = State()
    for row in rows:
        if row.at > clock.end:
            break
        state.apply(row)
    parts = [f"{style.milliseconds(clock.end - clock.start)}"]
    noted = [r for r in rows if isinstance(r, Noted)]
    elected = sum(isinstance(r.note, notes.BecameLeader) for r in noted)
    if elected:
        parts.append(f"{style.count(elected, 'time')} a leader")
    stops = (notes.Crashed, notes.Paused, notes.Removed)
    stopped = sum(isinstance(r.note, stops) and not r.path for r in noted)
    if stopped:
        parts.append(f"{style.count(stopped, 'stop')} of a party")
    blocked = [p for p, one in sorted(state.parties.items()) if one.blocked]
    if blocked:
        parts.append(f"blocked at the end: {', '.join(map(str, blocked))}")
    return "  ·  ".join(parts)
