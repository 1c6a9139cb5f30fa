"""`lab.of(session)`: every verb, every fault and every row in one session's own numbers."""

from collections.abc import Iterator

import pytest

from mpclab import Lab, UsageError
from mpclab.faults.plan import parse_fault
from mpclab.lab.inside import look
from mpclab.trace.calls import calls_of
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


def test_what_is_planned_healed_and_saved_is_the_sessions_own(lab: Lab) -> None:
    tea = lab.of("tea")
    tea.at(lab.now + 100_000, "crash", 4)
    tea.at(lab.now + 100_000, "propose", 1, text="planned")
    tea.at(lab.now + 200_000, "restart", 3)
    tea.plan(parse_fault({"kind": "crash", "party": 2, "at": "300ms"}, 4), lab.now)
    tea.wait(1)
    lives = {p: one.life for p, one in tea.state.parties.items()}
    assert lives == {1: "up", 2: "crashed", 3: "up", 4: "crashed"}
    assert {p: one.life for p, one in lab.state.parties.items()} == dict.fromkeys((1, 2, 3), "up")
    assert tea.fork().of("tea").state.parties[4].life == "crashed"
    refused = "party 3 of the lab's session 2 has not crashed"
    assert [row.note.reason for row in lab.trace.notes("could-not")] == [refused]
    tea.restart(2)
    tea.restart(4)
    tea.join()
    theirs, ours = tea.inject("crash", party=4), lab.inject("partition", isolated=3)
    assert (tea.injections, lab.injections) == ((theirs,), (theirs, ours))
    tea.propose(2, text="to be saved")
    lab.wait("500ms")
    assert str(tea.heal()) == "✓ healed: party 4 crashes"
    assert ours.active
    saved, first = tea.to_scenario(), lab.to_scenario()
    assert (saved.session, saved.parties, len(saved.operations)) == ("tea", 4, 1)
    assert [(one.kind, one.lasts) for one in saved.faults] == [("crash", 500_000)]
    assert [(one.kind, one.lasts) for one in first.faults] == [("partition", None)]


def test_a_fault_of_all_links_is_of_one_sessions_links(lab: Lab) -> None:
    tea = lab.of("tea")
    for one, other in ((tea, lab.of("lab")), (lab.of("lab"), tea)):
        lost = one.inject("loss", rate=1.0)
        assert [f.text for f in one.state.faults.values()] == [lost.fault.sentence()]
        assert not other.state.faults
        cut_off, heard = one.propose(1, text="lost"), other.propose(1, text="heard")
        lab.wait(2)
        assert (cut_off.status, heard.status) == ("undecided", "committed")
        one.heal()
        lab.run()


def test_calls_of_the_first_session_are_among_its_rows(lab: Lab) -> None:
    for session in ("lab", "tea"):
        lab.of(session).call(1, 1, text=session)
    lab.run()
    for session in ("lab", "tea"):
        assert [one.text for one in calls_of(lab.of(session).trace)] == [session]


def test_what_cannot_be_is_refused_in_words(lab: Lab) -> None:
    tea = lab.of("tea")
    for number in (-1, 10**6, "x"):
        with pytest.raises(UsageError, match=r"the trace of this session has the rows 0 to \d+"):
            tea.rewind_before(number)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="the trace of this session has the rows"):
            tea.fork(after=number)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="session 3: write its name"):
        lab.of(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="message 9 of party 1 of the lab's session 2 is not on"):
        tea.lose(1, 9, 2)
    lab.rewind("0ms")
    assert repr(tea).endswith(": not open yet")
