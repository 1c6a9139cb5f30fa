"""A real run, recorded, goes on in a simulated future from any moment of it."""

from __future__ import annotations

from typing import Any

import pytest

from mpclab.core import UsageError
from mpclab.crypto import frost
from mpclab.lab import Lab
from mpclab.lab.operation import Operation
from mpclab.trace import Sent
from mpclab.trace.flights import flights


@pytest.mark.parametrize("world", ["websocket", "webrtc"])
def test_it_goes_on_from_its_end(world: str) -> None:
    with Lab(parties=4, agreement="pbft", world=world, record=True) as real:
        real.start_server(port=0)
        real.spawn()
        real.join()
        real.propose(by=1, text="in the real world")
        real.run()
        lab = real.fork()
        heads = {p: real.group.machine_of(p, lambda m: m.history.head) for p in real.parties}
    assert lab.scenario.world == "simulated"
    assert {p: lab.group.machine_of(p, lambda m: m.history.head) for p in lab.parties} == heads
    [first] = lab.outcomes()
    assert (first.status, first.result) == ("committed", "in the real world")
    lab.checkpoint("taken over")
    lab.propose(by=2, text="in a simulated future")
    assert [o.status for o in lab.run()] == ["committed", "committed"]
    digest = lab.trace.digest()
    lab.rewind("taken over", branch="another future")
    lab.inject("partition", groups=[[1, 2], [3, 4]])
    lab.propose(by=2, text="in another")
    assert [o.status for o in lab.run()] == ["committed", "expired"]
    lab.switch("main")
    assert lab.trace.digest() == digest
    assert all(v.verdict == "ok" for v in lab.check("agreement", "integrity"))


def test_it_branches_in_the_middle_and_what_was_on_its_way_arrives() -> None:
    with Lab(parties=4, agreement="pbft", world="websocket", record=True) as real:
        real.start_server(port=0)
        real.spawn()
        real.join()
        real.propose(by=1, text="tea")
        real.run()
        trace = real.trace
        vote = next(f for f in flights(trace) if f.kind == "SignedVote" and f.sender == 3)
        assert vote.ended_row is not None
        lab = real.fork(before=vote.ended_row)
        assert lab.now < trace.end
        assert lab.outcomes()[0].status == "undecided"
        assert [o.status for o in lab.run()] == ["committed"]
        unsaid = real.fork(before=vote.sent_row)
        unsaid.crash(3)
        assert [o.status for o in unsaid.run()] != ["committed"]  # its vote was never sent
        other = real.fork(before=vote.ended_row)
        other.crash(3)
        other.crash(4)
        assert [o.status for o in other.run()] != ["committed"]
        other.restart(3)
        other.restart(4)
        assert [o.status for o in other.run(limit="60s")] in (["committed"], ["expired"])


def test_a_crashed_party_is_so_in_the_copy_and_comes_back_with_what_it_stored() -> None:
    with Lab(parties=4, agreement="raft", world="websocket", record=True) as real:
        real.start_server(port=0)
        real.spawn()
        real.join()
        real.propose(by=1, text="tea")
        real.run()
        real.crash(4)
        lab = real.fork()
    assert lab.state.parties[4].life == "crashed"
    lab.restart(4)
    lab.crash(1)  # it had not crashed there
    lab.restart(1)
    for p in (1, 4):  # from their disks, before anybody could tell them
        assert lab.group.machine_of(p, lambda m: len(m.history)) == 1
    lab.propose(by=4, text="I am back")
    assert [o.status for o in lab.run()] == ["committed", "committed"]


def test_what_cannot_be_taken_on_is_said() -> None:
    with (
        Lab(parties=3, world="websocket") as real,
        pytest.raises(UsageError, match="record=True"),
    ):
        real.fork()
    with Lab(parties=3, world="websocket", record=True) as real:
        real.start_server(port=0)
        real.spawn()
        with pytest.raises(UsageError, match="was not in its session yet"):
            real.fork()
        with pytest.raises(UsageError, match="the trace has the rows"):
            real.fork(before=10**6)


def row_of(lab: Lab, op: Operation, kind: str) -> int:
    """Where the first message of this kind was sent for an operation."""
    rows = enumerate(lab.trace)
    return next(
        i for i, r in rows if type(r) is Sent and r.kind == kind and op.id in "/".join(r.path)
    )


def test_no_nonce_of_a_real_key_is_drawn_twice_or_used_here_and_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: dict[tuple[int, int], set[bytes]] = {}
    really = frost.sign_prepared

    def watched(share: Any, nonces: frost.Nonces, attempt: frost.Attempt) -> int:
        what = attempt.message + attempt.group_commitment
        used.setdefault((nonces.hiding, nonces.binding), set()).add(what)
        return really(share, nonces, attempt)

    monkeypatch.setattr(frost, "sign_prepared", watched)
    with Lab(parties=3, threshold=2, world="websocket", agreement="direct", record=True) as real:
        real.start_server(port=0)
        real.spawn()
        real.join()
        real.propose(1, "dkg")
        real.run()
        nonces = real.propose(1, "nonces", count=1)
        real.run()
        now = real.now
        sign = real.propose(1, "sign", message="real")
        real.run()
        batch = real.propose(1, "sign-batch", messages=["real", "too"])
        real.run()
        in_earnest = set(used)
        assert len(in_earnest) >= 6
        rows = [row_of(real, nonces, "Compared")] * 2
        rows += [row_of(real, sign, "Package"), row_of(real, batch, "Session")]
        copies = [real.fork(before=row) for row in rows] + [real.fork(now), real.fork(now)]
    for number, copy in enumerate(copies):
        before = len(used)
        copy.run()
        assert (len(used) > before) == (number in (2, 3)), "what was in the middle drew anew"
        kind = "sign-prepared" if number < 2 else "sign"
        copy.propose(1, kind, message=f"copy {number}")
        assert all(o.result for o in copy.run())
    later = {pair: what for pair, what in used.items() if pair not in in_earnest}
    assert len(later) >= 2 * len(copies)
    assert all(len(what) == 1 for what in used.values())
