"""One node alone: routing by path, one FIFO, early frames, faults undone, timers, forks."""

from __future__ import annotations

import copy
import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core import (
    MS,
    Ctx,
    Frame,
    Machine,
    Message,
    Node,
    Party,
    Path,
    PeerFault,
    UsageError,
)
from mpclab.core.effects import (
    Asked,
    Blame,
    CancelTimer,
    Delivered,
    Effect,
    LinkClosed,
    Note,
    Output,
    Persist,
    Prompted,
    Received,
    Route,
    Send,
    SetTimer,
    Started,
    TimerFired,
    Words,
)
from mpclab.core.errors import Strength
from mpclab.core.node import EARLY_BYTES, EARLY_FRAMES
from mpclab.core.notes import EarlyDropped, UnconfirmedDropped, word_of


class Say(Message, frozen=True):
    text: str


class Bad(Message, frozen=True):
    who: int = 0


class Scribe(Machine):
    """Writes down all it sees. Asks are lists of ("verb", arguments…) that it does in order."""

    def __init__(self, script: tuple[Any, ...] = ()) -> None:
        self.script = script
        self.seen: list[Any] = []

    def do(self, ctx: Ctx, script: Any) -> None:
        for verb, *args in script:
            getattr(ctx, verb)(*args)

    def start(self, ctx: Ctx) -> None:
        self.seen.append(("start", dict(ctx.stored)))
        self.do(ctx, self.script)

    def on_message(self, ctx: Ctx, sender: int, msg: Say | Bad) -> None:
        self.seen.append((sender, msg))
        if isinstance(msg, Bad):
            ctx.send(2, Say("undone"))
            ctx.output("undone")
            ctx.set_timer("undone", 1)
            raise PeerFault("bad", party=msg.who or None, strength=Strength.PROOF)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        self.seen.append(("timer", name, ctx.now))

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        self.seen.append(("output", child, value))

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if ask == "impossible":
            ctx.send(2, Say("undone"))
            raise UsageError("cannot be done")
        self.do(ctx, ask)

    def on_link(self, ctx: Ctx, event: Any) -> None:
        self.seen.append(event)

    def on_carry(self, ctx: Ctx, to: tuple[int, ...], frame: Frame) -> None:
        self.seen.append(("carry", to, frame.kind))


def coins(path: Path) -> random.Random:
    return random.Random("/".join(path))


def node(*script: Any, n: int = 4, **more: Any) -> tuple[Node, Scribe]:
    machine = Scribe(script)
    node = Node(1, n, machine, coins=coins, **more)
    node.step(Started(), 0)
    return node, machine


def do(node: Node, *script: Any, now: int = 0) -> list[Effect]:
    return node.step(Asked((), script), now)


def frame(msg: Message, path: Path = (), id: int = 1) -> Frame:
    return Frame(id, path, body=msgspec.msgpack.encode(msg))


def scribe(node: Node, *path: str) -> Scribe:
    machine = node.machine(path)
    assert isinstance(machine, Scribe)
    return machine


# --- sending ------------------------------------------------------------------------------


def test_a_broadcast_is_one_send_and_ours_arrives_in_the_same_step() -> None:
    n, m = node()
    [send] = do(n, ("broadcast", Say("a")))
    assert isinstance(send, Send)
    assert send.to == (2, 3, 4)
    assert m.seen[1:] == [(1, Say("a"))]


def test_who_speaks_to_nobody_does_not_hear_itself() -> None:
    machine = Scribe()
    server = Node(0, 0, machine, coins=coins)  # as a signaling server is: without members
    server.step(Started(), 0)
    assert do(server, ("multicast", (), Say("alone"))) == []
    assert machine.seen[1:] == []


def test_frames_are_numbered_over_all_machines() -> None:
    n, _ = node(("spawn", "kid", Scribe((("send", 2, Say("kid")),))), ("send", 3, Say("root")))
    effects = do(n, ("multicast", (2, 3), Say("x")), ("send", 1, Say("me")))
    assert [(e.frame.id, e.to, e.frame.path) for e in effects if isinstance(e, Send)] == [
        (3, (2, 3), ())
    ]


