"""`FaultPanel`: break something, see what is broken, heal it; a random nemesis from a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, ClassVar, Final, NamedTuple

import ipywidgets as widgets
import yaml

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.words import count
from mpclab.faults.fault import KINDS, Fault
from mpclab.lab import Lab
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel
from mpclab.plots import style
from mpclab.trace.fold import UP, State
from mpclab.trace.rows import Fault as FaultRow
from mpclab.trace.rows import Row

NEEDS_CODE: Final = ("filter",)  # a Python function: from a cell, not from a form
EXAMPLES: Final = {
    "groups": "[[1, 2], [3, 4]]",
    "isolated": "3",
    "shape": "halves, ring, bridge",
    "from": "all, or [1, 2]",
    "to": "all, or [3]",
    "between": "[1, 2]",
    "messages": "all, or [SignedVote]",
    "delay": "200ms, normal(250ms, 50ms)",
    "restart_after": "2s; empty: never",
}
_BARS = 8
STARTS: Final = {
    "delay": "300ms",
    "up_to": "100ms",
    "rate": "0.3",
    "bytes_per_second": "2000",
    "between": "[1, 2]",
    "to": "[2]",
    "name": "withheld-certificate",
}
"""Example values for fields that must be filled and have no default."""
OF_KIND: Final = {"skew": {"offset": "500ms"}, "flood": {"for": "2s"}}
"""Likewise, where a kind needs one of its fields."""


class FaultPanel(Panel):
    """Faults by hand: choose, aim, inject, heal; a random nemesis; what is active now."""

    title: ClassVar[str] = "Faults"
    name: ClassVar[str] = "faults"

    def build(self) -> list[Any]:
        self.kind = controls.choice(
            "Fault",
            kinds_to_choose(),
            "partition",
            width="168px",
            tip="what goes wrong",
            name="fault-kind",
        )
        self.lasts = controls.text(
            "For how long", "", "until healed", width="110px", tip="like 2s or 500ms", name="lasts"
        )
        self.inject = controls.button(
            "Inject", self._inject, icon="bolt", mood="danger", tip="break it now", name="inject"
        )
        self.doc = controls.page()
        self.aim = controls.row()
        self.fields: dict[str, Any] = {}
        self.kind.observe(lambda _: self._make_fields(), "value")
        self._n, self._filled = 4, ""
        self._make_fields()
        self.active = controls.page("", "mpclab-active")
        self.past = controls.page("", "mpclab-past")
        self._spans: dict[int, Span] = {}
        self.which = controls.choice(
            "Active fault", [("none", -1)], width="250px", name="active-fault"
        )
        self.heal = controls.button("Heal", self._heal, tip="end this fault now", name="heal")
        self.heal_all = controls.button(
            "Heal all", self._heal_all, icon="medkit", name="heal-all", mood="success",
            tip="end every fault, and call off the nemesis",
        )  # fmt: skip
        self._build_nemesis()
        choose = controls.column(
            controls.row(self.kind, self.lasts, self.inject), self.doc, self.aim, self.nemesis,
            gap="10px", flex="1 1 420px", min_width="0",
        )  # fmt: skip
        mend = controls.column(
            self.active, controls.row(self.which, self.heal, self.heal_all), self.past,
            gap="10px", flex="1 1 420px", min_width="0",
        )  # fmt: skip
        return [controls.row(choose, mend, gap="10px 28px", align_items="flex-start")]

    # --- one fault ------------------------------------------------------------------------------

    def _make_fields(self) -> None:
        kind = KINDS[self.kind.value]
        self.doc.value = f'<span class="mpclab-small">{theme.code(describe(kind))}</span>'
        self.fields = {}
        for spec in dataclasses.fields(kind):
            name = spec.name.rstrip("_")
            if spec.name not in ("at", "for_"):
                self.fields[name] = aim_field(name, spec, self._n)
        if kind.kind == "partition":
            middle = self._n // 2
            everyone = list(range(1, self._n + 1))
            self.fields["groups"].value = f"[{everyone[:middle]}, {everyone[middle:]}]"
        needed = OF_KIND.get(kind.kind, {})
        for name in needed.keys() & self.fields.keys():
            self.fields[name].value = needed[name]
        if self.lasts.value == self._filled:  # what a user typed stays
            self.lasts.value = self._filled = needed.get("for", "")
        self.aim.children = list(self.fields.values())
        controls.show(self.aim, bool(self.fields))
        controls.show(self.lasts, not kind.momentary)

    def given(self) -> dict[str, Any]:
        """The fault as the fields say, as in a scenario file.

        Raises:
            UsageError: a field that cannot be read.
        """
        fields: dict[str, Any] = {"kind": self.kind.value}
        if self.lasts.value.strip() and not KINDS[self.kind.value].momentary:
            fields["for"] = self.lasts.value.strip()
        for name, widget in self.fields.items():
            value = read_value(name, widget.value)
            if value is not None:
                fields[name] = value
        return fields

    def _inject(self) -> None:
        self.controller.do(
            "injecting", lambda lab: f"✓ injected: {lab.inject(self.given()).fault.sentence()}"
        )

    def _heal(self) -> None:
        number = self.which.value

        def heal(lab: Lab) -> str:
            for one in lab.injections:
                if one.index == number:
                    one.heal()
                    return f"✓ healed: {one.fault.sentence()}"
            raise UsageError("this fault belongs to a scenario's plan; it heals by itself")

        self.controller.do("healing", heal)

    def _heal_all(self) -> None:
        def heal(lab: Lab) -> str:
            for one in lab.injections:
                one.heal()  # also those of the nemesis that have not begun: they never will
            return "✓ everything is healed"

        self.controller.do("healing", heal)

    # --- the nemesis ----------------------------------------------------------------------------

    def _build_nemesis(self) -> None:
        self.seed = controls.number("Nemesis seed", 7, 0, 2**31, tip="its faults follow from this")
        self.for_seconds = controls.number("for seconds", 10, 1, 3600, tip="then all is healed")
        self.rate = controls.field(
            _float(1.0), tip="how many faults begin in a second", width="84px", name="rate"
        )
        self.unleash = controls.button(
            "Unleash", self._unleash, icon="random", name="unleash", mood="danger",
            tip="random faults, within what a protocol for n > 3f must survive",
        )  # fmt: skip
        self.nemesis = controls.row(self.seed, self.for_seconds, self.rate, self.unleash)

    def _unleash(self) -> None:
        seed, lasts, rate = self.seed.value, self.for_seconds.value, self.rate.value

        def unleash(lab: Lab) -> str:
            drawn = lab.nemesis(seed, lasts=lasts, rate=rate)
            return f"✓ nemesis {seed}: {count(len(drawn), 'fault')} in the next {lasts} s"

        self.controller.do("unleashing the nemesis", unleash)

    # --- painting -----------------------------------------------------------------------------

    def refresh(self, now: Tick) -> None:
        lab, state = now.lab, now.state
        if now.is_new:
            controls.set_options(self.kind, [(word, word) for word in kinds_to_choose()])
        if now.is_new and lab.scenario.parties != self._n:
            self._n = lab.scenario.parties
            self._make_fields()
        why = "this lab is closed; press Reset" if lab.closed else ""
        nobody = "" if lab.group.present else "spawn parties first"
        for each in (self.inject, self.unleash):
            controls.gate(each, why or nobody)
        options = [(f.text, i) for i, f in sorted(state.faults.items())]
        controls.set_options(self.which, options or [("none", -1)])
        controls.gate(self.which, why or ("" if options else "nothing is broken"))
        controls.gate(self.heal, why or ("" if options else "nothing is broken"))
        controls.gate(self.heal_all, why or ("" if lab.injections else "nothing was broken"))
        self.active.value = active_faults(state, lab.group.present)
        if now.is_new:
            self._spans = {}
        rows = islice(lab.trace, state.rows) if now.is_new else now.rows
        self._spans.update(follow(self._spans, rows))
        self.past.value = bars(self._spans, state.at)
        self.note(f"{len(state.faults)} active" if state.faults else "")


def _float(value: float) -> Any:
    return widgets.BoundedFloatText(
        value=value, min=0.1, max=50, step=0.5, description="per second"
    )


def describe(kind: type[Fault]) -> str:
    """The first sentence of a fault's description, however many lines it takes."""
    return " ".join((kind.__doc__ or kind.kind).split("\n\n")[0].split())


