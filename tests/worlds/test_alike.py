"""What is the same in all three worlds: limits of messages, and what becomes of failures."""

from __future__ import annotations

import pytest

from mpclab import Lab, Machine, Message, Party, UsageError
from mpclab.core import Ctx
from mpclab.core.effects import Words
from mpclab.core.wire import MAX_MESSAGE
from mpclab.faults.fault import AdversaryContext
from mpclab.trace import rows
from mpclab.worlds.failures import NodeFailed

WORLDS = ("simulated", "websocket", "webrtc")


class Bulk(Message, frozen=True):
    number: int
    data: bytes


class Number(Message, frozen=True):
    value: int


class Sender(Machine):
    """Party 1 sends `count` messages of `size` bytes to the others, who say when all are there."""

    messages = Bulk

    def __init__(self, size: int, count: int = 1) -> None:
        self.size = size
        self.count = count
        self.got: list[int] = []

    def start(self, ctx: Ctx) -> None:
        if ctx.me == 1:
            ctx.set_timer("go", 0)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        for k in range(self.count):
            ctx.multicast(ctx.others, Bulk(k, bytes(self.size)))

    def on_message(self, ctx: Ctx, sender: Party, msg: Bulk) -> None:
        assert len(msg.data) == self.size
        self.got.append(msg.number)
        if len(self.got) == self.count:
            ctx.output(tuple(self.got))


class Divider(Machine):
    """Divides by what others say."""

    def start(self, ctx: Ctx) -> None:
        if ctx.me == 1:
            ctx.set_timer("go", 0)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        for value in (1, 0, 2):
            ctx.send(2, Number(value))

    def on_message(self, ctx: Ctx, sender: Party, msg: Number) -> None:
        ctx.output(12 // msg.value)


class Clumsy(Machine):
    """Fails on its own timer."""

    def start(self, ctx: Ctx) -> None:
        if ctx.me == 2:
            ctx.set_timer("go", 1)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        raise ZeroDivisionError("oops")

    def on_message(self, ctx: Ctx, sender: Party, msg: Number) -> None:
        """Nothing."""


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("size", "count"), [(262_144, 1), (250_000, 20), (5_000_000, 1)])
def test_large_messages_and_bursts_arrive_and_nobody_is_blamed(
    world: str, size: int, count: int
) -> None:
    with Lab(world=world, parties=3, protocol=lambda: Sender(size, count)) as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join()
        lab.run(lambda: len(lab.outputs()) == 2, limit=180)
        everything = [f"({', '.join(map(str, range(count)))})"]
        assert lab.outputs() == {2: everything, 3: everything}
        assert not [r for r in lab.trace if isinstance(r, rows.Blamed | rows.Dropped)]


@pytest.mark.parametrize("world", WORLDS)
def test_a_message_over_the_limit_is_its_senders_error(world: str) -> None:
    told = rf"party 1 failed at .* timer 'go'.*seed 5.*a message takes {MAX_MESSAGE} at most"
    with Lab(world=world, parties=2, seed=5, protocol=lambda: Sender(MAX_MESSAGE)) as lab:
        lab.start_server(0)
        lab.spawn()
        with pytest.raises(NodeFailed, match=told) as caught:
            _join_and_run(lab)
        assert isinstance(caught.value.__cause__, UsageError)
        assert not [r for r in lab.trace if isinstance(r, rows.Blamed)]


@pytest.mark.parametrize("world", WORLDS)
def test_a_bug_on_our_own_event_is_one_error_with_party_time_event_and_seed(world: str) -> None:
    told = (
        r"party 2 failed at \d+\.\d{3} ms on timer 'go' of .* \(seed 9\): ZeroDivisionError: oops"
    )
    with Lab(world=world, parties=2, seed=9, protocol=Clumsy) as lab:
        lab.start_server(0)
        lab.spawn()
        with pytest.raises(NodeFailed, match=told) as caught:
            _join_and_run(lab)
        assert caught.value.actor == 2
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert 2 not in lab.world.actors
        assert 1 in lab.world.actors


@pytest.mark.parametrize("world", WORLDS)
def test_a_bug_on_an_honest_partys_message_is_a_bug(world: str) -> None:
    with Lab(world=world, parties=2, protocol=Divider) as lab:
        lab.start_server(0)
        lab.spawn()
        with pytest.raises(NodeFailed, match=r"party 2 failed at .*ZeroDivisionError"):
            _join_and_run(lab)


@pytest.mark.parametrize("world", WORLDS)
def test_what_a_corrupt_partys_message_makes_fail_is_its_fault(world: str) -> None:
    def as_it_is(words: Words, adversary: AdversaryContext) -> list[Words]:
        return [words]

    with Lab(world=world, parties=2, protocol=Divider) as lab:
        lab.start_server(0)
        lab.inject(kind="filter", party=1, words=as_it_is)
        lab.spawn()
        lab.join()
        lab.run(lambda: [r.text for r in lab.trace.of(rows.Output)][-2:] == ["12", "6"], limit=20)
        [blamed] = lab.trace.of(rows.Blamed)
        assert (blamed.actor, blamed.party, blamed.strength) == (2, 1, "suspect")
        assert blamed.reason.startswith("its Number made us fail: ZeroDivisionError")
        assert "test_alike.py:" in blamed.reason
        assert lab.world.actors[-2:] == (1, 2)


def _join_and_run(lab: Lab) -> None:
    lab.join()
    lab.run(lambda: False, limit=20)
