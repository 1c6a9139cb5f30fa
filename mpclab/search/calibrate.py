"""`calibrate`: the simulated network that is most like a real one, and how like it is.

    real = scenario.but(world="webrtc").run()
    found = calibrate(real)
    print(found)                 # the network, link by link, and the distance of the fit
    found.scenario.run()         # the same experiment, simulated on that network
    found.picture()              # commit times, real beside simulated: ECDF and Q–Q
    found.overlay()              # both diagrams, one above the other

What is fitted: one-way delays as a distribution plus a time for each byte (bandwidth), for all
links together and for each alone; loss; and a party's own time between a message and its answer. A
delay is from the row in which a message was sent to that in which it arrived, by one machine's
clock; a party's wait for the processor that it shares with others is in it, and so is the relay
where a message goes that way.

How good the fit is: the Kolmogorov–Smirnov distance, the greatest difference of two distribution
functions, between the delays that the fit draws and real ones *that it was not fitted to* (every
other message). Two samples of one distribution are nearer than `likely` in 19 of 20 cases.

The fitted network draws each delay by itself. Whether that holds is measured: `dependence` is the
rank correlation (Spearman 1904) of each delay with the one before it on its link, over all links.
Independent delays stay within `independent` of 0 in 19 of 20 cases. Beyond it real messages came in
bursts, or queued: then the fit has their distribution and not their order, and commit times, which
wait for the slowest of several, spread otherwise than the simulated ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, SERVER, Party, format_duration
from mpclab.faults.network import Delay, Network
from mpclab.lab.run import Run
from mpclab.lab.scenario import Scenario
from mpclab.trace import rows
from mpclab.trace.flights import Flight, flights

if TYPE_CHECKING:
    from mpclab.plots.style import Picture

Times = npt.NDArray[np.float64]

ENOUGH = 8
"""Messages of a link from which on it has a fit of its own."""
DRAWS = 2_000
"""Delays that are drawn from a fit to be compared with real ones."""


@dataclass(frozen=True)
class LinkFit:
    """One directed link: how many messages, their loss, and the delay that fits them best."""

    sender: Party
    receiver: Party
    messages: int
    loss: float
    delay: Delay
    distance: float


@dataclass(frozen=True)
class Calibration:
    """A fit to one or more real runs of one scenario.

    Attributes:
        network: the simulated network that is most like the real one.
        links: the same link by link, where there were enough messages.
        processing: a party's time from a message to its answer, µs: the median.
        messages: how many were measured.
        distance, likely: Kolmogorov–Smirnov distance of the delays from those not fitted to, and
            what it is below in 19 of 20 cases where both are of one distribution.
        dependence, independent: rank correlation of a delay with the one before it on its link,
            and what independent ones stay within in 19 of 20 cases.
        scenario: the real one on that network, simulated.
        real, simulated: commit times, ms, from proposal to the last party that committed.
        commit_distance: the Kolmogorov–Smirnov distance of these.
    """

    network: Network
    links: tuple[LinkFit, ...]
    processing: int
    messages: int
    distance: float
    likely: float
    dependence: float
    independent: float
    scenario: Scenario
    real: tuple[float, ...]
    simulated: tuple[float, ...]
    commit_distance: float
    runs: tuple[Run, ...] = field(repr=False)

    def picture(self) -> Picture:
        """Commit times, real and simulated: their distributions, and quantile against quantile."""
        from mpclab.plots.compare import distributions

        return distributions(
            self.real, self.simulated, names=(self.runs[0].world, "simulated"),
            what="commit time (ms)", note=f"Kolmogorov–Smirnov distance {self.commit_distance:.2f}",
        )  # fmt: skip

    def overlay(self) -> Picture:
        """The real run's diagram above that of a simulated one on the fitted network."""
        from mpclab.plots.compare import compare

        real, again = self.runs[0], self.scenario.run()
        return compare(
            real.trace, again.trace, since=(real.ready_at, again.ready_at),
            names=(real.world, "simulated"),
        )  # fmt: skip

    def __str__(self) -> str:
        net = self.network
        band = f", {net.bandwidth:,} B/s" if net.bandwidth else ""
        lines = [
            f"{self.messages} messages: delay {net.delay}, loss {net.loss:.1%}{band}, "
            f"processing {format_duration(self.processing)}",
            f"distance of the delays {self.distance:.2f} (one distribution: below "
            f"{self.likely:.2f}), of the commit times {self.commit_distance:.2f}",
            f"a delay depends on the one before it by {self.dependence:.2f} "
            f"(independent: within {self.independent:.2f})",
        ]
        lines += [
            f"  {one.sender} → {one.receiver}: {one.messages} messages, {one.delay}, "
            f"loss {one.loss:.1%}, distance {one.distance:.2f}"
            for one in self.links
        ]
        return "\n".join(lines)


