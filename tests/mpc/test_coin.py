"""The joint coin: honest, withheld, contradicting; alone and as an operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.core.node import Node
from mpclab.core.rounds import Aborted, Finished
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest
from mpclab.faults.network import Delay, Network
from mpclab.mpc.coin import COIN_BYTES, Coin, Commit, Reveal, commitment
from mpclab.testing.sessions import Sessions
from mpclab.worlds.simulated import SimulatedWorld

CONTEXT = b"a flip"


class Withholds(Coin):
    """Commits, sees everyone's coin and stays silent: what the last revealer can do."""

    def produce(self, ctx: Ctx, k: int) -> Message | None:  # type: ignore[override]
        return super().produce(ctx, k) if k == 0 else None


class Absent(Coin):
    def produce(self, ctx: Ctx, k: int) -> Message | None:  # type: ignore[override]
        return None


class ChangesItsMind(Coin):
    def produce(self, ctx: Ctx, k: int) -> Message:
        message = super().produce(ctx, k)
        return Reveal(bytes(COIN_BYTES), message.heard) if isinstance(message, Reveal) else message


class CommitsToNothing(Coin):
    def produce(self, ctx: Ctx, k: int) -> Message:
        message = super().produce(ctx, k)
        return Commit(b"short") if k == 0 else message


class Copies(Coin):
    """Commits and reveals the same as party 1, to cancel it out."""

    def produce(self, ctx: Ctx, k: int) -> Mapping[Party, Message]:  # type: ignore[override]
        super().produce(ctx, k)
        return {}

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        super().on_message(ctx, sender, msg)
        if sender == 1:
            ctx.multicast(ctx.others, msg)


class TwoFaced(Coin):
    """Tells party 1 another hash than the others."""

    def produce(self, ctx: Ctx, k: int) -> Any:
        message = super().produce(ctx, k)
        if k == 1:
            return message
        other = Commit(commitment(CONTEXT, ctx.me, bytes(COIN_BYTES)))
        return {p: other if p == 1 else message for p in ctx.members}


class TwoCoins(Coin):
    """Commits to one coin towards party 1 and to another towards the rest, and reveals both."""

    def produce(self, ctx: Ctx, k: int) -> Any:
        message = super().produce(ctx, k)
        zero = bytes(COIN_BYTES)
        if isinstance(message, Reveal):
            hashes = {p: self.received[0][p].hash for p in ctx.members}
            hashes[ctx.me] = commitment(CONTEXT, ctx.me, zero)
            heard = digest("mpclab coin heard", CONTEXT, tuple(hashes.values()))
            return {p: Reveal(zero, heard) if p == 1 else message for p in ctx.members}
        other = Commit(commitment(CONTEXT, ctx.me, zero))
        return {p: other if p == 1 else message for p in ctx.members}


def flip(n: int, seed: int = 1, **liars: type[Coin]) -> dict[Party, Finished[bytes] | Aborted]:
    world = SimulatedWorld(seed, Network(Delay("uniform", 1 * MS, 50 * MS)))
    for p in range(1, n + 1):
        kind = liars.get(f"p{p}", Coin)

        def build(coins: Any, stored: Any, p: Party = p, kind: type[Coin] = kind) -> Node:
            return Node(p, n, kind(CONTEXT, deadline=SECOND), coins=coins)

        world.host(p, build)
    world.run()
    machines = {p: world.look(p, lambda node: node.machine(())) for p in range(1, n + 1)}
    return {p: m.outcome for p, m in machines.items() if f"p{p}" not in liars}


@pytest.mark.parametrize("n", [1, 2, 5])
def test_all_get_the_same_coin(n: int) -> None:
    results = {outcome.result for outcome in flip(n).values()}  # type: ignore[union-attr]
    assert len(results) == 1
    assert len(results.pop()) == COIN_BYTES


def test_one_fresh_coin_makes_the_result_fresh() -> None:
    results = {flip(3, seed)[1].result for seed in range(20)}  # type: ignore[union-attr]
    assert len(results) == 20


