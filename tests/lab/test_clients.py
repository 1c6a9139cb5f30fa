"""Clients outside the group: how their calls end, and that they are judged by what they saw."""

from pathlib import Path
from typing import Any

import pytest

from mpclab.core import UsageError, notes
from mpclab.lab import Lab, Run, Scenario
from mpclab.trace.calls import calls_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "leases" / "slow-clock.yaml"
TIMES = {"election_timeout": "300ms", "election_spread": "300ms", "heartbeat": "50ms"}


def played(agreement: Any, calls: list[dict[str, Any]], **fields: Any) -> Run:
    run: Run = Scenario.parse(
        {
            "parties": 5, "policy": "threshold(1)", "mesh": "ready", "agreement": agreement,
            "network": {"delay": "constant(10ms)"}, "checks": ["linearizability"],
            "clients": calls, "until": "20s", **fields,
        }
    ).run()  # fmt: skip
    return run


def ends(run: Run) -> list[tuple[int, str, int]]:
    """Of each call in the order of their ends: whose, how, and how many operations a read saw."""
    found = [row.note for row in run.trace.notes("returned")]
    return [(n.client, n.end, n.records) for n in found if isinstance(n, notes.Returned)]


def call(at: str, client: int, by: int, kind: str = "read", **more: Any) -> dict[str, Any]:
    return {"at": at, "client": client, "by": by, "kind": kind, **more}


def test_a_client_reads_what_was_written_wherever_it_asks() -> None:
    calls = [call("1s", 1, 2, "note", text="x"), *(call("1.5s", p, p) for p in range(1, 6))]
    run = played({"raft": TIMES}, calls)
    assert ends(run)[0] == (1, "ok", 0)
    assert sorted(ends(run)[1:]) == [(p, "ok", 1) for p in range(1, 6)]
    assert run.ok
    assert Scenario.from_text(run.scenario.to_text()) == run.scenario


def leader_of(run: Run) -> int:
    return run.trace.notes("became-leader")[-1].actor


def deposed(agreement: str, **options: Any) -> Run:
    """The leader is cut off from all others; a client writes there, and another reads at the old
    one, before that one knows."""
    chosen = {agreement: {**TIMES, **options}}
    first = leader_of(played(chosen, [call("1s", 1, 1)]))
    rest = [p for p in range(1, 6) if p != first]
    calls = [call("1s", 1, first, "note", text="before")]
    calls += [call("1.35s", 2, p, "note", text="after", timeout="3s") for p in rest]
    calls += [call(f"{1700 + 25 * k}ms", 3, first, timeout="5s") for k in range(20)]
    cut = {"at": "1.3s", "for": "3s", "kind": "partition", "groups": [[first], rest]}
    return played(chosen, calls, faults=[cut])


def test_a_leader_that_trusts_itself_shows_the_past_to_a_client() -> None:
    run = deposed("wrong-raft-read")
    assert run.violated
    [verdict] = run.verdicts
    assert "client 3 read at party" in verdict.sentence
    assert "did not see" in verdict.sentence
    assert len(verdict.witnesses) >= 3


@pytest.mark.parametrize("leases", [False, True])
def test_with_a_round_or_a_lease_it_does_not(leases: bool) -> None:
    run = deposed("raft", leases=leases)
    assert run.ok
    assert (2, "ok", 0) in ends(run)


@pytest.mark.parametrize(
    ("leases", "drift", "verdict", "answered"),
    [(True, -0.5, "violated", 5), (True, -0.08, "ok", 1), (False, -0.5, "ok", 0)],
)
def test_a_lease_holds_as_long_as_clocks_do(
    leases: bool, drift: float, verdict: str, answered: int
) -> None:
    """The example: the leader's clock is slow, and it is cut off."""
    fields = Scenario.from_file(EXAMPLE).as_fields()
    fields["agreement"]["raft"]["leases"] = leases
    skew, cut = fields["faults"]
    run: Run = Scenario.parse({**fields, "faults": [{**skew, "drift": drift}, cut]}).run()
    assert [str(v.verdict) for v in run.verdicts] == [verdict, "ok"]
    stale = [c for c in run.outcomes.calls if c.client == 3 and c.status == "ok"]
    assert [c.records for c in stale] == [1] * answered


