"""Every verb by its word, and words for what is none."""

from collections.abc import Callable

import pytest

from mpclab.core import UsageError
from mpclab.lab import Lab
from mpclab.panels.palette import run_command
from tests.panels.hands import Hands, wait


def test_a_story_in_words() -> None:
    with Lab(parties=4, agreement="direct") as lab:
        lab.start_server()
        for line, says in (
            ("spawn", "parties 1–4 spawned"), ("join", "0 of 6 pairs can talk"),
            ("step", "one step"), ("checkpoint early", "'early' at"), ("propose tea", "proposes"),
            ("crash 2", "party 2 crashed"), ("restart 2", "party 2 restarted"),
            ("pause 3", "party 3 is paused"), ("resume 3", "party 3 goes on"),
            ("partition 1, 2 | 3, 4", "cannot hear each other"), ("heal", "healed:"),
            ("check", "agreement"), ("rewind early", "again, on 'branch 2'"),
            ("switch main", "on 'main'"), ("pace 0", "time stands still"),
        ):  # fmt: skip
            assert says in run_command(lab, line), line
            if line == "join":
                lab.join()  # that waits


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("crahs 2", "did you mean 'crash'"),
        ("crash", "'' is not a party"),
        ("crash 9", "party 9 is not here"),
        ("pace fast", "write pace 1"),
        ("vote 2", "write a party and approve or reject"),
        ("vote 2 approve", "no proposal is open"),
        ("partition 1 | x", "'x' is not a whole number"),
    ],
)
def test_a_line_that_cannot_be_done(line: str, says: str) -> None:
    with Lab(parties=3, mesh="ready") as lab:
        lab.spawn()
        with pytest.raises(UsageError) as error:
            run_command(lab, line)
        assert says in str(error.value)


def test_it_offers_what_can_be_done_now(hands: Callable[..., Hands]) -> None:
    it = hands(parties=3)
    it.gather()
    line = it.panel.palette.line
    wait(lambda: "crash 2" in line.options, "a crash is offered")
    line.value = "crash 2"
    it.say("party 2 crashed")
    wait(lambda: "restart 2" in line.options and "crash 2" not in line.options, "a restart is")
    assert line.value == ""
