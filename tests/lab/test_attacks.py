"""Known attacks: the right protocol survives each, and a named wrong one does not."""

from __future__ import annotations

from typing import Any

import pytest

from mpclab.core.errors import UsageError
from mpclab.lab import Run, Scenario
from mpclab.trace import rows

NOTE = {"kind": "note", "text": "x"}


def play(agreement: str, faults: list[dict[str, Any]], **fields: Any) -> Run:
    given: dict[str, Any] = {
        "parties": 4,
        "policy": "threshold(3)",
        "agreement": agreement,
        "mesh": "ready",
        "network": {"delay": "10ms"},
        "faults": [{"at": "0ms", **fault} for fault in faults],
        "operations": [{"at": "0ms", "by": 3, **NOTE}, {"at": "1s", "by": 4, **NOTE}],
        "checks": ["agreement", "total-order", "validity", "integrity", "blame", "termination"],
        "patience": "5s",
        "until": "120s",
        "seed": 1,
    }
    return Scenario.parse({**given, **fields}).run()


def broken(run: Run) -> set[str]:
    assert list(run.trace.of(rows.Lied)), "the liars acted"
    return {v.check for v in run.verdicts if v.verdict == "violated"}


# --- withheld certificates ---------------------------------------------------------------------


def withheld(agreement: str) -> Run:
    """Leaders 1 and 2 collude. Party 7 alone learns of the decision, and is not heard for long."""
    return play(
        agreement,
        [
            {"kind": "attack", "name": "withheld-certificate", "party": 1},
            {"kind": "attack", "name": "withheld-certificate", "party": 2},
            {"kind": "hold", "from": [7], "at": "85ms", "for": "30s"},
        ],
        parties=7,
        policy="threshold(5)",
        operations=[{"at": "0ms", "by": 3, **NOTE}, {"at": "0ms", "by": 4, **NOTE}],
    )


def test_locks_hold_against_a_withheld_certificate() -> None:
    run = withheld("hotstuff")
    assert broken(run) == set()
    assert {o.status for o in run.outcomes} == {"committed"}


def test_without_locks_two_colluding_leaders_split_the_honest() -> None:
    assert broken(withheld("wrong-hotstuff")) & {"agreement", "total-order"}


# --- equivocation, said often ------------------------------------------------------------------

EQUIVOCATE = {"kind": "equivocate", "party": 1, "to": [2]}
OWN = {"operations": [{"at": "0ms", "by": 1, **NOTE}], "policy": "threshold(2)"}


@pytest.mark.parametrize(
    "often",
    [
        {"kind": "duplicate", "from": [1], "copies": 4},
        {"kind": "flood", "party": 1, "for": "2s", "copies": 6},
    ],
    ids=["doubled", "a long silence, then a flood"],
)
def test_one_liar_is_one_party_however_often_it_speaks(often: dict[str, Any]) -> None:
    often = {**often, "messages": ["BrachaEcho", "BrachaReady"]}
    assert broken(play("bracha", [EQUIVOCATE, often], **OWN)) == set()
    assert "agreement" in broken(play("wrong-bracha", [EQUIVOCATE, often], **OWN))


@pytest.mark.parametrize("agreement", ["pbft", "hotstuff", "chained-hotstuff", "bracha"])
def test_a_flood_after_a_long_silence_stops_nothing(agreement: str) -> None:
    run = play(agreement, [{"kind": "flood", "party": 4, "for": "10s", "copies": 50}])
    assert broken(run) == set()
    assert next(o for o in run.outcomes if o.by == 3).status == "committed"


# --- at the worst moment -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "agreement", ["pbft", "hotstuff", "chained-hotstuff", "hotstuff-2", "tendermint", "bracha"]
)
def test_an_adaptive_liar_strikes_while_an_honest_party_is_down(agreement: str) -> None:
    """More than f are then of no use: nothing need end, and nothing may break; when the party is
    back everything ends."""
    run = play(
        agreement,
        [
            {"kind": "adaptive", "party": 4},
            {"kind": "crash", "party": 2, "at": "900ms", "restart_after": "8s"},
        ],
        operations=[{"at": f"{t}ms", "by": by, **NOTE} for t, by in ((0, 3), (2500, 1), (5000, 3))],
        policy="threshold(2)",
    )
    assert broken(run) == set()
    assert {o.status for o in run.outcomes if o.by == 3} == {"committed"}