def test_loopback_outputs_asks_and_births_share_one_fifo() -> None:
    n, m = node()
    kid = Scribe((("output", "born"), ("send", 1, Say("to myself"))))
    do(
        n,
        ("send", 1, Say("first")),
        ("spawn", "kid", kid),
        ("ask", "kid", (("output", "asked"),)),
        ("send", 1, Say("last")),
    )
    assert m.seen[1:] == [
        (1, Say("first")),
        (1, Say("last")),
        ("output", "kid", "born"),
        ("output", "kid", "asked"),
    ]
    assert kid.seen == [("start", {}), (1, Say("to myself"))]


def test_a_report_reaches_the_parent_and_no_trace() -> None:
    n, m = node(("spawn", "kid", Scribe((("report", "news"),))))
    assert m.seen[1:] == [("output", "kid", "news")]
    top, _ = node()
    assert do(top, ("report", "news")) == [Output((), "news")]
    assert [type(e) for e in n.out] == []


def test_messages_go_to_the_machine_of_their_path() -> None:
    n, m = node(("spawn", "a", Scribe((("spawn", "b", Scribe()),))))
    assert n.paths == ((), ("a",), ("a", "b"))
    n.step(Delivered(2, frame(Say("deep"), ("a", "b"))), 1)
    assert scribe(n, "a", "b").seen[1:] == [(2, Say("deep"))]
    assert m.seen == [("start", {})]


# --- early and late frames ----------------------------------------------------------------


def test_early_frames_wait_for_their_machine_in_order() -> None:
    n, _ = node()
    for k in range(3):
        assert n.step(Delivered(2, frame(Say(str(k)), ("a",))), k) == []
    n.step(Delivered(3, frame(Say("deeper"), ("a", "b"))), 3)
    do(n, ("spawn", "a", Scribe()))
    assert scribe(n, "a").seen[1:] == [(2, Say("0")), (2, Say("1")), (2, Say("2"))]
    n.step(Asked(("a",), (("spawn", "b", Scribe()),)), 4)
    assert scribe(n, "a", "b").seen[1:] == [(3, Say("deeper"))]


def test_early_frames_are_bounded_for_each_sender_apart() -> None:
    n, _ = node()
    for k in range(EARLY_FRAMES):
        assert n.step(Delivered(2, frame(Say(""), (f"p{k}",))), 0) == []
    [note] = n.step(Delivered(2, frame(Say("new"), ("a",))), 0)
    assert note == Note(("p0",), EarlyDropped(2, "?"))
    assert n.step(Delivered(3, frame(Say(""), ("a",))), 0) == []
    # What was taken up makes room again.
    do(n, ("spawn", "p1", Scribe()))
    assert n.step(Delivered(2, frame(Say(""), ("b",))), 0) == []
    assert len(n._early) == EARLY_FRAMES


def test_frames_of_machines_that_are_never_born_cost_the_next_one_nothing() -> None:
    n, _ = node()
    for k in range(3 * EARLY_FRAMES):
        n.step(Delivered(2, frame(Say(""), (f"never {k}",))), 0)
    n.step(Delivered(2, frame(Say("hello"), ("a",))), 0)
    do(n, ("spawn", "a", Scribe()))
    assert scribe(n, "a").seen[1:] == [(2, Say("hello"))]


def test_early_bytes_are_bounded_too() -> None:
    n, _ = node()
    big = frame(Say("x" * 200_000), ("a",))
    dropped = [n.step(Delivered(2, big), 0) for _ in range(8)]
    assert [bool(effects) for effects in dropped] == [
        (k + 1) * len(big.body) > EARLY_BYTES for k in range(8)
    ]
    assert len(n._early["a",]) == EARLY_BYTES // len(big.body)


