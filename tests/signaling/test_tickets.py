"""Rooms by invitation and closed ones, and what an attacker tries at their doors."""

import base64
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core import SECOND, UsageError
from mpclab.core.effects import Asked, HangUp
from mpclab.signaling.messages import PeerLeft, Refused, Welcome
from mpclab.signaling.rooms import PATH, CloseSession, FreeSeat
from mpclab.signaling.status import RoomsSettings
from mpclab.signaling.tickets import (
    TICKET_LABEL,
    Door,
    Entry,
    Spent,
    Ticket,
    closed_session,
    issue,
    open_ticket,
    owned_session,
)
from tests.signaling.bench import Server, identity, joining, sends
from tests.signaling.test_rooms import refusal

OWNER, OPERATOR, STRANGER = identity(1), identity(90), identity(66)
NOW = 1_800_000_000
SETTINGS = RoomsSettings(unix=NOW * SECOND, operators=(OPERATOR.public,))


def ticket(issuer: Any = OWNER, session: str = "s", **fields: Any) -> str:
    given = {"expires": NOW + 60, "coins": random.Random(7)} | fields
    return issue(issuer, session, **given)


def forged(text: str, **changes: Any) -> str:
    """The same ticket with other words, and the signature that it had."""
    changed = msgspec.structs.replace(open_ticket(text), **changes)
    return _as_text(changed)


def _as_text(ticket: Ticket) -> str:
    return "mpclab-ticket-1." + base64.urlsafe_b64encode(
        msgspec.msgpack.encode(ticket)
    ).decode().rstrip("=")


def invited(settings: RoomsSettings = SETTINGS, session: str = "s") -> Server:
    """A room of 3 by invitation, opened by its owner, party 1, on connection 11."""
    server = Server(settings)
    effects = server.join(11, 1, session=session, access="invited")
    assert isinstance(sends(effects)[0][1], Welcome)
    return server


def came_in(effects: list) -> bool:
    return any(isinstance(msg, Welcome) for _, msg in sends(effects))


# --- who gets in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"party": 2},
        {"key": identity(2).public},
        {"party": 2, "key": identity(2).public},
        {"issuer": OPERATOR},
        {"issuer": OPERATOR, "session": "", "key": identity(2).public},
    ],
)
def test_a_ticket_opens_the_door(fields: dict) -> None:
    assert came_in(invited().join(12, 2, ticket=ticket(**fields)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "this session is by invitation"),
        ("mpclab-ticket-1.AAAA", "malformed ticket"),
        ("mpclab-ticket-1." + "A" * 2000, "malformed ticket"),
        ("mpclab-ticket-1.é", "malformed ticket"),
        ("{}", "malformed ticket"),
        (ticket(STRANGER), "ticket is of somebody who may not invite here"),
        (ticket(session="other"), "ticket is for another session"),
        (ticket(expires=NOW), "ticket has expired"),
        (ticket(party=3), "ticket is for party 3"),
        (ticket(key=STRANGER.public), "ticket is for another key"),
        (ticket(session="", key=identity(2).public), "ticket is for another session"),
        (forged(ticket(party=3), party=2), "ticket has a wrong signature"),
        (forged(ticket(expires=NOW), expires=NOW + 9), "ticket has a wrong signature"),
        (forged(ticket(session="t"), session="s"), "ticket has a wrong signature"),
        (forged(ticket(STRANGER), issuer=OWNER.public), "ticket has a wrong signature"),
        (forged(ticket(), serial=b"x" * 16), "ticket has a wrong signature"),
        (forged(ticket(), serial=b"x"), "malformed ticket"),
    ],
)
def test_a_ticket_that_is_not_for_this_seat_is_refused(text: str, reason: str) -> None:
    server = invited()
    said = refusal(server.join(12, 2, ticket=text))
    assert said.reason == reason
    assert said.hint
    assert said.final
    assert list(server.rooms.rooms["s"].slots) == [1]


def test_an_operators_ticket_for_any_session_names_its_key() -> None:
    with pytest.raises(UsageError, match="name the key"):
        ticket(OPERATOR, "")
    bearer = Ticket("", 0, b"", NOW + 60, b"s" * 16, OPERATOR.public)
    signed = msgspec.structs.replace(
        bearer, signature=OPERATOR.sign(TICKET_LABEL, *bearer.signed_parts)
    )
    said = refusal(invited().join(12, 2, ticket=_as_text(signed)))
    assert said.reason == "ticket is for every session and names no key"


def test_a_ticket_without_a_key_belongs_to_the_first_that_uses_it() -> None:
    server, text = invited(), ticket()
    assert came_in(server.join(12, 2, ticket=text))
    copied = refusal(server.join(13, 3, key=STRANGER, ticket=text))
    assert copied.reason == "ticket was used by another key"
    server.disconnect(12)
    assert came_in(server.join(14, 2, ticket=text)), "its own key may come back with it"


