"""Published figures of the agreement protocols beside ours: messages, delays, latencies, rounds.

Everything is counted from traces of simulated runs, in virtual time, so the numbers do not depend
on this machine; the last section, which does, is the speed of the simulation. `--quick` takes
fewer trials.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.benor import common_coin
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.registry import AGREEMENTS
from mpclab.consensus.streamlet import leader_of
from mpclab.core.ids import MS, SECOND
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import Cluster
from mpclab.testing.figures import downtimes, elect, rounds_until_somebody_decides

DELAY = 10 * MS

COUNTS: dict[str, tuple[str, Callable[[int], int], tuple[str, ...], int]] = {
    # protocol: published formula, its value, the kinds that count (all), delays to the last party
    "2pc": ("3n - 3", lambda n: 3 * n - 3, (), 3),
    "3pc": ("5n - 5", lambda n: 5 * n - 5, (), 5),
    "raft": (
        "2(n - 1)",
        lambda n: 2 * (n - 1),
        ("RaftAppendEntries", "RaftAppendEntriesResponse"),
        2,
    ),
    # the leader's two delays; the first decision of a leader has phase 1 before it
    "paxos": ("2(n - 1)", lambda n: 2 * (n - 1), ("PaxosAccept", "PaxosAccepted"), 2),
    "vr": ("3(n - 1)", lambda n: 3 * (n - 1), ("VrPrepare", "VrPrepareOk", "VrCommit"), 3),
    "pbft": ("2n(n - 1)", lambda n: 2 * n * (n - 1), (), 3),
    "hotstuff": ("7(n - 1) + (n - 1)", lambda n: 8 * (n - 1), (), 7),
    "hotstuff-2": ("5(n - 1) + (n - 1)", lambda n: 6 * (n - 1), (), 5),
    "tendermint": ("(n - 1)(2n + 1)", lambda n: (n - 1) * (2 * n + 1), (), 3),
    # 2Δ + 2δ, with Δ of 500 ms; who asks tells all, and leads the second epoch
    "streamlet": ("(n - 1)(2n + 3)", lambda n: (n - 1) * (2 * n + 3), (), 102),
    # the request, and five delays
    "acs": ("n(n-1)(5n+1) + n - 1", lambda n: n * (n - 1) * (5 * n + 1) + n - 1, (), 6),
    # f + 1 = 2 rounds of 500 ms
    "dolev-strong": ("(n - 1)²", lambda n: (n - 1) ** 2, (), 100),
    "bullshark": ("6n(n - 1)", lambda n: 6 * n * (n - 1), (), 7),
    "bracha": ("2n² - n - 1", lambda n: 2 * n * n - n - 1, (), 3),
}

LED = ("raft", "paxos")
"""Those that elect a leader before there is anything to decide."""


OPTIONS = {"dolev-strong": {"liars": 1}}


def count(protocol: type[Agreement], name: str, n: int) -> tuple[int, float]:
    """Messages of one decision without failures, and its delays (at the leader, of those that
    elect one before)."""
    c = Cluster(protocol, n, **OPTIONS.get(name, {}))
    by = elect(c) if name in LED else leader_of("", 2, n) if name == "streamlet" else 1
    c.world.run(limit=DELAY + 1)  # NEW-VIEWs of HotStuff's first view are in
    begun = c.world.now + 1
    c.world.run(limit=1)
    c.submit(by, "a")
    c.run()
    times = [c.parent(p).decided_at["a"] for p in ([by] if name in LED else c.members)]
    return c.sent(*COUNTS[name][2], since=begun).total(), (max(times) - begun) / DELAY


def counts() -> None:
    print("\nMessages and delays of one decision, without failures (self-messages left out)")
    print(f"{'protocol':<14}{'published':<22}{'n':>4}{'expected':>10}{'counted':>9}{'delays':>8}")
    for name, (formula, expect, _, delays) in COUNTS.items():
        for n in (4, 16, 31):
            sent, took = count(AGREEMENTS[name], name, n)
            ok = "ok" if (sent, round(took)) == (expect(n), delays) else "DIFFERS"
            print(f"{name:<14}{formula:<22}{n:>4}{expect(n):>10}{sent:>9}{took:>8.0f}  {ok}")


def pbft_latency(runs: int) -> None:
    print("\nPBFT, N(250, 50) ms delays, until two thirds have decided (published: 790 to 805 ms)")
    for n in (16, 32, 64, 128):
        times = []
        for seed in range(runs):
            net = Network(Delay("normal", 250 * MS, 50 * MS), ordered=False)
            c = Cluster(Pbft, n, seed=seed, network=net, patience=60 * SECOND)
            c.submit(1, "a")
            c.world.run(lambda c=c, n=n: len(c.notes("decided")) >= 2 * n / 3)  # type: ignore[misc]
            times.append(c.world.now / MS)
        print(f"  n = {n:<4} mean {statistics.mean(times):6.1f} ms")


def raft_elections(trials: int) -> None:
    print("\nRaft, Fig. 16: downtime of five servers, 15 ms a broadcast")
    for randomness, published in ((0, "> 10 s"), (5, "median 287 ms"), (50, "worst 513 ms")):
        times = downtimes(trials if randomness else 3, randomness)
        print(
            f"  150 to {150 + randomness} ms: median {statistics.median(times):8.0f}, "
            f"worst {max(times):8.0f} ms   (published: {published})"
        )


def benor_rounds(runs: int) -> None:
    print("\nBen-Or, mean rounds with split inputs and a fair scheduler; with a common coin")
    for n, known in ((3, 2.35), (5, 3.76), (7, 5.2), (9, 7.4), (11, 10.5)):
        local = statistics.mean(rounds_until_somebody_decides(n, seed) for seed in range(runs))
        common = statistics.mean(
            rounds_until_somebody_decides(n, seed, coin=common_coin(bytes([seed % 256])))
            for seed in range(runs // 4)
        )
        print(f"  n = {n:<3} {local:6.2f}  (known {known})   {common:5.2f}")


def speed() -> None:
    print("\nSimulated PBFT through real machines, with its trace")
    for n in (16, 32, 64, 100, 128):
        net = Network(Delay("normal", 250 * MS, 50 * MS), ordered=False)
        c = Cluster(Pbft, n, network=net, patience=60 * SECOND)
        c.submit(1, "warm")
        c.run()
        began = time.process_time()
        for k in range(5):
            c.submit(1, f"op{k}")
        c.run()
        took = time.process_time() - began
        rate = 5 * 2 * n * (n - 1) / took
        print(f"  n = {n:<4} {took / 5 * 1000:7.1f} ms a decision, {rate:9,.0f} messages/s")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials")
    quick = parser.parse_args([] if arguments is None else arguments).quick
    counts()
    pbft_latency(3 if quick else 20)
    raft_elections(100 if quick else 1000)
    benor_rounds(100 if quick else 1000)
    speed()


if __name__ == "__main__":
    main(sys.argv[1:])
