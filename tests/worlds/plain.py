"""The simulated world without its quick ways: what they must be equal to, event by event.

One entry of the queue for each receiver, every draw made alone and from its whole key, one entry
taken at a time, and every message handled as any other input of a node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import mpclab
from mpclab.core.effects import Effect, Note
from mpclab.core.ids import SERVER, Party
from mpclab.core.node import Node
from mpclab.core.notes import UnconfirmedDropped
from mpclab.core.pieces import PIECES
from mpclab.core.wire import Frame
from mpclab.faults import draws
from mpclab.worlds.simulated.network import SimulatedNetwork
from mpclab.worlds.simulated.queue import InFlight, Multicast
from mpclab.worlds.simulated.steps import Steps


def _send(self: SimulatedNetwork, in_flight: InFlight, to: tuple[Party, ...]) -> None:
    src, frame = in_flight.source, in_flight.frame
    counts: Counter[Any] = self.__dict__.setdefault("plain_counts", Counter())
    counts[src, frame.path] += 1
    base = draws.key(self._seed, src, "/".join(frame.path), counts[src, frame.path])
    for dst in to:
        if not self._link_rules.quiet:
            self._judged(in_flight, base, dst)
            continue
        server = SERVER in (src, dst)
        if self.profile.loss and not server:
            if draws.uniform(base, 3 * dst + 2) < self.profile.loss:
                self.drop(src, dst, frame.id, "loss")
                continue
        u, v = (draws.uniform(base ^ 1, 2 * dst + k) for k in (0, 1))
        time = self._queue.now + self.profile.delay.of(u, v)
        if self.profile.bandwidth:
            time += self._wait(src, dst, len(frame.body))
        if self.profile.ordered or server:
            last = self._arrivals(src, dst)
            last[dst] = time = max(time, last[dst])
        self._queue.push(time, Multicast(in_flight, [dst], [time]))


def _nothing_quickly(self: Steps, end: int | None, *, watched: bool) -> bool:
    return False


def _deliver(self: Node, sender: Party, frame: Frame, now: int) -> list[Effect]:
    self._begin(now)
    if self.routes is not None and sender != SERVER and self.routes.get(sender) != "link":
        if frame.path != self._carrier:
            self.out.append(Note(frame.path, UnconfirmedDropped(sender, frame.kind)))
            return self.out
    self.heard[sender] = now
    if frame.path == PIECES:
        self._join(sender, frame)
    else:
        self._queue("frame", frame.path, sender, frame)
    self._drain()
    return self.out


@contextmanager
def plain_world() -> Iterator[None]:
    """While it lasts, simulated worlds go the slow way. Compiled classes cannot be changed; that
    they do what Python's do is in `tests/test_compiled.py`."""
    if mpclab.CORE == "compiled":
        pytest.skip("the slow ways take the place of Python's")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedNetwork, "send", _send)
        patch.setattr(Steps, "arrivals", _nothing_quickly)
        patch.setattr(Node, "deliver", _deliver)
        yield
