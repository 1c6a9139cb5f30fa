"""Each check on a trace that keeps the promise, on ones that break it, on ones that are mute."""

from functools import partial

import pytest

from mpclab.check import CHECKS, Verdict, run_checks
from mpclab.core import UsageError
from mpclab.trace import Blamed
from tests.plots import scenes
from tests.trace.rowmaker import Story, committed


def judge(
    name: str, story: Story, *, policy: str = "unanimous", faulty: tuple[int, ...] | None = None
) -> Verdict:
    (verdict,) = run_checks(story.trace, [name], n=story.n, policy=policy, faulty=faulty)
    assert verdict.check == name
    assert list(verdict.witnesses) == sorted(set(verdict.witnesses))
    assert all(0 <= row < len(story.trace) for row in verdict.witnesses)
    return verdict


def says(verdict: Verdict, word: str, sentence: str, *witnesses: int) -> None:
    assert verdict.verdict == word, verdict
    assert sentence in verdict.sentence, verdict
    if witnesses:
        assert verdict.witnesses == witnesses


# --- all of them --------------------------------------------------------------------------


def test_a_quiet_run_breaks_no_promise() -> None:
    verdicts = run_checks(scenes.quiet(4), CHECKS, n=4)
    assert {v.check: v.verdict for v in verdicts} == {
        "agreement": "ok",
        "validity": "ok",
        "integrity": "ok",
        "termination": "ok",
        "total-order": "ok",
        "linearizability": "ok",
        "durability": "unknown",
        "leaders": "unknown",
        "certificates": "ok",
        "blame": "ok",
        "delivery": "ok",
    }


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "blame"])
def test_an_empty_trace_proves_nothing(name: str) -> None:
    assert judge(name, Story(3)).verdict == "unknown"


def test_an_unknown_check_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'agreement'"):
        run_checks(Story(1).trace, ["agrement"], n=1)


@pytest.mark.parametrize(("n", "policy"), [(0, "unanimous"), (3, "most")])
def test_wrong_parameters_are_refused(n: int, policy: str) -> None:
    with pytest.raises(UsageError):
        run_checks(Story(3).trace, n=n, policy=policy)


# --- agreement ----------------------------------------------------------------------------


def test_different_values_for_one_operation() -> None:
    story = Story(4)
    rows = [story.commit(p, "k3f9", "aa11" if p < 3 else "bb22") for p in (1, 2, 4)]
    says(
        judge("agreement", story),
        "violated",
        "parties 1, 2 and 4 committed different values for k3f9: "
        "parties 1 and 2 have aa11; party 4 has bb22",
        *rows,
    )


def test_a_liars_word_does_not_count() -> None:
    story = committed(3)
    story.commit(2, "k3f9", "bb22")
    assert judge("agreement", story).verdict == "violated"
    assert judge("agreement", story, faulty=(2,)).verdict == "ok"


def test_the_lie_behind_a_split_is_named_and_its_messages_are_witnesses() -> None:
    story = Story(3)
    story.fault(0, "equivocate", "begin", 1)
    story.lie(1, "Summary", 77, (2,), 78)
    story.at(5).propose(1, "k3f9")
    story.send(1, (2,), "SignedVote")
    lie = story.lie(1, "SignedProposal", 2, (3,), 3)
    story.send(1, (2,), "SignedProposal")
    story.send(1, (3,), "SignedProposal")
    rows = [story.commit(2, "k3f9", "aa11"), story.commit(3, "k3f9", "bb22")]
    says(
        judge("agreement", story),
        "violated",
        "party 3 has bb22, because party 1 tells party 3 another SignedProposal",
        lie, lie + 1, lie + 2, *rows,
    )  # fmt: skip


def test_liars_are_read_from_the_traces_own_faults() -> None:
    story = committed(3)
    story.fault(0, "equivocate", "begin", 2)
    story.commit(2, "k3f9", "bb22")
    untold = judge("agreement", story)
    says(untold, "unknown", "the lie was never told")
    story.lie(2, "SignedVote", 9, (1,), 10)
    assert judge("agreement", story).verdict == "ok"


