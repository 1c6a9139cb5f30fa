"""The outcome of consensus: who voted what and when, and what each party committed.

A column is an operation, a row a party. Times count from the proposal. Chips of one colour
are one value: two colours in a column are a disagreement, and impossible to miss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle

from mpclab.core.ids import Party
from mpclab.plots import style
from mpclab.plots.lanes import name_lanes
from mpclab.trace import Trace
from mpclab.trace.fold import CRASHED, LEFT, Operation, PartyState, State, Vote, fold

_CELL = (1.62, 0.46)  # inches
_NARROW = 1.05
_NARROWEST = 5.6  # a picture, inches: what its title needs
_GAP = 0.065  # inches on both sides of a cell
_HEAD, _FOOT = 0.72, 0.62  # inches above and below the cells


def outcomes(
    trace: Trace | State,
    *,
    at: int | None = None,
    ax: Axes | None = None,
    operations: Sequence[str] | None = None,
    parties: Sequence[Party] | None = None,
    highlight: Iterable[int] = (),
    max_operations: int = 12,
    legend: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw parties × operations: votes, commits, aborts and their reasons; the axes drawn on.

    Args:
        trace: a trace, or a state that was folded already.
        at: time of the state to show, µs; by default the end.
        operations: only these, in this order; by default all, in the order of proposal.
        parties: only these rows, in this order; by default all that were seen.
        highlight: row numbers to stand out (votes and commits), such as a verdict's witnesses.
        max_operations: draw no more columns than this, the latest ones, and say so.
    """
    state = trace if isinstance(trace, State) else fold(trace, at)
    with style.styled():
        every = list(state.operations.values())
        if operations is not None:
            every = [state.operations[op] for op in operations if op in state.operations]
        shown = every[-max_operations:]
        parties = [p for p in parties or sorted(state.parties) if p in state.parties]
        if not shown or not parties:
            return style.empty(ax or style.new_axes(7, 2), "nothing has been proposed yet")
        wide = _width(shown)
        if ax is None:
            ax = _own_axes(len(parties), len(shown), wide, legend)
        ax.set_xlim(0, len(shown))
        ax.set_ylim(len(parties) - 0.5, -0.5)
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(False)
        _stripes(ax, len(parties), len(shown))
        places = {party: float(i) for i, party in enumerate(parties)}
        witnesses = frozenset(highlight)
        inches = ax.get_window_extent().width / ax.figure.dpi / len(shown)
        names = style.operation_names(state)
        for column, operation in enumerate(shown):
            colours = style.value_colours(operation.values)
            _head(ax, column, operation, names.get(operation.op, operation.op), inches)
            for party in parties:
                said = (operation.votes.get(party), operation.commits.get(party))
                proof = any(word is not None and word.row in witnesses for word in said)
                cell = _Cell(ax, column, places[party], inches)
                _draw_cell(cell, operation, party, state, proof, colours)
            _foot(ax, column, operation, len(parties), inches)
        name_lanes(ax, places)
        if legend:
            style.legend_below(
                ax, [_handles(shown)], max(_NARROWEST - 1.1, inches * len(shown)), gap=_FOOT + 0.06
            )
        cut = len(every) - len(shown)
        style.headline(
            ax, title or _title(every, names), _subtitle(state, shown, cut), lift=_HEAD * 72 - 7
        )
    return ax


def _width(shown: Sequence[Operation]) -> float:
    """Inches for one column: wide for few, and where a value has to be read."""
    if len(shown) > 7:
        return _NARROW
    return 3.4 if len(shown) == 1 else 2.1 if any(len(o.values) > 1 for o in shown) else _CELL[0]


def _own_axes(parties: int, columns: int, wide: float, legend: bool) -> Axes:
    left, right, top = 0.95, 0.25, 0.6 + _HEAD
    below = _FOOT + (0.55 if legend else 0.1)
    width = max(left + right + columns * wide, _NARROWEST)
    tall = _CELL[1] if parties <= 12 else 0.34
    ax = style.new_axes(width, parties * tall + top + below)
    # Few columns keep their width: the picture does not stretch them.
    style.place(ax, left, below, max(right, width - left - columns * wide), top)
    return ax


def _stripes(ax: Axes, rows: int, columns: int) -> None:
    for row in range(rows):
        ax.plot((0, columns), (row, row), color=style.HAIR, lw=1, zorder=0)


# --- one cell -----------------------------------------------------------------------------


