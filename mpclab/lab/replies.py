"""The answers of the lab's verbs: small, readable values.

Every verb has done its work when it returns, so a cell reads the same with and without
`await`: each reply can be awaited and is itself the result.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Self

import msgspec

from mpclab.core.ids import Party


class Reply(msgspec.Struct, frozen=True):
    """Base of all answers; `await reply` is `reply`."""

    def __await__(self) -> Generator[Any, None, Self]:
        yield from ()
        return self

    def __str__(self) -> str:
        return repr(self)


class Done(Reply, frozen=True):
    """It happened; `what` says it in words."""

    what: str

    def __repr__(self) -> str:
        return f"✓ {self.what}"


class SessionStatus(Reply, frozen=True):
    """One session as the signaling server sees it: members with their states, and who may come
    in: anybody (`open`), whom its owner invites, or a closed roster."""

    id: str
    n: int
    t: int
    policy: str
    members: dict[Party, str]
    access: str = "open"

    def __repr__(self) -> str:
        members = ", ".join(f"{p} {state}" for p, state in sorted(self.members.items()))
        more = "" if self.access == "open" else f", {self.access}"
        terms = f"{self.t} of {self.n}, {self.policy}{more}"
        return f"{self.id} ({terms}): {members or 'nobody yet'}"


class ServerStatus(Reply, frozen=True):
    """The signaling server: running or not, and what it carries.

    Attributes:
        uptime: seconds since it was started.
        relayed: messages passed on between parties.
    """

    running: bool
    url: str = ""
    uptime: float = 0.0
    connections: int = 0
    sessions: tuple[SessionStatus, ...] = ()
    relayed: int = 0
    errors: int = 0

    def __repr__(self) -> str:
        if not self.running:
            return "🔴 stopped"
        parts = [
            f"🟢 running at {self.url}",
            f"{self.connections} connection{'s' * (self.connections != 1)}",
            f"{self.relayed} message{'s' * (self.relayed != 1)} relayed",
        ]
        if self.errors:
            parts.append(f"{self.errors} error{'s' * (self.errors != 1)}")
        return " · ".join(parts) + "".join(f"\n   {session}" for session in self.sessions)