def test_a_liars_own_proposal_is_owed_once_an_honest_party_decided_it() -> None:
    story = Story(3)
    story.fault(0, "silent", "begin", 3)
    story.lie(3, "SignedVote", 9, (1,), 10)
    story.propose(3, "k3f9")
    says(judge("termination", story), "ok", "nothing was proposed but by liars")
    story.propose(1, "x1")
    for party in (1, 2):
        story.commit(party, "x1")
    says(judge("termination", story), "ok", "1 of liars, which nobody decided, not counted")
    story.commit(1, "k3f9")
    says(judge("termination", story), "violated", "k3f9 is not settled")


def test_one_commits_and_another_aborts() -> None:
    story = Story(3)
    rows = story.commit(1, "x"), story.abort(2, "x"), story.commit(3, "x")
    says(
        judge("agreement", story),
        "violated",
        "parties 1 and 3 committed x and party 2 aborted",
        *rows,
    )


def test_an_abort_is_final_and_having_given_up_waiting_is_not() -> None:
    for word, verdict in (("aborted", "violated"), ("expired", "ok")):
        story = Story(2)
        story.commit(1, "x")
        story.note(2, word, op="x", reason="time is up")
        story.at(9).commit(2, "x")
        assert judge("agreement", story).verdict == verdict


def test_a_log_that_aborts_here_what_it_commits_there_at_one_place() -> None:
    story = Story(2)
    rows = story.note(1, "aborted", op="x", reason="no", index=0), story.commit(2, "y", index=0)
    for name in ("agreement", "total-order"):
        says(judge(name, story), "violated", "index 0 holds different operations", *rows)


@pytest.mark.parametrize(
    ("late", "verdict"), [(None, "ok"), ("certified", "violated"), ("committed", "violated")]
)
def test_what_all_gave_up_waiting_for_is_settled_unless_it_went_on(
    late: str | None, verdict: str
) -> None:
    story = Story(2)
    story.propose(1, "x")
    for party in (1, 2):
        story.note(party, "expired", op="x", reason="no vote of party 2 within 3s")
    if late == "certified":
        story.note(1, "certified", op="x", approvals=[1, 2])
    elif late == "committed":
        story.commit(1, "x")
    assert judge("termination", story).verdict == verdict


def test_nothing_was_committed_is_ok_where_that_was_decided() -> None:
    story = Story(2)
    story.propose(1, "x")
    for name in ("validity", "integrity"):
        assert judge(name, story).verdict == "unknown"
    story.vote(2, "x", approve=False)
    for party in (1, 2):
        story.note(party, "aborted", op="x", reason="party 2 rejected", rejected=[2])
    says(judge("validity", story), "ok", "nothing was committed: 1 operation was aborted")
    says(judge("integrity", story), "ok", "nothing was committed")


def test_what_only_the_dead_knew_of_nobody_owes() -> None:
    story = Story(3)
    story.note(1, "proposed", op="x", by=1)
    story.host(1, "crashed")
    for party in (2, 3):
        story.host(party, "started")
    assert judge("termination", story).verdict == "ok"
    story.host(1, "restarted")
    says(judge("termination", story), "violated", "x is not settled")


def test_one_history_has_one_head() -> None:
    story = Story(3)
    for party, tip in ((1, "0057"), (2, "0057"), (3, "4577")):
        story.note(party, "committed", op="a", value="aa", stamp=1, tip="aaaa")
        last = story.note(party, "committed", op="b", value="bb", stamp=2, tip=tip)
    verdict = judge("agreement", story)
    says(verdict, "violated", "the same 2 operations and hold different heads: 0057 and 4577")
    assert last in verdict.witnesses


def test_a_fault_of_links_that_lets_all_through_excuses_nobody() -> None:
    story = Story(2)
    story.propose(1, "x")
    story.fault(0, "delay", "begin", 1, 2)
    story.arrive(1, story.send(1, (2,)), at=2)
    assert judge("termination", story).verdict == "violated"
    story.lose(2, story.send(2, (1,)), at=1)
    says(judge("termination", story), "unknown", "but the delay never healed")


def test_time_that_goes_back_fools_no_check() -> None:
    story = Story(2)
    story.at(4400).propose(1, "x")
    for party in (1, 2):
        story.at(3440).vote(party, "x")
    for party in (1, 2):
        story.note(party, "certified", op="x", approvals=[1, 2])
        story.commit(party, "x", index=0)
    verdicts = run_checks(story.trace, CHECKS, n=2)
    assert not [v for v in verdicts if v.verdict == "violated"]