@pytest.mark.parametrize("moment", ["short", "certificate"])
@pytest.mark.parametrize("liars", [(1,), (1, 2)], ids=["alone", "together"])
@pytest.mark.parametrize(
    "agreement", ["pbft", "hotstuff", "chained-hotstuff", "hotstuff-2", "tendermint", "bracha"]
)
def test_liars_that_watch_the_quorums_are_borne(
    agreement: str, liars: tuple[int, ...], moment: str
) -> None:
    how = {"kind": "adaptive", "moment": moment, "collude": len(liars) > 1}
    n = 3 * len(liars) + 1
    run = play(
        agreement,
        [{**how, "party": p} for p in liars],
        parties=n,
        policy=f"threshold({n - len(liars)})",
        network={"delay": "uniform(5ms, 60ms)", "ordered": False},
        operations=[{"at": f"{t}ms", "by": by, **NOTE} for t, by in ((0, 3), (10, 4), (400, 1))],
    )
    assert broken(run) == set()
    assert {o.status for o in run.outcomes if o.by not in liars} == {"committed"}
    struck = {row.actor for row in run.trace.of(rows.Lied)}
    assert struck == set(liars)


def test_liars_that_collude_fool_the_same_half() -> None:
    run = play(
        "pbft",
        [{"kind": "adaptive", "party": p, "moment": "short", "collude": True} for p in (1, 2)],
        parties=7,
        policy="threshold(5)",
    )
    fooled = {to for row in run.trace.of(rows.Lied) for to in row.to}
    assert fooled == {5, 6, 7}


def test_an_unknown_moment_is_refused() -> None:
    with pytest.raises(UsageError, match=r"faults\[0\]\.moment: .*did you mean 'certificate'"):
        play("pbft", [{"kind": "adaptive", "party": 1, "moment": "certificat"}])


def test_an_adaptive_liar_is_honest_while_all_are_heard() -> None:
    run = play("pbft", [{"kind": "adaptive", "party": 4, "quiet": "100s"}])
    assert not list(run.trace.of(rows.Lied))


# --- refused before the run --------------------------------------------------------------------


def test_an_attack_must_be_known_to_the_protocol() -> None:
    with pytest.raises(UsageError, match=r"faults\[0\]\.name: .*did you mean 'withheld-certific"):
        play("hotstuff", [{"kind": "attack", "name": "withheld-certificates", "party": 1}])
    with pytest.raises(UsageError, match="is not a known attack on raft"):
        play("raft", [{"kind": "attack", "name": "withheld-certificate", "party": 1}])


def test_a_flood_says_when_it_comes() -> None:
    with pytest.raises(UsageError, match=r"faults\[0\]\.for: say how long it is silent"):
        play("pbft", [{"kind": "flood", "party": 1}])


# --- a shorter chain ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agreement", "breaks"),
    [("streamlet", set()), ("wrong-streamlet", {"agreement", "total-order"})],
)
def test_only_a_longest_chain_is_voted_for(agreement: str, breaks: set[str]) -> None:
    """The session's name makes party 1 lead epochs 4, 5 and 6. Party 4 alone sees that the second
    operation is final, and is not heard for long."""
    run = play(
        agreement,
        [
            {"kind": "attack", "name": "shorter-chain", "party": 1},
            {"at": "2040ms", "for": "980ms", "kind": "loss", "rate": 1.0, "to": [1, 2, 3],
             "messages": ["StreamletVote"]},
            {"at": "2100ms", "for": "20s", "kind": "hold", "from": [4]},
        ],
        session="s24",
        operations=[
            {"at": "0ms", "by": 2, **NOTE},
            {"at": "500ms", "by": 2, **NOTE},
            {"at": "2500ms", "by": 3, **NOTE},
        ],
    )  # fmt: skip
    assert broken(run) == breaks
