"""The simulated network: when a frame arrives, in which order, or why not at all.

A broadcast is one entry of the queue, however many receivers it has; its delays are drawn
together. While faults are active each receiver's delivery is judged apart. Both ways draw the same
numbers, keyed by (seed, sender, path, number of the frame, receiver).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from mpclab.core.ids import SERVER, Party, Path
from mpclab.faults import draws
from mpclab.faults.link_rules import PASSES, Delivery, LinkRules
from mpclab.faults.network import Network
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.base import speaker
from mpclab.worlds.simulated.queue import InFlight, Multicast, Queue

FEW = 8
"""Receivers up to which scalar draws are quicker than NumPy's."""


class Draw:
    """Uniform draws for one message and receiver, by purpose."""

    __slots__ = ("_base", "_dst")

    def __init__(self, base: int, dst: Party) -> None:
        self._base = base
        self._dst = dst

    def __call__(self, purpose: str) -> float:
        return draws.uniform(draws.key(self._base, purpose), self._dst)


class SimulatedNetwork:
    """All links, as far as time, loss and order go.

    Attributes:
        profile: what links are like when nothing is wrong; may be set while time goes on.
    """

    def __init__(
        self, seed: int, profile: Network, link_rules: LinkRules, queue: Queue, trace: Trace
    ) -> None:
        self.profile = profile
        self._seed = seed
        self._link_rules = link_rules
        self._queue = queue
        self._trace = trace
        self._last: dict[Party, npt.NDArray[np.int64]] = {}  # latest arrival, by receiver
        self._busy: dict[tuple[Party, Party], int] = {}  # bandwidth: a link's work until
        self._counts: dict[tuple[Party, Path], int] = {}

    def send(self, in_flight: InFlight, to: tuple[Party, ...]) -> None:
        """Send one frame to each of `to`."""
        base = self._key(in_flight.source, in_flight.frame.path)
        if not self._link_rules.quiet:
            for dst in to:
                self._judged(in_flight, base, dst)
        elif len(to) > FEW:
            self._many(in_flight, base, to)
        else:
            for dst in to:
                self._one(in_flight, base, dst)

    def drop(self, src: Party, dst: Party, id: int, why: str) -> None:
        self._trace.append(rows.Dropped(self._queue.now, dst, src, id, why))

    def delay(self, a: Party, b: Party, what: str) -> int:
        """A one-way delay between two actors of a handshake or a notice, which are not frames."""
        path = (what,)
        count = self._counts[a, path] = self._counts.get((a, path), 0) + 1
        return self.profile.delay.sample(draws.key(self._seed, a, b, what, count), 0)

    def after_all(self, src: Party, dst: Party, earliest: int) -> int:
        """When the end of a stream reaches `dst`: not before what was sent on it."""
        arrivals = self._arrivals(src, dst)
        arrivals[dst] = max(earliest, int(arrivals[dst]))
        return int(arrivals[dst])

    def _key(self, src: Party, path: Path) -> int:
        count = self._counts[src, path] = self._counts.get((src, path), 0) + 1
        return draws.key(self._seed, src, "/".join(path), count)

    def _one(self, in_flight: InFlight, base: int, dst: Party, delivery: Delivery = PASSES) -> None:
        profile, src = self.profile, in_flight.source
        server = SERVER in (src, dst)
        if profile.loss and not server and draws.uniform(base, 3 * dst + 2) < profile.loss:
            self.drop(src, dst, in_flight.frame.id, "loss")
            return
        time = self._queue.now + profile.delay.sample(base ^ 1, dst) + delivery.delay
        if profile.bandwidth:
            time += self._wait(src, dst, len(in_flight.frame.body))
        if (profile.ordered or server) and not delivery.unordered:
            last = self._arrivals(src, dst)
            time = max(time, int(last[dst]))
            last[dst] = time
        self._queue.push(time, Multicast(in_flight, [dst], [time], corrupt=delivery.corrupt))

    def _many(self, in_flight: InFlight, base: int, to: tuple[Party, ...]) -> None:
        """`_one` for each of `to`, as one multicast."""
        profile, src = self.profile, in_flight.source
        dst = np.asarray(to, dtype=np.int64)
        if profile.loss and src != SERVER:
            lost = draws.uniforms(base, 3 * dst + 2) < profile.loss  # type: ignore[arg-type]
            for party in dst[lost].tolist():
                self.drop(src, party, in_flight.frame.id, "loss")
            dst = dst[~lost]
        times = profile.delay.samples(base ^ 1, dst) + self._queue.now
        if profile.bandwidth:
            size = len(in_flight.frame.body)
            times += np.asarray([self._wait(src, party, size) for party in dst.tolist()], np.int64)
        if profile.ordered or src == SERVER:
            last = self._arrivals(src, int(dst.max(initial=0)))
            times = np.maximum(times, last[dst])
            last[dst] = times
        order = np.argsort(times, kind="stable")
        arrivals = times[order].tolist()
        if arrivals:
            self._queue.push(arrivals[0], Multicast(in_flight, dst[order].tolist(), arrivals))

    def _judged(self, in_flight: InFlight, base: int, dst: Party) -> None:
        """Send while faults are active."""
        src, frame = in_flight.source, in_flight.frame
        judged = speaker(src, dst, frame)
        delivery = self._link_rules.judge(
            judged,
            dst,
            len(frame.body),
            self._queue.now,
            Draw(base, dst),
            relayed=judged != src,
            kind=frame.kind,
        )
        if delivery.why is not None:
            self.drop(src, dst, frame.id, delivery.why)
        elif delivery.held is not None:
            self._link_rules.hold(delivery.held, partial(self._judged, in_flight, base, dst))
        else:
            for copy_number in range(delivery.copies):
                self._one(in_flight, base + copy_number, dst, delivery)

    def _wait(self, src: Party, dst: Party, size: int) -> int:
        """How long until a thin link has taken so many bytes more, µs."""
        start = max(self._queue.now, self._busy.get((src, dst), 0))
        self._busy[src, dst] = start + size * 1_000_000 // self.profile.bandwidth
        return self._busy[src, dst] - self._queue.now

    def _arrivals(self, src: Party, dst: Party) -> npt.NDArray[np.int64]:
        last = self._last.get(src)
        if last is None or len(last) <= dst:
            grown = np.zeros(max(dst + 1, 2 * len(last) if last is not None else 16), np.int64)
            if last is not None:
                grown[: len(last)] = last
            last = self._last[src] = grown
        return last
