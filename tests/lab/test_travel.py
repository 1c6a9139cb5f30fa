"""Time goes back, and off on another way; what was left behind can be returned to."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from mpclab.check import run_checks
from mpclab.core import UsageError
from mpclab.lab import Lab, travel
from mpclab.trace.flights import flights


def gathered(**fields: object) -> Lab:
    lab = Lab(**{"parties": 4, "agreement": "pbft", "seed": 3, **fields})  # type: ignore[arg-type]
    lab.start_server()
    lab.spawn()
    lab.join()
    return lab


def test_the_same_future_comes_again_and_another_choice_makes_another() -> None:
    lab = gathered()
    ready = lab.checkpoint("ready")
    before = lab.propose(by=1, text="tea")
    lab.run()
    digest = lab.trace.digest()
    lab.rewind(ready)
    assert (lab.now, before.outcome) == (ready.at, None)
    again = lab.propose(by=1, text="tea")
    lab.run()
    assert lab.trace.digest() == digest
    assert again.status == before.status == "committed"  # handles go on, whatever is rewound
    lab.rewind("ready", branch="party 2 crashes")
    lab.crash(2)
    lab.propose(by=1, text="tea")
    assert [o.status for o in lab.run()] == ["aborted"]
    assert {b.name: (b.parent, b.outcomes) for b in lab.branches.values()} == {
        "main": ("", "1 committed"),
        "branch 2": ("main", "1 committed"),
        "party 2 crashes": ("branch 2", "1 aborted"),
    }
    lab.switch("main")
    assert lab.trace.digest() == digest
    lab.switch("party 2 crashes")
    assert [o.status for o in lab.outcomes()] == ["aborted"]
    lab.rename_branch("party 2 crashes", "a crash")
    assert lab.branch == "a crash"


def test_votes_can_be_otherwise_and_a_message_lost_held_or_doubled() -> None:
    lab = gathered(agreement="direct")
    lab.propose(by=1, text="tea")
    lab.run()
    found = flights(lab.trace)
    vote = next(f for f in found if f.kind == "SignedVote" and (f.sender, f.receiver) == (2, 3))
    lab.rewind_after(vote.sent_row, branch="lost")
    lab.lose(2, vote.id, 3)
    with pytest.raises(UsageError, match="is not on its way to party 3"):
        lab.lose(2, vote.id, 3)
    lab.run(limit=1)
    [row] = [f for f in flights(lab.trace) if (f.id, f.sender, f.receiver) == (vote.id, 2, 3)]
    assert (row.fate, row.why) == ("dropped", "lost by hand")
    lab.rewind_after(vote.sent_row, branch="held")
    lab.hold(2, vote.id, 3, "700ms")
    lab.wait(1)
    [row] = [f for f in flights(lab.trace) if (f.id, f.sender, f.receiver) == (vote.id, 2, 3)]
    assert row.ended_at == vote.sent_at + 700_000
    lab.rewind_after(vote.sent_row, branch="twice")
    lab.duplicate(2, vote.id, 3)
    lab.wait(1)
    twice = [f for f in flights(lab.trace) if (f.id, f.sender, f.receiver) == (vote.id, 2, 3)]
    assert [f.fate for f in twice] == ["delivered", "delivered"]
    (delivery,) = run_checks(lab.trace, ["delivery"], n=4)
    assert delivery.verdict == "ok", "the trace says that it was doubled by hand"
    lab.rewind_before(next(f.sent_row for f in found if f.kind == "SignedVote" and f.sender == 3))
    lab.set_votes(3, "reject")
    lab.run()
    assert [o.status for o in lab.outcomes()] == ["aborted"]


def act(lab: Lab, rng: random.Random) -> None:
    """Something that a user might do, possible or not."""
    party = rng.randint(1, 4)
    deeds: list[Callable[[], object]] = [
        lambda: lab.propose(by=party, text=f"n{rng.randint(0, 9)}"),
        lambda: lab.crash(party),
        lambda: lab.restart(party),
        lambda: lab.pause(party),
        lambda: lab.resume(party),
        lambda: lab.inject("partition", isolated=party, **{"for": "300ms"}),
        lambda: lab.inject("loss", rate=0.2),
        lambda: lab.heal(),
        lambda: [one.heal() for one in lab.injections[:1]],
        lambda: lab.set_votes(party, rng.choice(["approve", "reject", "silent"])),
        lambda: lab.stop_server(),
        lambda: lab.start_server(),
        lambda: lab.at(lab.now + 200_000, "propose", party, "note", text="planned"),
        lambda: lab.nemesis(rng.randint(0, 99), lasts="500ms"),
        lambda: lab.session("other", parties=2).spawn(),
        lambda: lab.broadcast(party, "hello"),
        lambda: lab.leave(party),
        lambda: lab.spawn(party),
        lambda: lab.join(wait=False),
    ]
    with suppress(UsageError):  # refused; it left its row in the trace or it did not
        rng.choice(deeds)()


@pytest.mark.parametrize("seed", range(4))
def test_any_moment_of_any_run_comes_again(seed: int) -> None:
    """Whatever was done, refused or planned, by whatever steps time passed."""
    rng = random.Random(seed)
    lab = gathered(seed=seed, agreement=rng.choice(["pbft", "raft", "hotstuff", "direct"]))
    for _ in range(25):
        act(lab, rng)
        if rng.random() < 0.3:
            lab.step()
        elif rng.random() < 0.7:
            lab.wait(rng.random() * 0.3)
    rows = list(lab.trace)
    digest = lab.trace.digest()
    for _ in range(4):
        time = rng.randint(0, lab.now)
        past = lab.fork(time)
        assert past.now == time
        assert list(past.trace) == [row for row in rows if row.at <= time]
        row = rng.randrange(len(rows))
        past = lab.fork(before=row)
        assert len(past.trace) <= row
        assert list(past.trace) == rows[: len(past.trace)]
    lab.rewind(rng.randint(0, lab.now))
    lab.switch("main")
    assert lab.trace.digest() == digest


def test_a_paced_lab_comes_again_too() -> None:
    lab = gathered()
    lab.pace(20)
    for k in range(4):
        lab.propose(by=1 + k % 4, text=f"n{k}")
        lab.run(limit=3)
    lab.pace(0)
    rows = list(lab.trace)
    assert list(lab.fork(lab.now).trace) == rows
    past = list(lab.fork(before=len(rows) // 2).trace)
    assert past == rows[: len(past)]
    assert len(rows) // 2 - 20 < len(past) <= len(rows) // 2


def test_memory_is_bounded_however_often_one_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travel, "SPACING", 60)
    monkeypatch.setattr(travel, "FAR", 0)
    lab = gathered()
    for k in range(12):
        lab.propose(by=1 + k % 4, text=f"n{k}")
        lab.run()
    most = 0
    for k in range(12):
        lab.fork((k * 7 % 12) * lab.now // 12)
        most = max(most, len(lab.travel._copies))
    assert most == travel.MOST_COPIES


def test_words_for_what_cannot_be() -> None:
    lab = gathered()
    lab.checkpoint("ready")
    for to, says in (
        ("raedy", "did you mean 'ready'"),
        ("9s", "is not yet"),
        (-1, "-1 is not a time"),
        (1.5, "rewind to a checkpoint, its name or a time"),
    ):
        with pytest.raises(UsageError, match=says):
            lab.rewind(to)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="row 99999: the trace has the rows"):
        lab.rewind_before(99_999)
    with pytest.raises(UsageError, match="no branch 'mian'"):
        lab.switch("mian")
    lab.rewind("100ms", branch="early")
    with pytest.raises(UsageError, match="lies on branch 'main'"):
        lab.rewind("ready")
    with Lab(parties=3, world="websocket") as real:
        for verb in (real.checkpoint, lambda: real.rewind(0), lambda: real.lose(1, 1, 2)):
            with pytest.raises(UsageError, match="only in the simulated world"):
                verb()


def test_what_was_done_behind_the_labs_back_is_noticed() -> None:
    lab = gathered()
    lab.world.crash(2)
    lab.propose(by=1, text="tea")
    lab.run()
    with pytest.raises(UsageError, match="cannot be repeated beyond row"):
        lab.rewind(lab.now - 1)