def test_two_operations_at_one_index() -> None:
    story = Story(3)
    story.commit(1, "a", index=0)
    story.commit(2, "b", index=0)
    says(
        judge("agreement", story),
        "violated",
        "index 0 holds different operations: party 1 a; party 2 b",
        0,
        1,
    )


def test_disagreement_in_a_real_run_is_found_and_named() -> None:
    (verdict,) = run_checks(scenes.disagreement(4), ["agreement"], n=4)
    says(verdict, "violated", "committed different values for k3f9")
    assert "party 4 has beefbeefbeef" in verdict.sentence


def test_bare_protocols_are_judged_by_what_they_decide() -> None:
    story = Story(2)
    story.note(1, "decided", op="x", index=0, value="aa")
    story.note(2, "decided", op="x", index=0, value="bb")
    assert judge("agreement", story).verdict == "violated"
    says(judge("validity", story), "unknown", "nothing goes through proposals")


def test_another_session_in_the_same_world_is_left_alone() -> None:
    story = committed(3)
    story.commit(10_001, "other", index=0)
    verdicts = run_checks(story.trace, CHECKS, n=3)
    assert [v.check for v in verdicts if v.verdict == "violated"] == []


# --- validity and certificates ------------------------------------------------------------


def test_committing_what_nobody_proposed() -> None:
    story = Story(3)
    row = story.commit(2, "ghost")
    says(
        judge("validity", story),
        "violated",
        "party 2 committed ghost, which nobody had proposed",
        row,
    )


def test_committing_with_too_few_approvals() -> None:
    story = Story(3)
    story.propose(1, "x")
    votes = [story.vote(1, "x"), story.vote(2, "x"), story.vote(3, "x", approve=False)]
    row = story.commit(1, "x")
    says(
        judge("validity", story),
        "violated",
        "only parties 1 and 2 had approved it; 3 must",
        *votes,
        row,
    )
    assert judge("validity", story, policy="threshold(2)").verdict == "ok"


def test_approvals_after_the_commit_come_too_late() -> None:
    story = Story(2)
    story.propose(1, "x")
    story.vote(1, "x")
    story.commit(1, "x")
    story.vote(2, "x")
    assert judge("validity", story).verdict == "violated"


def test_a_certificate_with_too_few_names() -> None:
    story = Story(3)
    story.vote(1, "x")
    row = story.note(2, "certified", op="x", approvals=[1])
    says(judge("certificates", story), "violated", "with 1 of the 3 approvals needed", row)


def test_a_certificate_in_the_name_of_one_who_rejected() -> None:
    story = Story(2)
    story.vote(1, "x")
    no = story.vote(2, "x", approve=False)
    row = story.note(1, "certified", op="x", approvals=[1, 2])
    says(
        judge("certificates", story),
        "violated",
        "in the name of party 2, which rejected it",
        no,
        row,
    )


@pytest.mark.parametrize(("told", "verdict"), [(None, "ok"), (True, "ok"), (False, "violated")])
def test_votes_of_a_party_elsewhere_are_told_late_or_never(told: bool | None, verdict: str) -> None:
    story = Story(2)
    for op in ("x", "y"):
        story.note(1, "proposed", op=op, kind="note", by=1)
    story.vote(1, "x")
    story.link(1, 2, "confirmed")
    story.note(1, "certified", op="x", approvals=[1, 2])
    story.commit(1, "x")
    story.note(1, "aborted", op="y", reason="party 2 rejected", rejected=[2])
    if told is not None:  # as it was, or as another story
        story.host(2, "started", elsewhere=True)
        story.vote(2, "x", approve=told)
        story.vote(2, "y", approve=not told)
    for check in ("certificates", "validity"):
        judged = judge(check, story)
        assert judged.verdict == verdict
        # What rests on words that nobody told is no plain ok.
        trusted = "that party 2 approved is not in the trace" in judged.sentence
        assert trusted == (told is None)
    if told is False:
        found = [judge(check, story).sentence for check in ("certificates", "validity")]
        assert "in the name of party 2, which rejected it" in found[0]
        assert "party 1 committed x when only party 1 had approved it; 2 must" in found[1]


