"""`FlowPanel`: who told whom what, and when. A living diagram to zoom, filter and click; or a
figure to keep, of the messages or of each party's phases."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from matplotlib.axes import Axes

from mpclab.core.ids import MS, SECOND, Party
from mpclab.lab import Lab
from mpclab.lab.inside import Fields, differences, look
from mpclab.panels import controls
from mpclab.panels.canvas import Canvas
from mpclab.panels.controller import Tick
from mpclab.panels.deeds import able, do_deed
from mpclab.panels.panel import Panel
from mpclab.plots import spacetime, timeline
from mpclab.plots.clock import Scale
from mpclab.trace.fold import State

LIVING, FIGURE, PHASES = "living diagram", "figure", "figure of phases"
LATEST, ALL = "since the latest proposal", "everything"
WINDOWS = {LATEST: 0, "the last 1 s": 1, "the last 5 s": 5, "the last 30 s": 30, ALL: 0}
_MOST = 600  # messages


class FlowPanel(Panel):
    """Message flow: parties are lines, messages arrows, lost ones end in a cross."""

    title: ClassVar[str] = "Message flow"
    name: ClassVar[str] = "flow"

    def build(self) -> list[Any]:
        self.view = controls.choice(
            "Show", [LIVING, FIGURE, PHASES], width="190px", name="view", above=False,
            tip="a diagram to zoom and click, or a figure to keep",
        )  # fmt: skip
        self.window = controls.choice(
            "Window", list(WINDOWS), width="190px", tip="which part of the run", name="window"
        )
        self.scale = controls.choice(
            "Scale", ["auto", "time", "order"], width="90px", name="scale",
            tip="time: to scale; order: the same room for every event",
        )  # fmt: skip
        self.server = controls.check(
            "server", True, tip="also the signaling server", name="flow-server"
        )
        self.heartbeats = controls.check(
            "heartbeats", False, tip="also heartbeats and the like", name="flow-heartbeats"
        )
        self.canvas = Canvas()
        self.canvas.add_class("mpclab-canvas")
        self.canvas.on_act = self._act
        self.canvas.on_look = self._look
        self.picture = controls.Picture("Nothing has been sent yet.")
        of_figure = (self.window, self.scale, self.server, self.heartbeats)
        self._options = controls.row(*of_figure)
        for each in (self.view, *of_figure):
            each.observe(lambda _: self.redraw(), "value")
        return [self.canvas, self.picture.box, controls.row(self.view, self._options)]

    def _act(self, deed: dict[str, Any]) -> None:
        self.controller.do("doing it", lambda lab: do_deed(lab, deed))

    def _look(self, row: int) -> None:
        self.controller.ask(partial(look_at, row=row), lambda told: self.canvas.tell(row, told))

    def refresh(self, now: Tick) -> None:
        living = self.view.value == LIVING
        controls.show(self.canvas, living)
        controls.show(self.picture.box, not living)
        controls.show(self._options, not living)
        if now.is_new:
            self.canvas.follow(now.lab.trace)
        self.canvas.able = able(now.lab)
        self.canvas.witnesses = list(self.controller.highlight)
        if living:  # only what is new crosses to the page: at every tick that has some
            self._stale = self._stale or now.needs_redraw
            if self._stale and not self.hidden:
                self._stale = False
                self.canvas.update()
        elif self.picture_due(now, 0.7):
            self.picture.draw(lambda: self._draw(now), dpi=115)

    def _draw(self, now: Tick) -> Axes | None:
        state = now.state
        if not state.parties:
            return None
        parties = sorted(state.parties)
        since, until = window_of(self.window.value, state)
        if self.view.value == PHASES:
            scale: Scale = "time" if self.scale.value == "auto" else self.scale.value
            return timeline(
                now.lab.trace,
                since=since,
                until=until,
                scale=scale,
                highlight=self.controller.highlight,
            )
        return spacetime(
            now.lab.trace,
            since=since,
            until=until,
            parties=[0, *parties] if self.server.value and state.server else parties,
            background=self.heartbeats.value,
            kinds=None if self.heartbeats.value else self.controller.kinds,
            scale=self.scale.value,
            highlight=self.controller.highlight,
            max_messages=_MOST,
            keep="last",
        )


def look_at(lab: Lab, row: int) -> dict[Party, dict[str, Fields]]:
    """What each party held after a row (-1: now), and what that row's event changed of it.

    Of a real lab it is known where it was recorded: then its nodes are given again what they got.
    """
    if row < 0:
        held = look(lab if lab.scenario.world == "simulated" else lab.fork())
        return {party: {"now": fields} for party, fields in held.items()}
    after, before = look(lab.fork(after=row)), look(lab.fork(before=row))
    return {
        party: {"now": fields, "changed": differences(before.get(party, {}), fields)}
        for party, fields in after.items()
    }


def window_of(window: str, state: State) -> tuple[int | None, int | None]:
    """Where a window begins and ends, µs; None: with the run.

    That of the latest proposal ends a little after it is settled everywhere: what comes later
    (heartbeats, gossip) would push the vote together.
    """
    if window != LATEST:
        length = WINDOWS[window]
        return (max(0, state.at - length * SECOND) if length else None), None
    known = [o for o in state.operations.values() if o.proposed_at is not None]
    if not known:
        return None, None
    latest = max(known, key=lambda o: o.proposed_at or 0)
    began = latest.proposed_at or 0
    ends = {**{p: c.at for p, c in latest.commits.items()}, **latest.aborted_at}
    if set(state.reachable) - set(ends):
        return began, None
    length = max(ends.values(), default=began) - began
    return began, began + length + max(length // 5, MS)
