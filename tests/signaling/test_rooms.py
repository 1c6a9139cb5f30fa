"""The server alone: who may join, who reaches whom, and that nobody harms another."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core import MS, SECOND, UsageError
from mpclab.core.effects import Asked, HangUp, SetTimer
from mpclab.core.errors import StateError
from mpclab.core.notes import Closed, Joined, Opened
from mpclab.signaling.messages import (
    MAX_MESSAGE,
    Announce,
    Announced,
    Challenge,
    Envelope,
    Leave,
    PeerJoined,
    PeerLeft,
    Ping,
    Pong,
    Refused,
    Relay,
    Relayed,
    Roster,
    Welcome,
    Who,
)
from mpclab.signaling.rooms import MOST_EACH, PATH, CloseSession
from mpclab.signaling.status import RoomsSettings
from tests.signaling.bench import Server, identity, joining, notes, of, sends

RAW = msgspec.Raw(b'{"type":"anything"}')


def full(settings: RoomsSettings | None = None) -> Server:
    """Parties 1, 2, 3 on connections 11, 12, 13."""
    server = Server(settings)
    for party in (1, 2, 3):
        server.join(10 + party, party)
    return server


def refusal(effects: list) -> Refused:
    [(_, msg)] = [(to, m) for to, m in sends(effects) if isinstance(m, Refused)]
    assert len(of(effects, HangUp)) == 1
    assert isinstance(msg, Refused)
    return msg


# --- joining ------------------------------------------------------------------------------


def test_a_connection_is_challenged_and_has_three_seconds() -> None:
    server = Server()
    effects = server.connect(7)
    [(to, msg)] = sends(effects)
    assert to == (7,)
    assert isinstance(msg, Challenge)
    assert SetTimer(PATH, "join-7", 3 * SECOND, False) in effects
    assert refusal(server.fire("join-7", 3 * SECOND)).reason == "did not join in time"
    assert server.rooms.status().connections == 0


def test_no_two_connections_get_the_same_nonce() -> None:
    server = Server()
    for connection in range(1, 50):
        server.connect(connection)
    assert len(set(server.nonces.values())) == 49


def test_the_first_opens_the_room_and_the_others_see_each_other() -> None:
    server = Server()
    effects = server.join(11, 1)
    assert notes(effects, "opened") == [Opened("s", 3, 2, "unanimous")]
    assert notes(effects, "joined") == [Joined("s", 1, 11)]
    [(to, welcome)] = sends(effects)
    assert to == (11,)
    assert isinstance(welcome, Welcome)
    assert [m.party for m in welcome.members] == [1]
    (_, welcome), (others, joined) = sends(server.join(12, 2))
    assert isinstance(welcome, Welcome)
    assert [m.party for m in welcome.members] == [1, 2]
    assert others == (11,)
    assert isinstance(joined, PeerJoined)
    assert joined.member.key == identity(2).public


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"session": "no spaces"}, "invalid session id"),
        ({"n": 0}, "n = 0"),
        ({"n": 1001}, "n = 1001"),
        ({"t": 0}, "t = 0 of n = 3"),
        ({"t": 4}, "t = 4 of n = 3"),
        ({"party": 4}, "party 4 of n = 3"),
        ({"party": 0}, "party 0 of n = 3"),
        ({"policy": "Whatever!"}, "invalid approval policy"),
        ({"mode": "maybe"}, "invalid mode"),
        ({"incarnation": b"short"}, "invalid key or incarnation"),
        ({"presence": b"c" * 64}, "the signature is wrong"),
        ({"mode": "join"}, "no such session"),
    ],
)
def test_a_join_out_of_order_is_refused_with_a_hint(changes: dict, reason: str) -> None:
    server = Server()
    server.connect(5)
    effects = server.say(5, joining(server.nonces[5], **({"party": 1} | changes)))
    said = refusal(effects)
    assert said.reason == reason
    assert said.hint
    assert said.final
    assert server.rooms.rooms == {}
    assert server.rooms.clients == {}
    assert server.rooms.status().refused == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 4}, "n = 4, but this session has n = 3"),
        ({"t": 1}, "t = 1, but this session has t = 2"),
        ({"policy": "threshold(2)"}, "policy = threshold(2), but this session has policy"),
        ({"agreement": "raft"}, "agreement = raft, but this session has agreement = pbft"),
        ({"party": 1}, "id 1 is taken by another key"),
        ({"mode": "create"}, "the session exists already"),
        ({"key": identity(1)}, "this key sits here as party 1"),
    ],
)
def test_a_join_that_contradicts_the_room_is_refused(changes: dict, reason: str) -> None:
    server = Server()
    server.join(11, 1, agreement="pbft")
    server.connect(12)
    fields = {"party": 2, "key": identity(2), "agreement": "pbft"} | changes
    said = refusal(server.say(12, joining(server.nonces[12], **fields)))
    assert said.reason.startswith(reason)
    assert said.hint
    assert list(server.rooms.rooms["s"].slots) == [1]


def test_a_stranger_learns_no_session_id() -> None:
    server = full()
    for guess in ("t", "nothing-like-it"):
        server.connect(99)
        said = refusal(server.say(99, joining(server.nonces[99], 1, session=guess, mode="join")))
        assert (said.reason, said.hint) == ("no such session", "check its id, or create it")


def test_a_taken_id_names_the_free_ones() -> None:
    server = Server()
    server.join(11, 1)
    server.connect(12)
    said = refusal(server.say(12, joining(server.nonces[12], 1, key=identity(9))))
    assert said.hint == "free: 2, 3"


def test_a_replayed_join_is_refused() -> None:
    """The signature covers the nonce of one connection."""
    server = Server()
    server.connect(1)
    join = joining(server.nonces[1], 1)
    server.say(1, join)
    server.connect(2)
    assert refusal(server.say(2, join)).reason == "the signature is wrong"
    assert server.rooms.rooms["s"].slots[1].connection == 1


def test_a_join_in_anothers_name_is_refused() -> None:
    server = Server()
    server.connect(1)
    forged = joining(server.nonces[1], 1, key=identity(9))
    stolen = msgspec.structs.replace(forged, key=identity(1).public)
    assert refusal(server.say(1, stolen)).reason == "the signature is wrong"


def test_the_same_key_takes_its_seat_over() -> None:
    server = full()
    effects = server.join(21, 1)
    assert HangUp(PATH, 11, reason="the same party joined again") in effects
    assert server.rooms.rooms["s"].slots[1].connection == 21
    assert server.rooms.status().connections == 3
    [(to, relayed)] = sends(server.say(12, Relay((Envelope(1, RAW),))))
    assert to == (21,)
    assert isinstance(relayed, Relayed)


def test_a_full_server_says_so() -> None:
    server = Server(RoomsSettings(max_connections=2))
    server.connect(1)
    server.connect(2)
    said = refusal(server.connect(3))
    assert (said.reason, said.final) == ("the server is full", False)
    server.disconnect(1)
    assert isinstance(sends(server.connect(4))[0][1], Challenge)


def test_a_room_in_use_is_never_closed_for_another() -> None:
    server = Server(RoomsSettings(max_rooms=1))
    server.join(1, 1)
    server.join(2, 2)
    server.connect(3)
    said = refusal(server.say(3, joining(server.nonces[3], 1, session="other")))
    assert said.reason == "the server has no room for another session"
    assert not said.final


def test_the_longest_empty_session_makes_room_for_a_new_one() -> None:
    server = Server(RoomsSettings(max_rooms=3))
    for connection, session in enumerate(("kept", "first", "second"), 1):
        server.join(connection, 1, session=session, key=identity(50 + connection))
    server.now = 1
    server.disconnect(2)
    server.now = 2
    server.disconnect(3)
    server.join(4, 1, session="new", key=identity(54))
    assert list(server.rooms.rooms) == ["kept", "second", "new"]


@pytest.mark.parametrize("by", ["address", "key"])
def test_one_address_or_key_holds_a_quarter_of_the_rooms_at_the_most(by: str) -> None:
    """What it opens beyond that costs it its own loneliest room, and nobody else anything."""
    server = Server(RoomsSettings(max_rooms=8))
    server.join(1, 1, session="honest", key=identity(1), origin="192.0.2.1")
    for k in range(6):
        key = identity(100) if by == "key" else identity(100 + k)
        origin = "192.0.2.9" if by == "address" else f"192.0.2.{10 + k}"
        server.join(10 + k, 1, session=f"mine-{k}", key=key, origin=origin)
    assert list(server.rooms.rooms) == ["honest", "mine-4", "mine-5"]
    server.join(30, 1, session="newcomer", key=identity(2), origin="192.0.2.2")
    assert "newcomer" in server.rooms.rooms


def test_what_reaches_many_counts_as_many_messages() -> None:
    for msg in (Announce(RAW), Who()):
        server = Server(RoomsSettings(rate=10, burst=20))
        for party in range(1, 65):
            server.join(party, party, n=64, t=2)
        answered = sum(bool(sends(server.say(1, msg))) for _ in range(20))
        assert answered == 4  # each counts for 1 + 64 / 16 = 5 of the 20


# --- over a restart -----------------------------------------------------------------------


def restarted(server: Server) -> Server:
    """Another server, from what that one persisted."""
    return Server(server.rooms.settings, server.node.stored)


def test_rooms_and_members_are_taken_up_after_a_restart() -> None:
    server = Server(RoomsSettings(keep=True))
    for party in (1, 2):
        server.join(10 + party, party)
    server.join(13, 3)
    server.say(13, Leave())
    server.join(20, 1, session="gone", key=identity(7))
    server.say(20, Leave())
    server.join(21, 1, session="other", key=identity(8), epoch=7)
    again = restarted(server)
    assert list(again.rooms.rooms) == ["other", "s"]
    assert again.rooms.rooms["other"].slots[1].member.epoch == 7
    again.connect(1)
    said = refusal(again.say(1, joining(again.nonces[1], 1, n=7)))
    assert said.reason == "n = 7, but this session has n = 3"
    again.connect(2)
    said = refusal(again.say(2, joining(again.nonces[2], 2, key=identity(9))))
    assert (said.reason, said.hint) == ("id 2 is taken by another key", "free: 3")
    again.join(3, 2)
    assert again.rooms.rooms["s"].slots[2].connection == 3
    assert again.rooms.rooms["s"].revision > server.rooms.rooms["s"].revision
    again.now = 700 * SECOND
    again.fire("ping", again.now)
    assert list(restarted(again).rooms.rooms) == ["s"]  # nobody came back to the other


def test_without_being_asked_nothing_is_kept() -> None:
    server = Server()
    server.join(1, 1)
    assert server.node.stored == {}


@pytest.mark.parametrize("record", [b"{}", b"\xff", b'{"n":-1,"t":1,"policy":"x","revision":0}'])
def test_a_damaged_record_is_named(record: bytes) -> None:
    server = Server(RoomsSettings(keep=True))
    server.join(1, 1)
    server.node.stored[PATH]["room/s"] = record
    with pytest.raises(StateError, match="damaged record 'room/s'"):
        restarted(server)


# --- without a step -----------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.integers(11, 14),
            st.lists(st.integers(0, 4), max_size=10),
            st.sampled_from([b'"x"', b"{}", b"[[1]]", b"nul", b'"\xff"', b"[" * 3000, b""]),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_what_is_passed_on_without_a_step_is_what_a_step_sends(said: list[Any]) -> None:
    """Where it says None, nothing was spent and the step decides."""
    settings = RoomsSettings(rate=1, burst=20)
    quick, slow = full(settings), full(settings)
    for number, (sender, to, payload, to_all) in enumerate(said):
        envelopes = b",".join(
            b'{"type":"Envelope","to":%d,"payload":%b}' % (party, payload) for party in to
        )
        msg = b'{"type":"Relay","envelopes":[%b]}' % envelopes
        if to_all:
            msg = b'{"type":"Announce","payload":%b}' % payload
        passed = quick.rooms.pass_on(sender, b'{"id":%d,"msg":%b}' % (number, msg), quick.now)
        if passed is None:
            assert sends(quick.bytes(sender, msg)) == sends(slow.bytes(sender, msg))
            continue
        stepped = [
            (tuple(connections), msgspec.json.encode(message))
            for connections, message in sends(slow.bytes(sender, msg))
        ]
        assert passed == stepped
    assert quick.rooms.status() == slow.rooms.status()


# --- relay --------------------------------------------------------------------------------


def test_the_server_stamps_the_sender() -> None:
    server = full()
    effects = server.say(12, Relay((Envelope(1, RAW), Envelope(3, RAW))))
    assert sends(effects) == [((11,), Relayed(2, RAW)), ((13,), Relayed(2, RAW))]
    assert sends(server.say(12, Announce(RAW))) == [((11, 13), Announced(2, RAW))]
    assert server.rooms.status().relayed == 4


def test_only_members_of_a_room_reach_each_other() -> None:
    server = full()
    server.connect(21)
    server.say(21, joining(server.nonces[21], 1, session="other", key=identity(9)))
    assert sends(server.say(21, Relay((Envelope(2, RAW),)))) == []
    assert sends(server.say(21, Announce(RAW))) == []


def test_a_letter_to_nobody_of_the_session_costs_the_connection() -> None:
    server = full()
    assert (
        refusal(server.say(11, Relay((Envelope(4, RAW),)))).reason
        == "envelope to an unknown party; this session has 1..3"
    )


def test_a_letter_to_one_who_is_away_is_dropped() -> None:
    server = full()
    server.disconnect(12)
    assert sends(server.say(11, Relay((Envelope(2, RAW), Envelope(3, RAW))))) == [
        ((13,), Relayed(1, RAW))
    ]


def test_who_is_answered_with_the_roster() -> None:
    server = full()
    server.disconnect(12)
    [(_, roster)] = sends(server.say(11, Who()))
    assert isinstance(roster, Roster)
    assert [(m.party, m.online) for m in roster.members] == [(1, True), (2, False), (3, True)]


# --- presence -----------------------------------------------------------------------------


def test_a_lost_connection_leaves_the_seat_idle_and_a_leave_frees_it() -> None:
    server = full()
    [(to, left)] = sends(server.disconnect(12))
    assert (to, left) == ((11, 13), PeerLeft(2, "connection lost", False, 4))
    effects = server.say(13, Leave())
    assert sends(effects) == [((11,), PeerLeft(3, "left", True, 5))]
    assert HangUp(PATH, 13, reason="left") in effects
    [session] = server.rooms.status().sessions
    assert [(m.party, m.state) for m in session.members] == [(1, "online"), (2, "idle")]


def test_a_vanished_partys_slot_is_kept_for_as_long_as_it_was_there() -> None:
    for there, kept in ((1, 10), (60, 60), (5000, 600)):
        server = Server()
        server.join(1, 1)
        server.join(2, 2)
        server.now = there * SECOND
        server.disconnect(2)
        server.now += kept * SECOND - 1
        server.connect(3)
        said = refusal(server.say(3, joining(server.nonces[3], 2, key=identity(9))))
        assert said.reason == "id 2 is taken by another key"
        server.now += 1
        server.join(4, 2, key=identity(9))
        assert server.rooms.rooms["s"].slots[2].connection == 4


def test_slots_that_are_over_are_swept_and_told() -> None:
    server = full()
    server.now = 20 * SECOND
    server.disconnect(12)
    for at, over in ((34, False), (44, True)):
        for connection in (11, 13):
            server.now = at * SECOND
            server.say(connection, Pong())
        told = sends(server.fire("ping", at * SECOND))
        assert (((11, 13), PeerLeft(2, "did not come back", True, 5)) in told) is over


def test_an_empty_room_keeps_its_shape_no_longer_than_its_slots() -> None:
    server = Server()
    server.join(1, 1)
    assert notes(server.say(1, Leave()), "closed") == [Closed("s")]  # left properly: gone at once
    server.join(2, 1, n=7)
    server.disconnect(2)
    server.connect(3)
    said = refusal(server.say(3, joining(server.nonces[3], 1)))
    assert said.reason == "n = 3, but this session has n = 7"
    server.now = 10 * SECOND
    server.join(4, 1)
    assert server.rooms.rooms["s"].n == 3


def test_who_does_not_answer_pings_is_idle() -> None:
    server = full()
    effects = server.fire("ping", 10 * SECOND)
    assert sends(effects) == [((11, 12, 13), Ping(3))]
    server.say(11, Pong())
    server.say(12, Pong())
    effects = server.fire("ping", 20 * SECOND)
    assert refusal(effects).reason == "no answer to pings"
    assert ((11, 12), PeerLeft(3, "no answer to pings", False, 4)) in sends(effects)


def test_a_closed_session_is_told_to_its_members() -> None:
    server = full()
    effects = server.node.step(Asked(PATH, CloseSession("s")), 1)
    assert {e.peer for e in of(effects, HangUp)} == {11, 12, 13}
    assert server.rooms.rooms == {}
    with pytest.raises(UsageError, match="no session 's'"):
        server.node.step(Asked(PATH, CloseSession("s")), 2)


# --- bad clients --------------------------------------------------------------------------


def test_whatever_is_out_of_order_costs_only_its_sender() -> None:
    for msg in (Relay((Envelope(1, RAW),)), Announce(RAW), Who(), Leave(), Pong()):
        server = full()
        server.connect(99)
        said = refusal(server.say(99, msg))
        assert said.reason == f"{type(msg).__name__} out of order"
        assert server.rooms.status().connections == 3
    server = full()
    assert refusal(server.say(11, joining(b"", 1))).reason == "Join out of order"


@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["type", "envelopes", "to", "payload", "x"]), inner
                )
            ),
            max_leaves=12,
        ).map(lambda value: msgspec.json.encode(value)),
        st.sampled_from(["Join", "Relay", "Announce", "Leave"]).map(
            lambda name: b'{"type":"%s","payload":' % name.encode() + b"[" * 30_000
        ),
    )
)
def test_garbage_costs_its_sender_the_connection_and_others_nothing(data: bytes) -> None:
    server = full()
    before = server.rooms.status().sessions
    server.connect(99)
    effects = server.bytes(99, data)
    assert refusal(effects)
    assert all(to == (99,) for to, _ in sends(effects))
    assert server.rooms.status().sessions == before
    assert sends(server.say(11, Relay((Envelope(2, RAW),)))) == [((12,), Relayed(1, RAW))]


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"Announce","payload":"\xff\xfe"}',
        b'{"type":"Relay","envelopes":[{"type":"Envelope","to":2,"payload":{"\xc0":1}}]}',
    ],
)
def test_a_payload_that_is_no_text_is_not_passed_on(data: bytes) -> None:
    """A WebSocket fails on a text message that is not UTF-8 (RFC 6455 §8.1): the reader's."""
    server = full()
    effects = server.bytes(11, data)
    assert "not a signaling message" in refusal(effects).reason
    assert not [m for _, m in sends(effects) if isinstance(m, Relayed | Announced)]