def test_frames_for_closed_machines_are_no_news() -> None:
    n, _ = node(("spawn", "a", Scribe((("spawn", "b", Scribe()), ("set_timer", "t", 5)))))
    n.step(Delivered(2, frame(Say(""), ("a", "c"))), 0)
    effects = do(n, ("close", "a"))
    assert effects == [CancelTimer(("a",), "t")]
    assert n.paths == ((),)
    assert n._early == {}
    for path in (("a",), ("a", "b"), ("a", "new")):
        assert n.step(Delivered(2, frame(Say(""), path)), 0) == []
    assert n._early == {}
    assert n.step(TimerFired(("a",), "t"), 9) == []
    with pytest.raises(RuntimeError, match="names are used once"):
        do(n, ("spawn", "a", Scribe()))


# --- faults -------------------------------------------------------------------------------


def test_a_peer_fault_undoes_the_handlers_effects_and_blames() -> None:
    n, m = node()
    assert n.step(Delivered(3, frame(Bad())), 1) == [Blame((), 3, "bad", Strength.PROOF)]
    assert n.step(Delivered(3, frame(Bad(4))), 1) == [Blame((), 4, "bad", Strength.PROOF)]
    assert n.timers == {}
    assert not any(isinstance(s, tuple) and s[0] == "output" for s in m.seen)


def test_bytes_that_are_no_message_blame_their_sender() -> None:
    n, m = node()
    [blame] = n.step(Delivered(2, Frame(1, (), body=b"\xc1")), 1)
    assert isinstance(blame, Blame)
    assert (blame.party, blame.strength) == (2, Strength.KNOWN)
    assert m.seen == [("start", {})]


@given(st.binary(max_size=60), st.lists(st.text(max_size=3), max_size=3))
def test_no_bytes_stop_a_node(body: bytes, path: list[str]) -> None:
    n, _ = node()
    for effect in n.step(Delivered(2, Frame(1, tuple(path), body=body)), 1):
        assert isinstance(effect, Blame | Note)


def test_a_usage_error_is_for_the_asker_and_changes_nothing() -> None:
    n, _ = node(("spawn", "kid", Scribe()))
    with pytest.raises(UsageError, match="cannot be done"):
        n.step(Asked((), "impossible"), 1)
    assert n.out == []
    with pytest.raises(UsageError, match="nothing running at nowhere"):
        n.step(Asked(("nowhere",), ()), 1)
    assert do(n) == []


def test_what_was_done_before_a_child_refuses_our_users_ask_stays_done() -> None:
    """The parent's timer is set in its node, so the host must hear of it too."""
    n, m = node(("spawn", "kid", Scribe()))
    with pytest.raises(UsageError, match="cannot be done"):
        do(n, ("persist", "k", b"v"), ("ask", "kid", "impossible"), ("ask", "gone", ()),
           ("set_timer", "t", 1), ("send", 1, Say("to myself")))  # fmt: skip
    assert n.out == [Persist((), "k", b"v"), SetTimer((), "t", 1, False)]
    assert n.stored[()] == {"k": b"v"}
    assert m.seen[-1] == (1, Say("to myself"))  # and the step ran to its end
    assert do(n) == []  # the refusal was told once
    assert [e.name for e in do(n, ("cancel_timer", "t"))] == ["t"]


def test_a_child_that_refuses_its_parents_news_stops_nobody() -> None:
    class Parent(Scribe):
        def on_message(self, ctx: Ctx, sender: int, msg: Say) -> None:
            ctx.ask("kid", "impossible")
            ctx.ask("gone", ())
            ctx.send(2, Say("still here"))

    n = Node(1, 4, Parent((("spawn", "kid", Scribe()),)), coins=coins)
    n.step(Started(), 0)
    send, *refused = n.step(Delivered(2, frame(Say(""))), 1)
    assert isinstance(send, Send)
    assert [(e.path, word_of(e.note)) for e in refused if isinstance(e, Note)] == [
        (("kid",), "ask-refused"),
        (("gone",), "ask-refused"),
    ]


