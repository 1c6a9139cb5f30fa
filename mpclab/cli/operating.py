"""The operator's side of a running server: what `mpclab server …` asks, and what HTTP shows."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import SERVER
from mpclab.core.node import Node
from mpclab.crypto.identity import Identity
from mpclab.signaling.revoking import RevokeTicket
from mpclab.signaling.rooms import PATH, CloseSession, FreeSeat, Rooms
from mpclab.signaling.status import RoomsStatus
from mpclab.signaling.tickets import LONGEST, issue, open_ticket
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.real.ws_http import Metric

LONGEST_INVITATION: Final = LONGEST / 3600
"""Hours for which a ticket can be good."""


class Request(msgspec.Struct, tag_field="do", forbid_unknown_fields=True):
    """What an operator asks of a server."""


class Status(Request, tag="status"):
    """How it does: counters of connections, messages and sessions."""


class Sessions(Request, tag="sessions"):
    """Which sessions there are, and who is in them."""


class Log(Request, tag="log"):
    """What happened last."""


class Close(Request, tag="close"):
    """End a session; its members are told."""

    session: str


class Free(Request, tag="free"):
    """Free a party's seat, for whatever key comes next."""

    session: str
    party: int


class Invite(Request, tag="invite"):
    """A ticket in the operator's name. `key`: 64 hex digits, or "" for whoever comes first."""

    session: str
    party: int = 0
    key: str = ""
    hours: float = 24.0


class Revoke(Request, tag="revoke"):
    """Take back a ticket (its text or id) or all tickets of a key (64 hex digits); `undo`: the
    other way round. `session` "": everywhere."""

    session: str
    ticket: str = ""
    key: str = ""
    undo: bool = False


AnyRequest: TypeAlias = Status | Sessions | Log | Close | Free | Invite | Revoke
_decode = msgspec.json.Decoder(AnyRequest).decode
_encode = msgspec.json.Encoder().encode


class Desk:
    """Answers an operator, and says over HTTP how the server does.

    Args:
        operator: signs invitations; None: there are none from here.
    """

    def __init__(self, operator: Identity | None) -> None:
        self.world: WebSocketWorld  # set when there is one
        self._operator = operator

    # --- the admin socket -------------------------------------------------------------------

    def answer(self, line: bytes) -> bytes:
        """A request's answer: an object, in which "error" says why not."""
        try:
            return _encode(self._do(_decode(line)))
        except msgspec.DecodeError as error:
            return _encode({"error": f"malformed request: {error}"})
        except (UsageError, RecursionError) as error:
            return _encode({"error": str(error)})

    def _do(self, request: AnyRequest) -> dict[str, Any]:
        world = self.world
        match request:
            case Status():
                rooms = self._rooms()
                counts = msgspec.structs.asdict(world.server_status())
                members = sum(len(s.members) for s in rooms.sessions)
                return counts | {
                    "sessions": len(rooms.sessions), "members": members,
                    "relayed": rooms.relayed, "refused_joins": rooms.refused,
                    "not_ready": self.why_not_ready(),
                }  # fmt: skip
            case Sessions():
                return {"sessions": self._rooms().sessions, "now": world.now}
            case Log():
                return {"log": self._rooms().log, "now": world.now}
            case Close(session):
                world.ask(SERVER, PATH, CloseSession(session))
                return {"done": f"closed {session}"}
            case Free(session, party):
                world.ask(SERVER, PATH, FreeSeat(session, party))
                return {"done": f"the seat of party {party} in {session} is free"}
            case Invite(session, party, key, hours):
                if self._operator is None:
                    raise UsageError("this server has no operator's key; start it with --operator")
                text = invitation(self._operator, session, party, key, hours)
                return {"ticket": text, "id": open_ticket(text).id}
            case Revoke(session, ticket, key, undo):
                world.ask(SERVER, PATH, RevokeTicket(session, ticket, public_key(key), undo))
                return {"done": self._revoked(session, undo)}

    def _revoked(self, session: str, undo: bool) -> str:
        done = "good again" if undo else "taken back"
        names = [s.session for s in self._rooms().sessions]
        if not session or session in names:
            return f"{done} in {session or 'every session'}"
        return f"{done} in {session}, which is not open at this server{nearest(session, names)}"

    def _rooms(self) -> RoomsStatus:
        status: RoomsStatus = self.world.look(SERVER, _status)
        return status

    # --- HTTP -------------------------------------------------------------------------------

    def why_not_ready(self) -> str:
        """Why nobody should be sent here; "": all is well."""
        return "the server has failed" if self.world.failures else self.world.why_not_ready()

    def metrics(self) -> Iterable[Metric]:
        """Counts of the rooms. No name that a client chose is among them."""
        sessions, members, relayed, refused, expelled = self.world.look(SERVER, _counts)
        return (
            Metric("mpclab_sessions", "gauge", "Sessions that are open", sessions),
            Metric("mpclab_members", "gauge", "Members that are online", members),
            Metric("mpclab_relayed", "counter", "Messages passed on between members", relayed),
            Metric("mpclab_refused_joins", "counter", "Joins that were refused", refused),
            Metric("mpclab_expelled", "counter", "Connections closed for what they did", expelled),
            Metric("mpclab_ready", "gauge", "Whether more may be sent here",
                   float(not self.why_not_ready())),
        )  # fmt: skip


def invitation(issuer: Identity, session: str, party: int, key: str, hours: float) -> str:
    """A ticket as text.

    Raises:
        UsageError: a session, party, key or time that cannot be.
    """
    if not 0 < hours <= LONGEST_INVITATION:
        raise UsageError(f"{hours} hours: use more than 0, at most {LONGEST_INVITATION:g}")
    return issue(
        issuer, session, party=party, key=public_key(key), coins=random.SystemRandom(),
        expires=int(time.time() + hours * 3600),
    )  # fmt: skip


def public_key(text: str) -> bytes:
    """A public key written as 64 hex digits; "": none."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b"?"
    if len(raw) not in (0, 32):
        raise UsageError(f"key {text!r}: write 64 hex digits")
    return raw


def rooms_of(node: Node) -> Rooms:
    """The rooms of a server's node."""
    rooms = node.machine(PATH)
    assert isinstance(rooms, Rooms)
    return rooms


def _status(node: Node) -> RoomsStatus:
    return rooms_of(node).status()


def _counts(node: Node) -> tuple[int, int, int, int, int]:
    rooms = rooms_of(node)
    online = sum(len(room.here) for room in rooms.rooms.values())
    return len(rooms.rooms), online, rooms.relayed, rooms.refused, rooms.errors


def unix_at_zero(now: int) -> int:
    """Unix time, µs, when a clock that shows `now` showed 0."""
    return time.time_ns() // 1000 - now
