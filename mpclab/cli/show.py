"""Runs and statuses as a terminal shows them."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from mpclab.check import Verdict
from mpclab.lab.outcome import Outcomes
from mpclab.lab.run import Run
from mpclab.lab.scenario import Scenario

console = Console(highlight=False)

SIGNS = {
    "committed": "[green]●[/]",
    "executed": "[green]●[/]",
    "aborted": "[red]✕[/]",
    "failed": "[red]✕[/]",
    "undecided": "[yellow]?[/]",
}
VERDICTS = {"ok": "[green]✓[/]", "violated": "[red]✗[/]", "unknown": "[yellow]?[/]"}


def run_with_progress(scenario: Scenario, title: str = "") -> Run:
    """Run a scenario behind a spinner that says what is being done. Ctrl-C stops it."""
    name = title or scenario.name or "scenario"
    with console.status(f"{name} · {scenario.world}") as status:
        return scenario.run(
            progress=lambda text: status.update(f"{name} · {scenario.world}: {text}…")
        )


def show(run: Run) -> None:
    """Outcomes, verdicts and message counts of a run."""
    scenario = run.scenario
    console.print(
        f"[bold]{scenario.name or 'scenario'}[/]  {run.world}, {scenario.parties} parties, "
        f"{scenario.policy}, {scenario.agreement}, seed {run.seed}"
    )
    console.print(outcome_table(run.outcomes))
    for verdict in run.verdicts:
        console.print(verdict_line(verdict))
    m = run.messages
    console.print(
        f"[dim]{m['sent']} messages sent, {m['delivered']} delivered, {m['dropped']} lost · "
        f"trace of {len(run.trace)} rows, digest {run.trace.digest()[:16]}[/]"
    )


def outcome_table(outcomes: Outcomes) -> Table:
    """One line an operation: who proposed what, and what every party holds."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "operation", "by", "status", "parties", "at", "result"):
        table.add_column(heading)
    for o in outcomes:
        parties = " ".join(
            f"{p}{SIGNS.get(held.status, '[dim]·[/]')}" for p, held in sorted(o.parties.items())
        )
        at = f"{o.committed_at_ms:.0f} ms" if o.committed_at_ms is not None else ""
        table.add_row(
            str(o.operation), o.kind, str(o.by), f"{SIGNS[o.status]} {o.status}", parties, at,
            o.result or o.reason,
        )  # fmt: skip
    return table


def verdict_line(verdict: Verdict) -> str:
    return f"{VERDICTS[verdict.verdict]} {verdict.check}: {verdict.sentence}"
