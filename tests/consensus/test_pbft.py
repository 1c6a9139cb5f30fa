"""PBFT: published counts and latency, view changes, garbage, and liars that split nobody."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.pbft import Pbft
from mpclab.consensus.pbft_messages import (
    GENESIS,
    CheckpointId,
    PbftCheckpoint,
    PbftCommit,
    PbftExecuted,
    PbftNewView,
    PbftPrepare,
    PbftPrePrepare,
    PbftRequest,
    PbftStatus,
    PbftViewChange,
    digest_of,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import Cluster
from mpclab.trace import rows


@pytest.mark.parametrize("n", [4, 7, 10, 16, 31])
def test_messages_and_delays_are_the_published_ones(n: int) -> None:
    c = Cluster(Pbft, n)
    c.submit(1, "a")
    c.run()
    assert c.sent().total() == 2 * n * (n - 1)
    assert {c.parent(p).decided_at["a"] for p in c.honest} == {30 * MS}


def test_a_backup_forwards_with_one_message_more() -> None:
    c = Cluster(Pbft, 4)
    c.submit(3, "a")
    c.run()
    assert c.sent().total() == 2 * 4 * 3 + 1
    assert c.all_decided("a")


def test_too_few_parties_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        Pbft.check_size(3)


@pytest.mark.parametrize("n", [16, 32, 64, 128])
def test_latency_with_normal_delays_is_the_published_one(n: int) -> None:
    """N(250, 50) ms delays, stop when two thirds have decided: 790 to 805 ms, within 1 %."""
    runs = 8 if n <= 64 else 3
    times = []
    for seed in range(runs):
        net = Network(Delay("normal", 250 * MS, 50 * MS), ordered=False)
        c = Cluster(Pbft, n, seed=seed, network=net, patience=60 * SECOND)
        c.submit(1, "a")
        needed = -(-2 * n // 3)

        def enough(c: Cluster = c, needed: int = needed) -> bool:
            return len(c.notes("decided")) >= needed

        assert c.world.run(enough)
        times.append(c.world.now / MS)
    mean = sum(times) / runs
    assert 790 * 0.99 <= mean <= 805 * 1.01, mean


def test_a_dead_primary_is_replaced() -> None:
    c = Cluster(Pbft, 7)
    c.crash(1, 2)
    c.submit(5, "a")
    c.run_until(lambda: c.all_decided("a"))
    assert {row.note.view for row in c.notes("became-leader")} == {0, 2}
    c.restart(1, 2)
    c.submit(1, "b")
    c.run_until(lambda: c.all_decided("a", "b"))
    c.check_agreement()


def test_garbage_is_collected_and_a_sleeper_catches_up() -> None:
    c = Cluster(Pbft, 4)
    c.crash(4)
    names = [f"op{k}" for k in range(50)]
    for name in names:
        c.submit(1, name)
    c.run()
    assert len(c.machine(1).slots.slots) <= Pbft.options_type().window
    assert c.machine(1).stable == 48
    c.restart(4)
    c.submit(2, "last")
    c.run_until(lambda: c.all_decided(*names, "last"))
    assert c.log(4) == c.log(1)
    assert c.notes("caught-up")
    c.check_agreement()


def test_everybody_restarts_from_the_store() -> None:
    c = Cluster(Pbft, 4)
    for k in range(20):
        c.submit(k % 4 + 1, f"op{k}")
    c.run(25)  # in the middle of it
    c.crash(*c.members)
    c.restart(*c.members)
    for k in range(20):
        c.submit(k % 4 + 1, f"op{k}")
    c.run_until(lambda: c.all_decided(*[f"op{k}" for k in range(20)]))
    c.check_agreement()


def test_without_a_quorum_it_says_whom_it_waits_for() -> None:
    c = Cluster(Pbft, 4)
    c.crash(3, 4)
    c.submit(1, "a")
    c.run(60_000)
    blocked = c.notes("blocked")
    assert {row.actor for row in blocked} == {1, 2}
    assert all(row.note.waiting_for == (3, 4) for row in blocked)
    c.restart(3, 4)
    c.run_until(lambda: c.all_decided("a"), 600_000)


class Liar(Machine):
    """A party that says whatever a script makes of each message it hears."""

    messages = (
        PbftPrepare
        | PbftCommit
        | PbftPrePrepare
        | PbftRequest
        | PbftCheckpoint
        | PbftViewChange
        | PbftNewView
        | PbftStatus
        | PbftExecuted
    )

    def __init__(self, script: Callable[[Ctx, Message | None], None]) -> None:
        self.script = script

    def start(self, ctx: Ctx) -> None:
        self.script(ctx, None)

    def on_message(self, ctx: Ctx, sender: Party, msg: Message) -> None:
        self.script(ctx, msg)


def two_faced_primary(first: frozenset[int]) -> Callable[[Ctx, Message | None], None]:
    """Proposes one operation to some and another to the rest, and votes for both."""

    def script(ctx: Ctx, msg: Message | None) -> None:
        if msg is None:
            for p in ctx.others:
                op = "x" if p in first else "y"
                ctx.send(p, PbftPrePrepare(0, 1, op, b"v"))
                for vote in (PbftCommit,):
                    ctx.send(p, vote(0, 1, digest_of(op, b"v")))

    return script


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(4, 9),
    first=st.frozensets(st.integers(2, 9)),
    seed=st.integers(0, 2**32),
    also=st.booleans(),
)
def test_a_two_faced_primary_splits_nobody_and_is_replaced(
    n: int, first: frozenset[int], seed: int, also: bool
) -> None:
    net = Network(Delay("exponential", 20 * MS))
    script = two_faced_primary(first)
    others = {1: lambda: Liar(script)}
    c = Cluster(Pbft, n, seed=seed, network=net, others=others, patience=500 * MS)
    if also:
        c.submit(2, "z")
        c.run_until(lambda: c.all_decided("z"))
    c.run(20_000)
    c.check_agreement()
    assert c.blamed() <= {1}
    assert len({len(c.log(p)) for p in c.honest}) == 1, "all or none"


def test_a_vote_for_two_requests_is_blamed() -> None:
    def script(ctx: Ctx, msg: Message | None) -> None:
        if msg is None:
            ctx.multicast(ctx.others, PbftPrepare(0, 1, b"one"))
            ctx.multicast(ctx.others, PbftPrepare(0, 1, b"two"))

    c = Cluster(Pbft, 4, others={4: lambda: Liar(script)})
    c.submit(1, "a")
    c.run()
    assert c.blamed() == {4}
    assert c.all_decided("a")


def test_a_request_under_the_id_of_another_is_blamed() -> None:
    def script(ctx: Ctx, msg: Message | None) -> None:
        if msg is None:
            ctx.multicast(ctx.others, PbftRequest("a", b"z" * 3))

    c = Cluster(Pbft, 4, others={4: lambda: Liar(script)}, names=lambda v: v[:1].decode())
    c.submit(2, "a")
    c.run()
    assert c.blamed() == {4}
    assert c.all_decided("a")


def test_a_forged_view_change_is_blamed() -> None:
    def script(ctx: Ctx, msg: Message | None) -> None:
        if msg is None:
            marks = (CheckpointId(0, GENESIS),)
            ctx.multicast(ctx.others, PbftViewChange(1, 2, 0, marks, (), (), bytes(64)))
            ctx.multicast(ctx.others, PbftNewView(1, (), bytes(64)))

    c = Cluster(Pbft, 4, others={4: lambda: Liar(script)})
    c.submit(1, "a")
    c.run()
    assert c.blamed() == {4}
    assert c.all_decided("a")


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(4, 8),
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.25),
    spread=st.integers(1, 200),
    plan=st.lists(
        st.tuples(
            st.sampled_from(["crash", "cut"]),
            st.integers(1, 8),
            st.integers(0, 4_000),
            st.integers(100, 4_000),
        ),
        max_size=4,
    ),
    ops=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 5_000)), min_size=1, max_size=24),
    ordered=st.booleans(),
)
def test_one_log_whatever_happens_and_progress_when_it_stops(
    n: int,
    seed: int,
    loss: float,
    spread: int,
    plan: list[tuple[str, int, int, int]],
    ops: list[tuple[int, int]],
    ordered: bool,
) -> None:
    net = Network(Delay("uniform", 1 * MS, spread * MS), loss=loss, ordered=ordered)
    c = Cluster(Pbft, n, seed=seed, network=net, patience=1_000 * MS)
    for kind, p, at, lasting in plan:
        p = (p - 1) % n + 1
        if kind == "crash":
            c.world.at(at * MS, lambda p=p: c.crash(p))  # type: ignore[misc]
            c.world.at((at + lasting) * MS, lambda p=p: c.restart(p))  # type: ignore[misc]
        else:
            groups = range(1, p + 1), range(p + 1, n + 1)
            c.world.at(at * MS, lambda g=groups: c.cut(*g))  # type: ignore[misc]
            c.world.at((at + lasting) * MS, c.heal)
    names = [f"op{k}" for k in range(len(ops))]
    for name, (p, at) in zip(names, ops, strict=True):
        p = (p - 1) % n + 1

        def submit(p: int = p, name: str = name) -> None:
            if p in c.world.actors:
                c.submit(p, name)

        c.world.at(at * MS, submit)
    c.run(9_000)
    c.check_agreement()
    for name, (p, _) in zip(names, ops, strict=True):
        c.submit((p - 1) % n + 1, name)
    c.run_until(lambda: c.all_decided(*names), 1_000_000)
    c.check_agreement()
    assert c.blamed() == set()


@pytest.mark.parametrize("seed", range(6))
def test_a_primary_that_lost_its_store_is_left_and_splits_nobody(seed: int) -> None:
    """It counts among the f: it gives places away again, and what is said of it is true."""
    c = Cluster(Pbft, 4, seed=seed, network=Network(Delay("uniform", 5 * MS, 60 * MS)))
    c.submit(2, "a")
    c.run(40 + 20 * seed)
    c.world.crash(1)
    c.world.restart(1, amnesia=True)
    for op, by in (("b", 1), ("c", 3)):
        c.submit(by, op)
    c.honest = (2, 3, 4)
    c.run_until(lambda: c.all_decided("a", "c"))
    c.check_agreement()
    assert c.blamed() <= {1}
    reasons = {row.reason for row in c.world.trace.of(rows.Blamed)}
    assert all("it lies, or lost its store" in reason for reason in reasons)
