"""The deliberately wrong protocols are caught, where the right ones are not."""

import pytest

from mpclab.consensus.pbft import Pbft
from mpclab.consensus.raft import Raft
from mpclab.consensus.wrong import ForgetfulRaft, OneEcho, Pbft2f
from mpclab.consensus.wrong.one_echo import LoneEcho
from mpclab.core.ids import MS
from mpclab.core.machine import Ctx, Machine
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import Cluster
from mpclab.testing.figures import check_leaders
from tests.consensus.test_pbft import Liar, two_faced_primary


class TwoFaced(Machine):
    messages = LoneEcho

    def start(self, ctx: Ctx) -> None:
        for p in ctx.others:
            ctx.send(p, LoneEcho("a", b"even" if p % 2 == 0 else b"odd"))


def test_one_echo_is_split_by_one_liar() -> None:
    c = Cluster(OneEcho, 4, others={1: TwoFaced})
    c.run()
    with pytest.raises(AssertionError):
        c.check_agreement()


def test_one_echo_looks_fine_while_all_are_honest() -> None:
    c = Cluster(OneEcho, 4)
    c.submit(2, "a")
    c.run()
    assert c.all_decided("a")
    c.check_agreement()


def splits(protocol: type[Pbft]) -> int:
    """In how many of 40 runs a two-faced primary makes honest parties decide differently."""
    count = 0
    for seed in range(40):
        net = Network(Delay("exponential", 20 * MS))
        script = two_faced_primary(frozenset({2}))
        others = {1: lambda script=script: Liar(script)}
        c = Cluster(protocol, 4, seed=seed, network=net, others=others, patience=500 * MS)
        c.run(2_000)
        try:
            c.check_agreement()
        except AssertionError:
            count += 1
    return count


def test_quorums_of_2f_are_split_and_those_of_2f_plus_1_are_not() -> None:
    assert splits(Pbft2f) > 20
    assert splits(Pbft) == 0


def double_leaders(protocol: type[Raft]) -> int:
    """In how many of 60 runs one term has two leaders, when a voter crashes all the time."""
    count = 0
    for seed in range(60):
        net = Network(Delay("uniform", 1 * MS, 200 * MS))
        c = Cluster(
            protocol, 3, seed=seed, network=net, prevote=False,
            election_timeout=300 * MS, election_spread=150 * MS,
        )  # fmt: skip
        c.lossy(lambda src, dst: {src, dst} == {1, 2})  # two that see only the third
        for at in range(300, 3_000, 20):
            c.world.at(at * MS, lambda c=c: (c.crash(3), c.restart(3)))  # type: ignore[misc]
        c.run(3_000)
        try:
            check_leaders(c)
        except AssertionError:
            count += 1
    return count


def test_a_forgotten_vote_elects_two_and_a_stored_one_does_not() -> None:
    assert double_leaders(ForgetfulRaft) > 0
    assert double_leaders(Raft) == 0
