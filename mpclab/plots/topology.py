"""The topology: who is connected to whom, and by which kind of link, at a moment of a trace."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal, TypeAlias

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.path import Path as Outline
from matplotlib.transforms import ScaledTranslation

from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party
from mpclab.plots import style
from mpclab.trace import Trace
from mpclab.trace.fold import CRASHED, LEFT, PAUSED, UP, State, fold

Positions: TypeAlias = dict[Party, tuple[float, float]]

LOOKS: dict[str, tuple[str, str, Any, float]] = {
    "confirmed": ("data channel", "#3d6f9e", "-", 1.7),
    "open": ("open, not yet confirmed", "#3d6f9e", (0, (7, 2)), 1.3),
    "relay": ("relayed through the server, sealed", style.WARN, (0, (4, 2.2)), 1.5),
    "dialing": ("dialing", style.MUTED, (0, (1, 2)), 1.3),
    "closed": ("closed", style.BAD, (0, (1, 3.5)), 0.9),
}
"""Name in the legend, colour, pattern and width of each kind of link."""

_BADGES = {
    CRASHED: ("crashed", style.CROSS, style.BAD),
    PAUSED: ("paused", style.BARS, style.WARN),
    LEFT: ("left", style.DASH, style.MUTED),
}


def topology(
    trace: Trace | State,
    *,
    at: int | None = None,
    ax: Axes | None = None,
    parties: Sequence[Party] | None = None,
    kind: Literal["circle", "spring"] = "circle",
    seed: int = 0,
    legend: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw parties, server and links as they are at time `at` (µs; by default at the end).

    Where nothing in the trace speaks of links (a bare protocol experiment) every party
    reaches every other, and the picture says that.

    Args:
        trace: a trace, or a state that was folded already.
        parties: only these; by default all that were seen.
        kind: "circle", or "spring": linked parties attract each other.
        seed: of the spring layout.
    """
    state = trace if isinstance(trace, State) else fold(trace, at)
    with style.styled():
        own = ax is None
        if ax is None:
            ax = style.new_axes(6.4, 6.2)
            style.place(ax, 0.3, 0.75 if legend else 0.25, 0.3, 0.75)
        state = _only(state, parties)
        if not state.parties:
            return style.empty(ax, "no party has been seen yet")
        parties = sorted(state.parties)
        places = layout(parties, state.pairs, kind=kind, seed=seed)
        _frame(ax, places)
        bare = not state.server and not any(SERVER not in ends for ends in state.links)
        pairs = dict.fromkeys(combinations(parties, 2), "confirmed") if bare else _worth(state)
        present = {p for room in state.members.values() for p, s in room.items() if s == "present"}
        _draw_signaling(ax, places, state, present)
        _draw_links(ax, places, pairs, bare, beside=bool(state.server))
        for party in parties:
            _draw_party(ax, places[party], party, state, len(parties))
        if state.server:
            _draw_server(ax, state.server)
        if legend:
            handles = [_link_handles(pairs, bare), _badge_handles(state, present)]
            style.legend_below(ax, handles, None, gap=0.1 if own else 0.06)
        subtitle = _subtitle(state, pairs, bare)
        style.headline(ax, title or _title(state, pairs, bare), subtitle)
    return ax


def _only(state: State, parties: Sequence[Party] | None) -> State:
    """`state` without the other parties."""
    if parties is None:
        return state
    wanted = {SERVER, *parties}
    return replace(
        state,
        parties={p: one for p, one in state.parties.items() if p in wanted},
        links={ends: kind for ends, kind in state.links.items() if wanted.issuperset(ends)},
    )


def _worth(state: State) -> dict[tuple[Party, Party], str]:
    """The pairs to draw: that a crashed party's links are closed goes without saying."""
    gone = {p for p, one in state.parties.items() if one.life in (CRASHED, LEFT)}
    return {
        pair: kind for pair, kind in state.pairs.items() if kind != "closed" or not gone & set(pair)
    }


def layout(
    parties: Sequence[Party],
    pairs: Mapping[tuple[Party, Party], str] | None = None,
    *,
    kind: str = "circle",
    seed: int = 0,
) -> Positions:
    """Where each party stands, in -1..1: a pure function of its arguments.

    Raises:
        UsageError: a `kind` that is neither "circle" nor "spring".
    """
    if kind == "circle":  # party 1 at the top, then clockwise
        turn = 2 * math.pi / max(1, len(parties))
        return {
            p: (round(math.sin(i * turn), 9), round(math.cos(i * turn), 9))
            for i, p in enumerate(parties)
        }
    if kind != "spring":
        raise UsageError(f"kind: {kind!r} is not a layout; use 'circle' or 'spring'")
    graph = nx.Graph()
    graph.add_nodes_from(parties)
    graph.add_edges_from(p for p, k in (pairs or {}).items() if k in ("confirmed", "relay", "open"))
    found = nx.spring_layout(graph, seed=seed, k=1.4 / math.sqrt(max(1, len(parties))))
    return {p: (float(x), float(y)) for p, (x, y) in found.items()}


