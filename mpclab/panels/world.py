"""`WorldPanel`: which world, and the scenario file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets

from mpclab.core.errors import UsageError
from mpclab.core.words import count
from mpclab.lab import Lab, Scenario
from mpclab.lab.scenario import VOTES, WORLDS
from mpclab.lab.shipped import file_of, shipped
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
        self.file = controls.field(
            widgets.Combobox(
                value="lab.yaml", options=tuple(shipped()), description="Scenario file",
                continuous_update=False,
            ),
            tip="a file beside the notebook, or one of those that come with mpclab",
            width="200px", name="file", above=False,
        )  # fmt: skip
        self.save = controls.button(
            "Save", self._save, name="save",
            tip="write settings, proposals and faults, as they were clicked, to the file",
        )  # fmt: skip
        self.load = controls.button(
            "Load", self._load, tip="a new lab with the file's settings", name="load"
        )
        self.play = controls.button(
            "Play", self._play, icon="play", name="play",
            tip="run the file from start to end, operations and faults included, and watch",
        )  # fmt: skip
        self._shown = ""
        self._playing = False
        self.typed: Callable[[], dict[str, Any]] = dict  # set by who has fields for settings
        for each in (self.file, self.save, self.load):
            each.add_class("mpclab-extra")
        return [controls.row(self.switch, self.reset, self.file, self.save, self.load, self.play)]

    def _switch(self, change: Any) -> None:
        world = change["new"]
        if world == self._shown:
            return

        def switch(lab: Lab) -> str:
            self._shown = ""  # whatever comes of it, the next tick shows what holds
            mesh = "negotiated" if world != "simulated" else lab.scenario.mesh
            kept = self._kept(lab)
            renewed = self.controller.renew(**kept, world=world, mesh=mesh)
            return f"✓ the lab was closed; {renewed}"

        self.controller.do(f"switching to {world}", switch)

    def _reset(self) -> None:
        def reset(lab: Lab) -> str:
            return f"✓ {self.controller.renew(**self._kept(lab))}"

        self.controller.interrupted.set()  # a file that plays is not waited for
        self.controller.do("starting over", reset)

    def _kept(self, lab: Lab) -> dict[str, Any]:
        """What another lab in the place of this one keeps: settings as they are typed, votes."""
        first = self.controller.lab
        votes = {p: v for p, v in first.group.votes.items() if v in VOTES}
        typed = self.typed() if lab.group is first.group else {}
        n = typed.get("parties", first.scenario.parties)
        return {
            "operations": (), "faults": (), **typed,
            "votes": {p: v for p, v in votes.items() if p <= n},
        }  # fmt: skip

    def _save(self) -> None:
        path = self.file.value

        def save(lab: Lab) -> str:
            if not path.strip() or Path(path).is_dir():
                raise UsageError("write the name of a scenario file, such as lab.yaml")
            # Before anybody is here, what is typed counts; later it is what the lab was made with.
            first = self.controller.lab
            typed = {} if lab.group.present or lab.group is not first.group else self.typed()
            scenario = lab.to_scenario()
            scenario = scenario.but(**typed) if typed else scenario
            scenario.to_file(path)
            many = f"{count(len(scenario.operations), 'operation')}, "
            many += count(len(scenario.faults), "fault")
            return f"✓ saved as {Path(path).name}: {many}; run it with: mpclab run {path}"

        self.controller.do("saving", save)

    def _load(self) -> None:
        path = self.file.value
        self.controller.do(
            "loading",
            lambda lab: f"✓ {self.controller.start_over(Scenario.from_file(file_of(path)))}",
        )

    def _play(self) -> None:
        path = self.file.value

        def play(lab: Lab) -> str:
            scenario = Scenario.from_file(file_of(path))
            lab.close()
            interrupted.clear()
            self._playing = True
            try:
                run = scenario.run(watch=self.controller.adopt, stop=interrupted.is_set)
            finally:
                self._playing = False
            words = ", ".join(f"{v.check} {v.verdict}" for v in run.verdicts)
            done = "stopped" if interrupted.is_set() else "played"
            return f"✓ {done} {Path(path).name}: {words or 'no checks'}"

        interrupted = self.controller.interrupted
        if self._playing:
            interrupted.set()
        else:
            self.controller.do("playing the scenario", play)

    @property
    def playing(self) -> bool:
        """Whether a scenario file is being played."""
        return self._playing

    def refresh(self, now: Tick) -> None:
        world = now.lab.scenario.world
        if world != self._shown:
            self._shown = self.switch.value = world
        self.play.description = "End" if self._playing else "Play"
        self.play.icon = "stop" if self._playing else "play"
        self.note(theme.escape(_about(now.lab)))


def _about(lab: Lab) -> str:
    return {
        "simulated": f"virtual time, seed {lab.scenario.seed}",
        "websocket": "real sockets; messages relayed, sealed",
        "webrtc": "real sockets and data channels",
    }[lab.scenario.world]
