"""Mistakes of every kind in every protocol of the house, and that its suite sees them.

`mutants.json` names some that are seen quickly, at least ten for each protocol; `make soak
ARGS="--mutants NAME"` makes all of them, and says which survive. When a protocol was rewritten so
that too few of the names are left, `python -m tools.choose_mutants NAME` chooses anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import soak
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.registry import AGREEMENTS
from mpclab.testing import conformance, kill, mutants
from mpclab.testing.house import HOUSE
from mpclab.testing.mutants import Mutant, modules_of
from tools.mutants_table import kinds_of, survivors

CHOSEN: dict[str, list[str]] = json.loads(Path(__file__).with_name("mutants.json").read_text())
ENOUGH = 10


@pytest.mark.parametrize("name", HOUSE)
def test_mistakes_are_seen(name: str) -> None:
    known = {mutant.key: mutant for mutant in mutants(AGREEMENTS[name])}
    found = [known[key] for key in CHOSEN[name] if key in known][:ENOUGH]
    assert len(found) >= ENOUGH, "choose anew: python -m tools.choose_mutants"
    survivors = [
        str(mutant)
        for mutant in found
        if not kill(conformance(mutant.build(), **HOUSE[name]), budget=3.0)
    ]
    assert not survivors


def test_a_mutant_is_a_copy_and_the_house_stays_as_it_is() -> None:
    before = dict(vars(Pbft))
    mutant = next(m for m in mutants(Pbft) if m.kind == "quorum")
    made = mutant.build()
    assert made is not Pbft
    assert made.__name__ == "Pbft"
    assert dict(vars(Pbft)) == before
    assert AGREEMENTS["pbft"] is Pbft


def test_the_modules_of_a_protocol_are_those_of_its_logic() -> None:
    found = [name.rpartition(".")[2] for name in modules_of(Pbft)]
    assert found[-1] == "pbft"
    assert "pbft_views" in found
    assert not {"agreement", "pbft_messages", "options"} & set(found)


def test_every_kind_of_mistake_is_made() -> None:
    kinds = {mutant.kind for name in HOUSE for mutant in mutants(AGREEMENTS[name])}
    assert kinds == {
        "quorum", "compare", "equal", "guard", "half", "persist", "order", "timer", "notes",
    }  # fmt: skip


def test_keys_name_mutants_without_their_lines() -> None:
    one: Mutant = next(iter(mutants(Pbft)))
    assert str(one.line) not in one.key.partition(":")[0]


@pytest.mark.parametrize("name", survivors())
def test_what_is_not_seen_has_a_reason(name: str) -> None:
    """Each stands in docs/mutants.md; a reason for what is no mistake any more is stale, and an
    edit of a line or two may leave some until it is measured anew."""
    known = {mutant.key for mutant in mutants(AGREEMENTS[name], kinds=kinds_of(name))}
    left = survivors()[name]["left"]
    stale = set(left) - known
    assert len(stale) <= 3, f"measure anew: python -m tools.mutants_table {name}"
    assert all(left.values())


def test_the_soak_says_what_survives_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = survivors()["2pc"]["left"]
    known = [mutant for mutant in mutants(AGREEMENTS["2pc"]) if mutant.key in left][:2]
    monkeypatch.setattr(soak, "mutants", lambda protocol: known)
    monkeypatch.setattr(soak, "kill", lambda suite, budget: "")
    assert soak.mutate("2pc") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "0 of 2 are seen" in told
    assert all(left[mutant.key].partition(",")[0] in told for mutant in known)
