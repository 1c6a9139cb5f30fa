"""Ben-Or: messages a round, the mean number of rounds, agreement under crashes, loss and lies."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.agreement import Oppose, Submit
from mpclab.consensus.benor import (
    NEITHER,
    BenOr,
    BenOrAgain,
    BenOrProposal,
    BenOrReport,
    BenOrSettled,
    BenOrValue,
    common_coin,
)
from mpclab.core.ids import MS, SECOND
from mpclab.core.machine import Ctx, Machine
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import Cluster
from mpclab.testing.figures import Split, rounds_until_somebody_decides
from mpclab.trace import rows


@pytest.mark.parametrize("n", [3, 5, 7, 10])
def test_a_round_takes_2n_n_minus_1_messages_and_agreed_inputs_take_one(n: int) -> None:
    c = Cluster(BenOr, n)
    for p in c.members:
        c.submit(p, "a")
    c.run()
    sent: Counter[str] = Counter()
    for row in c.world.trace.of(rows.Sent):
        if "round=1" in row.text:
            sent[row.kind] += len(row.to)
    assert sent == {"BenOrReport": n * (n - 1), "BenOrProposal": n * (n - 1)}
    assert {c.parent(p).decided_at["a"] for p in c.honest} == {20 * MS}


def test_one_that_holds_the_value_is_enough_if_the_others_are_given_time() -> None:
    c = Cluster(BenOr, 5)
    c.submit(1, "a")
    c.run()
    assert c.all_decided("a")


def test_opposed_by_all_is_refused_in_one_round() -> None:
    c = Cluster(BenOr, 4)
    for p in c.members:
        c.world.ask(p, ("session",), Oppose("a", "no certificate"))
    c.run(20)
    assert all(c.parent(p).refused for p in c.members)


@pytest.mark.parametrize(
    ("n", "expected", "runs"), [(3, 2.35, 1600), (5, 3.76, 1000), (7, 5.2, 500)]
)
def test_mean_rounds_with_split_inputs_are_the_known_ones(
    n: int, expected: float, runs: int
) -> None:
    mean = sum(rounds_until_somebody_decides(n, seed) for seed in range(runs)) / runs
    assert expected * 0.95 <= mean <= expected * 1.05, mean


def test_a_common_coin_needs_two_rounds_or_so_where_local_ones_need_ten() -> None:
    rounds = [
        rounds_until_somebody_decides(11, seed, coin=common_coin(bytes([seed])))
        for seed in range(60)
    ]
    assert sum(rounds) / len(rounds) < 3.5


def test_nobody_has_the_value_so_it_is_refused() -> None:
    class Shy(BenOr):
        def on_ask(self, ctx: Ctx, ask: Submit) -> None:
            self._find(ctx, ask.op)

    c = Cluster(Shy, 3)
    c.submit(1, "a")
    c.submit(2, "a")
    c.run()
    assert all(c.parent(p).refused for p in c.members)


def test_a_minority_waits_and_says_for_whom() -> None:
    c = Cluster(BenOr, 5)
    c.crash(3, 4, 5)
    c.submit(1, "a")
    c.run()
    blocked = c.notes("blocked")
    assert {row.actor for row in blocked} == {1, 2}
    assert all(row.note.waiting_for == (3, 4, 5) for row in blocked)
    c.restart(3, 4, 5)
    c.run_until(lambda: c.all_decided("a"))


class Liar(Machine):
    """Says one bit to some and the other to the rest, in every round that it hears of."""

    messages = BenOrReport | BenOrProposal | BenOrValue | BenOrAgain | BenOrSettled

    def __init__(self, first: frozenset[int]) -> None:
        self.first = first
        self.said: set[tuple[str, int]] = set()

    def on_message(
        self, ctx: Ctx, sender: int, msg: BenOrReport | BenOrProposal | BenOrValue
    ) -> None:
        if isinstance(msg, BenOrReport | BenOrProposal) and (msg.op, msg.round) not in self.said:
            self.said.add((msg.op, msg.round))
            for p in ctx.others:
                bit = int(p in self.first)
                ctx.send(p, BenOrReport(msg.op, msg.round, bit))
                ctx.send(p, BenOrProposal(msg.op, msg.round, bit))
                ctx.send(p, BenOrSettled(msg.op, bit))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(6, 9), first=st.frozensets(st.integers(1, 9)), seed=st.integers(0, 2**32))
def test_protocol_b_holds_against_a_liar(n: int, first: frozenset[int], seed: int) -> None:
    net = Network(Delay("exponential", 20 * MS))
    c = Cluster(
        Split, n, seed=seed, network=net, others={n: lambda: Liar(first)}, byzantine=True,
        patience=500 * MS,
    )  # fmt: skip
    c.run_until(lambda: c.settled("a"), 600_000)
    c.check_agreement()
    assert c.blamed() <= {n}


def test_protocol_a_is_split_by_a_liar_as_theory_says() -> None:
    split = 0
    for seed in range(40):
        c = Cluster(
            Split, 5, seed=seed, network=Network(Delay("exponential", 20 * MS)),
            others={5: lambda: Liar(frozenset({1, 2}))}, patience=500 * MS,
        )  # fmt: skip
        c.run(60_000)
        held = {bool(c.log(p)) for p in c.honest if c.log(p) or c.parent(p).refused}
        split += len(held) == 2
    assert split > 0


def test_two_bits_in_one_round_are_blamed() -> None:
    class Twice(Machine):
        messages = BenOrReport | BenOrProposal | BenOrValue | BenOrAgain | BenOrSettled

        def start(self, ctx: Ctx) -> None:
            ctx.multicast(ctx.others, BenOrReport("a", 1, 0))
            ctx.multicast(ctx.others, BenOrReport("a", 1, 1))
            ctx.multicast(ctx.others, BenOrReport("b", 1, NEITHER))

    c = Cluster(BenOr, 4, others={4: Twice})
    c.submit(1, "a")
    c.run()
    assert c.blamed() == {4}
    assert c.settled("a")


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(3, 7),
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.3),
    split=st.booleans(),
    crashes=st.lists(
        st.tuples(st.integers(1, 7), st.integers(0, 500), st.integers(1, 3_000)), max_size=4
    ),
)
def test_crashes_and_loss_split_nobody_and_it_ends(
    n: int, seed: int, loss: float, split: bool, crashes: list[tuple[int, int, int]]
) -> None:
    net = Network(Delay("uniform", 1 * MS, 60 * MS), loss=loss)
    c = Cluster(Split if split else BenOr, n, seed=seed, network=net, patience=300 * MS)
    for p, down, lasting in crashes:
        if p <= n:
            c.world.at(down * MS, lambda p=p: c.crash(p))  # type: ignore[misc]
            c.world.at((down + lasting) * MS, lambda p=p: c.restart(p))  # type: ignore[misc]
    if not split:
        c.submit(1, "a")
    c.run(4_000)
    c.check_agreement()
    if not split:
        c.submit(1, "a")
        # who slept through all of it has not heard of the operation
        awake = [p for p in c.members if "a" in c.machine(p).instances]
        c.run_until(lambda: all(c.log(p) or c.parent(p).refused for p in awake), 120_000)
        assert 2 * len(awake) > n
    else:
        c.run_until(lambda: c.settled("a"), 120_000)
    c.check_agreement()
    assert c.blamed() == set()


def test_a_late_certificate_is_told_of_the_refusal() -> None:
    """Otherwise the coordinator would keep the operation open for ever."""
    c = Cluster(BenOr, 4)
    for p in c.members:
        c.world.ask(p, ("session",), Oppose("a", "no certificate"))
    c.run()
    for p in c.members:
        c.submit(p, "a")
    c.run()
    assert all(len(c.parent(p).refused) == 2 for p in c.members)
    assert not any(c.log(p) for p in c.members)
    assert not [name for _, name in c.world.look(1, lambda node: node.timers)]


def test_what_one_party_speaks_of_first_has_bounds_and_costs_others_nothing() -> None:
    class Many(Machine):
        messages = BenOrReport | BenOrProposal | BenOrValue | BenOrAgain | BenOrSettled

        def start(self, ctx: Ctx) -> None:
            for k in range(400):
                ctx.multicast(ctx.others, BenOrReport(f"ghost{k}", 1, 1))

    c = Cluster(BenOr, 4, others={4: Many}, patience=100_000 * SECOND)
    c.run(100)
    assert len(c.machine(1).instances) == BenOr.OPEN
    for p in c.honest:
        c.submit(p, "a")
    c.run_until(lambda: c.all_decided("a"))
    assert c.blamed() == set()


def test_who_took_a_decision_over_is_counted_in_the_rounds_that_follow() -> None:
    """Protocol B, n = 11 and t = 2: party 1 has decided; liars 10 and 11 told party 2 alone that
    they had, too, and say nothing to others. Nine words are needed, and two tell how it ended."""
    three = Alone(BenOr, 3, 11, byzantine=True)
    three.submit("a", b"value of a")
    for p in (1, *range(4, 10)):
        assert not three.hear(p, BenOrReport("a", 1, 1))
    three.hear(1, BenOrSettled("a", 1))
    assert three.log == []
    assert three.hear(2, BenOrSettled("a", 1)) == [BenOrProposal("a", 1, 1)]
    for p in (1, *range(4, 10)):
        three.hear(p, BenOrProposal("a", 1, 1))
    assert three.log == ["a"]
