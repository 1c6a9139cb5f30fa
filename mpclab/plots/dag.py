"""The DAG of a DAG protocol (bullshark), as one party holds it: rounds, vertices, anchors, order.

A column is a round, a line a party whose vertices they are. An edge leads back to what a vertex
refers to; those to an anchor are votes and dark. What one anchor ordered has one colour, and its
number is its place in the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.plots import style
from mpclab.trace import Noted, Trace

_COLUMN, _LINE = 0.78, 0.62
"""Inches a round, and a party."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.85, 0.35, 0.72, 0.5
_WIDEST = 14.0
_SHOWN = 14
"""Rounds, the last ones, unless told otherwise."""
_LABEL = 12
"""Letters below a vertex."""

Place = tuple[int, Party]


@dataclass
class Held:
    """What a party's notes say of its DAG: the vertices, and with which anchor and at which place
    each was ordered."""

    vertices: dict[Place, notes.VertexAdded] = field(default_factory=dict)
    anchors: list[Place] = field(default_factory=list)
    ordered: dict[Place, tuple[int, int]] = field(default_factory=dict)
    """By vertex: the number of its anchor, and its own, from 1."""


def held_by(trace: Trace, party: Party) -> Held:
    """The DAG of a party as it stands at the end of the trace."""
    held = Held()
    for row in trace:
        if not isinstance(row, Noted) or row.actor != party:
            continue
        match row.note:
            case notes.VertexAdded(round, source):
                held.vertices[round, source] = row.note
            case notes.AnchorOrdered(round, source, vertices) if (
                (round, source) not in held.ordered  # told again after a crash
            ):
                if (round, source) not in held.anchors[-1:]:  # its vertices come in parts
                    held.anchors.append((round, source))
                for place in vertices:
                    held.ordered[place] = len(held.anchors), len(held.ordered) + 1
    return held


