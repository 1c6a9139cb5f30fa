"""Marks on the lanes: what parties did apart from sending, and the words beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from mpclab.core import notes
from mpclab.core.ids import SERVER, Party
from mpclab.core.notes import AnyNote
from mpclab.plots import style
from mpclab.plots.clock import Clock
from mpclab.trace import Blamed, Fault, Fired, Noted, Row
from mpclab.trace.flights import Flight

_ROOM = 9.5  # points that a mark needs
_FURTHEST = 40.0  # points that a mark may be moved to stand beside others


@dataclass(slots=True)
class Mark:
    """One thing that a party did. `text` stands beside it where there is room."""

    at: int
    party: Party
    what: str
    row: int
    text: str = ""
    value: str = ""
    op: str = ""


LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "proposed": ("proposed", {"marker": "D", "ms": 7, "mfc": style.INK, "mec": style.PAPER}),
    "approved": (
        "approved",
        {"marker": style.TICK, "ms": 5.5, "mfc": "none", "mec": style.GOOD, "mew": 1.6},
    ),
    "rejected": ("rejected", {"marker": style.CROSS, "ms": 5, "mec": style.BAD, "mew": 1.6}),
    "certified": (
        "has a certificate",
        {"marker": "o", "ms": 6.5, "mfc": style.PAPER, "mec": style.GOOD, "mew": 1.5},
    ),
    "committed": ("committed", {"marker": "o", "ms": 9, "mfc": style.GOOD, "mec": style.PAPER}),
    "aborted": ("aborted", {"marker": "X", "ms": 10, "mfc": style.BAD, "mec": style.PAPER}),
    "expired": ("gave up waiting", {"marker": "X", "ms": 8, "mfc": style.WARN, "mec": style.PAPER}),
    "leader": (
        "became leader",
        {"marker": "*", "ms": 10, "mfc": "#f2b705", "mec": "#8a6500", "mew": 0.7},
    ),
    "voters": (
        "new voters",
        {"marker": "h", "ms": 7, "mfc": style.PAPER, "mec": style.INK, "mew": 1.3},
    ),
    "view": ("entered a view", {"marker": "|", "ms": 9, "mec": style.INK, "mew": 1.4}),
    "blocked": (
        "blocked",
        {"marker": "s", "ms": 6, "mfc": style.PAPER, "mec": style.WARN, "mew": 1.6},
    ),
    "blamed": (
        "blames somebody",
        {"marker": style.FLAG, "ms": 8, "mfc": style.WARN, "mec": style.WARN, "mew": 1.0},
    ),
    "acted": (
        "a fault at work",
        {"marker": "v", "ms": 6.5, "mfc": style.WARN, "mec": style.PAPER, "mew": 0.8},
    ),
    "fired": ("timer", {"marker": "|", "ms": 6, "mec": style.MUTED, "mew": 0.9}),
}
"""Name in the legend and look of every mark, in the order of the legend."""

_PRIORITY = {
    "aborted": 0,
    "committed": 1,
    "expired": 1,
    "proposed": 2,
    "leader": 3,
    "blamed": 4,
    "voters": 5,
    "view": 5,
    "blocked": 5,
}
"""Marks that are worth words; where room is short the lower number is written."""


def find_marks(rows: Sequence[Row], *, timers: bool = False) -> list[Mark]:
    """The marks of a trace, in order."""
    noted = [row for row in rows if isinstance(row, Noted)]
    commits = {
        (row.actor, row.note.op): row.at for row in noted if isinstance(row.note, notes.Committed)
    }
    found: list[Mark] = []
    for number, row in enumerate(rows):
        match row:
            case Noted(at, actor, _, note) if actor > SERVER:
                if isinstance(note, notes.Decided) and commits:
                    continue  # the coordinator has the last word
                if isinstance(note, notes.Certified) and commits.get((actor, note.op)) == at:
                    continue  # it committed in the same instant
                if (mark := _mark(at, actor, number, note)) is not None:
                    found.append(mark)
            case Fault(at, actor, phase="act") if actor > SERVER:
                found.append(Mark(at, actor, "acted", number))
            case Blamed(at, actor, _, party):
                text = "blames somebody" if party is None else f"blames {party}"
                found.append(Mark(at, actor, "blamed", number, text))
            case Fired(at, actor, _, name) if timers:
                found.append(Mark(at, actor, "fired", number, name))
            case _:
                pass
    proposed = (row.note.op for row in noted if isinstance(row.note, notes.Proposed))
    numbers = style.numbers(proposed)
    for mark in found:
        if mark.op in numbers and mark.text.startswith(mark.op):
            mark.text = numbers[mark.op] + mark.text.removeprefix(mark.op)
    return found


def _mark(at: int, actor: Party, number: int, note: AnyNote) -> Mark | None:
    """The mark of a note; most have none."""
    match note:
        case notes.Proposed(op, kind):
            return Mark(at, actor, "proposed", number, f"{op} {kind}".strip(), op=op)
        case notes.Voted(op, approve):
            return Mark(at, actor, "approved" if approve else "rejected", number, op=op)
        case notes.Certified(op):
            return Mark(at, actor, "certified", number, op=op)
        case notes.Decided(op, value=value) | notes.Committed(op, value=value):
            return Mark(at, actor, "committed", number, op, value, op)
        case notes.Aborted(op):
            return Mark(at, actor, "aborted", number, op, op=op)
        case notes.Expired(op):
            return Mark(at, actor, "expired", number, op, op=op)
        case notes.BecameLeader(term, view):
            text = f"view {view}" if term is None else f"term {term}"
            return Mark(at, actor, "leader", number, text)
        case notes.VotersChanged(voters, old):
            return Mark(at, actor, "voters", number, _voters(voters, old))
        case notes.EnteredView(view):
            return Mark(at, actor, "view", number, f"view {view}")
        case notes.Blocked(op=op):
            return Mark(at, actor, "blocked", number, op=op)
        case (
            notes.Heard() | notes.Ignored() | notes.Executed() | notes.Failed()
            | notes.Phase() | notes.SteppedDown() | notes.VertexAdded() | notes.AnchorOrdered()
            | notes.Round() | notes.CaughtUp() | notes.Restored() | notes.InputWanted()
            | notes.Untimely()
            | notes.KeyAgreed() | notes.PackageRefused() | notes.Signed() | notes.Beacon()
            | notes.Confirmed() | notes.LinkFailed() | notes.Suspected() | notes.StaleOffer()
            | notes.StaleAnswer() | notes.StaleCard() | notes.StaleBox() | notes.AskRefused()
            | notes.UnconfirmedDropped() | notes.EarlyDropped() | notes.NotAdmitted()
            | notes.RelayOverflow()
            | notes.Said() | notes.Opened() | notes.Joined() | notes.Left() | notes.JoinRefused()
            | notes.Expelled() | notes.Closed() | notes.Started() | notes.Crashed()
            | notes.Restarted() | notes.Paused() | notes.Resumed() | notes.Removed()
            | notes.Broken() | notes.CouldNot() | notes.Remark()
                | notes.ReadAnswered() | notes.Invoked() | notes.Returned()
        ):  # fmt: skip
            return None
        case _:
            assert_never(note)


def _voters(voters: tuple[Party, ...], old: tuple[Party, ...]) -> str:
    now = ", ".join(map(str, voters))
    return f"votes: {', '.join(map(str, old))} and {now}" if old else f"votes: {now}"


def draw_marks(
    ax: Axes,
    clock: Clock,
    marks: Sequence[Mark],
    places: dict[Party, float],
    witnesses: frozenset[int],
    found: Sequence[Flight],
) -> None:
    """Marks on their lanes, beside one another where they would overlap, and their words."""
    points = ax.get_window_extent().width / ax.figure.dpi * 72 / (clock.span * 1.05)
    crowded = len(places) > 12
    shrink = 0.78 if crowded else 1.0
    values = _colours_by_op(marks)
    sent: dict[Party, list[float]] = {}
    for flight in found:
        sent.setdefault(flight.sender, []).append(clock.x(flight.sent_at) * points)
    stamps = _Stamps()
    taken: dict[Party, list[tuple[float, float]]] = {}
    words: list[tuple[int, Mark, float]] = []
    for mark in marks:
        x, y = clock.x(mark.at), places[mark.party]
        if mark.what == "fired":
            stamps.add(x, y + 0.16, zorder=5.5, **LOOKS["fired"][1])
            continue
        room = _ROOM * shrink
        place = wish = x * points
        near = [s for s in sent.get(mark.party, ()) if abs(s - wish) < room]
        blocks = sorted(taken.get(mark.party, []) + [(s, s) for s in set(near)])
        for low, high in blocks:
            if low - room * 0.9 < place < high + room * 0.9 and high + room - wish < _FURTHEST:
                place = max(place, high + room * 0.9)
        taken.setdefault(mark.party, []).append((place, place))
        x = place / points
        look = dict(LOOKS[mark.what][1])
        look["ms"] *= shrink
        if mark.what == "committed" and mark.value:
            look["mfc"] = values[mark.op, mark.value]
        if mark.what in ("approved", "rejected"):
            size, edge = 8.5 * shrink, look["mec"]
            stamps.add(x, y, zorder=7, marker="o", ms=size, mfc=style.PAPER, mec=edge, mew=0.7)
            look["ms"] *= 0.8
        if mark.row in witnesses:
            stamps.add(
                x, y, zorder=6.5, marker="o", ms=17 * shrink, mfc=style.WITNESS, mec=style.GOLD,
                mew=1, alpha=0.9,
            )  # fmt: skip
        stamps.add(x, y, zorder=8, **look)
        if mark.text and mark.what in _PRIORITY:
            words.append((_PRIORITY[mark.what], mark, x))
    stamps.draw(ax)
    _write(ax, points, words, places, taken, values, crowded)


class _Stamps:
    """Marks of one look are one artist: matplotlib takes a millisecond for each artist."""

    def __init__(self) -> None:
        self._points: dict[tuple[tuple[str, Any], ...], list[tuple[float, float]]] = {}

    def add(self, x: float, y: float, **look: Any) -> None:
        self._points.setdefault(tuple(sorted(look.items())), []).append((x, y))

    def draw(self, ax: Axes) -> None:
        for look, points in self._points.items():
            xs, ys = zip(*points, strict=True)
            ax.plot(xs, ys, ls="none", **dict(look))


def _write(
    ax: Axes,
    points: float,
    words: list[tuple[int, Mark, float]],
    places: dict[Party, float],
    taken: dict[Party, list[tuple[float, float]]],
    values: dict[tuple[str, str], str],
    crowded: bool,
) -> None:
    """Words above the marks, the important ones first; what would overlap is left out."""
    left, right = (edge * points for edge in ax.get_xlim())
    size = 6.5 if crowded else style.SMALL
    used: dict[Party, list[tuple[float, float]]] = {}
    for _, mark, x in sorted(words, key=lambda w: (w[0], w[1].at, w[1].party)):
        width = style.text_width(mark.text, size)
        middle = min(max(x * points, left + width / 2), right - width / 2)
        box = (middle - width / 2 - 2, middle + width / 2 + 2)
        if any(box[0] < b and a < box[1] for a, b in used.get(mark.party, ())):
            continue
        used.setdefault(mark.party, []).append(box)
        colour = style.INK
        if mark.what == "aborted":
            colour = style.BAD
        elif mark.what == "committed":
            colour = values.get((mark.op, mark.value), style.GOOD)
        elif mark.what in ("blamed", "blocked"):
            colour = style.WARN
        ax.annotate(
            mark.text,
            (middle / points, places[mark.party]),
            (0, 5.5 if crowded else 6.5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=size,
            color=colour,
            fontweight="bold" if mark.what == "proposed" else "normal",
            zorder=9,
            path_effects=[withStroke(linewidth=2.4, foreground=style.PAPER)],
        )


def _colours_by_op(marks: Iterable[Mark]) -> dict[tuple[str, str], str]:
    """A colour for each (operation, value): green for what most committed, others stand out."""
    counts: dict[str, dict[str, int]] = {}
    for mark in marks:
        if mark.what == "committed":
            values = counts.setdefault(mark.op, {})
            values[mark.value] = values.get(mark.value, 0) + 1
    return {
        (op, value): colour
        for op, values in counts.items()
        for value, colour in style.value_colours(
            sorted(values, key=lambda v: (-values[v], v))
        ).items()
    }


def mark_legend(marks: Iterable[Mark]) -> list[Line2D]:
    """Legend entries of the marks that are there."""
    there = {mark.what for mark in marks}
    handles = []
    for what, (label, look) in LOOKS.items():
        if what in there:
            small = dict(look)
            small["ms"] = min(small["ms"], 7.5)
            handles.append(Line2D([], [], ls="none", label=label, **small))
    return handles