def aim_field(name: str, spec: Any, n: int) -> Any:
    """The widget for one field of a fault."""
    words = name.replace("_", " ").capitalize()
    options: dict[str, Any] = {"name": f"aim-{name}"}
    needed = spec.default is dataclasses.MISSING
    if name in ("party", "as"):
        return controls.party_choice(words, n, **options)
    if isinstance(spec.default, bool):
        return controls.check(words.lower(), spec.default, tip=words, name=f"aim-{name}")
    start = STARTS.get(name, "") if needed else ""
    hint = EXAMPLES.get(name, "")
    if not needed and spec.default is not None:
        start = str(spec.metadata["write"](spec.default))
    return controls.text(words, start, hint, width="150px", tip=hint or words, **options)


def kinds_to_choose() -> list[str]:
    """The words of all faults that a form can make, yours included."""
    return sorted(k for k in KINDS if k not in NEEDS_CODE)


def read_value(name: str, value: Any) -> Any:
    """The value of a field, as in a scenario file; None: left out."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: cannot read {value!r}; write it as in a file") from error


class Span(NamedTuple):
    """When a fault was active; `end` None: it still is."""

    kind: str
    words: str
    begin: int
    end: int | None


def follow(known: Mapping[int, Span], rows: Iterable[Row]) -> dict[int, Span]:
    """The spans that `rows` begin or end, by the faults' numbers."""
    found: dict[int, Span] = {}
    for row in rows:
        if type(row) is not FaultRow:
            continue
        if row.phase == "begin":
            found[row.index] = Span(row.kind, row.text, row.at, None)
        elif row.phase == "end" and (span := found.get(row.index) or known.get(row.index)):
            found[row.index] = span._replace(end=row.at)
    return found