def _frame(ax: Axes, places: Positions) -> None:
    xs, ys = zip(*places.values(), strict=True)
    room = 1.22
    ax.set_xlim(min(-1.0, *xs) * room, max(1.0, *xs) * room)
    ax.set_ylim(min(-1.0, *ys) * room, max(1.0, *ys) * room)
    ax.set_aspect("equal")
    ax.set_axis_off()


# --- links --------------------------------------------------------------------------------


def _draw_links(
    ax: Axes, places: Positions, pairs: Mapping[tuple[Party, Party], str], bare: bool, beside: bool
) -> None:
    crowd = len(pairs)
    alpha = 0.9 if crowd <= 30 else 0.55 if crowd <= 80 else max(0.06, 0.35 * 200 / max(200, crowd))
    thin = 1.0 if crowd <= 80 else 0.7 if crowd <= 500 else 0.4
    outlines: dict[str, list[Outline]] = {}
    for (one, other), kind in pairs.items():
        ends = (places[one], places[other])
        if kind == "relay":  # bend towards the server in the middle, which carries it
            outline = _bent(*ends, towards=True)
        elif beside and _passes_middle(*ends):  # bend away from it, which does not
            outline = _bent(*ends, towards=False)
        else:
            outline = Outline(ends)
        outlines.setdefault(kind, []).append(outline)
    for kind, each in outlines.items():
        _, colour, pattern, width = LOOKS[kind]
        ways = PathCollection(
            each,
            facecolors="none",
            edgecolors=style.MUTED if bare else colour,
            linewidths=thin if bare else width * thin,
            linestyles=[pattern],
            alpha=1.0 if kind in ("closed", "dialing", "relay") else alpha,
            zorder=2,
        )
        ax.add_collection(ways, autolim=False)


