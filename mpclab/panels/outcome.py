"""`OutcomePanel`: who voted what, what each party committed, and what the checks say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from matplotlib.axes import Axes

from mpclab.check import Verdict
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel
from mpclab.panels.smaller import Smaller
from mpclab.plots import outcomes, style
from mpclab.trace.fold import State

_MOODS = {"ok": theme.GOOD, "violated": theme.BAD, "unknown": theme.QUIET}


class OutcomePanel(Panel):
    """The outcome of consensus, and the verdicts of the checks with their proof."""

    title: ClassVar[str] = "Outcome"
    name: ClassVar[str] = "outcome"

    def build(self) -> list[Any]:
        self.check = controls.button(
            "Check", self._check, icon="balance-scale", mood="primary", name="check",
            tip="judge the run so far: agreement, validity, integrity, termination",
        )  # fmt: skip
        self.proof = controls.choice(
            "Show the proof of", [("nothing", ())], width="160px", name="proof",
            tip="make the rows that prove a verdict stand out in the pictures",
        )  # fmt: skip
        self.proof.observe(lambda _: self._prove(), "value")
        self.words = controls.page("", "mpclab-verdicts")
        self.picture = controls.Picture("Nothing has been proposed yet.", widest="900px")
        self.smaller = Smaller(self.controller)
        self._verdicts: list[Verdict] = []
        return [
            controls.row(self.check, self.proof), self.words, self.smaller.box, self.picture.box,
        ]  # fmt: skip

    def _check(self) -> None:
        self.controller.do("checking", lambda lab: lab.check(), then=self._take)

    def _take(self, verdicts: list[Verdict]) -> None:
        self._verdicts = verdicts
        counts = Counter(v.verdict for v in verdicts)
        words = ", ".join(f"{counts[w]} {w}" for w in ("violated", "unknown", "ok") if counts[w])
        self.controller.said = f"checked: {words}"

    def _prove(self) -> None:
        self.controller.highlight = tuple(self.proof.value)
        for panel in self.controller.panels:
            panel.redraw()

    def refresh(self, now: Tick) -> None:
        if now.is_new:
            self._verdicts = []
            self.smaller.clear()
        first = now.lab.group is self.controller.lab.group  # what was done to others is not saved
        self.smaller.refresh(first and any(v.verdict == "violated" for v in self._verdicts))
        known = any(o.proposed_at is not None for o in now.state.operations.values())
        controls.gate(self.check, "" if known else "propose something first")
        self.words.value = verdict_table(self._verdicts, names_in(now.state))
        proofs = [(v.check, v.witnesses) for v in self._verdicts if v.witnesses]
        controls.set_options(self.proof, [("nothing", ()), *proofs])
        controls.gate(self.proof, "" if proofs else "press Check first")
        self.picture.wait("It is being drawn…" if known else "Nothing has been proposed yet.")
        if self.picture_due(now):
            self.picture.draw(lambda: self._draw(now.state), dpi=110)

    def _draw(self, state: State) -> Axes | None:
        return outcomes(state, highlight=self.controller.highlight) if state.operations else None


def names_in(state: State) -> dict[str, str]:
    """What a verdict's ids and hashes stand for: the names of operations, and what was committed
    where parties committed different things."""
    names = style.operation_names(state)
    for one in state.operations.values():
        if len(one.values) > 1:
            for party, commit in one.commits.items():
                if party in one.results:
                    names[commit.value] = one.results[party]
    return names


def verdict_table(verdicts: list[Verdict], names: Mapping[str, str]) -> str:
    if not verdicts:
        return ""
    rows = [
        [
            theme.badge(v.verdict, _MOODS[v.verdict]),
            f"<b>{theme.escape(v.check)}</b>",
            theme.escape(_named(v.sentence, names)),
        ]
        for v in verdicts
    ]
    return theme.table(["verdict", "check", "why"], rows)


def _named(text: str, names: Mapping[str, str]) -> str:
    """A sentence with the names of operations in the place of their ids."""
    for op, name in names.items():
        text = re.sub(rf"\b{re.escape(op)}\b", f"“{name}”".replace("\\", r"\\"), text)
    return text