@pytest.mark.parametrize(
    ("liar", "reason", "missing", "blamed"),
    [
        (Absent, "no Commit from party 3 in time", (3,), ()),
        (Withholds, "no Reveal from party 3 in time", (3,), ()),
        (CommitsToNothing, "commitment is not 32 bytes", (), (3,)),
        (ChangesItsMind, "revealed another coin", (), (3,)),
        (Copies, "revealed another coin", (), (3,)),
    ],
)
def test_who_spoils_the_coin_is_named_by_all(
    liar: type[Coin], reason: str, missing: tuple[Party, ...], blamed: tuple[Party, ...]
) -> None:
    for outcome in flip(4, p3=liar).values():
        assert isinstance(outcome, Aborted)
        assert reason in outcome.reason
        assert (outcome.missing, outcome.blamed) == (missing, blamed)


def test_a_two_faced_committer_is_caught_by_whom_it_deceived() -> None:
    outcomes = flip(4, p3=TwoFaced)
    assert outcomes[1].blamed == (3,)  # type: ignore[union-attr]
    assert outcomes[2] == Aborted("party 1 and we heard different commitments")


def test_who_commits_and_reveals_two_ways_gives_nobody_a_result() -> None:
    for outcome in flip(4, p3=TwoCoins).values():
        assert isinstance(outcome, Aborted)
        assert "heard different commitments" in outcome.reason
        assert (outcome.missing, outcome.blamed) == ((), ())


def test_a_commitment_means_nothing_elsewhere() -> None:
    coin = bytes(range(COIN_BYTES))
    bound = {commitment(c, p, coin) for c in (b"a", b"b") for p in (1, 2)}
    assert len(bound) == 4


# --- as an operation ----------------------------------------------------------------------


def test_the_operation_gives_everyone_the_same_number() -> None:
    s = Sessions(5)
    s.run()
    ops = [s.propose(p, "coin") for p in s.members]
    s.run()
    for op in ops:
        assert set(s.statuses(op).values()) == {"executed"}
        assert len({s.at(p, op).result for p in s.members}) == 1
        assert bytes.fromhex(s.at(1, op).result) == s.at(1, op).data
    assert len({s.at(1, op).result for op in ops}) == 5


def test_who_vanishes_before_revealing_is_missing() -> None:
    s = Sessions(4, round_deadline=2 * SECOND)
    s.run()
    op = s.propose(1, "coin")
    s.world.run(lambda: bool(s.notes("committed", op)))
    s.world.crash(4)
    s.run()
    assert set(s.statuses(op).values()) == {"failed"}
    assert {s.at(p, op).missing for p in s.up} == {(4,)}
    assert {s.at(p, op).reason for p in s.up} == {"no Reveal from party 4 in time"}
    assert len(s.heads()) == 1, "it was committed all the same"
    s.world.restart(4)
    s.run()
    assert set(s.statuses(op).values()) == {"failed"}


def test_who_misses_the_last_reveal_takes_what_t_others_report() -> None:
    s = Sessions(4, t=3, round_deadline=2 * SECOND)
    s.run()
    op = s.propose(1, "coin")
    s.world.run(lambda: len(s.notes("committed", op)) == 4)
    s.run(5 * MS)  # every Commit is out
    s.lossy(lambda src, dst, draw: src == 2 and dst == 4)
    s.run(SECOND)
    s.heal()
    assert s.statuses(op) == {1: "executed", 2: "executed", 3: "executed", 4: "committed"}
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    assert len({s.at(p, op).result for p in s.members}) == 1
    assert s.at(4, op).missing == ()


def test_a_restart_in_the_middle_contradicts_nothing() -> None:
    s = Sessions(4, t=2, round_deadline=2 * SECOND)
    s.run()
    op = s.propose(1, "coin")
    s.world.run(lambda: len(s.notes("committed", op)) == 4)
    s.run(15 * MS)
    s.world.crash(3)  # its Reveal is out
    s.world.restart(3)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    assert len({s.at(p, op).result for p in s.members}) == 1
    assert not s.blames()
    [told] = [row for row in s.notes("executed", op) if row.actor == 3]
    assert told.note.source == "reports"
