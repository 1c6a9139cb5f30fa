"""Storms of every protocol: a few of the many; `make soak` plays as many as one likes."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpclab.consensus.agreement import Decided, Refused
from mpclab.consensus.atomic import AtomicOutcome
from mpclab.consensus.benor import BenOrProposal, BenOrReport
from mpclab.consensus.bracha import BrachaEcho, BrachaReady
from mpclab.consensus.hotstuff import HotStuff
from mpclab.consensus.hotstuff_messages import HotStuffVote
from mpclab.consensus.paxos_messages import (
    PaxosAccept,
    PaxosAccepted,
    PaxosLead,
    PaxosPromise,
)
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.pbft_messages import (
    PbftCheckpoint,
    PbftCommit,
    PbftPrepare,
    PbftPrePrepare,
    PbftViewChange,
)
from mpclab.consensus.raft_messages import RaftHeartbeat, RaftRequestVote, RaftRequestVoteResponse
from mpclab.consensus.registry import AGREEMENTS
from mpclab.consensus.three_phase import ThreePhaseAck, ThreePhaseState
from mpclab.consensus.vr_messages import VrPrepare, VrPrepareOk, VrStartViewChange
from mpclab.consensus.wrong import (
    ForgetfulRaft,
    LongestLogVr,
    NoWayBackBullshark,
    OwnValuePaxos,
    Pbft2f,
)
from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message
from mpclab.testing.plans import Crash, Plan, Spell, Want, plan_of, read_plan, smaller
from mpclab.testing.promises import PROMISES, Broken, Statements
from mpclab.testing.storms import Storm, again, first_failure, shrunk, storm

OURS = (
    "2pc", "3pc", "ben-or", "bracha", "chained-hotstuff", "direct", "hotstuff", "pbft", "raft",
    "hotstuff-2", "tendermint", "streamlet", "bullshark", "dolev-strong", "paxos", "vr", "acs",
)  # fmt: skip
FEWER = {"acs": 4, "bullshark": 10}
"""Of those whose storms are of many messages: an epoch of four is 250."""


@pytest.mark.parametrize("name", OURS)
def test_many_short_runs_keep_every_promise(name: str) -> None:
    for seed in range(FEWER.get(name, 25)):
        assert storm(name, seed).problems == [], f"{name}, seed {seed}"


def test_every_protocol_of_the_registry_is_swept() -> None:
    assert set(OURS) <= set(AGREEMENTS)
    assert set(OURS) - {"direct"} <= set(PROMISES)


def test_the_plans_cover_what_they_are_for() -> None:
    plans = [plan_of("hotstuff", seed) for seed in range(120)]
    assert any(plan.liars and plan.crashes for plan in plans), "a liar beside a crash"
    assert any(plan.spells and plan.late for plan in plans)
    assert any(crash.after is not None for plan in plans for crash in plan.crashes), "torn steps"
    assert any(spell.period for plan in plans for spell in plan.spells), "flapping"
    assert any(want.version for plan in plans for want in plan.wants), "rival values"
    assert {plan.ordered for plan in plans} == {True, False}
    assert sum(storm("hotstuff", seed).lies for seed in range(10)) > 20


def test_a_storm_is_a_function_of_its_seed() -> None:
    first, other = storm("bracha", 5), storm("bracha", 5)
    assert (first.messages, first.decided, first.now) == (other.messages, other.decided, other.now)


class Frames(HotStuff):
    """Accuses whoever wants another view."""

    def take_wish(self, ctx: Ctx, sender: Party, view: int) -> None:
        super().take_wish(ctx, sender, view)
        ctx.blame(sender, "is impatient")


class Deaf(Pbft):
    """Never gives anything out."""

    def on_message(self, ctx, sender, msg):  # type: ignore[no-untyped-def]
        pass

    messages = Pbft._message_types()


class Clumsy(Pbft):
    """Its program fails on what a peer says."""

    def _on_request(self, ctx: Ctx, msg: Any) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("name", "protocol", "problem"),
    [
        ("hotstuff", Frames, "accuses"),
        ("pbft", Pbft2f, ""),
        ("raft", ForgetfulRaft, ""),
        ("paxos", OwnValuePaxos, "holds two operations"),
        ("vr", LongestLogVr, "holds two operations"),
        ("bullshark", NoWayBackBullshark, "holds two operations"),
        ("pbft", Deaf, "it did not end"),
        ("pbft", Clumsy, "fail"),
    ],
)
def test_wrong_protocols_are_caught(name: str, protocol: Any, problem: str) -> None:
    rare = {
        ForgetfulRaft: range(100, 120),
        OwnValuePaxos: range(119, 120),
        LongestLogVr: range(205, 206),
        NoWayBackBullshark: range(133, 134),
    }
    found = first_failure(name, rare.get(protocol, range(120)), protocol)
    assert found is not None
    assert problem in found[1]


# --- plans --------------------------------------------------------------------------------------

PLAN = Plan(
    "hotstuff", 1, 4, 5 * MS, wants=(Want(0, "op0", 1), Want(0, "op1", 2)),
    crashes=(Crash(10 * MS, 50 * MS, 2), Crash(0, 40 * MS, 3, 2)),
    spells=(Spell(0, 100 * MS, (1,), (2, 3, 4)), Spell(0, 90 * MS, (4,), (1,), 30 * MS, False)),
    late=0.1, rough=200 * MS,
)  # fmt: skip


def test_a_plan_of_ones_own_is_played_as_it_is(tmp_path: Path) -> None:
    PLAN.save(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == PLAN
    run = again(str(tmp_path / "plan.json"))
    assert run.problems == []
    assert all(set(held) == {"op0", "op1"} for held in run.decided.values())
    assert run.now > PLAN.healed >= 200 * MS


def test_smaller_plans_have_one_thing_less() -> None:
    less = smaller(PLAN)
    assert len(set(map(repr, less))) == len(less) == 10
    assert all(len(repr(plan)) <= len(repr(PLAN)) + 20 and plan != PLAN for plan in less)


def test_what_fails_is_shrunk_to_what_it_takes() -> None:
    seed, _ = first_failure("hotstuff", range(60), Frames) or (0, "")
    plan = plan_of("hotstuff", seed)
    small = shrunk(plan, Frames)
    assert Storm(small, protocol=Frames).play().problems
    assert len(msgspec.json.encode(small)) < len(msgspec.json.encode(plan))
    assert not any(Storm(p, protocol=Frames).play().problems for p in smaller(small))


# --- the judge ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ([(1, Decided("op0", b"op0|0", 0)), (1, Decided("op1", b"op1|0", 2))], "out of order"),
        ([(1, Decided("op0", b"op0|0", 0)), (2, Decided("op1", b"op1|0", 0))], "holds two"),
        ([(1, Decided("op0", b"op0|0", 0)), (1, Decided("op0", b"op0|0", 1))], "twice"),
        ([(1, Decided("op0", b"op0|0", 0)), (2, Decided("op0", b"op0|9", 0))], "in two ways"),
        ([(1, Decided("op0", b"op0|9", 0))], "invalid value"),
        ([(1, Decided("op0", b"op0|0", 0)), (2, Refused("op0", "no"))], "which was committed"),
    ],
)
def test_the_judge_knows_two_records(told: list[tuple[int, Any]], problem: str) -> None:
    run = Storm(PLAN)
    run.in_this_life = {1: set(), 2: set()}
    for party, value in told:
        run.told(party, value)
    run.judge()
    assert problem in " ".join(run.problems)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pbft", [(1, PbftPrepare(0, 1, b"x")), (1, PbftPrepare(0, 1, b"y"))]),
        ("pbft", [(1, PbftPrePrepare(0, 1, "a", b"")), (1, PbftPrePrepare(0, 1, "b", b""))]),
        ("pbft", [(1, PbftViewChange(1, 1, 0, (), (), ())), (1, PbftCommit(0, 1, b"x"))]),
        ("pbft", [(1, PbftCheckpoint(8, b"x")), (2, PbftCheckpoint(8, b"y"))]),
        ("raft", [(1, RaftHeartbeat(3, 0)), (2, RaftHeartbeat(3, 0))]),
        ("raft", [(1, RaftRequestVote(3, 0, 0, False)),
                  (1, RaftRequestVoteResponse(3, True, False))]),
        ("paxos", [(1, PaxosLead(9, 0)), (2, PaxosLead(9, 0))]),
        ("paxos", [(1, PaxosAccept(8, 1, ())), (1, PaxosAccept(8, 1, (("a", b"x"),)))]),
        ("paxos", [(1, PaxosPromise(9, 0, 0, ())), (1, PaxosAccepted(8, 0))]),
        ("vr", [(1, VrPrepare(0, 1, (), 0)), (1, VrPrepare(0, 1, (("a", b"x"),), 0))]),
        ("vr", [(1, VrStartViewChange(2)), (1, VrPrepareOk(1, 3))]),
        ("hotstuff", [(1, HotStuffVote("commit", 2, b"x", b"")),
                      (1, HotStuffVote("commit", 2, b"y", b""))]),
        ("bracha", [(1, BrachaEcho(2, "a", b"x")), (1, BrachaEcho(2, "a", b"y"))]),
        ("bracha", [(1, BrachaReady(2, "a", b"x")), (3, BrachaReady(2, "a", b"y"))]),
        ("ben-or", [(1, BenOrReport("a", 1, 0)), (1, BenOrReport("a", 1, 1))]),
        ("ben-or", [(1, BenOrProposal("a", 1, 0)), (2, BenOrProposal("a", 1, 1))]),
        ("2pc", [(1, AtomicOutcome("a", True, "", ())), (2, AtomicOutcome("a", False, "", ()))]),
        ("3pc", [(1, ThreePhaseAck("a")), (1, ThreePhaseState("a", "uncertain", False, ()))]),
    ],
)  # fmt: skip
def test_the_judge_knows_a_broken_promise(name: str, said: list[tuple[int, Message]]) -> None:
    heard = Statements(name)
    (one, first), (other, second) = said
    heard.said(one, (2,), first)
    heard.said(one, (2,), first)
    with pytest.raises(Broken):
        heard.said(other, (3,), second)
