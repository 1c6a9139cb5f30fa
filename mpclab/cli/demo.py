"""`mpclab demo`: the whole story in a terminal, with its pictures in a folder."""

from __future__ import annotations

from pathlib import Path

from mpclab.cli.console import console
from mpclab.cli.report import write_report
from mpclab.cli.show import run_with_progress, show
from mpclab.cli.text import line
from mpclab.lab.lab import Lab
from mpclab.lab.run import Run
from mpclab.lab.scenario import Scenario
from mpclab.lab.shipped import SCENARIOS

STORY = ("commit", "reject", "crash", "equivocate", "second-gate", "signature", "auction")
"""The simulated chapters: a scenario file each, whose first line says what to look for."""

EXPECTED = {"reject": "aborted", "crash": "expired", "equivocate": "split"}
"""The expected end of a chapter's operations, where not all are committed."""


def demo(folder: Path) -> int:
    """Tell the story, leave pictures, traces and a report in `folder`; exit status."""
    runs: list[tuple[str, str, Run]] = []
    for stem in STORY:
        path = SCENARIOS / f"{stem}.yaml"
        text = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        runs.append((stem, text, _chapter(text, Scenario.from_file(path))))
    first = Scenario.from_file(SCENARIOS / "commit.yaml")
    for world in ("websocket", "webrtc"):
        text = f"The same scenario in the world `{world}`: a real server on a real socket" + (
            ", and real WebRTC data channels." if world == "webrtc" else ", messages relayed."
        )
        runs.append((world, text, _chapter(text, first.but(world=world))))
    text = "The server is killed once the mesh is up; the vote goes on without it."
    console.rule()
    console.print(line(text))
    survived = _survive()
    _leave(folder, runs, text, survived)
    console.rule()
    console.print(line("pictures, traces and report: ", (folder / "report.md", "bold")))
    expected = all(
        {o.status for o in run.outcomes} == {EXPECTED.get(stem, "committed")}
        for stem, _, run in runs
    )
    return 0 if expected and survived == "committed" else 1


def _chapter(text: str, scenario: Scenario) -> Run:
    console.rule()
    console.print(line(text))
    run = run_with_progress(scenario)
    show(run)
    return run


def _survive() -> str:
    """Kill the server of a WebRTC session, then vote; what became of the operation."""
    with console.status("killing the server of a WebRTC session"), Lab(world="webrtc") as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        lab.stop_server(kill=True)
        operation = lab.propose(by=2, kind="note", text="the server is dead")
        lab.run(limit=10)
        console.print(line(f"{lab.server_status()!r} · {operation!r}"))
        return operation.status


def _leave(folder: Path, runs: list[tuple[str, str, Run]], text: str, survived: str) -> None:
    lines = ["# mpclab demo", ""]
    for stem, words, run in runs:
        with console.status(f"drawing {stem}"):
            write_report(run, folder, stem)
        lines += [f"## {run.scenario.name} ({run.world})", "", words, ""]
        lines += [f"![messages]({stem}-spacetime.png)", ""]
        lines += [f"- {outcome!r}" for outcome in run.outcomes]
        lines += [f"- {v.check}: {v.verdict}. {v.sentence}" for v in run.verdicts]
        lines += [f"- [more]({stem}-report.md)", ""]
    lines += ["## Without its server", "", text, "", f"- the operation is {survived}", ""]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")
