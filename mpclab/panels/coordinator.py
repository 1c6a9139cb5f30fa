"""`Coordinator`: the Distributed Coordinator. Every panel of a lab, on one page."""

from __future__ import annotations

from typing import Any, ClassVar

import ipywidgets as widgets

from mpclab.core.words import count
from mpclab.panels import controls, theme
from mpclab.panels.compare import ComparePanel
from mpclab.panels.connections import ConnectionsPanel
from mpclab.panels.controller import Tick
from mpclab.panels.faults import FaultPanel
from mpclab.panels.flow import FlowPanel
from mpclab.panels.hints import STEPS, Hint, hint
from mpclab.panels.history import HistoryPanel
from mpclab.panels.keys import Keys
from mpclab.panels.log import LogPanel
from mpclab.panels.operations import OperationsPanel
from mpclab.panels.outcome import OutcomePanel
from mpclab.panels.palette import Palette
from mpclab.panels.panel import Banner, Panel
from mpclab.panels.parties import PartiesPanel
from mpclab.panels.registry import PANELS
from mpclab.panels.server import ServerPanel
from mpclab.panels.time_controls import TimePanel
from mpclab.panels.world import WorldPanel


class Coordinator(Panel):
    """The whole lab: meet, connect, propose, vote, commit, break, judge; in any world.

        from mpclab.panels import Coordinator
        Coordinator(parties=4)

    Args:
        source: a lab, or another panel; None makes a lab.
        fields: of the lab that is made, as of `Scenario`.
    """

    title: ClassVar[str] = "Distributed Coordinator"
    name: ClassVar[str] = "coordinator"
    inline: ClassVar[bool] = True

    def build(self) -> list[Any]:
        controller = self.controller
        # In this order they are painted: what one waits for first, and what is drawn here last.
        self.operations = OperationsPanel(controller)
        self.flow = FlowPanel(controller)
        self.banner = Banner(controller)
        self.palette = Palette(controller)
        self.world = WorldPanel(controller)
        self.time = TimePanel(controller)
        self.server = ServerPanel(controller)
        self.parties = PartiesPanel(controller)
        self.world.typed = self.parties.chosen
        self.faults = FaultPanel(controller)
        self.connections = ConnectionsPanel(controller)
        self.outcome = OutcomePanel(controller)
        self.history = HistoryPanel(controller)
        self.compare = ComparePanel(controller)
        self.log = LogPanel(controller)
        self.parts: tuple[Panel, ...] = (
            self.banner, self.palette, self.world, self.time, self.server, self.parties,
            self.operations, self.flow, self.faults, self.connections, self.outcome,
            self.history, self.compare, self.log,
        )  # fmt: skip
        self.yours = tuple(panel(controller) for panel in PANELS.values())
        self.parts += self.yours
        self.stages = controls.page()
        self.steps = controls.page("", "mpclab-hint")
        self.steps.layout.flex = "1 1 auto"
        self.banner.card.layout.width = "100%"
        self._pointed = self._shown_session = ""
        self._reached: dict[str, int] = {}  # by session, the furthest step
        self._deed_of: dict[Panel, int] = {}
        self.palette.card.layout.margin = "0 0 0 auto"
        self.more = widgets.ToggleButton(
            description="More", icon="sliders", layout={"width": "auto"},
            tooltip="files, checkpoints, the command line and the settings: for wider pages",
        )  # fmt: skip
        self.more.add_class("mpclab-more")
        self.more.observe(lambda _: self._unfold(), "value")
        self.sessions = controls.choice(
            "Session", [("", "")], width="170px", name="sessions", above=False,
            tip="which of the lab's sessions all cards show",
        )  # fmt: skip
        self.sessions.observe(self._choose_session, "value")
        top = controls.row(
            self.heading, self.sessions, self.stages, self.more, align_items="center"
        )
        next_ = controls.row(self.steps, self.palette.card, align_items="center")
        for line in (top, next_):
            line.layout.width = "100%"
            line.add_class("mpclab-line")
        return [top, next_, self.banner.card]

    def head(self) -> list[Any]:
        return []  # it is in the first line

    def frame(self) -> Any:
        """Actions at the left, their results at the right, both on one screen."""
        doing: dict[str, tuple[Panel, ...]] = {
            "Server": (self.server,),
            "Parties": (self.parties,),
            "Operations": (self.operations, self.history),
            "Faults": (self.faults,),
            **{panel.title: (panel,) for panel in self.yours},
        }
        seeing = (self.flow, self.connections, self.outcome, self.compare, self.log)
        self.deeds = widgets.Tab(
            [controls.column(*(p.card for p in panels), gap="14px") for panels in doing.values()],
            titles=list(doing),
        )
        self._deed_of = {p: i for i, panels in enumerate(doing.values()) for p in panels}
        self.pictures = widgets.Tab([p.card for p in seeing], titles=[p.title for p in seeing])
        self.pictures.observe(lambda _: self._turn_to(seeing), "selected_index")
        self._turn_to(seeing)
        for tab, wide in ((self.deeds, "1 1 480px"), (self.pictures, "1 1 560px")):
            tab.add_class("mpclab-tab")
            tab.layout.flex, tab.layout.min_width = wide, "min(100%, 340px)"
        body = controls.row(self.deeds, self.pictures, gap="10px", align_items="flex-start")
        made = controls.column(
            controls.page(theme.STYLESHEET), Keys(), self.card, self.world.card, self.time.card,
            body, gap="8px",
        )  # fmt: skip
        made.add_class("mpclab")
        return made

    def _unfold(self) -> None:
        """On a narrow page some controls are shown only when they are asked for."""
        if self.more.value:
            self.widget.add_class("mpclab-unfolded")
        else:
            self.widget.remove_class("mpclab-unfolded")

    def _turn_to(self, tabs: tuple[Panel, ...]) -> None:
        """Only the tab in front draws pictures."""
        for i, panel in enumerate(tabs):
            panel.hidden = i != (self.pictures.selected_index or 0)
        self.controller.wake()

    def _choose_session(self, change: Any) -> None:
        if change["new"] in self.controller.lab.groups:
            self.controller.choose(change["new"])

    def _offer_sessions(self, shown: str) -> None:
        names = list(self.controller.lab.groups)
        controls.show(self.sessions, len(names) > 1)
        controls.set_options(self.sessions, [(name, name) for name in names])
        if self.sessions.value != shown and self._shown_session != shown:
            self.sessions.value = shown
        self._shown_session = shown

    def refresh(self, now: Tick) -> None:
        s = now.lab.scenario
        switched = self._shown_session not in ("", s.session)
        self._offer_sessions(s.session)
        self.note(
            f"<b>{theme.escape(s.session)}</b> · {count(s.parties, 'party')}, t = {s.threshold} · "
            f"{theme.escape(s.policy)} · {theme.escape(s.agreement)}"
        )
        controls.show(self.time.card, s.world == "simulated")
        next_ = hint(now.lab, now.state, playing=self.world.playing)
        self.stages.value = stepper(next_)
        self.steps.value = (
            f'<div class="mpclab-next-step" role="status">{theme.escape(next_.words)}</div>'
        )
        if now.is_new and not switched:  # another lab, other settings, or an earlier time
            self._reached.pop(s.session, None)
        if next_.button != self._pointed:
            self._point_at(next_.button)
        reached = self._reached.get(s.session, -1)
        if next_.step > reached:  # only the first time: later the user knows the way
            self._reached[s.session] = next_.step
            self._open(next_.button)

    def _buttons(self) -> dict[str, tuple[Panel, Any]]:
        """By the name that a hint has for it: the panel and the button."""
        return {
            "start": (self.server, self.server.start),
            "spawn": (self.parties, self.parties.spawn),
            "join": (self.parties, self.parties.join),
            "propose": (self.operations, self.operations.propose),
            "check": (self.outcome, self.outcome.check),
            "reset": (self.world, self.world.reset),
        }

    def _open(self, name: str) -> None:
        """Bring the tab to the front that has the button to press next."""
        panel, _ = self._buttons().get(name, (None, None))
        if panel in self._deed_of:
            self.deeds.selected_index = self._deed_of[panel]

    def _point_at(self, name: str) -> None:
        """Mark the button to press next."""
        for known, (_, button) in self._buttons().items():
            if known == name:
                button.add_class("mpclab-next")
            else:
                button.remove_class("mpclab-next")
        self._pointed = name

    def close(self) -> None:
        """Stop painting, and close the lab if it was made here."""
        for part in self.parts:
            self.controller.detach(part)
        super().close()


def stepper(next_: Hint) -> str:
    """The stages of the story: which are done, and which is now."""
    pieces = []
    for i, name in enumerate(STEPS):
        state = "done" if i < next_.step else "now" if i == next_.step else ""
        mark = "✓ " if i < next_.step else ""
        pieces.append(f'<b class="{state}">{mark}{name}</b>')
    return f'<div class="mpclab-steps">{"".join(pieces)}</div>'
