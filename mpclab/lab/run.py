"""`Run`: what a scenario gave. Its trace, outcomes, verdicts and message counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mpclab.check import Verdict, run_checks
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.core.words import count
from mpclab.faults.plan import aimed_at
from mpclab.lab.inside import watch
from mpclab.lab.journal import Deed
from mpclab.lab.lab import Lab
from mpclab.lab.outcome import Outcomes
from mpclab.lab.replies import Done
from mpclab.lab.scenario import Scenario
from mpclab.trace.columnar import ENDINGS
from mpclab.trace.export import message_counts
from mpclab.trace.log import Trace
from mpclab.trace.rows import Lied, Sent
from mpclab.trace.short import ShortTrace

if TYPE_CHECKING:
    from mpclab.view import Living
    from mpclab.view.feed import Change

Progress = Callable[[str], None]

DRAIN = {"simulated": SECOND, "websocket": 100 * MS, "webrtc": 100 * MS}
"""How long time goes on once all is settled, at the least, by world: messages already on their way
arrive, late ones as well where the world knows of them."""

LOOK = 100 * MS
"""How often it is looked then whether a message is still on its way."""


@dataclass(frozen=True)
class Run:
    """The end of an experiment.

    Attributes:
        ready_at: the trace's time at which the session was ready, µs: the scenario's time 0.
        deeds: what was done to the lab, from which a simulated run comes again; empty for others.
        ok: every check says ok.
    """

    scenario: Scenario
    world: str
    seed: int
    trace: Trace
    ready_at: int
    outcomes: Outcomes
    verdicts: tuple[Verdict, ...]
    deeds: tuple[Deed, ...] = field(default=(), repr=False, compare=False)

    @property
    def ok(self) -> bool:
        return all(verdict.verdict == "ok" for verdict in self.verdicts)

    @property
    def violated(self) -> bool:
        """A check found a violation, with proof."""
        return any(verdict.verdict == "violated" for verdict in self.verdicts)

    @property
    def messages(self) -> dict[str, Any]:
        """How many messages were sent, delivered and dropped, in all and by kind; a broadcast
        counts once for each receiver. Background messages (heartbeats, gossip, pages
        that somebody lacks) are counted apart, under `background`. A trace that did not keep them
        all has one count for all kinds."""
        if isinstance(self.trace, ShortTrace):
            short = self.trace
            counts = {
                "sent": short.sendings, "delivered": short.deliveries, "dropped": short.losses,
            }  # fmt: skip
            return {**counts, "by_kind": {}, "background": dict.fromkeys(counts, 0)}
        kinds, all_kinds = message_counts(self.trace, background=False), message_counts(self.trace)
        behind = {
            kind: {what: n - kinds.get(kind, {}).get(what, 0) for what, n in count.items()}
            for kind, count in all_kinds.items()
        }
        behind = {kind: count for kind, count in behind.items() if any(count.values())}
        nothing = dict.fromkeys(kinds["all"], 0)
        return {
            **kinds.pop("all"),
            "by_kind": kinds,
            "background": {**behind.pop("all", nothing), "by_kind": behind},
        }

    def as_dict(self) -> dict[str, Any]:
        """The object that `mpclab run --json` prints."""
        return {
            "scenario": self.scenario.as_fields(),
            "world": self.world,
            "seed": self.seed,
            "outcomes": msgspec.to_builtins(self.outcomes, str_keys=True),
            "calls": msgspec.to_builtins(self.outcomes.calls),
            "verdicts": [
                {
                    "check": v.check,
                    "verdict": str(v.verdict),
                    "witnesses": list(v.witnesses),
                    "sentence": v.sentence,
                }
                for v in self.verdicts
            ],
            "messages": self.messages,
            "trace": {"rows": len(self.trace), "digest": self.trace.digest()},
        }

    def save(self, file: str | Path) -> Done:
        """Write the run to a file, by the ending of its name.

        `.html` is a page that opens from disk: the living diagram with the state of every party
        at every step, machines included where the run was simulated, up to a bound that it names.
        `.jsonl`, `.parquet` and `.arrow` are the trace itself; `.json` is for Perfetto, `.shiviz`
        for ShiViz, `.mmd` for Mermaid, `.svg` for a paper (see `mpclab.view.exports`).

        Raises:
            UsageError: another ending.
        """
        from mpclab.view.exports import EXPORTS

        path = Path(file)
        if path.suffix in (".jsonl", *ENDINGS):
            self.trace.save(path)
        elif path.suffix == ".html":
            path.write_text(self.page(), encoding="utf-8")
        elif path.suffix in EXPORTS:
            path.write_text(EXPORTS[path.suffix](self.trace), encoding="utf-8")
        else:
            known = ", ".join([".html", ".jsonl", *ENDINGS, *EXPORTS])
            raise UsageError(f"{path.name}: use {known}")
        return Done(f"saved as {path}")

    def diagram(self, *, height: int = 640) -> Living:
        """The same page in a notebook's cell: alive there also without a kernel, as in a saved
        notebook or one that was made an HTML file."""
        from mpclab.view import Living

        return Living(self.page(), repr(self).splitlines()[0], height)

    def page(self) -> str:
        """The whole run as one HTML page: outcomes, verdicts, the living diagram."""
        from mpclab.view import page

        s = self.scenario
        lines: list[tuple[str, tuple[int, ...]]] = [(repr(one), ()) for one in self.outcomes]
        for v in self.verdicts:
            proof = v.witnesses if v.verdict == "violated" else ()
            lines.append((f"{v.check}: {v.verdict}. {v.sentence}", proof))
        within: list[Change] = []
        cut = ""
        if self.deeds:
            within, whole = watch(Lab(s), self.deeds, len(self.trace))
            if not whole:
                cut = f"What machines held is told up to row {within[-1].row}; the page is bounded."
        return page(
            self.trace, title=s.name or f"{count(s.parties, 'party')}, {s.agreement}",
            ready=self.ready_at, lines=lines, within=within, cut=cut,
        )  # fmt: skip

    def __repr__(self) -> str:
        lines = [f"Run({self.scenario.name or 'scenario'!r}, {self.world}, seed {self.seed})"]
        lines += [f"  {outcome!r}" for outcome in self.outcomes]
        lines += [f"  {v.check}: {v.verdict} — {v.sentence}" for v in self.verdicts]
        if self.violated:
            lines.append("  mpclab.search.shrink(run) finds the least that fails so")
        return "\n".join(lines)


def play(
    scenario: Scenario,
    *,
    progress: Progress = lambda text: None,
    watch: Callable[[Any], None] = lambda lab: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Run a scenario from an empty lab to its verdicts.

    Args:
        progress: called with a line of text at each stage.
        watch: called with the lab once it exists (a panel follows the trace from there).
        stop: asked now and then; once it says yes, the run is judged as far as it came.
    """
    if scenario.schedule:
        from mpclab.lab.scheduled import play_schedule

        progress("following the schedule")
        trace, tracker, verdicts = play_schedule(scenario)
        faulty = frozenset(aimed_at(f for f in scenario.faults if f.byzantine))
        parties = tuple(range(1, scenario.parties + 1))
        outcomes = tracker.outcomes(parties, faulty=faulty)
        return Run(scenario, "simulated", scenario.seed, trace, 0, outcomes, verdicts)
    with Lab(scenario) as lab:
        watch(lab)
        if scenario.mesh == "negotiated":
            progress("starting the signaling server")
            lab.start_server(port=8080 if scenario.world == "simulated" else 0)
        progress(f"spawning {count(scenario.parties, 'party')}")
        lab.spawn()
        progress("joining and connecting every pair")
        lab.join()
        ready = lab.mark("ready")
        for fault in scenario.faults:
            lab.plan(fault, ready)
        for planned in scenario.operations:
            lab.at(
                ready + planned.at, "propose", planned.by, planned.kind,
                patience=None, **planned.params,
            )  # fmt: skip
        for call in scenario.clients:
            lab.at(
                ready + call.at, "call", call.client, call.by, call.kind,
                timeout=call.timeout, **call.params,
            )  # fmt: skip
        progress(f"running for at most {scenario.until / SECOND:g} s")
        faulty = frozenset(aimed_at(f for f in scenario.faults if f.byzantine))
        lab.group.faulty = faulty
        last = _last_event(scenario)
        lab.group.expect(len(scenario.operations))
        lab.run(
            lambda: stop() or (lab.now >= ready + last and _is_over(lab)),
            limit=scenario.until / SECOND,
        )
        step, end = DRAIN[scenario.world], ready + scenario.until
        while (left := end - lab.now) > 0:
            lab.world.run(limit=min(left, step))
            if stop() or not lab.world.carries():
                break
            step = LOOK
        progress("judging the trace")
        return Run(
            scenario,
            lab.world.name,
            scenario.seed,
            lab.trace,
            ready,
            lab.group.tracker.outcomes(lab.group.everyone, since=ready, faulty=faulty),
            tuple(
                run_checks(
                    lab.trace,
                    scenario.checks,
                    n=scenario.parties,
                    policy=scenario.policy,
                    faulty=faulty or None,
                    patience=None if lab.world.is_idle() else scenario.patience,
                    idle=_idle(scenario, lab.trace, ready),
                )
            ),
            tuple(lab.journal.deeds) if scenario.world == "simulated" else (),
        )


