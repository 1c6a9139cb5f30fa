"""The event queue of the simulated world, and its clock.

A broadcast is one entry, a multicast, whose cursor moves from receiver to receiver, instead of n
entries. Order is (time, number of the entry, place in the multicast): total, and independent of
memory addresses or hash seeds. Foreground entries are counted, so that a run can end when
only heartbeats are left. Time never goes back: what is put in for a time that has passed
happens now.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from mpclab.core.effects import Event
from mpclab.core.ids import Party, Path
from mpclab.core.wire import Frame
from mpclab.worlds.simulated.heap import Heap

FOREVER = 2**62
"""The last moment there is, µs: what is later happens then."""


class InFlight:
    """A frame on its way, and who sends it.

    Attributes:
        source: the actor that sends it, for the trace.
        sender: what the receiver's link stamps: a party; at the server a connection.
        connection: the number of the connection that carries it; 0: none does.
    """

    __slots__ = ("background", "connection", "frame", "sender", "source")

    def __init__(
        self,
        source: Party,
        sender: int,
        frame: Frame,
        background: bool = False,
        connection: int = 0,
    ) -> None:
        self.source = source
        self.sender = sender
        self.frame = frame
        self.background = background
        self.connection = connection


class Multicast:
    """One frame on its way to several receivers, at sorted times."""

    __slots__ = ("background", "corrupt", "in_flight", "index", "times", "to")

    def __init__(
        self, in_flight: InFlight, to: list[Party], times: list[int], *, corrupt: bool = False
    ) -> None:
        self.in_flight = in_flight
        self.to = to
        self.times = times
        self.index = 0
        self.background = in_flight.background
        self.corrupt = corrupt

    def only(self, actor: Party) -> "Multicast":
        """The same, on its way to one receiver alone."""
        return Multicast(self.in_flight, [actor], [0], corrupt=self.corrupt)


class Timer(msgspec.Struct, frozen=True):
    """A timer of a machine."""

    actor: Party
    path: Path
    name: str
    background: bool


class Scheduled(msgspec.Struct, frozen=True):
    """An event for one incarnation of an actor."""

    actor: Party
    incarnation: int
    event: Event
    background: bool = False
    connection: int = 0  # to the server, if it is about one


class Deferred(msgspec.Struct, frozen=True):
    """An entry that a slow actor handles when it has done what came before."""

    actor: Party
    incarnation: int
    item: Any
    background: bool = False


class Action(msgspec.Struct, frozen=True):
    """Something the experiment does: a call without arguments."""

    call: Callable[[], None]
    background: bool = False


class Queue:
    """A heap of (time, number, item), and the virtual clock that its entries drive.

    Attributes:
        now: µs; the time of the entry that was taken last.
        background: whether that entry keeps no run alive: what it leads to does not either.
        foreground: how many entries keep a run alive.
        changed: set by whoever does something that a run may wait for; a run resets it.
        taken: how many entries have been taken since the world began.
        heap: the entries, for who takes many at a time (`arrivals`).
    """

    def __init__(self) -> None:
        self.now = 0
        self.background = False
        self.foreground = 0
        self.changed = False
        self.taken = 0
        self.heap = Heap()
        self._number = 0
        self._timers: dict[tuple[Party, Path, str], tuple[int, int, bool]] = {}

    def push(self, time: int, item: Multicast | Scheduled | Deferred | Action) -> None:
        """Put `item` in for `time`."""
        self._number += 1
        if time < self.now:
            time = self.now
        elif time > FOREVER:
            time = FOREVER
        self.heap.push(time, self._number, item)
        if not item.background:
            self.foreground += 1

    def set_timer(self, actor: Party, path: Path, name: str, at: int, background: bool) -> None:
        """Replaces the timer of the same name."""
        self.cancel_timer(actor, path, name)
        at = min(max(at, self.now), FOREVER)
        self._number += 1
        self._timers[actor, path, name] = (at, self._number, background)
        self.heap.push(at, self._number, Timer(actor, path, name, background))
        if not background:
            self.foreground += 1

    def cancel_timer(self, actor: Party, path: Path, name: str) -> None:
        known = self._timers.pop((actor, path, name), None)
        if known and not known[2]:
            self.foreground -= 1

    def is_background(self, actor: Party, path: Path, name: str) -> bool | None:
        """Whether a timer keeps no run alive; None when it is not set."""
        known = self._timers.get((actor, path, name))
        return known[2] if known else None

    def forget(self, actor: Party) -> None:
        """Cancel all timers of an actor."""
        for key in [k for k in self._timers if k[0] == actor]:
            self.cancel_timer(*key)

    @property
    def next_time(self) -> int | None:
        """When the next live entry is due; None when there is none."""
        heap = self.heap
        while (item := heap.item) is not None:
            if type(item) is Timer:
                known = self._timers.get((item.actor, item.path, item.name))
                if known is None or known[1] != heap.number:
                    heap.pop()
                    continue
            return heap.time
        return None

    def take_out(self, source: Party, id: int, receiver: Party) -> tuple[int, Multicast] | None:
        """Take one receiver's share of a frame on its way out: its time, and what was to come."""
        entries = self.heap.entries()
        for place, (_, number, item) in enumerate(entries):
            if type(item) is not Multicast or item.in_flight.source != source:
                continue
            if item.in_flight.frame.id != id or receiver not in item.to[item.index :]:
                continue
            share = item.to.index(receiver, item.index)
            time = item.times.pop(share)
            del item.to[share]
            if item.index < len(item.to):
                entries[place] = (item.times[item.index], number, item)
            else:
                del entries[place]
                self.foreground -= not item.background
            self.heap = Heap(entries)
            alone = Multicast(item.in_flight, [receiver], [time], corrupt=item.corrupt)
            return time, alone
        return None

    @property
    def carries(self) -> bool:
        """Whether a foreground message is on its way, or waits for a slow actor."""
        return any(
            isinstance(item, Multicast | Deferred) and not item.background
            for _, _, item in self.heap.entries()
        )

    def advance(self, time: int) -> None:
        """Let time pass until `time`, though nothing is due."""
        self.now = max(self.now, min(time, FOREVER))

    def pop(self) -> Any:
        """The entry that `next_time` has just announced; its time is now. A multicast stays until
        its last receiver; take that one from `index - 1`."""
        heap = self.heap
        self.taken += 1
        self.now, item = heap.time, heap.item
        self.background = item.background
        if type(item) is Multicast:
            item.index += 1
            if item.index < len(item.to):
                heap.again(item.times[item.index])
                return item
        heap.pop()
        if type(item) is Timer:
            del self._timers[item.actor, item.path, item.name]
        if not item.background:
            self.foreground -= 1
        return item
