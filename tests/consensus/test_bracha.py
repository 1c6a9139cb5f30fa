"""Bracha's broadcast: its counts, and what a lying dealer cannot do."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.agreement import Submit
from mpclab.consensus.bracha import (
    Bracha,
    BrachaAgain,
    BrachaEcho,
    BrachaInit,
    BrachaReady,
    Hearsay,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Node
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import AT, Cluster
from mpclab.trace import rows


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


# --- liars and ghosts --------------------------------------------------------------------------


def ghost(dealer: int, k: int) -> BrachaReady:
    return BrachaReady(dealer, f"ghost{k}", bytes(32))


class Flood(Machine):
    """Speaks of broadcasts that do not exist, of every honest dealer."""

    messages = BrachaInit | BrachaEcho | BrachaReady | BrachaAgain

    def __init__(self, count: int) -> None:
        self.count = count

    def start(self, ctx: Ctx) -> None:
        for dealer in ctx.others:
            for k in range(self.count):
                ctx.multicast(ctx.others, ghost(dealer, k))
                ctx.multicast(ctx.others, BrachaEcho(dealer, f"ghost{k}", b"boo"))


def test_ghosts_take_no_room_of_the_dealers_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Node, "strict", False)  # a flood: each snapshot would be long
    c = Cluster(Bracha, 4, others={4: lambda: Flood(100)})
    c.run(100)
    names = [f"op{k}" for k in range(3)]
    for k, op in enumerate(names):
        c.submit(k + 1, op)
    c.run_until(lambda: c.all_decided(*names))
    c.run(30_000)
    assert c.blamed() == set()
    assert c.sent()["BrachaAgain"] == 0, "nothing is asked about hearsay"
    for p in c.honest:
        machine = c.machine(p)
        assert sum(not it.open for it in machine.broadcasts.values()) <= Hearsay.ROOM  # of 300
        assert not [
            name for _, name in c.world.look(p, lambda node: node.timers) if "ghost" in name
        ]


def test_hearsay_of_long_values_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Node, "strict", False)

    class Long(Flood):
        def start(self, ctx: Ctx) -> None:
            for k in range(60):
                ctx.multicast(ctx.others, BrachaEcho(1, f"ghost{k}", bytes([k]) * 128 * 1024))

    c = Cluster(Bracha, 4, others={4: lambda: Long(0)})
    c.run(100)
    for p in c.honest:
        values = [v for it in c.machine(p).broadcasts.values() for v in it.values.values()]
        assert sum(map(len, values)) <= Hearsay.BYTES + 128 * 1024


def test_f_speakers_open_no_broadcast_and_one_more_does() -> None:
    class Speak(Flood):
        def start(self, ctx: Ctx) -> None:
            ctx.multicast(ctx.others, ghost(1, 0))

    def opened(speakers: int) -> set[bool]:
        liars = {7 - k: lambda: Speak(0) for k in range(speakers)}
        c = Cluster(Bracha, 7, others=liars)
        c.run(100)
        return {c.machine(p).broadcasts[1, "ghost0"].open for p in c.honest}

    assert opened(2) == {False}
    assert opened(3) == {True}


def test_a_broadcast_that_never_ends_is_asked_for_at_longer_and_longer_intervals() -> None:
    class Deal(Flood):
        def start(self, ctx: Ctx) -> None:
            ctx.send(1, BrachaInit("a", b"value"))

    c = Cluster(Bracha, 4, others={4: lambda: Deal(0)}, patience=100 * MS)
    c.run(1_000_000)
    assert c.sent()["BrachaAgain"] < 600, "of 10,000 patiences"
    assert c.notes("blocked")


def test_one_short_question_has_one_long_answer_in_a_patience() -> None:
    class Ask(Flood):
        def start(self, ctx: Ctx) -> None:
            ctx.set_timer("ask", 500 * MS)

        def on_timer(self, ctx: Ctx, name: str) -> None:
            for _ in range(100):
                ctx.multicast(ctx.others, BrachaAgain(0, ""))

    c = Cluster(Bracha, 4, others={4: lambda: Ask(0)})
    for k in range(10):
        c.submit(1, f"op{k}")
    c.run(1_000)
    echoes = [r for r in c.world.trace.of(rows.Sent) if r.kind == "BrachaEcho" and r.at > 500 * MS]
    assert len(echoes) <= 3 * 10


def test_those_who_stand_by_deal_one_after_the_other() -> None:
    """The proposer is gone and n − 1 parties submit its operation: not each of them deals it."""
    c = Cluster(Bracha, 7, patience=200 * MS)
    for rank, p in enumerate(c.members):
        c.world.ask(p, AT[:-1], Submit("a", b"value", rank + 1))
    c.run_until(lambda: c.all_decided("a"))
    c.run(10_000)
    assert c.sent()["BrachaInit"] == 6


def test_a_party_that_was_cut_off_for_long_delivers_what_the_others_did() -> None:
    c = Cluster(Bracha, 4, patience=1_000 * MS)
    c.cut([4], [1, 2, 3])
    c.submit(1, "a")
    c.run(20_000)
    assert c.log(3) == ["a"]
    c.heal()
    c.run(120_000)
    assert c.log(4) == ["a"]


def two_dealers(seed: int, **options: Any) -> Cluster:
    delays = Network(Delay("exponential", 20 * MS), ordered=False)
    c = Cluster(Bracha, 4, seed=seed, network=delays, patience=100 * MS, **options)
    c.submit(1, "a", b"one")
    c.submit(2, "a", b"two")
    c.run(60_000)
    return c


def test_two_dealers_that_contradict_each_other_split_nobody() -> None:
    """Reliable broadcast is not consensus: neither may come about; never both."""
    runs = [two_dealers(seed) for seed in range(12)]
    for c in runs:
        c.check_agreement()
        assert c.blamed() == set()
    ended = [c.all_decided("a") for c in runs]
    assert any(ended)
    assert not all(ended)


def test_two_dealers_that_mean_the_same_hinder_nobody() -> None:
    """Each shows another proof of it; everyone decides on the first that comes about."""
    runs = [two_dealers(seed, means=lambda value: b"the same") for seed in range(12)]
    assert all(c.all_decided("a") for c in runs)
    values = [{c.parent(p).decided[0].value for p in c.members} for c in runs]
    assert any(len(different) > 1 for different in values)


def test_what_a_party_echoed_binds_it_after_a_restart() -> None:
    """n = 4: parties 1 and 2 deal two meanings; party 3, which echoed one, forgets nothing."""
    c = Cluster(Bracha, 4, patience=100_000 * MS)
    c.lossy(lambda src, dst: src == 2 or dst != 3)
    c.submit(1, "a", b"one")
    c.run(100)
    c.crash(3)
    c.restart(3)
    c.lossy(lambda src, dst: dst != 3)
    c.submit(2, "a", b"two")
    c.run(100)
    said = [r for r in c.world.trace.of(rows.Sent) if r.actor == 3 and r.kind == "BrachaEcho"]
    assert len(said) == 1


def test_a_party_that_comes_back_counts_what_it_said_itself() -> None:
    """n = 4: of three READYs one is its own, since the liar says none."""
    c = Cluster(Bracha, 4, others={4: lambda: Flood(0)}, patience=100 * MS)
    c.cut([2], [1, 3, 4])
    c.world.at(5 * MS, lambda: c.cut([1, 2, 3, 4]))
    c.submit(2, "a")
    c.run_until(
        lambda: any(row.actor == 2 for row in c.notes("phase") if row.note.phase == "ready")
    )  # type: ignore[union-attr]
    c.crash(2)
    c.run(1_000)
    c.restart(2)
    c.run_until(lambda: c.log(2) == ["a"])
