"""One scenario many times: over values and seeds, in processes, on Dask, stopped and resumed."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from mpclab.cli import main
from mpclab.core import UsageError
from mpclab.lab import Scenario
from mpclab.panels.phases import PhaseDiagram, SweepPanel
from mpclab.search import Sweep, sweep

BASE = Scenario.parse(
    {
        "parties": 4, "policy": "threshold(2)", "mesh": "ready", "seed": 7, "until": "5s",
        "operations": [{"by": 1, "kind": "note", "text": "hello"}],
        "faults": [{"kind": "equivocate", "party": 1}],
        "checks": ["agreement"],
    }
)  # fmt: skip
OVER: dict[str, list[Any]] = {"agreement": ["direct", "pbft"], "network.loss": [0, 0.3]}


@pytest.fixture(scope="module")
def found() -> Sweep:
    return sweep(BASE, OVER, seeds=3, processes=0)


def test_a_row_for_each_run_and_its_failures(found: Sweep) -> None:
    frame = found.frame
    assert list(frame.columns[:4]) == ["agreement", "network.loss", "seed", "fails"]
    assert len(frame) == found.total == 12
    rates = found.rates("agreement")
    assert rates["direct"] > 0.5
    assert rates["pbft"] == 0
    assert set(frame[frame.fails]["how"]) == {
        "agreement: some committed different values for an operation"
    }


def test_a_failing_run_is_run_again(found: Sweep) -> None:
    scenario = found.failing({"network.loss": 0})
    assert scenario is not None
    run = scenario.run()
    assert run.violated
    [digest] = found.frame.query("fails and `network.loss` == 0").head(1).digest
    assert run.trace.digest().startswith(digest)
    assert found.failing({"agreement": "pbft"}) is None


def test_processes_find_the_same(found: Sweep) -> None:
    again = sweep(BASE, OVER, seeds=3, processes=2)
    drop = "seconds"
    assert again.frame.drop(columns=drop).equals(found.frame.drop(columns=drop))


def test_a_dask_cluster_finds_the_same(found: Sweep) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not ours
        from distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            again = sweep(BASE, OVER, seeds=3, client=client)
    drop = "seconds"
    assert again.frame.drop(columns=drop).equals(found.frame.drop(columns=drop))


def test_it_stops_and_goes_on_from_what_is_there(tmp_path: Path, found: Sweep) -> None:
    store = tmp_path / "sweep.jsonl"

    def stop(done: int, total: int) -> bool:
        return done < 5

    part = sweep(BASE, OVER, seeds=3, processes=0, store=store, progress=stop)
    assert part.stopped == "cancelled"
    assert len(part.rows) == 5
    with store.open("a", encoding="utf-8") as file:
        file.write('{"of": "cut')  # whoever stopped it was quick
        file.write("\n")
    seen: list[int] = []
    whole = sweep(
        BASE, OVER, seeds=3, processes=0, store=store,
        progress=lambda done, total: seen.append(done),
    )  # fmt: skip
    assert seen == list(range(5, 13))
    assert not whole.stopped
    drop = "seconds"
    assert whole.frame.drop(columns=drop).equals(found.frame.drop(columns=drop))
    assert len(store.read_text(encoding="utf-8").splitlines()) == 13
    other = sweep(BASE.but(policy="unanimous"), OVER, seeds=1, processes=0, store=store)
    assert len(other.rows) == 4  # another scenario's results are not taken for its own
    kept = [json.loads(line) for line in store.read_text().splitlines() if "cut" not in line]
    assert len({line["of"] for line in kept}) == 2


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"network.lost": [0.1]}, "network.lost is not known; did you mean 'loss'"),
        ({"parties": [3, 0]}, "there is no party 1; use 1 to 0"),
        ({"faults.4.party": [1]}, "there is no number 4"),
        ({"agreement.raft.prevote": [True]}, "agreement is direct"),
    ],
)
def test_nothing_runs_where_something_cannot(over: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sweep(BASE, over, seeds=1, processes=0)


def test_options_of_a_protocol_and_fields_of_a_fault() -> None:
    base = BASE.but(agreement="raft", policy="unanimous")
    over = {"agreement.raft.prevote": [True, False], "faults.0.party": [1, 2]}
    found = sweep(base, over, seeds=1, processes=0)
    assert [row["agreement.raft.prevote"] for row in found.rows] == [True, True, False, False]


def test_the_phase_diagram_says_every_number(found: Sweep) -> None:
    [axes] = found.picture("network.loss", "agreement").axes
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == 4
    assert "0%" in texts
    assert axes.get_xlabel() == "network.loss"


def test_a_click_on_a_cell_opens_a_failing_seed(found: Sweep) -> None:
    diagram = PhaseDiagram(found, "network.loss", "agreement")
    diagram.cells[0, "pbft"].click()
    assert diagram.run is None
    assert "no run failed" in diagram.said.value
    diagram.cells[0, "direct"].click()
    assert diagram.run is not None
    assert diagram.run.violated
    assert diagram.scenario == found.failing({"network.loss": 0, "agreement": "direct"})
    assert "committed different values" in diagram.said.value
    assert diagram.picture.outputs
    with pytest.raises(UsageError, match="was not swept over"):
        PhaseDiagram(found, "parties")


def test_the_panel_runs_stops_and_shows() -> None:
    panel = SweepPanel(BASE, OVER, seeds=1, processes=0)
    panel.start.click()
    assert panel.thread is not None
    panel.thread.join(60)
    assert panel.found is not None
    assert panel.bar.value == panel.bar.max == 4
    assert panel.below.children
    panel.stop.click()
    assert panel._progress(1, 4) is False


def test_the_terminal_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, csv, png = tmp_path / "base.yaml", tmp_path / "rows.csv", tmp_path / "phases.png"
    BASE.to_file(path)
    where = ["--csv", str(csv), "--png", str(png), "--processes", "0", "--seeds", "2"]
    assert main(["sweep", str(path), "--over", "agreement=direct,pbft", *where]) == 1
    out = capsys.readouterr().out
    assert "100% fail: agreement = direct" in out
    assert "0% fail: agreement = pbft" in out
    assert len(csv.read_text().splitlines()) == 5
    assert png.stat().st_size > 1000
    assert main(["sweep", str(path), "--over", "agreement"]) == 2
