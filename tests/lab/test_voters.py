"""Who votes in Raft, changed by an operation of the session."""

from typing import Any

import pytest

from mpclab.core import UsageError, notes
from mpclab.lab import Lab, Run, Scenario


def played(**fields: Any) -> Run:
    run: Run = Scenario.parse(
        {
            "parties": 5, "policy": "threshold(1)", "mesh": "ready", "agreement": "raft",
            "network": {"delay": "constant(10ms)"}, "until": "30s", **fields,
        }
    ).run()  # fmt: skip
    return run


def proposal(at: str, by: int, kind: str, **params: Any) -> dict[str, Any]:
    return {"at": at, "by": by, "kind": kind, **params}


def outage(*parties: int) -> list[dict[str, Any]]:
    return [{"at": "8s", "kind": "crash", "party": p} for p in parties]


@pytest.mark.parametrize("voters", [[1, 2], []])
def test_fewer_voters_need_fewer_who_are_up(voters: list[int]) -> None:
    """Of three that go down none votes any more, or all did."""
    ops = [proposal("5s", 4, "voters", parties=voters), proposal("9s", 1, "note", text="late")]
    run = played(operations=ops, faults=outage(3, 4, 5), until="20s")
    change, late = run.outcomes
    assert change.status == "committed"
    assert change.result == f"who votes: {', '.join(map(str, voters or range(1, 6)))}"
    assert late.status == ("committed" if voters else "undecided")
    told = {r.actor: r.note for r in run.trace.notes("voters-changed")}
    if voters:
        assert told == dict.fromkeys(range(1, 6), notes.VotersChanged((1, 2)))


def test_who_does_not_vote_is_shown_as_such_also_after_a_crash() -> None:
    lab = Lab(parties=4, policy="threshold(1)", mesh="ready", agreement="raft")
    lab.spawn()
    lab.wait(3)
    lab.propose(2, "voters", parties=[2, 3, 4])
    lab.run()
    lab.wait(1)  # it is committed with the old ones and the new ones; then come the new ones alone
    assert {p: (one.votes, one.voters) for p, one in lab.state.parties.items()} == {
        p: (p != 1, (2, 3, 4)) for p in range(1, 5)
    }
    lab.crash(1)
    assert lab.state.parties[1].votes
    lab.restart(1)
    lab.wait(5)
    assert not lab.state.parties[1].votes
    lab.propose(1, "voters")
    lab.run()
    lab.wait(1)
    assert all(one.votes for one in lab.state.parties.values())


def test_where_nobody_can_be_chosen_it_is_refused() -> None:
    ops = [proposal("0s", 1, "voters", parties=[1])]
    with pytest.raises(UsageError, match=r"operations\[0\]: voters: PBFT has no voters that can"):
        Scenario.parse({"agreement": "pbft", "operations": ops})
    lab = Lab(parties=3, mesh="ready")
    lab.spawn()
    with pytest.raises(UsageError, match="has no voters that can be changed: all members vote"):
        lab.propose(1, "voters", parties=[1])
    lab = Lab(parties=3, mesh="ready", agreement="raft")
    lab.spawn()
    for wrong in ([4], [1, 1]):
        with pytest.raises(UsageError, match="voters: name members of this session, 1 to 3"):
            lab.propose(1, "voters", parties=wrong)
