"""How everything looks: one glyph per kind, sizes and inks, in this one file.

Parties have their colours from trace/palette.py, and no picture depends on colours alone:
parties are numbered, marks have shapes. Light background, sizes for a notebook's width and for
print.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path as Outline
from matplotlib.transforms import Bbox
from PIL import Image

from mpclab.core.ids import SERVER, Party
from mpclab.core.words import count as count
from mpclab.trace.fold import Operation, State
from mpclab.trace.palette import SERVER_COLOUR as SERVER_COLOUR
from mpclab.trace.palette import mix as mix
from mpclab.trace.palette import party_colour as party_colour

if TYPE_CHECKING:
    from matplotlib.text import Text

_CHOSEN: Final = 6  # letters of an id that somebody chose; others have more
INK: Final = "#1d2733"  # text
MUTED: Final = "#6b7785"  # what one reads second
FAINT: Final = "#c9d0d8"  # lines that carry no news
HAIR: Final = "#e8ebef"
PAPER: Final = "#ffffff"
GOOD: Final = "#1a7f4b"
BAD: Final = "#c92a2a"
WARN: Final = "#b86e00"
GOLD: Final = "#e0a800"  # leaders, and the edge of a witness
WITNESS: Final = "#ffd43b"  # behind the rows that prove a verdict

_VALUES = ("#1a7f4b", "#d9480f", "#7048e8", "#0b7285", "#a61e4d", "#5c940d")
_BANDS = ("#e8590c", "#7048e8", "#0b7285", "#a61e4d", "#5f6b7a", "#846a00")
_PHASES = ("#3d7cb8", "#7a5ac2", "#1f9e89", "#c2557d", "#8a9a1f", "#4b6584", "#d08a2e", "#2aa5c9")

FAULT_FILL_ALPHA: Final = 0.075

TITLE: Final = 12.0
SUBTITLE: Final = 9.0
LABEL: Final = 8.5
SMALL: Final = 7.5
LEGEND_LINE: Final = 0.21  # inches

RC: Final[dict[Any, Any]] = {
    "text.parse_math": False,  # peers' words are text: "$5 or $6" is no formula
    "font.family": ["DejaVu Sans"],
    "font.size": LABEL,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
}


@contextmanager
def styled() -> Iterator[None]:
    """Our settings while we draw; the reader's own come back afterwards."""
    with mpl.rc_context(RC):
        yield


class Picture(Figure):
    """A figure that a notebook shows as it is, also where pyplot was never imported."""

    def __repr__(self) -> str:
        return "a picture"  # sizes differ with the fonts of a machine, and tell nobody anything

    def _repr_png_(self) -> bytes:
        drawn, small = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png", bbox_inches="tight")
        # 256 colours are enough for lines and text, and a notebook is a quarter as large.
        with Image.open(drawn) as image:
            few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(small, "PNG", optimize=True)
        return small.getvalue()


def new_axes(width: float, height: float) -> Axes:
    """Axes on a figure of their own, in inches; unknown to pyplot, so nothing leaks."""
    figure = Picture(figsize=(width, height), dpi=110)
    return figure.add_axes((0.09, 0.16, 0.88, 0.68))


def place(ax: Axes, left: float, bottom: float, right: float, top: float) -> None:
    """Leave these margins (inches) around axes that fill their figure."""
    figure = ax.figure
    assert isinstance(figure, Figure)
    width, height = figure.get_size_inches()
    ax.set_position(
        Bbox.from_extents(left / width, bottom / height, 1 - right / width, 1 - top / height)
    )


# --- colours ------------------------------------------------------------------------------


def band_colour(number: int) -> str:
    """The colour of a fault's band."""
    return _BANDS[number % len(_BANDS)]


def phase_colour(number: int) -> str:
    """The colour of a protocol's phase, by the order in which phases appear."""
    return _PHASES[number % len(_PHASES)]


def value_colours(values: Iterable[str]) -> dict[str, str]:
    """A colour for each committed value, by how common it is: the first is green. Two colours
    for one operation mean that parties disagree."""
    return {value: _VALUES[i % len(_VALUES)] for i, value in enumerate(dict.fromkeys(values))}


def tint(colour: str, amount: float = 0.85) -> str:
    """A light version of `colour`, for what lies behind text."""
    return mix(colour, "#ffffff", amount)


# --- glyphs -------------------------------------------------------------------------------


def _lines(*strokes: tuple[tuple[float, float], ...]) -> Outline:
    points = [p for stroke in strokes for p in stroke]
    codes = [c for s in strokes for c in (Outline.MOVETO, *(Outline.LINETO for _ in s[1:]))]
    return Outline(points, codes)


TICK: Final = _lines(((-0.55, 0.0), (-0.15, -0.42), (0.6, 0.5)))
CROSS: Final = _lines(((-0.5, -0.5), (0.5, 0.5)), ((-0.5, 0.5), (0.5, -0.5)))
BARS: Final = _lines(((-0.3, -0.5), (-0.3, 0.5)), ((0.3, -0.5), (0.3, 0.5)))
DASH: Final = _lines(((-0.5, 0.0), (0.5, 0.0)))
FLAG: Final = Outline([(-0.4, -0.8), (-0.4, 0.8), (0.7, 0.4), (-0.4, 0.0)], closed=False)