def bars(spans: Mapping[int, Span], now: int) -> str:
    """A timeline of the latest faults: a bar each, from the first one's beginning to now."""
    shown = list(spans.items())[-_BARS:]
    if not shown:
        return ""
    start = min(span.begin for _, span in shown)
    width = max(now - start, 1)
    lines = []
    for number, span in shown:
        left = 100 * (span.begin - start) / width
        long = 100 * ((span.end if span.end is not None else now) - span.begin) / width
        until = theme.seconds(span.end) if span.end is not None else "now"
        lines.append(
            f'<span>{theme.escape(span.kind)}</span><div title="{theme.escape(span.words)}, '
            f'{theme.seconds(span.begin)} to {until}"><i style="left:{left:.1f}%;'
            f'width:{long:.1f}%;background:{style.band_colour(number)}"></i></div>'
        )
    return (
        f'<div class="mpclab-small">since {theme.seconds(start)}</div>'
        f'<div class="mpclab-bars">{"".join(lines)}</div>'
    )


def active_faults(state: State, present: Iterable[Party] = ()) -> str:
    """The active faults, with their targets and since when, and who of `present` is down."""
    lives = {p: state.parties[p].life for p in present if p in state.parties}
    down = [f"{style.party_name(p)} is {life}" for p, life in lives.items() if life != UP]
    said = theme.empty(f"{', '.join(down)}.".capitalize()) if down else ""
    if not state.faults:
        return said or theme.empty("Nothing is broken.")
    rows = [
        [
            theme.badge(fault.kind, theme.BAD),
            theme.escape(fault.text),
            theme.chips(_places(fault.parties)),
            f'<span class="mpclab-num">{theme.seconds(fault.at)}</span>',
        ]
        for _, fault in sorted(state.faults.items())
    ]
    return theme.table(["active", "what", "aims at", "since"], rows) + said


def _places(parties: tuple[Party, ...]) -> tuple[Party, ...]:
    return tuple(p for p in parties if p >= 0)
