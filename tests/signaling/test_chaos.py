"""Whatever happens to parties and server, in any order: once it is over, the mesh is whole."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.core import MS, SECOND
from mpclab.faults.network import Network
from mpclab.signaling.party import JoinSession, LeaveSession
from mpclab.signaling.peer_link import MeshSettings
from mpclab.signaling.rooms import build_server
from mpclab.worlds.simulated import SimulatedWorld
from tests.signaling.bench import all_up, blames, city

N = 4

events = st.lists(
    st.tuples(
        st.integers(0, 12_000),
        st.sampled_from(["crash", "amnesia", "pause", "leave", "server", "kill", "cut"]),
        st.integers(1, N),
        st.integers(300, 9_000),
    ),
    max_size=8,
)


class Cut:
    """A rule of the border: party `alone` and the others do not hear each other."""

    def __init__(self, alone: int) -> None:
        self.alone = alone

    def judge(self, src: int, dst: int, size: int, now: int, draw: Any, fate: Any) -> Any:
        if self.alone in (src, dst) and 0 not in (src, dst):
            return fate._replace(why="cut")
        return fate


def happen(world: SimulatedWorld, what: str, party: int) -> Any:
    """Let a misfortune begin; returns how it ends, or None when it cannot begin now."""
    up = party in world.actors
    match what:
        case "crash" | "amnesia" if up:
            world.crash(party)
            return lambda: world.restart(party, amnesia=what == "amnesia")
        case "pause" if up:
            world.pause(party)
            return lambda: party in world.actors and world.resume(party)
        case "leave" if up:
            world.ask(party, (), LeaveSession())
            return lambda: rejoin(world, party)
        case "server" | "kill" if world.server_url:
            world.stop_server(kill=what == "kill")
            return lambda: world.host_server(build_server())
        case "cut":
            handle = 1000 + len(world.link_rules.rules)
            world.link_rules.add(handle, Cut(party))
            return lambda: world.link_rules.remove(handle)
    return None


def rejoin(world: SimulatedWorld, party: int) -> None:
    if party in world.actors and not world.look(party, lambda n: n.machine(()).joined):
        world.ask(party, (), JoinSession())


@settings(max_examples=40)
@given(
    events,
    st.integers(0, 1000),
    st.booleans(),
    st.sampled_from([0.0, 0.1]),
)
def test_the_mesh_is_whole_again_when_it_is_over(
    story: list[tuple[int, str, int, int]], seed: int, direct: bool, loss: float
) -> None:
    world = city(N, seed=seed, mesh=MeshSettings(direct=direct), network=Network(loss=loss))
    ends: list[tuple[int, Any]] = []
    for at, what, party, lasts in sorted(story):
        for moment, end in sorted(ends, key=lambda e: e[0]):
            if moment <= at * MS:
                world.run(limit=max(0, moment - world.now))
                end()
        ends = [e for e in ends if e[0] > at * MS]
        world.run(limit=max(0, at * MS - world.now))
        if (end := happen(world, what, party)) is not None:
            ends.append((world.now + lasts * MS, end))
    for moment, end in sorted(ends, key=lambda e: e[0]):
        world.run(limit=max(0, moment - world.now))
        end()
    for party in range(1, N + 1):
        rejoin(world, party)
    via = "link" if direct else "relay"
    assert world.run(lambda: all_up(world, N, via), limit=120 * SECOND)
    world.run(limit=5 * SECOND)
    assert all_up(world, N, via)
    assert blames(world) == []
