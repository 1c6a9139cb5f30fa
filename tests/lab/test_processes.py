"""Parties that are processes of their own: really killed, really stopped, never left behind."""

import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.lab import Lab
from mpclab.trace import Blamed, Delivered, Sent
from mpclab.worlds.real import processes
from mpclab.worlds.real.forking import Nursery
from mpclab.worlds.real.processes import PartyProcess, WithProcesses

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CHECKS = (
    "agreement", "validity", "integrity", "termination", "certificates", "durability", "blame",
)  # fmt: skip


def start(world: str = "websocket", **fields: object) -> Lab:
    """Parties 1 and 2 here, party 3 a process; all of them connected."""
    lab = Lab(world=world, parties=3, **fields)
    lab.start_server(port=0)
    lab.spawn(1, 2)
    lab.spawn(3, process=True)
    lab.join()
    return lab


class Lent(Nursery):
    """A nursery that goes on when its world is closed, whose processes have ended by then."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """One for the tests that are not about it: importing everything takes seconds."""
    lent = Lent(channels=True)
    lent.open()
    yield lent
    Nursery.close(lent)


@pytest.fixture
def lab(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(processes, "Nursery", lambda channels: nursery)
    with start(policy="threshold(2)") as lab:
        yield lab


def process_of(lab: Lab, party: int = 3) -> PartyProcess:
    assert isinstance(lab.world, WithProcesses)
    return lab.world.processes[party]


def said(lab: Lab, what: str, op: str = "", party: int = 3) -> bool:
    return any(n.actor == party and op in getattr(n.note, "op", "") for n in lab.trace.notes(what))


def state(pid: int) -> str:
    """R, S, T (stopped), …, or "" when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return ""


