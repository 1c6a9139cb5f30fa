"""Linearizability as clients saw it: histories that a single machine could have had, and others."""

import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.check import Verdict, run_checks
from mpclab.lab import Scenario
from tests.trace.rowmaker import Story


def judge(story: Story, faulty: tuple[int, ...] = ()) -> Verdict:
    (verdict,) = run_checks(
        story.trace, ["linearizability"], n=story.n, policy="threshold(1)", faulty=faulty
    )
    assert all(0 <= row < len(story.trace) for row in verdict.witnesses)
    return verdict


def invoke(story: Story, by: int, op: str) -> int:
    return story.note(by, "proposed", op=op, kind="note", by=by, text=op)


def commit(story: Story, party: int, op: str, place: int) -> int:
    """`place` is the log's index."""
    return story.note(party, "committed", op=op, kind="note", index=place, stamp=1, value="aa")


def answer(story: Story, party: int, op: str) -> int:
    return story.note(party, "executed", op=op, result="done")


def test_one_after_the_other_in_the_order_of_history() -> None:
    story = Story(2)
    for place, (by, op) in enumerate([(1, "a"), (2, "b")]):
        invoke(story.at(10 * place), by, op)
        for party in (1, 2):
            commit(story.at(10 * place + 5), party, op, place)
            answer(story, party, op)
    verdict = judge(story)
    assert (verdict.verdict, verdict.witnesses) == ("ok", ())
    assert verdict.sentence == (
        "one order of 2 operations fits the histories of parties 1 and 2 and what the clients "
        "of 2 of them saw"
    )


def test_what_was_answered_first_must_stand_first() -> None:
    story = Story(2)
    invoke(story.at(0), 1, "a")
    first = commit(story.at(5), 1, "a", 1)
    told = answer(story, 1, "a")
    asked = invoke(story.at(10), 2, "b")
    second = commit(story.at(15), 1, "b", 0)
    answer(story, 2, "b")
    verdict = judge(story)
    assert verdict.verdict == "violated"
    assert "party 1 holds b before a" in verdict.sentence
    assert "a was executed for its client at 5 ms, before b was proposed at 10 ms" in (
        verdict.sentence
    )
    assert verdict.witnesses == (first, told, asked, second)


def test_operations_that_overlap_may_stand_either_way() -> None:
    story = Story(2)
    invoke(story.at(0), 1, "a")
    invoke(story.at(4), 2, "b")
    commit(story.at(5), 1, "a", 1)
    answer(story, 1, "a")
    commit(story, 1, "b", 0)
    answer(story, 2, "b")
    assert judge(story).verdict == "ok"


def test_what_was_never_answered_may_stand_anywhere() -> None:
    story = Story(2)
    invoke(story.at(0), 1, "a")
    commit(story.at(5), 2, "a", 1)  # its proposer crashed
    invoke(story.at(10), 2, "b")
    commit(story.at(15), 2, "b", 0)
    answer(story, 2, "b")
    assert judge(story).verdict == "ok"


def test_two_histories_that_contradict_each_other() -> None:
    story = Story(2)
    for party, ops in ((1, "ab"), (2, "ba")):
        invoke(story, party, ops[0])
        for place, op in enumerate(ops):
            commit(story, party, op, place)
    verdict = judge(story)
    assert verdict.verdict == "violated"
    assert "party 1 holds a before b" in verdict.sentence
    assert "party 2 holds b before a" in verdict.sentence
    assert len(verdict.witnesses) == 4


def test_a_contradiction_may_go_through_parties_that_hold_different_things() -> None:
    """1 holds a before b, 2 holds b before c, and c was answered before a was proposed."""
    story = Story(3)
    invoke(story.at(0), 3, "c")
    invoke(story, 2, "b")
    answer(story.at(5), 3, "c")
    invoke(story.at(10), 1, "a")
    commit(story.at(20), 1, "a", 0)
    commit(story, 1, "b", 1)
    commit(story, 2, "b", 1)
    commit(story, 2, "c", 2)
    verdict = judge(story)
    assert verdict.verdict == "violated"
    for reason in ("1 holds a before b", "2 holds b before c", "c was executed for its client"):
        assert reason in verdict.sentence


