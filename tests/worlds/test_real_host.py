"""Hosts of nodes on a real event loop: time, storage, crashes, errors, faults of parties."""

import stat
import threading
from pathlib import Path as FilePath

import pytest

from mpclab.core import MS, SECOND, Party, UsageError
from mpclab.core.effects import Send
from mpclab.faults.link_rules import Delivery, Draw
from mpclab.trace import rows
from mpclab.worlds.failures import NodeFailed
from mpclab.worlds.real.store import SqliteStore
from mpclab.worlds.real.webrtc import WebRTCWorld
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.real.world import RealWorld
from tests.worlds.stations import STATION, TALK, Say, party, switch

LIMIT = 20 * SECOND


def ticks(world: RealWorld, actor: Party) -> int:
    return int(world.look(actor, lambda node: node.machine(TALK).ticks))


def heard(world: RealWorld, actor: Party) -> list[tuple[Party, str]]:
    return list(world.look(actor, lambda node: node.machine(TALK).heard))


def meshed(world: RealWorld, *parties: Party) -> bool:
    def up(actor: Party) -> set[Party]:
        return set(world.look(actor, lambda node: set(node.machine(STATION).up)))

    return all(up(a) >= set(parties) - {a} for a in parties)


@pytest.fixture
def lonely() -> RealWorld:
    with WebSocketWorld(record=True) as world:
        world.host(1, party(1, 1))
        yield world
        assert not world.failures


def test_timers_fire_on_time_and_never_early(lonely: RealWorld) -> None:
    for number in range(1, 6):
        lonely.ask(1, TALK, "tick")
        assert lonely.run(lambda n=number: ticks(lonely, 1) == n, limit=LIMIT)
    asked = [row.at for row in lonely.trace.of(rows.Asked)]
    fired = [row.at for row in lonely.trace.of(rows.Fired) if row.name == "tick"]
    assert len(fired) == 5
    assert all(5 * MS <= b - a < 2 * SECOND for a, b in zip(asked, fired, strict=True))


def test_an_ask_raises_what_the_machine_raises_and_changes_nothing(lonely: RealWorld) -> None:
    before = len(list(lonely.trace.of(rows.Output)))
    with pytest.raises(UsageError, match="cannot dance"):
        lonely.ask(1, TALK, "dance")
    with pytest.raises(UsageError, match="party 7 is not running"):
        lonely.ask(7, TALK, "tick")
    assert len(list(lonely.trace.of(rows.Output))) == before


def test_run_without_an_end_stops_when_all_is_quiet() -> None:
    with WebSocketWorld(record=True) as world:
        world.host_server(switch, port=0)
        world.host(1, party(1, 1))
        world.ask(1, TALK, "tick")
        assert world.run() is False
        assert ticks(world, 1) == 1


def test_a_bug_stops_one_node_and_is_raised_by_run() -> None:
    with WebSocketWorld(record=True) as world:
        world.host(1, party(1, 1))
        world.host(2, party(2, 2))
        world.at(0, lambda: world.ask(1, TALK, "fail"))
        with pytest.raises(NodeFailed, match=r"party 1 failed at .* ask of talk: .*KeyError"):
            world.run(limit=LIMIT)
        assert world.failures[0].recording is not None
        assert isinstance(world.failures[0].__cause__, KeyError)
        assert 2 in world.actors
        assert 1 not in world.actors
        assert [row.actor for row in world.trace.notes("broken")] == [1]
        assert world.run(limit=0) is False
        world.ask(2, TALK, "tick")
        assert world.run(lambda: ticks(world, 2) == 1, limit=LIMIT)


def test_a_crash_falls_between_two_effects() -> None:
    """The frame before the crash leaves, the one after it never does."""
    with WebRTCWorld() as world:
        world.host_server(switch, port=0)
        for p in (1, 2, 3):
            world.host(p, party(p, 3))
        assert world.run(lambda: meshed(world, 1, 2, 3), limit=LIMIT)

        class CrashOnSend:
            """A rule that crashes the sender after its first frame has left."""

            def judge(
                self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
            ) -> Delivery:
                if src == 1 and 1 in world.actors:
                    world.crash(1)
                return delivery

        world.link_rules.rules[1] = CrashOnSend()

        def twice(effects: list[Send], adversary: object) -> list[Send]:
            sends = [e for e in effects if isinstance(e, Send)]
            return [*effects, *sends]

        world.set_filter(1, twice)
        world.ask(1, TALK, Say("last words"))
        assert world.run(lambda: 1 not in world.actors, limit=LIMIT)
        sent = [row for row in world.trace.of(rows.Sent) if row.actor == 1 and row.kind == "Say"]
        assert len(sent) == 1


