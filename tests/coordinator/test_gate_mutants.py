"""Mistakes in the first gate, which is all there is in `direct`: each breaks a promise below.

Every number of parties off by one, everything stored forgotten, every guard of counting removed.
"""

import inspect
import textwrap
from typing import Any

import pytest

from mpclab.consensus.direct import Direct
from mpclab.coordinator.approval import Approval
from mpclab.coordinator.policy import Policy
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.core.node import Node
from mpclab.faults.network import Delay, Network
from mpclab.lab import Scenario
from mpclab.testing import Cluster, Sessions

MISTAKES: list[tuple[type, str, str, str]] = [
    (Policy, "judge", "approvals >= self.needed", "approvals >= self.needed - 1"),
    (Policy, "judge", "approvals >= self.needed", "approvals > self.needed"),
    (Policy, "stopped", "len(against) > self.n", "len(against) >= self.n"),
    (Policy, "stopped", "len(against) > self.n", "len(against) > 1 + self.n"),
    (Approval, "_take", "ctx.persist", "(lambda *_: None)"),
    (Approval, "vote_by_hand", "if o.mine is not None", "if False"),
    (Approval, "vote_by_hand", "if o.status is not Status.OPEN", "if False"),
    (Approval, "count", "if statements.contradict(earlier, vote)", "if False"),
    (Approval, "count", "earlier = o.tally.add", "earlier = None; o.tally.add"),
    (Approval, "count", "        self.weigh(ctx, o)", "        pass"),
    (Approval, "count", "elif o.signed is not None", "elif False"),
    (Approval, "hear", "self.consider(ctx, o)\n", "pass\n"),
    (Approval, "hear", "    self.weigh(ctx, o)\n", "    pass\n"),
    (Approval, "weigh", "(Status.OPEN, Status.EXPIRED)", "(Status.OPEN,)"),
    (Approval, "weigh", "is TallyResult.ENOUGH", "is not TallyResult.NOT_YET"),
    (Approval, "_weigh_withdrawals", "if not vote.approve or", "if vote.approve or"),
    (Approval, "compare", "if o.signed.proposal != signed.proposal", "if False"),
    (Direct, "on_ask", "op not in self.decided and ", ""),
    (Direct, "on_ask", " and self.fits(op, value)", " and not self.fits(op, value)"),
]  # fmt: skip


def mistake(owner: type, name: str, old: str, new: str) -> Any:
    """The method of `owner` with one change in its text."""
    method = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(method))
    assert source.count(old) == 1, f"{owner.__name__}.{name}: {source.count(old)} × {old!r}"
    made: dict[str, Any] = {}
    exec(source.replace(old, new), method.__globals__, made)
    return made[name]


# --- the promises ---------------------------------------------------------------------------------


def ends(s: Sessions, op: str, status: str) -> None:
    assert set(s.statuses(op).values()) == {status}, s.statuses(op)
    assert len(s.heads()) == 1
    assert s.blames() == []


def enough_approve_and_it_is_carried_out() -> None:
    for policy, votes in (("unanimous", {}), ("threshold(3)", {4: "reject"})):
        s = Sessions(4, policy=policy, votes=votes)  # type: ignore[arg-type]
        op = s.propose(2)
        s.run(1 * SECOND)
        ends(s, op, "executed")


def too_many_reject_and_it_is_aborted() -> None:
    for policy, n, votes in (
        ("unanimous", 4, {3: "reject"}),
        ("threshold(3)", 5, {1: "reject", 2: "reject", 3: "reject"}),
    ):
        s = Sessions(n, policy=policy, votes=votes)
        op = s.propose(n)
        s.run(5 * SECOND)  # at once, not when the time is over
        ends(s, op, "aborted")