class _Cell:
    """A place to draw in: `x` is inches from the cell's left edge, `y` lanes from its middle."""

    def __init__(self, ax: Axes, column: int, y: float, inches: float) -> None:
        self.ax = ax
        self.column = column
        self.y = y
        self.inches = inches
        self.narrow = inches < 1.4

    def mark(self, x: float, up: float = 0.0, **look: Any) -> None:
        self.ax.plot(self.column + x / self.inches, self.y - up, ls="none", **look)

    def text(self, x: float, words: str, colour: str, **look: Any) -> None:
        place = (self.column + x / self.inches, self.y)
        self.ax.annotate(
            words, place, va="center_baseline", fontsize=style.SMALL, color=colour, zorder=5, **look
        )


def _draw_cell(
    cell: _Cell, one: Operation, party: Party, state: State, proof: bool, colours: dict[str, str]
) -> None:
    vote, commit = one.votes.get(party), one.commits.get(party)
    word = one.standing.get(party, "")
    settled = commit is not None or word == "aborted"
    colour = colours[commit.value] if commit else style.BAD if settled else style.FAINT
    cell.ax.add_patch(
        FancyBboxPatch(
            (cell.column + _GAP / cell.inches, cell.y - 0.37),
            1 - 2 * _GAP / cell.inches,
            0.74,
            mutation_aspect=cell.inches / _CELL[1],
            boxstyle=f"round,pad=0,rounding_size={0.08 / cell.inches}",
            fc=style.tint(colour, 0.86) if settled else style.PAPER,
            ec=style.GOLD if proof else style.tint(colour, 0.45),
            lw=2.4 if proof else 0.9,
            ls="-" if settled else (0, (3, 2)),
            zorder=1,
        )
    )
    _draw_vote(cell, one, party, vote)
    x = 0.56 if cell.narrow else 0.84
    if commit:
        cell.mark(x, marker="o", ms=9, mfc=colour, mec=style.PAPER, mew=1, zorder=4)
        words = _since(one, commit.at)
        if len(one.values) > 1:  # then the value is the news
            words = f"{commit.value[:6]}" + ("" if cell.narrow else f" in {words}")
        if word == "failed":
            words += ", failed"
        if not cell.narrow:
            cell.text(x + 0.12, words, colour, fontweight="bold")
    elif settled:
        cell.mark(x, marker="X", ms=9, mfc=style.BAD, mec=style.PAPER, mew=1, zorder=4)
        if not cell.narrow:
            cell.text(x + 0.12, _since(one, one.aborted_at.get(party)), style.BAD)
    elif word == "certified":
        cell.mark(x, marker="o", ms=7, mfc=style.PAPER, mec=style.GOOD, mew=1.5, zorder=4)
        if not cell.narrow:
            cell.text(x + 0.12, "certificate", style.MUTED)
    else:
        cell.text(x - 0.12, _why_open(state.parties[party], word), style.MUTED, fontstyle="italic")


def _why_open(party: PartyState, word: str) -> str:
    if party.life in (CRASHED, LEFT):
        return party.life
    if party.blocked:
        return "blocked"
    return "waits" if word else "unaware"


def _draw_vote(cell: _Cell, one: Operation, party: Party, vote: Vote | None) -> None:
    x = 0.19
    if one.by == party:
        cell.mark(x, 0.3, marker="D", ms=4.2, mfc=style.INK, mec=style.PAPER, mew=0.6, zorder=5)
    if vote is None:
        cell.mark(x, marker="o", ms=11, mfc=style.PAPER, mec=style.FAINT, mew=0.9, zorder=3)
        cell.mark(x, marker=style.DASH, ms=4, mec=style.MUTED, mew=1.3, zorder=4)
        return
    ink = style.GOOD if vote.approve else style.BAD
    glyph = style.TICK if vote.approve else style.CROSS
    cell.mark(x, marker="o", ms=11, mfc=style.PAPER, mec=ink, mew=1, zorder=3)
    cell.mark(x, marker=glyph, ms=5.2, mec=ink, mfc="none", mew=1.7, zorder=4)
    if not cell.narrow:
        cell.text(x + 0.12, _since(one, vote.at), style.MUTED)


def _since(one: Operation, at: int | None) -> str:
    if at is None:
        return ""
    return style.milliseconds(at - (one.proposed_at or 0))


# --- head and foot of a column ------------------------------------------------------------


def _head(ax: Axes, column: int, one: Operation, name: str, inches: float) -> None:
    room = int(inches * 72 / (style.SMALL * 0.62))
    wide = int(inches * 72 / ((style.LABEL + 1.5) * 0.78))  # bold, and any letters
    about = one.kind + (f" by {one.by}" if one.by else "")
    text = style.shorten(f"“{one.text}”", room) if one.text else ""
    lines = [
        (style.shorten(name, wide), style.LABEL + 1.5, style.INK, "bold", 34),
        (style.shorten(about, room), style.SMALL, style.MUTED, "normal", 21),
        (text, style.SMALL, style.INK, "normal", 9),
    ]
    for text, size, colour, weight, up in lines:
        ax.annotate(
            text,
            (column + _GAP / inches, 1),
            (0, up),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=size,
            color=colour,
            fontweight=weight,
            annotation_clip=False,
            va="baseline",
        )
    colour = style.BAD if one.split else _status_colour(one)
    ax.add_patch(
        Rectangle(
            (column + _GAP / inches, -0.5),
            1 - 2 * _GAP / inches,
            0.05,
            fc=colour,
            ec="none",
            zorder=2,
            clip_on=False,
        )
    )