def test_what_was_persisted_survives_a_crash_and_amnesia_forgets_it(lonely: RealWorld) -> None:
    def lives() -> int:
        return int(lonely.look(1, lambda node: node.machine(TALK).lives))

    assert lives() == 1
    lonely.crash(1)
    with pytest.raises(UsageError, match="not running"):
        lonely.look(1, lambda node: node)
    lonely.restart(1)
    assert lives() == 2
    lonely.crash(1)
    lonely.restart(1, amnesia=True)
    assert lives() == 1
    with pytest.raises(UsageError, match="has not crashed"):
        lonely.restart(1)
    assert [row.word for row in lonely.trace.notes("crashed", "restarted")] == [
        "crashed", "restarted", "crashed", "restarted"
    ]  # fmt: skip


def test_a_store_in_a_file_survives_the_world(tmp_path: FilePath) -> None:
    for life in (1, 2, 3):
        with WebSocketWorld(folder=tmp_path / "stores") as world:
            world.host(1, party(1, 1))
            assert world.look(1, lambda node: node.machine(TALK).lives) == life
    file = tmp_path / "stores" / "party-1.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    store = SqliteStore(file)
    assert store.load() == {TALK: {"lives": b"3"}}
    store.put(TALK, "lives", None)
    assert store.load() == {}
    store.close()
    store.close()


def test_a_store_that_is_something_else_is_refused(tmp_path: FilePath) -> None:
    (tmp_path / "party-1.sqlite").write_bytes(b"not a database at all" * 100)
    with WebSocketWorld(folder=tmp_path) as world, pytest.raises(UsageError, match="not a store"):
        world.host(1, party(1, 1))


def test_pause_and_resume(lonely: RealWorld) -> None:
    lonely.ask(1, TALK, "tick")
    lonely.pause(1)
    with pytest.raises(UsageError, match="paused"):
        lonely.ask(1, TALK, "tick")
    assert not lonely.run(lambda: ticks(lonely, 1) > 0, limit=30 * MS)
    lonely.resume(1)
    assert lonely.run(lambda: ticks(lonely, 1) == 1, limit=LIMIT)


def test_a_slow_party_takes_its_time_for_each_step(lonely: RealWorld) -> None:
    lonely.slow(1, 40 * MS)
    lonely.ask(1, TALK, "tick")
    assert lonely.run(lambda: ticks(lonely, 1) == 1, limit=LIMIT)
    (asked,) = [row.at for row in lonely.trace.of(rows.Asked)]
    (fired,) = [row.at for row in lonely.trace.of(rows.Fired) if row.name == "tick"]
    assert fired - asked >= 45 * MS
    lonely.slow(1, 0)


def test_a_fast_clock_brings_deadlines_nearer(lonely: RealWorld) -> None:
    lonely.call(lambda: lonely.ask(1, TALK, "tick"))
    lonely.skew(1, 10 * SECOND, 0.0)
    assert lonely.run(lambda: ticks(lonely, 1) == 1, limit=LIMIT)
    asked = lonely.recordings[1][0].steps
    assert asked[-1].now >= 10 * SECOND


def test_closing_joins_the_thread_and_is_harmless_twice() -> None:
    before = threading.active_count()
    world = WebSocketWorld(record=True)
    world.host_server(switch, port=0)
    world.host(1, party(1, 1))
    assert threading.active_count() == before + 1
    world.close()
    world.close()
    assert threading.active_count() == before
    with pytest.raises(UsageError, match="closed"):
        world.host(2, party(2, 2))


def test_run_in_the_worlds_own_thread_is_an_error(lonely: RealWorld) -> None:
    with pytest.raises(RuntimeError, match="own thread"):
        lonely.call(lonely.run)
