"""A signaling server that fails or lies: the mesh outlives it, and nobody believes it."""

import pytest

from mpclab.core.ids import MS, SECOND, SERVER
from mpclab.faults.plan import inject, parse_fault
from mpclab.signaling.peer_link import MeshSettings
from mpclab.trace import rows
from mpclab.worlds.simulated import SimulatedWorld
from tests.faults.shouting import put
from tests.signaling.bench import Shout, all_up, app_of, city, vias

DIRECT_ONLY = MeshSettings(relay_after=None)
RELAYED = MeshSettings(direct=False)


def up(world: SimulatedWorld, via: str = "link") -> bool:
    return world.run(lambda: all_up(world, 3, via), limit=60 * SECOND)


def heard(world: SimulatedWorld, party: int, sender: int) -> int:
    return app_of(world, party).heard.get(sender, 0)


def blamed(world: SimulatedWorld) -> set[tuple[int, int | None, str]]:
    return {(row.actor, row.party, row.strength) for row in world.trace.of(rows.Blamed)}


@pytest.mark.parametrize("kind", ["server-stop", "server-kill"])
def test_the_mesh_outlives_the_server(kind: str) -> None:
    world = city(3)
    assert up(world)
    url = world.server_url
    fault = inject(parse_fault({"kind": kind}, 3), world)
    assert SERVER not in world.actors
    assert world.server_url == ""
    world.run(limit=5 * SECOND)
    before = heard(world, 2, 1)
    world.ask(1, ("app",), Shout("still here"))
    world.run(limit=SECOND)
    assert heard(world, 2, 1) == before + 1
    fault.heal()
    assert world.server_url == url
    world.run(limit=60 * SECOND)
    rooms = world.look(SERVER, lambda node: node.machine(("signaling",)))
    assert sorted(rooms.rooms["s"].slots) == [1, 2, 3]  # type: ignore[union-attr]


def test_a_restarted_server_is_found_again() -> None:
    world = city(3)
    put(world, 3, kind="server-restart", at="40ms")  # while the parties are joining
    assert up(world)
    kinds = [(row.kind, row.phase) for row in world.trace.of(rows.Fault)]
    assert kinds == [("server-restart", "begin"), ("server-restart", "end")]


def test_a_slow_server_is_slow_and_no_more() -> None:
    quick, slow = city(3), city(3)
    put(slow, 3, kind="server-slow", step="100ms")
    assert up(quick)
    assert up(slow)
    assert slow.now > quick.now + 500 * MS


def test_a_server_that_withholds_what_one_party_sends() -> None:
    world = city(3, mesh=RELAYED)
    assert up(world, "relay")
    world.run(limit=SECOND)
    before = [heard(world, 3, sender) for sender in (1, 2)]
    inject(parse_fault({"kind": "server-drop", "from": [1]}, 3), world)
    for sender in (1, 2):
        world.ask(sender, ("app",), Shout("hello"))
    world.run(limit=SECOND)
    assert [heard(world, 3, sender) for sender in (1, 2)] == [before[0], before[1] + 1]


def test_a_server_that_forges_the_sender_is_not_believed() -> None:
    world = city(3, mesh=RELAYED)
    assert up(world, "relay")
    world.run(limit=SECOND)
    before = dict(app_of(world, 3).heard)
    inject(parse_fault({"kind": "server-forge", "from": [1], "as": 2}, 3), world)
    world.ask(1, ("app",), Shout("as party 2"))
    world.run(limit=SECOND)
    assert app_of(world, 3).heard == before
    assert (3, 0, "suspect") in blamed(world)
    assert not {party for _, party, _ in blamed(world)} & {1, 3}


def test_a_server_that_replays_delivers_nothing_twice() -> None:
    world = city(3, mesh=RELAYED)
    assert up(world, "relay")
    world.run(limit=SECOND)
    inject(parse_fault({"kind": "server-replay"}, 3), world)
    before = heard(world, 2, 1)
    for text in ("one", "two", "three"):
        world.ask(1, ("app",), Shout(text))
        world.run(limit=SECOND)
    assert heard(world, 2, 1) == before + 3
    assert any("again" in row.text for row in world.trace.of(rows.Fault))


def test_swapped_fingerprints_open_no_link() -> None:
    world = city(3, mesh=DIRECT_ONLY)
    put(world, 3, kind="server-swap-fingerprints")
    world.run(limit=60 * SECOND)
    assert vias(world, 3) == {"none"}
    assert {(actor, party) for actor, party, _ in blamed(world)} == {(2, 1), (3, 1), (3, 2)}
    assert {strength for *_, strength in blamed(world)} == {"suspect"}


def test_links_open_once_the_server_is_honest_again() -> None:
    world = city(3)
    put(world, 3, kind="server-swap-fingerprints", for_="5s")
    assert up(world)
    assert world.now > 5 * SECOND


def test_a_link_that_is_reset_is_made_again() -> None:
    world = city(3)
    assert up(world)
    inject(parse_fault({"kind": "reset", "between": [1, 2]}, 3), world)
    world.run(limit=SECOND)
    assert up(world)
    closed = [
        (row.actor, row.peer)
        for row in world.trace.of(rows.Linked)
        if row.state == "closed" and row.detail == "connection reset"
    ]
    assert sorted(closed) == [(1, 2), (2, 1)]


def test_a_connection_to_the_server_that_is_reset_is_made_again() -> None:
    world = city(3)
    assert up(world)
    inject(parse_fault({"kind": "reset", "between": ["server", 2]}, 3), world)
    world.run(limit=30 * SECOND)
    rooms = world.look(SERVER, lambda node: node.machine(("signaling",)))
    assert all(seat.member.online for seat in rooms.rooms["s"].slots.values())  # type: ignore[union-attr]
