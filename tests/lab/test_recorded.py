"""What was done by hand is a scenario that does it again."""

from contextlib import suppress

from mpclab.core import UsageError
from mpclab.lab import Lab, Scenario, play


def test_it_ends_as_it_did_by_hand() -> None:
    with Lab(parties=4, agreement="pbft", seed=5) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        lab.wait("3s")  # somebody reads the screen
        lab.propose(by=1, text="tea")
        lab.run()
        lab.crash(4)
        lab.propose(by=2, text="without party 4")
        lab.run()
        lab.restart(4)
        cut = lab.inject("partition", isolated=3)
        lab.wait("500ms")
        cut.heal()
        lab.set_votes(2, "reject")
        lab.propose(by=3, text="rejected")
        lab.run()
        by_hand = [o.status for o in lab.outcomes()]
        scenario = lab.to_scenario()
    assert scenario.operations[0].at == 0
    assert [f.kind for f in scenario.faults] == ["crash", "partition"]
    assert (scenario.faults[1].lasts, scenario.votes) == (500_000, {2: "reject"})
    again = Scenario.from_text(scenario.to_text())
    assert again == scenario
    # Votes are as they were last, from the beginning on: only the last operation can be compared.
    assert by_hand == ["committed", "aborted", "aborted"]
    assert play(again.but(votes={})).outcomes[0].status == "committed"
    assert play(again).outcomes[2].status == "aborted"


def test_what_was_refused_is_left_out_and_references_are_numbers() -> None:
    with Lab(parties=3, mesh="ready", world="simulated") as lab:
        lab.spawn()
        for refused in (lambda: lab.crash(9), lambda: lab.inject("crash", party=9)):
            with suppress(UsageError):
                refused()
        first = lab.propose(by=1, kind="dkg")
        lab.run()
        lab.propose(by=2, kind="sign", message="hello", key=first)
        lab.run()
        scenario = lab.to_scenario()
    assert scenario.faults == ()
    assert scenario.operations[1].params["key"] == 1
    assert [o.status for o in play(scenario).outcomes] == ["committed", "committed"]