@pytest.mark.parametrize("by", [1, 2])
def test_an_operation_that_was_answered_as_aborted_never_happened(by: int) -> None:
    story = Story(2)
    invoke(story, 1, "a")
    told = story.abort(1, "a")
    done = commit(story.at(5), by, "a", 0)
    verdict = judge(story)
    assert verdict.verdict == "violated"
    assert verdict.witnesses == (told, done)
    assert "was told that a is aborted" in verdict.sentence


def test_a_liar_is_no_client_and_its_history_no_witness() -> None:
    story = Story(3)
    invoke(story.at(0), 3, "a")
    story.abort(3, "a")
    commit(story.at(5), 1, "a", 0)
    invoke(story, 1, "b")
    commit(story.at(6), 1, "b", 1)
    answer(story, 1, "b")
    commit(story, 3, "b", 0)
    commit(story, 3, "a", 1)
    assert judge(story, faulty=(3,)).verdict == "ok"
    assert judge(story).verdict == "violated"


def test_what_the_trace_does_not_tell_is_unknown() -> None:
    story = Story(2)
    assert "nobody honest committed" in judge(story).sentence
    story.commit(1, "a", index=0)
    assert "no client saw anything" in judge(story).sentence


# --- a clever rule against a dumb one -------------------------------------------------------------


@st.composite
def stories(draw: st.DrawFn) -> tuple[Story, list[tuple[int, int]], list[list[int]]]:
    """Up to 4 operations at random times, and two parties with some of them in some order."""
    count = draw(st.integers(1, 4))
    spans = [
        tuple(sorted(draw(st.tuples(st.integers(0, 9), st.integers(0, 9))))) for _ in range(count)
    ]
    orders = [
        draw(st.permutations(range(count)).flatmap(lambda p: st.sampled_from([p, p[:2], p[1:]])))
        for _ in range(2)
    ]
    events = [(at, 0, op) for op, (at, _) in enumerate(spans)]
    events += [(at, 1, op) for op, (_, at) in enumerate(spans)]
    story = Story(2)
    for at, is_answer, op in sorted(events):
        (answer if is_answer else invoke)(story.at(at), 1, str(op))
    for party, order in enumerate(orders, 1):
        for place, op in enumerate(order):
            commit(story, party, str(op), place)
    return story, spans, [list(order) for order in orders]  # type: ignore[return-value]


def some_order_fits(spans: list[tuple[int, int]], orders: list[list[int]]) -> bool:
    """Try every order of what is committed."""
    ops = sorted({op for order in orders for op in order})
    for order in permutations(ops):
        place = {op: i for i, op in enumerate(order)}
        histories = all([place[op] for op in h] == sorted(place[op] for op in h) for h in orders)
        times = all(place[a] < place[b] for a in ops for b in ops if spans[a][1] < spans[b][0])
        if histories and times:
            return True
    return False


def is_one_log(orders: list[list[int]]) -> bool:
    """No place holds two operations, and none stands at two places."""
    stands = {(place, op) for order in orders for place, op in enumerate(order)}
    return len(stands) == len({place for place, _ in stands}) == len({op for _, op in stands})


def test_one_place_holds_one_operation_even_where_no_order_is_contradicted() -> None:
    story = Story(2)
    invoke(story, 1, "a")
    invoke(story, 2, "b")
    rows = commit(story, 1, "a", 0), commit(story, 2, "b", 0)
    verdict = judge(story)
    assert verdict.verdict == "violated"
    assert verdict.witnesses == rows
    assert "index 0 holds different operations" in verdict.sentence


