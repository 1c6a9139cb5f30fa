"""`TimePanel`: simulated time. Let it pass, slow it, stop it, step it, bookmark it, go back."""

from __future__ import annotations

from typing import Any, ClassVar

import ipywidgets as widgets

from mpclab.core.errors import UsageError
from mpclab.lab import Lab
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel

SPEEDS = {"Pause": 0.0, "1/100×": 0.01, "1/10×": 0.1, "1×": 1.0, "10×": 10.0}
_TIPS = ["stop the clock", "a hundredth of real speed", "a tenth", "real speed", "ten times"]
_LIMIT = 600.0  # virtual seconds that "run to the end" takes at the most


class TimePanel(Panel):
    """The clock of the simulated world: pace, pause, step, run to the end, bookmark, rewind."""

    title: ClassVar[str] = "Time"
    name: ClassVar[str] = "time"
    inline: ClassVar[bool] = True

    def build(self) -> list[Any]:
        self.clock = controls.page()
        self.pace = widgets.ToggleButtons(
            options=list(SPEEDS), value="Pause", tooltips=_TIPS, style={"button_width": "auto"}
        )
        self.pace.add_class("mpclab-pace")
        self.pace.usual_tip = ""
        self.pace.observe(self._set_pace, "value")
        self.step = controls.button(
            "Step", lambda: self.controller.do("stepping", lambda lab: lab.step()),
            icon="step-forward", tip="stop the clock and let exactly one thing happen", name="step",
        )  # fmt: skip
        self.run = controls.button(
            "Run to the end", self._run, icon="fast-forward", name="run",
            tip="until every operation is settled, as fast as it can be computed",
        )  # fmt: skip
        self.mark = controls.button(
            "Bookmark", self._mark, icon="bookmark", name="bookmark",
            tip="keep a copy of the whole lab as it is now",
        )  # fmt: skip
        self.back = controls.button(
            "Go back", self._back, icon="undo", name="back",
            tip="put the bookmarked lab in the place of this one, and try another future",
        )  # fmt: skip
        self.controls = controls.row(
            self.clock, self.pace, self.step, self.run, self.mark, self.back
        )
        self._shown = ""
        return [self.controls]

    def _set_pace(self, change: Any) -> None:
        if change["new"] != self._shown:
            speed = SPEEDS[change["new"]]

            def pace(lab: Lab) -> Any:
                self._shown = ""
                return lab.pace(speed)

            self.controller.do("setting the pace", pace)

    def _run(self) -> None:
        def run(lab: Lab) -> str:
            speed = lab.speed
            lab.pace(0)
            try:
                settled = lab.run(lab.group.settled, limit=_LIMIT)
            finally:
                lab.pace(speed)
            return f"✓ {len(settled)} operations, {theme.seconds(lab.now)} of virtual time"

        self.controller.do("running", run)

    def _mark(self) -> None:
        def mark(lab: Lab) -> str:
            speed = lab.speed
            self.controller.bookmark = lab.fork()  # which stops the clock
            lab.pace(speed)
            return f"✓ bookmarked at {theme.seconds(lab.now)}"

        self.controller.do("copying the lab", mark)

    def _back(self) -> None:
        def back(lab: Lab) -> str:
            kept = self.controller.bookmark
            if kept is None:
                raise UsageError("nothing is bookmarked")
            self.controller.adopt(kept.fork())
            lab.close()
            return f"✓ back at {theme.seconds(kept.now)}; the clock is stopped"

        self.controller.do("going back", back)

    def refresh(self, now: Tick) -> None:
        lab = now.lab
        simulated = lab.scenario.world == "simulated"
        self.clock.value = (
            f'<b class="mpclab-num" style="display:inline-block;min-width:76px">'
            f"{theme.seconds(lab.now)}</b> "
            f'<span class="mpclab-small">{"virtual" if simulated else "real"} time</span>'
        )
        for each in (self.pace, self.step, self.run, self.mark, self.back):
            controls.show(each, simulated)
        closed = "this lab is closed; press Reset" if lab.closed else ""
        speed = min(SPEEDS, key=lambda name: abs(SPEEDS[name] - lab.speed))
        if speed != self._shown:
            self._shown = self.pace.value = speed
        if lab.speed and not simulated:
            return
        served = "" if lab.group.present or lab.world.server_url else "nothing is here to happen"
        controls.gate(self.pace, closed)
        controls.gate(self.step, closed or ("press Pause first" if lab.speed else served))
        controls.gate(self.run, closed or served)
        controls.gate(self.mark, closed)
        controls.gate(
            self.back, "" if self.controller.bookmark is not None else "bookmark a moment first"
        )