def calibrate(real: Run | Sequence[Run], *, seeds: int = 20) -> Calibration:
    """Fit the simulated network to what `real` runs of one scenario measured.

    Args:
        seeds: simulated runs whose commit times are compared with the real ones.

    Raises:
        UsageError: no message between parties arrived, or the runs are not of one scenario.
    """
    runs = (real,) if isinstance(real, Run) else tuple(real)
    if len({run.scenario.but(seed=0).to_text() for run in runs}) != 1:
        raise UsageError("runs of one scenario are needed; only their seeds may differ")
    measured = [flight for run in runs for flight in _measured(run)]
    arrived = [flight for flight in measured if flight.fate == "delivered"]
    if len(arrived) < ENOUGH:
        raise UsageError(f"{len(arrived)} messages arrived; {ENOUGH} are needed for a fit")
    per_byte = _per_byte(arrived)
    bandwidth = round(SECOND / per_byte) if per_byte > 0 else 0
    delay, distance = _fit(_times(arrived, per_byte))
    loss = _loss(measured)
    links = defaultdict[tuple[Party, Party], list[Flight]](list)
    for flight in measured:
        links[flight.sender, flight.receiver].append(flight)
    network = Network(delay, round(loss, 4), bandwidth, ordered=_ordered(arrived))
    # How they met was not measured: all pairs are connected from the start.
    scenario = runs[0].scenario.but(world="simulated", network=network, mesh="ready")
    times = [_commit_times(run) for run in runs]
    again = [_commit_times(scenario.but(seed=seed).run()) for seed in range(seeds)]
    mine, theirs = sum(times, ()), sum(again, ())
    return Calibration(
        network,
        tuple(found for pair in sorted(links) if (found := _link(pair, links[pair], per_byte))),
        _processing(runs),
        len(measured),
        distance,
        1.36 * math.sqrt(1 / (len(arrived) // 2) + 1 / DRAWS),
        *_dependence(links.values(), per_byte),
        scenario,
        mine,
        theirs,
        ks_distance(mine, theirs),
        runs,
    )


def _dependence(links: Iterable[list[Flight]], per_byte: float) -> tuple[float, float]:
    """The rank correlation of each delay with the one before it on its link, over all links; and
    what it stays within, in 19 of 20 cases, where delays are independent."""
    total, pairs = 0.0, 0
    for flights_of in links:
        arrived = sorted(
            (one for one in flights_of if one.fate == "delivered"), key=lambda one: one.sent_at
        )
        times = _times(arrived, per_byte)
        if len(times) < ENOUGH or not np.ptp(times):
            continue
        # Equal delays share a rank, their mean (Spearman 1904); by order they would seem to rise.
        _, which, counts = np.unique(times, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
        ranks = (ranks - ranks.mean()) / ranks.std()
        total += float(ranks[1:] @ ranks[:-1])
        pairs += len(ranks) - 1
    return (total / pairs, 1.96 / math.sqrt(pairs)) if pairs else (0.0, 0.0)


def ks_distance(a: Sequence[float] | Times, b: Sequence[float] | Times) -> float:
    """The greatest difference of two empirical distribution functions, 0 to 1 (Kolmogorov 1933,
    Smirnov 1939); 1 where one is empty."""
    one, two = np.sort(np.asarray(a, dtype=float)), np.sort(np.asarray(b, dtype=float))
    if not len(one) or not len(two):
        return 1.0
    every = np.concatenate([one, two])
    below_a = np.searchsorted(one, every, side="right") / len(one)
    below_b = np.searchsorted(two, every, side="right") / len(two)
    return float(np.abs(below_a - below_b).max())


# --- what was measured --------------------------------------------------------------------------


def _measured(run: Run) -> list[Flight]:
    """Messages between parties, by link or relay, once the session was ready; what was still
    under way when the run ended tells nothing."""
    return [
        flight
        for flight in flights(run.trace, background=True)
        if flight.sent_at >= run.ready_at
        and SERVER not in (flight.sender, flight.receiver)
        and flight.via in ("link", "relay")
        and flight.fate != "flying"
        and not flight.copy
    ]


def _loss(measured: Sequence[Flight]) -> float:
    lost = [flight for flight in measured if flight.fate == "dropped"]
    return sum(flight.why == "loss" for flight in lost) / len(measured)


def _ordered(arrived: Sequence[Flight]) -> bool:
    """Whether no message of a link overtook another."""
    latest: dict[tuple[Party, Party], int] = {}
    for flight in sorted(arrived, key=lambda flight: (flight.sent_at, flight.sent_row)):
        pair = flight.sender, flight.receiver
        at = flight.ended_at or 0
        if at < latest.get(pair, 0):
            return False
        latest[pair] = at
    return True


def _per_byte(arrived: Sequence[Flight]) -> float:
    """µs that each byte adds to a delay: the median of the slopes between messages of different
    sizes (Theil 1950, Sen 1968), where most of these agree that size costs time; else 0."""
    sizes = np.array([flight.size for flight in arrived], dtype=float)
    delays = np.array([(f.ended_at or 0) - f.sent_at for f in arrived], dtype=float)
    draw = np.random.default_rng(1)
    i, j = draw.integers(0, len(sizes), (2, 4_000))
    far = np.abs(sizes[i] - sizes[j]) > 512
    if far.sum() < 100:
        return 0.0
    slopes = (delays[i] - delays[j])[far] / (sizes[i] - sizes[j])[far]
    if np.quantile(slopes, 0.25) <= 0:
        return 0.0
    return float(np.median(slopes))


def _times(arrived: Sequence[Flight], per_byte: float) -> Times:
    raw = [(f.ended_at or 0) - f.sent_at - per_byte * f.size for f in arrived]
    times: Times = np.maximum(np.array(raw, dtype=float), 0.0)
    return times


def _processing(runs: Sequence[Run]) -> int:
    """From the arrival of a message to the next one that its receiver says, in the same step: only
    such as follow it at once among the party's rows."""
    gaps: list[int] = []
    for run in runs:
        came: dict[Party, int] = {}
        for row in run.trace:
            if type(row) is rows.Delivered:
                came[row.actor] = row.at
            elif type(row) is rows.Sent and (at := came.pop(row.actor, None)) is not None:
                gaps.append(row.at - at)
            elif type(row) in (rows.Fired, rows.Asked):
                came.pop(row.actor, None)
    return int(np.median(gaps)) if gaps else 0


def _commit_times(run: Run) -> tuple[float, ...]:
    return tuple(
        outcome.committed_at_ms - outcome.proposed_at_ms
        for outcome in run.outcomes
        if outcome.committed_at_ms is not None and outcome.proposed_at_ms is not None
    )


# --- the fit ------------------------------------------------------------------------------------


def _link(pair: tuple[Party, Party], measured: Sequence[Flight], per_byte: float) -> LinkFit | None:
    arrived = [flight for flight in measured if flight.fate == "delivered"]
    if len(arrived) < ENOUGH:
        return None
    delay, distance = _fit(_times(arrived, per_byte))
    return LinkFit(*pair, len(measured), _loss(measured), delay, distance)


def _fit(times: Times) -> tuple[Delay, float]:
    """The distribution that is nearest to every other time, and its distance from the rest."""
    fitted, kept = times[::2], times[1::2]
    found = min(_candidates(fitted), key=lambda delay: ks_distance(_drawn(delay), fitted))
    return found, ks_distance(_drawn(found), kept)


def _candidates(times: Times) -> list[Delay]:
    """One of each shape, by its quantiles, which no straggler moves."""
    low, first, middle, third, high = (
        float(q) for q in np.quantile(times, (0.02, 0.25, 0.5, 0.75, 0.98))
    )
    spread = (third - first) / 1.349  # of a normal distribution
    scale = max(low, 1.0)
    tail = math.log(2) / math.log(max(middle / scale, 1.0001))
    return [
        Delay("constant", round(middle)),
        Delay("uniform", round(low), round(max(high, low))),
        Delay("normal", round(middle), max(1, round(spread))),
        Delay("exponential", max(1, round(middle / math.log(2)))),
        Delay("exponential", max(1, round(float(times.mean())))),
        Delay("pareto", round(scale), round(min(max(tail, 0.5), 50.0), 2)),
    ]


def _drawn(delay: Delay) -> Times:
    return delay.samples(1, np.arange(DRAWS)).astype(float)