@pytest.mark.parametrize("approvals", [[1, 1], [1, 7]])
def test_a_certificate_that_counts_somebody_twice_or_a_stranger(approvals: list[int]) -> None:
    story = Story(2)
    story.vote(1, "x")
    story.note(1, "certified", op="x", approvals=approvals)
    says(judge("certificates", story), "violated", "twice or a party outside the session")


# --- integrity ----------------------------------------------------------------------------


def test_committing_twice() -> None:
    story = Story(2)
    rows = story.commit(1, "x"), story.commit(1, "x")
    says(judge("integrity", story), "violated", "party 1 committed x twice", *rows)


def test_learning_the_history_again_after_a_crash_is_no_second_commit() -> None:
    story = Story(2)
    story.commit(1, "x")
    story.host(1, "crashed")
    story.host(1, "restarted")
    story.commit(1, "x")
    assert judge("integrity", story).verdict == "ok"


def test_executing_what_was_not_committed() -> None:
    story = Story(2)
    story.commit(1, "x")
    row = story.note(2, "executed", op="x", result="r")
    says(judge("integrity", story), "violated", "party 2 executed x without having committed", row)


# --- termination --------------------------------------------------------------------------


def test_an_operation_that_hangs_says_who_never_voted() -> None:
    story = Story(3)
    story.propose(1, "x")
    story.vote(1, "x")
    story.vote(2, "x")
    says(
        judge("termination", story),
        "violated",
        "x is not settled: parties 1, 2 and 3 wait for the vote of party 3, which never came",
    )


def test_it_says_whose_vote_was_lost_and_shows_the_loss() -> None:
    story = Story(3)
    story.propose(1, "x")
    for voter in (1, 2, 3):
        story.at(voter).vote(voter, "x")
        id = story.send(voter, [p for p in (1, 2, 3) if p != voter])
        for to in (1, 2, 3):
            if (voter, to) == (2, 3):
                story.lose(voter, id, at=to)
                lost = len(story.trace) - 1
            elif voter != to:
                story.arrive(voter, id, at=to)
    story.commit(1, "x")
    story.commit(2, "x")
    verdict = judge("termination", story)
    says(verdict, "violated", "party 3 waits for the vote of party 2, which was lost on its way")
    assert lost in verdict.witnesses


def test_what_the_protocol_says_it_waits_for_comes_first() -> None:
    story = Story(2)
    story.propose(1, "x")
    row = story.note(2, "blocked", op="x", waiting_for=[1], why="the coordinator is silent")
    story.commit(1, "x")
    verdict = judge("termination", story)
    says(verdict, "violated", "party 2 waits for party 1 (the coordinator is silent)")
    assert row in verdict.witnesses


def test_a_protocol_without_votes_waits_for_none() -> None:
    story = Story(3)
    for p in (1, 2, 3):
        what = "proposed" if p == 1 else "heard"
        story.note(p, what, path=("app",), op="motto", kind="broadcast", by=1)
    story.note(1, "committed", path=("app",), op="motto", value="all for one")
    verdict = judge("termination", story)
    says(verdict, "violated", "motto is not settled: parties 2 and 3 wait")
    assert "vote" not in verdict.sentence


def test_who_waits_for_nobody_in_particular_only_waits() -> None:
    story = Story(2)
    story.propose(1, "x")
    story.note(2, "blocked", op="x", waiting_for=[], why="view 2 has no quorum of 4")
    story.commit(1, "x")
    says(judge("termination", story), "violated", "party 2 waits (view 2 has no quorum of 4)")


def test_those_who_crashed_and_those_who_lie_owe_nothing() -> None:
    story = Story(3)
    story.propose(1, "x")
    story.commit(1, "x")
    story.fault(0, "crash", "begin", 2)
    story.fault(1, "silent", "begin", 3)
    story.lie(3, "SignedVote", 1, (1, 2))
    assert judge("termination", story).verdict == "ok"


