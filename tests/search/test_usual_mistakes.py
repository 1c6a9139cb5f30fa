"""The usual mistakes are found: half as a quorum, one's own value, a promise forgotten."""

from pathlib import Path
from typing import Any

import pytest

from mpclab import plugins
from mpclab.consensus.agreement import Agreement
from mpclab.consensus.registry import agreement
from mpclab.core import Ctx
from mpclab.lab import Scenario
from mpclab.search import explore, sweep, walk

EXAMPLE = Path(__file__).parents[2] / "examples" / "paxos_lab" / "paxos_lab" / "paxos.py"
RIVALS = {1: "a", 2: "a|1"}


@pytest.fixture(scope="module")
def paxos() -> type[Agreement]:
    plugins.load(str(EXAMPLE))
    return agreement("paxos")


def test_half_is_no_quorum(paxos: Any) -> None:
    class HalfPaxos(paxos):
        word = "half-paxos"

        def quorum(self, ctx: Ctx) -> int:
            return ctx.n // 2

    found = explore(HalfPaxos, parties=3, submits=RIVALS, reduce=False, fair=0).counterexample
    assert found is not None
    assert found.problem == "parties 1 and 2 end a differently"
    assert found.run.violated


def test_one_proposes_what_was_accepted(paxos: Any) -> None:
    class OwnValuePaxos(paxos):
        """Proposes what its user wants, whatever the promises say."""

        word = "own-value-paxos"

        def _propose(self, ctx: Ctx, op: str, it: Any) -> None:
            for p, (accepted, _) in it.promises.items():
                it.promises[p] = (accepted, it.stored.ours)
            super()._propose(ctx, op, it)

    found = walk(OwnValuePaxos, parties=3, submits=RIVALS, runs=3_000, depth=60).counterexample
    assert found is not None
    assert "end a differently" in found.problem
    assert found.run.violated


def test_a_promise_is_kept_through_a_crash(paxos: Any) -> None:
    class ForgetfulPaxos(paxos):
        """Stores nothing but its own wish."""

        word = "forgetful-paxos"

        def _store(self, ctx: Ctx, op: str, it: Any) -> None:
            if it.number == 0:
                return
            super()._store(ctx, op, it)

    found = walk(
        ForgetfulPaxos, parties=3, submits=RIVALS, crashes=1, runs=6_000, depth=60
    ).counterexample
    assert found is not None
    assert {step.what for step in found.steps} >= {"crash", "restart"}
    assert found.run.violated


def test_the_right_one_stands_the_same(paxos: Any) -> None:
    assert (
        walk(paxos, parties=3, submits=RIVALS, crashes=1, runs=100, depth=60).counterexample is None
    )
    found = explore(paxos, parties=3, submits=RIVALS, reduce=False, fair=0, budget=4_000)
    assert found.counterexample is None
    assert found.decided > 0


def test_a_lock_that_is_not_minded_is_found_by_a_sweep() -> None:
    """Two leaders collude; the moment at which the one who knows falls silent is swept over."""
    base = Scenario.parse(
        {
            "parties": 7, "mesh": "ready", "policy": "threshold(5)", "network": {"delay": "10ms"},
            "operations": [{"by": p, "kind": "note", "text": "a"} for p in (3, 4)],
            "faults": [
                {"kind": "attack", "name": "withheld-certificate", "party": 1},
                {"kind": "attack", "name": "withheld-certificate", "party": 2},
                {"kind": "hold", "from": [7], "at": "85ms", "for": "30s"},
            ],
            "agreement": "hotstuff", "checks": ["agreement", "total-order"], "until": "60s",
        }
    )  # fmt: skip
    moments = {
        "agreement": ["hotstuff", "wrong-hotstuff"],
        "faults.2.at": ["65ms", "85ms", "105ms"],
    }
    found = sweep(base, moments, seeds=[1], processes=0)
    rates = found.rates("agreement")
    assert rates["hotstuff"] == 0
    assert rates["wrong-hotstuff"] > 0
    failing = found.failing()
    assert failing is not None
    assert failing.run().violated
