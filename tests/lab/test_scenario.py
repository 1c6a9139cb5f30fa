"""Scenario files: read, written, and refused with the field and the nearest word."""

import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import pytest

from mpclab.consensus import AGREEMENTS
from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND
from mpclab.lab import Lab, Scenario
from mpclab.lab.shipped import SCENARIOS

WHOLE = """
name: a proposer that says two things
world: simulated
parties: 4
threshold: 3
policy: unanimous
agreement: direct
network: {delay: "normal(250ms, 50ms)", loss: 0.1}
votes: {3: reject}
operations:
  - {at: 0ms, by: 1, kind: note, text: "hello"}
  - {at: 10ms, by: 2, kind: response, to: 1, text: "hello to you"}
faults:
  - {at: 0ms, kind: equivocate, party: 1}
  - {at: 100ms, for: 2s, kind: partition, groups: [[1, 2], [3, 4]]}
  - {at: 300ms, kind: crash, party: 2, restart_after: 1s}
checks: [agreement, validity, integrity, termination]
until: 30s
seed: 7
"""


def test_the_file_of_the_design_is_read_and_written_back_the_same() -> None:
    scenario = Scenario.from_text(WHOLE)
    assert [fault.kind for fault in scenario.faults] == ["equivocate", "partition", "crash"]
    assert str(scenario.network.delay) == "normal(250ms, 50ms)"
    assert Scenario.from_text(scenario.to_text(private=True)) == scenario


