"""Whole meshes in simulated time: they form, heal, outlive the server, and refuse impostors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mpclab.core import MS, SECOND, SERVER, Node
from mpclab.faults.link_rules import Delivery
from mpclab.faults.network import Delay, Network
from mpclab.faults.plan import inject, parse_fault
from mpclab.signaling.events import Present
from mpclab.signaling.mesh import Mesh
from mpclab.signaling.messages import Envelope, Member, Offer, Relay, decode_payload, encode_payload
from mpclab.signaling.negotiate import Pair, sign_offer
from mpclab.signaling.peer_link import MeshSettings
from mpclab.signaling.rooms import PATH, Rooms, build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.trace import rows
from mpclab.trace.fold import State
from tests.signaling.bench import (
    Eager,
    Shout,
    all_up,
    app_of,
    blames,
    city,
    identity,
    routes,
    vias,
)

DIRECT_ONLY = MeshSettings(relay_after=None)


class Cut:
    """A rule of the border: nothing passes between these two parties."""

    def __init__(self, *pairs: set[int]) -> None:
        self.pairs = pairs

    links_only = True  # the way through the server stays open

    def judge(
        self, src: int, dst: int, size: int, now: int, draw: Any, delivery: Delivery
    ) -> Delivery:
        return delivery._replace(why="cut") if {src, dst} in self.pairs else delivery


# --- forming ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_every_pair_gets_one_confirmed_link(n: int) -> None:
    world = city(n, app=Eager)
    world.run()
    assert n == 1 or all_up(world, n)
    assert blames(world) == []
    dialled = [(r.actor, r.peer) for r in world.trace.of(rows.Linked) if r.state == "dialing"]
    assert len(dialled) == len(set(dialled)) == n * (n - 1)  # one attempt each, and no glare
    assert len(world.trace.notes("confirmed")) == n * (n - 1)


def test_the_application_hears_of_everyone_and_everyone_of_it() -> None:
    world = city(4)
    world.run()
    for party in (1, 2, 3, 4):
        app = app_of(world, party)
        others = {1, 2, 3, 4} - {party}
        assert set(app.heard) == others
        kinds = [type(news).__name__ for news in app.news]
        assert kinds == ["Introduced"] * 3 + ["PeerUp"] * 3
        assert {news.party: news.key for news in app.news[:3]} == {
            p: identity(p).public for p in others
        }


@pytest.mark.parametrize("seed", range(5))
def test_a_mesh_forms_over_slow_and_lossy_links(seed: int) -> None:
    network = Network(delay=Delay("uniform", 5_000, 400_000), loss=0.2)
    world = city(4, seed=seed, network=network)
    assert world.run(lambda: all_up(world, 4), limit=120 * SECOND)
    assert blames(world) == []


def test_two_runs_of_one_seed_are_the_same_row_by_row() -> None:
    digests = set()
    for _ in range(2):
        world = city(4, seed=9, network=Network(loss=0.1))
        world.run(limit=20 * SECOND)
        digests.add(world.trace.digest())
    assert len(digests) == 1


def test_a_fork_goes_on_like_the_original() -> None:
    world = city(3, seed=2)
    world.run(limit=150 * MS)
    fork = world.fork()
    world.run()
    fork.run()
    assert all_up(fork, 3)
    assert fork.trace.digest() == world.trace.digest()


# --- relay --------------------------------------------------------------------------------


def test_without_data_channels_everything_is_relayed_sealed() -> None:
    world = city(4, mesh=MeshSettings(direct=False))
    world.run()
    assert all_up(world, 4, "relay")
    assert not [r for r in world.trace.of(rows.Linked) if r.state == "dialing"]
    assert all(len(app_of(world, p).heard) == 3 for p in (1, 2, 3, 4))
    assert blames(world) == []


def test_a_link_that_always_fails_is_relayed_and_a_healed_one_takes_over() -> None:
    world = city(3)
    world.link_rules.rules[1] = Cut({1, 3})
    assert world.run(lambda: len(app_of(world, 1).heard) == 2 if app_of(world, 1) else False,
                     limit=60 * SECOND)  # fmt: skip
    assert routes(world, 1) == {2: "link", 3: "relay"}
    assert routes(world, 3) == {1: "relay", 2: "link"}
    world.run(limit=20 * SECOND)
    heard = app_of(world, 1).heard[3]
    del world.link_rules.rules[1]
    assert world.run(lambda: all_up(world, 3), limit=60 * SECOND)
    world.run(limit=1 * SECOND)
    assert app_of(world, 1).heard[3] == heard + 1  # `PeerUp` came again, by the link
    assert blames(world) == []


def test_a_pair_whose_link_takes_long_is_relayed_meanwhile() -> None:
    world = city(3)
    world.link_rules.rules[1] = Cut({1, 3})

    def reachable() -> bool:
        return all(via != "none" for p in (1, 3) for via in routes(world, p).values())

    began = world.now
    assert world.run(lambda: len(routes(world, 1)) == 2 and reachable(), limit=10 * SECOND)
    assert world.now - began < 4 * SECOND


def test_a_link_that_breaks_is_relayed_at_once() -> None:
    world = city(3)
    world.run()
    world.link_rules.rules[1] = Cut({1, 3})
    world.reset(1, 3)
    assert world.run(lambda: routes(world, 1)[3] == "relay" == routes(world, 3)[1], limit=SECOND)
    world.run(limit=20 * SECOND)
    state = State()
    for row in world.trace:
        state.apply(row)
    assert state.link(1, 3) == "relay"  # whatever becomes of direct attempts beside it
    del world.link_rules.rules[1]
    assert world.run(lambda: all_up(world, 3), limit=60 * SECOND)


def test_a_frame_of_200_kilobytes_is_relayed_in_pieces() -> None:
    world = city(2, mesh=MeshSettings(direct=False), server=build_server(RoomsSettings(rate=1000)))
    world.run()

    world.ask(1, ("app",), Shout("".join(chr(97 + i % 26) for i in range(200_000))))
    world.run()
    assert app_of(world, 2).texts == {10, 200_000}
    sizes = [r.size for r in world.trace.of(rows.Sent) if r.kind == "Relay"]
    assert max(sizes) < 64 * 1024
    assert blames(world) == []


@pytest.mark.parametrize("rate", [20, 1000])
def test_bursts_by_the_relay_keep_to_what_the_server_takes(rate: int) -> None:
    """Nobody is sent away for "too many messages", and a slow reader slows itself alone."""
    server = build_server(RoomsSettings(rate=rate, burst=50))
    world = city(3, mesh=MeshSettings(direct=False), server=server)
    world.run()
    inject(parse_fault({"kind": "bandwidth", "from": 1, "to": 3,
                        "bytes_per_second": 200_000}, 3), world)  # fmt: skip
    for k in range(12):
        world.ask(1, ("app",), Shout("x" * (250_000 + k)))
    done = set(range(250_000, 250_012))

    began = world.now

    def until_all_is_heard_by(party: int) -> int:
        """Seconds from the burst."""
        while not done <= app_of(world, party).texts:
            assert world.now < began + 120 * SECOND
            world.step()
        return (world.now - began) // SECOND

    assert until_all_is_heard_by(2) < (5 if rate > 20 else 20)
    assert until_all_is_heard_by(3) >= 15  # 4 MB with their base64, at 200 KB/s
    assert all_up(world, 3, "relay")
    assert not world.trace.notes("expelled")
    assert not world.trace.notes("relay-overflow")


# --- the mesh outlives the server ---------------------------------------------------------


@pytest.mark.parametrize("kill", [False, True])
def test_links_stay_while_the_server_is_away_and_parties_resume(kill: bool) -> None:
    world = city(4)
    world.run()
    world.stop_server(kill=kill)
    world.run(limit=60 * SECOND)
    assert all_up(world, 4)
    world.host_server(build_server())
    joined = len(world.trace.notes("joined"))
    assert world.run(lambda: len(world.trace.notes("joined")) == joined + 4, limit=30 * SECOND)
    world.run(limit=30 * SECOND)
    assert all_up(world, 4)
    assert blames(world) == []
    assert len(world.trace.notes("confirmed")) == 12  # no link was made anew


def test_relayed_peers_are_down_while_the_server_is_away() -> None:
    world = city(3, mesh=MeshSettings(direct=False))
    world.run()
    world.stop_server(kill=True)
    world.run(limit=1 * SECOND)
    assert all_up(world, 3, "none")
    assert type(app_of(world, 1).news[-1]).__name__ == "PeerDown"
    world.host_server(build_server())
    assert world.run(lambda: all_up(world, 3, "relay"), limit=30 * SECOND)
    assert blames(world) == []


def test_parties_wait_for_a_server_that_comes_late() -> None:
    world = city(3)
    world.stop_server(kill=True)
    world.run(limit=5 * SECOND)
    world.host_server(build_server())
    assert world.run(lambda: all_up(world, 3), limit=30 * SECOND)


# --- crashes ------------------------------------------------------------------------------


@pytest.mark.parametrize("amnesia", [False, True])
@pytest.mark.parametrize("party", [1, 3])
@pytest.mark.parametrize("direct", [True, False])
def test_a_crashed_party_comes_back(party: int, amnesia: bool, direct: bool) -> None:
    world = city(3, mesh=MeshSettings(direct=direct))
    world.run()
    via = "link" if direct else "relay"
    for _ in range(3):
        world.crash(party)
        world.run(limit=1 * SECOND)
        world.restart(party, amnesia=amnesia)
        assert world.run(lambda: all_up(world, 3, via), limit=30 * SECOND)
        world.run(limit=1 * SECOND)
        assert set(app_of(world, party).heard) == {1, 2, 3} - {party}
    assert blames(world) == []


def test_a_silent_peer_is_suspected_then_dead_and_welcome_back() -> None:
    world = city(3)
    world.run()
    start = world.now
    world.pause(2)
    assert world.run(lambda: bool(world.trace.notes("suspected")), limit=20 * SECOND)
    assert 6 * SECOND <= world.now - start <= 9 * SECOND
    assert world.run(lambda: routes(world, 1)[2] != "link", limit=20 * SECOND)
    assert 15 * SECOND <= world.now - start <= 18 * SECOND
    world.resume(2)
    assert world.run(lambda: all_up(world, 3), limit=60 * SECOND)
    assert blames(world) == []


def test_a_party_that_was_asleep_does_not_think_the_others_dead() -> None:
    world = city(3)
    world.run()
    world.pause(2)
    world.run(limit=5 * SECOND)
    world.resume(2)
    world.run(limit=5 * SECOND)
    assert all_up(world, 3)
    assert not world.trace.notes("link-failed")


# --- a malicious server -------------------------------------------------------------------


class Evil(Rooms):
    """A server that does `twist` to every envelope: (sender, envelope) to envelopes."""

    def __init__(self, twist: Any) -> None:
        super().__init__(RoomsSettings(rate=10_000, burst=10_000))
        self.twist = twist

    def _handle(self, ctx: Any, sender: int, client: Any, msg: Any) -> None:
        if isinstance(msg, Relay):
            envelopes: list[Envelope] = []
            for envelope in msg.envelopes:
                payload = decode_payload(bytes(envelope.payload))
                envelopes += [
                    Envelope(to, msgspec.Raw(encode_payload(p)))
                    for to, p in self.twist(client.party, envelope.to, payload)
                ]
            msg = Relay(tuple(envelopes))
        super()._handle(ctx, sender, client, msg)


def evil(twist: Any) -> Any:
    return lambda coins, stored: Node(SERVER, 0, Evil(twist), at=PATH, coins=coins)


def test_a_server_that_swaps_fingerprints_gets_no_link_and_is_blamed() -> None:
    def swap(sender: int, to: int, payload: Any) -> list[Any]:
        if isinstance(payload, Offer):
            own = "AA:" * 31 + "AA"
            lines = payload.sdp.split("\r\n")
            lines = [f"a=fingerprint:sha-256 {own}" if "fingerprint" in k else k for k in lines]
            payload = msgspec.structs.replace(payload, sdp="\r\n".join(lines))
        return [(to, payload)]

    world = city(3, server=evil(swap), mesh=DIRECT_ONLY)
    world.run(limit=60 * SECOND)
    assert vias(world, 3) == {"none"}
    assert {(b.actor, b.party, b.strength) for b in blames(world)} == {
        (2, 1, "suspect"),
        (3, 1, "suspect"),
        (3, 2, "suspect"),
    }
    assert all("did not sign" in b.reason for b in blames(world))


def test_a_server_that_signs_with_its_own_key_gets_no_link() -> None:
    mallory = identity(666)

    def forge(sender: int, to: int, payload: Any) -> list[Any]:
        if isinstance(payload, Offer):
            pair = Pair("s", sender, to, b"?" * 16, payload.to_incarnation)
            payload = sign_offer(
                mallory, pair, epoch=1, nonce=payload.nonce, attempt=1,
                expires=payload.expires, sdp=payload.sdp,
            )  # fmt: skip
        return [(to, payload)]

    world = city(2, server=evil(forge), mesh=DIRECT_ONLY)
    world.run(limit=30 * SECOND)
    assert vias(world, 2) == {"none"}
    assert {(b.actor, b.party) for b in blames(world)} == {(2, 1)}


def test_a_server_that_replays_everything_changes_nothing() -> None:
    recorded: list[tuple[int, int, Any]] = []

    def replay(sender: int, to: int, payload: Any) -> list[Any]:
        old = [(t, p) for s, t, p in recorded if s == sender]
        recorded.append((sender, to, payload))
        return [(to, payload), *old]

    world = city(3, server=evil(replay))
    assert world.run(lambda: all_up(world, 3), limit=60 * SECOND)
    world.run(limit=60 * SECOND)
    assert all_up(world, 3)
    assert len(world.trace.notes("confirmed")) == 6
    assert {(b.party, b.strength) for b in blames(world)} == {(0, "suspect")}


def test_a_server_that_replays_relayed_frames_delivers_none_twice() -> None:
    def double(sender: int, to: int, payload: Any) -> list[Any]:
        return [(to, payload), (to, payload)]

    world = city(3, server=evil(double), mesh=MeshSettings(direct=False))
    world.run(limit=10 * SECOND)
    assert all_up(world, 3, "relay")
    assert all(set(app_of(world, p).heard.values()) == {1} for p in (1, 2, 3))


def test_a_server_that_forges_the_sender_is_refused() -> None:
    """What party 1 says reaches party 3 as if party 2 had said it."""
    world = city(3, mesh=MeshSettings(direct=False))
    world.run()
    rooms: Rooms = world.look(0, lambda node: node.machine(PATH))
    room = rooms.rooms["s"]
    one, two = room.slots[1].connection, room.slots[2].connection
    assert one is not None
    assert two is not None
    rooms.clients[one].party, rooms.clients[two].party = 2, 1
    before = dict(app_of(world, 3).heard)
    world.ask(1, ("app",), Shout("as party 2"))
    world.run(limit=SECOND)
    assert app_of(world, 3).heard == before
    assert {(b.actor, b.party, b.strength) for b in blames(world)} == {(3, 0, "suspect")}


def test_an_old_card_shown_once_does_not_lock_its_party_out() -> None:
    """The server shows party 1 a presence of party 2 from before both restarted, then the truth."""
    world = city(2, mesh=MeshSettings(direct=False))
    world.run()
    old = card_of(world, 1, 2)
    for party in (1, 2):
        world.crash(party)
        world.restart(party)
    world.run()
    now = card_of(world, 1, 2)
    assert old.incarnation != now.incarnation
    heard = sum(app_of(world, 1).heard.values())
    world.ask(1, ("mesh",), Present(old))
    world.run(limit=SECOND)
    world.ask(1, ("mesh",), Present(now))
    world.run(limit=SECOND)
    world.ask(2, ("app",), Shout("still here"))
    world.run(limit=SECOND)
    assert not world.trace.notes("stale-card")
    assert card_of(world, 1, 2) == now
    assert sum(app_of(world, 1).heard.values()) == heard + 1
    assert blames(world) == []


def card_of(world: Any, party: int, peer: int) -> Member:
    mesh: Mesh = world.look(party, lambda node: node.machine(("mesh",)))
    member = mesh.links[peer].member
    assert member is not None
    return member
