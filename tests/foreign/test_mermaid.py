"""Mermaid's own parser reads from an export what happened."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mpclab.lab import Scenario, play
from mpclab.trace.flights import flights
from mpclab.view.exports import mermaid
from tests.foreign.node import NODE


def parsed(packages: Path, text: str) -> Any:
    done = subprocess.run(
        [str(NODE), "mermaid.mjs"],
        cwd=packages,
        input=text.encode(),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_mermaid_reads_every_message_and_every_note(packages: Path) -> None:
    scenario = Scenario().but(
        parties=4, agreement="pbft", network={"loss": 0.1}, seed=4,
        operations=[{"at": "0ms", "by": 1, "kind": "note", "text": "end; %% #35; <b> -->> loop"}],
        votes={3: "reject"},
    )  # fmt: skip
    trace = play(scenario).trace
    told = parsed(packages, mermaid(trace))
    names = {f"P{p}": f"party {p}" if p else "server" for p in range(5)}
    assert told["actors"] == names
    said = [one for one in told["messages"] if one["to"] != one["from"]]
    found = flights(trace, background=False)
    assert sorted(one["message"].removesuffix(" (lost)") for one in said) == sorted(
        flight.kind for flight in found
    )
    assert {(one["from"], one["to"]) for one in said} == {
        (f"P{flight.sender}", f"P{flight.receiver}") for flight in found
    }
    lost = [one for one in said if one["message"].endswith(" (lost)")]
    assert len(lost) == sum(flight.fate == "dropped" for flight in found) > 0
    notes = [one["message"] for one in told["messages"] if one["to"] == one["from"]]
    assert any(note.startswith("aborted") for note in notes)
    with pytest.raises(AssertionError, match="Parse error on line 2"):
        parsed(packages, "sequenceDiagram\nP1-wrong-P2: hi\n")
