"""The simulated network: when a frame arrives, in which order, or why not at all.

A broadcast is one entry of the queue, however many receivers it has; its delays are drawn
together, and for a few receivers ahead of time. While faults are active each receiver's delivery is
judged apart. All ways draw the same numbers, keyed by (seed, sender, path, number of the frame,
receiver): when they are drawn, and beside which others, changes none of them.
"""

from __future__ import annotations

import sys
from array import array
from functools import partial
from importlib.util import find_spec

from mpclab.core.ids import SERVER, Party, Path
from mpclab.faults import draws
from mpclab.faults.link_rules import PASSES, Delivery, LinkRules
from mpclab.faults.network import Network
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.base import speaker
from mpclab.worlds.simulated.queue import FOREVER, InFlight, Multicast, Queue

FEW = 64
"""Receivers up to which lists are quicker than NumPy's arrays."""
AHEAD = 1024
"""Draws made ahead for one stream of messages, at the most."""
KEPT = 1 << 20
"""Draws made ahead for all streams together, at the most: then all are thrown away, and drawn anew
where they are wanted."""
ALONE = 20_000
"""Draws that cost as much as importing NumPy does: a short run never imports it."""
_HAS_NUMPY = find_spec("numpy") is not None  # not in a browser tab


class Stream:
    """The messages of one actor at one path: how many there were, and draws made ahead for more.

    Attributes:
        state: the key of the stream.
        count: the number of the latest message.
        to, profile: what the draws were made for.
        first: the message that the first row of `delays` (and `lost`) is for.
    """

    __slots__ = ("ahead", "count", "delays", "first", "lost", "profile", "state", "to")

    def __init__(self, state: int) -> None:
        self.state = state
        self.count = 0
        self.to: tuple[Party, ...] = ()
        self.profile: Network | None = None
        self.first = 0
        self.ahead = 1
        self.delays: list[list[int]] = []
        self.lost: list[list[bool]] = []

    def draw(self, profile: Network, to: tuple[Party, ...], most: int) -> int:
        """Make sure of the row for the latest message, which goes to `to`, and draw as many rows
        as make `most` cells together; the index of the row in `delays`."""
        if self.profile is profile and self.to == to:
            row = self.count - self.first
            if row < len(self.delays):
                return row
            self.ahead = min(4 * self.ahead, max(1, most // len(to)))
        else:
            self.ahead, self.to, self.profile = 1, to, profile
        self.first = self.count
        if self.ahead == 1:
            base = draws.more(self.state, self.count)
            self.delays = [[profile.delay.sample(base ^ 1, dst) for dst in to]]
            if profile.loss:
                loss = profile.loss
                self.lost = [[draws.uniform(base, 3 * dst + 2) < loss for dst in to]]
        else:
            import numpy as np

            lanes = np.asarray(to, dtype=np.uint64)
            self.delays = profile.delay.table(self.state, self.count, self.ahead, lanes)
            if profile.loss:
                three = 3 * lanes + np.uint64(2)
                drawn = draws.table(self.state, self.count, self.ahead, 0, three)
                self.lost = (drawn < profile.loss).tolist()
        return 0


class Draw:
    """Uniform draws for one message and receiver, by purpose."""

    __slots__ = ("_base", "_dst")

    def __init__(self, base: int, dst: Party) -> None:
        self._base = base
        self._dst = dst

    def __call__(self, purpose: str) -> float:
        return draws.uniform(draws.key(self._base, purpose), self._dst)


def doubled(now: int, src: Party, dst: Party, id: int) -> rows.Fault:
    """The row which says that a message arrives more than once."""
    text = f"message {id} of actor {src} arrives at actor {dst} more than once"
    return rows.Fault(now, dst, -1, "duplicate", "act", (dst,), text)


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
        self._last: dict[Party, array[int]] = {}  # latest arrival, by receiver
        self._busy: dict[tuple[Party, Party], int] = {}  # bandwidth: a link's work until
        self._counts: dict[tuple[Party, str], int] = {}
        self._streams: dict[tuple[Party, Path], Stream] = {}
        self._drawn = 0  # cells of rows, since they were last thrown away
        self._most = AHEAD if "numpy" in sys.modules else 0

    def send(self, in_flight: InFlight, to: tuple[Party, ...]) -> None:
        """Send one frame to each of `to`."""
        source, path = in_flight.source, in_flight.frame.path
        stream = self._streams.get((source, path))
        if stream is None:
            key = draws.key(self._seed, source, "/".join(path))
            stream = self._streams[source, path] = Stream(key)
        stream.count += 1
        if self._link_rules.rules:
            base = draws.more(stream.state, stream.count)
            for dst in to:
                self._judged(in_flight, base, dst)
        elif source == SERVER or SERVER in to:
            base = draws.more(stream.state, stream.count)
            for dst in to:
                self._one(in_flight, base, dst)
        elif len(to) <= FEW or not _HAS_NUMPY:
            self._few(in_flight, stream, to)
        else:
            self._many(in_flight, draws.more(stream.state, stream.count), to)

    def drop(self, src: Party, dst: Party, id: int, why: str) -> None:
        self._trace.append(rows.Dropped(self._queue.now, dst, src, id, why))

    def delay(self, a: Party, b: Party, what: str) -> int:
        """A one-way delay between two actors of a handshake or a notice, which are not frames."""
        count = self._counts[a, what] = self._counts.get((a, what), 0) + 1
        return self.profile.delay.sample(draws.key(self._seed, a, b, what, count), 0)

    def after_all(self, src: Party, dst: Party, earliest: int) -> int:
        """When the end of a stream reaches `dst`: not before what was sent on it."""
        arrivals = self._arrivals(src, dst)
        arrivals[dst] = max(earliest, arrivals[dst])
        return arrivals[dst]

    def _few(self, in_flight: InFlight, stream: Stream, to: tuple[Party, ...]) -> None:
        """`_one` for each of a few parties, as one multicast."""
        profile, src, now = self.profile, in_flight.source, self._queue.now
        row = stream.draw(profile, to, self._most)
        if row == 0:
            self._count_draws(stream)
        times = [now + delay for delay in stream.delays[row]]
        receivers = list(to)
        if profile.loss and True in (lost := stream.lost[row]):
            for dst, is_lost in zip(to, lost, strict=True):
                if is_lost:
                    self.drop(src, dst, in_flight.frame.id, "loss")
            receivers = [dst for dst, is_lost in zip(to, lost, strict=True) if not is_lost]
            times = [time for time, is_lost in zip(times, lost, strict=True) if not is_lost]
            if not receivers:
                return
        if profile.bandwidth:
            size = len(in_flight.frame.body)
            for i, dst in enumerate(receivers):
                times[i] += self._wait(src, dst, size)
        if profile.ordered:
            last = self._last.get(src)
            if last is None or len(last) <= max(receivers):
                last = self._arrivals(src, max(receivers))
            for i, dst in enumerate(receivers):
                if times[i] < last[dst]:
                    times[i] = last[dst]
                else:
                    last[dst] = times[i]
        if len(times) > 1:
            order = sorted(range(len(times)), key=times.__getitem__)
            times = [times[i] for i in order]
            receivers = [receivers[i] for i in order]
        if times[-1] > FOREVER:
            times = [min(time, FOREVER) for time in times]
        self._queue.push(times[0], Multicast(in_flight, receivers, times))

    def _count_draws(self, stream: Stream) -> None:
        """Rows were drawn: throw all away when they are too many."""
        self._drawn += len(stream.delays) * len(stream.to)
        if self._drawn > ALONE and not self._most and _HAS_NUMPY:
            self._most = AHEAD
        if self._drawn > KEPT:
            for other in self._streams.values():
                if other is not stream:
                    other.delays, other.lost, other.first = [], [], other.count
            self._drawn = 0

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
            time = max(time, last[dst])
            last[dst] = time
        self._queue.push(time, Multicast(in_flight, [dst], [time], corrupt=delivery.corrupt))

    def _many(self, in_flight: InFlight, base: int, to: tuple[Party, ...]) -> None:
        """`_one` for each of many parties, as one multicast."""
        import numpy as np

        profile, src = self.profile, in_flight.source
        dst = np.asarray(to, dtype=np.int64)
        if profile.loss:
            lost = draws.uniforms(base, 3 * dst + 2) < profile.loss  # type: ignore[arg-type]
            for party in dst[lost].tolist():
                self.drop(src, party, in_flight.frame.id, "loss")
            dst = dst[~lost]
        times = profile.delay.samples(base ^ 1, dst) + self._queue.now
        if profile.bandwidth:
            size = len(in_flight.frame.body)
            times += np.asarray([self._wait(src, party, size) for party in dst.tolist()], np.int64)
        if profile.ordered:
            last = np.frombuffer(self._arrivals(src, int(dst.max(initial=0))), np.int64)
            times = np.maximum(times, last[dst])
            last[dst] = times
        order = np.argsort(times, kind="stable")
        arrivals = np.minimum(times[order], FOREVER).tolist()
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
            if delivery.copies > 1:
                self._doubled(src, dst, frame.id)
            for copy_number in range(delivery.copies):
                self._one(in_flight, base + copy_number, dst, delivery)

    def _doubled(self, src: Party, dst: Party, id: int) -> None:
        """A message arrives more than once: its reader has to know that somebody wanted that. A
        fault that does so says it itself; a rule of another name does not."""
        rules = self._link_rules.rules.values()
        if not any(getattr(rule, "kind", "") == "duplicate" for rule in rules):
            self._trace.append(doubled(self._queue.now, src, dst, id))

    def _wait(self, src: Party, dst: Party, size: int) -> int:
        """How long until a thin link has taken so many bytes more, µs."""
        start = max(self._queue.now, self._busy.get((src, dst), 0))
        self._busy[src, dst] = start + size * 1_000_000 // self.profile.bandwidth
        return self._busy[src, dst] - self._queue.now

    def _arrivals(self, src: Party, dst: Party) -> array[int]:
        """The latest arrivals from `src`, by receiver, up to `dst` at least."""
        last = self._last.get(src)
        if last is None or len(last) <= dst:
            grown = array("q", bytes(8 * max(dst + 1, 2 * len(last) if last else 16)))
            if last:
                grown[: len(last)] = last
            last = self._last[src] = grown
        return last
