"""A party's side of signaling alone: it proves itself, comes back, and believes no stranger."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core import MS, SECOND, Frame, Node, UsageError
from mpclab.core.effects import (
    Asked,
    Blame,
    Connect,
    Delivered,
    Effect,
    HangUp,
    LinkClosed,
    LinkOpened,
    Output,
    Persist,
    SetTimer,
    Started,
    TimerFired,
)
from mpclab.core.wire import Message
from mpclab.crypto import verify
from mpclab.signaling.client import Client
from mpclab.signaling.events import (
    Absent,
    Arrived,
    GoOffline,
    GoOnline,
    Heard,
    KnowServer,
    Membership,
    Offline,
    Online,
    Present,
    Rejected,
    RelayRequest,
    Say,
)
from mpclab.signaling.messages import (
    JOIN_LABEL,
    MAX_TEXT,
    PRESENCE_LABEL,
    TEXT_LABEL,
    Announce,
    Announced,
    Challenge,
    Envelope,
    Join,
    Leave,
    Member,
    PeerJoined,
    PeerLeft,
    Ping,
    Pong,
    Refused,
    Relay,
    Relayed,
    Roster,
    Rows,
    Sealed,
    Text,
    Welcome,
    Who,
    encode_payload,
    join_parts,
    presence_parts,
    text_parts,
)
from tests.signaling.bench import identity, of, sends

PATH = ("signaling",)
NONCE = b"server's nonce.."
LIVES = {p: bytes([p]) * 16 for p in range(1, 5)}


def member(party: int, *, key: int | None = None, online: bool = True) -> Member:
    who = identity(key or party)
    presence = who.sign(PRESENCE_LABEL, *presence_parts("s", party, LIVES[party], 1))
    return Member(party, who.public, LIVES[party], 1, presence, online)


class Desk:
    """The client of party 1 of 3 alone; the test is the server."""

    def __init__(self, roster: dict[int, bytes] | None = None, stored: Any = None) -> None:
        membership = Membership("s", 1, 3, 2, "unanimous", identity(1), LIVES[1], 1)
        self.client = Client(membership, roster)
        self.node = Node(
            1, 3, self.client, at=PATH, coins=lambda _: random.Random(1), stored=stored
        )
        self.now = 0
        self.node.step(Started(), 0)

    def ask(self, ask: Any) -> list[Effect]:
        return self.node.step(Asked(PATH, ask), self.now)

    def get(self, msg: Message) -> list[Effect]:
        frame = Frame(1, PATH, body=msgspec.json.encode(msg), codec="json")
        return self.node.step(Delivered(0, frame), self.now)

    def host(self, event: Any) -> list[Effect]:
        return self.node.step(event, self.now)

    def fire(self, name: str, now: int | None = None) -> list[Effect]:
        self.now = self.node.timers[PATH, name] if now is None else now
        return self.node.step(TimerFired(PATH, name), self.now)

    def join(self, *members: Member) -> list[Effect]:
        self.ask(GoOnline())
        self.host(LinkOpened(PATH, 0))
        self.get(Challenge(NONCE))
        return self.get(Welcome("s", 1, (member(1), *members), 1, self.now + 500))


def reports(effects: list[Effect]) -> list[Any]:
    return [e.value for e in of(effects, Output)]


def lines(effects: list[Effect]) -> list[Any]:
    return [msg for _, msg in sends(effects)]


def by(party: int, payload: Message) -> Relayed:
    return Relayed(party, msgspec.Raw(encode_payload(payload)))


def text(number: int = 1, *, to: int = 1, sender: int = 2, signer: int | None = None) -> Text:
    unsigned = Text(to, number, "hello", b"")
    parts = text_parts("s", sender, LIVES[sender], unsigned)
    return Text(to, number, "hello", identity(signer or sender).sign(TEXT_LABEL, *parts))


# --- joining ------------------------------------------------------------------------------


def test_it_connects_when_asked_and_signs_the_challenge() -> None:
    desk = Desk()
    assert of(desk.ask(GoOnline()), Connect) == [Connect(PATH)]
    assert desk.host(LinkOpened(PATH, 0)) == []
    [join] = lines(desk.get(Challenge(NONCE)))
    assert isinstance(join, Join)
    assert (join.session, join.party, join.n, join.t, join.policy) == ("s", 1, 3, 2, "unanimous")
    unsigned = msgspec.structs.replace(join, signature=b"")
    assert verify(identity(1).public, JOIN_LABEL, join_parts(NONCE, unsigned), join.signature)


def test_a_welcome_tells_who_is_here() -> None:
    effects = Desk().join(member(2), member(3, online=False))
    assert reports(effects) == [Online(False, 500), Present(member(2))]
    assert of(effects, Persist) == [Persist(PATH, "pin-2", identity(2).public)]
    assert reports(Desk().join()) == [Online(True, 500)]


@pytest.mark.parametrize(("session", "party"), [("other", 1), ("s", 2)])
def test_a_welcome_to_another_seat_is_blamed_on_the_server(session: str, party: int) -> None:
    desk = Desk()
    desk.ask(GoOnline())
    desk.host(LinkOpened(PATH, 0))
    desk.get(Challenge(NONCE))
    effects = desk.get(Welcome(session, party, (member(1),), 1, 0))
    assert [b.party for b in of(effects, Blame)] == [0]
    assert (reports(effects), desk.client.state) == ([], "challenged")


def test_a_refusal_is_final_and_names_the_hint() -> None:
    desk = Desk()
    desk.ask(GoOnline())
    desk.get(Challenge(NONCE))
    effects = desk.get(Refused("id 1 is taken by another key", "free: 3"))
    assert reports(effects) == [Rejected("id 1 is taken by another key", "free: 3")]
    assert not of(effects, SetTimer)
    assert desk.node.timers == {}
    desk.host(LinkClosed(PATH, 0))
    assert desk.node.timers == {}
    assert of(desk.ask(GoOnline()), Connect)  # our user may try again


def test_a_server_of_another_version_is_refused_and_says_why() -> None:
    desk = Desk()
    desk.ask(GoOnline())
    [rejected] = reports(desk.get(Challenge(NONCE, version=99)))
    assert "version 99" in rejected.hint


def test_a_refusal_that_is_not_final_is_tried_again() -> None:
    desk = Desk()
    desk.ask(GoOnline())
    effects = desk.get(Refused("the server is full", "try again later", final=False))
    assert reports(effects) == []
    assert of(desk.fire("again"), Connect)


def test_who_was_in_before_is_refused_for_a_while_only() -> None:
    """After the server's restart a stranger may hold the room with another shape, or our slot."""
    desk = Desk()
    desk.join(member(2))
    desk.host(LinkClosed(PATH, 0))
    desk.fire("again")
    desk.get(Challenge(NONCE))
    effects = desk.get(Refused("n = 3, but this session has n = 7", "use 7"))
    assert reports(effects) == []
    assert of(effects, HangUp)
    desk.fire("again")
    desk.get(Challenge(NONCE))
    [online, *_] = reports(desk.get(Welcome("s", 1, (member(1),), 1, 0)))
    assert isinstance(online, Online)
    # One that comes in the midst of it is meant for us: another copy of us has joined.
    [rejected, *_] = reports(desk.get(Refused("the same party joined again")))
    assert isinstance(rejected, Rejected)


