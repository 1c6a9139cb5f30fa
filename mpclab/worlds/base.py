"""The base of all worlds: it hosts nodes, carries frames, breaks on demand, writes the trace."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, TypeAlias

from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, STRIDE, Party, Path
from mpclab.core.node import Coins, Node
from mpclab.core.wire import Frame
from mpclab.faults.fault import FaultTarget
from mpclab.trace.log import Trace

Stored: TypeAlias = Mapping[Path, Mapping[str, bytes]]
Build: TypeAlias = Callable[[Coins, Stored], Node]
"""Makes a party's node: called once when it is hosted, and again at each restart."""


class World(FaultTarget, abc.ABC):
    """One interface, three worlds. Actors are parties `1..n` and 0, the signaling server.

    A world may host several sessions that share the server: party p of a session is the actor
    `base + p`, with the session's own `base` (0 for the first). Rows name actors.

    Times are integer µs since the world began. Every verb may be called from any thread, and
    returns when it is done; `UsageError` means that nothing was changed.
    """

    name: ClassVar[str]
    trace: Trace

    @property
    @abc.abstractmethod
    def now(self) -> int:
        """Time since the world began, in µs: virtual in the simulation."""

    @property
    @abc.abstractmethod
    def actors(self) -> tuple[Party, ...]:
        """The actors that are up, in the order in which they were first hosted."""

    @property
    @abc.abstractmethod
    def server_url(self) -> str:
        """Where parties connect to; "" while there is no server."""

    def slowness(self) -> str:
        """Words about this machine for whoever waited in vain; "": it has the time."""
        return ""

    # --- nodes ---

    @abc.abstractmethod
    def host(self, actor: Party, build: Build) -> None:
        """Make and start a party's node."""

    def bind_store(self, actor: Party, owner: Mapping[str, str]) -> None:
        """Whose state `actor` keeps from now on (session, party, …): a store of another is refused
        when the actor is hosted. A simulation has no stores that outlive it."""
        return

    @abc.abstractmethod
    def host_server(self, build: Build, address: str = "127.0.0.1", port: int = 8080) -> str:
        """Make and start the signaling server; its url. Port 0: a free one.

        Raises:
            UsageError: the port is in use; proposes another. Nothing is left half open.
        """

    @abc.abstractmethod
    def stop_server(self, *, kill: bool = False) -> None:
        """Close the server's connections properly and stop it; `kill`: drop everything."""

    @abc.abstractmethod
    def ask(self, actor: Party, path: Path, ask: Any) -> None:
        """Put `ask` to a machine of a party. Raises what the machine's `on_ask` raises."""

    @abc.abstractmethod
    def look(self, actor: Party, read: Callable[[Node], Any]) -> Any:
        """`read(node)`, evaluated between two steps: read, never change."""

    @abc.abstractmethod
    def crash(self, actor: Party) -> None:
        """The party stops between two effects; only what it persisted is left."""

    def tear(self, actor: Party, on: bool = True) -> None:
        """Let a party crash in the middle of its next step: only a simulation can aim so well."""
        raise UsageError("a crash can be torn in the simulated world alone; leave torn out")

    @abc.abstractmethod
    def restart(self, actor: Party, *, amnesia: bool = False) -> None:
        """Build a crashed party again, from its stored state or (amnesia) from nothing."""

    @abc.abstractmethod
    def hosts(self, actor: Party) -> bool:
        """Whether `actor` is hosted here, up or down, and was not removed."""

    @abc.abstractmethod
    def remove(self, actor: Party) -> None:
        """Stop hosting a party for good: its links are closed."""

    def corruptible(self, actor: Party) -> None:
        """Raise `UsageError` where nobody can speak for `actor`; here one can for everyone."""
        return

    # --- time ---

    @abc.abstractmethod
    def at(self, time: int, action: Callable[[], None]) -> None:
        """Call `action` at `time` (µs; at once when that has passed), in the world's thread."""

    @abc.abstractmethod
    def run(self, until: Callable[[], bool] | None = None, *, limit: int | None = None) -> bool:
        """Let time pass until `until()` holds, nothing is left to happen, or `limit` µs passed.

        Returns whether `until()` held at the end.
        """

    def atomic(self) -> AbstractContextManager[object]:
        """Between its beginning and its end nothing else happens, where that can be had."""
        return nullcontext()

    @abc.abstractmethod
    def is_idle(self) -> bool:
        """Whether nothing is left to happen but what goes on for ever (heartbeats)."""

    def carries(self) -> bool:
        """Whether a message is known to be on its way that is no heartbeat or the like. Real
        sockets do not say, and their worlds answer no."""
        return False

    @abc.abstractmethod
    def close(self) -> None:
        """Stop everything and free every port and thread. Closing twice is fine."""

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def speaker(source: Party, dst: Party, frame: Frame) -> Party:
    """Whose words `frame` carries to actor `dst`: its source, or the party whose message the
    server passes on. Faults of the way between two parties strike what is relayed as well."""
    sender = getattr(frame.msg, "sender", None) if source == SERVER else None
    return source if sender is None else dst // STRIDE * STRIDE + sender
