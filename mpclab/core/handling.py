"""`Handling`: the inner loop of a node. One message in; what its machine makes of it, out.

All that happens at every message of a run is here: routing it to its machine, running the handler,
undoing what a handler that raised had wanted, and the messages to ourselves that follow in the same
step. `Node` adds all that happens now and then. `make compiled` compiles this module as it stands.
"""

from __future__ import annotations

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
    Words,
)
from mpclab.core.errors import PeerFault, StateError, Strength, UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.machine import Ctx, Machine
from mpclab.core.pieces import PIECES, Assembly
from mpclab.core.slips import nobody_reads
from mpclab.core.strict import HalfDone, check_unchanged, snapshot
from mpclab.core.wire import MAX_MESSAGE, PIECE, Decode, Frame, Message

Coins: TypeAlias = Callable[[Path], random.Random]

Tamper: TypeAlias = Callable[[Words], Iterable[Words]]
"""From a message of a corrupted party's honest machine to those that it sends instead."""


class Seat:
    """A machine's place in its node."""

    __slots__ = ("ctx", "decode", "machine", "on_message")

    def __init__(self, machine: Machine, ctx: Ctx) -> None:
        self.machine = machine
        self.ctx = ctx
        self.decode: Decode = machine.decode()
        self.on_message = machine.on_message

    @property
    def path(self) -> Path:
        return self.ctx.path


