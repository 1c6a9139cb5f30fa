"""A liar is known by what its fault is, and by what it did: not by a list of words."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mpclab.check import CHECKS, Facts
from mpclab.core.effects import Words
from mpclab.faults.byzantine import ByzantineFault
from mpclab.faults.fault import AdversaryContext
from mpclab.faults.plan import KINDS
from mpclab.lab import Run, Scenario
from mpclab.trace import Fault, Lied, Sent


@dataclass(frozen=True, kw_only=True)
class Quiet(ByzantineFault):
    """A party says nothing, as the built-in `silent`; written by a user."""

    kind = "quiet"

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        return []


def play(kind: str, agreement: str = "pbft", **fields: Any) -> Run:
    return Scenario.parse(
        {
            "parties": 4, "threshold": 3, "policy": "threshold(3)", "agreement": agreement,
            "mesh": "ready", "seed": 5, "until": "20s", "checks": list(CHECKS),
            "operations": [{"at": "10ms", "by": 1, "kind": "note", "text": "hello"}],
            "faults": [{"at": "0ms", "kind": kind, "party": 4, **fields}],
        }
    ).run()  # fmt: skip


KINDS.unregister("quiet")  # known to these tests alone


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    KINDS.register(Quiet)
    yield
    KINDS.unregister("quiet")


@pytest.mark.parametrize("agreement", ["direct", "pbft"])
def test_a_users_own_liar_is_judged_as_the_built_in_one(agreement: str) -> None:
    own, built_in = (play(kind, agreement) for kind in ("quiet", "silent"))
    told = [[(v.check, v.verdict, v.sentence) for v in run.verdicts] for run in (own, built_in)]
    assert told[0] == told[1]
    agreed = {check: sentence for check, _, sentence in told[0]}["agreement"]
    assert agreed == "parties 1, 2 and 3 decided alike on 1 operation"
    assert "although some parties lied" in str(own.verdicts)


def test_what_was_kept_back_is_in_the_trace_by_number_and_receiver() -> None:
    run = play("quiet", messages=["SignedVote"])
    [lie] = [row for row in run.trace.of(Lied) if row.kind == "SignedVote"]
    assert (lie.actor, lie.path, lie.to, lie.said) == (4, ("session",), (1, 2, 3), ())
    assert not [row for row in run.trace.of(Sent) if (row.actor, row.id) == (4, lie.id)]


def test_what_was_said_instead_is_in_the_trace_by_number() -> None:
    run = play("equivocate", messages=["SignedVote"])
    lie = next(row for row in run.trace.of(Lied) if row.said)
    [other] = [row for row in run.trace.of(Sent) if row.actor == 4 and row.id in lie.said]
    [honest] = [row for row in run.trace.of(Sent) if (row.actor, row.id) == (4, lie.id)]
    assert (other.to, honest.kind) == (lie.to, "SignedVote")
    assert not set(honest.to) & set(lie.to)


def test_a_lie_that_was_never_told_proves_nothing() -> None:
    run = play("lie", messages=["PbftNewView"])
    assert not list(run.trace.of(Lied))
    agreement = next(v for v in run.verdicts if v.check == "agreement")
    assert agreement.verdict == "unknown"
    assert agreement.sentence.startswith("the lie was never told (party 4 says the contrary")


def test_a_fault_that_names_kinds_and_meets_none_proves_nothing() -> None:
    """Also where the same party tells another lie, and where it is links that fail."""
    lie: dict[str, Any] = {"at": "0ms", "kind": "lie", "party": 4}
    loss: dict[str, Any] = {"at": "0ms", "kind": "loss", "rate": 0.1}
    scenario = play("lie").scenario
    for idle in (lie, loss):
        for acting in (lie, {**loss, "from": [4]}):
            faults = [{**idle, "messages": ["PbftNewView"]}, {**acting, "messages": ["SignedVote"]}]
            run = scenario.but(faults=faults).run()
            agreement = next(v for v in run.verdicts if v.check == "agreement")
            assert agreement.verdict == "unknown"
            assert "(only PbftNewView)" in agreement.sentence


def test_the_faults_class_says_what_becomes_of_the_party() -> None:
    def lives(kind: str, **fields: Any) -> list[tuple[str, str, bool]]:
        rows = play(kind, **{"for": "1s", **fields}).trace.of(Fault)
        return [(r.phase, r.life, r.byzantine) for r in rows if r.index >= 0]

    assert lives("crash") == [("begin", "crashed", False), ("end", "up", False)]
    assert lives("pause") == [("begin", "paused", False), ("end", "up", False)]
    assert lives("slow", step="1ms") == [("begin", "up", False), ("end", "up", False)]
    assert lives("silent") == [("begin", "up", True), ("end", "up", True)]


def test_a_filter_that_changes_what_a_party_does_is_a_lie_too() -> None:
    def mute(effects: list[Any], adversary: AdversaryContext) -> list[Any]:
        return [e for e in effects if type(e).__name__ != "Send" or e.frame.kind != "SignedVote"]

    run = play("filter", filter=mute)
    assert {row.kind for row in run.trace.of(Lied)} == {"SignedVote"}
    assert Facts.of(run.trace, n=4).faulty == {4}