def test_a_used_ticket_stays_used_over_a_restart_of_the_server() -> None:
    keeping = RoomsSettings(unix=SETTINGS.unix, operators=SETTINGS.operators, keep=True)
    server, text = invited(keeping), ticket()
    server.join(12, 2, ticket=text)
    again = Server(keeping, {PATH: dict(server.node.stored[PATH])})
    said = refusal(again.join(13, 3, key=STRANGER, ticket=text))
    assert said.reason == "ticket was used by another key"
    assert came_in(again.join(14, 2)), "a member that was in needs no ticket to come back"


def test_a_used_ticket_stays_used_when_its_room_has_ended_and_is_opened_again() -> None:
    keeping = RoomsSettings(unix=SETTINGS.unix, operators=SETTINGS.operators, keep=True)
    server, text = invited(keeping), ticket()
    server.join(12, 2, ticket=text)
    server.node.step(Asked(PATH, CloseSession("s")), server.now)
    restarted = Server(keeping, {PATH: dict(server.node.stored[PATH])})
    for again in (server, restarted):
        assert again.rooms.rooms == {}
        said = refusal(
            again.join(13, 3, key=STRANGER, ticket=text, access="invited", owner=OWNER.public)
        )
        assert said.reason == "ticket was used by another key"
        again.join(14, 1, access="invited")
        assert refusal(again.join(15, 3, key=STRANGER, ticket=text)).reason == said.reason
        assert came_in(again.join(16, 2, ticket=text))


def test_an_owner_or_a_member_with_any_ticket_comes_in_and_spends_nothing() -> None:
    server, victims = invited(), ticket(coins=random.Random(3))
    server.join(12, 2, ticket=ticket())
    for number, text in enumerate(["x", forged(victims, key=b"k" * 32), ticket(party=3)]):
        for party in (1, 2):
            assert came_in(server.join(20 + 2 * number + party, party, ticket=text))
    assert len(server.rooms.rooms["s"].door.used) == 1
    assert came_in(Server(SETTINGS).join(11, 1, access="invited", ticket="x"))


def test_used_tickets_are_kept_within_bounds() -> None:
    spent = Spent()
    for session in range(20):
        door = Door()
        door.used = {b"%d %d" % (session, i): (b"", NOW + 60) for i in range(4000)}
        spent.put(f"s{session}", door, NOW)
    assert sum(map(len, spent.used.values())) <= 65_536
    assert "s19" in spent.used
    assert "s0" not in spent.used
    spent.take("s19")
    door.used = {b"old": (b"", NOW)}
    assert spent.put("s20", door, NOW) == []
    assert spent.of("s20") == {}


def test_a_member_comes_back_after_its_ticket_has_expired_and_a_stranger_does_not() -> None:
    server, text = invited(), ticket()
    server.join(12, 2, ticket=text)
    server.disconnect(12)
    server.now += 5 * SECOND
    assert came_in(server.join(13, 2))
    server.now += 60 * SECOND
    assert refusal(server.join(14, 3, ticket=text)).reason == "ticket has expired"


def test_words_at_the_door_are_signed() -> None:
    """A relaying attacker cannot add or take away what a Join says of the room."""
    server = Server(SETTINGS)
    server.connect(11)
    for told, changes in [({}, {"access": "closed"}), ({"access": "invited"}, {"access": ""})]:
        join = joining(server.nonces[11], 1, **told)
        changed = msgspec.structs.replace(join, **changes)
        if changed.access == "closed":
            changed = msgspec.structs.replace(changed, roster=(OWNER.public,) * 3)
        assert refusal(server.say(11, changed)).reason == "the signature is wrong"
        server.connect(11)


# --- whose room it is -------------------------------------------------------------------------


def test_a_closed_room_is_for_its_roster_alone() -> None:
    roster = tuple(identity(p).public for p in (1, 2, 3))
    server = Server(SETTINGS)
    assert came_in(server.join(11, 1, access="closed", roster=roster))
    assert came_in(server.join(12, 2))
    said = refusal(server.join(13, 3, key=STRANGER, ticket=ticket()))
    assert said.reason == "this session is closed: party 3 has another key"
    said = refusal(server.join(14, 3, key=OPERATOR))
    assert said.reason == "this session is closed: party 3 has another key"
    other = (*roster[:2], STRANGER.public)
    said = refusal(server.join(15, 3, access="closed", roster=other))
    assert said.reason == "this session has another roster"


