"""One outcome for the user: what is aborted stays aborted, and who can know learns how it ended.

Random faults that all heal, over every protocol; judged from the trace and from what the sessions
hold, without the checks.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.lab import Lab, Scenario, play
from mpclab.trace.rows import Delivered, Dropped, Sent

PARTIES = 4
SEEDS = 6
LATER = 30
"""Seconds that time goes on after the run is over."""


def drawn(agreement: str, seed: int) -> Scenario:
    """Proposals, votes that hesitate, and faults that begin and end within ten seconds."""
    coins = random.Random(f"{agreement} {seed}")
    everybody = range(1, PARTIES + 1)
    operations = [
        {
            "at": f"{coins.randrange(6000)}ms", "by": coins.choice(everybody), "kind": "note",
            "text": f"number {k}",
        }
        for k in range(5)
    ]  # fmt: skip

    def fault() -> dict[str, Any]:
        begin, lasts = coins.randrange(5000), coins.randrange(200, 5000)
        party = coins.choice(everybody)
        when = {"at": f"{begin}ms", "for": f"{lasts}ms"}
        match coins.choice(("cut", "pause", "late", "lost", "crash", "held")):
            case "cut":
                return {**when, "kind": "partition", "isolated": party}
            case "pause":
                return {**when, "kind": "pause", "party": party}
            case "late":
                return {**when, "kind": "delay", "from": [party], "delay": "exponential(900ms)"}
            case "lost":
                return {**when, "kind": "loss", "rate": coins.choice((0.2, 0.5))}
            case "held":
                return {**when, "kind": "hold", "from": [party]}
        return {
            "at": f"{begin}ms", "kind": "crash", "party": party, "restart_after": f"{lasts}ms"
        }  # fmt: skip

    votes = coins.choice(({}, {}, {3: "reject"}, {2: "silent"}))
    fields = {
        "parties": PARTIES,
        "agreement": agreement,
        "policy": coins.choice(("unanimous", "threshold(3)")),
        "mesh": "ready",
        "patience": coins.choice(("1s", "3s")),
        "votes": votes,
        "network": {"delay": "uniform(5ms, 60ms)", "ordered": coins.random() < 0.5},
        "operations": operations,
        "faults": [fault() for _ in range(3)],
        "until": "120s",
        "seed": seed,
    }
    return Scenario.parse(fields)


def ends(lab: Lab) -> dict[str, set[str]]:
    """By operation: how it stands at the parties, which are all up and connected by now."""
    found: dict[str, set[str]] = {}
    for party in lab.parties:
        for one in lab.group.session_of(party).operations:
            found.setdefault(one.op, set()).add(
                "committed" if one.status in ("executed", "failed") else one.status
            )
    return found


def on_their_way(lab: Lab) -> set[tuple[int, int, int]]:
    """(sender, number, receiver) of messages that neither came nor were lost."""
    sent = {
        (row.actor, row.id, to) for row in lab.trace.of(Sent) if not row.background for to in row.to
    }
    gone = {(row.sender, row.id, row.actor) for row in lab.trace.of(Delivered)}
    return sent - gone - {(row.sender, row.id, row.actor) for row in lab.trace.of(Dropped)}


class Kept(Lab):
    """Stays open after its run."""

    def close(self) -> Any:
        return None


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_every_operation_has_one_end_and_all_know_it(
    agreement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpclab.lab.run.Lab", Kept)
    for seed in range(SEEDS):
        check(drawn(agreement, seed))


def check(scenario: Scenario) -> None:
    labs: list[Lab] = []
    play(scenario, watch=labs.append)
    [lab] = labs
    said = {
        word: {row.note.op for row in lab.trace.notes(word)} for word in ("committed", "aborted")
    }
    where = f"{scenario.agreement}, seed {scenario.seed}"
    assert not said["committed"] & said["aborted"], f"two ends: {where}"
    outcomes = lab.outcomes()
    for op, words in ends(lab).items():
        assert len(words) == 1, f"{op} is {words} at the end: {where}"
    heads = {lab.group.session_of(party).head for party in lab.parties}
    assert len(heads) == 1, f"{len(heads)} histories: {where}"
    assert not on_their_way(lab), f"messages are on their way: {where}"
    lab.wait(LATER)
    assert lab.outcomes() == outcomes, f"it was not over: {where}"


@pytest.mark.parametrize("agreement", ["raft", "pbft", "ben-or"])
def test_a_run_waits_for_messages_on_their_way(agreement: str) -> None:
    """All is settled long before what party 4 said early arrives."""
    labs: list[Lab] = []
    scenario = Scenario.parse(
        {
            "agreement": agreement, "policy": "threshold(3)", "mesh": "ready",
            "network": {"delay": "10ms", "ordered": False},
            "operations": [{"at": "0ms", "by": 1, "kind": "note", "text": "x"}],
            "faults": [
                {"at": "0ms", "for": "100ms", "kind": "delay", "from": [4], "delay": "7s"}
            ],
            "until": "60s", "seed": 2,
        }
    )  # fmt: skip
    run = play(scenario, watch=labs.append)
    assert [outcome.status for outcome in run.outcomes] == ["committed"]
    assert not on_their_way(labs[0])
    assert 7_000_000 < labs[0].now - run.ready_at < 60_000_000


@pytest.mark.parametrize("agreement", ["raft", "pbft", "chained-hotstuff"])
def test_whoever_was_down_catches_up_at_a_bounded_cost(agreement: str) -> None:
    """What it hears first comes after a gap, again and again: that is no news to ask after."""
    for seed in (1, 2):
        scenario = Scenario.parse(
            {
                "agreement": agreement, "policy": "threshold(3)",
                "network": {"delay": "normal(100ms, 40ms)", "ordered": False},
                "operations": [
                    {"at": f"{400 * k}ms", "by": 2 + k % 3, "kind": "note", "text": f"{k}"}
                    for k in range(24)
                ],
                "faults": [
                    {"at": "1s", "kind": "crash", "party": 1, "restart_after": "20s"},
                    {"at": "0ms", "for": "30s", "kind": "delay", "from": [2],
                     "delay": "exponential(900ms)"},
                ],
                "until": "200s", "seed": seed,
            }
        )  # fmt: skip
        run = play(scenario)
        assert {outcome.status for outcome in run.outcomes} == {"committed"}
        kinds = run.messages["background"]["by_kind"]
        assert kinds.get("DecidedIds", {"sent": 0})["sent"] < 60, (seed, kinds)


BEAR = [name for name in AGREEMENTS if AGREEMENTS[name].liars(4)]


@pytest.mark.parametrize("agreement", BEAR)
@pytest.mark.parametrize("policy", ["unanimous", "threshold(3)"])
def test_a_voter_that_says_both_yes_and_no_splits_nobody(agreement: str, policy: str) -> None:
    """Its vote is the one that counts: who hears its yes has a certificate of approval, who hears
    its no one of abort, and both go to the protocol."""
    words: set[str] = set()
    for seed in range(16):
        delay = {"at": "0ms", "for": "3s", "kind": "delay", "from": [1 + seed % 3]}
        scenario = Scenario.parse(
            {
                "agreement": agreement, "policy": policy, "mesh": "ready", "patience": "2s",
                "votes": {} if policy == "unanimous" else {2: "reject"},
                "network": {"delay": "uniform(5ms, 80ms)", "ordered": False},
                "operations": [{"at": "0ms", "by": 1 + seed % 3, "kind": "note", "text": "x"}],
                "faults": [
                    {"at": "0ms", "kind": "equivocate", "party": 4,
                     "to": [1 + seed // 3 % 3], "messages": ["SignedVote", "ProposalState"]},
                    {**delay, "delay": "300ms", "messages": ["SignedVote"]},
                ],
                "until": "60s", "seed": seed,
            }
        )  # fmt: skip
        run = play(scenario)
        assert not run.violated, run
        assert all(v.verdict == "ok" for v in run.verdicts), run
        words |= {o.status for o in run.outcomes}
    assert words <= {"committed", "aborted", "undecided"}
    assert len(words) > 1, words


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_whoever_was_cut_off_hears_also_of_what_came_to_nothing(agreement: str) -> None:
    """The others gave it up while party 4 was away: it says so too, and calls nothing to life."""
    scenario = Scenario.parse(
        {
            "agreement": agreement, "policy": "unanimous", "mesh": "ready", "patience": "1s",
            "network": {"delay": "uniform(5ms, 40ms)"},
            "operations": [{"at": "0ms", "by": 1, "kind": "note", "text": "x"}],
            "faults": [{"at": "0ms", "for": "4s", "kind": "partition", "isolated": 4}],
            "until": "60s", "seed": 1,
        }
    )  # fmt: skip
    run = play(scenario)
    [outcome] = run.outcomes
    words = {held.status for held in outcome.parties.values()}
    assert len(words) == 1, words
    assert words <= {"expired", "aborted", "executed"}
    if agreement in ("direct", "bracha"):
        assert words == {"expired"}
        assert "had expired at" in outcome.parties[4].reason
    assert run.ok or {v.verdict for v in run.verdicts} == {"ok", "unknown"}


@pytest.mark.parametrize("agreement", ["2pc", "3pc", "raft", "direct"])
def test_a_proposer_that_dies_before_it_has_said_a_word_keeps_no_run_going(
    agreement: str,
) -> None:
    scenario = Scenario.parse(
        {
            "agreement": agreement, "mesh": "ready", "patience": "1s",
            "operations": [{"at": "1s", "by": 1, "kind": "note", "text": "x"}],
            "faults": [
                {"at": "999ms", "kind": "crash", "party": 1, "restart_after": "1s", "torn": True}
            ],
            "until": "3600s", "seed": 1,
        }
    )  # fmt: skip
    for seed in range(8):
        labs: list[Lab] = []
        run = play(dataclasses.replace(scenario, seed=seed), watch=labs.append)
        assert labs[0].now - run.ready_at < 200_000_000