def test_servers_that_members_tell_of_are_tried_while_ours_is_gone() -> None:
    desk = Desk()
    desk.join(member(2))
    assert not of(desk.ask(KnowServer("ws://there:1", 2)), Connect)  # we have one
    desk.host(LinkClosed(PATH, 0))
    tried = []
    for _ in range(4):
        tried += [effect.url for effect in of(desk.fire("again"), Connect)]
        desk.host(LinkClosed(PATH, 0))
    assert tried == ["ws://there:1", "", "ws://there:1", ""]
    at_once = of(desk.ask(KnowServer("ws://elsewhere:2", 3)), Connect)
    assert [effect.url for effect in at_once] == ["ws://elsewhere:2"]


# --- coming back --------------------------------------------------------------------------


def test_backoff_grows_with_the_outage_up_to_a_bound_and_ends_in_the_background() -> None:
    desk = Desk()
    desk.ask(GoOnline())
    waits, bounds, background = [], [], []
    first = desk.now
    for k in range(40):
        before = desk.now
        part = max(SECOND, (before - first) // 4)
        bounds.append(min(250 * MS << k, part, 10 * SECOND))
        [timer] = of(desk.host(LinkClosed(PATH, 0, 0, "refused")), SetTimer)
        waits.append(timer.at - before)
        background.append(timer.background)
        desk.fire("again")
    assert max(bounds) == 10 * SECOND
    assert all(b // 2 <= wait <= b for wait, b in zip(waits, bounds, strict=True))
    assert len({wait * 1000 // b for wait, b in zip(waits, bounds, strict=True)}) > 6  # jitter
    assert background == [False] * 16 + [True] * 24


def test_a_lost_connection_is_told_and_resumed_and_joining_resets_the_backoff() -> None:
    desk = Desk()
    desk.join(member(2))
    effects = desk.host(LinkClosed(PATH, 0, 0, "gone"))
    assert reports(effects) == [Offline("gone"), Absent(2, "the signaling server is gone")]
    assert of(desk.fire("again"), Connect)
    desk.get(Challenge(NONCE))
    effects = desk.get(Welcome("s", 1, (member(1), member(2)), 1, 0))
    assert Present(member(2)) in reports(effects)
    [timer] = of(desk.host(LinkClosed(PATH, 0)), SetTimer)
    assert timer.at - desk.now <= 250 * MS


def test_a_server_that_does_not_answer_is_given_up() -> None:
    desk = Desk()
    desk.ask(GoOnline())
    desk.host(LinkOpened(PATH, 0))
    effects = desk.fire("answer")
    assert of(effects, HangUp)
    assert of(desk.fire("again"), Connect)


def test_a_server_that_pings_often_is_missed_soon() -> None:
    desk = Desk()
    desk.ask(GoOnline())
    desk.get(Challenge(NONCE))
    desk.get(Welcome("s", 1, (member(1),), 1, 0, 2 * SECOND))
    effects = desk.fire("silence", 5 * SECOND)
    assert reports(effects) == [Offline("the server went silent")]


def test_a_silence_while_we_were_stopped_ourselves_is_forgiven_once() -> None:
    desk = Desk()
    desk.join()
    assert reports(desk.fire("silence", 60 * SECOND)) == []
    assert reports(desk.fire("silence", 61 * SECOND)) == [Offline("the server went silent")]


def test_a_server_that_falls_silent_is_given_up_and_a_pinging_one_is_not() -> None:
    desk = Desk()
    desk.join()
    desk.now = 20 * SECOND
    assert lines(desk.get(Ping(1))) == [Pong()]
    assert not of(desk.fire("silence"), HangUp)
    assert desk.client.state == "joined"
    effects = desk.fire("silence", 45 * SECOND)
    assert of(effects, HangUp)
    assert reports(effects) == [Offline("the server went silent")]


def test_leaving_gives_the_seat_up_and_stops_everything() -> None:
    desk = Desk()
    desk.join(member(2))
    effects = desk.ask(GoOffline())
    assert lines(effects) == [Leave()]
    assert of(effects, HangUp)
    assert reports(effects) == [Absent(2, "we left the session")]
    assert desk.node.timers == {}
    assert desk.get(PeerJoined(member(3), 2)) == []


# --- presence -----------------------------------------------------------------------------


def test_presence_follows_the_server() -> None:
    desk = Desk()
    desk.join()
    assert reports(desk.get(PeerJoined(member(2), 2))) == [Present(member(2))]
    assert reports(desk.get(PeerLeft(2, "connection lost", False, 3))) == [
        Absent(2, "connection lost")
    ]
    assert reports(desk.get(PeerLeft(2, "again", False, 4))) == []


def test_lost_news_are_asked_for() -> None:
    desk = Desk()
    desk.join(member(2))
    assert lines(desk.get(PeerJoined(member(3), 5))) == [Who()]
    assert lines(desk.get(Ping(9))) == [Pong()]  # asked already
    effects = desk.get(Roster((member(1), member(3)), 9))
    assert reports(effects) == [Absent(2, "not in the session any more")]
    assert lines(desk.get(Ping(9))) == [Pong()]
    assert lines(desk.get(Ping(10))) == [Pong(), Who()]


@pytest.mark.parametrize(
    "wrong",
    [
        member(2, key=4),
        msgspec.structs.replace(member(2), presence=b"c" * 64),
        msgspec.structs.replace(member(2), incarnation=LIVES[3]),
        msgspec.structs.replace(member(2), epoch=2),
        msgspec.structs.replace(member(2), incarnation=b""),
        msgspec.structs.replace(member(2), key=b""),
    ],
    ids=["key", "presence", "incarnation", "epoch", "no incarnation", "no key"],
)
def test_a_stranger_in_a_known_seat_is_blamed_and_ignored(wrong: Member) -> None:
    for desk in (Desk(), Desk({p: identity(p).public for p in (1, 2, 3)})):
        desk.join(member(2))
        desk.get(PeerLeft(2, "left", True, 2))
        effects = desk.get(PeerJoined(wrong, 3))
        assert [(b.party, str(b.strength)) for b in of(effects, Blame)] == [(2, "suspect")]
        assert reports(effects) == []
        assert 2 not in desk.client.present


def test_our_own_key_in_another_seat_is_blamed_and_ignored() -> None:
    """A presence of a time when we sat there; with ourselves we cannot even share a channel."""
    desk = Desk()
    effects = desk.join(member(2, key=1))
    assert [(b.party, str(b.strength)) for b in of(effects, Blame)] == [(2, "suspect")]
    assert desk.client.present == {}


def test_pins_survive_a_restart_and_first_use_needs_no_roster() -> None:
    desk = Desk()
    desk.join(member(2))
    again = Desk(stored=desk.node.stored)
    assert of(again.join(member(2, key=4)), Blame)
    with_roster = Desk({1: identity(1).public, 2: identity(2).public, 3: identity(3).public})
    assert of(with_roster.join(member(2)), Persist), "a later life knows the key without it"


# --- payloads -----------------------------------------------------------------------------


def test_payloads_go_up_and_down() -> None:
    desk = Desk()
    desk.join(member(2))
    box = Sealed(b"l" * 8, b"box")
    assert reports(desk.get(by(2, box))) == [Arrived(2, box)]
    [relay] = lines(desk.ask(RelayRequest(((2, encode_payload(box)),))))
    assert relay == Relay((Envelope(2, msgspec.Raw(encode_payload(box))),))
    desk.host(LinkClosed(PATH, 0))
    assert desk.ask(RelayRequest(((2, encode_payload(box)),))) == []


def test_thousands_of_rows_keep_no_payload_waiting() -> None:
    desk = Desk()
    desk.ask(GoOnline())
    desk.host(LinkOpened(PATH, 0))
    desk.get(Challenge(NONCE))
    desk.get(Welcome("s", 1, (member(1), member(2)), 1, 0, rate=50, burst=2))
    rows = [Rows(1, n, 1, 0, b"{}\n", b"") for n in range(1_000)]
    said = [line for one in rows for line in lines(desk.ask(one))]
    assert lines(desk.ask(RelayRequest(((2, encode_payload(Sealed(b"l" * 8, b"box"))),)))) == []
    [relay] = lines(desk.fire("pace"))
    assert isinstance(relay, Relay)
    said += lines(desk.fire("pace"))
    assert said == rows[:2]
    desk.host(LinkClosed(PATH, 0))
    assert (PATH, "pace") not in desk.node.timers


def test_a_payload_of_one_we_do_not_know_makes_us_ask() -> None:
    desk = Desk()
    desk.join()
    effects = desk.get(by(2, Sealed(b"l" * 8, b"box")))
    assert (reports(effects), lines(effects)) == ([], [Who()])


def test_texts_are_signed_and_checked() -> None:
    desk = Desk()
    desk.join(member(2))
    [relay] = lines(desk.ask(Say(2, "hello")))
    assert isinstance(relay, Relay)
    [announce] = lines(desk.ask(Say(0, "all")))
    assert isinstance(announce, Announce)
    assert reports(desk.get(by(2, text(1)))) == [Heard(2, "hello", False)]
    all_ = Announced(2, msgspec.Raw(encode_payload(text(2, to=0))))
    assert reports(desk.get(all_)) == [Heard(2, "hello", True)]


@pytest.mark.parametrize(
    ("payload", "blamed"),
    [
        (text(9, signer=4), 2),
        (text(9, to=3), 2),
        (text(9, to=0), 2),
        (text(1), 0),
        (msgspec.structs.replace(text(9), text="other"), 2),
    ],
    ids=["forged", "to another", "to all", "replayed", "changed"],
)
def test_other_texts_are_blamed(payload: Text, blamed: int) -> None:
    desk = Desk()
    desk.join(member(2))
    desk.get(by(2, text(1)))
    effects = desk.get(by(2, payload))
    assert [(b.party, str(b.strength)) for b in of(effects, Blame)] == [(blamed, "suspect")]
    assert reports(effects) == []


def test_a_text_that_cannot_be_sent_is_the_users_error() -> None:
    desk = Desk()
    with pytest.raises(UsageError, match="not in a session"):
        desk.ask(Say(0, "hello"))
    desk.join(member(2))
    for say, why in (
        (Say(3, "x"), "party 3 is not"),
        (Say(0, ""), "bytes"),
        (Say(0, "x" * (MAX_TEXT + 1)), "bytes"),
    ):
        with pytest.raises(UsageError, match=why):
            desk.ask(say)


# --- a hostile server ---------------------------------------------------------------------


@given(st.binary(max_size=80))
def test_no_payload_of_a_peer_stops_us(data: bytes) -> None:
    desk = Desk()
    desk.join(member(2))
    raw = msgspec.json.encode(data)  # some valid JSON
    for payload in (
        raw,
        b'{"type":"Sealed","incarnations":' + raw + b',"box":""}',
        b"[" * 50 + b"]" * 50,
    ):
        effects = desk.get(Relayed(2, msgspec.Raw(payload)))
        assert all(b.strength == "suspect" for b in of(effects, Blame))
    assert desk.client.state == "joined"


def messages_of_a_server() -> st.SearchStrategy[Message]:
    party, number = st.integers(-1, 5), st.integers(-5, 5)
    memberships = st.builds(member, st.integers(1, 4), key=st.integers(1, 4), online=st.booleans())
    odd = st.builds(Member, party, st.binary(max_size=33), st.binary(max_size=17), number,
                    st.binary(max_size=65))  # fmt: skip
    members = st.lists(memberships | odd, max_size=4).map(tuple)
    raw = st.sampled_from([msgspec.Raw(b"{}"), msgspec.Raw(encode_payload(text(1)))])
    return st.one_of(
        st.builds(Challenge, st.binary(min_size=15, max_size=16)),
        st.builds(Welcome, st.sampled_from(["s", "t"]), party, members, number, number),
        st.builds(Refused, st.text(max_size=5), st.text(max_size=5), st.booleans()),
        st.builds(Roster, members, number),
        st.builds(PeerJoined, memberships | odd, number),
        st.builds(PeerLeft, party, st.text(max_size=5), st.booleans(), number),
        st.builds(Relayed, party, raw),
        st.builds(Announced, party, raw),
        st.builds(Ping, number),
    )


@given(
    st.lists(
        messages_of_a_server()
        | st.sampled_from(["open", "close", "online", "offline", "again", "answer", "silence"]),
        max_size=25,
    )
)
def test_a_server_may_say_anything_in_any_order(story: list[Any]) -> None:
    """Nothing raises, no stranger is present, and no timer is left once we are off."""
    desk = Desk({p: identity(p).public for p in (1, 2, 3)})
    for step, event in enumerate(story):
        desk.now = step * SECOND
        match event:
            case "open":
                desk.host(LinkOpened(PATH, 0))
            case "close":
                desk.host(LinkClosed(PATH, 0, 0, "closed"))
            case "online":
                desk.ask(GoOnline())
            case "offline":
                desk.ask(GoOffline())
            case str(name):
                if (PATH, name) in desk.node.timers:
                    desk.fire(name, max(desk.now, desk.node.timers[PATH, name]))
            case msg:
                desk.get(msg)
        for party, seen in desk.client.present.items():
            assert seen.key == identity(party).public
    desk.ask(GoOffline())
    assert desk.node.timers == {}
    assert desk.client.present == {}
