"""The simulated network: when a frame arrives, in which order, or why not at all.

A broadcast is one entry of the queue, however many receivers it has; its delays are drawn
together. While faults are active each receiver's delivery is judged apart. Both ways draw the same
numbers, keyed by (seed, sender, path, how manieth frame, receiver).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from mpclab.core.ids import SERVER, Party, Path
from mpclab.faults import draws
from mpclab.faults.link_rules import Delivery, LinkRules
from mpclab.faults.network import Network
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.base import speaker
from mpclab.worlds.simulated.queue import Parcel, Queue, Wave

FEW = 8
"""Receivers up to which scalar draws are quicker than NumPy's."""
_PASSES = Delivery()


class Draw:
    """Uniform draws for one message and receiver, by purpose."""

    __slots__ = ("_base", "_dst")

    def __init__(self, base: int, dst: Party) -> None:
        self._base = base
        self._dst = dst

    def __call__(self, purpose: str) -> float:
        return draws.uniform(draws.key(self._base, purpose), self._dst)


class Wires:
    """All links, as far as time, loss and order go. `now` is set by the world."""

    def __init__(
        self, seed: int, network: Network, link_rules: LinkRules, queue: Queue, trace: Trace
    ) -> None:
        self.now = 0
        self._seed = seed
        self.network = network
        self._link_rules = link_rules
        self._queue = queue
        self._trace = trace
        self._last: dict[Party, npt.NDArray[np.int64]] = {}  # latest arrival, by receiver
        self._busy: dict[tuple[Party, Party], int] = {}  # bandwidth: a link's work until
        self._counts: dict[tuple[Party, Path], int] = {}

    def send(self, parcel: Parcel, to: tuple[Party, ...]) -> None:
        """Send one frame to each of `to`."""
        base = self._key(parcel.source, parcel.frame.path)
        if not self._link_rules.quiet:
            for dst in to:
                self._judged(parcel, base, dst)
        elif len(to) > FEW:
            self._many(parcel, base, to)
        else:
            for dst in to:
                self._one(parcel, base, dst)

    def drop(self, src: Party, dst: Party, id: int, why: str) -> None:
        self._trace.append(rows.Dropped(self.now, dst, src, id, why))

    def delay(self, a: Party, b: Party, what: str) -> int:
        """A one-way delay between two actors for what is no frame: a handshake, a notice."""
        path = (what,)
        count = self._counts[a, path] = self._counts.get((a, path), 0) + 1
        return self.network.delay.sample(draws.key(self._seed, a, b, what, count), 0)

    def after_all(self, src: Party, dst: Party, earliest: int) -> int:
        """When the end of a stream reaches `dst`: not before what was sent on it."""
        arrivals = self._arrivals(src, dst)
        arrivals[dst] = max(earliest, int(arrivals[dst]))
        return int(arrivals[dst])

    def _key(self, src: Party, path: Path) -> int:
        count = self._counts[src, path] = self._counts.get((src, path), 0) + 1
        return draws.key(self._seed, src, "/".join(path), count)

    def _one(self, parcel: Parcel, base: int, dst: Party, delivery: Delivery = _PASSES) -> None:
        network, src = self.network, parcel.source
        server = SERVER in (src, dst)
        if network.loss and not server and draws.uniform(base, 3 * dst + 2) < network.loss:
            self.drop(src, dst, parcel.frame.id, "loss")
            return
        time = self.now + network.delay.sample(base ^ 1, dst) + delivery.delay
        if network.bandwidth:
            time += self._wait(src, dst, len(parcel.frame.body))
        if (network.ordered or server) and not delivery.unordered:
            last = self._arrivals(src, dst)
            time = max(time, int(last[dst]))
            last[dst] = time
        self._queue.push(time, Wave(parcel, [dst], [time], corrupt=delivery.corrupt))

    def _many(self, parcel: Parcel, base: int, to: tuple[Party, ...]) -> None:
        """`_one` for each of `to`, as one wave."""
        network, src = self.network, parcel.source
        dst = np.asarray(to, dtype=np.int64)
        if network.loss and src != SERVER:
            lost = draws.uniforms(base, 3 * dst + 2) < network.loss  # type: ignore[arg-type]
            for party in dst[lost].tolist():
                self.drop(src, party, parcel.frame.id, "loss")
            dst = dst[~lost]
        times = network.delay.samples(base ^ 1, dst) + self.now
        if network.bandwidth:
            size = len(parcel.frame.body)
            times += np.asarray([self._wait(src, party, size) for party in dst.tolist()], np.int64)
        if network.ordered or src == SERVER:
            last = self._arrivals(src, int(dst.max(initial=0)))
            times = np.maximum(times, last[dst])
            last[dst] = times
        order = np.argsort(times, kind="stable")
        arrivals = times[order].tolist()
        if arrivals:
            self._queue.push(arrivals[0], Wave(parcel, dst[order].tolist(), arrivals))

    def _judged(self, parcel: Parcel, base: int, dst: Party) -> None:
        """Send while faults are active."""
        src, frame = parcel.source, parcel.frame
        judged = speaker(src, dst, frame)
        delivery = self._link_rules.judge(
            judged, dst, len(frame.body), self.now, Draw(base, dst), relayed=judged != src
        )
        if delivery.why is not None:
            self.drop(src, dst, frame.id, delivery.why)
        elif delivery.held is not None:
            self._link_rules.hold(delivery.held, partial(self._judged, parcel, base, dst))
        else:
            for copy_number in range(delivery.copies):
                self._one(parcel, base + copy_number, dst, delivery)

    def _wait(self, src: Party, dst: Party, size: int) -> int:
        """How long until a thin link has taken so many bytes more, µs."""
        start = max(self.now, self._busy.get((src, dst), 0))
        self._busy[src, dst] = start + size * 1_000_000 // self.network.bandwidth
        return self._busy[src, dst] - self.now

    def _arrivals(self, src: Party, dst: Party) -> npt.NDArray[np.int64]:
        last = self._last.get(src)
        if last is None or len(last) <= dst:
            grown = np.zeros(max(dst + 1, 2 * len(last) if last is not None else 16), np.int64)
            if last is not None:
                grown[: len(last)] = last
            last = self._last[src] = grown
        return last
