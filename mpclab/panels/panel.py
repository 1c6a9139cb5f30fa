"""`Panel`: the base of all panels. A card of widgets that paints what the controller reads."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Self

from mpclab.core.errors import UsageError
from mpclab.core.words import count
from mpclab.lab import Lab
from mpclab.panels import controls, theme
from mpclab.panels.controller import Controller, Tick, controller_of, log
from mpclab.panels.keys import Keys


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

    def __init__(self, source: Controller | Lab | Panel | None = None, **fields: Any) -> None:
        self.controller = controller_of(source, fields)
        self.heading = controls.page(theme.heading(self.title))
        self.broken = controls.page()
        controls.show(self.broken, False)
        arrange = controls.row if self.inline else controls.column
        made = self.build()
        self.card = arrange(*self.head(), *made, self.broken)
        self.card.add_class("mpclab-card")
        if self.inline:
            self.card.add_class("mpclab-inline")
        self.card.add_class(f"mpclab-{self.name}")
        self._widget: Any = None
        self._banner: Banner | None = None
        self.hidden = False  # behind another tab: no picture is drawn
        self._next_picture = 0.0
        self._stale = False
        self.controller.attach(self)

    # --- for subclasses -----------------------------------------------------------------------

    def build(self) -> list[Any]:
        """Make the widgets below the title."""
        raise NotImplementedError

    def head(self) -> list[Any]:
        """What stands above the widgets: the title."""
        return [self.heading]

    def refresh(self, now: Tick) -> None:
        """Set what changed. Called by the ticker; setting a value that is there already costs
        nothing."""
        raise NotImplementedError

    def picture_due(self, now: Tick, every: float = 0.5) -> bool:
        """Whether something worth a picture came, and the last one is old enough."""
        self._stale = self._stale or now.needs_redraw
        if self.hidden or not self._stale or (now.clock < self._next_picture and not now.is_new):
            return False
        self._stale = False
        self._next_picture = now.clock + every
        return True

    def redraw(self) -> None:
        """Draw the picture again at the next tick: an option was changed."""
        self._stale, self._next_picture = True, 0.0
        self.controller.wake()

    @property
    def is_behind(self) -> bool:
        """A picture is due that the last one was too young for."""
        return self._stale and not self.hidden

    def note(self, words: str) -> None:
        """HTML beside the title."""
        self.heading.value = theme.heading(self.title, words)

    # --- for the controller -----------------------------------------------------------------------

    def paint(self, now: Tick) -> None:
        """Refresh; a panel that fails shows why, and the others go on."""
        try:
            started = time.monotonic()
            self.refresh(now)
            # A slow picture makes room for the rest of the kernel before the next one.
            spent = time.monotonic() - started
            self._next_picture = max(self._next_picture, now.clock + 2 * spent)
        except Exception as error:
            log.error("the %s panel failed", self.name, exc_info=error)
            self.broken.value = theme.badge(
                f"this panel failed: {type(error).__name__}: {error}", theme.BAD
            )
            controls.show(self.broken, True)
        else:
            controls.show(self.broken, False)

    # --- for the user ---------------------------------------------------------------------------

    @property
    def lab(self) -> Lab:
        """The lab that is shown now."""
        return self.controller.lab

    @property
    def widget(self) -> Any:
        """The panel as an ipywidget, with its stylesheet and its banner for errors."""
        if self._widget is None:
            self._widget = self.frame()
        return self._widget

    def frame(self) -> Any:
        """The card, a line that says what happens, and the stylesheet."""
        self._banner = Banner(self.controller)
        made = controls.column(
            controls.page(theme.STYLESHEET), Keys(), self._banner.card, self.card, gap="10px"
        )
        made.add_class("mpclab")
        return made

    def close(self) -> None:
        """Stop painting; when no panel is left, close the lab that was made for it."""
        if self._banner is not None:
            self._banner.close()
        self.controller.detach(self)
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
        return (
            f"{type(self).__name__}({s.world}, {count(s.parties, 'party')}, session {s.session!r})"
        )


class Banner(Panel):
    """The last verb's answer, the work under way, and errors, until they are dismissed."""

    name = "status"

    def build(self) -> list[Any]:
        self.words = controls.page("", "mpclab-error")
        self.dismiss = controls.button(
            "Dismiss", self.controller.dismiss, tip="take this message away", name="dismiss"
        )
        self.bar = controls.row(self.words, self.dismiss)
        self.bar.add_class("mpclab-banner")
        self.said = controls.page("", "mpclab-said")
        return [self.bar, self.said]

    def frame(self) -> Any:
        raise UsageError("a banner is part of another panel")

    def refresh(self, now: Tick) -> None:
        controls.show(self.heading, False)
        self.card.remove_class("mpclab-card")
        controls.show(self.bar, bool(self.controller.error))
        self.words.value = (
            f'<span role="alert">⚠ {theme.escape(self.controller.error)}</span>'
            if self.controller.error
            else ""
        )
        words = (
            f"{self.controller.busy.rstrip('…')}…" if self.controller.busy else self.controller.said
        )
        self.said.value = theme.escape(words.splitlines()[0] if words else "")
