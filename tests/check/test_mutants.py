"""Every check is killed by a forged trace; and the independent oracle says of each what it says.

The traces are those of real runs in which all checks are ok. A mutant drops, swaps or forges
rows: what a broken protocol, or a broken reader, would make of them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.check import CHECKS, Verdict, run_checks
from mpclab.check.oracle import JUDGED, disagreements
from mpclab.core import notes
from mpclab.lab import Scenario
from mpclab.trace import Blamed, Delivered, Dropped, Linked, Noted, Row, Sent, Trace

Rows = list[Row]
Mutant = Callable[[Rows], Rows]
N = 4


@cache
def run_of(kind: str) -> tuple[Row, ...]:
    """The rows of a run in which every promise is kept."""
    fields: dict[str, Any] = {
        "parties": N, "threshold": 3, "policy": "threshold(3)", "agreement": "pbft",
        "mesh": "ready", "seed": 4, "until": "30s", "checks": list(CHECKS),
        "operations": [
            {"at": f"{at}ms", "by": by, "kind": "note", "text": f"from {by}"}
            for at, by in ((0, 1), (200, 2), (2200, 3))
        ],
        "faults": [{"at": "1s", "kind": "crash", "party": 4, "restart_after": "1s"}],
    }  # fmt: skip
    if kind == "mesh":  # links are made, and the server carries messages too
        fields |= {"faults": [{"kind": "loss", "rate": 0.2, "for": "3s"}], "mesh": "negotiated"}
    elif kind != "crash":
        fields |= {"faults": [], "agreement": kind, "policy": "unanimous"}
    run = Scenario.parse(fields).run()
    assert not [v for v in run.verdicts if v.verdict == "violated"], run
    return tuple(run.trace)


def logged(rows: Rows | tuple[Row, ...]) -> Trace:
    trace = Trace()
    for row in rows:
        trace.append(row)
    return trace


def judged(rows: Rows | tuple[Row, ...], policy: str) -> dict[str, Verdict]:
    return {v.check: v for v in run_checks(logged(rows), list(CHECKS), n=N, policy=policy)}


def differences(rows: Rows, policy: str = "threshold(3)") -> list[str]:
    needed = N if policy == "unanimous" else 3
    verdicts = judged(rows, policy).values()
    return disagreements(logged(rows).lines(), verdicts, n=N, needed=needed)


# --- what a mutant may do ---------------------------------------------------------------------


def places(rows: Rows, kind: type, party: int = 0, nth: int = 0) -> int:
    """Where the nth note of a class stands, of one party or of any."""
    wanted = (party,) if party else range(1, N + 1)
    found = [
        i
        for i, row in enumerate(rows)
        if isinstance(row, Noted) and type(row.note) is kind and row.actor in wanted
    ]  # fmt: skip
    return found[nth]


def forged(kind: type, party: int = 0, nth: int = 0, **fields: Any) -> Mutant:
    """Change the fields of one note."""

    def mutate(rows: Rows) -> Rows:
        i = places(rows, kind, party, nth)
        row: Any = rows[i]
        note = msgspec.structs.replace(row.note, **fields)
        return [*rows[:i], msgspec.structs.replace(row, note=note), *rows[i + 1 :]]

    return mutate


def dropped(kind: type, party: int = 0, nth: int = 0) -> Mutant:
    def mutate(rows: Rows) -> Rows:
        i = places(rows, kind, party, nth)
        return rows[:i] + rows[i + 1 :]

    return mutate


def doubled(kind: type, party: int, actor: int = 0, **fields: Any) -> Mutant:
    """Say a note again, perhaps as another party, or otherwise."""

    def mutate(rows: Rows) -> Rows:
        i = places(rows, kind, party)
        row: Any = rows[i]
        note = msgspec.structs.replace(row.note, **fields)
        again = msgspec.structs.replace(row, actor=actor or party, note=note)
        return [*rows[: i + 1], again, *rows[i + 1 :]]

    return mutate


def aborted(party: int, nth: int = 0, **fields: Any) -> Mutant:
    """An abort in the place of a commit."""

    def mutate(rows: Rows) -> Rows:
        i = places(rows, notes.Committed, party, nth)
        row: Any = rows[i]
        note = notes.Aborted(row.note.op, "forged", **fields)
        return [*rows[:i], msgspec.structs.replace(row, note=note), *rows[i + 1 :]]

    return mutate


def all_aborted(**fields: Any) -> Mutant:
    """Everybody aborts the first operation, and nobody carries it out."""

    def mutate(rows: Rows) -> Rows:
        first: Any = rows[places(rows, notes.Committed)]
        op, done = first.note.op, []
        for row in rows:
            note = row.note if isinstance(row, Noted) else None
            if isinstance(note, notes.Committed) and note.op == op:
                row = msgspec.structs.replace(row, note=notes.Aborted(op, "forged", **fields))
            if not (isinstance(note, notes.Executed) and note.op == op):
                done.append(row)
        return done

    return mutate


def swapped(party: int) -> Mutant:
    """A party's first two commits, each in the other's place of the log."""

    def mutate(rows: Rows) -> Rows:
        i, j = (places(rows, notes.Committed, party, k) for k in (0, 1))
        a, b = rows[i], rows[j]
        done: list[Any] = list(rows)
        done[i] = msgspec.structs.replace(b, at=a.at)
        done[j] = msgspec.structs.replace(a, at=b.at)
        return done

    return mutate


def first(rows: Rows, kind: type, party: int = 0) -> int:
    """Where the first row of a class stands, of a party or of any."""
    return next(
        i for i, row in enumerate(rows) if type(row) is kind and party in (0, row.actor)
    )  # fmt: skip


def rewritten(kind: type, **fields: Any) -> Mutant:
    """Change the fields of the first row of a class."""

    def mutate(rows: Rows) -> Rows:
        i = first(rows, kind)
        return [*rows[:i], msgspec.structs.replace(rows[i], **fields), *rows[i + 1 :]]

    return mutate


def again(kind: type) -> Mutant:
    """The first row of a class stands there twice."""

    def mutate(rows: Rows) -> Rows:
        i = first(rows, kind)
        return [*rows[: i + 1], *rows[i:]]

    return mutate


def removed(kind: type) -> Mutant:
    def mutate(rows: Rows) -> Rows:
        i = first(rows, kind)
        return rows[:i] + rows[i + 1 :]

    return mutate


def moved_up(kind: type) -> Mutant:
    """The first row of a class comes before everything else."""

    def mutate(rows: Rows) -> Rows:
        i = first(rows, kind)
        early = msgspec.structs.replace(rows[i], at=rows[0].at)
        return [early, *rows[:i], *rows[i + 1 :]]

    return mutate


def moved_into_crash(kind: type) -> Mutant:
    """The first row of the party that crashes comes while it is down."""

    def mutate(rows: Rows) -> Rows:
        crash = places(rows, notes.Crashed, 4)
        i = first(rows, kind, 4)
        late = msgspec.structs.replace(rows[i], at=rows[crash].at)
        return [*rows[:i], *rows[i + 1 : crash + 1], late, *rows[crash + 1 :]]

    return mutate


def only_one_end(one: int, other: int) -> Mutant:
    """`other` never knew of the link that `one` has to it."""

    def mutate(rows: Rows) -> Rows:
        return [
            row
            for row in rows
            if not (isinstance(row, Linked) and (row.actor, row.peer) == (other, one))
        ]

    return mutate


def accuses(party: int, whom: int) -> Mutant:
    return lambda rows: [*rows, Blamed(rows[-1].at, party, (), whom, "forged", "known")]


KILLERS: dict[str, list[tuple[str, Mutant]]] = {
    "agreement": [
        ("crash", forged(notes.Committed, 2, value="forged")),
        ("crash", forged(notes.Committed, 2, tip="forged")),
        ("crash", forged(notes.Committed, 2, index=7)),
        ("direct", forged(notes.Committed, 2, tip="forged")),
        ("direct", forged(notes.Committed, 2, index=0)),
        ("crash", aborted(3)),
        ("crash", aborted(3, index=1)),
    ],
    "validity": [
        ("crash", dropped(notes.Proposed, 1)),
        ("pbft", dropped(notes.Voted, 3)),
        ("pbft", forged(notes.Voted, 3, approve=False)),
        ("pbft", all_aborted(rejected=(3,))),
        ("pbft", all_aborted()),
        ("pbft", lambda rows: [*rows, msgspec.structs.replace(
            rows[places(rows, notes.Committed, 2)], note=notes.Aborted("nothing", "forged"))]),
        ("direct", all_aborted(missing=(2,))),
    ],
    "integrity": [
        ("crash", doubled(notes.Committed, 2)),
        ("crash", dropped(notes.Committed, 3)),
        ("pbft", doubled(notes.Executed, 2)),
        ("pbft", doubled(notes.Voted, 2, approve=False)),
        ("direct", doubled(notes.Executed, 4)),
    ],
    "termination": [
        ("crash", dropped(notes.Committed, 3)),
        ("direct", dropped(notes.Committed, 4, 1)),
    ],
    "total-order": [
        ("crash", swapped(2)),
        ("crash", forged(notes.Committed, 2, index=7)),
        ("crash", forged(notes.Committed, 2, nth=1, index=0)),
    ],
    "linearizability": [
        ("crash", forged(notes.Committed, 3, index=1)),
        ("crash", lambda rows: dropped(notes.Executed, 1)(aborted(1)(rows))),
    ],
    "durability": [
        ("crash", forged(notes.Restored, 4, records=1)),
        ("crash", forged(notes.Restored, 4, head="forged")),
        ("crash", dropped(notes.Restored, 4)),
        ("crash", forged(notes.Committed, 4, nth=2, index=0)),
    ],
    "leaders": [("crash", doubled(notes.BecameLeader, 1, actor=2))],
    "certificates": [
        ("crash", dropped(notes.Voted, 1)),
        ("crash", forged(notes.Certified, 2, approvals=(1, 2))),
        ("crash", forged(notes.Certified, 2, approvals=(1, 2, 2))),
    ],
    "blame": [("crash", accuses(1, 2))],
    "delivery": [
        ("crash", rewritten(Delivered, id=9_999)),
        ("crash", rewritten(Delivered, sender=3, actor=3)),
        ("crash", removed(Sent)),
        ("crash", rewritten(Sent, to=())),
        ("crash", rewritten(Sent, via="none")),
        ("mesh", rewritten(Dropped, id=9_999)),
        ("mesh", rewritten(Dropped, actor=9)),
        ("crash", again(Delivered)),
        ("mesh", again(Delivered)),
        ("crash", moved_up(Delivered)),
        ("crash", moved_into_crash(Delivered)),
        ("crash", moved_into_crash(Sent)),
        ("mesh", rewritten(Linked, state="confirmed")),
        ("mesh", rewritten(Linked, state="teleporting")),
        ("mesh", rewritten(Linked, peer=4, actor=4)),
        ("mesh", only_one_end(2, 3)),
    ],
}  # fmt: skip


def policy_of(kind: str) -> str:
    return "threshold(3)" if kind in ("crash", "mesh") else "unanimous"


@pytest.mark.parametrize("kind", ["crash", "pbft", "direct", "mesh"])
def test_nothing_is_wrong_with_the_runs_themselves(kind: str) -> None:
    verdicts = judged(run_of(kind), policy_of(kind))
    assert {v.verdict for v in verdicts.values()} <= {"ok", "unknown"}
    assert differences(list(run_of(kind)), policy_of(kind)) == []


def test_each_check_has_its_killers() -> None:
    assert KILLERS.keys() == set(CHECKS)


@pytest.mark.parametrize(
    ("name", "kind", "mutant"),
    [(name, kind, mutant) for name, mutants in KILLERS.items() for kind, mutant in mutants],
)
def test_a_forged_trace_kills_the_check(name: str, kind: str, mutant: Mutant) -> None:
    rows, policy = list(run_of(kind)), policy_of(kind)
    forged_rows = mutant(rows)
    assert judged(rows, policy)[name].verdict == "ok"
    verdict = judged(forged_rows, policy)[name]
    assert verdict.verdict == "violated", verdict
    assert verdict.witnesses
    assert differences(forged_rows, policy) == []


# --- and at random ----------------------------------------------------------------------------


@st.composite
def mutants(draw: st.DrawFn) -> tuple[str, Rows]:
    """A run with up to three notes dropped, moved, said again or said by another."""
    kind = draw(st.sampled_from(["crash", "pbft", "direct"]))
    rows: list[Any] = list(run_of(kind))
    for _ in range(draw(st.integers(1, 3))):
        noted = [i for i, row in enumerate(rows) if isinstance(row, Noted) and row.path]
        i, j = (noted[draw(st.integers(0, len(noted) - 1))] for _ in range(2))
        what = draw(st.sampled_from(["drop", "swap", "again", "other"]))
        if what == "drop":
            del rows[i]
        elif what == "swap":
            a, b = rows[i], rows[j]
            rows[i], rows[j] = (msgspec.structs.replace(x, at=y.at) for x, y in ((b, a), (a, b)))
        elif what == "again":
            rows.insert(j, msgspec.structs.replace(rows[i], at=rows[j].at))
        else:
            rows[i] = msgspec.structs.replace(rows[i], actor=draw(st.integers(1, N)))
    return kind, rows


@settings(max_examples=150)
@given(mutants())
def test_the_oracle_and_the_checks_say_the_same_of_any_mutant(drawn: tuple[str, Rows]) -> None:
    kind, rows = drawn
    assert differences(rows, policy_of(kind)) == []


def test_the_oracle_judges_what_it_says() -> None:
    assert set(JUDGED) == set(CHECKS) - {"linearizability"}
    assert {Delivered, Sent} <= {type(row) for row in run_of("pbft")}