def test_one_message_does_not_become_a_thousand_for_one_reader() -> None:
    server = full()
    assert len(sends(server.say(11, Relay((Envelope(2, RAW),) * MOST_EACH)))) == MOST_EACH
    said = refusal(server.say(11, Relay((Envelope(2, RAW), Envelope(3, RAW)) * (MOST_EACH + 1))))
    assert said.reason == "more than 8 envelopes for one party"
    assert server.rooms.rooms["s"].slots[2].connection == 12


def test_an_oversized_message_is_refused() -> None:
    server = full()
    said = refusal(server.bytes(11, b" " * (MAX_MESSAGE + 1)))
    assert f"{MAX_MESSAGE} is the most" in said.reason
    assert server.rooms.status().connections == 2


def test_a_flood_is_slowed_to_its_rate_and_then_dropped() -> None:
    settings = RoomsSettings(rate=50, burst=10, backlog=5)
    server = full(settings)
    passed = [len(sends(server.say(11, Relay((Envelope(2, RAW),))))) for _ in range(15)]
    assert passed == [1] * 10 + [0] * 5
    # The others are not slowed.
    assert len(sends(server.say(12, Relay((Envelope(3, RAW),))))) == 1
    # One message's credit comes back every 20 ms, and the backlog keeps its order.
    drained = 0
    for tick in range(1, 6):
        drained += len(sends(server.fire("drain-11", tick * 20 * MS)))
    assert drained == 5
    for _ in range(5):
        assert not of(server.say(11, Relay((Envelope(2, RAW),))), HangUp)
    said = refusal(server.say(11, Relay((Envelope(2, RAW),))))
    assert (said.reason, said.hint) == ("too many messages", "send at most 50 a second")


