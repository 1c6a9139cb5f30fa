"""`Node`: one party. A tree of machines behind one function, `step(event, now) -> effects`.

The node routes frames to machines by path, keeps frames for machines not yet born (bounded
per sender) and drops those for closed ones, runs our own loopback messages, child outputs and
asks through one FIFO to completion within the step, and turns `PeerFault` into `Blame`. It
never touches a clock or a socket: a step is a pure function of the node, the event and `now`.

An exception of a handler on a peer's message is that peer's fault too, of any class: the handler's
effects are undone, the peer is blamed (SUSPECT, for it may be a bug of ours), and the node goes
on; `contained` tells the host. An exception on anything else is a bug, and the host's to handle.
A machine that cannot begin with what an earlier life stored for it is nobody's fault, whoever's
message bore it: `StateError` ends the node, and nothing is written.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, assert_never

import msgspec

from mpclab.core import notes
from mpclab.core.effects import (
    Asked,
    Blame,
    CancelTimer,
    Delivered,
    Described,
    Effect,
    Event,
    Lied,
    LinkClosed,
    LinkOpened,
    Note,
    Output,
    Prompted,
    Received,
    Send,
    Started,
    TimerFired,
    Words,
)
from mpclab.core.errors import PeerFault, StateError, Strength, UsageError
from mpclab.core.handling import Coins as Coins
from mpclab.core.handling import Handling, Seat, is_archived, where
from mpclab.core.handling import Tamper as Tamper
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.machine import Ctx, Machine
from mpclab.core.pieces import PIECES, cut
from mpclab.core.wire import PIECE, Frame, Message

EARLY_FRAMES = 256
"""Frames kept per sender for machines not yet born. For more, its oldest are dropped with a note:
their machine may never be born here, and must not cost the next one its messages."""
EARLY_BYTES = 1024 * 1024
CLOSED_KEPT = 4096
"""Machines of the past whose stragglers are dropped unread; those of older ones wait with what is
early, at their sender's expense."""


