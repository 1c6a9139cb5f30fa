"""Bracha's broadcast: its counts, and what a lying dealer cannot do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.bracha import Bracha, BrachaAgain, BrachaEcho, BrachaInit, BrachaReady
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS
from mpclab.core.machine import Ctx, Machine
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import Cluster


@pytest.mark.parametrize("n", [4, 7, 10, 13, 16])
def test_messages_and_delays_are_the_published_ones(n: int) -> None:
    c = Cluster(Bracha, n)
    c.submit(2, "a")
    c.run()
    assert sum(c.sent().values()) == 2 * n * n - n - 1
    assert {c.parent(p).decided_at["a"] for p in c.honest} == {30 * MS}
    c.check_agreement()


def test_too_few_parties_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        Bracha.check_size(3)


class TwoFaced(Machine):
    """A dealer that deals one value to some and another to the rest, and echoes both."""

    messages = BrachaInit | BrachaEcho | BrachaReady | BrachaAgain

    def __init__(self, first: tuple[int, ...]) -> None:
        self.first = first

    def start(self, ctx: Ctx) -> None:
        for p in ctx.others:
            value = b"one" if p in self.first else b"two"
            ctx.send(p, BrachaInit("a", value))
            ctx.send(p, BrachaEcho(ctx.me, "a", value))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 10),
    first=st.sets(st.integers(2, 10)),
    seed=st.integers(0, 2**32),
)
def test_a_two_faced_dealer_never_splits_the_honest(n: int, first: set[int], seed: int) -> None:
    net = Network(Delay("exponential", 20 * MS))
    c = Cluster(
        Bracha, n, seed=seed, network=net, others={1: lambda: TwoFaced(tuple(first))},
        patience=200 * MS,
    )  # fmt: skip
    c.run(10_000)
    c.check_agreement()
    delivered = [bool(c.log(p)) for p in c.honest]
    assert all(delivered) or not any(delivered), "totality"
    assert c.blamed() <= {1}
    if not any(delivered):
        assert {row.actor for row in c.notes("blocked")} == set(c.honest)


def test_a_dealer_of_two_values_is_named() -> None:
    class Twice(TwoFaced):
        def start(self, ctx: Ctx) -> None:
            ctx.multicast(ctx.others, BrachaInit("a", b"one"))
            ctx.multicast(ctx.others, BrachaInit("a", b"two"))

    c = Cluster(Bracha, 4, others={1: lambda: Twice(())})
    c.run()
    assert c.blamed() == {1}
    assert all(c.log(p) == ["a"] for p in c.honest)


def test_what_is_not_valid_is_not_echoed() -> None:
    c = Cluster(Bracha, 4, others={1: lambda: TwoFaced((2, 3, 4))}, valid=lambda v: v != b"one")
    c.run(60_000)
    assert c.blamed() == {1}
    assert c.sent()["BrachaEcho"] == 3
    assert not any(c.log(p) for p in c.honest)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(4, 8),
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.3),
    crash_at=st.integers(0, 60),
    back_at=st.integers(100, 3_000),
)
def test_loss_and_a_restart_change_nothing(
    n: int, seed: int, loss: float, crash_at: int, back_at: int
) -> None:
    net = Network(Delay("uniform", 1 * MS, 30 * MS), loss=loss)
    c = Cluster(Bracha, n, seed=seed, network=net, patience=200 * MS)
    c.world.at(crash_at * MS, lambda: c.crash(n))
    c.world.at(back_at * MS, lambda: c.restart(n))
    for p in (1, 2):
        c.submit(p, f"op{p}")
    c.run(back_at + 1_000)
    c.submit(3, "late")  # a party that slept through a broadcast hears of the next
    c.run(60_000)
    c.check_agreement()
    assert all({"op1", "op2", "late"} <= set(c.log(p)) for p in range(1, n)), c.story()
    assert "late" in c.log(n)
    assert c.blamed() == set()
