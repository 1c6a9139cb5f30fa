"""`TimePanel`: simulated time. Let it pass, slow it, stop it, step it, turn it back, branch off."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import ipywidgets as widgets

from mpclab.core.ids import SERVER
from mpclab.core.words import count
from mpclab.lab import Lab
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel
from mpclab.panels.sentences import is_background, sentence
from mpclab.plots import style
from mpclab.trace.log import Trace
from mpclab.trace.rows import Delivered, Fired, Row, Sent

SPEEDS = {"Pause": 0.0, "1/100×": 0.01, "1/10×": 0.1, "1×": 1.0, "10×": 10.0}
_TIPS = ["stop the clock", "a hundredth of real speed", "a tenth", "real speed", "ten times"]
_QUIET = 2_000  # events of the background that a step passes over
_LIMIT = 600.0  # virtual seconds that "run to the end" takes at the most


class TimePanel(Panel):
    """The clock of the simulated world: pace, step, run to the end, checkpoints, branches."""

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
            "Step", self._step, icon="step-forward", name="step",
            tip="let the next thing happen, heartbeats apart, and say what it was",
        )  # fmt: skip
        self.run = controls.button(
            "Run to the end", self._run, icon="fast-forward", name="run",
            tip="until every operation is settled, as fast as it can be computed",
        )  # fmt: skip
        self.mark = controls.button(
            "Keep", self._mark, icon="bookmark", name="bookmark",
            tip="keep this moment as a checkpoint, to come back to it",
        )  # fmt: skip
        self.point = controls.choice(
            "", [("no checkpoint", "")], width="118px", name="point", above=False,
            tip="moments to go back to",
        )  # fmt: skip
        self.back = controls.button(
            "Go back", self._back, icon="undo", name="back",
            tip="be again as at the checkpoint; what came after stays as a branch",
        )  # fmt: skip
        self.branch = controls.choice(
            "Branch", [("main", "main")], width="230px", name="branch", above=False,
            tip="every way that this run went: go to the end of one",
        )  # fmt: skip
        self.branch.observe(self._switch, "value")
        self.called = controls.text(
            "called", "", width="130px", name="branch-name", above=False,
            tip="give the current branch a name",
        )  # fmt: skip
        self.called.observe(self._rename, "value")
        self.ways = controls.page()
        self.tree = controls.column(controls.row(self.branch, self.called), self.ways, width="100%")
        for each in (self.mark, self.point, self.back):
            each.add_class("mpclab-extra")
        self.controls = controls.row(
            self.clock, self.pace, self.step, self.run, self.mark, self.point, self.back
        )
        self._shown = self._branch = ""
        return [self.controls, self.tree]

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
            return f"✓ {count(len(settled), 'operation')}, {theme.seconds(lab.now)} of virtual time"

        self.controller.do("running", run)

    def _step(self) -> None:
        def step(lab: Lab) -> str:
            cursor = lab.trace.since()[1]
            for _ in range(_QUIET):
                if not lab.world.next_at():  # type: ignore[attr-defined]
                    return str(lab.step())
                lab.step()
                rows, cursor = lab.trace.since(cursor)
                said = [one for one in rows if type(one) is not Fired]
                told = [one for one in map(partial(tell, lab.trace), said) if one]
                if told:
                    return "✓ " + "; ".join(told[:3])
            return "✓ nothing but heartbeats for a long while"

        self.controller.do("stepping", step)

    def _mark(self) -> None:
        self.controller.do("keeping the moment", lambda lab: f"✓ {lab.checkpoint()}")

    def _back(self) -> None:
        point = self.point.value

        def back(lab: Lab) -> str:
            return f"{lab.rewind(point)}; the clock is stopped"

        self.controller.do("going back", back)

    def _switch(self, change: Any) -> None:
        name = change["new"]
        if self._branch and name and name != self._branch:

            def switch(lab: Lab) -> Any:
                self._branch = ""  # whatever comes of it, the next tick shows what holds
                return lab.switch(name)

            self.controller.do("going to another branch", switch)

    def _rename(self, change: Any) -> None:
        new = change["new"].strip()
        if self._branch and new and new != self._branch:
            self.controller.do("naming the branch", lambda lab: lab.rename_branch(lab.branch, new))

    def refresh(self, now: Tick) -> None:
        lab = now.lab
        simulated = lab.scenario.world == "simulated"
        self.clock.value = (
            f'<b class="mpclab-num" style="display:inline-block;min-width:64px">'
            f"{theme.seconds(lab.now)}</b>"
        )
        for each in (self.pace, self.step, self.run, self.mark, self.point, self.back):
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
        controls.set_options(
            self.point,
            [(f"{one.name}, {theme.seconds(one.at)}", one.name) for one in
             reversed(lab.checkpoints.values())] or [("no checkpoint", "")],
        )  # fmt: skip
        kept = "" if lab.checkpoints else "keep a checkpoint first"
        controls.gate(self.point, closed or kept)
        controls.gate(self.back, closed or kept)
        self._refresh_branches(lab, closed)

    def _refresh_branches(self, lab: Lab, closed: str) -> None:
        many = lab.scenario.world == "simulated" and lab.branch_count > 1
        controls.show(self.tree, many)
        if not many:
            self._branch = lab.branch
            return
        branches = lab.branches
        depth = {"": -1}
        for name, one in branches.items():
            depth[name] = depth.get(one.parent, 0) + 1
        options = [("\u2003" * depth[n] + ("└ " if depth[n] else "") + n, n) for n in branches]
        if lab.branch != self._branch or tuple(options) != tuple(self.branch.options):
            self._branch = ""  # nobody chooses now
            self.branch.options = options
            self.branch.value = self.called.value = lab.branch
            self._branch = lab.branch
        controls.gate(self.branch, closed)
        self.ways.value = theme.table(
            ["branch", "of", "parts at", "ends at", "operations"],
            [
                [
                    f"<b>{theme.escape(n)}</b>" if n == lab.branch else theme.escape(n),
                    theme.escape(one.parent), theme.seconds(one.began.at) if one.parent else "",
                    theme.seconds(one.end.at), theme.escape(one.outcomes or "none"),
                ]
                for n, one in branches.items()
            ],
        )  # fmt: skip


def tell(trace: Trace, row: Row) -> str:
    """A row as words; "" for heartbeats, and what is only bookkeeping."""
    if type(row) is Delivered:
        sent = next(
            (r for r in reversed(trace.rows)
             if type(r) is Sent and (r.actor, r.id) == (row.sender, row.id)), None,
        )  # fmt: skip
        if sent is None or is_background(sent):
            return ""
        return f"{style.party_name(row.actor)} gets {sent.kind} of {style.party_name(row.sender)}"
    one = sentence(row)
    if one.background or one.level > 1:
        return ""
    return f"{style.party_name(row.actor)} {one.words}" if row.actor >= SERVER else one.words
