"""`Coordinator`: the Distributed Coordinator. Every panel of a lab, on one page."""

from __future__ import annotations

from typing import Any, ClassVar

import ipywidgets as widgets

from mpclab.panels import controls, theme
from mpclab.panels.connections import ConnectionsPanel
from mpclab.panels.controller import Tick
from mpclab.panels.faults import FaultPanel
from mpclab.panels.flow import FlowPanel
from mpclab.panels.hints import STEPS, Hint, hint
from mpclab.panels.history import HistoryPanel
from mpclab.panels.log import LogPanel
from mpclab.panels.operations import OperationsPanel
from mpclab.panels.outcome import OutcomePanel
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

    def build(self) -> list[Any]:
        controller = self.controller
        self.banner = Banner(controller)
        self.world = WorldPanel(controller)
        self.time = TimePanel(controller)
        self.server = ServerPanel(controller)
        self.parties = PartiesPanel(controller)
        self.connections = ConnectionsPanel(controller)
        self.operations = OperationsPanel(controller)
        self.faults = FaultPanel(controller)
        self.flow = FlowPanel(controller)
        self.outcome = OutcomePanel(controller)
        self.history = HistoryPanel(controller)
        self.log = LogPanel(controller)
        self.parts: tuple[Panel, ...] = (
            self.banner, self.world, self.time, self.server, self.parties, self.connections,
            self.operations, self.faults, self.flow, self.outcome, self.history, self.log,
        )  # fmt: skip
        self.yours = tuple(panel(controller) for panel in PANELS.values())
        self.parts += self.yours
        self.steps = controls.page("", "mpclab-hint")
        self._pointed = ""
        return [self.steps, self.banner.card]

    def frame(self) -> Any:
        tabs = (self.flow, self.outcome, self.log)
        self.pictures = widgets.Tab([p.card for p in tabs], titles=[p.title for p in tabs])
        self.pictures.observe(lambda _: self._turn_to(tabs), "selected_index")
        self._turn_to(tabs)
        self.pictures.add_class("mpclab-tab")
        self.connections.card.layout.flex = "1 1 auto"
        self.history.card.layout.flex = "1 1 auto"
        left = controls.column(
            self.server.card, self.connections.card, gap="12px", width="372px", flex="0 0 372px"
        )
        right = controls.column(
            self.parties.card, self.operations.card, self.history.card,
            gap="12px", flex="1 1 0", min_width="0",
        )  # fmt: skip
        body = controls.row(left, right, gap="12px", align_items="stretch", flex_flow="row nowrap")
        made = controls.column(
            controls.page(theme.STYLESHEET),
            self.card,
            self.world.card,
            self.time.card,
            body,
            self.faults.card,
            *(panel.card for panel in self.yours),
            self.pictures,
            gap="12px",
        )
        made.add_class("mpclab")
        return made

    def _turn_to(self, tabs: tuple[Panel, ...]) -> None:
        """Only the tab in front draws pictures."""
        for i, panel in enumerate(tabs):
            panel.hidden = i != (self.pictures.selected_index or 0)
        self.controller.wake()

    def refresh(self, now: Tick) -> None:
        s = now.lab.scenario
        self.note(
            f"session <b>{theme.escape(s.session)}</b> · {s.parties} parties · threshold "
            f"{s.threshold} · {theme.escape(s.policy)} · {theme.escape(s.agreement)}"
        )
        controls.show(self.time.card, s.world == "simulated")
        next_ = hint(now.lab, now.state)
        self.steps.value = stepper(next_)
        if next_.button != self._pointed:
            self._point_at(next_.button)

    def _point_at(self, name: str) -> None:
        """Mark the button to press next."""
        buttons = {
            "start": self.server.start, "spawn": self.parties.spawn, "join": self.parties.join,
            "propose": self.operations.propose, "check": self.outcome.check,
            "reset": self.world.reset,
        }  # fmt: skip
        for known, button in buttons.items():
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
    """The stages of the story, and the sentence that says what to do now."""
    pieces = []
    for i, name in enumerate(STEPS):
        state = "done" if i < next_.step else "now" if i == next_.step else ""
        mark = "✓ " if i < next_.step else ""
        pieces.append(f'<b class="{state}">{mark}{name}</b>')
    return (
        f'<div class="mpclab-steps">{"".join(pieces)}</div>'
        f'<div style="font-size:15px;margin-top:8px" role="status">'
        f"{theme.escape(next_.words)}</div>"
    )
