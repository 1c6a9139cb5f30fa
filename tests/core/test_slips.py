"""Beginners' slips: each is answered in its own terms, when its class is seated or when it acts.

The names of classes and fields in the messages are what one searches one's own cell for.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from mpclab.core import SECOND, Ctx, Machine, MachineError, Message, Node, RoundMachine
from mpclab.core.effects import Blame, Delivered, Effect, Send, Started
from mpclab.core.wire import Frame


class Hi(Message, frozen=True):
    text: str


class Bye(Message, frozen=True):
    text: str


class Weight(Message, frozen=True):
    kilos: float


class Many(Message, frozen=True):
    of: list[int]


class Pairs(Message, frozen=True):
    inner: tuple[Weight, ...]


def coins(path: Any) -> random.Random:
    return random.Random(0)


def begin(machine: Machine, n: int = 3) -> list[Effect]:
    return Node(1, n, machine, coins=coins).step(Started(), 0)


def acting(act: Any, on_message: Any = None) -> Machine:
    """A machine that takes `Hi` and does `act(ctx)` when it starts."""

    class Acting(Machine):
        def start(self, ctx: Ctx) -> None:
            act(ctx)

        def on_message(self, ctx: Ctx, sender: int, msg: Hi) -> None:
            pass

    return Acting()


# --- slips in the class --------------------------------------------------------------------


class Unannotated(Machine):
    def on_message(self, ctx, sender, msg):  # type: ignore[no-untyped-def]
        pass


class Everything(Machine):
    def on_message(self, ctx: Ctx, sender: int, msg: Message) -> None:
        pass


class Short(Machine):
    def on_message(self, ctx: Ctx, msg: Hi) -> None:  # type: ignore[override]
        pass


class Selfless(Machine):
    def on_timer(ctx: Ctx, name: str) -> None:  # type: ignore[misc, override]
        pass


class Bare(Machine):
    def start(self) -> None:  # type: ignore[override]
        pass


class Awaiting(Machine):
    async def start(self, ctx: Ctx) -> None:  # type: ignore[override]
        pass


class Yielding(Machine):
    def on_timer(self, ctx: Ctx, name: str) -> Any:
        yield name


class Misspelt(Machine):
    def on_mesage(self, ctx: Ctx, sender: int, msg: Hi) -> None:
        pass


class Foreign(Machine):
    def on_start(self, ctx: Ctx) -> None:
        pass


class Camel(Machine):
    def onTimer(self, ctx: Ctx, name: str) -> None:
        pass


class Plain(Machine):
    def on_message(self, ctx: Ctx, sender: int, msg: int) -> None:
        pass


class Heavy(Machine):
    messages = Hi | Weight


class Listed(Machine):
    def on_message(self, ctx: Ctx, sender: int, msg: Many) -> None:
        pass


class Nested(Machine):
    def on_message(self, ctx: Ctx, sender: int, msg: Hi | Pairs) -> None:
        pass


class NoRounds(RoundMachine):
    def produce(self, ctx: Ctx, k: int) -> Message:
        return Hi("")

    def result(self, ctx: Ctx) -> int:
        return 1


class OneRound(NoRounds):
    rounds = Hi  # type: ignore[assignment]


class SameTwice(NoRounds):
    rounds = (Hi, Hi)


class NoResult(RoundMachine):
    rounds = (Hi,)

    def produce(self, ctx: Ctx, k: int) -> Message:
        return Hi("")


class ShortCheck(NoRounds):
    rounds = (Hi,)

    def check(self, ctx: Ctx, msg: Hi) -> None:  # type: ignore[override]
        pass


@pytest.mark.parametrize(
    ("slip", "answer"),
    [
        (Unannotated, r"Unannotated\.on_message: annotate msg with the message classes it takes"),
        (Everything, r"Everything\.on_message: annotate msg with the message classes"),
        (
            Short,
            r"Short\.on_message\(self, ctx, msg\): write on_message\(self, ctx, sender, msg\)",
        ),
        (Selfless, r"Selfless\.on_timer\(ctx, name\): write on_timer\(self, ctx, name\)"),
        (Bare, r"Bare\.start\(self\): write start\(self, ctx\)"),
        (Awaiting, r"Awaiting\.start is async; a handler is plain `def`"),
        (Yielding, r"Yielding\.on_timer yields"),
        (Misspelt, r"Misspelt\.on_mesage is never called; call it on_message"),
        (Foreign, r"Foreign\.on_start is never called; call it start"),
        (Camel, r"Camel\.onTimer is never called; call it on_timer"),
        (Plain, r"Plain: int is no message class; write `class Number\(Message\)"),
        (Heavy, r"Heavy: Weight\.kilos is of type float, .* send an int in a small unit"),
        (Listed, r"Listed: Many\.of is of type list, .* tuple\[int, \.\.\.\]"),
        (Nested, r"Nested: Weight\.kilos is of type float"),
        (NoRounds, r"NoRounds\.rounds is \(\); name the message class of each round"),
        (OneRound, r"OneRound\.rounds is <class .*; name .* rounds = \(Vote,\)"),
        (SameTwice, r"SameTwice\.rounds names a class twice"),
        (NoResult, r"NoResult has no result; it gives the answer"),
        (ShortCheck, r"ShortCheck\.check\(self, ctx, msg\): write check\(self, ctx, k, sender"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_slip_in_a_class_is_said_when_it_is_seated(slip: type[Machine], answer: str) -> None:
    with pytest.raises(MachineError, match=answer):
        Node(1, 3, slip(), coins=coins)


def test_a_class_that_names_its_messages_needs_no_annotation() -> None:
    class Named(Machine):
        messages = Hi

        def on_message(self, ctx, sender, msg):  # type: ignore[no-untyped-def]
            pass

    Node(1, 3, Named(), coins=coins)


def test_a_helper_beside_the_handler_may_have_a_name_like_it() -> None:
    class Both(Machine):
        def on_message(self, ctx: Ctx, sender: int, msg: Hi) -> None:
            self.on_messages(msg)

        def on_messages(self, msg: Hi) -> None:
            pass

    Node(1, 3, Both(), coins=coins)


# --- slips in what it does ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "answer"),
    [
        (lambda ctx: ctx.send(9, Hi("")), r"Acting sends to 9; its parties are 1 to 3"),
        (lambda ctx: ctx.send(0, Hi("")), r"Acting sends to 0; its parties are 1 to 3"),
        (lambda ctx: ctx.send("2", Hi("")), r"Acting sends to '2'"),
        (lambda ctx: ctx.multicast([1, 2, 4], Hi("")), r"Acting sends to 4"),
        (lambda ctx: ctx.broadcast({"a": 1}), r"Acting sends \{'a': 1\}, which is no Message; wr"),
        (lambda ctx: ctx.broadcast("hello"), r"Acting sends 'hello', which is no Message; write"),
        (lambda ctx: ctx.broadcast(Hi), r"no Message; send an instance: Hi\(…\)"),
        (lambda ctx: ctx.send(2, Hi(5)), r"sends Hi\(text=5\), .* Expected `str`, got `int`"),
        (lambda ctx: ctx.broadcast(Hi({2})), r"sends Hi\(text=\{2\}\), which nobody can"),
        (lambda ctx: ctx.send(2, Hi("\ud800")), r"nobody can read: .*surrogates not allowed"),
        (lambda ctx: ctx.send(2, Bye("")), r"Acting sends Bye\(text=''\), .* Invalid value 'Bye'"),
        (lambda ctx: ctx.set_timer("t", "5s"), r"Acting calls set_timer\('t', '5s'\); .* 5 \* SEC"),
        (lambda ctx: ctx.set_timer("t", 0.5 * SECOND), r"set_timer\('t', 500000\.0\); .* whole mi"),
        (lambda ctx: ctx.persist("k", "text"), r"Acting calls persist\('k', 'text'\); .* bytes"),
        (lambda ctx: ctx.persist(1, b""), r"Acting calls persist\(1, b''\)"),
        (lambda ctx: ctx.spawn("kid", Machine), r"Acting calls spawn\('kid', <class .* instance"),
    ],
)  # fmt: skip
def test_a_slip_in_an_act_is_said_when_it_acts(act: Any, answer: str) -> None:
    with pytest.raises(MachineError, match=answer):
        begin(acting(act))


def test_who_sends_what_it_has_no_handler_for_hears_of_it() -> None:
    class Deaf(Machine):
        def start(self, ctx: Ctx) -> None:
            ctx.broadcast(Hi("anybody?"))

    with pytest.raises(MachineError, match=r"Deaf sends Hi, which it cannot read itself; write on"):
        begin(Deaf())


def test_a_peer_that_sends_no_message_of_ours_is_blamed_and_nothing_is_raised() -> None:
    node = Node(1, 3, acting(lambda ctx: None), coins=coins)
    for body in (b"\xff", Frame(1, (), Bye("")).body):
        effects = node.step(Delivered(2, Frame(1, (), body=body)), 0)
        assert [e.party for e in effects if isinstance(e, Blame)] == [2]


def test_what_was_tried_out_is_not_decoded_again() -> None:
    reads = 0
    machine = acting(lambda ctx: ctx.broadcast(Hi("a")))
    inner = type(machine).decode()

    def counting(data: bytes) -> Message:
        nonlocal reads
        reads += 1
        return inner(data)

    type(machine)._decoder = staticmethod(counting)
    [effect] = [e for e in begin(machine) if isinstance(e, Send)]
    other = Node(2, 3, machine, coins=coins)
    other.step(Delivered(1, effect.frame), 0)
    assert reads == 1


# --- lockstep rounds -----------------------------------------------------------------------------


class Forgetful(RoundMachine):
    rounds = (Hi,)

    def __init__(self) -> None:
        self.mine = 1

    def produce(self, ctx: Ctx, k: int) -> Message:
        return Hi("")

    def result(self, ctx: Ctx) -> int:
        return 1


class Other(RoundMachine):
    rounds = (Hi,)

    def produce(self, ctx: Ctx, k: int) -> Message:
        return Bye("")

    def result(self, ctx: Ctx) -> int:
        return 1


def test_a_round_machine_that_forgets_its_base_is_told() -> None:
    with pytest.raises(MachineError, match=r"Forgetful\.__init__ never calls super\(\)"):
        begin(Forgetful())


def test_a_round_that_sends_another_message_is_told() -> None:
    with pytest.raises(MachineError, match=r"Other\.produce gives Bye\(.* in round 0; .* sends Hi"):
        begin(Other())
