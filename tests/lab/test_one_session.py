"""`lab.of(session)`: every verb, every fault and every row in one session's own numbers."""

from collections.abc import Iterator

import pytest

from mpclab import Lab, UsageError
from mpclab.lab.inside import look
from mpclab.trace.fold import fold


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two sessions on one server: "lab" of three, "tea" of four, both connected."""
    with Lab(parties=3, seed=5) as made:
        made.start_server()
        made.spawn()
        made.join()
        made.session("tea", parties=4, policy="threshold(3)")
        tea = made.of("tea")
        tea.spawn()
        assert str(tea.join()).startswith("✓ parties 1–4 in session 'tea', every pair connected")
        yield made


def test_verbs_outcomes_and_checks_are_the_sessions_own(lab: Lab) -> None:
    tea = lab.of("tea")
    assert tea.parties == (1, 2, 3, 4)
    tea.crash(4)
    cake = tea.propose(4 - 1, text="cake")
    lab.propose(1, text="not their business")
    assert [str(one) for one in tea.run()] == ["1. note by party 3: committed → cake"]
    assert cake.status == "committed"
    assert tea.state.parties[4].life == "crashed"
    assert set(tea.state.parties) == {1, 2, 3, 4}
    assert set(lab.of("lab").state.parties) == {1, 2, 3}
    assert [v.verdict for v in tea.check()] == ["ok"] * 4
    assert all("cake" not in str(row) for row in lab.of("lab").trace)
    with pytest.raises(UsageError, match="party 5 is not here; parties here: 1, 2, 3, 4"):
        tea.propose(5, text="nobody")
    with pytest.raises(UsageError, match="there is no session 'te'; did you mean 'tea'"):
        lab.of("te")


def test_faults_speak_of_the_sessions_parties_and_leave_others_alone(lab: Lab) -> None:
    tea = lab.of("tea")
    cut = tea.inject("partition", groups=[[1, 2], [3, 4]])
    lie = tea.inject("equivocate", party=2)
    assert tea.state.faults[lie.index].parties == (2,)
    theirs = tea.propose(1, text="cut off")
    ours = lab.propose(1, text="as ever")
    lab.run(limit=3)
    assert (ours.status, theirs.status) == ("committed", "undecided")
    assert fold(lab.of("tea").trace).liars == {2}
    assert not fold(lab.of("lab").trace).liars
    lie.heal()
    cut.heal()
    tea.run()
    assert theirs.status == "committed"
    assert not any(one.active for one in lab.injections)


def test_time_is_turned_back_for_all_and_rows_are_counted_in_the_session(lab: Lab) -> None:
    tea = lab.of("tea")
    lab.checkpoint("ready")
    before = len(tea.trace)
    tea.inject("crash", party=1)
    tea.propose(2, text="one")
    tea.run()
    asked = next(i for i, row in enumerate(tea.trace) if i >= before and "one" in str(row))
    forked = tea.fork(after=asked)
    assert set(look(forked)) == {2, 3, 4}
    assert list(forked.trace) == list(tea.trace)[: len(forked.trace)]
    assert len(forked.trace) >= asked + 1
    lab.rewind("ready")
    assert len(tea.trace) == before
    tea.propose(1, text="two")
    assert [one.status for one in tea.run()] == ["committed"]
    lab.rewind("0ms")
    assert "tea" not in lab.groups


def test_a_session_in_which_nobody_was_takes_new_fields(lab: Lab) -> None:
    assert lab.session("late", parties=2).scenario.parties == 2
    base = lab.session("late", parties=5).base
    assert lab.groups["late"].scenario.parties == 5
    assert base == lab.groups["late"].base
    assert lab.session("tea", parties=2).scenario.parties == 4, "parties are there already"