def _passes_middle(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether the straight way from a to b goes through the server's place."""
    return abs(a[0] * b[1] - a[1] * b[0]) < 0.1 * math.dist(a, b)


def _bent(a: tuple[float, float], b: tuple[float, float], *, towards: bool) -> Outline:
    """A curve from a to b that leads close to the origin, or around it."""
    middle = np.array([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2])
    if _passes_middle(a, b):
        normal = np.array([a[1] - b[1], b[0] - a[0]])
        control = middle + (0.24 if towards else 0.44) * normal / np.hypot(*normal)
    else:
        control = -0.15 * middle
    return Outline([a, tuple(control), b], [Outline.MOVETO, Outline.CURVE3, Outline.CURVE3])


def _draw_signaling(ax: Axes, places: Positions, state: State, present: set[Party]) -> None:
    for party in sorted(present):
        if party in places and state.server == UP and state.parties[party].life != CRASHED:
            x, y = places[party]
            ax.plot((0, x), (0, y), color=style.FAINT, lw=0.9, ls=(0, (1, 2)), zorder=1)


# --- nodes --------------------------------------------------------------------------------


def _size(parties: int) -> float:
    """The diameter of a party's disc, in points; many stand side by side on the circle."""
    roomy = 34 if parties <= 6 else 28 if parties <= 12 else 22
    return min(roomy, 850 / parties)


def _draw_party(
    ax: Axes, at: tuple[float, float], party: Party, state: State, parties: int
) -> None:
    size = _size(parties)
    one = state.parties[party]
    colour = style.party_colour(party)
    gone = one.life in (CRASHED, LEFT)
    pale = gone or not one.votes
    if one.leader:
        ax.plot(*at, marker="o", ms=size + 8, mfc="none", mec="#f2b705", mew=2.6, zorder=4)
    ax.plot(
        *at,
        marker="o",
        ms=size,
        mfc=style.tint(colour, 0.82) if pale else colour,
        mec=style.mix(colour, "#ffffff", 0.45) if gone else colour if pale else style.PAPER,
        mew=2,
        zorder=5,
    )
    ax.annotate(
        str(party),
        at,
        ha="center",
        va="center_baseline",
        fontsize=size * 0.4,
        fontweight="bold",
        color=colour if pale else "white",
        zorder=6,
    )
    shift = size * 0.38
    if one.life in _BADGES:
        _, glyph, ink = _BADGES[one.life]
        _badge(ax, at, (shift, shift), glyph, ink)
    elif size > 15 and any(op.commits.get(party) for op in state.operations.values()):
        _badge(ax, at, (shift, shift), style.TICK, style.GOOD)
    if one.leader:
        _badge(ax, at, (-shift, shift), "*", "#b98900", filled=True)
    if one.blocked:
        _badge(ax, at, (shift, -shift), "s", style.WARN)


def _badge(
    ax: Axes,
    at: tuple[float, float],
    shift: tuple[float, float],
    glyph: Any,
    ink: str,
    *,
    filled: bool = False,
) -> None:
    """A small disc with a glyph at the edge of a node, `shift` points from its centre."""
    where = ax.transData + _points(ax, *shift)
    ax.plot(*at, marker="o", ms=13, mfc=style.PAPER, mec=ink, mew=1.1, zorder=7, transform=where)
    ax.plot(
        *at,
        marker=glyph,
        ms=7.5 if filled else 6,
        mec=ink,
        mew=0.5 if filled else 1.9,
        mfc=ink if filled else "none",
        zorder=8,
        transform=where,
    )


def _points(ax: Axes, dx: float, dy: float) -> ScaledTranslation:
    return ScaledTranslation(dx / 72, dy / 72, ax.figure.dpi_scale_trans)


def _draw_server(ax: Axes, server: str) -> None:
    up = server == UP
    ink = style.SERVER_COLOUR if up else style.BAD
    ax.add_patch(
        FancyBboxPatch(
            (-0.17 if up else -0.22, -0.085),
            0.34 if up else 0.44,
            0.17,
            boxstyle="round,pad=0.01,rounding_size=0.05",
            fc=ink if up else style.tint(ink, 0.88),
            ec=style.PAPER if up else ink,
            lw=1.6,
            zorder=6,
        )
    )
    ax.annotate(
        "server" if up else "stopped",
        (0, 0),
        ha="center",
        va="center_baseline",
        fontsize=style.LABEL,
        fontweight="bold",
        color="white" if up else ink,
        zorder=7,
    )


# --- words --------------------------------------------------------------------------------


def _link_handles(pairs: Mapping[tuple[Party, Party], str], bare: bool) -> list[Line2D]:
    if bare:
        return []
    counts = Counter(pairs.values())
    return [
        Line2D(
            [], [], color=colour, ls=pattern, lw=max(width, 1.3), label=f"{label} ({counts[kind]})"
        )
        for kind, (label, colour, pattern, width) in LOOKS.items()
        if counts[kind]
    ]


def _badge_handles(state: State, present: Iterable[Party]) -> list[Line2D]:
    handles = []
    if present and state.server == UP:
        handles.append(Line2D([], [], color=style.FAINT, ls=(0, (1, 2)), label="at the server"))
    for life, (label, glyph, ink) in _BADGES.items():
        if any(one.life == life for one in state.parties.values()):
            handles.append(_glyph_handle(glyph, ink, label))
    if any(op.commits for op in state.operations.values()):
        handles.append(_glyph_handle(style.TICK, style.GOOD, "has committed"))
    if state.leaders:
        handles.append(
            Line2D([], [], ls="none", marker="*", ms=8, mfc="#b98900", mec="none", label="leader")
        )
    if any(one.life == UP and not one.votes for one in state.parties.values()):
        handles.append(_glyph_handle("o", style.MUTED, "does not vote"))
    if any(one.blocked for one in state.parties.values()):
        handles.append(_glyph_handle("s", style.WARN, "blocked"))
    return handles


def _glyph_handle(glyph: Any, ink: str, label: str) -> Line2D:
    return Line2D([], [], ls="none", marker=glyph, ms=6, mec=ink, mfc="none", mew=1.8, label=label)


def _title(state: State, pairs: Mapping[tuple[Party, Party], str], bare: bool) -> str:
    n = len(state.parties)
    if bare:
        return f"{style.count(n, 'party')}, each reaches every other"
    counts = Counter(pairs.values())
    all_pairs = n * (n - 1) // 2
    if counts["confirmed"] == all_pairs:
        return f"{style.count(n, 'party')}, a full mesh"
    words = f"{style.count(n, 'party')}: {counts['confirmed']} of {all_pairs} pairs linked"
    return words + (f", {counts['relay']} relayed" if counts["relay"] else "")


def _subtitle(state: State, pairs: Mapping[tuple[Party, Party], str], bare: bool) -> str:
    parts = [f"at {style.milliseconds(state.at)}"]
    if bare:
        parts.append("a bare experiment: no links to set up")
    for life in (CRASHED, PAUSED, LEFT):
        who = [p for p, one in sorted(state.parties.items()) if one.life == life]
        if who:
            parts.append(f"{life}: {', '.join(map(str, who))}")
    if state.leaders:
        parts.append(f"leader: {', '.join(map(str, state.leaders))}")
    if silent := [p for p, one in sorted(state.parties.items()) if not one.votes]:
        parts.append(f"no vote: {', '.join(map(str, silent))}")
    if not bare:
        alone = [
            p
            for p, one in sorted(state.parties.items())
            if one.life == UP
            and len(state.parties) > 1
            and not any(k in ("confirmed", "relay") for pair, k in pairs.items() if p in pair)
        ]
        if alone:
            parts.append(f"reaches nobody: {', '.join(map(str, alone))}")
    return "  ·  ".join(parts)
