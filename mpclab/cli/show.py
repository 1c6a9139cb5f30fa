"""Runs and statuses as a terminal shows them."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from mpclab.check import Verdict
from mpclab.cli.console import console
from mpclab.cli.text import line
from mpclab.core.words import count
from mpclab.lab.outcome import Outcomes
from mpclab.lab.run import Run, play
from mpclab.lab.scenario import Scenario

GREEN, RED, YELLOW = "green", "red", "yellow"
SIGNS = {
    "committed": ("●", GREEN),
    "executed": ("●", GREEN),
    "aborted": ("✕", RED),
    "failed": ("✕", RED),
    "split": ("✕", RED),
    "expired": ("◌", YELLOW),
    "undecided": ("?", YELLOW),
}
VERDICTS = {"ok": ("✓", GREEN), "violated": ("✗", RED), "unknown": ("?", YELLOW)}
_OPEN = ("·", "dim")


def run_with_progress(scenario: Scenario, title: str = "") -> Run:
    """Run a scenario behind a spinner that says what is being done. Ctrl-C stops it."""
    name = title or scenario.name or "scenario"
    with console.status(line(name, " · ", scenario.world)) as status:
        return play(
            scenario,
            progress=lambda text: status.update(line(name, " · ", scenario.world, ": ", text, "…")),
        )


def show(run: Run) -> None:
    """Outcomes, verdicts and message counts of a run."""
    scenario = run.scenario
    console.print(
        line(
            (scenario.name or "scenario", "bold"),
            f"  {run.world}, {count(scenario.parties, 'party')}, {scenario.policy}, "
            f"{scenario.agreement}, seed {run.seed}",
        )
    )
    console.print(outcome_table(run.outcomes))
    for call in run.outcomes.calls:
        console.print(line(repr(call)))
    for verdict in run.verdicts:
        console.print(verdict_line(verdict))
    m = run.messages
    words = (
        f"{m['sent']} messages sent, {m['delivered']} delivered, {m['dropped']} lost · "
        f"trace of {len(run.trace)} rows, digest {run.trace.digest()[:16]}"
    )
    console.print(line((words, "dim")))


def outcome_table(outcomes: Outcomes) -> Table:
    """One line an operation: who proposed what, and what every party holds."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "operation", "by", "status", "parties", "at", "result"):
        table.add_column(heading)
    for o in outcomes:
        parties = Text(" ").join(
            line(p, SIGNS.get(held.status, _OPEN)) for p, held in sorted(o.parties.items())
        )
        at = f"{o.committed_at_ms:.0f} ms" if o.committed_at_ms is not None else ""
        table.add_row(
            line(o.operation), line(o.kind), line(o.by), line(SIGNS[o.status], " ", o.status),
            parties, line(at), line(o.result or o.reason),
        )  # fmt: skip
    return table


def verdict_line(verdict: Verdict) -> Text:
    """A check's name, what it found, and its sign."""
    return line(VERDICTS[verdict.verdict], f" {verdict.check}: {verdict.sentence}")