class Node(Handling):
    """One party (or the signaling server, party 0) and its machines.

    Args:
        me: this party.
        n: number of parties in its session; members are `1..n`.
        machine: the machine at the top of the tree.
        coins: a function from path to this machine's stream of random numbers.
        at: the path of the top machine.
        carrier: the path of the machine that sets routes. With one, a peer is unreachable
            until a `Route` says otherwise, and frames from peers whose link is not confirmed
            are dropped, but for the carrier's own. Without one every peer is linked.
        stored: what an earlier life of this party persisted, by path and key.

    Attributes:
        next_id: the number of the next frame. A host goes on counting where an earlier life
            stopped, so that (sender, id) names one message of the run.
        heard: when the last frame came from each peer, by link. Any frame is a sign of life.
        contained: what peers' messages made fail in the last step, and whose they were.
        suspect: what this node sends may be a lie; only `strict` cares.
        tamper: the adversary, where a host has put one: asked before anything is routed or
            sealed, so it lies by relay as on links. Its messages to itself stay honest.
        overhear: an adversary that listens: called with each message that a machine takes.
    """

    strict: ClassVar[bool] = False
    """Whether handlers that raise are held to having changed nothing (see `core.strict`)."""

    def __init__(
        self,
        me: Party,
        n: int,
        machine: Machine,
        *,
        coins: Coins,
        at: Path = (),
        carrier: Path | None = None,
        stored: Mapping[Path, Mapping[str, bytes]] | None = None,
    ) -> None:
        super().__init__(me, n, coins, carrier, stored or {})
        self.top = at
        self._took_up = frozenset(self.stored)
        self._closed: dict[Path, None] = {}  # the latest, oldest first
        self._early: dict[Path, list[tuple[Party, Frame]]] = {}
        self._early_from: dict[Party, deque[Frame]] = {}  # the same frames, oldest first
        self._early_bytes: dict[Party, int] = {}
        self._refusal: UsageError | None = None  # what a child of the asked machine said to that
        self._seats[at] = Seat(machine, Ctx(self, at, machine))

    # --- the host's side ------------------------------------------------------------------

    def step(self, event: Event, now: int) -> list[Effect]:
        """React to one event at time `now` (µs); what to do about it is the answer.

        Raises:
            UsageError: an `Asked` that cannot be done. When the machine that was asked refuses,
                nothing was done. When it passed the ask on and a child refuses, what the others
                did in this step stays done: `out` has the effects, for the host to perform.
        """
        if type(event) is Delivered:
            return self.deliver(event.sender, event.frame, now)
        self._begin(now)
        self._asked = type(event) is Asked
        match event:
            case Started():
                seat = self._seats[self.top]
                self._start(seat, self.top)
            case TimerFired(path, name):
                if self.timers.get((path, name), now + 1) > now:
                    return self.out  # replaced, cancelled, or of an earlier life
                del self.timers[path, name]
                if timed := self._seats.get(path):
                    self._run(timed, timed.machine.on_timer, timed.ctx, name)
            case Asked(path, ask):
                asked = self._find(path)
                self._run(asked, asked.machine.on_ask, asked.ctx, ask)
            case Prompted(words):
                self._say(words)
            case Described() | LinkOpened() | LinkClosed():
                if linked := self._seats.get(event.path):
                    self._run(linked, linked.machine.on_link, linked.ctx, event)
            case Delivered():
                raise AssertionError("delivered above")
            case _:
                assert_never(event)
        self._drain()
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            raise refusal
        return self.out

    def machine(self, path: Path) -> Machine | None:
        """The machine at `path`, to read and never to change."""
        seat = self._seats.get(path)
        return seat.machine if seat else None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The addresses of all machines now alive, in order of birth."""
        return tuple(self._seats)

    def part(self, at: Path, coins: Coins) -> "Node":
        """A node of its own with the machines at and below `at`, as they are: their timers, what
        they stored, and what waits for those not yet born. Every peer is linked to it.

        The machines are shared: this node must not be stepped any more.
        """
        depth = len(at)
        stored = {path: items for path, items in self.stored.items() if path[:depth] == at}
        node = Node(self.me, self.n, self._seats[at].machine, coins=coins, at=at, stored=stored)
        node.next_id, node.now = self.next_id, self.now
        node._seats = {
            path: Seat(seat.machine, Ctx(node, path, seat.machine))
            for path, seat in self._seats.items()
            if path[:depth] == at
        }
        node._closed = {path: None for path in self._closed if path[:depth] == at}
        node.timers = {key: t for key, t in self.timers.items() if key[0][:depth] == at}
        for path, waiting in self._early.items():
            if path[:depth] == at:
                for sender, frame in waiting:
                    node._keep_early(sender, frame)
        return node

    # --- running handlers -----------------------------------------------------------------

    def _join(self, sender: Party, frame: Frame) -> None:
        """A piece of a message came; the message comes with its last one."""
        try:
            whole = self._pieces.join(sender, frame)
        except PeerFault as fault:
            self.out.append(Blame(PIECES, sender, fault.reason, fault.strength))
        except msgspec.DecodeError as error:
            reason = f"malformed piece: {error}"
            self.out.append(Blame(PIECES, sender, reason, Strength.KNOWN))
        else:
            if whole is not None:
                self.emit_received(sender, whole)

    def _handle(self, kind: str, path: Path, one: Any, two: Any) -> None:
        if kind == "spawn":
            self._seat(path, one)
        elif kind == "close":
            self._unseat(path)
        elif kind == "ask":
            self._pass_on(path, one)
        elif (seat := self._seats.get(path)) is None:
            pass  # its machine has ended
        elif kind == "output":
            self._run(seat, seat.machine.on_output, seat.ctx, one, two)
        else:
            assert kind == "carry"
            self._run(seat, seat.machine.on_carry, seat.ctx, one, two)

    def _pass_on(self, path: Path, ask: Any) -> None:
        """A parent's ask. A refusal by its child is an error of our user, if it began there."""
        try:
            seat = self._find(path)
            self._run(seat, seat.machine.on_ask, seat.ctx, ask)
        except UsageError as error:
            if self._asked:
                self._refusal = self._refusal or error
                return
            refused = notes.AskRefused(type(ask).__name__, str(error))
            self.out.append(Note(path, refused))

    # --- what a context may do ------------------------------------------------------------

    def _say(
        self, words: Iterable[Words], honest: Frame | None = None, wanted: tuple[Party, ...] = ()
    ) -> None:
        """Send what an adversary wants; `honest` is the frame that a machine `wanted` sent to
        these others. Where something else is said, a `Lied` says so before it."""
        mark, path = len(self.out), () if honest is None else honest.path
        kind, number = ("", 0) if honest is None else (honest.kind, honest.id)
        missed, said = wanted, []
        for one in words:
            to = tuple(p for p in one.to if p != self.me)
            if not to:
                continue
            if honest is not None and (one.path, one.msg) == (honest.path, honest.msg):
                self._route(to, honest)
                honest = None  # said again, it is another message
                missed = tuple(p for p in wanted if p not in to)
                continue
            id, self.next_id = self.next_id, self.next_id + 1
            path = path or one.path
            said.append(id)
            if isinstance(one.msg, bytes):
                frame = Frame(id, one.path, body=one.msg)
            else:
                seat = self._seats.get(one.path)
                codec = seat.machine.codec if seat else "msgpack"
                frame = Frame(id, one.path, one.msg, codec=codec)
            frame.suspect = True
            self._route(to, frame)
        if missed or said:
            self.out.insert(mark, Lied(path, kind, number, missed, tuple(said)))

    def _route(self, to: tuple[Party, ...], frame: Frame) -> None:
        """Give `frame` to the links; by relay it is named only, and goes to the carrier."""
        via = self.routes
        if via is None:
            self._send(to, frame)
            return
        direct = tuple(p for p in to if p == SERVER or via.get(p) == "link")
        if direct:
            self._send(direct, frame)
        if len(direct) == len(to):
            return
        carried = tuple(p for p in to if via.get(p) == "relay")
        if carried:
            self.out.append(Send(carried, frame, "relay"))
            self._queue("carry", self._carrier, carried, frame)
        lost = tuple(p for p in to if p != SERVER and via.get(p, "none") == "none")
        if lost:
            self.out.append(Send(lost, frame, "none"))

    def _send(self, to: tuple[Party, ...], frame: Frame) -> None:
        """By link: whole, or named here and sent in pieces."""
        if len(frame.body) <= PIECE or SERVER in to or self.me == SERVER:
            self.out.append(Send(to, frame))
            return
        self.out.append(Send(to, frame, "pieces"))
        for piece in cut(frame):
            self.out.append(Send(to, Frame(self.next_id, PIECES, piece)))
            self.next_id += 1

    def emit_again(self, path: Path, sender: Party, msg: Message, codec: str) -> None:
        frame = Frame(0, path, msg, codec=codec)
        frame.suspect = True
        self._queue("frame", path, sender, frame)

    def emit_direct(self, path: Path, to: tuple[Party, ...], msg: Message, codec: str) -> None:
        self.out.append(Send(to, Frame(self.next_id, path, msg, codec=codec)))
        self.next_id += 1

    def emit_received(self, sender: Party, frame: Frame) -> None:
        self.out.append(Received(sender, frame))
        self._queue("frame", frame.path, sender, frame)

    def emit_output(self, path: Path, value: Any) -> None:
        self.out.append(Output(path, value))
        if path != self.top:
            self._queue("output", path[:-1], path[-1], value)

    def emit_report(self, path: Path, value: Any) -> None:
        if path == self.top:
            self.out.append(Output(path, value))
        else:
            self._queue("output", path[:-1], path[-1], value)

    def emit_spawn(self, path: Path, machine: Machine) -> None:
        self._queue("spawn", path, machine)

    def emit_close(self, path: Path) -> None:
        self._queue("close", path)

    def emit_ask(self, path: Path, ask: Any) -> None:
        self._queue("ask", path, ask)

    # --- births, deaths, and frames for neither -------------------------------------------

    def _find(self, path: Path) -> Seat:
        seat = self._seats.get(path)
        if seat is None:
            raise UsageError(
                f"party {self.me} has nothing running at {'/'.join(path) or 'its top'}"
            )
        return seat

    def _seat(self, path: Path, machine: Machine) -> None:
        if path in self._seats or path in self._closed:
            raise RuntimeError(f"{'/'.join(path)} was spawned before; names are used once")
        seat = self._seats[path] = Seat(machine, Ctx(self, path, machine))
        try:
            self._start(seat, path)
        except Exception:
            del self._seats[path]
            raise
        for sender, frame in self._take_early(path):
            self._queue("frame", path, sender, frame)

    def _start(self, seat: Seat, path: Path) -> None:
        try:
            self._run(seat, seat.machine.start, seat.ctx)
        except Exception as error:
            if path not in self._took_up:
                raise
            if path == self.top and isinstance(error, UsageError):
                raise  # it says itself which record is damaged, and no peer's message bore it
            place = "/".join(path) or "the top"
            raise StateError(f"what {place} had stored is damaged: {where(error)}") from error
        if seat.machine.archives and path in self.stored:
            kept = self.stored[path].items()
            self.stored[path] = {k: v for k, v in kept if not is_archived(seat, k)}

    def _unseat(self, path: Path) -> None:
        depth = len(path)
        for other in [p for p in self._seats if p[:depth] == path]:
            del self._seats[other]
        for key in [k for k in self.timers if k[0][:depth] == path]:
            del self.timers[key]
            self.out.append(CancelTimer(*key))
        for other in [p for p in self._early if p[:depth] == path]:
            self._take_early(other)
        self._closed[path] = None
        if len(self._closed) > CLOSED_KEPT:
            del self._closed[next(iter(self._closed))]

    def _keep_early(self, sender: Party, frame: Frame) -> None:
        path = frame.path
        if any(path[:depth] in self._closed for depth in range(len(path) + 1)):
            return  # the session is over; its stragglers are not news
        frames = self._early_from.setdefault(sender, deque())
        room = EARLY_BYTES - len(frame.body)
        while frames and (len(frames) >= EARLY_FRAMES or self._early_bytes[sender] > room):
            self._drop_early(sender, frames.popleft())
        frames.append(frame)
        self._early_bytes[sender] = self._early_bytes.get(sender, 0) + len(frame.body)
        self._early.setdefault(path, []).append((sender, frame))

    def _drop_early(self, sender: Party, frame: Frame) -> None:
        waiting = self._early[frame.path]
        waiting.remove((sender, frame))
        if not waiting:
            del self._early[frame.path]
        self._early_bytes[sender] -= len(frame.body)
        self.out.append(Note(frame.path, notes.EarlyDropped(sender, frame.kind)))

    def _take_early(self, path: Path) -> list[tuple[Party, Frame]]:
        """The frames kept for `path`, in order of arrival; no longer kept."""
        taken = self._early.pop(path, [])
        for sender, frame in taken:
            self._early_from[sender].remove(frame)
            self._early_bytes[sender] -= len(frame.body)
        return taken
