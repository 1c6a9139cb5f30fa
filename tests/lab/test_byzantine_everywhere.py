"""Each kind of Byzantine party does what its line says, in every world: on data channels and
where the server carries sealed boxes. Nobody honest is blamed, and a second gate holds."""

from collections.abc import Callable
from typing import Any

import pytest

from mpclab.core.effects import Words
from mpclab.core.ids import MS, SECOND
from mpclab.faults.fault import AdversaryContext
from mpclab.lab import Lab, Run, Scenario
from mpclab.lab.operation import Operation
from mpclab.trace import rows
from mpclab.worlds.failures import NodeFailed

WORLDS = ["simulated", "websocket", "webrtc"]
LIAR = 4
OTHERS = {1, 2, 3}


def run(kind: str, world: str, agreement: str = "direct", **fields: Any) -> Run:
    """Party 1 proposes, then the liar does; the others are honest."""
    return Scenario.parse(
        {
            "parties": 4,
            "policy": "threshold(3)",
            "agreement": agreement,
            "world": world,
            "patience": "600ms",
            "until": "6s",
            "seed": 3,
            "operations": [
                {"at": "0ms", "by": 1, "kind": "note", "text": "one"},
                {"at": "150ms", "by": LIAR, "kind": "note", "text": "two"},
            ],
            "faults": [{"at": "0ms", "kind": kind, "party": LIAR, **fields}],
            "checks": ["agreement", "validity", "integrity", "certificates", "blame"],
        }
    ).run()


def said(run: Run) -> list[rows.Sent]:
    """What the liar sent as a member of the session."""
    return [
        row
        for row in run.trace.of(rows.Sent)
        if row.actor == LIAR and row.path[:1] == ("session",) and row.at >= run.ready_at
    ]


def votes(run: Run) -> list[tuple[bool, set[int]]]:
    """The liar's votes on what party 1 proposed, as it sent them: approval and receivers."""
    op = run.outcomes[0].op
    return [
        ("approve=True" in row.text, set(row.to))
        for row in said(run)
        if row.kind == "SignedVote" and op in row.text
    ]


def acts(run: Run) -> set[str]:
    return {row.text for row in run.trace.of(rows.Fault) if row.phase == "act"}


def accusers(run: Run, strength: str) -> set[int]:
    return {
        row.actor
        for row in run.trace.of(rows.Blamed)
        if row.party == LIAR and row.strength == strength and row.actor != LIAR
    }


def is_silent(run: Run) -> None:
    assert not said(run)
    assert {run.outcomes[1].parties[p].status for p in OTHERS} == {"unheard"}


def equivocates(run: Run) -> None:
    assert votes(run) == [(True, {1}), (False, {2, 3})]
    assert accusers(run, "proof") == OTHERS
    assert "tells parties 2 and 3 another SignedVote" in acts(run)


def lies(run: Run) -> None:
    assert votes(run) == [(False, OTHERS)]
    mine = [r for r in run.trace.notes("voted") if r.actor == LIAR]
    assert mine[0].note.approve  # the contrary of what it thinks
    assert run.outcomes[1].result == "two, version 2"


def votes_twice(run: Run) -> None:
    assert votes(run) == [(True, OTHERS), (False, OTHERS)]
    assert accusers(run, "proof") == OTHERS


def replays(run: Run) -> None:
    kinds = [row.kind for row in said(run)]
    old = {text.split()[3] for text in acts(run)}
    assert old
    assert all(kinds.count(kind) > 1 for kind in old)
    assert [o.status for o in run.outcomes] == ["committed", "committed"]  # it does no harm
    assert not accusers(run, "known")


def sends_garbage(run: Run) -> None:
    assert {row.kind for row in said(run)} == {"?"}
    assert accusers(run, "known") == OTHERS


def sends_to_some(run: Run) -> None:
    assert {p for row in said(run) for p in row.to} == {2}


def is_late(run: Run) -> None:
    voted = next(r.at for r in run.trace.notes("voted") if r.actor == LIAR)
    sent = next(row.at for row in said(run) if row.kind == "SignedVote")
    assert 190 * MS <= sent - voted < 2 * SECOND  # its row comes a little after the vote itself


