"""`Machine` and `Ctx`: what one protocol role is, and all that it sees of the world.

A machine is plain mutable state with a handful of handlers. It has no clock, no socket, no
random source and no `async` of its own: time, coins and identity come from the context, and
everything it does goes out through the context as data. So one machine runs unchanged in the
simulated world and on real sockets, can be deep-copied (rewind, fork) and replayed.

    class Shout(Machine):
        "Everyone says hello once; done when all have been heard."

        def __init__(self) -> None:
            self.heard: dict[Party, str] = {}

        def start(self, ctx: Ctx) -> None:
            ctx.broadcast(Hello(f"I am {ctx.me}"))

        def on_message(self, ctx: Ctx, sender: Party, msg: Hello) -> None:
            self.heard[sender] = msg.text
            if len(self.heard) == ctx.n:
                ctx.output(len(self.heard))
"""

from __future__ import annotations

import inspect
import random
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

from mpclab.core import notes
from mpclab.core.effects import (
    Blame,
    CancelTimer,
    Effect,
    LinkEvent,
    Note,
    Persist,
    SetTimer,
)
from mpclab.core.errors import Strength, UsageError
from mpclab.core.ids import Party, Path
from mpclab.core.notes import AnyNote
from mpclab.core.wire import Decode, Frame, Message, decoder


class Outbox(Protocol):
    """What a context needs of the node that it belongs to: who and when we are, and a way out."""

    me: Party
    n: int
    members: tuple[Party, ...]
    others: tuple[Party, ...]
    now: int
    coins: Callable[[Path], random.Random]
    stored: dict[Path, dict[str, bytes]]
    out: list[Effect]
    """The effects of this step, in order."""

    def machine(self, path: Path) -> Machine | None: ...
    def emit_send(self, path: Path, to: tuple[Party, ...], msg: Message, codec: str) -> None: ...
    def emit_direct(self, path: Path, to: tuple[Party, ...], msg: Message, codec: str) -> None: ...
    def emit_received(self, sender: Party, frame: Frame) -> None: ...
    def emit_output(self, path: Path, value: Any) -> None: ...
    def emit_report(self, path: Path, value: Any) -> None: ...
    def emit_spawn(self, path: Path, machine: Machine) -> None: ...
    def emit_close(self, path: Path) -> None: ...
    def emit_ask(self, path: Path, ask: Any) -> None: ...


class Machine:
    """Base of every protocol role. Override the handlers that you need.

    The messages that `on_message` accepts are read from the annotation of its `msg`
    parameter (`msg: Init | Echo`), or from a class attribute `messages` where there is one.
    Rule for handlers: validate everything, then mutate; a `PeerFault` discards the effects
    of the handler that raises it, but not what it did to `self`.
    """

    messages: ClassVar[Any] = None
    codec: ClassVar[str] = "msgpack"
    _decoder: ClassVar[Decode | None] = None

    def start(self, ctx: Ctx) -> None:
        """The machine begins. After a crash it begins again, and `ctx.stored` holds what it
        persisted."""

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        """A message from `sender`, as stamped by the link. Our own broadcasts come too."""

    def on_timer(self, ctx: Ctx, name: str) -> None:
        """A timer that was set and not cancelled."""

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        """The child spawned as `child` has a result."""

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        """Our own user, or our parent, wants something. `UsageError` is for the asker."""

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        """The host's answer to a link effect of ours."""

    def on_carry(self, ctx: Ctx, to: tuple[Party, ...], frame: Frame) -> None:
        """A frame for parties that no link reaches (asked of the machine that sets routes)."""

    @classmethod
    def decode(cls) -> Decode:
        """The decoder of this class's messages, made once."""
        if cls.__dict__.get("_decoder") is None:
            cls._decoder = staticmethod(decoder(cls._message_types(), cls.codec))
        assert cls._decoder is not None
        return cls._decoder

    @classmethod
    def _message_types(cls) -> Any:
        if cls.messages is not None:
            return cls.messages
        parameter = list(inspect.signature(cls.on_message).parameters)[3]
        try:
            types = typing.get_type_hints(cls.on_message).get(parameter, Any)
        except NameError as error:
            raise TypeError(
                f"{cls.__name__}.on_message: {error}; define its message classes at the top "
                f"level, or set {cls.__name__}.messages = A | B"
            ) from error
        return Message if types is Any else types


