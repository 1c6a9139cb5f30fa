"""What is violated is made small by a button; two branches are compared by another."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mpclab.check import Verdict
from mpclab.lab import Lab, Scenario
from mpclab.lab.shipped import file_of
from mpclab.panels import Coordinator
from mpclab.panels.smaller import FILE, what_was_done
from tests.panels.hands import Hands, wait

Make = Callable[..., Hands]


def violated(verdicts: list[Verdict]) -> set[str]:
    return {one.check for one in verdicts if one.verdict == "violated"}


def test_a_violation_is_made_small_into_a_file_and_a_picture(
    hands: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    it = hands(parties=4)
    panel: Coordinator = it.panel
    assert panel.outcome.smaller.box.layout.display == "none"  # nothing is violated
    panel.world.file.value = str(file_of("equivocate"))
    it.press(panel.world.play)
    it.say("played equivocate.yaml")
    it.press(panel.outcome.check)
    wait(lambda: panel.outcome.smaller.box.layout.display is None, "shrinking is offered")
    it.press(panel.outcome.smaller.button)
    wait(lambda: not panel.outcome.smaller.is_running, "it has ended", 60)
    it.say("nothing more can be left out")
    it.say(f"saved as <code>{FILE}</code>")
    found = Scenario.from_file(tmp_path / FILE)
    assert found.run().violated
    assert found.parties < panel.lab.scenario.parties
    assert bytes(panel.outcome.smaller.picture.image.value[1:4]) == b"PNG"


def test_making_it_small_can_be_cancelled(
    hands: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    it = hands(parties=4)
    panel: Coordinator = it.panel
    panel.world.file.value = str(file_of("equivocate"))
    it.press(panel.world.play)
    it.say("played equivocate.yaml")
    it.press(panel.outcome.check)
    wait(lambda: panel.outcome.smaller.box.layout.display is None, "shrinking is offered")
    smaller = panel.outcome.smaller
    smaller._press()
    smaller._press()  # at once: it is Cancel now
    wait(lambda: not smaller.is_running, "it has ended", 60)
    it.say("stopped: cancelled")


def test_what_was_clicked_is_what_is_made_small() -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        lab.inject("partition", isolated=3)
        lab.propose(by=1, text="clicked")
        scenario = what_was_done(lab)
    assert [one.params["text"] for one in scenario.operations] == ["clicked"]
    assert [one.kind for one in scenario.faults] == ["partition"]


def test_two_branches_are_compared(hands: Make) -> None:
    it = hands(parties=4, agreement="pbft", mesh="ready")
    panel: Coordinator = it.panel
    compare = panel.compare
    assert compare.compare.disabled
    it.press(panel.parties.spawn)
    it.press(panel.parties.join)
    it.press(panel.time.mark)
    panel.operations.fields["text"][1].value = "this way"
    it.press(panel.operations.propose)
    it.press(panel.time.run)
    it.say("executed")
    it.press(panel.time.back)
    it.press(panel.operations.propose)
    it.press(panel.time.run)
    it.press(panel.operations.propose)
    it.press(panel.time.run)
    wait(lambda: not compare.compare.disabled, "there are two branches")
    assert {compare.one.value, compare.other.value} == {"main", "branch 2"}
    it.press(compare.compare)
    it.say("The first difference is at party 1")
    assert bytes(compare.picture.image.value[1:4]) == b"PNG"
