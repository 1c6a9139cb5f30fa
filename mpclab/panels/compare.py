"""`ComparePanel`: two ways that a run went, beside each other: where they part, what it made."""

from __future__ import annotations

from typing import Any, ClassVar

from mpclab.lab import Lab
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel
from mpclab.search import Diff, diff


class ComparePanel(Panel):
    """Two branches: the first difference, what that party knew, both diagrams aligned."""

    title: ClassVar[str] = "Compare"
    name: ClassVar[str] = "compare"

    def build(self) -> list[Any]:
        self.one = controls.choice(
            "Branch", [("main", "main")], width="150px", name="compare-a", tip="one way it went"
        )
        self.other = controls.choice(
            "with", [("main", "main")], width="150px", name="compare-b", tip="another way"
        )
        self.compare = controls.button(
            "Compare", self._compare, icon="columns", mood="primary", name="compare-now",
            tip="find the first difference between the two",
        )  # fmt: skip
        self.words = controls.page("", "mpclab-compared")
        self.picture = controls.Picture(
            "Go back in time and let it go another way: then there are two to compare."
        )
        return [controls.row(self.one, self.other, self.compare), self.words, self.picture.box]

    def _compare(self) -> None:
        one, other = self.one.value, self.other.value

        def compare(lab: Lab) -> Diff:
            traces = [
                lab.trace if name == lab.branch else lab.fork(branch=name).trace
                for name in (one, other)
            ]
            return diff(*traces)

        def take(found: Diff) -> None:
            self.controller.said = f"compared {one} with {other}"
            told = f"{found}\n\n{found.knew()}" if found.first else str(found)
            self.picture.draw(lambda: found.picture().axes[0], dpi=100)
            self.words.value = (
                f"<div><b>a</b> {theme.escape(one)} · <b>b</b> {theme.escape(other)}</div>"
                f'<pre class="mpclab-result">{theme.escape(told)}</pre>'
            )

        self.controller.do("comparing", compare, then=take)

    def refresh(self, now: Tick) -> None:
        lab = now.lab
        if now.is_new:
            self.words.value = ""
            controls.show(self.picture.image, False)
            controls.show(self.picture.nothing, True)
        many = lab.scenario.world == "simulated" and lab.branch_count > 1
        names = list(lab.branches) if many else ["main"]
        options = [(name, name) for name in names]
        if tuple(options) != tuple(self.one.options):
            controls.set_options(self.one, options)
            controls.set_options(self.other, options)
            self.other.value = lab.branch if lab.branch in names else names[-1]
            self.one.value = next((n for n in names if n != self.other.value), names[0])
        closed = "this lab is closed; press Reset" if lab.closed else ""
        why = closed or ("" if many else "go back, and let the run go another way first")
        for each in (self.one, self.other, self.compare):
            controls.gate(each, why)
