"""The tests that hold PBFT and Raft to their papers fail for every wrong version in the lists."""

import pytest

from mpclab.consensus.registry import agreement
from mpclab.core.node import Node
from tests.consensus import test_pbft_paper, test_raft_paper, test_raft_reads, test_raft_voters
from tests.consensus.mutants import MODULES, Mutant, claims_of, is_killed, mutants_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests themselves run in strict mode; here it would find nothing more."""
    monkeypatch.setattr(Node, "strict", False)


CLAIMS = {
    "pbft": list(claims_of(test_pbft_paper)),
    "raft": [
        claim
        for module in (test_raft_paper, test_raft_reads, test_raft_voters)
        for claim in claims_of(module)
    ],
}
MUTANTS = [mutant for protocol in MODULES for mutant in mutants_of(protocol)]


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if not m.equivalent], ids=str)
def test_a_mutant_is_killed(mutant: Mutant) -> None:
    assert is_killed(mutant, CLAIMS[mutant.protocol])


@pytest.mark.parametrize("protocol", sorted(MODULES))
def test_what_is_not_mutated_passes(protocol: str) -> None:
    for claim in CLAIMS[protocol]:
        claim(agreement(protocol))
    same = Mutant(protocol, "the same", ())
    assert not is_killed(same, CLAIMS[protocol])


def test_the_lists_are_long_enough_and_name_each_once() -> None:
    for protocol in MODULES:
        names = [m.name for m in mutants_of(protocol)]
        assert len(set(names)) == len(names) >= 60
        assert sum(bool(m.equivalent) for m in mutants_of(protocol)) <= 5
