"""The event queue: total order, multicasts, timers that are replaced, what keeps a run alive."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.votes import voting_world
from mpclab.core.effects import LinkClosed
from mpclab.core.wire import Frame
from mpclab.faults.network import Network, parse_delay
from mpclab.worlds.simulated.queue import (
    FOREVER,
    Action,
    InFlight,
    Multicast,
    Queue,
    Scheduled,
    Timer,
)


def frame(id: int = 1, background: bool = False) -> Frame:
    return Frame(id, (), body=b"", background=background)


def multicast(to: list[int], times: list[int], background: bool = False) -> Multicast:
    return Multicast(InFlight(1, 1, frame(), background), to, times)


def event(actor: int, background: bool = False) -> Scheduled:
    return Scheduled(actor, 1, LinkClosed((), 1), background)


def drain(queue: Queue) -> list[tuple[int, str]]:
    """Everything in order: (time, what) where what names the receiver, timer or actor."""
    done = []
    while queue.next_time is not None:
        item = queue.pop()
        time = queue.now
        if isinstance(item, Multicast):
            done.append((time, f"to {item.to[item.index - 1]}"))
        elif isinstance(item, Timer):
            done.append((time, item.name))
        else:
            done.append((time, f"actor {item.actor}"))
    return done


def test_a_multicast_reaches_its_receivers_one_by_one() -> None:
    queue = Queue()
    queue.push(5, multicast([3, 1, 2], [5, 8, 8]))
    queue.push(7, event(9))
    assert drain(queue) == [(5, "to 3"), (7, "actor 9"), (8, "to 1"), (8, "to 2")]
    assert queue.foreground == 0


def test_at_one_time_the_first_come_is_the_first_served() -> None:
    queue = Queue()
    queue.push(5, event(1))
    queue.push(5, multicast([2, 3], [5, 5]))
    queue.push(5, event(4))
    assert [what for _, what in drain(queue)] == ["actor 1", "to 2", "to 3", "actor 4"]


times = st.lists(st.integers(0, 20), min_size=1, max_size=6).map(sorted)


@given(st.lists(times, min_size=1, max_size=6))
def test_multicasts_come_as_their_messages_would_one_by_one(multicasts: list[list[int]]) -> None:
    """A multicast is an economy: the same times and receivers as an entry for each message."""
    together, apart = Queue(), Queue()
    for number, arrivals in enumerate(multicasts):
        receivers = [10 * number + i for i in range(len(arrivals))]
        together.push(arrivals[0], multicast(receivers, arrivals))
        for receiver, time in zip(receivers, arrivals, strict=True):
            apart.push(time, multicast([receiver], [time]))
    assert drain(together) == drain(apart)


def test_a_timer_is_replaced_by_one_of_its_name() -> None:
    queue = Queue()
    queue.set_timer(1, (), "a", 5, False)
    queue.set_timer(1, (), "b", 6, False)
    queue.set_timer(1, (), "a", 9, False)
    queue.set_timer(1, ("x",), "a", 7, False)  # another machine's
    queue.set_timer(2, (), "a", 8, False)  # another party's
    assert queue.foreground == 4
    assert drain(queue) == [(6, "b"), (7, "a"), (8, "a"), (9, "a")]
    assert queue.foreground == 0


def test_a_cancelled_timer_never_fires() -> None:
    queue = Queue()
    queue.set_timer(1, (), "a", 5, False)
    queue.cancel_timer(1, (), "a")
    queue.cancel_timer(1, (), "a")
    queue.cancel_timer(1, (), "never set")
    assert queue.next_time is None
    assert queue.foreground == 0
    queue.set_timer(1, (), "a", 7, False)
    assert drain(queue) == [(7, "a")]


def test_only_the_foreground_is_counted() -> None:
    queue = Queue()
    queue.set_timer(1, (), "heartbeat", 5, True)
    queue.push(6, multicast([2, 3], [6, 7], background=True))
    queue.push(8, event(1, background=True))
    assert queue.foreground == 0
    queue.set_timer(1, (), "heartbeat", 5, False)
    assert queue.foreground == 1
    assert queue.is_background(1, (), "heartbeat") is False
    queue.set_timer(1, (), "heartbeat", 5, True)
    assert queue.foreground == 0
    assert queue.is_background(1, (), "heartbeat") is True
    assert len(drain(queue)) == 4
    assert queue.is_background(1, (), "heartbeat") is None


def test_to_forget_an_actor_cancels_its_timers_alone() -> None:
    queue = Queue()
    for actor in (1, 2):
        queue.set_timer(actor, (), "a", 5, False)
        queue.set_timer(actor, ("x",), "b", 6, True)
    queue.forget(1)
    assert queue.foreground == 1
    assert drain(queue) == [(5, "a"), (6, "b")]


steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "cancel", "push", "pop"]),
        st.integers(1, 3),
        st.integers(-9, 9),
        st.booleans(),
    ),
    max_size=40,
)


@given(steps)
def test_the_count_is_what_counting_gives(script: list[tuple[str, int, int, bool]]) -> None:
    """Against a dumb model: a list of everything that is due, and nothing before now."""
    queue, model, now = Queue(), {}, 0
    for number, (what, actor, delay, background) in enumerate(script):
        key: tuple[object, ...] = ("timer", actor)
        if what == "set":
            queue.set_timer(actor, (), "t", now + delay, background)
            model[key] = (max(now, now + delay), number, background)
        elif what == "cancel":
            queue.cancel_timer(actor, (), "t")
            model.pop(key, None)
        elif what == "push":
            queue.push(now + delay, Action(partial(int), background))
            model["action", number] = (max(now, now + delay), number, background)
        elif model:
            first = min(model, key=lambda k: model[k][:2])
            assert queue.next_time == model[first][0]
            queue.pop()
            now = queue.now
            assert now == model.pop(first)[0]
        assert queue.foreground == sum(not background for _, _, background in model.values())
        assert (queue.next_time is None) == (not model)


def test_what_is_beyond_the_last_moment_happens_then() -> None:
    queue = Queue()
    queue.push(2**80, event(1))
    queue.advance(2**80)
    assert queue.now == FOREVER
    queue.push(2**90, event(2))
    queue.set_timer(3, (), "late", 2**70, False)
    assert drain(queue) == [(FOREVER, "actor 1"), (FOREVER, "actor 2"), (FOREVER, "late")]


@pytest.mark.parametrize("n", [3, 70])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    "delay", ["4611686018427387904us", "pareto(10ms, 0.02)", "pareto(1s, 1e-4)"]
)
def test_time_never_goes_back_however_long_a_message_takes(
    n: int, ordered: bool, delay: str
) -> None:
    world = voting_world(n, 2)
    world.network = Network(delay=parse_delay(delay), ordered=ordered)
    before = 0
    while world.step():
        assert before <= world.now <= FOREVER
        before = world.now
    again = voting_world(n, 2)
    again.network = world.network
    again.run(limit=2**90)
    assert again.trace.digest() == world.trace.digest()