# --- timers -------------------------------------------------------------------------------


def test_a_timer_fires_once_and_not_before_its_time() -> None:
    n, m = node()
    assert do(n, ("set_timer", "t", 5 * MS), now=1 * MS) == [SetTimer((), "t", 6 * MS, False)]
    n.step(TimerFired((), "t"), 5 * MS)
    n.step(TimerFired((), "t"), 6 * MS)
    n.step(TimerFired((), "t"), 7 * MS)
    assert m.seen[1:] == [("timer", "t", 6 * MS)]


def test_setting_again_replaces_and_a_cancelled_timer_never_fires() -> None:
    n, m = node()
    do(n, ("set_timer", "t", 10), ("set_timer", "t", 20), ("set_timer", "c", 5))
    do(n, ("cancel_timer", "c"))
    for name, now in (("t", 10), ("c", 10), ("t", 20)):
        n.step(TimerFired((), name), now)
    assert m.seen[1:] == [("timer", "t", 20)]
    assert do(n, ("set_timer", "past", -5), now=30) == [SetTimer((), "past", 30, False)]


# --- storage and coins --------------------------------------------------------------------


def test_what_was_persisted_is_there_in_the_next_life() -> None:
    n, _ = node()
    effects = do(n, ("persist", "a", b"1"), ("persist", "b", b"2"), ("persist", "b", None))
    assert effects == [Persist((), "a", b"1"), Persist((), "b", b"2"), Persist((), "b", None)]
    again, machine = node(stored=n.stored)
    assert machine.seen == [("start", {"a": b"1"})]
    do(again, ("persist", "a", b"changed"))
    assert n.stored == {(): {"a": b"1"}}  # lives share no memory


def test_each_machine_has_its_own_coins() -> None:
    n, _ = node(("spawn", "kid", Scribe()))
    root, kid = n._seats[()].ctx, n._seats["kid",].ctx
    assert root.rng.random() == random.Random("").random()
    assert kid.rng.random() == random.Random("kid").random()
    assert kid.rng is kid.rng


# --- routes -------------------------------------------------------------------------------


def meshed() -> tuple[Node, Scribe]:
    """Party 2 by link, 3 by relay, 4 not at all."""
    n, m = node(("spawn", "mesh", Scribe()), carrier=("mesh",))
    n.step(
        Asked(("mesh",), (("do", Route((), 2, "link")), ("do", Route((), 3, "relay")))),
        0,
    )
    return n, m


def test_a_broadcast_is_split_by_route() -> None:
    n, _ = meshed()
    sends = [e for e in do(n, ("broadcast", Say("x"))) if isinstance(e, Send)]
    assert [(e.to, e.via) for e in sends] == [((2,), "link"), ((3,), "relay"), ((4,), "none")]
    assert len({e.frame.id for e in sends}) == 1
    assert scribe(n, "mesh").seen[1:] == [("carry", (3,), "Say")]


def test_only_the_carrier_is_heard_before_a_link_is_confirmed() -> None:
    n, m = meshed()
    for sender in (3, 4):
        [note] = n.step(Delivered(sender, frame(Say("x"))), 1)
        assert note == Note((), UnconfirmedDropped(sender, "?"))
    n.step(Delivered(4, frame(Say("x"), ("mesh",))), 1)
    assert scribe(n, "mesh").seen[-1] == (4, Say("x"))
    n.step(Delivered(2, frame(Say("x"))), 1)
    n.step(Delivered(0, frame(Say("from the server"))), 1)
    assert m.seen[1:] == [(2, Say("x")), (0, Say("from the server"))]


def test_what_the_carrier_hands_over_is_delivered_and_recorded() -> None:
    n, m = meshed()
    opened = frame(Say("sealed"), id=7)
    effects = n.step(Asked(("mesh",), (("hand_over", 3, opened),)), 1)
    assert effects == [Received(3, opened)]
    assert m.seen[1:] == [(3, Say("sealed"))]