@pytest.mark.parametrize(("voted", "verdict"), [(False, "ok"), (True, "violated")])
def test_what_a_party_forgot_and_all_others_gave_up_it_does_not_owe(
    voted: bool, verdict: str
) -> None:
    story = Story(3)
    story.propose(1, "x")
    if voted:
        story.vote(3, "x")  # that is stored
    crash(story, 3)
    for party in (1, 2):
        story.abort(party, "x")
    assert judge("termination", story).verdict == verdict


def test_while_a_partition_holds_nothing_is_owed_yet() -> None:
    story = Story(2)
    story.propose(1, "x")
    story.fault(0, "partition", "begin", 1, 2)
    says(judge("termination", story), "unknown", "but the partition never healed")
    story.fault(0, "partition", "end", 1, 2)
    assert judge("termination", story).verdict == "violated"


def test_while_messages_fly_it_may_still_settle() -> None:
    story = Story(2)
    story.propose(1, "x")
    story.send(1, (2,))
    says(judge("termination", story), "unknown", "1 message was still under way")


# --- order, durability, leaders -----------------------------------------------------------


def test_one_operation_at_two_places() -> None:
    story = Story(2)
    rows = story.commit(1, "a", index=0), story.commit(2, "a", index=3)
    says(judge("total-order", story), "violated", "a is at index 0 for party 1 and at 3 for", *rows)


def test_two_orders() -> None:
    story = Story(2)
    for party, ops in ((1, "ab"), (2, "ba")):
        for index, op in enumerate(ops):
            story.commit(party, op, index=index)
    says(
        judge("total-order", story),
        "violated",
        "index 0 holds different operations: party 1 a; party 2 b",
    )


def test_going_backwards() -> None:
    story = Story(1)
    story.commit(1, "b", index=1)
    story.commit(1, "a", index=0)
    says(judge("total-order", story), "violated", "party 1 committed index 0 after 1")


def test_a_protocol_that_orders_nothing_is_not_judged_for_it() -> None:
    story = Story(1)
    story.commit(1, "a")
    says(judge("total-order", story), "unknown", "orders nothing")


def test_one_order_everywhere() -> None:
    story = Story(2)
    for index, op in enumerate("ab"):
        story.commit(1, op, index=index)
        story.commit(2, op, index=index)
    assert judge("total-order", story).verdict == "ok"


def crash(story: Story, party: int) -> None:
    story.fault(0, "crash", "begin", party)
    story.host(party, "crashed")
    story.fault(0, "crash", "end", party)
    story.host(party, "restarted")


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (lambda s: s.commit(1, "a", "other", index=0), "committed other instead after it"),
        (lambda s: s.abort(1, "a"), "aborted it after it"),
        (lambda s: s.commit(1, "b", index=0), "held a at index 0 before its crash and b after"),
        (lambda s: s.note(1, "restored", records=0), "committed 1 operation before its crash"),
    ],
    ids=["another value", "aborted", "another operation", "forgotten"],
)
def test_forgetting_what_was_committed(after, sentence: str) -> None:  # type: ignore[no-untyped-def]
    story = Story(2)
    story.commit(1, "a", index=0)
    crash(story, 1)
    after(story)
    says(judge("durability", story), "violated", sentence)


def test_remembering_it() -> None:
    story = Story(2)
    story.commit(1, "a", index=0)
    crash(story, 1)
    assert judge("durability", story).verdict == "unknown"
    story.note(1, "restored", records=1)
    assert judge("durability", story).verdict == "ok"


def test_a_store_that_a_fault_took_is_not_judged() -> None:
    story = Story(2)
    story.commit(1, "a", index=0)
    crash(story, 2)
    story.host(1, "crashed")
    gone = story.host(1, "restarted", amnesia=True)
    says(judge("durability", story), "unknown", "a fault took the store of party 1", gone)
    story.commit(1, "b", index=0)
    assert judge("durability", story).verdict == "unknown"
    crash(story, 1)
    story.note(1, "restored", records=0)  # what it committed since then it should hold
    says(judge("durability", story), "violated", "had committed 1 operation before its crash")


def test_what_only_a_lost_store_knew_nobody_owes() -> None:
    story = Story(2)
    story.note(1, "proposed", op="a", kind="note", by=1, text="")
    story.host(2, "started")
    assert judge("termination", story).verdict == "violated"
    story.host(1, "crashed")
    story.host(1, "restarted")
    assert judge("termination", story).verdict == "violated", "a proposal is stored"
    story.host(1, "crashed")
    story.host(1, "restarted", amnesia=True)
    assert judge("termination", story).verdict == "ok"