def test_defaults_round_trip_through_a_file(tmp_path: Path) -> None:
    scenario = Scenario()
    scenario.to_file(tmp_path / "plain.yaml")
    assert Scenario.from_file(tmp_path / "plain.yaml") == scenario


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_that_we_ship_can_be_read(path: Path) -> None:
    scenario = Scenario.from_file(path)
    assert Scenario.from_text(scenario.to_text(private=True)) == scenario


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        ("partys: 4", "partys", "did you mean 'parties'"),
        ("parties: none", "parties", "whole number"),
        ("parties: 0", "parties", "1 to"),
        ("{parties: 3, threshold: 4}", "threshold", "1 to 3"),
        ("{parties: 3, policy: threshold(4)}", "policy", "1 to 3"),
        ("policy: unanimos", "policy", "'unanimous'"),
        ("world: simulate", "world", "'simulated'"),
        ("agreement: pfbt", "agreement", "'pbft'"),
        ("agreement: {pfbt: {}}", "agreement", "'pbft'"),
        ("agreement: {raft: {pre-vote: no}}", "agreement.raft", "'prevote'"),
        ("agreement: {raft: {batch: 0}}", "agreement.raft.batch", "1 to"),
        ("agreement: {raft: {patience: soon}}", "agreement.raft.patience", "such as 250ms"),
        ("agreement: {raft: {}, pbft: {}}", "agreement", "write one protocol"),
        ("checks: [agrement]", "checks", "'agreement'"),
        ("until: -3s", "until", "not negative"),
        ("until: 3 parsecs", "until", "such as 250ms"),
        ("patience: 5ms", "patience", "at least 100ms"),
        ("seed: x", "seed", "whole number"),
        ("network: {delay: gaussian(1ms)}", "network.delay", "not a distribution"),
        ("network: {delay: normal(1ms)}", "network.delay", "normal(mean, deviation)"),
        ("network: {loss: 2}", "network.loss", "0 to 1"),
        ("network: {los: 0.1}", "network.los", "'loss'"),
        ("votes: {9: reject}", "votes", "1 to 4"),
        ("votes: {1: rejekt}", "votes.1", "'reject'"),
        ("operations: [{by: 9, kind: note, text: x}]", "operations[0].by", "1 to 4"),
        ("operations: [{by: 1, kind: notte, text: x}]", "operations[0]", "'note'"),
        ("operations: [{by: 1, kind: note}]", "operations[0]", "'text' is missing"),
        ("operations: [{by: 1, kind: note, txt: x}]", "operations[0]", "'text'"),
        ("operations: [{kind: note, text: x}]", "operations[0]", "'by' is missing"),
        ("operations: [{at: 3, by: 1, kind: note, text: x}]", "operations[0].at", "duration"),
        ("faults: [{kind: crsh, party: 1}]", "faults[0].kind", "'crash'"),
        ("faults: [{kind: crash, party: 7}]", "faults[0].party", "1 to 4"),
        (
            "faults: [{kind: partition, groups: [[1, 2], [2, 3]]}]",
            "faults[0].groups",
            "party 2 is named twice",
        ),
        ("faults: [{at: -1ms, kind: crash, party: 1}]", "faults[0].at", "not negative"),
        ("session: a/b", "session id", "letters"),
        ("{world: webrtc, mesh: ready}", "mesh", "simulated"),
        ("just text", "scenario", "key: value"),
        ("{a: [", "scenario", "is not YAML"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(text: str, field: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        Scenario.from_text(text)
    assert field in str(error.value)
    assert hint in str(error.value)


def test_fields_of_another_kind_are_refused_and_durations_are_read() -> None:
    assert Scenario(until="5s", patience="2s") == Scenario(until=5 * SECOND, patience=2 * SECOND)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="until"):
        Scenario(until="soon")  # type: ignore[arg-type]
    for field in fields(Scenario):
        for value in (1.5, None, object(), b"x", [object()]):
            if (field.name, value) != ("agreement_options", None):
                with suppress(UsageError):  # and nothing else
                    Scenario(**{field.name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [None, 3, ["raft"], int])
def test_what_is_no_protocol_is_refused_by_name(other: object) -> None:
    """A file may end in `agreement:` alone."""
    with pytest.raises(UsageError, match=r"agreement: .*; use a protocol's name"):
        Scenario.parse({"agreement": other})
    assert "int" not in AGREEMENTS


def test_a_change_is_checked_like_a_file() -> None:
    assert Scenario().but(parties=7, threshold=0).threshold == 4
    with pytest.raises(UsageError, match="did you mean 'seed'"):
        Scenario().but(sed=3)
    with pytest.raises(UsageError, match="'webrtc'"):
        Scenario().but(world="webrtcc")


def test_private_numbers_stay_out_of_what_is_saved() -> None:
    scenario = Scenario(parties=3, private={1: (4211,), 2: (5327,), 3: (Decimal("39.5"),)})
    assert "4211" not in scenario.to_text()
    assert "private" not in scenario.as_fields()
    assert Scenario.from_text(scenario.to_text(private=True)).private == scenario.private
    assert scenario.but(seed=3).private == scenario.private
    with pytest.raises(UsageError, match=r"private\.1: 'much' is not a number"):
        Scenario.parse({"private": {1: "much"}})


def test_options_of_the_protocol_are_written_back_and_reach_it(tmp_path: Path) -> None:
    text = "agreement: {raft: {election_timeout: 2s, prevote: false}}\nmesh: ready"
    scenario = Scenario.from_text(text)
    assert scenario.agreement == "raft"
    assert scenario.as_fields()["agreement"] == {
        "raft": {"election_timeout": "2s", "prevote": False}
    }
    scenario.to_file(tmp_path / "again.yaml")
    assert Scenario.from_file(tmp_path / "again.yaml") == scenario
    with Lab(scenario) as lab:
        lab.spawn()
        machine = lab.world.look(1, lambda node: node.machine(("session", "agreement")))
        assert machine.election == (2 * SECOND, 4 * SECOND)
        assert not machine.options.prevote
    assert scenario.but(agreement="pbft").as_fields()["agreement"] == "pbft"
    assert scenario.but(seed=3).agreement_options == scenario.agreement_options


def test_a_scenario_runs_where_nothing_else_of_the_lab_was_imported() -> None:
    code = "from mpclab.lab import Scenario; print(Scenario().but(mesh='ready').run().world)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("simulated\n", "")


@pytest.mark.parametrize("what", ["operations", "clients", "faults"])
def test_what_would_come_after_the_end_is_refused(what: str) -> None:
    """It would never come, and a check would pass all the same."""
    planned = {
        "operations": {"by": 1, "kind": "note", "text": "late"},
        "clients": {"client": 1, "by": 1, "kind": "read"},
        "faults": {"kind": "lie", "party": 1},
    }[what]
    in_time = {"until": "5s", what: [{**planned, "at": "4999ms"}]}
    Scenario.parse(in_time)
    with pytest.raises(UsageError, match=rf"{what}\[0\]\.at: 5s is not before the end of the run"):
        Scenario.parse({**in_time, what: [{**planned, "at": "5s"}]})