def too_few_answer_and_it_expires_and_may_come_later() -> None:
    s = Sessions(5, policy="threshold(4)", votes={4: "silent", 5: "hand"})
    op = s.propose(1, deadline=1 * SECOND)
    s.run(500 * MS)
    assert set(s.statuses(op).values()) == {"open"}
    s.run(5 * SECOND)
    assert set(s.statuses(op).values()) == {"expired"}
    with pytest.raises(UsageError, match="too late to vote"):
        s.vote(5, op)


def a_vote_is_late_and_still_counts() -> None:
    s = Sessions(4, network=Network(Delay("constant", 700 * MS)))
    op = s.propose(1, deadline=1 * SECOND)
    s.run(1_200 * MS)
    assert s.statuses(op)[1] == "expired"
    s.run(300 * MS)  # the votes came after 1400 ms
    ends(s, op, "executed")


def by_hand_one_votes_once() -> None:
    s = Sessions(3, votes={2: "hand"})
    op = s.propose(1)
    s.run(1 * SECOND)
    assert set(s.statuses(op).values()) == {"open"}
    s.vote(2, op)
    with pytest.raises(UsageError, match="a vote is final"):
        s.vote(2, op, False)
    s.run(5 * SECOND)
    ends(s, op, "executed")
    assert len(s.notes("voted", op)) == 3


def a_vote_outlives_its_voter() -> None:
    s = Sessions(4)
    op = s.propose(1)
    s.run(12 * MS)
    s.world.crash(3)
    s._votes[3] = "reject"
    s.world.restart(3)
    s.run(30 * SECOND)
    ends(s, op, "executed")
    assert {r.note.approve for r in s.notes("voted", op)} == {True}  # type: ignore[union-attr]


def votes_come_before_what_they_are_on() -> None:
    for seed in range(12):
        network = Network(Delay("uniform", MS, 90 * MS), ordered=False)
        s = Sessions(4, policy="threshold(3)", votes={4: "silent"}, seed=seed, network=network)
        op = s.propose(1)
        s.run(1 * SECOND)
        ends(s, op, "executed")


def what_is_submitted_twice_is_decided_once() -> None:
    c = Cluster(Direct, 2)
    for _ in range(2):
        c.submit(1, "a")
    c.run(1_000)
    assert c.log(1) == ["a"]


def who_says_two_things_is_known_for_it() -> None:
    for kind, message in (("vote-twice", "SignedVote"), ("vote-twice", "SignedProposal")):
        run = Scenario.parse(
            {
                "parties": 4, "policy": "threshold(3)", "mesh": "ready", "agreement": "direct",
                "operations": [{"by": 1, "kind": "note", "text": "x"}], "checks": ["blame"],
                "faults": [{"at": "0ms", "kind": kind, "party": 1, "messages": [message]}],
            }
        ).run()  # fmt: skip
        assert str(run.verdicts[0]) == "✓ blame: only the guilty were blamed: party 1"


PROMISES = [
    enough_approve_and_it_is_carried_out, too_many_reject_and_it_is_aborted,
    too_few_answer_and_it_expires_and_may_come_later, a_vote_is_late_and_still_counts,
    by_hand_one_votes_once, a_vote_outlives_its_voter, votes_come_before_what_they_are_on,
    what_is_submitted_twice_is_decided_once, who_says_two_things_is_known_for_it,
]  # fmt: skip


def broken() -> str:
    """The first promise that is broken; "" for none."""
    for promise in PROMISES:
        try:
            promise()
        except (Exception, pytest.fail.Exception) as error:
            return f"{promise.__name__}: {error}"
    return ""


def test_the_gate_keeps_its_promises() -> None:
    for promise in PROMISES:
        promise()


@pytest.mark.parametrize(
    "mutant", MISTAKES, ids=[f"{o.__name__}.{n}: {old.strip()}" for o, n, old, _ in MISTAKES]
)
def test_a_mistake_breaks_one(
    mutant: tuple[type, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, *_ = mutant
    monkeypatch.setattr(owner, name, mistake(*mutant))
    monkeypatch.setattr(Node, "strict", False)
    assert broken()
