"""The example package, installed beside mpclab, runs from its scenario file in every world."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
EXAMPLE = HOUSE / "examples" / "paxos_lab"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path with the built package in it, entry point and all."""
    site = tmp_path_factory.mktemp("site")
    wheels = tmp_path_factory.mktemp("wheels")
    build = "import hatchling.build as b, sys; print(b.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(wheels)],
        cwd=EXAMPLE, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    wheel = wheels / done.stdout.split()[-1]
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True, timeout=60
    )
    return site


@pytest.mark.parametrize("world", ["simulated", "websocket", "webrtc"])
def test_a_package_of_ones_own_runs_in_every_world(
    world: str, installed: Path, tmp_path: Path
) -> None:
    """A protocol, a fault, an operation and a check of one little package, by their words alone."""
    text = (EXAMPLE / "scenario.yaml").read_text()
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(text.replace("plugins: [paxos_lab]\n", ""))  # the entry point is enough
    done = subprocess.run(
        [sys.executable, "-m", "mpclab", "run", str(scenario), "--world", world, "--json"],
        env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{HOUSE}"},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(done.stdout)
    assert [o["status"] for o in run["outcomes"]] == ["committed", "committed"]
    assert 1 <= int(run["outcomes"][0]["result"]) <= 20
    assert {v["check"]: v["verdict"] for v in run["verdicts"]}["prompt"] == "ok"
    assert run["scenario"]["agreement"] == "synod"


def test_a_scenario_can_name_the_package_instead(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text((EXAMPLE / "scenario.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "mpclab", "run", str(scenario), "--json"],
        env={**os.environ, "PYTHONPATH": f"{EXAMPLE}{os.pathsep}{HOUSE}"},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["scenario"]["plugins"] == ["paxos_lab"]


def test_without_it_the_words_are_unknown(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("agreement: synod\n")
    done = subprocess.run(
        [sys.executable, "-m", "mpclab", "run", str(scenario)],
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "agreement: 'synod' is not known" in done.stderr