def test_link_events_go_to_their_machine_and_no_other() -> None:
    n, m = node(("spawn", "mesh", Scribe()))
    event = LinkClosed(("mesh",), 2, 1, "gone")
    n.step(event, 1)
    n.step(LinkClosed(("nobody",), 2, 1, "gone"), 1)
    assert scribe(n, "mesh").seen[1:] == [event]
    assert m.seen == [("start", {})]


# --- copies -------------------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.builds(lambda s, t, p: Delivered(s, frame(Say(t), p)), st.integers(1, 4),
                  st.text(max_size=3), st.sampled_from([(), ("kid",), ("new",)])),
        st.just(Delivered(2, frame(Bad()))),
        st.builds(lambda k: Asked((), (("set_timer", "t", k), ("broadcast", Say("b")))),
                  st.integers(0, 9)),
        st.just(TimerFired((), "t")),
        st.just(Asked((), (("persist", "k", b"v"), ("output", 3)))),
    ),
    max_size=12,
)  # fmt: skip


@given(steps, steps)
def test_a_copy_goes_on_like_the_original_and_apart_from_it(before: list, after: list) -> None:
    original, _ = node(("spawn", "kid", Scribe()))
    for now, event in enumerate(before):
        original.step(event, now)
    fork = copy.deepcopy(original)
    ours = [original.step(event, 100 + k) for k, event in enumerate(after)]
    seen = list(scribe(original).seen)
    theirs = [fork.step(event, 100 + k) for k, event in enumerate(after)]
    assert list(map(repr, ours)) == list(map(repr, theirs))
    assert scribe(fork).seen == seen
    assert scribe(original).seen == seen


# --- an adversary between the machines and the links --------------------------------------------


def test_a_tamper_speaks_to_others_instead_and_the_party_hears_itself() -> None:
    one, it = node()
    one.tamper = lambda words: [
        Words((), (2, 1), Say("no")), Words((), (), Say("unheard")), Words((), (3,), words.msg),
        Words((), (4,), b"\xff"), Words((), (3,), words.msg),
    ]  # fmt: skip
    effects = do(one, ("broadcast", Say("yes")))
    sent = [(e.to, e.frame.id, e.frame.body) for e in effects if isinstance(e, Send)]
    honest, other = frame(Say("yes")).body, frame(Say("no")).body
    assert sent == [
        ((2,), 2, other), ((3,), 1, honest), ((4,), 3, b"\xff"), ((3,), 4, honest)
    ]  # fmt: skip
    assert (1, Say("yes")) in it.seen
    assert (1, Say("no")) not in it.seen


def test_a_tamper_comes_before_the_relay() -> None:
    one, _ = meshed()
    one.tamper = lambda words: [Words(words.path, words.to, Say("no"))]
    effects = do(one, ("multicast", (2, 3), Say("yes")))
    assert {e.via for e in effects if isinstance(e, Send)} == {"link", "relay"}
    assert {e.frame.msg for e in effects if isinstance(e, Send)} == {Say("no")}
    assert scribe(one, "mesh").seen[1:] == [("carry", (3,), "Say")]


def test_what_a_party_is_prompted_to_say_no_tamper_changes() -> None:
    one, _ = meshed()
    one.tamper = lambda words: []
    effects = one.step(Prompted((Words((), (2, 3), Say("late")),)), 5)
    sent = [(e.to, e.via, e.frame.msg) for e in effects if isinstance(e, Send)]
    assert sent[:2] == [((2,), "link", Say("late")), ((3,), "relay", Say("late"))]


