"""What is searched: a protocol with its parties, submits and adversary, however it was named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.registry import agreement
from mpclab.consensus.registry import word as word_of
from mpclab.core.ids import Party
from mpclab.faults.links import Loss
from mpclab.faults.nodes import Crash
from mpclab.faults.plan import aimed_at
from mpclab.lab.scenario import Planned, Scenario
from mpclab.model.explorer import Explorer


@dataclass(frozen=True)
class Subject:
    """A protocol, and what may happen to it in one run."""

    protocol: type[Agreement]
    parties: int
    submits: Mapping[Party, str | Sequence[str]]
    losses: int = 0
    timers: int = 0
    crashes: int = 0
    repeats: int = 0
    torn: bool = False
    liars: frozenset[Party] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()

    def model(self, *, exact: bool = False, telling: bool = False) -> Explorer:
        """A fresh model of it."""
        return Explorer(
            self.protocol, self.parties, self.submits, losses=self.losses, timers=self.timers,
            crashes=self.crashes, repeats=self.repeats, torn=self.torn, liars=self.liars,
            options=self.options, exact=exact, telling=telling,
        )  # fmt: skip

    @property
    def bounds(self) -> str:
        """`n=3, 1 crash (torn), 2 timers`."""
        counts = [
            f"{count} {word}{'' if count == 1 else ending}"
            for count, word, ending in (
                (self.losses, "loss", "es"), (self.timers, "timer", "s"),
                (self.repeats, "repetition", "s"),
                (self.crashes, "crash", "es"), (len(self.liars), "liar", "s"),
            )
            if count
        ]  # fmt: skip
        if self.torn and self.crashes:
            counts[-1 - bool(self.liars)] += " (torn)"
        return ", ".join([f"n={self.parties}", *counts])

    def scenario(self, schedule: tuple[str, ...], checks: Sequence[str], name: str) -> Scenario:
        """A scenario that follows a schedule of it."""
        options = dict(self.options)
        given = options.pop("options", None) or self.protocol.options_type(**options)
        operations = tuple(
            Planned(0, party, "note", {"text": text})
            for party, texts in self.submits.items()
            for text in ((texts,) if isinstance(texts, str) else texts)
        )
        fields: dict[str, Any] = {
            "name": name, "parties": self.parties, "agreement": word_of(self.protocol),
            "faults": [{"kind": "vote-twice", "party": p} for p in sorted(self.liars)],
            "checks": list(checks), "schedule": list(schedule), "mesh": "ready",
            "plugins": list(self.plugins),
        }  # fmt: skip
        return Scenario.parse(fields).but(operations=operations, agreement_options=given)


def subject(
    what: type[Agreement] | str | Scenario | Path,
    *,
    parties: int | None,
    submits: Mapping[Party, str | Sequence[str]] | None,
    losses: int,
    timers: int,
    crashes: int,
    repeats: int,
    torn: bool,
    liars: frozenset[Party] | set[Party] | None,
    options: Mapping[str, Any],
) -> Subject:
    """What `explore` and `walk` are asked for."""
    if isinstance(what, Path):
        what = Scenario.from_file(what)
    if isinstance(what, Scenario):
        own = _of_scenario(what)
        losses, crashes = losses or own.losses, crashes or own.crashes
        return Subject(
            own.protocol, parties or own.parties, submits or own.submits, losses, timers, crashes,
            repeats, torn or own.torn, own.liars if liars is None else frozenset(liars),
            {**own.options, **options}, own.plugins,
        )  # fmt: skip
    protocol = agreement(what) if isinstance(what, str) else what
    return Subject(
        protocol, parties or 3, submits or {1: "a"}, losses, timers, crashes, repeats, torn,
        frozenset(liars or ()), options,
    )  # fmt: skip


def _of_scenario(scenario: Scenario) -> Subject:
    submits: dict[Party, list[str]] = {}
    for k, planned in enumerate(scenario.operations):
        submits.setdefault(planned.by, []).append(str(planned.params.get("text") or f"op{k}"))
    crashes = [fault for fault in scenario.faults if isinstance(fault, Crash)]
    lossy = scenario.network.loss > 0 or any(isinstance(f, Loss) for f in scenario.faults)
    return Subject(
        agreement(scenario.agreement), scenario.parties, submits or {1: "a"},
        losses=int(lossy), crashes=len(crashes), torn=any(crash.torn for crash in crashes),
        liars=frozenset(aimed_at(f for f in scenario.faults if f.byzantine)),
        options={"options": scenario.agreement_options}, plugins=scenario.plugins,
    )  # fmt: skip
