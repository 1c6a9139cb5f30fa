"""The base of all worlds: it hosts nodes, carries frames, breaks on demand, writes the trace."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, TypeAlias, assert_never

import msgspec

from mpclab.core.effects import (
    AddCandidates,
    Blame,
    CancelTimer,
    Connect,
    Effect,
    HangUp,
    Lied,
    MakeAnswer,
    MakeOffer,
    Note,
    Output,
    Persist,
    Received,
    Route,
    Send,
    SetTimer,
    TakeAnswer,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.node import Coins, Node
from mpclab.core.wire import Frame, Message
from mpclab.faults.fault import FaultTarget
from mpclab.trace import rows
from mpclab.trace.log import Trace

Stored: TypeAlias = Mapping[Path, Mapping[str, bytes]]
Build: TypeAlias = Callable[[Coins, Stored], Node]
"""Makes a party's node: called once when it is hosted, and again at each restart."""


STRIDE = 10_000
"""Party p of a world's k-th session (k from 0) is the actor `k * STRIDE + p`."""


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


def describe(msg: Message | None) -> str:
    """A message as text for a reader: `approve=True, op='k3'`. Bytes by length alone,
    since a trace must never hold a share."""
    if msg is None:
        return ""
    parts = []
    for name in msg.__struct_fields__:
        value = getattr(msg, name)
        if isinstance(value, int):
            parts.append(f"{name}={value}")
        elif isinstance(value, str):
            parts.append(f"{name}={value[:40]!r}")
        elif isinstance(value, tuple):
            parts.append(f"{name}=({len(value)} items)")
        elif isinstance(value, bytes | bytearray | memoryview):
            parts.append(f"{name}=<{len(value)} B>")
    return ", ".join(parts)


def record_sent(
    trace: Trace, now: int, actor: Party, to: tuple[Party, ...], frame: Frame, via: str
) -> None:
    """Append the row of a frame that `actor` gives to other actors."""
    trace.append(
        rows.Sent(
            now, actor, frame.id, to, frame.path, frame.kind, len(frame.body), via,
            frame.background, describe(frame.msg),
        )
    )  # fmt: skip


def record(trace: Trace, now: int, actor: Party, effect: Effect, base: int = 0) -> None:
    """Append the row that `effect` is worth. `base` turns a party into an actor: `base + party`.

    `Send`s are given with actors already, since only the server's host knows who is behind a
    connection.
    """
    match effect:
        case Send(to, frame, via):
            record_sent(trace, now, actor, to, frame, via)
        case Note(path, note):
            trace.append(rows.Noted(now, actor, path, note))
        case Lied(path, kind, id, to, said):
            told = tuple(base + p for p in to)
            trace.append(rows.Lied(now, actor, path, kind, id, told, said))
        case Output(path, value):
            trace.append(rows.Output(now, actor, path, text_of(value)))
        case Blame(path, party, reason, strength):
            trace.append(rows.Blamed(now, actor, path, party, reason, str(strength)))
        case Persist(path, key, value):
            trace.append(rows.Persisted(now, actor, path, key, len(value or b"")))
        case Received(sender, frame):
            trace.delivered(now, actor, base + sender, frame.id)
        case MakeOffer(_, peer, attempt) | MakeAnswer(_, peer, attempt):
            trace.append(rows.Linked(now, actor, base + peer, "dialing", attempt))
        case Route(_, peer, via):
            state = {"link": "confirmed", "relay": "relay"}.get(via, "closed")
            trace.append(rows.Linked(now, actor, base + peer, state))
        case SetTimer() | CancelTimer() | Connect() | TakeAnswer() | AddCandidates() | HangUp():
            pass
        case _:
            assert_never(effect)


def text_of(value: Any) -> str:
    """An output or an ask as one line for a reader; bytes by length alone."""
    return _plain(value)[:200]


def _plain(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        fields = (f"{f}={_plain(getattr(value, f))}" for f in value.__struct_fields__)
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} B>"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(_plain, value)) + ")"
    return str(value)