def test_no_message_overtakes_one_that_waits() -> None:
    server = full(RoomsSettings(rate=50, burst=1))
    first, second = (msgspec.Raw(b'{"n":%d}' % n) for n in (1, 2))
    server.say(11, Relay((Envelope(2, RAW),)))
    server.say(11, Relay((Envelope(2, first),)))
    server.now = 20 * MS  # there is credit again, and the timer is yet to fire
    assert not sends(server.say(11, Relay((Envelope(2, second),))))
    [(_, relayed)] = sends(server.fire("drain-11", 20 * MS))
    assert relayed == Relayed(1, first)


def test_who_connects_anew_brings_no_new_credit() -> None:
    server = full(RoomsSettings(rate=50, burst=10))
    passed = [len(sends(server.say(11, Relay((Envelope(2, RAW),))))) for _ in range(12)]
    assert passed == [1] * 10 + [0] * 2
    server.join(21, 1)
    assert not sends(server.say(21, Relay((Envelope(2, RAW),))))
    assert len(sends(server.fire("drain-21", 20 * MS))) == 1


def test_messages_of_a_connection_that_was_closed_are_ignored() -> None:
    server = full()
    server.bytes(11, b"garbage")
    assert server.say(11, Relay((Envelope(2, RAW),))) == []
    assert server.disconnect(11) == []


def test_status_holds_no_secret_and_the_log_is_bounded() -> None:
    server = Server(RoomsSettings(log_lines=3))
    for connection in range(1, 8):
        server.join(connection, 1)
    status = server.rooms.status()
    assert len(status.log) == 3
    assert msgspec.json.decode(msgspec.json.encode(status))["connections"] == 1


def test_a_slot_that_is_kept_for_a_party_that_is_gone_may_be_asked_for_again() -> None:
    """The same command once more, after a kill: its slot is free in a while."""
    server = full()
    server.connect(3)
    there = refusal(server.say(3, joining(server.nonces[3], 2, key=identity(9))))
    assert there.final, "its party is here"
    server.disconnect(12)
    server.connect(4)
    away = refusal(server.say(4, joining(server.nonces[4], 2, key=identity(9))))
    assert (away.reason, away.final) == (there.reason, False)
    server.connect(5)
    assert refusal(server.say(5, joining(server.nonces[5], 2, n=7, key=identity(9)))).final