def ends(pid: int, seconds: float = 10) -> bool:
    """Whether a process, of whomever, ends within that time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="they are started one by one there")
def test_processes_are_forked_from_one_that_has_imported_everything() -> None:
    with Lab(world="websocket", parties=4) as lab:
        lab.start_server(port=0)
        lab.spawn(process=True)
        lab.crash(2)
        lab.restart(2)
        lab.join()
        children = [process_of(lab, party).pid for party in lab.parties]
        parents = {
            Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1] for pid in children
        }
        assert len(parents) == 1
        (nursery,) = map(int, parents)
        assert nursery != os.getpid()
        os.kill(nursery, signal.SIGKILL)
        assert all(ends(pid) for pid in children), "none outlives it"
        lab.run(lambda: not lab.world.actors[1:], limit=10)
        lab.restart(1)  # another one is made
        assert state(process_of(lab, 1).pid)


@pytest.mark.parametrize("world", ["websocket", "webrtc"])
def test_a_party_is_killed_in_a_vote_comes_back_is_stopped_and_goes_on(world: str) -> None:
    with start(world, policy="unanimous") as lab:
        lab.set_votes(3, "hand")
        first = lab.propose(by=1, text="one")
        lab.run(lambda: said(lab, "heard", first.id), limit=10)
        lab.vote(3, first.id)
        lab.run(limit=10)
        assert first.status == "committed"

        second = lab.propose(by=1, text="two", patience=800 * MS)
        lab.run(lambda: said(lab, "heard", second.id), limit=10)
        before = process_of(lab).pid
        lab.crash(3)
        assert state(before) == ""
        assert lab.world.actors == (0, 1, 2)
        lab.run(limit=10)
        assert second.outcome is not None
        assert second.status == "expired"
        assert second.outcome.reason == "no vote from party 3 in 800ms; it may still be committed"

        lab.restart(3)
        lab.join()
        assert process_of(lab).pid != before
        lab.set_votes(3, "approve")
        third = lab.propose(by=3, text="three")
        lab.run(limit=10)
        assert third.status == "committed"

        lab.pause(3)
        fourth = lab.propose(by=2, text="four")
        lab.wait(1)
        assert state(process_of(lab).pid) == "T"
        assert fourth.status == "undecided"
        lab.resume(3)
        lab.run(limit=10)
        assert fourth.status == "committed"
        lab.wait(0.1)
        assert {v.check: v.verdict for v in lab.check(*CHECKS)} == dict.fromkeys(CHECKS, "ok")
        assert not list(lab.trace.of(Blamed))
        assert {n.word for n in lab.trace.notes("started", "crashed", "restarted", "paused",
                                                "resumed") if n.actor == 3} == {
            "started", "crashed", "restarted", "paused", "resumed"}  # fmt: skip


def test_a_killed_party_has_told_of_everything_that_others_got_from_it(lab: Lab) -> None:
    for number in range(4):
        lab.propose(by=3, text=f"now {number}")
        # Dead as soon as anything of it has arrived: what it did not tell by then it never tells.
        arrived = lab.trace.deliveries
        lab.run(lambda since=arrived: lab.trace.deliveries > since + 1, limit=10)
        lab.crash(3)
        lab.wait(0.3)
        told = {row.id for row in lab.trace.of(Sent) if row.actor == 3}
        got = {row.id for row in lab.trace.of(Delivered) if row.sender == 3}
        assert got <= told
        lab.restart(3)
        lab.join()
    assert [v.verdict for v in lab.check("certificates", "validity", "blame")] == ["ok"] * 3


def test_what_it_says_is_in_our_trace_at_our_time_under_one_name(lab: Lab) -> None:
    for _ in range(2):
        lab.propose(by=3, text="hello")
        lab.run(limit=10)
        lab.wait(0.05)
        lab.crash(3)
        lab.restart(3)
        lab.join()
    arrived = [r for r in lab.trace.of(Delivered) if r.sender == 3 and r.actor in (1, 2)]
    assert arrived

    def sent() -> list[Sent]:
        return [row for row in lab.trace.of(Sent) if row.actor == 3]

    # A frame is quicker than the row that tells of it, which comes by another way.
    lab.run(lambda: {r.id for r in arrived} <= {r.id for r in sent()}, limit=10)
    assert {row.kind for row in sent()} >= {"SignedProposal", "SignedVote"}
    ids = [row.id for row in sent()]
    assert len(set(ids)) == len(ids), "a later life numbers its frames anew"
    at = {row.id: row.at for row in sent()}
    for row in arrived:
        assert at[row.id] < row.at < at[row.id] + 2 * SECOND


def test_it_catches_up_on_what_was_committed_without_it(lab: Lab) -> None:
    first = lab.propose(by=3, text="one")
    lab.run(limit=10)
    lab.crash(3)
    second = lab.propose(by=1, text="two")
    lab.run(limit=10)
    lab.restart(3)
    lab.join()
    lab.run(lambda: said(lab, "committed", second.id), limit=10)
    assert any(n.note.records == 1 for n in lab.trace.notes("restored") if n.actor == 3)
    assert (first.status, second.status) == ("committed", "committed")
    (durability,) = lab.check("durability")
    assert durability.verdict == "ok"


def test_with_amnesia_it_remembers_nothing(lab: Lab) -> None:
    lab.propose(by=3, text="one")
    lab.run(limit=10)
    lab.crash(3)
    lab.restart(3, amnesia=True)
    lab.join()
    lab.run(lambda: said(lab, "caught-up"), limit=10)
    assert said(lab, "caught-up")
    assert not [n for n in lab.trace.notes("restored") if n.actor == 3]


def test_faults_strike_it_too(lab: Lab) -> None:
    before = process_of(lab).pid
    crash = lab.inject(kind="crash", party=3, restart_after="100ms")
    assert state(before) == ""
    lab.run(lambda: not crash.active and 3 in lab.world.actors, limit=10)
    lab.join()
    assert process_of(lab).pid != before
    pause = lab.inject(kind="pause", party=3)
    assert state(process_of(lab).pid) == "T"
    with pytest.raises(UsageError, match="party 3 is paused"):
        lab.propose(by=3, text="no")
    pause.heal()
    assert lab.propose(by=3, text="yes")
    lab.run(limit=10)
    assert lab.outcomes()[0].status == "committed"


def test_a_process_that_somebody_else_kills_has_crashed(lab: Lab) -> None:
    pid = process_of(lab).pid
    os.kill(pid, signal.SIGKILL)
    lab.run(lambda: said(lab, "crashed"), limit=10)
    assert lab.world.actors == (0, 1, 2)
    with pytest.raises(UsageError, match="party 3 is not running"):
        lab.crash(3)
    lab.restart(3)
    lab.join()
    assert lab.world.actors == (0, 1, 2, 3)


def test_it_leaves_like_any_other(lab: Lab) -> None:
    pid = process_of(lab).pid
    lab.leave(3)
    assert ends(pid)
    assert lab.parties == (1, 2)
    lab.propose(by=1, text="without it")
    lab.run(limit=10)
    assert lab.outcomes()[0].status == "committed"


@pytest.mark.parametrize("stopped", [False, True])
def test_closing_the_lab_ends_it_and_leaves_no_key(stopped: bool) -> None:
    lab = start()
    pid, home = process_of(lab).pid, process_of(lab).folder.parent
    (key,) = home.glob("*.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    if stopped:
        lab.pause(3)
    lab.close()
    assert state(pid) == ""
    assert not home.exists()


ORPHAN = """
from mpclab.lab import Lab
lab = Lab(world="websocket", parties=2)
lab.start_server(port=0)
lab.spawn(1)
lab.spawn(2, process=True)
lab.join()
if {stopped}:
    lab.pause(2)
