"""Lockstep rounds: early, duplicate, contradicting, missing and wrong messages."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core import Aborted, Ctx, Finished, Frame, Message, Node, PeerFault, RoundMachine
from mpclab.core.effects import (
    Blame,
    CancelTimer,
    Delivered,
    Effect,
    Note,
    Output,
    Send,
    SetTimer,
    Started,
    TimerFired,
)
from mpclab.core.ids import SECOND
from mpclab.core.notes import Round
from mpclab.core.rounds import AGAIN


class Number(Message, frozen=True):
    value: int


class Total(Message, frozen=True):
    value: int


class Sum(RoundMachine):
    """Everyone says a number, then the sum it found."""

    rounds = (Number, Total)

    def produce(self, ctx: Ctx, k: int) -> Message:
        if k == 0:
            return Number(ctx.me)
        return Total(sum(msg.value for msg in self.received[0].values()))

    def check(self, ctx: Ctx, k: int, sender: int, msg: Any) -> None:
        if msg.value < 0:
            raise PeerFault("negative")

    def result(self, ctx: Ctx) -> int:
        totals = {msg.value for msg in self.received[1].values()}
        if len(totals) != 1:
            raise PeerFault("the sums differ", party=2)
        return totals.pop()


class Parcels(RoundMachine):
    """A different message for each."""

    rounds = (Number,)

    def produce(self, ctx: Ctx, k: int) -> dict[int, Message]:
        return {p: Number(10 * ctx.me + p) for p in self.participants}

    def result(self, ctx: Ctx) -> list[int]:
        return [self.received[0][p].value for p in self.participants]


def begin(machine: RoundMachine, n: int = 3) -> tuple[Node, list[Effect]]:
    node = Node(1, n, machine, coins=lambda _: random.Random(1))
    return node, node.step(Started(), 0)


def get(node: Node, sender: int, msg: Message) -> list[Effect]:
    return node.step(Delivered(sender, Frame(1, (), body=msgspec.msgpack.encode(msg))), 1)


def outputs(effects: list[Effect]) -> list[Any]:
    return [e.value for e in effects if isinstance(e, Output)]


def test_a_round_begins_with_its_deadline_and_our_message() -> None:
    _, effects = begin(Sum(deadline=2 * SECOND))
    timer, note, again, send = effects
    assert timer == SetTimer((), "deadline", 2 * SECOND, False)
    assert again == SetTimer((), "again", 2 * SECOND // AGAIN, False)
    assert note == Note((), Round(1, 2))
    assert isinstance(send, Send)
    assert (send.to, send.frame.msg) == ((2, 3), Number(1))


def test_the_last_message_of_the_last_round_ends_it() -> None:
    node, _ = begin(Sum())
    get(node, 2, Number(2))
    effects = get(node, 3, Number(3))
    assert [e.frame.msg for e in effects if isinstance(e, Send)] == [Total(6)]
    get(node, 2, Total(6))
    effects = get(node, 3, Total(6))
    assert outputs(effects) == [Finished(6)]
    assert CancelTimer((), "deadline") in effects
    assert get(node, 3, Total(7)) == []  # over is over


@given(st.permutations([(p, k) for p in (2, 3, 4) for k in (0, 1)]), st.data())
def test_any_order_of_this_round_and_the_next_gives_the_same(order: list, data: Any) -> None:
    node, _ = begin(Sum(), n=4)
    found: list[Any] = []
    for party, k in order:
        msg: Message = Number(party) if k == 0 else Total(10)
        for _ in range(data.draw(st.integers(1, 2))):  # a duplicate is no contradiction
            effects = get(node, party, msg)
            assert not [e for e in effects if isinstance(e, Blame)]
            found += outputs(effects)
    assert found == [Finished(10)]


def test_each_gets_its_own_message() -> None:
    node, effects = begin(Parcels())
    assert [(e.to, e.frame.msg) for e in effects if isinstance(e, Send)] == [
        ((2,), Number(12)),
        ((3,), Number(13)),
    ]
    get(node, 2, Number(21))
    assert outputs(get(node, 3, Number(31))) == [Finished([11, 21, 31])]


def test_two_different_messages_of_one_round_are_blamed() -> None:
    node, _ = begin(Sum())
    get(node, 2, Number(2))
    effects = get(node, 2, Number(5))
    assert [(e.party, e.reason) for e in effects if isinstance(e, Blame)] == [
        (2, "sent two different Numbers")
    ]
    [aborted] = outputs(effects)
    assert aborted.blamed == (2,)


@pytest.mark.parametrize("early", [False, True])
def test_a_wrong_message_is_blamed_when_its_round_has_begun(early: bool) -> None:
    node, _ = begin(Sum())
    if early:
        assert get(node, 2, Total(-1)) == []
        get(node, 2, Number(2))
        effects = get(node, 3, Number(3))
    else:
        effects = get(node, 2, Number(-1))
    [aborted] = outputs(effects)
    assert aborted == Aborted("party 2: negative", blamed=(2,))


def test_a_result_that_does_not_check_blames_whom_it_names() -> None:
    node, _ = begin(Sum())
    for party in (2, 3):
        get(node, party, Number(party))
    get(node, 3, Total(6))
    [aborted] = outputs(get(node, 2, Total(7)))
    assert aborted == Aborted("party 2: the sums differ", blamed=(2,))


def test_the_deadline_names_the_missing() -> None:
    node, _ = begin(Sum(deadline=SECOND), n=4)
    get(node, 3, Number(3))
    [aborted] = outputs(node.step(TimerFired((), "deadline"), SECOND))
    assert aborted == Aborted("no Number from parties 2, 4 in time", missing=(2, 4))


def test_each_round_has_its_own_deadline() -> None:
    node, _ = begin(Sum(deadline=SECOND))
    get(node, 2, Number(2))
    node.step(Delivered(3, Frame(1, (), body=msgspec.msgpack.encode(Number(3)))), SECOND - 1)
    assert node.step(TimerFired((), "deadline"), SECOND) == []
    [aborted] = outputs(node.step(TimerFired((), "deadline"), 2 * SECOND))
    assert aborted.missing == (2, 3)


def test_outsiders_are_blamed_and_bystanders_say_nothing() -> None:
    node, effects = begin(Sum(participants=(1, 2)))
    assert [e.to for e in effects if isinstance(e, Send)] == [(2,)]
    [blame] = get(node, 3, Number(3))
    assert isinstance(blame, Blame)
    assert blame.party == 3
    _, effects = begin(Sum(participants=(2, 3)))
    assert effects == []
