"""The simulated world: a pure function of its seed, with time, order, forks and links."""

import subprocess
import sys
from functools import partial
from typing import Any

import msgspec
import pytest

from mpclab.core.effects import (
    AddCandidates,
    Connect,
    Described,
    HangUp,
    LinkClosed,
    LinkEvent,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    TakeAnswer,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND, SERVER, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Coins, Node
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.faults.plan import inject, parse_fault
from mpclab.trace import rows
from mpclab.worlds.base import Build, Stored
from mpclab.worlds.simulated import SimulatedWorld
from mpclab.worlds.simulated import network as network_module
from tests.faults.shouting import Shouter, Word, build, everything, heard, put, shouters

# --- the same seed, the same run ----------------------------------------------------------------

RUN = """
from tests.faults.shouting import put, shouters
from mpclab.core.ids import MS
from mpclab.faults.network import Delay, Network
world = shouters(12, seed={seed}, network=Network(Delay("normal", 20 * MS, 9 * MS), 0.1, 50_000))
put(world, 12, kind="partition", shape="ring", at="300ms", for_="300ms")
put(world, 12, kind="garbage", party=3, rate=0.5)
put(world, 12, kind="crash", party=2, at="450ms", restart_after="200ms")
world.run()
print(world.trace.digest(), len(world.trace))
"""


def test_a_run_does_not_depend_on_the_hash_seed() -> None:
    def run(seed: int, hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", RUN.format(seed=seed)],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    first = run(7, "1")
    assert first == run(7, "2")
    assert first != run(8, "1")
    assert int(first.split()[1]) > 1000


class Chatter(Machine):
    """One word to wait for, and then words without end, which nobody waits for."""

    def start(self, ctx: Ctx) -> None:
        if ctx.me == 1:
            ctx.send(2, Word(0))
            ctx.set_timer("chat", 5 * MS, background=True)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        ctx.send(2, Word(1))

    def on_message(self, ctx: Ctx, sender: Party, msg: Word) -> None:
        if msg.number:
            ctx.send(sender, Word(msg.number + 1))


def test_who_waits_until_nothing_is_left_does_not_wait_for_chatter() -> None:
    world = SimulatedWorld(1, Network(Delay("constant", 10 * MS)))
    for party in (1, 2):
        world.host(party, lambda coins, _, p=party: Node(p, 2, Chatter(), coins=coins))
    assert world.run(until=world.is_idle, limit=SECOND)
    assert world.now == 10 * MS


def test_another_message_moves_no_other() -> None:
    """Delays are keyed by link and message: a party more, and the others' are as they were."""
    network = Network(Delay("uniform", 1 * MS, 90 * MS), loss=0.2, ordered=False)
    small, large = (shouters(n, network=network) for n in (3, 4))
    small.run()
    large.run()
    among = {1, 2, 3}

    def arrivals(world: SimulatedWorld) -> set[tuple[int, int, int, int]]:
        return {
            (row.at, row.actor, row.sender, row.id)
            for row in world.trace.of(rows.Delivered)
            if {row.actor, row.sender} <= among
        }

    assert arrivals(small) == arrivals(large)


@pytest.mark.parametrize(
    "network",
    [
        Network(Delay("constant", 10 * MS)),
        Network(Delay("normal", 50 * MS, 30 * MS)),
        Network(Delay("exponential", 50 * MS), ordered=False),
        Network(Delay("uniform", 10 * MS, 90 * MS), loss=0.3, bandwidth=2_000),
    ],
    ids=["constant", "in order", "unordered", "lossy and thin"],
)
def test_a_wave_is_an_economy(monkeypatch: pytest.MonkeyPatch, network: Network) -> None:
    """Sending to many at once gives the messages that sending to each would, at the same time."""
    traces = []
    for few in (0, 1000):
        monkeypatch.setattr(network_module, "FEW", few)
        world = shouters(12, network=network, pause=20 * MS)
        world.run()
        traces.append(world.trace)
    for kind in (rows.Delivered, rows.Dropped):
        waves, singles = (sorted(map(str, trace.of(kind))) for trace in traces)
        assert waves == singles


def test_judged_messages_fare_as_unjudged_ones() -> None:
    """A fault that concerns nobody changes nothing."""
    network = Network(Delay("normal", 50 * MS, 30 * MS), loss=0.1)
    plain, watched = (shouters(12, network=network) for _ in range(2))
    put(watched, 12, kind="loss", rate=1, from_=["server"])
    plain.run()
    watched.run()
    for kind in (rows.Delivered, rows.Dropped):
        assert sorted(map(str, plain.trace.of(kind))) == sorted(map(str, watched.trace.of(kind)))


# --- the network --------------------------------------------------------------------------------


def test_messages_of_one_link_never_overtake_unless_told() -> None:
    for ordered in (True, False):
        network = Network(Delay("uniform", 0, 200 * MS), ordered=ordered)
        world = shouters(3, words=50, pause=10 * MS, network=network)
        world.run()
        assert (heard(world, 2, 1) == list(range(1, 51))) == ordered
        assert sorted(heard(world, 2, 1)) == list(range(1, 51))


@pytest.mark.parametrize("n", [3, 12])
def test_loss_has_its_rate(n: int) -> None:
    world = shouters(n, words=3000 // n, pause=MS, network=Network(loss=0.2))
    world.run()
    total = (3000 // n) * n * (n - 1)
    lost = sum(row.why == "loss" for row in world.trace.of(rows.Dropped))
    assert lost / total == pytest.approx(0.2, abs=0.02)
    assert lost + world.trace.deliveries == total


@pytest.mark.parametrize("n", [2, 12])
def test_bandwidth_is_shared_by_the_messages_of_a_link(n: int) -> None:
    network = Network(Delay("constant", 10 * MS), bandwidth=1000)
    world = shouters(n, pause=1, network=network)
    world.run()
    sent = [row for row in world.trace.of(rows.Sent) if row.actor == 1]
    arrived = [r.at for r in world.trace.of(rows.Delivered) if (r.sender, r.actor) == (1, 2)]
    free = 0
    for row, at in zip(sent, arrived, strict=True):
        free = max(free, row.at) + row.size * SECOND // 1000
        assert at == free + 10 * MS


# --- time ---------------------------------------------------------------------------------------


class Clockwork(Machine):
    """Sets timers as told, and notes when they fire."""

    def __init__(self) -> None:
        self.fired: list[tuple[int, str]] = []

    def start(self, ctx: Ctx) -> None:
        ctx.set_timer("beat", 100 * MS, background=True)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        self.fired.append((ctx.now // MS, name))
        if name == "beat":
            ctx.set_timer("beat", 100 * MS, background=True)
            ctx.set_timer("echo", 10 * MS)  # what a heartbeat sets off is background too

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case ("set", name, delay):
                ctx.set_timer(name, delay * MS)
            case ("cancel", name):
                ctx.cancel_timer(name)
            case _:
                ctx.set_timer("never", 5)
                raise UsageError(f"what is {ask}?")


def solo(machine: type[Machine], n: int = 1) -> SimulatedWorld:
    world = SimulatedWorld(1, Network(Delay("constant", 10 * MS)))
    for party in range(1, n + 1):
        world.host(party, partial(_build, party, n, machine))
    return world


def _build(party: Party, n: int, machine: type[Machine], coins: Coins, stored: Stored) -> Node:
    return Node(party, n, machine(), coins=coins, stored=stored)


def machine_of(world: SimulatedWorld, party: Party) -> Any:
    return world.look(party, lambda node: node.machine(node.top))


def test_a_run_ends_when_only_the_background_is_left() -> None:
    world = solo(Clockwork)
    assert world.run() is False
    assert world.now == 0
    world.ask(1, (), ("set", "tea", 450))
    world.run()
    assert world.now == 450 * MS
    assert machine_of(world, 1).fired[-1] == (450, "tea")
    assert [t for t, name in machine_of(world, 1).fired if name == "echo"] == [110, 210, 310, 410]


class Patient(Machine):
    """Gossip, in the background, starts work that somebody waits for."""

    def start(self, ctx: Ctx) -> None:
        ctx.set_timer("gossip", 100 * MS, background=True)
        ctx.set_timer("ordinary", 200 * MS)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name == "gossip":
            ctx.set_timer("work", 900 * MS, foreground=True)


def test_a_foreground_timer_keeps_a_run_alive_whatever_set_it() -> None:
    world = SimulatedWorld(1)
    world.host(1, lambda coins, stored: Node(1, 1, Patient(), coins=coins))
    world.run()
    assert world.now == 1 * SECOND


def test_a_limit_lets_exactly_so_much_time_pass() -> None:
    world = solo(Clockwork)
    world.run(limit=250 * MS)
    assert world.now == 250 * MS
    world.run(limit=0)
    assert world.now == 250 * MS
    assert machine_of(world, 1).fired == [
        (100, "beat"),
        (110, "echo"),
        (200, "beat"),
        (210, "echo"),
    ]


def test_timers_are_replaced_and_cancelled() -> None:
    world = solo(Clockwork)
    for ask in [
        ("set", "a", 30), ("set", "b", 40), ("set", "c", 50),
        ("set", "a", 70), ("cancel", "b"), ("cancel", "never set"),
    ]:  # fmt: skip
        world.ask(1, (), ask)
    world.run()
    assert machine_of(world, 1).fired == [(50, "c"), (70, "a")]
    assert [(row.at // MS, row.name) for row in world.trace.of(rows.Fired)] == [
        (50, "c"),
        (70, "a"),
    ]


def test_what_an_ask_refuses_changes_nothing() -> None:
    world = solo(Clockwork)
    with pytest.raises(UsageError, match="what is nonsense"):
        world.ask(1, (), "nonsense")
    with pytest.raises(UsageError, match="nothing running at attic"):
        world.ask(1, ("attic",), "nonsense")
    with pytest.raises(UsageError, match="party 2 is not running"):
        world.ask(2, (), "nonsense")
    world.run(limit=50 * MS)
    assert machine_of(world, 1).fired == []


def test_run_stops_where_it_is_told() -> None:
    world = shouters(3)
    assert world.run(lambda: True)
    assert world.now == 0
    seen: list[int] = []
    world.at(300 * MS, partial(seen.append, 1))
    assert world.run(lambda: bool(seen))
    assert world.now == 300 * MS
    assert world.run(lambda: False) is False


def test_a_step_is_one_event_and_steps_add_up_to_a_run() -> None:
    stepped, run = shouters(3), shouters(3)
    run.run()
    count = 0
    while stepped.step():
        count += 1
    assert stepped.step() is False
    assert stepped.trace.digest() == run.trace.digest()
    assert count == 3 * 10 + 3 * 2 * 10  # timers and deliveries


def test_what_is_due_in_the_past_happens_now() -> None:
    world = shouters(2)
    world.run(limit=SECOND // 2)
    times: list[int] = []
    world.at(0, lambda: times.append(world.now))
    world.run(limit=MS)
    assert times == [SECOND // 2]


# --- forks --------------------------------------------------------------------------------------


def stormy() -> SimulatedWorld:
    world = shouters(4, network=Network(Delay("normal", 50 * MS, 30 * MS), loss=0.1))
    for fields in (
        {"kind": "loss", "rate": 0.3, "burst": 3, "for": "2s"},
        {"kind": "hold", "from": [2], "for": "600ms"},
        {"kind": "garbage", "party": 3, "rate": 0.3},
        {"kind": "slow", "party": 4, "step": "15ms"},
        {"kind": "skew", "party": 1, "drift": 0.2},
    ):
        inject(parse_fault(fields, 4), world)
    put(world, kind="pause", party=4, at="300ms", for_="300ms")
    put(world, kind="crash", party=1, at="350ms", restart_after="300ms")
    return world


@pytest.mark.parametrize("at", [0, 320 * MS, 400 * MS, 900 * MS])
def test_a_fork_goes_on_as_the_original_does(at: int) -> None:
    world = stormy()
    world.run(limit=at)
    fork = world.fork()
    assert fork.trace.digest() == world.trace.digest()
    fork.run()
    world.run()
    assert fork.trace.digest() == world.trace.digest()
    whole = stormy()
    whole.run()
    assert whole.trace.digest() == world.trace.digest()


def test_a_fork_is_independent() -> None:
    world = stormy()
    world.run(limit=320 * MS)
    before = world.trace.digest()
    fork = world.fork()
    fork.crash(2)
    fork.run()
    assert world.trace.digest() == before
    assert 2 in world.actors
    world.run()
    assert world.trace.digest() != fork.trace.digest()
    assert everything(world, 4) != everything(fork, 4)


# --- coins and storage --------------------------------------------------------------------------


class Gambler(Machine):
    def start(self, ctx: Ctx) -> None:
        ctx.output(ctx.rng.random())


def test_coins_differ_by_party_life_and_seed_and_repeat() -> None:
    def thrown(seed: int) -> list[str]:
        world = SimulatedWorld(seed)
        for party in (1, 2):
            world.host(party, partial(_build, party, 2, Gambler))
        world.crash(1)
        world.restart(1)
        return [row.text for row in world.trace.of(rows.Output)]

    assert len(set(thrown(1) + thrown(2))) == 6
    assert thrown(1) == thrown(1)


@pytest.mark.parametrize("amnesia", [False, True])
def test_a_restart_finds_what_was_persisted(amnesia: bool) -> None:
    world = shouters(2)
    world.run(limit=450 * MS)
    world.crash(1)
    world.restart(1, amnesia=amnesia)
    shouter = machine_of(world, 1)
    assert isinstance(shouter, Shouter)
    assert shouter.said == (0 if amnesia else 4)


def test_hosting_crashing_and_restarting_out_of_turn_is_refused() -> None:
    world = shouters(2)
    again: Build = partial(build, 1, 2, 1, MS)
    for wrong, words in [
        (lambda: world.host(1, again), "party 1 is already here"),
        (lambda: world.restart(1), "party 1 has not crashed"),
        (lambda: world.restart(3), "party 3 has not crashed"),
        (lambda: world.crash(3), "party 3 is not running"),
        (lambda: world.pause(3), "party 3 is not running"),
        (lambda: world.stop_server(), "no server is running"),
        (lambda: world.restart_server(), "no server ever ran here"),
        (lambda: world.reset(1, 2), "no open link between 1 and 2"),
    ]:
        rows_before = len(world.trace)
        with pytest.raises(UsageError, match=words):
            wrong()
        assert len(world.trace) == rows_before


# --- links --------------------------------------------------------------------------------------


class Ring(msgspec.Struct, frozen=True):
    """Ask of a `Caller`: set up a link, perhaps wrongly."""

    peer: Party
    wrong: str = ""


class Caller(Machine):
    """Makes links; its descriptions are carried by hand, in the test."""

    def __init__(self) -> None:
        self.events: list[LinkEvent] = []

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        self.events.append(event)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        ctx.do(ask)


class Line:
    """Parties 1 and 2, and the telephone between them."""

    def __init__(self) -> None:
        self.world = solo(Caller, 2)

    def do(self, party: Party, effect: Any) -> list[LinkEvent]:
        before = len(machine_of(self.world, party).events)
        self.world.ask(party, (), effect)
        self.world.run()
        events: list[LinkEvent] = machine_of(self.world, party).events[before:]
        return events

    def opened(self, party: Party) -> list[LinkOpened]:
        events = machine_of(self.world, party).events
        return [event for event in events if isinstance(event, LinkOpened)]

    def set_up(self, spoil: Any = lambda sdp: sdp, candidates: Any = lambda own: own) -> None:
        (offer,) = self.do(1, MakeOffer((), 2, 1))
        assert isinstance(offer, Described)
        assert "candidate" not in offer.sdp
        (answer,) = self.do(2, MakeAnswer((), 1, 1, spoil(offer.sdp)))
        assert isinstance(answer, Described)
        self.do(1, TakeAnswer((), 2, 1, answer.sdp))
        assert not self.opened(1)
        self.do(1, AddCandidates((), 2, 1, candidates(answer.candidates)))
        self.do(2, AddCandidates((), 1, 1, offer.candidates))


def test_a_link_opens_at_both_ends_with_the_true_fingerprints() -> None:
    line = Line()
    line.set_up()
    (one,), (two,) = line.opened(1), line.opened(2)
    assert (one.peer, two.peer, one.attempt, two.attempt) == (2, 1, 1, 1)
    assert one.local_fingerprint == two.remote_fingerprint != ""
    assert two.local_fingerprint == one.remote_fingerprint != one.local_fingerprint


@pytest.mark.parametrize(
    ("spoil", "candidates"),
    [
        (lambda sdp: sdp.replace("sha-256 ", "sha-256 00:"), lambda own: own),
        (lambda sdp: sdp.replace("ufrag:1-", "ufrag:7-"), lambda own: own),
        (lambda sdp: sdp, lambda own: ()),
        (lambda sdp: sdp, lambda own: ("candidate:1 1 udp 1 elsewhere.sim 9 typ host",)),
    ],
    ids=["fingerprint", "fragment", "no candidates", "wrong candidates"],
)
def test_a_link_that_was_described_wrongly_never_opens(spoil: Any, candidates: Any) -> None:
    line = Line()
    line.set_up(spoil, candidates)
    assert line.opened(1) == line.opened(2) == []


def test_a_description_that_cannot_be_read_closes_the_attempt() -> None:
    line = Line()
    events = line.do(2, MakeAnswer((), 1, 5, "v=0"))
    assert LinkClosed((), 1, 5, "the description cannot be read") in events


def test_a_link_does_not_open_across_a_partition() -> None:
    line = Line()
    inject(parse_fault({"kind": "partition", "isolated": 1}, 2), line.world)
    line.set_up()
    assert line.opened(1) == line.opened(2) == []


def test_hanging_up_tells_the_other_end() -> None:
    line = Line()
    line.set_up()
    line.do(1, HangUp((), 2, 1, "enough"))
    assert machine_of(line.world, 2).events[-1] == LinkClosed((), 1, 1, "the peer hung up")
    assert [(row.actor, row.state) for row in line.world.trace.of(rows.Linked)][-2:] == [
        (1, "closed"),
        (2, "closed"),
    ]


def test_a_crashed_partys_links_are_not_closed_but_dead() -> None:
    line = Line()
    line.set_up()
    before = len(machine_of(line.world, 2).events)
    line.world.crash(1)
    line.world.run(limit=60 * SECOND)
    assert len(machine_of(line.world, 2).events) == before  # heartbeats are the mesh's affair


def test_a_party_that_leaves_closes_its_links() -> None:
    line = Line()
    line.set_up()
    line.world.remove(1)
    line.world.run()
    assert machine_of(line.world, 2).events[-1] == LinkClosed((), 1, 1, "the peer left")


# --- the server ---------------------------------------------------------------------------------


class Line_(Message, frozen=True):
    text: str


class Desk(Machine):
    """A server that repeats to its sender what it hears."""

    codec = "json"

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        self.events.append((type(event).__name__, event.peer))

    def on_message(self, ctx: Ctx, sender: int, msg: Line_) -> None:
        self.events.append((msg.text, sender))
        if msg.text == "go away":
            ctx.send(sender, Line_("goodbye"))
            ctx.do(HangUp(ctx.path, sender, reason="asked to"))
        else:
            ctx.send(sender, msg)


class Visitor(Machine):
    codec = "json"

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if isinstance(ask, str):
            ctx.send(SERVER, Line_(ask))
        else:
            ctx.do(ask)

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        reason = f": {event.reason}" if isinstance(event, LinkClosed) else ""
        self.events.append(type(event).__name__ + reason)

    def on_message(self, ctx: Ctx, sender: Party, msg: Line_) -> None:
        self.events.append(msg.text)


PATH = ("signaling",)


def office(n: int = 2, delay: Delay | None = None, seed: int = 1) -> SimulatedWorld:
    world = SimulatedWorld(seed, Network(delay or Delay("constant", 10 * MS)))
    world.host_server(lambda coins, stored: Node(SERVER, 0, Desk(), at=PATH, coins=coins))
    for party in range(1, n + 1):
        world.host(party, partial(_visitor, party, n))
    return world


def _visitor(party: Party, n: int, coins: Coins, stored: Stored) -> Node:
    return Node(party, n, Visitor(), at=PATH, coins=coins)


def test_a_connection_opens_carries_and_closes() -> None:
    world = office()
    for party in (1, 2):
        world.ask(party, PATH, Connect(PATH))
    world.run()
    world.ask(2, PATH, "hello")
    world.run()
    world.ask(2, PATH, "go away")
    world.run()
    assert machine_of(world, 2).events == ["LinkOpened", "hello", "goodbye", "LinkClosed: asked to"]
    assert machine_of(world, 1).events == ["LinkOpened"]
    desk = machine_of(world, SERVER).events
    assert desk[:4] == [("LinkOpened", 1), ("LinkOpened", 2), ("hello", 2), ("go away", 2)]
    assert ("LinkClosed", 1) not in desk


def test_without_a_server_a_connection_is_refused() -> None:
    world = office()
    world.stop_server()
    world.ask(1, PATH, Connect(PATH))
    world.run()
    assert machine_of(world, 1).events == ["LinkClosed: connection refused"]


@pytest.mark.parametrize(
    ("kill", "why"), [(False, "the server stopped"), (True, "connection lost")]
)
def test_clients_are_told_when_the_server_goes(kill: bool, why: str) -> None:
    world = office()
    world.ask(1, PATH, Connect(PATH))
    world.run()
    url = world.server_url
    assert url == "sim://127.0.0.1:8080"
    world.stop_server(kill=kill)
    assert world.server_url == ""
    world.run()
    assert machine_of(world, 1).events == ["LinkOpened", f"LinkClosed: {why}"]
    world.restart_server()
    assert world.server_url == url
    world.ask(1, PATH, Connect(PATH))
    world.ask(1, PATH, "too early")
    world.run()
    world.ask(1, PATH, "back again")
    world.run()
    assert machine_of(world, 1).events[-1] == "back again"


def test_two_servers_or_a_wrong_port_are_refused() -> None:
    world = office()
    build: Build = lambda coins, stored: Node(SERVER, 0, Desk(), at=PATH, coins=coins)  # noqa: E731
    with pytest.raises(UsageError, match=r"already runs at sim://127\.0\.0\.1:8080"):
        world.host_server(build)
    world.stop_server()
    with pytest.raises(UsageError, match="port 70000: use 1 to 65535"):
        world.host_server(build, port=70000)
    assert world.server_url == ""
    assert world.host_server(build, port=0).startswith("sim://127.0.0.1:")


@pytest.mark.parametrize("seed", range(5))
def test_nothing_of_an_old_connection_reaches_a_new_one(seed: int) -> None:
    """A client that hangs up, or crashes, and connects again, at any moment of the delays."""
    delay = Delay("uniform", 1 * MS, 80 * MS)
    for crash in (False, True):
        world = office(1, delay, seed)
        for life in range(12):
            world.ask(1, PATH, Connect(PATH))
            world.run(limit=(40 + 17 * life) * MS)
            world.ask(1, PATH, f"word {life}")
            world.run(limit=11 * MS)
            if crash:
                world.crash(1)
                world.restart(1)
            else:
                world.ask(1, PATH, HangUp(PATH, SERVER))
                machine_of(world, 1).events.append("hung up")
        world.run()
        assert _in_order(machine_of(world, SERVER).events)
        mine = machine_of(world, 1).events
        assert not crash or mine == []
        while "hung up" in mine:
            end = mine.index("hung up")
            words = [word for word in mine[:end] if word.startswith("word")]
            assert words == [] or mine[0] == "LinkOpened"
            assert len(words) <= 1
            del mine[: end + 1]
        assert mine == []


def _in_order(events: list[tuple[str, int]]) -> bool:
    """Whether each connection opened, then carried, then closed."""
    numbers = {number for _, number in events}
    for number in numbers:
        story = [what for what, who in events if who == number]
        assert story[0] == "LinkOpened"
        assert story[-1] == "LinkClosed"
        assert len([what for what in story if what.startswith("Link")]) == 2
    return len(numbers) == 12


class Half(Machine):
    """Does its own part of an ask, then passes it on to a child that refuses."""

    def start(self, ctx: Ctx) -> None:
        ctx.spawn("kid", Refusing())

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        ctx.persist("mine", b"done")
        ctx.set_timer("later", 1 * MS)
        ctx.ask("kid", ask)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        ctx.remark("fired")


class Refusing(Machine):
    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        raise UsageError("not I")


def test_what_a_parent_did_before_its_child_refused_is_performed() -> None:
    world = SimulatedWorld()
    world.host(1, lambda coins, stored: Node(1, 1, Half(), coins=coins, stored=stored))
    with pytest.raises(UsageError, match="not I"):
        world.ask(1, (), "both of you")
    world.run()
    assert len(world.trace.remarks("fired")) == 1
    assert [row.key for row in world.trace.of(rows.Persisted)] == ["mine"]