KINDS: dict[str, tuple[dict[str, Any], Callable[[Run], None]]] = {
    "silent": ({}, is_silent),
    "equivocate": ({}, equivocates),
    "lie": ({}, lies),
    "vote-twice": ({}, votes_twice),
    "replay": ({"rate": 1.0}, replays),
    "garbage": ({}, sends_garbage),
    "send-to-some": ({"to": [2]}, sends_to_some),
    "last-moment": ({"delay": "200ms"}, is_late),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_does_what_its_line_says(kind: str, world: str) -> None:
    fields, check = KINDS[kind]
    ended = run(kind, world, **fields)
    check(ended)
    assert not ended.violated, [str(v) for v in ended.verdicts]
    assert ended.outcomes[0].status == "committed"  # three of four suffice, whatever the liar does


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", ["equivocate", "lie", "vote-twice", "garbage"])
def test_behind_a_second_gate_the_honest_agree(kind: str, world: str) -> None:
    ended = run(kind, world, agreement="bracha")
    assert not ended.violated, [str(v) for v in ended.verdicts]
    assert ended.outcomes[0].status == "committed"


@pytest.mark.parametrize("world", WORLDS)
def test_a_split_is_explained_by_the_lie_and_its_messages(world: str) -> None:
    """Two of four suffice, and the liar gives each half what it needs."""
    ended = Scenario.parse(
        {
            "parties": 4,
            "policy": "threshold(2)",
            "world": world,
            "operations": [{"at": "0ms", "by": LIAR, "kind": "note", "text": "one"}],
            "faults": [{"at": "0ms", "kind": "equivocate", "party": LIAR}],
            "checks": ["agreement"],
            "until": "3s",
        }
    ).run()
    (agreement,) = ended.verdicts
    assert agreement.verdict == "violated"
    assert "because party 4 tells parties 2 and 3 another SignedProposal" in agreement.sentence
    trace = list(ended.trace)
    shown = [row for n in agreement.witnesses if isinstance(row := trace[n], rows.Sent)]
    assert {(row.actor, row.kind) for row in shown} == {(LIAR, "SignedProposal")}
    assert {p for row in shown for p in row.to} == OTHERS


class Shy:
    """Says nothing to party 1, and counts what it kept back."""

    def __init__(self) -> None:
        self.kept = 0

    def __call__(self, words: Words, adversary: AdversaryContext) -> list[Words]:
        self.kept += 1 in words.to
        adversary.remark(f"kept {self.kept} from party 1")
        return [Words(words.path, tuple(p for p in words.to if p != 1), words.msg)]


@pytest.mark.parametrize("world", WORLDS)
def test_an_adversary_of_ones_own_works_everywhere(world: str) -> None:
    mine = Shy()
    with Lab(world=world, parties=4, policy="threshold(3)") as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        begun = lab.now
        lab.inject(kind="filter", party=LIAR, words=mine)
        lab.propose(by=1, text="hello")
        lab.run()
        lab.wait(0.2)
        sent = [
            row
            for row in lab.trace.of(rows.Sent)
            if row.actor == LIAR and row.path[:1] == ("session",) and row.at >= begun
        ]
        assert sent
        assert all(1 not in row.to for row in sent)
        assert mine.kept == 0, "each run has a copy"
        (verdict,) = lab.check("blame")
        assert verdict.verdict != "violated"


def test_a_party_behind_ones_own_adversary_does_not_judge() -> None:
    """It says nothing of its proposal to anyone: what it holds itself is no outcome."""
    ended = run("filter", "simulated", words=lambda words, adversary: [])
    assert ended.outcomes[0].status == "committed"
    assert ended.outcomes[1].status == "undecided"
    assert "party 4" not in ended.outcomes[1].reason


@pytest.mark.parametrize("world", WORLDS)
def test_a_corrupted_party_comes_back_corrupted_until_it_is_healed(world: str) -> None:
    with Lab(world=world, parties=3, policy="threshold(2)") as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        lie = lab.inject(kind="lie", party=3)
        lab.crash(3)
        lab.restart(3)
        lab.join()
        first = lab.propose(by=1, text="one")
        lab.run(lambda: heard_vote(lab, first) is not None, limit=10)
        lie.heal()
        second = lab.propose(by=1, text="two")
        lab.run(lambda: heard_vote(lab, second) is not None, limit=10)
        assert (heard_vote(lab, first), heard_vote(lab, second)) == (False, True)


def heard_vote(lab: Lab, operation: Operation) -> bool | None:
    """How party 3 voted, as party 1 has it."""
    votes = lab.group.session_of(1)[operation.id].votes
    return next((vote.approve for vote in votes if vote.party == 3), None)


def test_a_corrupted_partys_recording_replays() -> None:
    with Lab(world="websocket", parties=3, policy="threshold(2)", record=True) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        lab.inject(kind="vote-twice", party=3)
        lab.inject(kind="last-moment", party=3, delay="20ms")
        lab.inject(kind="garbage", party=2, rate=0.5)
        lab.propose(by=3, text="one")
        lab.run(limit=5)
        lab.wait(0.1)
        assert lab.replay()


def test_an_adversary_that_fails_is_a_bug_of_its_author() -> None:
    def broken(words: Words, adversary: AdversaryContext) -> list[Words]:
        raise ZeroDivisionError("oops")

    with Lab(world="websocket", parties=2) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        lab.inject(kind="filter", party=2, words=broken)
        lab.propose(by=1, text="one")
        with pytest.raises(NodeFailed, match="oops"):
            lab.run(limit=5)
