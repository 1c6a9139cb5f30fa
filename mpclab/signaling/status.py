"""The server's limits, and its snapshots of itself."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mpclab.core.ids import SECOND, Party


@dataclass(frozen=True, slots=True)
class RoomsSettings:
    """Bounds of the server; durations in µs.

    Attributes:
        max_rooms: sessions at one time; a quarter of them for one address, or for one key.
        rate, burst: messages of one member; those with many receivers count for more.
        keep_idle: how long a slot whose party vanished is kept for its key, at the most. It is
            kept for as long as the party had been there, so that a passer-by is soon forgotten.
        keep_idle_least: and at least so long.
        keep: persist sessions and their members, and take them up at the next start.
        access: "invited": a session is opened by operators and who holds a ticket of theirs.
        operators: keys that may take a seat in, and invite to, every room.
        shared: other servers have members of the same sessions: see `signaling.shared`.
        by_path: a client has to name its session in its url, by which a proxy chose this server.
        unix: the time when the server's clock showed 0, Unix µs; tickets expire by it.
    """

    max_connections: int = 1024
    max_rooms: int = 256
    max_parties: int = 1000
    join_within: int = 3 * SECOND
    ping_every: int = 10 * SECOND
    pong_within: int = 10 * SECOND
    rate: int = 50
    burst: int = 200
    backlog: int = 512
    keep_idle: int = 600 * SECOND
    keep_idle_least: int = 10 * SECOND
    keep: bool = False
    access: str = "open"
    operators: tuple[bytes, ...] = ()
    shared: bool = False
    by_path: bool = False
    unix: int = 0
    log_lines: int = 200

    def unix_seconds(self, now: int) -> int:
        """The server's clock as Unix time, seconds."""
        return (self.unix + now) // SECOND


class SlotStatus(msgspec.Struct, frozen=True):
    """A member as the server sees it; `state` is online or idle."""

    party: Party
    key: str
    state: str
    joined_at: int
    connection: int | None


class TicketStatus(msgspec.Struct, frozen=True):
    """A ticket, by its id, that the key `key` (hex) used, until it expires; or one that is revoked,
    or (`ticket` "") a key all of whose tickets are. `until` in Unix seconds."""

    ticket: str
    key: str
    until: int


class SessionStatus(msgspec.Struct, frozen=True):
    session: str
    n: int
    t: int
    policy: str
    members: tuple[SlotStatus, ...]
    opened_at: int
    access: str = "open"
    owner: str = ""
    tickets: tuple[TicketStatus, ...] = ()
    revoked: tuple[TicketStatus, ...] = ()


class LogLine(msgspec.Struct, frozen=True):
    at: int
    text: str


class RoomsStatus(msgspec.Struct, frozen=True):
    """A snapshot for panels and programs. Times in µs; `log` is the tail, oldest first."""

    sessions: tuple[SessionStatus, ...]
    connections: int
    relayed: int
    refused: int
    errors: int
    log: tuple[LogLine, ...]