def _foot(ax: Axes, column: int, one: Operation, parties: int, inches: float) -> None:
    room = int(inches * 72 / (style.SMALL * 0.6))
    first, second = _verdict(one, parties)
    if style.text_width(first, style.SMALL) > 72 * inches:
        first = first.replace(" everywhere", "").removeprefix("committed ")
    lines = [
        (first, style.BAD if one.split else _status_colour(one), "bold", -12),
        (style.shorten(second, room), style.MUTED, "normal", -23),
    ]
    if one.certified:
        when, names = min(one.certified.values())
        said = f"certificate: {len(names)} in {_since(one, when)}"
        lines.append((style.shorten(said, room), style.MUTED, "normal", -34))
    for text, colour, weight, down in lines:
        ax.annotate(
            text,
            (column + _GAP / inches, 0),
            (0, down),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=style.SMALL,
            color=colour,
            fontweight=weight,
            annotation_clip=False,
            va="baseline",
        )


def _verdict(one: Operation, parties: int) -> tuple[str, str]:
    """How an operation ended, in two short lines."""
    if len(one.values) > 1:
        return f"{len(one.values)} different values!", "parties disagree"
    if one.split:
        gone = sum(w == "aborted" for w in one.standing.values())
        return "split!", f"{len(one.commits)} committed, {gone} aborted"
    if one.commits:
        last = max(commit.at for commit in one.commits.values())
        where = (
            "everywhere" if len(one.commits) == parties else f"at {len(one.commits)} of {parties}"
        )
        result = next((r for r in one.results.values() if r), "")
        return f"committed {where}", result or f"in {_since(one, last)}"
    if one.aborts:
        return "aborted", Counter(one.aborts.values()).most_common(1)[0][0]
    if one.expiries:
        return "expired", Counter(one.expiries.values()).most_common(1)[0][0]
    return "open", f"{style.count(len(one.votes), 'vote')} so far"


def _status_colour(one: Operation) -> str:
    return {"committed": style.GOOD, "aborted": style.BAD}.get(one.status, style.FAINT)


# --- words --------------------------------------------------------------------------------


def _handles(shown: Sequence[Operation]) -> list[Line2D | Patch]:
    def glyph(label: str, **look: Any) -> Line2D:
        return Line2D([], [], ls="none", label=label, **look)

    votes = [vote for one in shown for vote in one.votes.values()]
    handles: list[Line2D | Patch] = [
        glyph("proposer", marker="D", ms=4.5, mfc=style.INK, mec="none")
    ]
    if any(vote.approve for vote in votes):
        handles.append(
            glyph("approved", marker=style.TICK, ms=6, mec=style.GOOD, mew=1.7, mfc="none")
        )
    if not all(vote.approve for vote in votes):
        handles.append(glyph("rejected", marker=style.CROSS, ms=5.5, mec=style.BAD, mew=1.7))
    if any(len(one.votes) < len(one.standing) for one in shown):
        handles.append(glyph("no vote", marker=style.DASH, ms=5, mec=style.MUTED, mew=1.4))
    if any(one.commits for one in shown):
        handles.append(glyph("committed", marker="o", ms=7.5, mfc=style.GOOD, mec="none"))
    if any(len(one.values) > 1 for one in shown):
        other = list(style.value_colours("ab").values())[1]
        handles.append(glyph("committed another value", marker="o", ms=7.5, mfc=other, mec="none"))
    if any(one.aborts for one in shown):
        handles.append(glyph("aborted", marker="X", ms=7.5, mfc=style.BAD, mec="none"))
    return handles


def _title(every: Sequence[Operation], names: Mapping[str, str]) -> str:
    split = [one for one in every if one.split]
    if split:
        return f"Parties disagree on {', '.join(names.get(one.op, one.op) for one in split)}"
    if len(every) == 1:
        return f"{names.get(every[0].op, every[0].op)} is {every[0].status}"
    return f"{style.count(len(every), 'operation')}: {style.tally(every)}"


def _subtitle(state: State, shown: Sequence[Operation], cut: int) -> str:
    parts = [f"at {style.milliseconds(state.at)}; times count from each proposal"]
    if cut:
        parts.append(f"{style.count(cut, 'earlier operation')} not drawn")
    return "  ·  ".join(parts)
