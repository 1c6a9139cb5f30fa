"""Rooms by invitation and closed ones, and what an attacker tries at their doors."""

import base64
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core import SECOND, UsageError
from mpclab.core.effects import Asked, HangUp, Persist
from mpclab.crypto import Identity
from mpclab.signaling.messages import (
    REVOKE_LABEL,
    Leave,
    PeerLeft,
    Refused,
    Revoke,
    Revoked,
    Welcome,
    revoke_parts,
)
from mpclab.signaling.revoking import Revocation, RevokeTicket
from mpclab.signaling.rooms import PATH, CloseSession, FreeSeat
from mpclab.signaling.status import RoomsSettings
from mpclab.signaling.tickets import (
    LONGEST,
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
from tests.signaling.bench import Server, identity, joining, of, sends
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


# --- taken back -------------------------------------------------------------------------------


def revoke(server: Server, **fields: Any) -> list:
    return server.node.step(Asked(PATH, RevokeTicket("s", **fields)), server.now)


def revoking(nonce: bytes, who: Identity = OWNER, session: str = "s", **fields: Any) -> Revoke:
    given = {"ticket": "", "guest": b""} | fields
    blank = Revoke(session, who.public, signature=b"", **given)
    signature = who.sign(REVOKE_LABEL, *revoke_parts(nonce, blank))
    return msgspec.structs.replace(blank, signature=signature)


def owners_word(server: Server, connection: int, who: Identity = OWNER, **fields: Any) -> Any:
    """What a server answers to who takes something back, over a connection of its own."""
    server.connect(connection)
    effects = server.say(connection, revoking(server.nonces[connection], who, **fields))
    assert of(effects, HangUp)[-1].peer == connection
    assert connection not in server.rooms.clients
    return next(msg for to, msg in sends(effects) if to == (connection,))


@pytest.mark.parametrize("by", ["text", "id", "key"])
@pytest.mark.parametrize("fields", [{}, {"key": identity(2).public}, {"issuer": OPERATOR}])
def test_a_ticket_that_is_taken_back_is_good_for_nothing(fields: dict, by: str) -> None:
    text = ticket(**fields)
    what = {
        "text": {"ticket": text},
        "id": {"ticket": open_ticket(text).id},
        "key": {"key": identity(2).public},
    }[by]
    reasons = {"ticket was taken back", "this key's invitations were taken back"}
    before, after = invited(), invited()
    revoke(before, **what)
    assert refusal(before.join(12, 2, ticket=text)).reason in reasons

    assert came_in(after.join(12, 2, ticket=text))
    effects = revoke(after, **what)
    if by != "id" or "key" not in fields:  # an id alone does not say whose a ticket was
        told = [msg for to, msg in sends(effects) if to == (12,)]
        assert [msg.reason for msg in told] == ["the invitation was taken back"]
        assert [msg.gone for to, msg in sends(effects) if isinstance(msg, PeerLeft)] == [True]
        assert refusal(after.join(13, 2, ticket=text)).reason in reasons
    assert 11 in after.rooms.clients, "its owner stays"
    if by == "key":
        other = ticket(coins=random.Random(8), key=identity(2).public)
        assert refusal(after.join(14, 2, ticket=other)).reason in reasons
        assert came_in(after.join(15, 3, key=STRANGER, ticket=ticket(coins=random.Random(9))))
    revoke(after, undo=True, **what)
    assert came_in(after.join(16, 2, ticket=text))


def test_what_is_taken_back_stays_so_over_restarts_and_when_the_room_has_ended() -> None:
    keeping = RoomsSettings(unix=SETTINGS.unix, operators=SETTINGS.operators, keep=True)
    server, text = invited(keeping), ticket()
    revoke(server, ticket=text)
    revoke(server, key=STRANGER.public)
    taken = server.rooms.status().sessions[0].revoked
    assert {(t.ticket, t.key) for t in taken} == {
        (open_ticket(text).id, ""), ("", STRANGER.public.hex())
    }  # fmt: skip
    server = Server(keeping, {PATH: dict(server.node.stored[PATH])})
    assert refusal(server.join(12, 2, ticket=text)).reason == "ticket was taken back"
    server.node.step(Asked(PATH, CloseSession("s")), server.now)
    server = Server(keeping, {PATH: dict(server.node.stored[PATH])})
    owned = {"access": "invited", "owner": OWNER.public}
    assert refusal(server.join(13, 2, ticket=text, **owned)).reason == "ticket was taken back"
    revoke(server, ticket=ticket(coins=random.Random(4)))  # of a session that is not open
    server.join(14, 1, access="invited")
    later = ticket(coins=random.Random(4))
    assert refusal(server.join(15, 2, ticket=later)).reason == "ticket was taken back"
    other = ticket(coins=random.Random(5), key=STRANGER.public)
    said = refusal(server.join(16, 3, key=STRANGER, ticket=other))
    assert said.reason == "this key's invitations were taken back"


def test_an_operators_ticket_for_every_session_is_taken_back_everywhere() -> None:
    server = invited()
    server.join(21, 1, session="t", access="invited")
    text = ticket(OPERATOR, "", key=identity(2).public)
    assert came_in(server.join(12, 2, ticket=text))
    with pytest.raises(UsageError, match="that ticket is for every session"):
        revoke(server, ticket=text)
    server.node.step(Asked(PATH, RevokeTicket("", ticket=text)), server.now)
    assert 12 not in server.rooms.clients
    server.join(31, 1, session="u", access="invited")
    for connection, session in enumerate("stu", 41):
        said = refusal(server.join(connection, 2, session=session, ticket=text))
        assert said.reason == "ticket was taken back"


def test_what_is_good_again_everywhere_is_so_in_sessions_that_ended_meanwhile() -> None:
    keeping = RoomsSettings(unix=SETTINGS.unix, operators=SETTINGS.operators, keep=True)
    server, guest = invited(keeping), identity(2).public
    server.node.step(Asked(PATH, RevokeTicket("", key=guest)), server.now)
    for number in range(3):
        session = f"t{number}"
        server.join(20 + number, 1, session=session, access="invited")
        server.node.step(Asked(PATH, CloseSession(session)), server.now)
    server.node.step(Asked(PATH, CloseSession("s")), server.now)
    assert [k for k in server.node.stored[PATH] if k.startswith("spent/")] == ["spent/"]
    server = Server(keeping, {PATH: dict(server.node.stored[PATH])})
    server.node.step(Asked(PATH, RevokeTicket("", key=guest, undo=True)), server.now)
    server.join(31, 1, access="invited")
    assert came_in(server.join(32, 2, ticket=ticket(key=guest)))


def test_a_room_full_of_tickets_does_not_keep_an_operators_word_out() -> None:
    server, guest = invited(), identity(2)
    server.join(21, 1, session="t", key=STRANGER, access="invited")
    server.join(12, 2, ticket=ticket())
    server.rooms.rooms["t"].door.used = {
        b"%048d" % i: (STRANGER.public, NOW + 60) for i in range(4096)
    }
    effects = server.node.step(Asked(PATH, RevokeTicket("", key=guest.public)), server.now)
    assert [m.reason for to, m in sends(effects) if to == (21,)] == ["too many tickets"]
    assert server.rooms.clients.keys() == {11}


def test_a_kill_between_two_records_of_a_session_forgets_no_ticket() -> None:
    """Its tickets were used or taken back, whether it was just ending or just opened again."""
    keeping = RoomsSettings(unix=SETTINGS.unix, operators=SETTINGS.operators, keep=True)
    server, used = invited(keeping), ticket()
    server.join(12, 2, ticket=used)
    revoke(server, key=STRANGER.public)
    stored = dict(server.node.stored[PATH])
    ends = server.node.step(Asked(PATH, CloseSession("s")), server.now)
    ended = dict(server.node.stored[PATH])
    leaves = Server(keeping, {PATH: dict(stored)})
    leaves.join(11, 1)
    left = leaves.say(11, Leave()) + leaves.node.step(Asked(PATH, FreeSeat("s", 2)), leaves.now)
    opens = Server(keeping, {PATH: dict(ended)}).join(11, 1, access="invited")
    for before, effects in ((stored, ends), (stored, left), (ended, opens)):
        kept = dict(before)
        for written in of(effects, Persist):
            if written.value is None:
                kept.pop(written.key, None)
            else:
                kept[written.key] = written.value
            again = Server(keeping, {PATH: dict(kept)})
            again.join(31, 1, access="invited")
            for number, key in ((32, STRANGER), (33, identity(9))):
                text = used if key is not STRANGER else ticket(key=key.public)
                assert not came_in(again.join(number, 3, key=key, ticket=text))


def test_an_owner_takes_an_invitation_back_without_a_seat() -> None:
    server, text = invited(), ticket()
    server.join(12, 2, ticket=text)
    server.disconnect(11)
    assert owners_word(server, 20, ticket=open_ticket(text).id) == Revoked("s")
    assert 12 not in server.rooms.clients
    assert refusal(server.join(13, 2, ticket=text)).reason == "ticket was taken back"
    assert owners_word(server, 21, OPERATOR, guest=STRANGER.public) == Revoked("s")
    owned = owned_session("vault", OWNER.public)
    early = ticket(session=owned)
    assert owners_word(server, 22, session=owned, ticket=early) == Revoked(owned)
    server.join(23, 1, session=owned, access="invited")
    said = refusal(server.join(24, 2, session=owned, ticket=early))
    assert said.reason == "ticket was taken back"


def test_an_id_is_enough_when_its_session_is_not_open() -> None:
    """Its owner's word has its key, and a ticket that was used has its issuer's."""
    owned = owned_session("vault", OWNER.public)
    for operators in ((), (OPERATOR.public,)):
        server = Server(RoomsSettings(unix=SETTINGS.unix, operators=operators))
        early = ticket(session=owned)
        word = owners_word(server, 22, session=owned, ticket=open_ticket(early).id)
        assert word == Revoked(owned)
        server.join(23, 1, session=owned, access="invited")
        said = refusal(server.join(24, 2, session=owned, ticket=early))
        assert said.reason == "ticket was taken back"
    server, text = invited(), ticket()
    server.join(12, 2, ticket=text)
    server.node.step(Asked(PATH, CloseSession("s")), server.now)
    revoke(server, ticket=open_ticket(text).id)
    server.join(13, 1, access="invited")
    assert refusal(server.join(14, 2, ticket=text)).reason == "ticket was taken back"


@pytest.mark.parametrize(
    ("who", "fields", "reason"),
    [
        (STRANGER, {"guest": OWNER.public}, "this session has another owner"),
        (identity(2), {"ticket": ticket()}, "this session has another owner"),
        (OWNER, {"session": "other", "ticket": ticket()}, "no such session"),
        (OWNER, {"session": "", "guest": STRANGER.public}, "invalid session id"),
        (OWNER, {"session": "a/b", "guest": STRANGER.public}, "invalid session id"),
        (OWNER, {}, "name either a ticket or a key that is not to come in"),
        (OWNER, {"ticket": ticket(), "guest": STRANGER.public}, "name either a ticket or a key"),
        (OWNER, {"guest": b"x"}, "a key has 32 bytes, not 1"),
        (OWNER, {"ticket": "x" * 32}, "a ticket's id has 32 hex digits"),
        (OWNER, {"ticket": ticket(session="t")}, "that ticket is for session t"),
        (OWNER, {"ticket": "x"}, "malformed ticket"),
        (OWNER, {"session": "open", "guest": STRANGER.public}, "this session is open, not invited"),
    ],
)
def test_nobody_else_takes_an_invitation_back(who: Identity, fields: dict, reason: str) -> None:
    server = invited()
    server.join(12, 2, ticket=ticket())
    server.join(30, 1, session="open")
    said = owners_word(server, 20, who, **fields)
    assert isinstance(said, Refused)
    assert said.reason.startswith(reason)
    assert {11, 12, 30} <= server.rooms.clients.keys()
    assert len(server.rooms.rooms["s"].door.used) == 1


def test_an_owners_word_is_not_replayed_nor_said_by_a_member() -> None:
    server = invited()
    server.connect(20)
    word = revoking(server.nonces[20], guest=STRANGER.public)
    server.connect(21)
    assert refusal(server.say(21, word)).reason == "the signature is wrong"
    assert refusal(server.say(11, word)).reason == "Revoke out of order"


def test_the_owners_own_seat_is_not_lost_by_what_is_taken_back() -> None:
    server = invited()
    revoke(server, key=OWNER.public)
    owners_word(server, 20, guest=OPERATOR.public)
    assert 11 in server.rooms.clients
    assert came_in(server.join(12, 2, key=OPERATOR))


def test_sessions_without_tickets_and_too_many_of_them_say_so() -> None:
    server = Server(SETTINGS)
    server.join(11, 1)
    with pytest.raises(UsageError, match="session s is open: it has no tickets"):
        revoke(server, key=STRANGER.public)
    server = invited()
    door = server.rooms.rooms["s"].door
    door.used = {b"%048d" % i: (STRANGER.public, NOW + 60) for i in range(4096)}
    with pytest.raises(UsageError, match="too many tickets"):
        revoke(server, key=STRANGER.public)
    with pytest.raises(UsageError, match="give the whole ticket"):
        Revocation.of(RevokeTicket("s", ticket="0" * 32), Door(), (), NOW)


def test_a_ticket_is_good_for_a_year_at_most() -> None:
    """What is noted of tickets is kept until they expire: nobody fills a memory for ever."""
    said = refusal(invited().join(12, 2, ticket=ticket(expires=NOW + LONGEST + 1)))
    assert said.reason == "ticket is good for more than 366 days"
    assert came_in(invited().join(12, 2, ticket=ticket(expires=NOW + LONGEST)))


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
