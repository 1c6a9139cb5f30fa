"""What cannot be is refused in words that say what can, and the lab goes on."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from mpclab.core import UsageError
from mpclab.lab import Lab, Scenario


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Lab(4), "from a scenario or from fields, not from 4"),
        (lambda: Lab("run.yaml"), "Lab(Scenario.from_file(…))"),
        (lambda: Lab(partys=4), "did you mean 'parties'"),
        (lambda: Lab(agreement={"raft": {"prevot": False}}), "did you mean 'prevote'"),
        (lambda: Lab(options={"rate": 1}), "the simulated world has no option 'rate'"),
        (lambda: Lab(protocol=dict), "give a Machine class"),
        (lambda: Lab(Scenario({"parties": 3})), "Scenario(parties=3)"),
        (lambda: Lab(Scenario(operations=[{"by": 1}])), "operations[0]: 'kind' is missing"),
        (lambda: Lab(Scenario(faults=["crash"])), "faults[0]"),
    ],
)
def test_a_lab_that_cannot_be_made(make: Callable[[], Lab], says: str) -> None:
    with pytest.raises(UsageError) as error:
        make()
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda lab: lab.inject(7), "a fault is its kind or a mapping of fields, not 7"),
        (lambda lab: lab.inject("partitoin"), "did you mean 'partition'"),
        (lambda lab: lab.inject("crash"), "fault.party is missing"),
        (lambda lab: lab.to_scenario().to_file(""), "a file without a name"),
        (lambda lab: lab.set_private(1, "a"), "'a' is not a number"),
        (lambda lab: lab.set_private(1, 10**60), "no computation takes one of 38 digits; sum, max"),
        (lambda lab: lab.set_private(1, 0.1234567891), "9 decimal places at the most"),
        (lambda lab: lab.set_private(9, 1), "party 9: use 1 to 3"),
        (lambda lab: lab.set_votes(9, "approve"), "party 9: use 1 to 3"),
        (lambda lab: lab.set_votes(1, "aprove"), "did you mean 'approve'"),
        (lambda lab: lab.wait(-1), "wait: -1 is not a number of seconds"),
        (lambda lab: lab.wait("1 sec"), "wait: '1 sec' is not a duration"),
        (lambda lab: lab.wait(None), "wait: None is not a number of seconds"),
        (lambda lab: lab.run(limit=-0.5), "limit: -0.5"),
        (lambda lab: lab.join(timeout=float("nan")), "timeout: nan"),
        (lambda lab: lab.vote(1, "nothing"), "'nothing' is not known"),
        (lambda lab: lab.crash(9), "party 9 is not here; parties here: 1, 2, 3"),
        (lambda lab: lab.propose(by=9), "party 9 is not here"),
        (lambda lab: lab.propose(kind="sign", key=[]), "parameter 'key': [] is not text"),
        (lambda lab: lab.close_session("x"), "no server is running here"),
        (lambda lab: lab.free_seat("x", 1), "no server is running here"),
        (lambda lab: lab.close_session(None), "session None: write its name"),
        (lambda lab: lab.free_seat("x", [1]), "party [1]: write its number"),
    ],
)
def test_a_verb_that_cannot_be_done(do: Callable[[Lab], object], says: str) -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        with pytest.raises(UsageError) as error:
            do(lab)
        assert says in str(error.value)
        lab.propose(by=1, kind="note", text="all the same")
        assert [outcome.status for outcome in lab.run()] == ["committed"]


def test_a_scenario_in_python_is_written_as_in_a_file() -> None:
    scenario = Scenario(
        parties=3, mesh="ready", operations=[{"by": 1, "kind": "note", "text": "hello"}],
        faults=[{"at": "1s", "kind": "crash", "party": 2}],
    )  # fmt: skip
    assert scenario == Scenario.from_text(scenario.to_text())
    with pytest.raises(UsageError, match=r"private\.1: .* no computation takes one of 38 digits"):
        scenario.but(private={1: 10**60})
    assert [one.status for one in scenario.run().outcomes] == ["committed"]


def test_who_went_by_a_fault_is_gone_and_may_come_anew() -> None:
    with Lab(parties=4, seed=3) as lab:
        lab.start_server()
        lab.spawn()
        assert "0 of 6 pairs can talk" in str(lab.join(wait=False))
        assert "every pair connected" in str(lab.join())
        lab.inject("leave", party=1)
        assert lab.group.present == lab.group.joined == (2, 3, 4)
        for verb in (lab.leave, lab.restart, lab.crash, lab.join):
            with pytest.raises(UsageError, match="party 1 is not here"):
                verb(1)
        assert "waits for 1 more" in str(lab.join())
        lab.spawn(1)
        assert "every pair connected" in str(lab.join())
        lab.propose(by=1, kind="note", text="back")
        assert lab.run()[0].status == "committed"


def test_what_waits_for_inputs_says_so() -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        lab.propose(by=1, kind="sum")
        assert lab.run()[0].reason == "not yet executed at parties 1, 2, 3"
        lab.set_private(2, 1.5)
        lab.propose(by=1, kind="sum")
        why = "a number has decimal places; propose it with decimals=…"
        assert lab.run()[1].reason.endswith(f"; a private number of party 2 was not taken: {why}")


@pytest.mark.parametrize(
    "verb",
    [
        Lab.spawn, Lab.join, Lab.step, lambda lab: lab.wait(1), lambda lab: lab.crash(1),
        lambda lab: lab.propose(by=1, text="x"), lambda lab: lab.inject("loss", rate=0.1), Lab.heal,
        lambda lab: lab.set_votes(1, "reject"), Lab.pace, Lab.checkpoint,
    ],
)  # fmt: skip
def test_a_closed_lab_says_that_it_is_closed(verb: Callable[[Lab], object]) -> None:
    lab = Lab(parties=3)
    lab.close()
    with pytest.raises(UsageError, match="the lab is closed; make a new one"):
        verb(lab)


def test_a_trace_shows_itself() -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        lab.propose(by=1, text="hello")
        lab.run()
        rows = list(lab.trace)
        assert [lab.trace[5], lab.trace[-1], lab.trace[2:4]] == [rows[5], rows[-1], rows[2:4]]
        assert repr(lab.trace).startswith(f"Trace({len(rows)} rows, ")
        with pytest.raises(IndexError):
            lab.trace[len(rows)]


def test_to_join_one_must_be_there() -> None:
    with Lab(parties=3) as lab:
        lab.start_server()
        with pytest.raises(UsageError, match=r"call spawn\(\) first"):
            lab.join()


def test_a_fault_may_be_named_by_its_kind() -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        fault = lab.inject("partition", isolated=3).fault
        assert fault == lab.inject(kind="partition", isolated=3).fault


def test_a_duration_is_written_one_way_everywhere() -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        lab.wait("1.5s")
        assert lab.now == 1_500_000
        lab.join(timeout="2s")
        lab.run(lambda: False, limit="500ms")
        assert lab.now == 2_000_000
        assert all(fault.fault.lasts for fault in lab.nemesis(3, lasts="2s"))


def test_an_injection_shows_what_it_breaks_and_whether_it_still_does() -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        cut = lab.inject("partition", groups=[[1], [2, 3]])
        assert repr(cut).endswith("cannot hear each other (active)")
        cut.heal()
        assert repr(cut).endswith("(over)")


def test_who_never_heard_of_a_proposal_did_not_settle_it() -> None:
    with Lab(parties=4, agreement="2pc", mesh="ready") as lab:
        lab.spawn()
        lab.join()
        lab.inject("partition", groups=[[1, 2], [3, 4]])
        lab.propose(by=1, text="tea")
        lab.run()
        (judged,) = (v for v in lab.check() if v.check == "termination")
        assert judged.sentence == (
            "the proposal settled at parties 1 and 2; parties 3 and 4 never heard of it"
        )


def test_help_says_every_field_that_a_lab_and_a_scenario_take() -> None:
    for takes in (Lab, Scenario.but):
        names = set(inspect.signature(takes).parameters)
        assert {"parties", "world", "seed", "agreement", "network"} <= names
        assert "fields" not in names
