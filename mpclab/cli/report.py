"""The report of a run, a folder: its pictures, its trace, and a page that explains them."""

from __future__ import annotations

from pathlib import Path

from mpclab.core.words import count
from mpclab.lab.run import Run
from mpclab.plots import outcomes, spacetime, topology
from mpclab.plots.style import Picture

CAPTIONS = {
    "spacetime": "Who told whom what, and when, from the moment at which the session was ready",
    "topology": "Who is connected to whom",
    "outcomes": "Who voted what, and what each committed",
}


def draw(run: Run, name: str) -> Picture:
    """One of a run's pictures; the rows that prove a violation are highlighted."""
    match name:
        case "spacetime":
            proof = [row for v in run.verdicts if v.verdict == "violated" for row in v.witnesses]
            axes = spacetime(run.trace, since=run.ready_at, highlight=proof)
        case "topology":
            axes = topology(run.trace)
        case _:
            axes = outcomes(run.trace)
    assert isinstance(axes.figure, Picture)
    return axes.figure


def write_report(run: Run, folder: Path, stem: str = "") -> Path:
    """Write PNGs, `run.html`, `trace.jsonl`, `scenario.yaml` and `report.md`; the report's path.

    `stem` comes before every file name, so that several runs share a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f"{stem}-" if stem else ""
    lines = [f"# {run.scenario.name or 'A run'}", ""]
    lines += [
        f"World **{run.world}**, {count(run.scenario.parties, 'party')}, "
        f"policy {run.scenario.policy}, "
        f"agreement {run.scenario.agreement}, seed {run.seed}.",
        "",
    ]
    for name, caption in CAPTIONS.items():
        figure = draw(run, name)
        figure.savefig(folder / f"{prefix}{name}.png", dpi=150, bbox_inches="tight")
        lines += [f"![{caption}]({prefix}{name}.png)", "", f"*{caption}.*", ""]
    (folder / f"{prefix}run.html").write_text(run.page(), encoding="utf-8")
    lines += [f"[The run as a page to zoom and click]({prefix}run.html)", ""]
    run.trace.save(folder / f"{prefix}trace.jsonl")
    run.scenario.to_file(folder / f"{prefix}scenario.yaml")
    lines += ["## Outcomes", ""]
    ends = [*run.outcomes, *run.outcomes.calls]
    lines += [f"- {end!r}" for end in ends] or ["- nothing was proposed"]
    lines += ["", "## Verdicts", ""]
    lines += [f"- **{v.check}**: {v.verdict}. {v.sentence}" for v in run.verdicts]
    lines += [
        "",
        f"The trace has {len(run.trace)} rows (`{prefix}trace.jsonl`, SHA-256 of its rows "
        f"`{run.trace.digest()}`). Run it again with `mpclab run {prefix}scenario.yaml`.",
        "",
    ]
    report = folder / f"{prefix}report.md"
    report.write_text("\n".join(lines), encoding="utf-8")
    return report