class Handling:
    """The part of a `Node` that handles messages; see there for its arguments and attributes."""

    strict: ClassVar[bool] = False

    def __init__(
        self,
        me: Party,
        n: int,
        coins: Coins,
        carrier: Path | None,
        stored: Mapping[Path, Mapping[str, bytes]],
    ) -> None:
        self.me = me
        self.n = n
        self.members: tuple[Party, ...] = tuple(range(1, n + 1))
        self.others: tuple[Party, ...] = tuple(p for p in self.members if p != me)
        self.coins = coins
        self.now = 0
        self.stored: dict[Path, dict[str, bytes]] = {
            path: dict(items) for path, items in stored.items()
        }
        self.timers: dict[tuple[Path, str], int] = {}
        self.routes: dict[Party, str] | None = None if carrier is None else {}
        self.out: list[Effect] = []
        self.next_id = 1
        self.tamper: Tamper | None = None
        self.overhear: Callable[[Path, Party, Message], None] | None = None
        self.suspect = False
        self.heard: dict[Party, int] = {}
        self.contained: list[tuple[Party, Exception]] = []
        self._carrier = carrier
        self._seats: dict[Path, Seat] = {}
        self._pieces = Assembly()
        self._fifo: deque[tuple[Any, ...]] = deque()
        self._cause: Frame | None = None  # the message that led to what is handled; None: none did
        self._teller: Party = 0  # … and who sent it
        self._asked = False  # whether this step is our own user's

    # --- one message ----------------------------------------------------------------------

    def deliver(self, sender: Party, frame: Frame, now: int) -> list[Effect]:
        """`step(Delivered(sender, frame), now)`, without an event object."""
        return self.take(sender, frame, now)

    def take(self, sender: Party, frame: Frame, now: int) -> list[Effect]:
        """`deliver`, for a loop that is compiled with this module."""
        self.now = now  # as in _begin
        out: list[Effect] = []
        self.out = out
        if self.contained:
            self.contained = []
        self._cause = None
        self._asked = False
        routes = self.routes
        if routes is not None and sender != SERVER:
            if routes.get(sender) != "link" and frame.path != self._carrier:
                out.append(Note(frame.path, notes.UnconfirmedDropped(sender, frame.kind)))
                return out
        self.heard[sender] = now
        seat = self._seats.get(frame.path)
        if seat is None or frame.suspect or sender == self.me:
            self._take_other(seat, sender, frame)
        else:  # as in _receive, shorter: nothing was done in this step before
            self._teller = sender
            self._cause = frame
            try:
                msg: Any = frame.msg
                if frame.opened_by is not seat.decode:
                    msg = frame.open(seat.decode)
                if self.overhear is not None:
                    self.overhear(frame.path, sender, msg)
                seat.on_message(seat.ctx, sender, msg)
            except Exception as error:
                self._refuse(seat, sender, frame, error, 0, 0)
            else:
                if out:
                    self._absorb(0)
        if self._fifo:
            self._drain()
        return out

    def _take_other(self, seat: Seat | None, sender: Party, frame: Frame) -> None:
        """A message that is out of the ordinary."""
        if seat is not None:
            self._receive(seat, sender, frame)
        elif frame.path == PIECES:
            self._join(sender, frame)
        else:
            self._keep_early(sender, frame)

    def _begin(self, now: int) -> None:
        """A new step. What the last one answered stays its host's."""
        self.now = now
        self.out = []
        if self.contained:
            self.contained = []
        self._cause = None
        self._asked = False

    def _receive(self, seat: Seat, sender: Party, frame: Frame) -> None:
        """Have a machine handle one message of a peer, or of our own."""
        out = self.out
        mark, queued = len(out), len(self._fifo)
        if sender != self.me:
            self._teller = sender
            self._cause = frame
        before = snapshot(seat.machine) if frame.suspect and self.strict else None
        try:
            msg: Any = frame.msg
            if frame.opened_by is not seat.decode:
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
        self, seat: Seat, sender: Party, frame: Frame, error: Exception, mark: int, queued: int
    ) -> None:
        """A message that its handler did not take: nothing was done, and somebody is blamed."""
        self._undo(mark, queued)
        match error:
            case PeerFault():
                party = sender if error.party is None else error.party
                self.out.append(Blame(frame.path, party, error.reason, error.strength))
            case msgspec.DecodeError():
                if sender == self.me:
                    raise nobody_reads(type(seat.machine), frame.msg) from error
                reason = f"malformed message: {error}"
                self.out.append(Blame(frame.path, sender, reason, Strength.KNOWN))
            case _:
                self._contain(frame.path, error)

    # --- any handler ----------------------------------------------------------------------

    def _run(self, seat: Seat, handler: Callable[..., None], *args: Any) -> None:
        mark, queued = len(self.out), len(self._fifo)
        strict = self.strict and handler == seat.machine.on_ask
        before = snapshot(seat.machine) if strict else None
        try:
            handler(*args)
        except PeerFault as fault:
            self._undo(mark, queued)
            if before is not None:
                check_unchanged(seat.machine, before, fault)
            self.out.append(Blame(seat.path, fault.party, fault.reason, fault.strength))
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
        party, frame = self._teller, self._cause
        self.contained.append((party, error))
        reason = f"its {frame.kind} made us fail: {where(error)}"
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
                    if value is None or is_archived(self._seats.get(path), key):
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
            self._teller, self._cause, kind, path, one, two = fifo.popleft()
            try:
                if kind != "frame":
                    self._handle(kind, path, one, two)
                elif (seat := self._seats.get(path)) is not None:
                    self._receive(seat, one, two)
                else:
                    self._keep_early(one, two)
            except Exception as error:
                self._contain(path, error)

    def _queue(self, kind: str, path: Path | None, one: Any = None, two: Any = None) -> None:
        """To be handled in this step, for the same cause as what is handled now."""
        self._fifo.append((self._teller, self._cause, kind, path, one, two))

    # --- what a machine says --------------------------------------------------------------

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
            self._fifo.append((self._teller, self._cause, "frame", path, self.me, frame))
            to = self.others if everybody else tuple(p for p in to if p != self.me)
        if self.tamper is not None:
            self._say(self.tamper(Words(path, to, msg)), frame, to)
        elif not to:
            pass
        elif self.routes is None and len(frame.body) <= PIECE:
            self.out.append(Send(to, frame))
        else:
            self._route(to, frame)

    # --- what is for the whole node to do ---------------------------------------------------

    def _handle(self, kind: str, path: Path, one: Any, two: Any) -> None:
        """An entry of the FIFO that is no message."""
        raise NotImplementedError

    def _keep_early(self, sender: Party, frame: Frame) -> None:
        """A frame came for a machine that is not born yet, or has ended."""
        raise NotImplementedError

    def _join(self, sender: Party, frame: Frame) -> None:
        """A piece of a message came."""
        raise NotImplementedError

    def _route(self, to: tuple[Party, ...], frame: Frame) -> None:
        """Give a frame to the links, or in pieces, or to the carrier."""
        raise NotImplementedError

    def _say(
        self, words: Iterable[Words], honest: Frame | None = None, wanted: tuple[Party, ...] = ()
    ) -> None:
        """Send what an adversary wants instead of `honest`."""
        raise NotImplementedError


def is_archived(seat: Seat | None, key: str) -> bool:
    """Whether an item of this machine is on the disk alone."""
    return seat is not None and key.partition("/")[0] in seat.machine.archives


def where(error: Exception) -> str:
    """`OverflowError: int too big to convert (raft.py:212)`."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    place = f" ({FilePath(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno})" if step else ""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", str(error))
    return f"{type(error).__name__}: {text[:200]}{place}"
