"""`Panel`: the base of all panels. A card of widgets that paints what the desk reads."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Self

from mpclab.core.errors import UsageError
from mpclab.lab import Lab
from mpclab.panels import kit, look
from mpclab.panels.desk import Desk, Moment, desk_of, log


class Panel:
    """One panel. `ServerPanel()` makes a lab of its own, `ServerPanel(lab)` shows that lab, and
    `ServerPanel(other_panel)` shows the same lab as another panel.

    Displaying it in a notebook shows it; `.widget` is the ipywidget, for layouts of your own.

    Args:
        source: a lab, or another panel; None makes a lab.
        fields: of the lab that is made: `Coordinator(parties=5, world="webrtc")`.
    """

    title: ClassVar[str] = ""
    name: ClassVar[str] = "panel"
    inline: ClassVar[bool] = False
    """A bar: title and controls on one line."""

    def __init__(self, source: Desk | Lab | Panel | None = None, **fields: Any) -> None:
        self.desk = desk_of(source, fields)
        self.heading = kit.page(look.heading(self.title))
        self.broken = kit.page()
        kit.show(self.broken, False)
        arrange = kit.row if self.inline else kit.column
        self.card = arrange(self.heading, *self.build(), self.broken)
        self.card.add_class("mpclab-card")
        if self.inline:
            self.card.add_class("mpclab-inline")
        self.card.add_class(f"mpclab-{self.name}")
        self._widget: Any = None
        self._banner: Banner | None = None
        self.hidden = False  # behind another tab: no picture is drawn
        self._next_picture = 0.0
        self._stale = False
        self.desk.attach(self)

    # --- for subclasses -----------------------------------------------------------------------

    def build(self) -> list[Any]:
        """Make the widgets below the title."""
        raise NotImplementedError

    def refresh(self, now: Moment) -> None:
        """Set what changed. Called by the ticker; setting a value that is there already costs
        nothing."""
        raise NotImplementedError

    def picture_due(self, now: Moment, every: float = 0.5) -> bool:
        """Whether something worth a picture came, and the last one is old enough."""
        self._stale = self._stale or now.loud
        if self.hidden or not self._stale or (now.clock < self._next_picture and not now.fresh):
            return False
        self._stale = False
        self._next_picture = now.clock + every
        return True

    def redraw(self) -> None:
        """Draw the picture again at the next tick: an option was changed."""
        self._stale, self._next_picture = True, 0.0
        self.desk.wake()

    def note(self, words: str) -> None:
        """HTML beside the title."""
        self.heading.value = look.heading(self.title, words)

    # --- for the desk ---------------------------------------------------------------------------

    def paint(self, now: Moment) -> None:
        """Refresh; a panel that fails shows why, and the others go on."""
        try:
            started = time.monotonic()
            self.refresh(now)
            # A slow picture makes room for the rest of the kernel before the next one.
            spent = time.monotonic() - started
            self._next_picture = max(self._next_picture, now.clock + 2 * spent)
        except Exception as error:
            log.error("the %s panel failed", self.name, exc_info=error)
            self.broken.value = look.badge(
                f"this panel failed: {type(error).__name__}: {error}", look.BAD
            )
            kit.show(self.broken, True)
        else:
            kit.show(self.broken, False)

    # --- for the user ---------------------------------------------------------------------------

    @property
    def lab(self) -> Lab:
        """The lab that is shown now."""
        return self.desk.lab

    @property
    def widget(self) -> Any:
        """The panel as an ipywidget, with its stylesheet and its banner for errors."""
        if self._widget is None:
            self._widget = self.frame()
        return self._widget

    def frame(self) -> Any:
        """The card, a line that says what happens, and the stylesheet."""
        self._banner = Banner(self.desk)
        made = kit.column(kit.page(look.STYLESHEET), self._banner.card, self.card, gap="10px")
        made.add_class("mpclab")
        return made

    def close(self) -> None:
        """Stop painting; when no panel is left, close the lab that was made for it."""
        if self._banner is not None:
            self._banner.close()
        self.desk.detach(self)
        if self._widget is not None:
            self._widget.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = self.widget._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/plain"] = repr(self)
        return bundle

    def __repr__(self) -> str:
        s = self.lab.scenario
        return f"{type(self).__name__}({s.world}, {s.parties} parties, session {s.session!r})"


class Banner(Panel):
    """What the last verb said, what is being done, and errors, until they are dismissed."""

    name = "status"

    def build(self) -> list[Any]:
        self.words = kit.page("", "mpclab-error")
        self.dismiss = kit.button(
            "Dismiss", self.desk.dismiss, tip="take this message away", name="dismiss"
        )
        self.bar = kit.row(self.words, self.dismiss)
        self.bar.add_class("mpclab-banner")
        self.said = kit.page("", "mpclab-said")
        return [self.bar, self.said]

    def frame(self) -> Any:
        raise UsageError("a banner is part of another panel")

    def refresh(self, now: Moment) -> None:
        kit.show(self.heading, False)
        self.card.remove_class("mpclab-card")
        kit.show(self.bar, bool(self.desk.error))
        self.words.value = (
            f'<span role="alert">⚠ {look.escape(self.desk.error)}</span>' if self.desk.error else ""
        )
        words = f"{self.desk.busy.rstrip('…')}…" if self.desk.busy else self.desk.said
        self.said.value = look.escape(words.splitlines()[0] if words else "")
