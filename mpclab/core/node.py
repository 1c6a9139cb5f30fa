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

import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeAlias, assert_never

import msgspec

from mpclab.core import notes
from mpclab.core.effects import (
    AddCandidates,
    Asked,
    Blame,
    CancelTimer,
    Connect,
    Delivered,
    Described,
    Effect,
    Event,
    HangUp,
    Lied,
    LinkClosed,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    Note,
    Output,
    Persist,
    Prompted,
    Received,
    Route,
    Send,
    SetTimer,
    Started,
    TakeAnswer,
    TimerFired,
    Words,
)
from mpclab.core.errors import PeerFault, StateError, Strength, UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.machine import Ctx, Machine
from mpclab.core.pieces import PIECES, Assembly, cut
from mpclab.core.slips import nobody_reads
from mpclab.core.strict import HalfDone, check_unchanged, snapshot
from mpclab.core.wire import MAX_MESSAGE, PIECE, Decode, Frame, Message

Coins: TypeAlias = Callable[[Path], random.Random]

Tamper: TypeAlias = Callable[[Words], Iterable[Words]]
"""From a message of a corrupted party's honest machine to those that it sends instead."""

EARLY_FRAMES = 256
"""Frames kept per sender for machines not yet born. For more, its oldest are dropped with a note:
their machine may never be born here, and must not cost the next one its messages."""
EARLY_BYTES = 1024 * 1024
CLOSED_KEPT = 4096
"""Machines of the past whose stragglers are dropped unread; those of older ones wait with what is
early, at their sender's expense."""


class _Seat:
    __slots__ = ("ctx", "decode", "machine", "on_message")

    def __init__(self, machine: Machine, ctx: Ctx) -> None:
        self.machine = machine
        self.ctx = ctx
        self.decode: Decode = machine.decode()
        self.on_message = machine.on_message


