"""`mpclab run`: one JSON object, exit statuses, the same run twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpclab.cli import main
from mpclab.lab.scenario import Scenario
from mpclab.lab.shipped import SCENARIOS


def mpclab(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mpclab", *arguments],
        capture_output=True, text=True, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_json_object_has_what_the_design_says() -> None:
    done = mpclab("run", str(SCENARIOS / "commit.yaml"), "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert set(run) - {"scenario", "world", "seed"} == {
        "outcomes", "calls", "verdicts", "messages", "trace",
    }  # fmt: skip
    note, coin = run["outcomes"]
    assert (note["status"], note["result"]) == ("committed", "hello")
    assert (coin["status"], len(coin["result"])) == ("committed", 64)
    assert set(note["parties"]) == {"1", "2", "3", "4"}
    assert note["committed_at_ms"] > 0
    assert {v["check"] for v in run["verdicts"]} == set(run["scenario"]["checks"])
    assert set(run["verdicts"][0]) >= {"check", "verdict", "witnesses"}
    assert run["messages"]["sent"] == run["messages"]["delivered"] > 0
    assert run["messages"]["by_kind"]["SignedVote"]["sent"] == 24
    assert run["trace"]["rows"] > 100


def test_two_runs_are_the_same_row_by_row_whatever_the_hash_seed() -> None:
    path = str(SCENARIOS / "crash.yaml")
    runs = [
        json.loads(mpclab("run", path, "--json", PYTHONHASHSEED=seed).stdout) for seed in ("1", "2")
    ]
    assert runs[0]["trace"]["digest"] == runs[1]["trace"]["digest"]
    assert runs[0] == runs[1]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The object that a run in this process prints."""
    assert main(["run", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_another_seed_is_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(SCENARIOS / "commit.yaml")
    one, two = (told(capsys, path, "--seed", seed) for seed in ("1", "2"))
    assert one["trace"]["digest"] != two["trace"]["digest"]
    assert [o["status"] for o in one["outcomes"]] == [o["status"] for o in two["outcomes"]]


def test_bad_input_is_one_line_on_stderr_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("partys: 4\n")
    assert main(["run", str(bad)]) == 2
    assert main(["run", str(tmp_path / "none.yaml")]) == 2
    assert main(["run", str(SCENARIOS / "commit.yaml"), "--world", "simulate"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "did you mean 'parties'" in shown.err
    assert "No such file" in shown.err
    assert "did you mean 'simulated'" in shown.err


def test_a_run_leaves_pictures_trace_and_a_scenario_that_runs_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["run", str(SCENARIOS / "reject.yaml"), "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "spacetime.png",
        "topology.png",
        "outcomes.png",
        "trace.jsonl",
        "scenario.yaml",
        "report.md",
        "run.html",
    }
    assert "party 3 rejected" in (out / "report.md").read_text()
    capsys.readouterr()
    first, again = (
        told(capsys, str(path))["trace"]["digest"]
        for path in (SCENARIOS / "reject.yaml", out / "scenario.yaml")
    )
    assert first == again


def test_a_run_is_a_page_and_so_is_the_trace_that_it_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, out = tmp_path / "run.html", tmp_path / "out"
    path = str(SCENARIOS / "equivocate.yaml")
    assert main(["run", path, "--html", str(made), "--out", str(out)]) == 1
    text = made.read_text(encoding="utf-8")
    assert "agreement: violated" in text
    assert 'data-row="' in text  # the proof, one click away
    assert (out / "run.html").read_text(encoding="utf-8") == text
    assert main(["show", str(out / "trace.jsonl")]) == 0
    assert "diagram" in (out / "trace.html").read_text(encoding="utf-8")
    assert main(["show", str(out / "no.jsonl")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_fault_of_the_program_is_status_3_and_says_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mpclab.lab.run.run_checks", lambda *_, **__: [][1])
    assert main(["run", str(SCENARIOS / "commit.yaml"), "--json"]) == 3
    assert "IndexError" in capsys.readouterr().err


def test_background_traffic_is_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "raft.yaml"
    note = "{at: 0ms, by: 1, kind: note, text: hello}"
    path.write_text(f"{{mesh: ready, agreement: raft, operations: [{note}]}}")
    messages = told(capsys, str(path))["messages"]
    behind = messages["background"]
    assert behind["by_kind"]["RaftHeartbeat"]["sent"] > 0
    assert behind["sent"] == sum(count["sent"] for count in behind["by_kind"].values())
    assert messages["sent"] == sum(count["sent"] for count in messages["by_kind"].values())


def test_a_new_file_runs_at_once_and_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "tea"]) == 0
    assert capsys.readouterr().out == "a scenario: tea.yaml; run it with: mpclab run tea.yaml\n"
    text = Path("tea.yaml").read_text()
    assert main(["new", "tea.yaml"]) == 2
    assert "tea.yaml is there already, and stays as it is" in capsys.readouterr().err
    assert main(["new", "no/where.yaml"]) == 2
    capsys.readouterr()
    assert main(["new", "."]) == 2
    assert capsys.readouterr().err == "mpclab new: .: this is a folder; give the file a name\n"
    assert main(["new", "two words"]) == 0
    assert capsys.readouterr().out.endswith("run it with: mpclab run 'two words.yaml'\n")
    assert Path("tea.yaml").read_text() == text
    assert main(["run", "tea.yaml", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert [one["status"] for one in run["outcomes"]] == ["committed", "committed"]
    assert all(verdict["verdict"] == "ok" for verdict in run["verdicts"])
    everything = Scenario.from_text(text.replace("#-", ""))
    assert everything.votes == {3: "reject"}
    assert [fault.word for fault in everything.faults] == ["crash", "partition", "equivocate"]
    assert main(["run"]) == 2
    assert "`mpclab new FILE` writes one" in capsys.readouterr().err


def test_what_is_shipped_can_be_listed_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--list"]) == 0
    listed = capsys.readouterr().out
    names = [path.stem for path in sorted(SCENARIOS.glob("*.yaml"))]
    assert [line.split()[0] for line in listed.splitlines()] == names
    assert main(["run", "commit", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"][0]["status"] == "committed"
    assert main(["run", "comit"]) == 2
    assert "did you mean 'commit'?" in capsys.readouterr().err
    assert main(["run"]) == 2
    assert "mpclab run --list" in capsys.readouterr().err
