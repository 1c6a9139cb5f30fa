"""The usual mistakes are found: half as a quorum, one's own value, a promise forgotten."""

from pathlib import Path
from typing import Any

import pytest

from mpclab import plugins
from mpclab.consensus.agreement import Agreement
from mpclab.consensus.registry import agreement
from mpclab.core import Ctx, UsageError
from mpclab.lab import Scenario
from mpclab.search import explore, sweep, walk

EXAMPLE = Path(__file__).parents[2] / "examples" / "paxos_lab" / "paxos_lab" / "synod.py"
RIVALS = {1: "a", 2: "a|1"}


@pytest.fixture(scope="module")
def synod() -> type[Agreement]:
    plugins.load(str(EXAMPLE))
    return agreement("synod")


def test_half_is_no_quorum(synod: Any) -> None:
    class HalfSynod(synod):
        word = "half-synod"

        def quorum(self, ctx: Ctx) -> int:
            return ctx.n // 2

    found = explore(HalfSynod, parties=3, submits=RIVALS, reduce=False, fair=0).counterexample
    assert found is not None
    assert found.problem == "parties 1 and 2 end a differently"
    assert found.run.violated


def test_one_proposes_what_was_accepted(synod: Any) -> None:
    class OwnValueSynod(synod):
        """Proposes what its user wants, whatever the promises say."""

        word = "own-value-synod"

        def _propose(self, ctx: Ctx, op: str, it: Any) -> None:
            for p, (accepted, _) in it.promises.items():
                it.promises[p] = (accepted, it.stored.ours)
            super()._propose(ctx, op, it)

    found = walk(OwnValueSynod, parties=3, submits=RIVALS, runs=3_000, depth=60).counterexample
    assert found is not None
    assert "end a differently" in found.problem
    assert found.run.violated


def test_a_promise_is_kept_through_a_crash(synod: Any) -> None:
    class ForgetfulSynod(synod):
        """Stores nothing but its own wish."""

        word = "forgetful-synod"

        def _store(self, ctx: Ctx, op: str, it: Any) -> None:
            if it.number == 0:
                return
            super()._store(ctx, op, it)

    found = walk(
        ForgetfulSynod, parties=3, submits=RIVALS, crashes=1, runs=6_000, depth=60
    ).counterexample
    assert found is not None
    assert {step.what for step in found.steps} >= {"crash", "restart"}
    assert found.run.violated


def test_the_right_one_stands_the_same(synod: Any) -> None:
    assert (
        walk(synod, parties=3, submits=RIVALS, crashes=1, runs=100, depth=60).counterexample is None
    )
    found = explore(synod, parties=3, submits=RIVALS, reduce=False, fair=0, budget=4_000)
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


# Ongaro and Ousterhout, Fig. 8, with three servers: each line is one step, as in the paper's (a) to
# (d), up to the moment in which party 3 leads term 4 and is about to write over `a`.
FIGURE_8 = """
timer election of party 1
party 2 gets RaftRequestVote(term=1
party 1 gets RaftRequestVoteResponse(term=1
party 3 gets RaftRequestVote(term=1
party 1 submits a
party 1 crashes
timer election of party 3
party 2 gets RaftRequestVote(term=2
party 3 gets RaftRequestVoteResponse(term=2
party 3 submits b
party 3 crashes
party 1 comes back
timer election of party 1
timer election of party 1
party 2 gets RaftRequestVote(term=3
party 1 gets RaftRequestVoteResponse(term=3
party 2 gets RaftAppendEntries(term=3, prev=2
party 1 gets RaftAppendEntriesResponse(term=3
party 2 gets RaftAppendEntries(term=3, prev=0
party 1 gets RaftAppendEntriesResponse(term=3
party 2 gets RaftAppendEntries(term=3, prev=1
party 1 gets RaftAppendEntriesResponse(term=3
party 3 comes back
timer election of party 3
timer election of party 3
party 2 gets RaftRequestVote(term=4
party 3 gets RaftRequestVoteResponse(term=4
""".strip().splitlines()


def test_a_commit_of_an_earlier_term_is_found_from_figure_8_on() -> None:
    bounds = {"timers": 6, "crashes": 2, "prevote": False, "batch": 1, "reduce": False, "fair": 0}
    told = {"parties": 3, "submits": {1: "a", 3: "b"}, "after": FIGURE_8, "depth": 3, **bounds}
    wrong = explore("wrong-raft-commit", **told).counterexample
    assert wrong is not None
    assert "overwrote a decided entry" in wrong.problem
    assert wrong.scenario.run().violated
    right = explore("raft", **told)
    assert right.counterexample is None
    assert right.stopped == "runs of 3 events"
    with pytest.raises(UsageError, match="no step is called 'party 2 flies'; there are: party"):
        explore("raft", **{**told, "after": ["party 2 flies"]})