print(lab.world.processes[2].pid, flush=True)
lab.wait(60)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_it_does_not_outlive_a_kernel_that_is_killed(stopped: bool, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN.format(stopped=stopped)],
        stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as kernel:  # fmt: skip
        assert kernel.stdout is not None
        pid = int(kernel.stdout.readline())
        before = state(pid)
        kernel.kill()
        assert (before == "T") == stopped
        assert before != ""
        assert ends(pid)


def test_what_cannot_be_is_refused(lab: Lab) -> None:
    for refused, why in (
        (lambda: lab.spawn(3, process=True), "already here"),
        (lambda: lab.group.session_of(3), "cannot be looked into"),
        (lambda: lab.world.slow(3, 1), "a process of its own"),
        (lambda: lab.propose(by=3, kind="nonsense"), "nonsense"),
        (lambda: lab.restart(3), "has not crashed"),
    ):
        with pytest.raises(UsageError, match=why):
            refused()
    lie = lab.inject(kind="lie", party=3)
    assert not lie.active
    assert "does not happen: party 3 is a process of its own, which cannot be corrupted" in "".join(
        getattr(row, "text", "") for row in lab.trace.rows
    )


def test_where_there_is_no_process_to_be_had_it_says_so() -> None:
    with Lab(parties=2) as lab, pytest.raises(UsageError, match="a simulated party has no process"):
        lab.spawn(1, process=True)
    with Lab(world="websocket", parties=2) as lab:
        with pytest.raises(UsageError, match="needs the server first"):
            lab.spawn(1, process=True)
        lab.start_server(port=0)
        with pytest.raises(UsageError, match="party 3: use 1 to 2"):
            lab.spawn(3, process=True)


def test_a_child_that_does_not_start_says_why(tmp_path: Path) -> None:
    with Lab(world="websocket", parties=2) as lab:
        lab.start_server(port=0)
        assert isinstance(lab.world, WithProcesses)
        with pytest.raises(UsageError, match=r"party 1 did not start: .*required"):
            lab.world.host_processes({1: (lambda life: ["party"], tmp_path / "p")})
        assert 1 not in lab.world.actors