def test_a_parent_sees_and_deletes_what_a_child_persisted_now_and_before() -> None:
    class Reader(Scribe):
        def on_timer(self, ctx: Ctx, name: str) -> None:
            self.seen.append(dict(ctx.kept_by("kid")))
            ctx.forget("kid")

    stored = {("kid",): {"old": b"1"}, ("kid", "of"): {"deep": b"2"}, ("kid2",): {"k": b"3"}}
    kid = Scribe((("persist", "new", b"4"),))
    root = Reader((("spawn", "kid", kid), ("set_timer", "look", 1 * MS)))
    n = Node(1, 3, root, coins=lambda path: random.Random(1), stored=stored)
    n.step(Started(), 0)
    assert [e for e in n.step(TimerFired((), "look"), 1 * MS) if isinstance(e, Persist)] == [
        Persist(("kid",), "old", None),
        Persist(("kid",), "new", None),
        Persist(("kid", "of"), "deep", None),
    ]
    assert root.seen[-1] == {"old": b"1", "new": b"4"}
    assert {path: items for path, items in n.stored.items() if items} == {("kid2",): {"k": b"3"}}


# --- what peers' messages make fail -------------------------------------------------------------


class Number(Message, frozen=True):
    value: int


class Child(Machine):
    def __init__(self, value: int) -> None:
        self.value = value

    def start(self, ctx: Ctx) -> None:
        ctx.output(12 // self.value)

    def on_message(self, ctx: Ctx, sender: Party, msg: Number) -> None:
        ctx.output(12 // msg.value)


class Divider(Machine):
    """Divides by what it hears, itself or by a child; fails where that is nothing."""

    def __init__(self) -> None:
        self.results: list[Any] = []

    def on_message(self, ctx: Ctx, sender: Party, msg: Number) -> None:
        ctx.persist("heard", b"1")
        if msg.value < 0:
            ctx.spawn(f"child{msg.value}", Child(msg.value + 7))
        else:
            ctx.output(12 // msg.value)

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        self.results.append([10, 20][value])

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        ctx.spawn("asked", Child(ask))

    def on_timer(self, ctx: Ctx, name: str) -> None:
        raise KeyError(name)


def divider() -> Node:
    return Node(1, 3, Divider(), coins=coins)


def test_what_a_peers_message_makes_fail_is_undone_and_the_node_goes_on() -> None:
    it = divider()
    [blame] = it.step(Delivered(2, frame(Number(0))), 0)
    assert isinstance(blame, Blame)
    assert (blame.party, blame.strength) == (2, Strength.SUSPECT)
    assert re.fullmatch(
        r"its Number made us fail: ZeroDivisionError: .* by zero \(test_node\.py:\d+\)",
        blame.reason,
    )
    assert [(p, type(e)) for p, e in it.contained] == [(2, ZeroDivisionError)]
    assert not it.stored
    assert it.step(Delivered(2, frame(Number(3))), 0)[-1] == Output((), 4)
    assert it.contained == []


@pytest.mark.parametrize("value", [-7, -6, -1], ids=["birth", "output", "later"])
def test_so_is_what_follows_from_it_in_the_same_step(value: int) -> None:
    """A child that cannot start, and a parent that cannot take what its child gave."""
    it = divider()
    effects = it.step(Delivered(3, frame(Number(value))), 0)
    blamed = [e.party for e in effects if isinstance(e, Blame)]
    assert blamed == [3]
    assert it.step(Delivered(2, frame(Number(3))), 0)[-1] == Output((), 4)


def test_frames_kept_for_a_machine_are_their_senders_when_it_is_born() -> None:
    it = divider()
    it.step(Delivered(2, frame(Number(0), ("asked",))), 0)
    effects = it.step(Asked((), 12), 0)
    assert [e.party for e in effects if isinstance(e, Blame)] == [2]


@pytest.mark.parametrize("event", [Asked((), 0), TimerFired((), "t"), Started()])
def test_what_fails_on_our_own_events_is_a_bug(event: Any) -> None:
    it = divider()
    it.timers[(), "t"] = 0
    if isinstance(event, Started):
        it = Node(1, 3, Child(0), coins=coins)
    with pytest.raises((ZeroDivisionError, KeyError)):
        it.step(event, 0)
    assert it.contained == []