def _is_over(lab: Lab) -> bool:
    """Whether every call of a client has ended, and every operation at every party."""
    made = sum(lab.group.clients.made.values())
    if made < len(lab.scenario.clients) or not lab.group.clients.idle:
        return False
    return lab.group.settled() or (made > 0 and lab.world.is_idle())


def _idle(scenario: Scenario, trace: Trace, ready: int) -> tuple[str, ...]:
    """The faults that name kinds of message and never met one, as far as the trace kept, in words:
    a run with them says no more than one without."""
    found = []
    for fault in scenario.faults:
        kinds, concerns = getattr(fault, "messages", None), getattr(fault, "concerns", None)
        if not kinds:
            continue
        begins = ready + fault.at
        ends = begins + (fault.lasts or scenario.until)
        if fault.byzantine:  # another fault may have made a liar of its party
            kinds = (*kinds, "")  # said out of turn: it may be of any
            met = any(row.actor in fault.parties() and row.kind in kinds for row in trace.of(Lied))
        elif concerns is not None:
            met = any(
                row.kind in kinds and begins <= row.at < ends
                and any(concerns(row.actor, to) for to in row.to)
                for row in trace.of(Sent)
            )  # fmt: skip
        else:
            continue
        if not met:
            found.append(fault.sentence())
    return tuple(found)


def _last_event(scenario: Scenario) -> int:
    """When the last thing that the scenario plans is over, µs after the session is ready."""
    ends = [planned.at for planned in scenario.operations]
    ends += [call.at for call in scenario.clients]
    ends += [fault.at + (fault.lasts or 0) for fault in scenario.faults]
    return min(max(ends, default=0), scenario.until)


Scenario.player = staticmethod(play)
