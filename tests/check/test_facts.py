"""What all checks read from a trace: who lied, and who crashed how often."""

import pytest

from mpclab.check import Facts, run_checks
from mpclab.core import notes
from mpclab.lab import Scenario
from mpclab.trace import Fault, Noted, Trace
from tests.trace.rowmaker import Story


def crash(story: Story, party: int, *, fault: bool) -> int:
    """The row at which `party` is down: by a declared fault, or by hand."""
    rows = [story.fault(0, "crash", "begin", party)] if fault else []
    rows.append(story.host(party, "crashed"))
    return rows[0]


def come_back(story: Story, party: int, *, fault: bool) -> None:
    if fault:
        story.fault(0, "crash", "end", party)
    story.host(party, "restarted")


@pytest.mark.parametrize("fault", [True, False])
def test_a_crash_that_the_fault_and_the_host_tell_of_is_one_crash(fault: bool) -> None:
    story = Story(3)
    story.propose(1, "k3f9")
    story.commit(2, "k3f9")
    down = [crash(story, 2, fault=fault)]
    come_back(story, 2, fault=fault)
    story.commit(2, "k3f9")
    down.append(crash(story, 2, fault=fault))
    come_back(story, 2, fault=fault)
    story.commit(2, "k3f9")
    facts = Facts.of(story.trace, n=3)
    assert facts.crashes == {2: down}
    assert [d.life for d in facts.decisions] == [1, 2, 3]


@pytest.mark.parametrize("world", ["simulated", "websocket"])
def test_so_it_is_in_a_run(world: str) -> None:
    fault = {"at": "0ms", "kind": "crash", "party": 3, "restart_after": "100ms"}
    fields = {"parties": 3, "policy": "threshold(2)", "world": world, "faults": [fault]}
    note = {"at": "200ms", "by": 1, "kind": "note", "text": "after it"}
    run = Scenario.parse({**fields, "operations": [note], "until": "5s"}).run()
    facts = Facts.of(run.trace, n=3)
    assert {party: len(rows) for party, rows in facts.crashes.items()} == {3: 1}
    assert {d.party: d.life for d in facts.decisions} == {1: 1, 2: 1, 3: 2}


def test_a_malicious_server_is_no_faulty_party() -> None:
    story = Story(3)
    row = Fault(0, 0, -1, "byzantine", "act", (0,), "forges", True)
    story.trace.append(row)
    assert Facts.of(story.trace, n=3).faulty == frozenset()
    (blame,) = run_checks(story.trace, ["blame"], n=3)
    assert blame.sentence == "nobody was blamed, and nobody lied"


def test_a_fault_that_did_not_happen_makes_nobody_a_liar() -> None:
    story = Story(3)
    story.fault(0, "lie", "act", 2, text="does not happen: party 2 cannot be corrupted")
    story.fault(1, "lie", "begin", 3)
    assert Facts.of(story.trace, n=3).faulty == {3}


def test_a_liar_of_another_session_is_none_of_ours() -> None:
    story = Story(3)
    story.trace.append(Fault(0, 10_002, -1, "byzantine", "act", (10_002,), "lies", True))
    story.trace.append(Fault(0, 3, -1, "byzantine", "act", (3,), "lies", True))
    assert Facts.of(story.trace, n=3).faulty == {3}


def test_rows_that_came_late_are_judged_by_their_time() -> None:
    """A party in a process of its own: its vote reaches the trace after what it led to."""
    story = Story(2)
    story.at(0).propose(1, "k3f9")
    story.at(1).vote(1, "k3f9")
    late = [story.at(30).commit(1, "k3f9"), story.at(10).vote(2, "k3f9")]
    (validity,) = run_checks(story.trace, ["validity"], n=2)
    assert validity.verdict == "ok", validity
    early = [story.at(20).commit(2, "k3f9", "bb22")]
    (agreement,) = run_checks(story.trace, ["agreement"], n=2)
    assert agreement.verdict == "violated"
    assert agreement.witnesses == (late[0], *early), "numbered as in the trace that was given"


def test_a_verdict_says_whose_word_it_rests_on() -> None:
    """Party 3 runs elsewhere: what it tells may be a lie, and no liar can be told from it."""
    story = Story(3)
    story.propose(1, "k3f9")
    for p in (1, 2, 3):
        story.commit(p, "k3f9", "aa11" if p < 3 else "bb22")
    trace = Trace()
    trace.append(Noted(0, 3, (), notes.Started(elsewhere=True)))
    for row in story.trace:
        trace.append(row)
    (told,) = run_checks(trace, ["agreement"], n=3)
    (seen,) = run_checks(story.trace, ["agreement"], n=3)
    assert told.verdict == seen.verdict == "violated"
    assert told.sentence == seen.sentence + "; by its own word, as to party 3"
    (known,) = run_checks(trace, ["agreement"], n=3, faulty=[3])
    assert "word" not in known.sentence, "it does not count"
