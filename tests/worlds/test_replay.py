"""A run on real sockets happens again, step by step, from its recordings."""

import contextlib
import stat
from pathlib import Path as FilePath

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab import Lab
from mpclab.core import Ctx, Machine, Node, UsageError
from mpclab.core.effects import Asked, Delivered
from mpclab.core.node import Coins
from mpclab.worlds import recording
from mpclab.worlds.base import Stored
from mpclab.worlds.failures import NodeFailed
from mpclab.worlds.real.webrtc import WebRTCWorld
from mpclab.worlds.real.world import RealWorld
from mpclab.worlds.recording import Recording, replay
from mpclab.worlds.typed_codec import UnknownType, pack, unpack
from tests.worlds.stations import TALK, Say, Top, party, switch
from tests.worlds.test_real_host import LIMIT, heard, meshed, ticks


@pytest.fixture(scope="module")
def world() -> RealWorld:
    """Three parties that met, talked, crashed and came back."""
    with WebRTCWorld(record=True) as world:
        world.host_server(switch, port=0)
        for p in (1, 2, 3):
            world.host(p, party(p, 3))
        assert world.run(lambda: meshed(world, 1, 2, 3), limit=LIMIT)
        for p in (1, 2, 3):
            world.ask(p, TALK, Say(f"from {p}"))
            world.ask(p, TALK, "tick")
        with pytest.raises(UsageError):
            world.ask(1, TALK, "dance")
        assert world.run(lambda: all(len(heard(world, p)) == 3 for p in (1, 2, 3)), limit=LIMIT)
        assert world.run(lambda: all(ticks(world, p) == 1 for p in (1, 2, 3)), limit=LIMIT)
        world.crash(3)
        world.restart(3)
        world.ask(3, TALK, "tick")
        assert world.run(lambda: ticks(world, 3) == 1, limit=LIMIT)
    assert not world.failures
    return world


def test_every_life_of_every_node_replays_to_the_same_effects(world: RealWorld) -> None:
    for actor in (1, 2, 3):
        for life in world.recordings[actor]:
            assert replay(life, party(actor, 3)) is None
    assert len(world.recordings[3]) == 2
    (server,) = world.recordings[0]
    assert replay(server, switch) is None


def test_a_recording_survives_a_file_that_others_cannot_read(
    world: RealWorld, tmp_path: FilePath
) -> None:
    for actor in (0, 1, 2, 3):
        recording = world.recordings[actor][-1]
        file = tmp_path / f"{actor}.recording"
        recording.save(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        again = Recording.load(file)
        assert again.stored == recording.stored
        assert again.coins == recording.coins
        assert [s.effects for s in again.steps] == [s.effects for s in recording.steps]
        assert replay(again, party(actor, 3) if actor else switch) is None


def test_another_machine_is_told_by_its_first_other_effect(world: RealWorld) -> None:
    class Chatty(Top):
        def start(self, ctx: Ctx) -> None:
            super().start(ctx)
            ctx.remark("chat")

    def build(coins: Coins, stored: Stored) -> Node:
        return Node(1, 3, Chatty(), coins=coins, stored=stored)

    difference = replay(world.recordings[1][0], build)
    assert difference is not None
    assert (difference.step, difference.effect) == (0, 0)
    assert difference.got.startswith("Note ")
    assert difference.expected.startswith("Connect ")


def test_more_coins_than_were_drawn_are_a_difference(world: RealWorld) -> None:
    class Greedy(Machine):
        def start(self, ctx: Ctx) -> None:
            ctx.rng.random()

    def build(coins: Coins, stored: Stored) -> Node:
        return Node(1, 3, Greedy(), coins=coins, stored=stored)

    difference = replay(world.recordings[1][0], build)
    assert difference is not None
    assert "drew 53 bits where nothing was drawn" in difference.got


def test_a_failure_seen_on_real_sockets_happens_again() -> None:
    with WebRTCWorld(record=True) as world:
        world.host_server(switch, port=0)
        for p in (1, 2):
            world.host(p, party(p, 2))
        assert world.run(lambda: meshed(world, 1, 2), limit=LIMIT)
        with pytest.raises(NodeFailed, match="poisoned") as caught:
            world.ask(1, TALK, Say("poison"))  # its own copy of the broadcast comes first
        recording = caught.value.recording
    assert recording is not None
    assert recording.steps[-1].raised == "KeyError: 'poisoned'"
    assert isinstance(recording.steps[-1].event, Asked)
    assert replay(recording, party(1, 2)) is None


def test_trace_and_repr_hold_no_coins(world: RealWorld) -> None:
    text = b"".join(world.trace.lines()).decode() + repr(world.recordings[1][0])
    for draws in world.recordings[1][0].coins.values():
        for draw in draws:
            assert draw.bits < 20 or str(draw.value) not in text


def test_nothing_is_recorded_unless_asked_for() -> None:
    with Lab(world="webrtc", parties=2) as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join()
        assert isinstance(lab.world, RealWorld)
        assert lab.world.recordings == {}
        with pytest.raises(UsageError, match="nothing was recorded; make the lab with record=True"):
            lab.replay()


def test_a_recording_has_a_bound_and_replays_up_to_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_BYTES", 20_000)
    with Lab(world="webrtc", parties=2, record=True) as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join()
        assert isinstance(lab.world, RealWorld)
        for k in range(20):
            lab.propose(by=1, kind="note", text=f"{k}" * 1000)
            lab.run()
        kept = [one for actor in (1, 2) for one in lab.world.recordings[actor]]
        assert all(one.full for one in kept)
        assert all(len(one.steps) <= 20_000 // 500 for one in kept)
        assert "3 nodes replayed" in lab.replay().what


def test_files_that_are_no_recordings_are_refused(tmp_path: FilePath) -> None:
    file = tmp_path / "x"
    for data in (b"", b"\xc1", pack({"format": "other"}), pack([1]), msgspec.msgpack.encode(["x"])):
        file.write_bytes(data)
        with pytest.raises(UsageError, match="is not a recording"):
            Recording.load(file)


# --- typed values -------------------------------------------------------------------------

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.tuples(st.text()), inner)
        | st.builds(Asked, st.lists(st.text()).map(tuple), inner)
    ),
    max_leaves=8,
)


@given(plain)
def test_typed_values_come_back_as_they_were(value: object) -> None:
    assert unpack(pack(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_documented_error(data: bytes) -> None:
    with contextlib.suppress(UnknownType):
        unpack(data)


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "builtins:dict", "nowhere:X"])
def test_only_plain_classes_are_made(name: str) -> None:
    with pytest.raises(UnknownType):
        unpack(msgspec.msgpack.encode(["data", name, {}]))


def test_what_is_not_plain_data_is_not_packed() -> None:
    with pytest.raises(UnknownType, match="neither plain data"):
        pack(Delivered(1, object()))  # type: ignore[arg-type]
