"""What a liar of PBFT or Raft can say instead passes at honest parties: well formed and signed."""

import pytest

from mpclab.consensus.pbft import Pbft
from mpclab.consensus.pbft_messages import (
    PbftCheckpoint,
    PbftCommit,
    PbftExecuted,
    PbftNewView,
    PbftPrepare,
    PbftPrePrepare,
    PbftStatus,
    digest_of,
)
from mpclab.consensus.raft import Raft
from mpclab.consensus.raft_messages import (
    RaftAppendEntries,
    RaftAppendEntriesResponse,
    RaftForward,
    RaftHeartbeat,
    RaftHeartbeatResponse,
    RaftInstallSnapshot,
    RaftRequestVote,
    RaftRequestVoteResponse,
)
from mpclab.core.wire import Message
from mpclab.testing.alone import Alone
from tests.consensus.test_pbft_paper import (
    claim,
    digest,
    new_view,
    pre_prepare,
    request,
    value,
    view_change,
)
from tests.consensus.test_raft_paper import append, entry, server

OTHERS = {value("a"): b"another value of a"}
OTHER = digest_of("a", OTHERS[value("a")])
A = claim(1, 0, "a")

PBFT: dict[str, tuple[Message, Message | None]] = {
    "request": (request("a"), None),
    "pre-prepare": (pre_prepare(0, 1, "a"), PbftPrePrepare(0, 1, "a", b"another value of a")),
    "prepare": (PbftPrepare(0, 1, digest("a")), PbftPrepare(0, 1, OTHER)),
    "commit": (PbftCommit(0, 1, digest("a")), PbftCommit(0, 1, OTHER)),
    "checkpoint": (PbftCheckpoint(8, digest("a")), None),
    "status": (PbftStatus(0, True, 0, 0, ()), None),
    "executed": (
        PbftExecuted(1, (request("a"),), 1),
        PbftExecuted(1, (type(request("a"))("a", b"another value of a"),), 1),
    ),
    "view change": (view_change(1, 1, prepared=(A,)), view_change(1, 1)),
    "empty view change": (view_change(1, 1), None),
    "new view of 4": (
        new_view(4, *(view_change(p, 4) for p in (1, 2, 3, 4))),
        new_view(4, *(view_change(p, 4) for p in (2, 3, 4))),
    ),
    "new view of 3": (
        new_view(4, view_change(1, 4, prepared=(A,)), *(view_change(p, 4) for p in (2, 3))),
        new_view(4, *(view_change(p, 4) for p in (1, 2, 3))),
    ),
}


@pytest.mark.parametrize("name", sorted(PBFT))
def test_a_lying_replica_is_not_found_out(name: str) -> None:
    msg, expected = PBFT[name]
    liar = Alone(Pbft, me=1)
    liar.submit("a", value("a"))
    lie = liar.machine.variant(msg, OTHERS)
    assert lie is not None
    assert lie != msg
    assert expected in (None, lie)
    assert liar.machine.variant(msg, OTHERS) == lie, "the same other story each time"
    for p in (2, 3):
        honest = Alone(Pbft, me=p)
        honest.hear(1, lie)
        assert honest.blamed == []


def test_the_new_view_of_another_can_only_be_shown() -> None:
    shown = new_view(5, *(view_change(p, 5) for p in (1, 2, 3)))
    assert isinstance(shown, PbftNewView)
    assert Alone(Pbft, me=1).machine.variant(shown, OTHERS) is None


RAFT: tuple[Message, ...] = (
    append(1, 0, 0, entry(1, "a")),
    append(1, 0, 0, entry(1, "other")),
    append(1, 0, 0, commit=2),
    RaftAppendEntriesResponse(1, True, 0, 0),
    RaftHeartbeat(1, 0),
    RaftHeartbeat(1, 3),
    RaftInstallSnapshot(1, 2, 1, 0, 2, (entry(1, "a"), entry(1, "b"))),
    RaftInstallSnapshot(1, 2, 1, 0, 2, (entry(1, "x"), entry(1, "b"))),
    RaftRequestVote(1, 0, 0, False),
    RaftRequestVoteResponse(1, True, False),
    RaftForward("a", value("a")),
)


@pytest.mark.parametrize("msg", RAFT, ids=lambda msg: type(msg).__name__)
def test_a_lying_server_is_not_found_out(msg: Message) -> None:
    liar = server(Raft, 1)
    lie = liar.machine.variant(msg, OTHERS)
    assert lie is not None
    assert lie != msg
    honest = server(Raft, 0)
    honest.hear(2, lie)
    assert honest.blamed == []


def test_an_answered_heartbeat_says_nothing_that_could_be_otherwise() -> None:
    assert server(Raft, 1).machine.variant(RaftHeartbeatResponse(1), OTHERS) is None
    assert {RaftAppendEntries, RaftHeartbeat}.isdisjoint(Raft.unvaried)
