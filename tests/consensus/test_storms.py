"""Storms: late messages, flapping partitions, torn crashes, and f liars; `make soak` runs more."""

import pytest

from mpclab.consensus.agreement import Decided
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.pbft_messages import (
    PbftCheckpoint,
    PbftCommit,
    PbftPrepare,
    PbftPrePrepare,
    PbftViewChange,
)
from mpclab.consensus.wrong import ForgetfulRaft, Pbft2f
from mpclab.core.wire import Message
from mpclab.testing.storms import PATIENCE, Broken, Judge, first_failure, storm


@pytest.mark.parametrize("name", ["pbft", "raft", "hotstuff", "chained-hotstuff", "tendermint"])
def test_honest_parties_come_to_one_log(name: str) -> None:
    assert first_failure(name, range(30)) is None


@pytest.mark.parametrize("name", ["pbft", "hotstuff", "chained-hotstuff", "tendermint"])
def test_liars_split_nobody_stop_nothing_and_frame_no_one(name: str) -> None:
    assert first_failure(name, range(8), lies=True) is None


def test_a_storm_is_a_function_of_its_seed() -> None:
    assert storm("pbft", 7, lies=True) == storm("pbft", 7, lies=True)


def test_a_wrong_protocol_does_not_pass_them_all() -> None:
    assert first_failure("pbft", range(60), Pbft2f, lies=True) is not None
    assert first_failure("raft", range(200), ForgetfulRaft) is not None


class Deaf(Pbft):
    """Never gives anything out."""

    def on_message(self, ctx, sender, msg):  # type: ignore[no-untyped-def]
        pass

    messages = Pbft._message_types()


def test_a_protocol_that_comes_to_nothing_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpclab.testing.storms.CALM", 4 * PATIENCE)
    problem = storm("pbft", 1, Deaf).problem
    assert "not everybody holds" in problem


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ([(1, "a", 0), (1, "b", 2)], "decides place 2 after 0"),
        ([(1, "a", 0), (2, "b", 0)], "place 0 holds"),
        ([(1, "a", 0), (1, "a", 1)], "a has places 0 and 1"),
    ],
)
def test_the_judge_knows_two_logs(told: list[tuple[int, str, int]], problem: str) -> None:
    judge = Judge("pbft")
    judge.held = {1: 0, 2: 0}
    *before, (party, op, place) = told
    for earlier in before:
        judge.decided(earlier[0], Decided(earlier[1], b"", earlier[2]))
    with pytest.raises(Broken, match=problem):
        judge.decided(party, Decided(op, b"", place))


@pytest.mark.parametrize(
    "said",
    [
        (PbftPrepare(0, 1, b"x"), PbftPrepare(0, 1, b"y")),
        (PbftPrePrepare(0, 1, "a", b""), PbftPrePrepare(0, 1, "b", b"")),
        (PbftViewChange(1, 1, 0, (), (), ()), PbftCommit(0, 1, b"x")),
        (PbftCheckpoint(8, b"x"), PbftCheckpoint(8, b"y")),
    ],
)
def test_the_judge_knows_a_broken_promise(said: tuple[Message, Message]) -> None:
    judge = Judge("pbft")
    judge.said(1, (2,), said[0])
    judge.said(1, (3,), said[0])
    with pytest.raises(Broken):
        judge.said(1, (2,), said[1])
