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

import random
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import NoneType
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
from mpclab.core.errors import MachineError, Strength, UsageError
from mpclab.core.ids import Party, Path
from mpclab.core.notes import AnyNote
from mpclab.core.slips import annotated_messages, check_handlers, check_messages, not_a_message
from mpclab.core.wire import Decode, Frame, Message, Unreadable, decoder


class Outbox(Protocol):
    """The node as a context needs it: who and when we are, and a way out."""

    me: Party
    n: int
    members: tuple[Party, ...]
    others: tuple[Party, ...]
    now: int
    coins: Callable[[Path], random.Random]
    stored: dict[Path, dict[str, bytes]]
    heard: dict[Party, int]
    out: list[Effect]
    """The effects of this step, in order."""

    def machine(self, path: Path) -> Machine | None: ...
    def emit_send(
        self, path: Path, to: tuple[Party, ...], msg: Message, codec: str, decode: Decode | None
    ) -> None:
        """`decode`: how the receivers will read it, to be tried before it is sent."""

    def emit_direct(self, path: Path, to: tuple[Party, ...], msg: Message, codec: str) -> None: ...
    def emit_again(self, path: Path, sender: Party, msg: Message, codec: str) -> None: ...
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
    of the handler that raises it, but not what it did to `self` (see `core.strict`).
    """

    messages: ClassVar[Any] = None
    codec: ClassVar[str] = "msgpack"
    caches: ClassVar[frozenset[str]] = frozenset()
    """Attributes that a handler may change although it raises: they hold no state, only what
    was computed before."""
    archives: ClassVar[frozenset[str]] = frozenset()
    """Persisted items that only `start` reads, by their keys up to the first "/". They are on the
    disk alone: `ctx.stored` does not keep them as well."""
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
        """The decoder of this class's messages, made once, when the class was checked.

        Raises:
            MachineError: a slip in the class, with what to write instead.
        """
        if cls.__dict__.get("_decoder") is None:
            cls._check_class()
            types = cls._message_types()
            if types is not Message:
                check_messages(cls.__name__, types, raw=cls.codec == "json")
            cls._decoder = staticmethod(decoder(types, cls.codec))
        assert cls._decoder is not None
        return cls._decoder

    @classmethod
    def _message_types(cls) -> Any:
        if cls.messages is not None:
            return cls.messages
        if cls.on_message is Machine.on_message:
            return Message  # it takes none
        return annotated_messages(cls, cls.on_message)

    @classmethod
    def _check_class(cls) -> None:
        """Raise `MachineError` for handlers that could not be called, or never would be."""
        check_handlers(cls, Machine, HANDLERS)


HANDLERS = ("start", "on_message", "on_timer", "on_output", "on_ask", "on_link", "on_carry")
"""The methods of a machine that a node calls."""


_STORABLE: tuple[type, ...] = (bytes, NoneType)


@lru_cache
def _members(n: int) -> frozenset[Party]:
    return frozenset(range(1, n + 1))


class Ctx:
    """One machine's view of its party and the world. Valid only inside a handler.

    Attributes:
        me: this party, `1..n` (0 at the signaling server).
        n: number of parties; `members` is `(1, …, n)` and `others` leaves out `me`.
        path: this machine's address.
        stored: what this machine persisted before, by key.
    """

    __slots__ = ("_decode", "_node", "_rng", "_seat_codec", "_within", "me", "members", "n",
                 "others", "path")  # fmt: skip

    def __init__(self, node: Outbox, path: Path, machine: Machine) -> None:
        self._node = node
        self._seat_codec = machine.codec
        # Between parties all run one class: what it cannot read itself nobody reads, and whom it
        # sends to is a member. Towards the server one speaks JSON, to another class.
        peers = machine.codec != "json" and type(machine).on_message is not Machine.on_message
        self._decode = machine.decode() if peers else None
        self._within = _members(node.n) if machine.codec != "json" else None
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
        if self._within is not None and to not in self._within:
            raise self._slip(f"sends to {to!r}; its parties are 1 to {self.n}")
        self._emit((to,), msg)

    def multicast(self, to: Iterable[Party], msg: Message) -> None:
        """Send one `msg` to several parties: one serialisation, one row in the trace."""
        parties = tuple(to)
        if self._within is not None and not self._within.issuperset(parties):
            strangers = [p for p in parties if p not in self._within]
            raise self._slip(f"sends to {strangers[0]!r}; its parties are 1 to {self.n}")
        self._emit(parties, msg)

    def broadcast(self, msg: Message) -> None:
        """Send `msg` to every member, ourselves included (ours arrives in this same step)."""
        self._emit(self.members, msg)

    def _emit(self, to: tuple[Party, ...], msg: Message) -> None:
        if not isinstance(msg, Message):
            raise not_a_message(self._name, msg)
        try:
            self._node.emit_send(self.path, to, msg, self._seat_codec, self._decode)
        except Unreadable as error:
            raise self._slip(f"sends {error}") from None

    @property
    def _name(self) -> str:
        return type(self._node.machine(self.path)).__name__

    def _slip(self, problem: str) -> MachineError:
        return MachineError(f"{self._name} {problem}")

    def redeliver(self, sender: Party, msg: Message) -> None:
        """Deliver `msg`, which came from `sender` and was kept, again: after this handler, as a
        delivery of its own. So if it is wrong, only it is undone, and `sender` is blamed."""
        self._node.emit_again(self.path, sender, msg, self._seat_codec)

    # --- time, storage, results ---

    def set_timer(
        self, name: str, delay: int, *, background: bool = False, foreground: bool = False
    ) -> None:
        """Wake me in `delay` µs. A background timer (heartbeats) keeps no run alive; a foreground
        one does, even if a background one led to it: somebody waits for what it will do."""
        if type(delay) is not int or type(name) is not str:
            raise self._slip(
                f"calls set_timer({name!r}, {delay!r}); it takes a name and whole microseconds, "
                f"as in set_timer('retry', 5 * SECOND)"
            )
        node = self._node
        node.out.append(SetTimer(self.path, name, node.now + max(0, delay), background, foreground))

    def cancel_timer(self, name: str) -> None:
        """A cancelled timer never fires. Cancelling one that is not set does nothing."""
        self._node.out.append(CancelTimer(self.path, name))

    def persist(self, key: str, value: bytes | None) -> None:
        """Store `value` before anything that follows is sent; None deletes."""
        if type(key) is not str or type(value) not in _STORABLE:
            raise self._slip(
                f"calls persist({key!r}, {value!r:.80}); it takes a text and bytes, as in "
                f"persist('vote', msgspec.msgpack.encode(value))"
            )
        self._node.out.append(Persist(self.path, key, value))

    def kept_by(self, child: str) -> Mapping[str, bytes]:
        """The items that a child persisted, in this incarnation or before; empty if none."""
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
        if type(name) is not str or not isinstance(machine, Machine):
            raise self._slip(
                f"calls spawn({name!r}, {machine!r:.80}); it takes a name and an instance of a "
                f"Machine, as in spawn('coin', Coin())"
            )
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

    def heard(self, party: Party) -> int:
        """When the last frame came from `party` by link, µs; 0: never."""
        return self._node.heard.get(party, 0)

    def do(self, effect: Effect) -> None:
        """Emit a link effect (`Connect`, `MakeOffer`, …, `HangUp`, `Route`)."""
        self._node.out.append(effect)

    def send_on_link(self, to: Party, msg: Message) -> None:
        """Send on the link itself, whatever the route (confirmations, heartbeats)."""
        self._node.emit_direct(self.path, (to,), msg, self._seat_codec)

    def hand_over(self, sender: Party, frame: Frame) -> None:
        """Deliver a frame that we opened from a relayed message."""
        self._node.emit_received(sender, frame)