def test_who_goes_down_leaves_its_client_without_an_answer() -> None:
    """And what it was asked may happen all the same."""
    calls = [call("1s", 1, 2, "note", text="x", timeout="500ms")]
    crash = {"at": "1015ms", "kind": "crash", "party": 2, "restart_after": "1s"}
    run = played({"raft": TIMES}, calls, faults=[crash])
    assert ends(run) == [(1, "unknown", 0)]
    assert run.ok


def test_what_is_aborted_has_failed_for_its_client() -> None:
    calls = [call("1s", 1, 2, "note", text="x", timeout="5s")]
    run = played({"raft": TIMES}, calls, policy="unanimous", votes={3: "reject"})
    assert ends(run) == [(1, "failed", 0)]


def test_a_protocol_that_cannot_tell_refuses_a_read() -> None:
    run = played("direct", [call("1s", 1, 2)])
    assert ends(run) == [(1, "failed", 0)]


def test_a_lab_may_be_called_by_hand_and_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"clients\[0\]: read has no 'text'"):
        Scenario.parse({"clients": [call("1s", 1, 2, text="x")]})
    with pytest.raises(UsageError, match=r"clients\[0\].by: 9 is not a party"):
        Scenario.parse({"clients": [call("1s", 1, 9)]})
    lab = Lab(parties=3, mesh="ready", agreement="raft")
    lab.spawn()
    with pytest.raises(UsageError, match="call: note: parameter 'text' is missing"):
        lab.call(1, by=2)
    assert str(lab.call(1, by=2, kind="read")) == "✓ " + "client 1 asks party 2: read"
    assert repr(lab.outcomes()) == "client 1 asks party 2: read: open"
    outcomes = lab.run()
    assert outcomes == ()
    assert repr(outcomes) == "client 1 asks party 2: read: ok, 0 operations"
    [read] = outcomes.calls
    assert read.returned_at_ms is not None
    assert read.returned_at_ms > read.invoked_at_ms


def test_calls_of_two_sessions_are_told_apart() -> None:
    lab = Lab(parties=3, mesh="ready", agreement="raft")
    lab.session("other", mesh="ready")
    other = lab.of("other")
    for one in (lab, other):
        one.spawn()
    lab.call(1, by=2, kind="note", text="w", timeout="10s")
    other.call(1, by=3, kind="note", text="x", timeout="10s")
    for one in (lab, other):
        one.run()
        assert [str(v.verdict) for v in one.check("linearizability")] == ["ok"]
    assert [(c.call, c.by, c.status) for c in lab.outcomes().calls] == [(1, 2, "ok")]
    assert [(c.call, c.by, c.status) for c in other.outcomes().calls] == [(1, 3, "ok")]
    assert [c.party for c in calls_of(other.trace)] == [3]


def test_clients_of_real_parties_are_answered_too() -> None:
    """They ask through the lab; what the parties say to each other goes over sockets."""
    with Lab(
        parties=3, world="websocket", policy="threshold(1)", agreement={"raft": TIMES},
    ) as lab:  # fmt: skip
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        lab.call(1, by=2, kind="note", text="x", timeout="20s")
        lab.run()
        for p in (1, 2, 3):
            lab.call(2, by=p, kind="read", timeout="20s")
        lab.run()
        lab.crash(3)
        lab.call(3, by=3, kind="read", timeout="50ms")
        calls = lab.run().calls
        assert [(c.client, c.by, c.status, c.records) for c in calls] == [
            (1, 2, "ok", 0), (2, 1, "ok", 1), (2, 2, "ok", 1), (2, 3, "ok", 1),
            (3, 3, "unknown", 0),
        ]  # fmt: skip
        assert [v.verdict for v in lab.check("linearizability")] == ["ok"]
