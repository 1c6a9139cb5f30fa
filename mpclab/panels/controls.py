"""The widgets that panels are made of: buttons that say why they are disabled, fields, cards."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets as widgets
from matplotlib.axes import Axes

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.panels import theme

_DRAWING = threading.Lock()  # matplotlib shares its settings and font cache among threads


def button(
    words: str,
    press: Callable[[], None],
    *,
    tip: str,
    icon: str = "",
    mood: str = "",
    name: str = "",
) -> Any:
    """A button that calls `press()`. `mood`: primary, success or danger; `name`: a test id."""
    made = widgets.Button(description=words, tooltip=tip, icon=icon, button_style=mood)
    made.layout.width = "auto"
    made.usual_tip = tip
    made.on_click(lambda _: press())
    if name:
        made.add_class(f"mpclab-{name}")
    return made


def gate(made: Any, why: str = "") -> None:
    """Disable a button or a field and say why in its tooltip; with "" enable it again."""
    disabled, tip = bool(why), why or made.usual_tip
    if made.disabled is not disabled:  # asking costs a twentieth of setting, and most stay
        made.disabled = disabled
    if made.tooltip != tip:
        made.tooltip = tip


def field(made: Any, *, tip: str = "", width: str = "", name: str = "", above: bool = True) -> Any:
    """Put a widget's description above it (or before it)."""
    made.add_class("mpclab-field" if above else "mpclab-labelled")
    made.usual_tip = tip or made.description
    made.tooltip = made.usual_tip
    if width:
        made.layout.width = width
    if name:
        made.add_class(f"mpclab-{name}")
    return made


def number(words: str, value: int, low: int, high: int, **options: Any) -> Any:
    options.setdefault("width", "84px")
    return field(
        widgets.BoundedIntText(value=value, min=low, max=high, description=words), **options
    )


def text(words: str, value: str = "", hint: str = "", **options: Any) -> Any:
    options.setdefault("width", "160px")
    made = widgets.Text(value=value, placeholder=hint, description=words, continuous_update=False)
    return field(made, **options)


def whole_numbers(what: str, written: str) -> list[int]:
    """The numbers in a text like `1, 2, 3`.

    Raises:
        UsageError: a piece that is not a whole number.
    """
    pieces = written.replace(",", " ").split()
    for piece in pieces:
        if not re.fullmatch(r"[+-]?[0-9]{1,600}", piece):
            raise UsageError(f"{what}: {piece!r} is not a whole number; write some like 1, 2, 3")
    return [int(piece) for piece in pieces]


def choice(words: str, options: Iterable[Any], value: Any = None, **more: Any) -> Any:
    more.setdefault("width", "130px")
    choices = list(options)
    made = widgets.Dropdown(options=choices, description=words)
    if value is not None:
        made.value = value
    return field(made, **more)


def party_choice(words: str, n: int, **more: Any) -> Any:
    more.setdefault("width", "96px")
    return choice(words, [(f"party {p}", p) for p in range(1, n + 1)], **more)


def set_options(made: Any, options: Sequence[tuple[str, Any]]) -> None:
    """Change what a drop-down offers and keep what is chosen, where that is still offered."""
    if tuple(made.options) == tuple(options):
        return
    before = made.value
    made.options = options
    if any(value == before for _, value in options):
        made.value = before


def check(words: str, value: bool, *, tip: str = "", name: str = "") -> Any:
    made = widgets.Checkbox(value=value, description=words, indent=False, tooltip=tip)
    made.layout.width = "auto"
    made.usual_tip = tip
    if name:
        made.add_class(f"mpclab-{name}")
    return made


def page(value: str = "", *classes: str) -> Any:
    """A piece of HTML."""
    made = widgets.HTML(value)
    for each in classes:
        made.add_class(each)
    return made


def row(*children: Any, **layout: Any) -> Any:
    made = widgets.HBox(children)
    made.add_class("mpclab-row")
    return _lay_out(made, layout)


def column(*children: Any, **layout: Any) -> Any:
    return _lay_out(widgets.VBox(children), layout)


def _lay_out(made: Any, layout: dict[str, str]) -> Any:
    for key, value in layout.items():
        setattr(made.layout, "grid_gap" if key == "gap" else key, value)
    return made


def show(made: Any, visible: bool) -> None:
    """Show a widget or take it out of the page."""
    made.layout.display = None if visible else "none"


class Question:
    """A question below the button that raised it: nothing is done before it is answered.

    Attributes:
        row: what is shown while it stands.
        yes, no: its answers.
    """

    def __init__(self, name: str) -> None:
        self._words = page("", "mpclab-question")
        self.yes = button("Yes", self._answer, tip="do it", mood="danger", name=f"{name}-yes")
        self.no = button("No", self.drop, tip="leave everything as it is", name=f"{name}-no")
        self.row = row(self._words, self.yes, self.no)
        self._do: Callable[[], None] | None = None
        show(self.row, False)

    @property
    def stands(self) -> bool:
        """Whether it waits for an answer."""
        return self._do is not None

    def ask(self, words: str, yes: str, do: Callable[[], None]) -> None:
        """Ask (`words`: HTML), and `do()` if the answer is `yes`."""
        self._words.value, self.yes.description, self._do = words, yes, do
        show(self.row, True)

    def drop(self) -> None:
        """Take it back."""
        self._do = None
        show(self.row, False)

    def _answer(self) -> None:
        do = self._do
        self.drop()
        if do is not None:
            do()


class Picture:
    """A matplotlib picture as a PNG in an `Image` widget, drawn again when asked."""

    def __init__(self, words: str, *, width: str = "100%", widest: str = "") -> None:
        self.image = widgets.Image(format="png")
        self.image.layout.width = width
        self.image.layout.max_width = widest or None
        self.image.add_class("mpclab-picture")
        self.nothing = page(theme.empty(words))
        self.box = column(self.nothing, self.image)
        show(self.image, False)

    def wait(self, words: str) -> None:
        """What is said as long as there is no picture."""
        self.nothing.value = theme.empty(words)

    def draw(self, make: Callable[[], Axes | None], dpi: int = 120) -> None:
        """Show what `make` draws; None: nothing to see yet."""
        with _DRAWING:
            axes = make()
            if axes is not None:
                target = io.BytesIO()
                axes.figure.savefig(target, format="png", dpi=dpi)  # type: ignore[union-attr]
        if axes is not None:
            self.image.value = target.getvalue()
        show(self.image, axes is not None)
        show(self.nothing, axes is None)


def party_tips(parties: Iterable[Party]) -> str:
    """`1, 2 and 3`."""
    each = [str(p) for p in parties]
    return each[0] if len(each) == 1 else f"{', '.join(each[:-1])} and {each[-1]}" if each else ""
