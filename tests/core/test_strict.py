"""Either all of a handler happens or nothing: the strict mode that every test here runs in."""

import random

import pytest

from mpclab.core.effects import Asked, Blame, Delivered, Send, Started
from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Node
from mpclab.core.strict import HalfDone
from mpclab.core.wire import Frame, Message


class Word(Message, frozen=True):
    text: str


class Keeper(Machine):
    """Keeps what it hears, and then finds that it should not have."""

    caches = frozenset({"lengths"})

    def __init__(self, careless: bool = False) -> None:
        self.careless = careless
        self.heard: list[str] = []
        self.lengths: dict[str, int] = {}
        self.tree = {"a": [1, {2}]}

    def on_message(self, ctx: Ctx, sender: int, msg: Word) -> None:
        self.lengths[msg.text] = len(msg.text)
        if self.careless:
            self.heard.append(msg.text)
        if msg.text == "bad":
            raise PeerFault("bad word")
        self.heard.append(msg.text)

    def on_ask(self, ctx: Ctx, ask: str) -> None:
        if self.careless:
            self.tree["a"].append(ask)  # type: ignore[arg-type]
        raise UsageError("not now")


def node(machine: Machine) -> Node:
    it = Node(1, 2, machine, coins=lambda path: random.Random(1))
    it.step(Started(), 0)
    return it


def said(text: str) -> Delivered:
    frame = Frame(1, (), Word(text))
    frame.suspect = True
    return Delivered(2, frame)


def test_a_handler_that_raises_before_it_changes_anything_is_blamed_on_the_sender() -> None:
    it = node(Keeper())
    assert it.step(said("bad"), 1) == [Blame((), 2, "bad word", it.out[0].strength)]  # type: ignore[union-attr]
    it.step(said("good"), 2)


def test_a_handler_that_changed_something_and_raises_stops_the_run() -> None:
    with pytest.raises(HalfDone, match=r"Keeper raised .* after it had changed heard"):
        node(Keeper(careless=True)).step(said("bad"), 1)


def test_an_ask_that_is_refused_has_changed_nothing_either() -> None:
    with pytest.raises(UsageError):
        node(Keeper()).step(Asked((), "x"), 1)
    with pytest.raises(HalfDone, match="tree"):
        node(Keeper(careless=True)).step(Asked((), "x"), 1)


def test_without_it_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Node, "strict", False)
    assert node(Keeper(careless=True)).step(said("bad"), 1)


class Later(Machine):
    """Keeps a word, and takes it up when the next one comes."""

    def __init__(self) -> None:
        self.kept: tuple[int, Word] | None = None
        self.taken: list[str] = []

    def on_message(self, ctx: Ctx, sender: int, msg: Word) -> None:
        if msg.text == "bad":
            if self.kept is None:
                self.kept = sender, msg
                return
            raise PeerFault("bad word")
        self.taken.append(msg.text)
        ctx.broadcast(Word(f"{msg.text}!")) if sender != ctx.me else None
        if self.kept is not None and sender != ctx.me:
            ctx.redeliver(*self.kept)


def test_what_is_delivered_again_is_a_delivery_of_its_own() -> None:
    machine = Later()
    it = Node(1, 3, machine, coins=lambda path: random.Random(1))
    it.step(Delivered(2, Frame(1, (), Word("bad"))), 0)
    effects = it.step(Delivered(3, Frame(1, (), Word("good"))), 1)
    assert [type(effect) for effect in effects] == [Send, Blame]
    assert [effect.party for effect in effects if isinstance(effect, Blame)] == [2]
    assert machine.taken == ["good", "good!"]