def dag(
    trace: Trace,
    *,
    ax: Axes | None = None,
    party: Party | None = None,
    rounds: tuple[int, int] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the DAG of one party; the axes drawn on.

    Args:
        party: whose; the first that holds most vertices when not given.
        rounds: the first and the last round to draw; the last ones when not given.
        title: instead of the one that says what is seen.
    """
    holders = sorted({row.actor for row in trace if _is_vertex(row)})
    with style.styled():
        if not holders:
            return style.empty(ax or style.new_axes(7, 2), "no vertex of a DAG has come yet")
        found = {one: held_by(trace, one) for one in holders if party in (None, one)}
        if not found:
            return style.empty(ax or style.new_axes(7, 2), f"party {party} holds no vertex")
        who = max(found, key=lambda one: (len(found[one].vertices), -one))
        held = found[who]
        top = max(round for round, _ in held.vertices)
        first, last = rounds or (max(1, top - _SHOWN + 1), top)
        inside = {p: v for p, v in held.vertices.items() if first <= p[0] <= last}
        sources = sorted({source for _, source in held.vertices} | set(holders))
        ax = ax or _axes(last - first + 1, len(sources))
        lines = {source: float(k) for k, source in enumerate(sources)}
        _draw_edges(ax, inside, lines)
        _draw_vertices(ax, held, inside, lines)
        _draw_ops(ax, trace, inside, lines)
        _name(ax, first, last, sources)
        style.legend_below(ax, [_handles(held, inside)], gap=0.45)
        anchors = style.count(len(held.anchors), "anchor")
        known = len(held.vertices.keys() | held.ordered.keys())
        words = f"{anchors} ordered {len(held.ordered)} of {known} vertices"
        cut = f", rounds {first} to {last} of {top}" if (first, last) != (1, top) else ""
        style.headline(ax, title or words, f"as party {who} holds it{cut}")
    return ax


def _is_vertex(row: object) -> bool:
    return isinstance(row, Noted) and isinstance(row.note, notes.VertexAdded)


def _axes(columns: int, lines: int) -> Axes:
    width = min(_WIDEST, max(6.5, _LEFT + _RIGHT + _COLUMN * columns))
    ax = style.new_axes(width, _TOP + _BOTTOM + style.LEGEND_LINE + _LINE * max(2, lines))
    style.place(ax, _LEFT, _BOTTOM + style.LEGEND_LINE, _RIGHT, _TOP)
    return ax


def _draw_edges(
    ax: Axes, inside: dict[Place, notes.VertexAdded], lines: dict[Party, float]
) -> None:
    for (round, source), vertex in sorted(inside.items()):
        for to in [(round - 1, p) for p in vertex.parents] + list(vertex.weak):
            if to not in inside:
                continue
            vote = to[0] == round - 1 and inside[to].anchor
            ax.plot(
                (round, to[0]),
                (lines[source], lines[to[1]]),
                color=style.INK if vote else style.FAINT,
                linewidth=1.3 if vote else 0.8,
                linestyle="-" if to[0] == round - 1 else (0, (3, 2)),
                zorder=2 if vote else 1,
            )


def _draw_vertices(
    ax: Axes, held: Held, inside: dict[Place, notes.VertexAdded], lines: dict[Party, float]
) -> None:
    for (round, source), vertex in sorted(inside.items()):
        anchor, number = held.ordered.get((round, source), (0, 0))
        colour = style.phase_colour(anchor - 1) if anchor else style.FAINT
        ax.plot(
            [round],
            [lines[source]],
            marker="D" if vertex.anchor else "o",
            markersize=17 if vertex.anchor else 16,
            markerfacecolor=style.tint(colour, 0.72) if anchor else style.PAPER,
            markeredgecolor=style.GOLD if vertex.anchor else colour,
            markeredgewidth=2.2 if vertex.anchor else 1.2,
            zorder=3,
        )
        if number:
            ax.annotate(
                str(number),
                (round, lines[source]),
                ha="center",
                va="center",
                fontsize=style.SMALL,
                color=style.INK,
                zorder=4,
            )


def _draw_ops(
    ax: Axes, trace: Trace, inside: dict[Place, notes.VertexAdded], lines: dict[Party, float]
) -> None:
    """Below a vertex: its operations, by the numbers that they have in every picture."""
    noted = (row.note for row in trace if isinstance(row, Noted))
    told = style.numbers(note.op for note in noted if isinstance(note, notes.Proposed))
    for (round, source), vertex in sorted(inside.items()):
        if vertex.ops:
            ax.annotate(
                style.shorten("op " + " ".join(told.get(op, op) for op in vertex.ops), _LABEL),
                (round, lines[source]),
                (0, -16 if vertex.anchor else -11),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=style.SMALL,
                color=style.MUTED,
                zorder=4,
            )


def _name(ax: Axes, first: int, last: int, sources: Sequence[Party]) -> None:
    ax.set_xlim(first - 0.5, last + 0.5)
    ax.set_ylim(len(sources) - 0.35, -0.5)
    ax.set_xticks(range(first, last + 1), [str(round) for round in range(first, last + 1)])
    ax.set_yticks(range(len(sources)), [style.party_name(source) for source in sources])
    for label, source in zip(ax.get_yticklabels(), sources, strict=True):
        label.set_color(style.party_colour(source))
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel("round", fontsize=style.SMALL, labelpad=2)


def _handles(held: Held, inside: dict[Place, notes.VertexAdded]) -> list[Line2D | Patch]:
    def dot(marker: str, edge: str, fill: str, words: str) -> Line2D:
        return Line2D(
            [], [], marker=marker, linestyle="", markersize=7, markerfacecolor=fill,
            markeredgecolor=edge, label=words,
        )  # fmt: skip

    tinted = style.tint(style.phase_colour(0), 0.72)
    handles: list[Line2D | Patch] = [
        dot("o", style.phase_colour(0), tinted, "ordered, with its number"),
        dot("D", style.GOLD, style.PAPER, "anchor"),
        Line2D([], [], color=style.INK, linewidth=1.3, label="vote for it"),
    ]
    if any(place not in held.ordered for place in inside):
        handles.append(dot("o", style.FAINT, style.PAPER, "not ordered yet"))
    if any(vertex.weak for vertex in inside.values()):
        weak = Line2D([], [], color=style.FAINT, linestyle=(0, (3, 2)), label="weak edge")
        handles.append(weak)
    return handles