def test_a_session_that_names_its_owner_is_opened_by_nobody_else() -> None:
    session = owned_session("vault", OWNER.public)
    server = Server(SETTINGS)
    for door in ({}, {"access": "invited"}, {"access": "open"}, {"owner": OWNER.public}):
        said = refusal(server.join(11, 2, key=STRANGER, session=session, **door))
        assert said.reason == "this session's id says that it is another's"
    claimed = {"access": "invited", "owner": OWNER.public}
    said = refusal(server.join(12, 2, key=STRANGER, session=session, **claimed))
    assert said.reason == "this session is by invitation"
    text = ticket(session=session)
    assert came_in(server.join(13, 2, session=session, ticket=text, **claimed))
    assert came_in(server.join(14, 1, session=session, access="invited"))


def test_a_session_that_names_its_roster_is_opened_by_nobody_else() -> None:
    roster = tuple(identity(p).public for p in (1, 2, 3))
    session = closed_session("vault", roster)
    server = Server(SETTINGS)
    other = (*roster[:2], STRANGER.public)
    said = refusal(server.join(11, 3, key=STRANGER, session=session, access="closed", roster=other))
    assert said.reason == "this session's id says that it is another's"
    assert came_in(server.join(12, 2, session=session, access="closed", roster=roster))


def test_a_member_notices_that_a_stranger_opened_its_room() -> None:
    """Without a tag in the id a forgetful server lets anybody open it; members stay away."""
    server = Server(SETTINGS)
    assert came_in(server.join(11, 3, key=STRANGER))
    said = refusal(server.join(12, 2, access="invited", owner=OWNER.public, ticket=ticket()))
    assert said.reason == "this session is open, not invited"
    server = Server(SETTINGS)
    assert came_in(server.join(11, 3, key=STRANGER, access="invited"))
    said = refusal(server.join(12, 2, access="invited", owner=OWNER.public, ticket=ticket()))
    assert said.reason == "ticket is of somebody who may not invite here"


def test_a_server_by_invitation_opens_rooms_for_its_operators_guests() -> None:
    settings = RoomsSettings(unix=NOW * SECOND, operators=(OPERATOR.public,), access="invited")
    server = Server(settings)
    said = refusal(server.join(11, 1))
    assert said.reason == "this server is by invitation"
    assert refusal(server.join(12, 1, ticket=ticket())).reason == (
        "ticket is of somebody who may not invite here"
    )
    assert came_in(server.join(13, 1, ticket=ticket(OPERATOR)))
    assert server.rooms.rooms["s"].door.access == "invited"
    assert refusal(server.join(14, 2)).reason == "this session is by invitation"
    assert came_in(server.join(15, 2, ticket=ticket())), "the one that opened it is its owner"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"access": "private"}, "invalid access"),
        ({"owner": b"short"}, "invalid owner"),
        ({"access": "closed"}, "invalid roster"),
        ({"access": "closed", "roster": (OWNER.public,)}, "invalid roster"),
        ({"roster": (OWNER.public,) * 3}, "invalid roster"),
    ],
)
def test_words_that_cannot_be_are_refused(fields: dict, reason: str) -> None:
    assert refusal(Server(SETTINGS).join(11, 1, **fields)).reason == reason


# --- the operator -----------------------------------------------------------------------------


def test_the_operator_frees_a_seat_and_who_sat_there_is_told() -> None:
    server = invited()
    server.join(12, 2, ticket=ticket())
    effects = server.node.step(Asked(PATH, FreeSeat("s", 2)), server.now)
    assert [type(m) for to, m in sends(effects) if to == (12,)] == [Refused]
    assert [m.gone for to, m in sends(effects) if isinstance(m, PeerLeft)] == [True]
    assert len([e for e in effects if isinstance(e, HangUp)]) == 1
    server.disconnect(11)
    server.node.step(Asked(PATH, FreeSeat("s", 1)), server.now)
    assert server.rooms.rooms == {}
    for ask in (FreeSeat("s", 1), FreeSeat("nowhere", 1)):
        with pytest.raises(UsageError):
            server.node.step(Asked(PATH, ask), server.now)


# --- the text ---------------------------------------------------------------------------------


@given(st.text(max_size=400))
def test_any_text_is_a_ticket_or_none(text: str) -> None:
    for attempt in (text, "mpclab-ticket-1." + text):
        with pytest.raises(UsageError):
            open_ticket(attempt)


def test_an_entry_that_cannot_be_is_refused_before_it_is_sent() -> None:
    for fields in (
        {"access": "private"}, {"owner": b"x"}, {"access": "closed"}, {"ticket": "x"},
        {"roster": (b"k" * 32,)},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            Entry(**fields)
    assert Entry(access="invited", ticket=ticket()).ticket
