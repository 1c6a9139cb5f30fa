"""The suite that a newcomer's protocol inherits: the house passes it, and mutants do not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.registry import REGISTRIES
from mpclab.testing import Conformance, conformance, kill, mutants
from mpclab.testing.house import HOUSE
from mpclab.testing.sweep import duel

EXAMPLE = Path(__file__).parents[2] / "examples" / "paxos_lab"

TESTS = sorted(name for name in vars(Conformance) if name.startswith("test_"))
ELSEWHERE = ("everywhere", "one_history", "is_valid", "random", "middle", "of_another", "copied")
"""What `tests/consensus` asks of the house by itself."""


@pytest.mark.parametrize("test", [t for t in TESTS if not any(w in t for w in ELSEWHERE)])
@pytest.mark.parametrize("name", HOUSE)
def test_the_house_passes(name: str, test: str) -> None:
    suite = conformance(AGREEMENTS[name], seeds=range(2), **HOUSE[name])
    getattr(suite(), test)()


@pytest.fixture
def synod(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import paxos_lab

    yield paxos_lab.Synod
    for registry in REGISTRIES:
        for word in registry.added:
            registry.unregister(word)
    for name in [name for name in sys.modules if name.startswith("paxos_lab")]:
        del sys.modules[name]


def test_paxos_by_a_newcomer_passes(synod: Any) -> None:
    suite = conformance(synod, seeds=range(3))()
    for test in TESTS:
        getattr(suite, test)()


DUELLED = {
    "on_message: len(it.accepts) >= self.quorum(ctx) -1",
    "_propose: len(it.promises) < self.quorum(ctx) -1",
    "on_message: no if number < stored.promised",
    "_propose: no if len(it.promises) < self.quorum(ctx)",
    "on_message: without it.proposed is None",
    "on_message: no self._store(ctx, op, it)",  # of a promise, and of what was accepted
}


def test_rivals_show_what_paxos_must_store_count_and_refuse(synod: Any) -> None:
    wrong = [m for m in mutants(synod) if m.what in DUELLED]
    assert len(wrong) == len(DUELLED) + 1
    for mutant in wrong:
        made = mutant.build()
        assert any(duel(made, seed) for seed in range(450)), mutant


def test_a_vote_that_is_not_stored_is_seen_in_two_phase_commit() -> None:
    forgetful = [m for m in mutants(AGREEMENTS["2pc"], kinds=("persist",)) if "_vote" in m.what]
    yes, no = (m.build() for m in forgetful)
    assert any(duel(yes, seed, rivals=False) for seed in range(40))
    # Nobody commits without the vote that said no: that it is forgotten harms nobody.
    assert not any(duel(no, seed, rivals=False) for seed in range(40))


def test_the_mistakes_of_newcomers_are_found(synod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own value instead of the accepted one, quorums of a half, and no note at all."""
    found = {m.what: m for m in mutants(synod)}
    half = found["quorum: ctx.n // 2 + 1 without + 1"]
    with pytest.raises(AssertionError):
        conformance(half.build())().test_two_halves_never_decide_apart()
    silent = found["none at all"]
    assert "test_it_notes" in kill(conformance(silent.build()))

    def selfish(self: Any, ctx: Any, op: str, it: Any) -> None:
        if len(it.promises) >= self.quorum(ctx):
            it.promises = dict.fromkeys(it.promises, (0, b""))
            honest(self, ctx, op, it)

    honest = synod._propose
    monkeypatch.setattr(synod, "_propose", selfish)
    with pytest.raises(AssertionError):
        conformance(synod)().test_one_that_decided_and_was_cut_off_agrees_with_the_rest()
