"""A slip in a machine is answered alike in all worlds: whose it is, when, on what, and the seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mpclab import Ctx, Lab, Machine, Message, Party, UsageError
from mpclab.core import MachineError
from mpclab.worlds.failures import NodeFailed


class Word(Message, frozen=True):
    text: str


class Base(Machine):
    def on_message(self, ctx: Ctx, sender: Party, msg: Word) -> None:
        if ctx.me == 2 and sender == 1:
            self.slip(ctx)

    def start(self, ctx: Ctx) -> None:
        ctx.broadcast(Word("go"))

    def slip(self, ctx: Ctx) -> None:
        raise NotImplementedError


class Divides(Base):
    def slip(self, ctx: Ctx) -> None:
        ctx.output(1 / 0)


class Misses(Base):
    def slip(self, ctx: Ctx) -> None:
        ctx.send(9, Word("anybody"))


class Mistypes(Base):
    def slip(self, ctx: Ctx) -> None:
        ctx.send(3, Word(5))  # type: ignore[arg-type]


class Keeps(Base):
    def slip(self, ctx: Ctx) -> None:
        ctx.persist("k", "text")  # type: ignore[arg-type]


class Waits(Base):
    def slip(self, ctx: Ctx) -> None:
        ctx.set_timer("t", "5s")  # type: ignore[arg-type]


class Lumps(Base):
    def slip(self, ctx: Ctx) -> None:
        ctx.broadcast({"text": "go"})  # type: ignore[arg-type]


SLIPS = {
    Divides: "division by zero",
    Misses: "Misses sends to 9; its parties are 1 to 3",
    Mistypes: "Mistypes sends Word(text=5), which nobody can read",
    Keeps: "Keeps calls persist('k', 'text')",
    Waits: "Waits calls set_timer('t', '5s')",
    Lumps: "Lumps sends {'text': 'go'}, which is no Message",
}


def failure(make: Callable[[], Machine], world: str) -> str:
    """What a lab says of a protocol that slips at party 2."""
    with Lab(parties=3, world=world, protocol=make, seed=11) as lab:
        lab.start_server(port=0)
        lab.spawn()
        with pytest.raises(NodeFailed) as error:
            run(lab)
        return f"{type(error.value).__name__}: {error.value}"


def run(lab: Lab) -> None:
    lab.join()
    lab.wait(2)


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.__name__)
def test_a_slip_names_party_time_event_and_seed(slip: type[Base]) -> None:
    said = failure(slip, "simulated")
    assert said.startswith("NodeFailed: party 2 failed at ")
    assert " ms on " in said
    assert SLIPS[slip] in said
    assert "seed 11" in said


@pytest.mark.parametrize("world", ["websocket", "webrtc"])
def test_real_worlds_say_the_same(world: str) -> None:
    for slip in (Divides, Mistypes):
        said = failure(slip, world)
        assert said.startswith("NodeFailed: party 2 failed at ")
        assert " ms on " in said
        assert SLIPS[slip] in said


@pytest.mark.parametrize("world", ["simulated", "websocket", "webrtc"])
def test_a_slip_in_the_class_is_said_before_anything_runs(world: str) -> None:
    class Bare(Machine):
        def on_message(self, ctx: Ctx, sender: Any, msg) -> None:  # type: ignore[no-untyped-def]
            pass

    with pytest.raises(MachineError, match=r"Bare\.on_message: annotate msg"):
        Lab(parties=3, world=world, protocol=Bare)


def test_an_instance_instead_of_the_class_is_told() -> None:
    with pytest.raises(UsageError, match="one Divides cannot be every party; give the class"):
        Lab(parties=3, protocol=Divides())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="protocol: 5; give a Machine class"):
        Lab(parties=3, protocol=5)  # type: ignore[arg-type]