class Node:
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
        self.me = me
        self.n = n
        self.members: tuple[Party, ...] = tuple(range(1, n + 1))
        self.others: tuple[Party, ...] = tuple(p for p in self.members if p != me)
        self.coins = coins
        self.now = 0
        self.top = at
        self.stored: dict[Path, dict[str, bytes]] = {
            path: dict(items) for path, items in (stored or {}).items()
        }
        self._took_up = frozenset(self.stored)
        self.timers: dict[tuple[Path, str], int] = {}
        self.routes: dict[Party, str] | None = None if carrier is None else {}
        self.out: list[Effect] = []
        self._carrier = carrier
        self.next_id = 1
        self.tamper: Tamper | None = None
        self.overhear: Callable[[Path, Party, Message], None] | None = None
        self.suspect = False
        self._seats: dict[Path, _Seat] = {}
        self._closed: dict[Path, None] = {}  # the latest, oldest first
        self._early: dict[Path, list[tuple[Party, Frame]]] = {}
        self._early_from: dict[Party, deque[Frame]] = {}  # the same frames, oldest first
        self._early_bytes: dict[Party, int] = {}
        self.heard: dict[Party, int] = {}
        self.contained: list[tuple[Party, Exception]] = []
        self._pieces = Assembly()
        self._fifo: deque[tuple[Any, ...]] = deque()
        self._cause: tuple[Party, Frame] | None = None  # whose message is handled; None: nobody's
        self._asked = False  # whether this step is our own user's
        self._refusal: UsageError | None = None  # what a child of the asked machine said to that
        self._seats[at] = _Seat(machine, Ctx(self, at, machine))

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

    def deliver(self, sender: Party, frame: Frame, now: int) -> list[Effect]:
        """`step(Delivered(sender, frame), now)`, without an event object."""
        self.now = now  # as in _begin
        self.out = []
        if self.contained:
            self.contained = []
        self._cause = None
        self._asked = False
        routes = self.routes
        if routes is not None and sender != SERVER:
            if routes.get(sender) != "link" and frame.path != self._carrier:
                self.out.append(Note(frame.path, notes.UnconfirmedDropped(sender, frame.kind)))
                return self.out
        self.heard[sender] = now
        seat = self._seats.get(frame.path)
        if seat is not None:
            self._receive(seat, sender, frame)
            if self._fifo:
                self._drain()
        elif frame.path == PIECES:
            self._join(sender, frame)
            self._drain()
        else:
            self._keep_early(sender, frame)
        return self.out

    def _begin(self, now: int) -> None:
        """A new step. What the last one answered stays its host's."""
        self.now = now
        self.out = []
        if self.contained:
            self.contained = []
        self._cause = None
        self._asked = False

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
            path: _Seat(seat.machine, Ctx(node, path, seat.machine))
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

    def _receive(self, seat: _Seat, sender: Party, frame: Frame) -> None:
        out = self.out
        mark, queued = len(out), len(self._fifo)
        if sender != self.me:
            self._cause = sender, frame
        before = snapshot(seat.machine) if frame.suspect and Node.strict else None
        try:
            msg = frame.open(seat.decode)
            if self.overhear is not None:
                self.overhear(frame.path, sender, msg)
            seat.on_message(seat.ctx, sender, msg)
        except Exception as error:
            self._refuse(seat, sender, frame, error, mark, queued)
            if before is not None and isinstance(error, PeerFault):
                check_unchanged(seat.machine, before, error)
        else:
            if len(out) > mark:
                self._absorb(mark)

    def _refuse(
        self, seat: _Seat, sender: Party, frame: Frame, error: Exception, mark: int, queued: int
    ) -> None:
        """A message that its handler did not take: nothing was done, and somebody is blamed."""
        match error:
            case PeerFault():
                self._undo(mark, queued)
                party = sender if error.party is None else error.party
                self.out.append(Blame(frame.path, party, error.reason, error.strength))
            case msgspec.DecodeError():
                if sender == self.me:
                    raise nobody_reads(type(seat.machine), frame.msg) from error
                self._undo(mark, queued)
                reason = f"malformed message: {error}"
                self.out.append(Blame(frame.path, sender, reason, Strength.KNOWN))
            case _:
                self._undo(mark, queued)
                self._contain(frame.path, error)

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

    def _run(self, seat: _Seat, handler: Callable[..., None], *args: Any) -> None:
        mark, queued = len(self.out), len(self._fifo)
        strict = Node.strict and handler == seat.machine.on_ask
        before = snapshot(seat.machine) if strict else None
        try:
            handler(*args)
        except PeerFault as fault:
            self._undo(mark, queued)
            if before is not None:
                check_unchanged(seat.machine, before, fault)
            self.out.append(Blame(seat.ctx.path, fault.party, fault.reason, fault.strength))
        except Exception as error:
            self._undo(mark, queued)
            if before is not None:
                check_unchanged(seat.machine, before, error)
            raise
        else:
            self._absorb(mark)

    def _contain(self, path: Path, error: Exception) -> None:
        """Blame the peer whose message led to `error`; where there is none, it is a bug.

        An exception may come from values that the peer chose, or from a bug of ours; the node
        cannot tell, so the blame is no more than a suspicion, and says where it happened.
        """
        if self._cause is None or isinstance(error, (HalfDone, StateError)):
            raise error
        party, frame = self._cause
        self.contained.append((party, error))
        reason = f"its {frame.kind} made us fail: {_where(error)}"
        self.out.append(Blame(path, party, reason, Strength.SUSPECT))

    def _undo(self, mark: int, queued: int) -> None:
        del self.out[mark:]
        while len(self._fifo) > queued:
            self._fifo.pop()

    def _absorb(self, mark: int) -> None:
        """Note what the new effects mean for the node itself."""
        out = self.out
        for at in range(mark, len(out)):
            effect = out[at]
            kind = type(effect)
            if kind is Send or kind is Note:
                continue
            match effect:
                case SetTimer(path, name, at):
                    self.timers[path, name] = at
                case CancelTimer(path, name):
                    self.timers.pop((path, name), None)
                case Persist(path, key, value):
                    items = self.stored.setdefault(path, {})
                    if value is None or _is_archived(self._seats.get(path), key):
                        items.pop(key, None)
                    else:
                        items[key] = value
                case Route(_, peer, via):
                    if self.routes is not None:
                        self.routes[peer] = via
                        if via != "link":
                            self._pieces.forget(peer)
                case (
                    Send() | Note() | Output() | Blame() | Lied() | Received() | Connect()
                    | MakeOffer() | MakeAnswer() | TakeAnswer() | AddCandidates() | HangUp()
                ):  # fmt: skip
                    pass  # for the host
                case _:
                    assert_never(effect)

    def _drain(self) -> None:
        """Run loopback messages, outputs, asks and births, first in first out."""
        fifo = self._fifo
        while fifo:
            self._cause, kind, path, one, two = fifo.popleft()
            try:
                if kind == "frame" and (seat := self._seats.get(path)) is not None:
                    self._receive(seat, one, two)
                else:
                    self._handle(kind, path, one, two)
            except Exception as error:
                self._contain(path, error)

    def _handle(self, kind: str, path: Path, one: Any, two: Any) -> None:
        if kind == "spawn":
            self._seat(path, one)
        elif kind == "close":
            self._unseat(path)
        elif kind == "ask":
            self._pass_on(path, one)
        elif (seat := self._seats.get(path)) is None:
            if kind == "frame":
                self._keep_early(one, two)
        elif kind == "frame":
            self._receive(seat, one, two)
        elif kind == "output":
            self._run(seat, seat.machine.on_output, seat.ctx, one, two)
        else:
            assert kind == "carry"
            self._run(seat, seat.machine.on_carry, seat.ctx, one, two)

    def _queue(self, kind: str, path: Path | None, one: Any = None, two: Any = None) -> None:
        """To be handled in this step, for the same cause as what is handled now."""
        self._fifo.append((self._cause, kind, path, one, two))

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

    def emit_send(
        self,
        path: Path,
        to: tuple[Party, ...],
        msg: Message,
        codec: str,
        decode: Decode | None = None,
    ) -> None:
        frame = Frame(self.next_id, path, msg, codec=codec)
        if self.suspect:
            frame.suspect = True
        if decode is not None:
            frame.try_out(decode)
        if len(frame.body) > MAX_MESSAGE:
            raise UsageError(
                f"{frame.kind} has {len(frame.body)} bytes; a message takes {MAX_MESSAGE} at most: "
                "send it in several"
            )
        self.next_id += 1
        # A server has no members, and () is () also where it speaks to nobody.
        everybody = to is self.members and self.n > 0
        if everybody or self.me in to:
            self._fifo.append((self._cause, "frame", path, self.me, frame))
            to = self.others if everybody else tuple(p for p in to if p != self.me)
        if self.tamper is not None:
            self._say(self.tamper(Words(path, to, msg)), frame, to)
        elif not to:
            pass
        elif self.routes is None and len(frame.body) <= PIECE:
            self.out.append(Send(to, frame))
        else:
            self._route(to, frame)

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

    def _find(self, path: Path) -> _Seat:
        seat = self._seats.get(path)
        if seat is None:
            raise UsageError(
                f"party {self.me} has nothing running at {'/'.join(path) or 'its top'}"
            )
        return seat

    def _seat(self, path: Path, machine: Machine) -> None:
        if path in self._seats or path in self._closed:
            raise RuntimeError(f"{'/'.join(path)} was spawned before; names are used once")
        seat = self._seats[path] = _Seat(machine, Ctx(self, path, machine))
        try:
            self._start(seat, path)
        except Exception:
            del self._seats[path]
            raise
        for sender, frame in self._take_early(path):
            self._queue("frame", path, sender, frame)

    def _start(self, seat: _Seat, path: Path) -> None:
        try:
            self._run(seat, seat.machine.start, seat.ctx)
        except Exception as error:
            if path not in self._took_up:
                raise
            if path == self.top and isinstance(error, UsageError):
                raise  # it says itself which record is damaged, and no peer's message bore it
            place = "/".join(path) or "the top"
            raise StateError(f"what {place} had stored is damaged: {_where(error)}") from error
        if seat.machine.archives and path in self.stored:
            kept = self.stored[path].items()
            self.stored[path] = {k: v for k, v in kept if not _is_archived(seat, k)}

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


def _is_archived(seat: _Seat | None, key: str) -> bool:
    """Whether an item of this machine is on the disk alone."""
    return seat is not None and key.partition("/")[0] in seat.machine.archives


def _where(error: Exception) -> str:
    """`OverflowError: int too big to convert (raft.py:212)`."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    place = f" ({FilePath(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno})" if step else ""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", str(error))
    return f"{type(error).__name__}: {text[:200]}{place}"
