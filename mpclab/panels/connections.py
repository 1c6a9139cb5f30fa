"""`ConnectionsPanel`: who is connected to whom, as a live picture and as a table of pairs."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any, ClassVar

from matplotlib.axes import Axes

from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.hints import LINKED
from mpclab.panels.panel import Panel
from mpclab.plots import style, topology
from mpclab.plots.topology import LOOKS
from mpclab.trace.fold import State

_MOST = 14  # parties up to which the table of pairs is shown


class ConnectionsPanel(Panel):
    """The mesh: a live picture of its topology, and the state of every link."""

    title: ClassVar[str] = "Connections"
    name: ClassVar[str] = "connections"

    def build(self) -> list[Any]:
        self.picture = controls.Picture("No party has been seen yet.", widest="460px")
        self.pairs = controls.page()
        return [self.picture.box, self.pairs]

    def refresh(self, now: Tick) -> None:
        state = now.state
        if now.needs_redraw or now.is_new:
            self.pairs.value = link_table(state, now.lab.group.present)
            self.note(_counts(state))
        seen = "It is being drawn…" if state.parties else "No party has been seen yet."
        self.picture.wait(seen)
        if self.picture_due(now):
            self.picture.draw(lambda: _draw(state), dpi=150)


def _draw(state: State) -> Axes | None:
    if not state.parties:
        return None
    axes = style.new_axes(4.5, 4.9)  # small, so that its words can be read in a narrow card
    style.place(axes, 0.1, 0.72, 0.1, 0.62)
    return topology(state, ax=axes)


def _counts(state: State) -> str:
    parties = sorted(p for p, one in state.parties.items() if one.life == "up")
    pairs = list(combinations(parties, 2))
    linked = sum(state.link(*pair) in LINKED for pair in pairs)
    return f"{linked} of {len(pairs)} pairs can talk" if pairs else ""


def link_table(state: State, parties: tuple[int, ...]) -> str:
    """A row and a column for each party, a dot for each link: as its own end sees it."""
    if len(parties) < 2 or not state.links:
        return ""
    ends = [state.links.get((a, b), "") for a in parties for b in parties]
    seen = Counter(ends)
    legend = " ".join(
        f'<span style="white-space:nowrap;margin-right:10px">{_dot(kind)} {LOOKS[kind][0]}</span>'
        for kind in LOOKS
        if seen[kind]
    )
    if len(parties) > _MOST:
        return f'<div class="mpclab-small">{legend}</div>'
    head = ["", *(theme.chip(p) for p in parties)]
    rows = [
        [theme.chip(a), *(_dot(state.links.get((a, b), "")) if a != b else "" for b in parties)]
        for a in parties
    ]
    many = " many" if len(parties) > 8 else ""
    matrix = f'<div class="mpclab-matrix{many}">{theme.table(head, rows)}</div>'
    return f'{matrix}<div class="mpclab-small" style="margin-top:6px">{legend}</div>'


def _dot(kind: str) -> str:
    if kind not in LOOKS:
        return '<span class="mpclab-small" title="never tried">·</span>'
    words, colour, *_ = LOOKS[kind]
    hollow = "background:none;box-shadow:inset 0 0 0 2px" if kind in ("dialing", "closed") else ""
    fill = f"{hollow} {colour}" if hollow else f"background:{colour}"
    return f'<span class="mpclab-dot" style="{fill}" title="{words}"></span>'
