"""`RoundMachine` under loss: a round goes on when what was lost is said again."""

from __future__ import annotations

import pytest

from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted, Again, RoundMachine
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.trace import rows
from tests.mpc.parties import DEADLINE, Cast


class One(Message, frozen=True):
    number: int


class Two(Message, frozen=True):
    number: int


class Add(RoundMachine):
    """Everyone gives a number to all, then half of the sum to each."""

    rounds = (One, Two)

    def produce(self, ctx: Ctx, k: int) -> Message | dict[int, Message]:
        if k == 0:
            return One(ctx.me)
        total = sum(msg.number for msg in self.received[0].values())
        return {p: Two(total + p) for p in self.participants}

    def result(self, ctx: Ctx) -> int:
        return sum(msg.number for msg in self.received[1].values())


@pytest.mark.parametrize("seed", range(5))
def test_lost_messages_are_said_again(seed: int) -> None:
    network = Network(Delay("uniform", 1000, 30_000), loss=0.3)
    cast = Cast(5, lambda p: Add(deadline=DEADLINE), seed=seed, network=network).run()
    assert cast.outcomes() == {p: 5 * (15 + p) for p in cast.members}


def test_nothing_is_said_twice_when_nothing_is_lost() -> None:
    cast = Cast(5, lambda p: Add(deadline=DEADLINE)).run()
    kinds = [row.kind for row in cast.world.trace if isinstance(row, rows.Sent)]
    assert sorted(kinds) == ["One"] * 5 + ["Two"] * 20


def test_who_is_asked_in_vain_is_missing_and_strangers_get_no_answer() -> None:
    cast = Cast(4, lambda p: Add((1, 2, 3), deadline=DEADLINE))
    cast.world.crash(3)
    cast.run()
    assert all(isinstance(o, Aborted) and o.missing == (3,) for o in cast.outcomes((1, 2)).values())
    asked = [r for r in cast.world.trace if isinstance(r, rows.Sent) and r.kind == Again.__name__]
    assert {r.to for r in asked} == {(3,)}