KIND_GLYPHS: Final = ("o", "s", "^", "D", "v", "p", "<", "h", ">", "8", "P", "d")
"""Glyphs of message kinds, in the order in which the kinds first appear."""


def kind_glyphs(kinds: Iterable[str]) -> dict[str, str]:
    """A glyph for each kind of message, the same for the same order of kinds."""
    return {k: KIND_GLYPHS[i % len(KIND_GLYPHS)] for i, k in enumerate(dict.fromkeys(kinds))}


# --- words --------------------------------------------------------------------------------


def party_name(party: Party) -> str:
    return "server" if party == SERVER else f"party {party}"


def milliseconds(us: float) -> str:
    """A time for a reader: 430 µs, 8.5 ms, 37 ms, 1.25 s."""
    if abs(us) >= 10_000_000:
        return f"{us / 1_000_000:.0f} s"
    if abs(us) >= 1_000_000:
        return f"{us / 1_000_000:.2f}".rstrip("0").rstrip(".") + " s"
    if abs(us) >= 10_000:
        return f"{us / 1000:.0f} ms"
    if abs(us) >= 1000:
        return f"{us / 1000:.2g} ms"
    return f"{us:.0f} µs" if us else "0 ms"


STATUSES: Final = ("committed", "aborted", "expired", "open")


def tally(operations: Iterable[Operation]) -> str:
    """`2 committed, 1 expired`: how many operations ended how."""
    counts = Counter(one.status for one in operations)
    return ", ".join(f"{counts[word]} {word}" for word in STATUSES if counts[word])


def shorten(text: str, length: int) -> str:
    """`text`, cut with an ellipsis when it is longer."""
    return text if len(text) <= length else text[: max(1, length - 1)].rstrip() + "…"


def operation_names(state: State, length: int = 24) -> dict[str, str]:
    """`1 · tea at four`: the name of each operation in every picture, table and line, by id."""
    known = [one for one in state.operations.values() if one.proposed_at is not None]
    told = numbers(one.op for one in known)
    said = (one.text.removeprefix(f"{one.kind}: ") or one.kind for one in known)
    return {
        one.op: f"{told[one.op]} · {shorten(text, length)}"
        for one, text in zip(known, said, strict=True)
    }


def numbers(ids: Iterable[str]) -> dict[str, str]:
    """The number of each operation, in this order; a short id that somebody chose stays."""
    return {op: op if len(op) <= _CHOSEN else str(i) for i, op in enumerate(dict.fromkeys(ids), 1)}


def text_width(text: str, size: float) -> float:
    """About how wide `text` is in points: enough to keep labels apart, without a renderer."""
    return sum(0.36 if c in "il.,:;|' 1" else 0.92 if c in "mwMW…—●" else 0.64 for c in text) * size


def headline(ax: Axes, title: str, subtitle: str, *, x: float = 0.0, lift: float = 0.0) -> Text:
    """A title that says what one sees, and a quieter line below it, both left-aligned.

    `x` is in axes coordinates; `lift` raises both by so many points.
    """
    ax.annotate(
        subtitle,
        (x, 1),
        (0, 9 + lift),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SUBTITLE,
        color=MUTED,
        va="baseline",
        annotation_clip=False,
    )
    return ax.annotate(
        title,
        (x, 1),
        (0, 24 + lift),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=TITLE,
        fontweight="bold",
        color=INK,
        va="baseline",
        annotation_clip=False,
    )


def legend_lines(handles: Sequence[Line2D | Patch], inches: float) -> list[list[Line2D | Patch]]:
    """`handles` broken into lines that fit a width."""
    lines: list[list[Line2D | Patch]] = []
    used = math.inf
    for handle in handles:
        width = text_width(str(handle.get_label()), SMALL) / 72 + 0.42
        if used + width > inches:
            lines.append([])
            used = 0.0
        lines[-1].append(handle)
        used += width
    return lines


def legend_below(
    ax: Axes,
    groups: Iterable[Sequence[Line2D | Patch]],
    inches: float | None = None,
    *,
    gap: float = 0.42,
    left: float = 0.0,
) -> None:
    """Legends below the axes, each group on lines of its own, read from left to right.

    `gap` is the room for tick labels above them and `left` how far they are moved left, inches.
    """
    box = ax.get_window_extent()
    width, height = box.width / ax.figure.dpi, box.height / ax.figure.dpi
    below = gap
    for group in groups:
        for line in legend_lines(group, inches or width):
            legend = Legend(
                ax,
                line,
                [str(h.get_label()) for h in line],
                loc="upper left",
                frameon=False,
                ncols=len(line),
                bbox_to_anchor=(-left / width, -below / height),
                fontsize=SMALL,
                handletextpad=0.35,
                columnspacing=1.5,
                handlelength=1.5,
                borderaxespad=0,
                borderpad=0,
                labelcolor=INK,
            )
            ax.add_artist(legend)
            legend.set_clip_on(False)
            below += LEGEND_LINE


def empty(ax: Axes, words: str) -> Axes:
    """Axes that say why there is nothing to see."""
    ax.set_axis_off()
    ax.text(
        0.5,
        0.5,
        words,
        transform=ax.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        fontsize=SUBTITLE + 1,
    )
    return ax


def nice_step(span: float, wanted: int) -> float:
    """A round step (1, 2, 2.5 or 5 times a power of ten) that cuts `span` in about `wanted`."""
    if span <= 0:
        return 1.0
    raw = span / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
