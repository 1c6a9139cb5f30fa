"""The state at a time is a fold over the rows before it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.lab import play
from mpclab.testing import experiments
from mpclab.trace.fold import Scrubber, State, fold
from tests.plots import scenes
from tests.trace.rowmaker import Story, committed


def test_an_operation_is_followed_from_proposal_to_result() -> None:
    story = committed(3)
    early = fold(story.trace, until=10_000).operations["k3f9"]
    assert (early.status, early.kind, early.by, early.text) == ("open", "note", 1, "hello")
    assert {p: v.approve for p, v in early.votes.items()} == {1: True, 2: True, 3: True}
    late = fold(story.trace).operations["k3f9"]
    assert late.status == "committed"
    assert late.standing == dict.fromkeys((1, 2, 3), "executed")
    assert {c.value for c in late.commits.values()} == {"aa11"}
    assert late.certified[2] == (20_000, (1, 2, 3))
    assert not late.split


def test_a_split_outcome_is_one() -> None:
    story = Story(3)
    story.propose(1, "x")
    story.commit(1, "x", "aa")
    assert not fold(story.trace).operations["x"].split
    story.abort(2, "x")
    assert fold(story.trace).operations["x"].split
    values = committed(3)
    values.commit(3, "k3f9", "bb22")
    assert fold(values.trace).operations["k3f9"].values == ("aa11", "bb22")
    assert fold(values.trace).operations["k3f9"].split


def test_a_crashed_party_loses_its_links_and_its_office() -> None:
    story = Story(3)
    story.link(1, 2, "confirmed")
    story.link(2, 1, "confirmed")
    story.note(1, "became-leader", term=4)
    before = fold(story.trace)
    assert (before.link(1, 2), before.leaders) == ("confirmed", (1,))
    story.at(5).fault(0, "crash", "begin", 1)
    after = fold(story.trace)
    assert (after.parties[1].life, after.link(1, 2), after.leaders) == ("crashed", "closed", ())
    assert list(after.faults) == [0]
    story.at(9).fault(0, "crash", "end", 1)
    back = fold(story.trace)
    assert (back.parties[1].life, back.reachable, back.faults) == ("up", (1, 2), {})


def test_what_a_party_heard_and_had_not_voted_on_it_forgets_in_a_crash() -> None:
    story = Story(3)
    story.propose(1, "x")
    story.at(1).vote(2, "x")
    for party in (2, 3):
        story.at(2).host(party, "crashed")
        story.at(3).host(party, "restarted")
    assert fold(story.trace).operations["x"].standing == {1: "open", 2: "open"}


def test_a_pair_is_linked_as_well_as_its_worse_end_says() -> None:
    story = Story(2)
    assert fold(story.trace).link(1, 2) == ""
    story.link(1, 2, "confirmed")
    story.link(2, 1, "relay")
    assert fold(story.trace).pairs == {(1, 2): "relay"}
    story.link(2, 1, "closed")
    assert fold(story.trace).link(2, 1) == "closed"


def test_what_the_host_notes_counts_and_what_a_protocol_calls_alike_does_not() -> None:
    story = Story(2)
    story.note(1, "started", path=("session",))
    story.host(2, "paused")
    state = fold(story.trace)
    assert (state.parties[1].life, state.parties[2].life) == ("up", "paused")


def test_the_server_and_who_is_with_it() -> None:
    story = Story(2)
    assert fold(story.trace).server == ""
    story.note(0, "opened", path=("signaling",), session="s")
    story.note(0, "joined", path=("signaling",), session="s", party=1)
    assert fold(story.trace).members == {"s": {1: "present"}}
    story.host(0, "crashed")
    state = fold(story.trace)
    assert (state.server, state.members) == ("down", {"s": {1: "away"}})


def test_a_phase_ends_with_its_operation_and_with_its_view() -> None:
    story = Story(1)
    story.note(1, "phase", phase="prepared", op="a")
    story.commit(1, "b")
    assert fold(story.trace).parties[1].phase == "prepared"
    story.commit(1, "a")
    assert fold(story.trace).parties[1].phase == ""
    story.note(1, "phase", phase="view-change", view=1)
    story.note(1, "entered-view", view=1)
    state = fold(story.trace).parties[1]
    assert (state.phase, state.view, state.leader) == ("", 1, False)


def test_under_a_coordinator_its_commit_counts_and_the_protocols_decision_does_not() -> None:
    bare = Story(1)
    bare.note(1, "decided", op="a", index=0)
    assert fold(bare.trace).operations["a"].status == "committed"
    whole = Story(1)
    whole.propose(1, "a")
    whole.note(1, "decided", op="a", index=0)
    assert fold(whole.trace).operations["a"].status == "open"


@settings(max_examples=25)
@given(st.lists(st.integers(-1, 1_000_000), max_size=4), st.integers(20, 90))
def test_a_scrubber_shows_what_the_fold_shows(times: list[int], every: int) -> None:
    scrubber = Scrubber(_TRACE, every=every)
    for time in times:  # forwards and backwards
        assert scrubber.at(time) == fold(_TRACE, time)


def test_a_scrubber_follows_a_growing_trace() -> None:
    story = Story(2)
    story.propose(1, "a")
    scrubber = Scrubber(story.trace, every=1)
    assert set(scrubber.at(0).operations) == {"a"}
    story.at(7).propose(2, "b")
    assert set(scrubber.at(6_999).operations) == {"a"}
    assert set(scrubber.at(7_000).operations) == {"a", "b"}


_TRACE = scenes.broken(3)


def test_many_rows_at_once_do_what_they_do_one_by_one() -> None:
    for protocol in ("pbft", "direct"):
        for seed in range(3):
            rows = list(play(experiments.draw(seed, protocol)).trace)
            singly, together = State(), State()
            for row in rows:
                singly.apply(row)
            together.read(rows[:100])
            together.read(iter(rows[100:]))
            together.read([])
            assert together == singly