@given(stories())
def test_it_agrees_with_trying_every_order(
    drawn: tuple[Story, list[tuple[int, int]], list[list[int]]],
) -> None:
    story, spans, orders = drawn
    verdict = judge(story)
    if any(orders):
        fits = some_order_fits(spans, orders) and is_one_log(orders)
        assert (verdict.verdict == "ok") == fits


def test_ten_thousand_operations_are_judged_at_once() -> None:
    story = Story(2)
    order = list(range(10_000))
    random.Random(1).shuffle(order)
    for i in order:
        invoke(story.at(0), 1, str(i))
    for i in range(10_000):
        for party in (1, 2):
            commit(story.at(i), party, str(i), i)
        answer(story, 1, str(i))
    assert judge(story).verdict == "ok"


# --- real runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("agreement", ["raft", "pbft", "hotstuff"])
def test_runs_in_quiet_are_linearizable(agreement: str) -> None:
    notes = [
        {"at": f"{60 * i}ms", "by": 1 + i % 4, "kind": "note", "text": f"{i}"} for i in range(6)
    ]
    fields = {"parties": 4, "agreement": agreement, "operations": notes, "until": "20s"}
    run = Scenario.parse({**fields, "checks": ["linearizability"]}).run()
    assert run.ok, run.verdicts[0]
    assert "of 6 of them saw" in run.verdicts[0].sentence


def test_where_nothing_is_ordered_nothing_is_judged_but_false_aborts() -> None:
    """Each half of `direct` may settle things alone, and stamp them as it likes."""
    story = Story(2)
    invoke(story.at(0), 1, "a")
    story.commit(1, "a")
    answer(story.at(5), 1, "a")
    invoke(story.at(10), 2, "b")
    for op in "ba":
        story.commit(2, op)
    verdict = judge(story)
    assert (verdict.verdict, verdict.sentence) == ("unknown", "this protocol orders nothing")
    invoke(story.at(20), 1, "c")
    told = story.abort(1, "c")
    late = story.commit(2, "c")
    verdict = judge(story)
    assert (verdict.verdict, verdict.witnesses) == ("violated", (told, late))
    assert "was told that c is aborted" in verdict.sentence


# --- clients outside the group ---------------------------------------------------------------


def call(story: Story, op: str, kind: str = "read", *, end: str = "ok", last: str = "") -> int:
    """Client 1 calls party 1, at once, and it ends 1 ms later."""
    story.note(-1, "invoked", path=(), client=1, call=1, party=1, kind=kind, op=op)
    story.at(story.now / 1000 + 1)
    return story.note(-1, "returned", path=(), client=1, call=1, op=op, end=end, last=last)


@pytest.mark.parametrize("place", [0, None])
def test_a_client_was_told_of_what_nobody_has(place: int | None) -> None:
    story = Story(2)
    if place is not None:
        commit(story, 2, "a", place)
    told = [call(story, "r", last="lost"), call(story, "lost", "note")]
    verdict = judge(story)
    assert (verdict.verdict, verdict.witnesses) == ("violated", tuple(told))
    assert verdict.sentence == "r saw lost, which no honest party committed (and 1 more)"


def test_a_client_that_asks_in_the_moment_of_its_answer_asks_after_it() -> None:
    story = Story(2)
    commit(story, 1, "a", 0)
    told = call(story, "a", "note")
    read = call(story, "r")
    verdict = judge(story)
    assert verdict.verdict == "violated"
    assert {told, read} <= set(verdict.witnesses)


@pytest.mark.parametrize("end", ["unknown", "ok"])
def test_what_ended_unknown_may_happen_later_and_is_never_undone(end: str) -> None:
    story = Story(2)
    call(story, "a", "note", end=end)
    call(story, "r")
    commit(story, 1, "a", 0)
    assert judge(story).verdict == ("ok" if end == "unknown" else "violated")
    call(story, "s", last="a")
    call(story, "t")
    assert judge(story).verdict == "violated"
