"""`WorldPanel`: which world, and the scenario file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets

from mpclab.lab import Lab, Scenario
from mpclab.lab.scenario import WORLDS
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel

_TIPS = [
    "virtual time, replays from a seed",
    "a real server; messages relayed through it, sealed",
    "a real server and real WebRTC data channels",
]


class WorldPanel(Panel):
    """One switch: the same session simulated, over WebSockets, over WebRTC. Save, load, reset."""

    title: ClassVar[str] = "World"
    name: ClassVar[str] = "world"
    inline: ClassVar[bool] = True

    def build(self) -> list[Any]:
        self.switch = widgets.ToggleButtons(
            options=list(WORLDS), tooltips=_TIPS, style={"button_width": "auto"}
        )
        self.switch.usual_tip = "where machines run"
        self.switch.add_class("mpclab-switch")
        self.switch.observe(self._switch, "value")
        self.reset = controls.button(
            "Reset", self._reset, icon="refresh", name="reset",
            tip="a new, empty lab with the same settings",
        )  # fmt: skip
        self.file = controls.text(
            "Scenario file", "lab.yaml", width="220px", tip="a file beside the notebook",
            name="file", above=False,
        )  # fmt: skip
        self.save = controls.button(
            "Save", self._save, tip="write the settings as a scenario file", name="save"
        )
        self.load = controls.button(
            "Load", self._load, tip="a new lab with the file's settings", name="load"
        )
        self.play = controls.button(
            "Play", self._play, icon="play", name="play",
            tip="run the file from start to end, operations and faults included, and watch",
        )  # fmt: skip
        self._shown = ""
        return [controls.row(self.switch, self.reset, self.file, self.save, self.load, self.play)]

    def _switch(self, change: Any) -> None:
        world = change["new"]
        if world == self._shown:
            return

        def switch(lab: Lab) -> str:
            self._shown = ""  # whatever comes of it, the next tick shows what holds
            mesh = "negotiated" if world != "simulated" else lab.scenario.mesh
            return f"✓ the lab was closed; {self.controller.renew(world=world, mesh=mesh)}"

        self.controller.do(f"switching to {world}", switch)

    def _reset(self) -> None:
        self.controller.do("starting over", lambda lab: f"✓ {self.controller.renew()}")

    def _save(self) -> None:
        path = self.file.value

        def save(lab: Lab) -> str:
            votes = {p: v for p, v in lab.group.votes.items() if v not in ("approve", "hand")}
            lab.scenario.but(votes=votes).to_file(path)
            return f"✓ saved as {Path(path).name}; run it with: mpclab run {path}"

        self.controller.do("saving", save)

    def _load(self) -> None:
        path = self.file.value
        self.controller.do(
            "loading", lambda lab: f"✓ {self.controller.start_over(Scenario.from_file(path))}"
        )

    def _play(self) -> None:
        path = self.file.value

        def play(lab: Lab) -> str:
            scenario = Scenario.from_file(path)
            lab.close()
            run = scenario.run(watch=self.controller.adopt)
            words = ", ".join(f"{v.check} {v.verdict}" for v in run.verdicts)
            return f"✓ played {Path(path).name}: {words or 'no checks'}"

        self.controller.do("playing the scenario", play)

    def refresh(self, now: Tick) -> None:
        world = now.lab.scenario.world
        if world != self._shown:
            self._shown = self.switch.value = world
        self.note(theme.escape(_about(now.lab)))


def _about(lab: Lab) -> str:
    return {
        "simulated": f"virtual time, seed {lab.scenario.seed}",
        "websocket": "real sockets; messages relayed, sealed",
        "webrtc": "real sockets and data channels",
    }[lab.scenario.world]