def test_an_honest_party_votes_one_way() -> None:
    story = Story(2)
    story.propose(1, "a")
    yes, no = story.vote(2, "a"), story.vote(2, "a", approve=False)
    says(judge("integrity", story), "violated", "party 2 voted both ways on a", yes, no)
    assert judge("integrity", story, faulty=(2,)).verdict != "violated"
    forgot = Story(2)
    forgot.propose(1, "a")
    forgot.vote(2, "a")
    forgot.host(2, "crashed")
    forgot.host(2, "restarted", amnesia=True)
    forgot.vote(2, "a", approve=False)
    assert judge("integrity", forgot).verdict != "violated"


def test_what_is_committed_is_carried_out_once_in_a_life() -> None:
    story = Story(1)
    story.commit(1, "a")
    story.note(1, "executed", op="a", result="x")
    crash(story, 1)
    story.commit(1, "a")
    once = story.note(1, "executed", op="a", result="x")
    assert judge("integrity", story).verdict == "ok"
    again = story.note(1, "executed", op="a", result="x")
    says(judge("integrity", story), "violated", "party 1 executed a twice", once, again)


def test_nobody_aborts_what_nobody_proposed() -> None:
    story = Story(2)
    story.propose(1, "a")
    row = story.abort(2, "b")
    says(judge("validity", story), "violated", "aborted b, which nobody had proposed", row)
    assert judge("validity", story, faulty=(1,)).verdict != "violated"


def test_a_run_that_was_stopped_early_shows_nothing_about_ends() -> None:
    """Ten seconds is what a proposal may wait; twice that is long enough to judge it."""
    story = Story(2)
    story.propose(1, "a")
    story.at(19_000).remark(1, "still here")
    check = partial(run_checks, story.trace, ["termination"], n=2)
    (stopped,), (rested,) = check(patience=10_000_000), check()
    says(stopped, "unknown", "but the run was stopped when that had lasted 19 s")
    assert rested.verdict == "violated"
    story.at(20_000).remark(1, "still here")
    (late,) = check(patience=10_000_000)
    assert late.verdict == "violated"
    story.host(2, "resumed")
    (stirred,) = check(patience=10_000_000)
    assert stirred.verdict == "unknown"


def test_two_leaders_in_a_term() -> None:
    story = Story(3)
    first = story.note(1, "became-leader", term=2)
    story.note(3, "became-leader", term=3)
    assert judge("leaders", story).verdict == "ok"
    second = story.note(2, "became-leader", term=2)
    says(
        judge("leaders", story),
        "violated",
        "parties 1 and 2 both became leader in term 2",
        first,
        second,
    )


# --- blame --------------------------------------------------------------------------------


def accuse(story: Story, actor: int, party: int | None, strength: str) -> None:
    story.trace.append(Blamed(story.now, actor, ("session",), party, "two votes", strength))


def test_blaming_the_innocent() -> None:
    story = Story(3)
    accuse(story, 1, 2, "proof")
    says(judge("blame", story), "violated", "party 1 blames party 2, which is honest: two votes", 0)


def test_blaming_one_that_lost_its_store() -> None:
    story = Story(3)
    story.host(2, "crashed")
    story.host(2, "restarted", amnesia=True)
    accuse(story, 1, 2, "proof")
    says(judge("blame", story), "ok", "only the guilty were blamed: party 2")


def test_blaming_the_guilty() -> None:
    story = Story(3)
    assert judge("blame", story, faulty=(2,)).verdict == "unknown"
    accuse(story, 1, 2, "known")
    says(judge("blame", story, faulty=(2,)), "ok", "only the guilty were blamed: party 2", 0)


@pytest.mark.parametrize(
    ("actor", "party", "strength"), [(1, 2, "suspect"), (1, None, "someone"), (3, 2, "proof")]
)
def test_suspicion_and_a_liars_word_are_no_accusation(actor, party, strength) -> None:  # type: ignore[no-untyped-def]
    story = Story(3)
    accuse(story, actor, party, strength)
    assert judge("blame", story, faulty=(3,)).verdict != "violated"
