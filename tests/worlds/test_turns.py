"""What a world has to compute holds up nobody else in it, and nobody is given up for our delay."""

import time
from collections import deque
from collections.abc import Callable

import pytest

from mpclab import Lab
from mpclab.core import SECOND
from mpclab.trace import rows
from mpclab.worlds import host as host_module
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.turns import TURN, Turns
from tests.worlds.stations import TALK, party

LIMIT = 20 * SECOND


class Loop:
    """Calls nothing before it is told to."""

    def __init__(self) -> None:
        self.next: deque[Callable[[], None]] = deque()

    def call_later(self, delay: float, callback: Callable[[], None], /) -> None:
        assert delay == 0
        self.next.append(callback)


class Job:
    """One long step, as often as it is let."""

    def __init__(self, turns: Turns, done: list[str], name: str) -> None:
        self.turns, self.done, self.name = turns, done, name

    def go_on(self) -> None:
        self.done.append(self.name)
        now = time.perf_counter()
        self.turns.spend(now, now + 2 * TURN)


def test_what_a_turn_has_no_time_for_waits_in_order() -> None:
    loop, done = Loop(), []
    turns = Turns(loop)
    one, two = (Job(turns, done, name) for name in "ab")
    one.go_on()
    assert turns.over
    for job in (one, two):
        turns.put_off(job)
    assert turns.behind > 0
    while loop.next:
        loop.next.popleft()()
    assert done == ["a", "a", "b"]
    assert turns.behind == 0


def test_rest_between_steps_counts() -> None:
    loop = Loop()
    turns = Turns(loop)
    began = time.perf_counter()
    for k in range(100):
        turns.spend(began + k * TURN, began + k * TURN + TURN / 3)
    assert not turns.over


def test_twenty_parties_that_make_a_key_hold_the_loop_for_no_50_ms() -> None:
    """CPU time of the thread between two looks at the clock: what the machine does besides is not
    ours."""
    with Lab(world="websocket", parties=20, threshold=14) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join(timeout=120)
        world = lab.world
        assert isinstance(world, WebSocketWorld)
        held: list[float] = []

        def look(last: float) -> None:
            now = time.thread_time()
            held.append(now - last)
            world.loop.call_later(0.001, look, time.thread_time())

        world.call(lambda: look(time.thread_time()))
        lab.propose(kind="dkg")
        lab.run(limit=120)
        assert lab.outcomes()[0].status == "committed"
        assert max(held) < 0.05


def test_who_is_late_itself_gives_nobody_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_WAIT_MORE", 0.05)
    with WebSocketWorld() as world:
        world.host(1, party(1, 1))

        def ask_and_be_held_up() -> None:
            world.ask(1, TALK, "tick")  # in 5 ms
            world.began -= 3_000_000_000

        world.call(ask_and_be_held_up)

        def fired() -> list[rows.Fired]:
            return [row for row in world.trace.of(rows.Fired) if row.name == "tick"]

        assert world.run(lambda: bool(fired()), limit=LIMIT)
        asked = next(row.at for row in world.trace.of(rows.Asked))
        assert fired()[0].at - asked >= 3_050_000
        assert len(world.trace.remarks("this machine is too slow")) == 1
        assert "too slow for it, and was 3.0 s behind" in world.slowness()
