"""Between any two effects of a real party lies a crash, and it can be had on purpose."""

import os
import signal
import subprocess
import sys

import pytest

from mpclab.core.errors import UsageError
from mpclab.lab import Lab
from mpclab.worlds.failures import NodeFailed
from mpclab.worlds.real.failpoints import ACTIONS, PLACES, VARIABLE, Failpoints
from mpclab.worlds.real.world import RealWorld

NONE = (
    "", "x=1:kill", "before-send=0:kill", "before-send=-1:kill", "before-send:kill",
    "before-send=1:explode", "before-send=²:kill",
)  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_failpoint_is_said(text: str) -> None:
    if not text:
        assert not Failpoints(text).hit("before-send")
        return
    with pytest.raises(UsageError, match="write PLACE=K:ACTION"):
        Failpoints(text)


def test_each_acts_once_and_in_its_turn() -> None:
    points = Failpoints("before-send=2:crash,after-persist=1:fail")
    assert [points.hit("before-send") for _ in range(4)] == [False, True, False, False]
    with pytest.raises(OSError, match="No space left"):
        points.hit("after-persist")
    assert not points.hit("after-persist")
    assert {*PLACES} > {"before-send", "after-persist"}
    assert "kill" in ACTIONS


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("k", [1, 3])
def test_nothing_is_lost_whatever_effect_a_party_ends_at(place: str, k: int) -> None:
    with Lab(world="websocket", parties=3, policy="threshold(2)") as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join()
        assert isinstance(lab.world, RealWorld)
        lab.world.failpoints = Failpoints(f"{place}={k}:crash")
        lab.propose(by=1, kind="note", text="on the edge")
        lab.run(lambda: len(lab.world.actors) == 3, limit=20)
        (gone,) = {1, 2, 3} - {*lab.world.actors}
        lab.restart(gone)
        lab.join()
        second = lab.propose(by=gone, kind="note", text="back again")
        lab.run(lambda: second.status == "committed", limit=20)
        assert second.status == "committed"
        checks = lab.check("agreement", "validity", "integrity", "durability", "certificates")
        assert not [v for v in checks if v.verdict == "violated"]


def test_a_disk_that_fails_ends_the_party_and_says_so() -> None:
    with Lab(world="websocket", parties=2) as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join()
        assert isinstance(lab.world, RealWorld)
        lab.world.failpoints = Failpoints("before-persist=1:fail")
        with pytest.raises(NodeFailed, match="No space left"):
            lab.propose(by=1, kind="note", text="too much")


def test_a_process_gets_them_from_its_environment() -> None:
    code = "from mpclab.worlds.real.failpoints import *; from_environment().hit('before-send')"
    environment = {**os.environ, VARIABLE: "before-send=1:kill"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == (
        -signal.SIGKILL
    )