class Ctx:
    """One machine's view of its party and the world. Valid only inside a handler.

    Attributes:
        me: this party, `1..n` (0 at the signaling server).
        n: number of parties; `members` is `(1, …, n)` and `others` leaves out `me`.
        path: this machine's address.
        stored: what this machine persisted before, by key.
    """

    __slots__ = ("_node", "_rng", "_seat_codec", "me", "members", "n", "others", "path")

    def __init__(self, node: Outbox, path: Path, codec: str) -> None:
        self._node = node
        self._seat_codec = codec
        self._rng: random.Random | None = None
        self.me = node.me
        self.n = node.n
        self.members = node.members
        self.others = node.others
        self.path = path

    @property
    def now(self) -> int:
        """Microseconds, constant during a step."""
        return self._node.now

    @property
    def rng(self) -> random.Random:
        """This machine's own coins: one stream for each (seed, party, path)."""
        if self._rng is None:
            self._rng = self._node.coins(self.path)
        return self._rng

    @property
    def stored(self) -> Mapping[str, bytes]:
        return self._node.stored.get(self.path, {})

    # --- messages ---

    def send(self, to: Party, msg: Message) -> None:
        """Send `msg` to the same machine at party `to` (to ourselves: in this same step)."""
        self._node.emit_send(self.path, (to,), msg, self._seat_codec)

    def multicast(self, to: Iterable[Party], msg: Message) -> None:
        """Send one `msg` to several parties: one serialisation, one row in the trace."""
        self._node.emit_send(self.path, tuple(to), msg, self._seat_codec)

    def broadcast(self, msg: Message) -> None:
        """Send `msg` to every member, ourselves included (ours arrives in this same step)."""
        self._node.emit_send(self.path, self.members, msg, self._seat_codec)

    # --- time, storage, results ---

    def set_timer(self, name: str, delay: int, *, background: bool = False) -> None:
        """Wake me in `delay` µs. A background timer (heartbeats) keeps no run alive."""
        node = self._node
        node.out.append(SetTimer(self.path, name, node.now + max(0, delay), background))

    def cancel_timer(self, name: str) -> None:
        """A cancelled timer never fires. Cancelling one that is not set does nothing."""
        self._node.out.append(CancelTimer(self.path, name))

    def persist(self, key: str, value: bytes | None) -> None:
        """Store `value` before anything that follows is sent; None deletes."""
        self._node.out.append(Persist(self.path, key, value))

    def kept_by(self, child: str) -> Mapping[str, bytes]:
        """What a child persisted, in this life or before; empty when there is nothing."""
        return self._node.stored.get((*self.path, child), {})

    def forget(self, child: str) -> None:
        """Delete all that a child and its children persisted: it is over, and kept elsewhere."""
        depth = len(self.path) + 1
        for path, items in self._node.stored.items():
            if path[:depth] == (*self.path, child):
                self._node.out.extend(Persist(path, key, None) for key in items)

    def output(self, value: Any) -> None:
        """Report a result to the parent's `on_output`, or to the host at the top."""
        self._node.emit_output(self.path, value)

    def report(self, value: Any) -> None:
        """Like `output`, but between us and our parent: no result, and no row in the trace."""
        self._node.emit_report(self.path, value)

    def note(self, note: AnyNote | str, /, **fields: Any) -> None:
        """A row in the trace: an instance of a class of `mpclab.core.notes`, or its word and
        fields, `ctx.note("decided", op="x")`.

        Raises:
            UsageError: there is no such word, or its class has no such fields.
        """
        if isinstance(note, str):
            note = notes.named(note, fields)
        elif fields:
            raise UsageError(f"a note has its fields already; {', '.join(fields)} is too much")
        self._node.out.append(Note(self.path, note))

    def remark(self, what: str, /, **details: Any) -> None:
        """A row in the trace that readers show and nothing depends on; `what` is free."""
        self._node.out.append(Note(self.path, notes.Remark(what, details)))

    def blame(self, party: Party | None, reason: str, strength: Strength = Strength.KNOWN) -> None:
        """Record an accusation without discarding what this handler did."""
        self._node.out.append(Blame(self.path, party, reason, strength))

    # --- the tree ---

    def spawn(self, name: str, machine: Machine) -> None:
        """Seat a child at `path + (name,)` and start it, after this handler."""
        self._node.emit_spawn((*self.path, name), machine)

    def close(self, name: str) -> None:
        """Remove a child and its children; later messages for them are dropped."""
        self._node.emit_close((*self.path, name))

    def ask(self, child: str, ask: Any) -> None:
        """Put `ask` to a child's `on_ask`, after this handler."""
        self._node.emit_ask((*self.path, child), ask)

    def child(self, name: str) -> Machine | None:
        """A child's machine, to read and never to change."""
        return self._node.machine((*self.path, name))

    # --- links: for signaling and mesh alone ---

    def do(self, effect: Effect) -> None:
        """Emit a link effect (`Connect`, `MakeOffer`, …, `HangUp`, `Route`)."""
        self._node.out.append(effect)

    def send_on_link(self, to: Party, msg: Message) -> None:
        """Send on the link itself, whatever the route (confirmations, heartbeats)."""
        self._node.emit_direct(self.path, (to,), msg, self._seat_codec)

    def hand_over(self, sender: Party, frame: Frame) -> None:
        """Deliver a frame that we opened from a relayed message."""
        self._node.emit_received(sender, frame)
