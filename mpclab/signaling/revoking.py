"""Taking an invitation back: by its room's owner or an operator, for one ticket or for a key.

What is revoked is kept where used tickets are (`Door.used`), as used by nobody: a ticket under its
name, a key under itself, since no ticket lets it in any more. So it is persisted, shared between
servers and remembered when its room ends just as they are. Whoever came in that way loses its
seat. It lasts for as long as any ticket may be good; an operator can undo it.

An owner needs no seat for it: it signs the server's challenge, as for a `Join`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import check_session_id
from mpclab.crypto.identity import PUBLIC_BYTES, verify
from mpclab.signaling.messages import REVOKE_LABEL, Revoke, revoke_parts
from mpclab.signaling.status import RoomsSettings
from mpclab.signaling.tickets import (
    INVITED,
    LONGEST,
    MOST_USED,
    NOBODY,
    SERIAL_BYTES,
    Door,
    names_owner,
    open_ticket,
)

WHY = "the invitation was taken back"


class RevokeTicket(msgspec.Struct, frozen=True):
    """Ask: one ticket is good for nothing any more, or no ticket lets one key in.

    Attributes:
        session: "": all sessions, for an operator's ticket that is for every session.
        ticket: its text, or its id (`Ticket.id`).
        key: instead, the key that is not to come in.
        undo: as if it had never been revoked.
    """

    session: str
    ticket: str = ""
    key: bytes = b""
    undo: bool = False


@dataclass(frozen=True)
class Revocation:
    """What to note of a session.

    Attributes:
        names: of tickets or keys, and until when (Unix seconds).
        guests: the keys that came in by them, as far as it is known.
    """

    names: Mapping[bytes, int]
    guests: frozenset[bytes] = field(default_factory=frozenset)

    @classmethod
    def of(
        cls, ask: RevokeTicket | Revoke, door: Door, operators: tuple[bytes, ...], time: int
    ) -> Revocation:
        """What `ask` means at this door.

        Raises:
            UsageError: it names no ticket and no key, or both, or a ticket of another session.
        """
        key = ask.key if isinstance(ask, RevokeTicket) else ask.guest
        owners = {door.owner, ask.key} if isinstance(ask, Revoke) else {door.owner}
        issuers = tuple(sorted(owners.union(operators) - {NOBODY}))
        names, guests = _named(ask, key, door, issuers, time)
        guests |= {door.used[name][0] for name in names if name in door.used}
        return cls(names, frozenset(guests - {NOBODY, *issuers}))

    def apply(self, door: Door, undo: bool = False) -> None:
        """Refuse them from now on; `undo`: no longer.

        Raises:
            UsageError: there is no place for more.
        """
        if undo:
            for name in self.names:
                if name in door.used and door.used[name][0] == NOBODY:
                    del door.used[name]
            return
        if len(door.used.keys() | self.names.keys()) > MOST_USED:
            raise UsageError("too many tickets are noted here; close the session")
        for name, until in self.names.items():
            door.used[name] = NOBODY, max(until, door.used.get(name, (NOBODY, 0))[1])


def _named(
    ask: RevokeTicket | Revoke, key: bytes, door: Door, issuers: tuple[bytes, ...], time: int
) -> tuple[dict[bytes, int], set[bytes]]:
    """The names to note, and the keys that they let in. An id may be of a ticket of any issuer: of
    those we know, and of whoever's it was when it was used."""
    ticket = ask.ticket
    if bool(ticket) == bool(key):
        raise UsageError("name either a ticket or a key that is not to come in")
    if key:
        if len(key) != PUBLIC_BYTES:
            raise UsageError(f"a key has {PUBLIC_BYTES} bytes, not {len(key)}")
        return {key: time + LONGEST}, {key}
    if len(ticket) == 2 * SERIAL_BYTES:
        try:
            serial = bytes.fromhex(ticket)
        except ValueError:
            raise UsageError("a ticket's id has 32 hex digits") from None
        names = [issuer + serial for issuer in issuers]
        names += [name for name in door.used if name[PUBLIC_BYTES:] == serial]
        if not names:
            raise UsageError("nobody is known to invite here: give the whole ticket, not its id")
        return dict.fromkeys(names, time + LONGEST), set()
    shown = open_ticket(ticket)
    if shown.session != ask.session:
        where = f"session {shown.session}" if shown.session else 'every session: name session ""'
        raise UsageError(f"that ticket is for {where}")
    return {shown.name: min(shown.expires, time + LONGEST)}, {shown.key} - {NOBODY}


def why_no_revocation(nonce: bytes, msg: Revoke) -> tuple[str, str] | None:
    """Reason and hint for refusing an owner's word whoever the owner is, or None."""
    try:
        check_session_id(msg.session)
    except UsageError as error:
        return "invalid session id", str(error)
    if not verify(msg.key, REVOKE_LABEL, revoke_parts(nonce, msg), msg.signature):
        return "the signature is wrong", "sign this connection's challenge with the owner's key"
    return None


def why_not_revoke(
    settings: RoomsSettings, msg: Revoke, door: Door | None
) -> tuple[str, str] | None:
    """Reason and hint for not heeding who may be no owner, or None.

    Args:
        door: of the session; None: there is no such session now.
    """
    if msg.key in settings.operators:
        return None
    if door is None:
        if names_owner(msg.session, msg.key):
            return None
        return "no such session", "check its id"
    if door.access != INVITED:
        return f"this session is {door.access}, not invited", "there are no tickets to take back"
    if door.owner != msg.key:
        return "this session has another owner", "sign with the owner's key"
    return None
