"""Link faults in the simulated world: what arrives, when, how often, and why not."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.faults.link_rules import PASSES, Delivery, LinkRules
from mpclab.faults.links import LinkFault
from mpclab.faults.network import Delay, Network
from mpclab.faults.plan import inject, parse_fault
from mpclab.trace import rows
from mpclab.worlds.simulated import SimulatedWorld
from tests.faults.shouting import everything, heard, put, shouters

ALL = list(range(1, 11))


def dropped(world: SimulatedWorld, *why: str) -> list[rows.Dropped]:
    return [row for row in world.trace.of(rows.Dropped) if not why or row.why in why]


def delays(world: SimulatedWorld, src: int, dst: int) -> list[int]:
    """How long each of the messages from `src` to `dst` took, µs, in the order of sending."""
    sent = {(row.actor, row.id): row for row in world.trace.of(rows.Sent)}
    return [
        row.at - sent[src, row.id].at
        for row in world.trace.of(rows.Delivered)
        if (row.sender, row.actor) == (src, dst)
    ]


# --- which links --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "hit"),
    [
        ({}, {(a, b) for a in range(1, 4) for b in range(1, 4) if a != b}),
        ({"from": [1]}, {(1, 2), (1, 3)}),
        ({"to": [1]}, {(2, 1), (3, 1)}),
        ({"from": [1], "to": [2]}, {(1, 2)}),
        ({"from": [1], "to": [2], "both": True}, {(1, 2), (2, 1)}),
        ({"from": ["server"]}, {(0, 1), (0, 2), (0, 3)}),
        ({"from": [1], "to": ["server"], "both": True}, {(1, 0), (0, 1)}),
    ],
)
def test_a_fault_concerns_the_links_that_it_names(
    fields: dict[str, object], hit: set[tuple[int, int]]
) -> None:
    fault = parse_fault({"kind": "loss", "rate": 1, **fields}, 3)
    assert isinstance(fault, LinkFault)
    pairs = {(a, b) for a in range(4) for b in range(4) if a != b}
    assert {pair for pair in pairs if fault.concerns(*pair)} == hit


def test_a_fault_strikes_the_kinds_of_message_that_it_names() -> None:
    world = shouters(4)
    put(world, kind="loss", rate=1, **{"from": [1]}, messages=["Word"])
    put(world, kind="loss", rate=1, **{"from": [2]}, messages=["Other", "Else"])
    world.run()
    assert heard(world, 3, 1) == []
    assert heard(world, 3, 2) == ALL


def test_no_link_names_no_kinds() -> None:
    with pytest.raises(UsageError, match="messages: a data channel lives or not"):
        parse_fault({"kind": "no-link", "messages": ["Word"]}, 3)


def test_a_sentence_says_which_kinds() -> None:
    fault = parse_fault({"kind": "hold", "from": [1], "messages": ["Word"]}, 3)
    assert fault.sentence() == "messages from party 1 (only Word) are held back"


# --- loss and damage ----------------------------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 5])
def test_loss_has_its_rate(burst: int) -> None:
    world = shouters(3, words=2000, pause=MS)
    put(world, 3, kind="loss", rate=0.3, burst=burst)
    world.run()
    lost = len(dropped(world, "loss")) / (2000 * 3 * 2)
    assert lost == pytest.approx(0.3, abs=0.02 * math.sqrt(burst))


@pytest.mark.parametrize(("burst", "mean"), [(1, 1 / 0.7), (5, 5), (20, 20)])
def test_bursts_have_their_length(burst: int, mean: float) -> None:
    world = shouters(3, words=2500, pause=MS)
    put(world, 3, kind="loss", rate=0.3, burst=burst)
    world.run()
    lengths = []
    for src in (1, 2, 3):
        for dst in (1, 2, 3):
            got = [0, *heard(world, dst, src), 2501]
            lengths += [b - a - 1 for a, b in itertools.pairwise(got) if b - a > 1]
    assert sum(lengths) / len(lengths) == pytest.approx(mean, rel=0.15)


def test_two_losses_draw_independently() -> None:
    world = shouters(3, words=2000, pause=MS)
    for _ in range(2):
        inject(parse_fault({"kind": "loss", "rate": 0.5}, 3), world)
    world.run()
    assert len(dropped(world)) / 12_000 == pytest.approx(0.75, abs=0.02)


def test_a_lost_message_moves_no_other() -> None:
    """The delays that survivors have are those that they had without the fault."""
    network = Network(Delay("uniform", 10 * MS, 90 * MS), ordered=False)
    calm, stormy = (shouters(4, words=30, network=network) for _ in range(2))
    put(stormy, kind="loss", rate=0.5)
    calm.run()
    stormy.run()
    before = {(r.actor, r.sender, r.id): r.at for r in calm.trace.of(rows.Delivered)}
    after = {(r.actor, r.sender, r.id): r.at for r in stormy.trace.of(rows.Delivered)}
    assert 0 < len(after) < len(before)
    assert after.items() <= before.items()


def test_duplicates_arrive_so_many_times() -> None:
    world = shouters(2)
    put(world, 2, kind="duplicate", copies=3, from_=[1])
    world.run()
    assert heard(world, 2, 1) == [n for n in ALL for _ in range(3)]
    assert heard(world, 1, 2) == ALL


def test_damage_is_noticed_and_dropped() -> None:
    world = shouters(2)
    put(world, 2, kind="corrupt", from_=[1])
    world.run()
    assert heard(world, 2, 1) == []
    assert [(row.actor, row.sender) for row in dropped(world, "corrupt")] == [(2, 1)] * 10
    assert not list(world.trace.of(rows.Blamed))  # the link noticed, so the party need not


# --- time ---------------------------------------------------------------------------------------


def test_delay_adds_to_the_networks() -> None:
    world = shouters(2)
    put(world, 2, kind="delay", delay="70ms", from_=[1], at="450ms", for_="300ms")
    world.run()
    assert delays(world, 1, 2) == [10 * MS] * 4 + [80 * MS] * 3 + [10 * MS] * 3
    assert delays(world, 2, 1) == [10 * MS] * 10


def test_a_drawn_delay_has_its_distribution() -> None:
    world = shouters(2, words=3000)
    put(world, 2, kind="delay", delay="exponential(20ms)", from_=[1])
    world.run()
    extra = [d - 10 * MS for d in delays(world, 1, 2)]
    assert sum(extra) / len(extra) == pytest.approx(20 * MS, rel=0.1)


def test_jitter_keeps_the_order() -> None:
    world = shouters(2, words=200, pause=5 * MS)
    put(world, 2, kind="jitter", up_to="100ms")
    world.run()
    assert heard(world, 2, 1) == list(range(1, 201))
    assert max(delays(world, 1, 2)) <= 110 * MS
    assert len(set(delays(world, 1, 2))) > 10


def test_reordering_lets_messages_overtake() -> None:
    world = shouters(2, words=200, pause=5 * MS)
    put(world, 2, kind="reorder", rate=0.3, within="50ms", from_=[1])
    world.run()
    assert heard(world, 2, 1) != list(range(1, 201))
    assert sorted(heard(world, 2, 1)) == list(range(1, 201))
    assert heard(world, 1, 2) == list(range(1, 201))
    on_time = sum(d == 10 * MS for d in delays(world, 1, 2))
    assert on_time / 200 == pytest.approx(0.7, abs=0.1)


def test_bandwidth_makes_messages_queue() -> None:
    """Ten words at once over a thin link: each begins when the one before is through."""
    world = shouters(2, pause=1)
    put(world, 2, kind="bandwidth", bytes_per_second=1000, from_=[1])
    world.run()
    sent = [row for row in world.trace.of(rows.Sent) if row.actor == 1]
    free = 0
    for row, delay in zip(sent, delays(world, 1, 2), strict=True):
        free = max(free, row.at) + row.size * SECOND // 1000
        assert row.at + delay == free + 10 * MS


def test_held_messages_arrive_after_the_heal_in_order() -> None:
    world = shouters(2)
    put(world, 2, kind="hold", from_=[1], at="250ms", for_="400ms")
    world.run()
    assert heard(world, 2, 1) == ALL
    assert delays(world, 1, 2)[2:6] == [(650 - 100 * k + 10) * MS for k in (3, 4, 5, 6)]
    assert world.link_rules.held == 0


def test_a_hold_that_is_healed_by_hand_releases() -> None:
    world = shouters(2)
    hold = inject(parse_fault({"kind": "hold", "from": [1]}, 2), world)
    world.run()
    assert heard(world, 2, 1) == []
    assert world.link_rules.held == 10
    assert hold.active
    hold.heal()
    hold.heal()
    assert not hold.active
    world.run()
    assert heard(world, 2, 1) == ALL


def test_what_one_hold_releases_another_may_keep() -> None:
    world = shouters(2, words=1)
    first, second = (inject(parse_fault({"kind": "hold"}, 2), world) for _ in range(2))
    world.run()
    first.heal()
    world.run()
    assert heard(world, 2, 1) == []
    second.heal()
    world.run()
    assert heard(world, 2, 1) == [1]


# --- partitions ---------------------------------------------------------------------------------


def reach(n: int, **fields: object) -> set[tuple[int, int]]:
    """Who hears whom, as (from, to), while the partition is up."""
    world = shouters(n, words=1)
    put(world, n, kind="partition", **fields)
    world.run()
    assert all(row.why == "partition" for row in dropped(world))
    return {(row.sender, row.actor) for row in world.trace.of(rows.Delivered)}


def pairs(*groups: str) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for group in groups for a in group for b in group if a != b}


@pytest.mark.parametrize(
    ("n", "fields", "hears"),
    [
        (4, {"groups": [[1, 2], [3, 4]]}, pairs("12", "34")),
        (5, {"groups": [[1], [2, 3]]}, pairs("23", "45")),  # the unnamed are one more group
        (4, {"groups": [[2, 3]]}, pairs("23", "14")),
        (4, {"isolated": 3}, pairs("124")),
        (4, {"isolated": 3, "one_way": True}, pairs("124") | {(1, 3), (2, 3), (4, 3)}),
        (5, {"shape": "halves"}, pairs("12", "345")),
        (3, {"shape": "halves", "one_way": True}, pairs("23") | {(2, 1), (3, 1)}),
        (5, {"shape": "bridge"}, pairs("123", "345")),
        (5, {"shape": "ring"}, pairs("12", "23", "34", "45", "51")),
        (4, {"groups": [["server", 1], [2, 3, 4]]}, pairs("234")),
    ],
)  # fmt: skip
def test_partitions(n: int, fields: dict[str, object], hears: set[tuple[int, int]]) -> None:
    assert reach(n, **fields) == hears


@given(st.integers(4, 25))
def test_in_a_ring_each_hears_a_majority_and_no_two_the_same(n: int) -> None:
    fault = parse_fault({"kind": "partition", "shape": "ring"}, n)
    link_rules = LinkRules()
    fault.begin(type("FaultTarget", (), {"link_rules": link_rules})(), 0)  # type: ignore[arg-type]
    everyone = range(1, n + 1)
    hears = {
        p: frozenset(q for q in everyone if q == p or link_rules.judge(q, p, 1, 0, _no) == PASSES)
        for p in everyone
    }
    assert all(len(heard) >= n // 2 + 1 for heard in hears.values())
    assert len(set(hears.values())) == n
    assert all((p in hears[q]) == (q in hears[p]) for p in everyone for q in everyone)


def test_a_server_is_cut_off_only_where_it_is_named_and_loses_nothing() -> None:
    for groups, delivery in (
        ([[1], [2]], PASSES),
        ([[0, 1], [2]], Delivery(held=0)),
    ):
        named = [["server" if p == 0 else p for p in group] for group in groups]
        fault = parse_fault({"kind": "partition", "groups": named}, 2)
        link_rules = LinkRules()
        fault.begin(type("FaultTarget", (), {"link_rules": link_rules})(), 0)  # type: ignore[arg-type]
        assert link_rules.judge(0, 2, 1, 0, _no) == link_rules.judge(2, 0, 1, 0, _no) == delivery
        assert link_rules.judge(0, 1, 1, 0, _no) == PASSES


def test_a_partition_heals() -> None:
    world = shouters(4)
    put(world, kind="partition", groups=[[1, 2], [3, 4]], at="250ms", for_="300ms")
    world.run()
    assert heard(world, 3, 1) == [1, 2, 6, 7, 8, 9, 10]
    assert heard(world, 2, 1) == ALL
    assert world.link_rules.quiet


def _no(purpose: str) -> float:
    raise AssertionError("a partition draws nothing")


# --- the trace ----------------------------------------------------------------------------------


def test_a_fault_begins_and_ends_in_the_trace() -> None:
    world = shouters(4, words=1)
    put(world, kind="loss", rate=0.5, from_=[2], to=[1], at="10ms", for_="30ms")
    world.run()
    text = "50% of messages from party 2 to party 1 are lost"
    assert list(world.trace.of(rows.Fault)) == [
        rows.Fault(10 * MS, rows.WORLD, 0, "loss", "begin", (1, 2), text),
        rows.Fault(40 * MS, rows.WORLD, 0, "loss", "end", (1, 2), text),
    ]


def test_a_reset_without_a_link_says_so_and_the_run_goes_on() -> None:
    world = shouters(2)
    put(world, 2, kind="reset", between=[1, 2], at="5ms")
    world.run()
    phases = [(row.phase, row.text) for row in world.trace.of(rows.Fault)]
    assert phases[1] == ("act", "does not happen: there is no open link between 1 and 2 to reset")
    assert [phase for phase, _ in phases] == ["begin", "act", "end"]
    assert len(everything(world, 1)) == 20
