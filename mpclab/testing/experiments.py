"""Experiments from a seed, each a scenario file that could have been written by hand.

A seed draws a *mood*: what is unusual in this run. All of them have several operations at once,
links that may reorder, and delays near the protocol's patience; then

    late        for seconds messages come late and are not lost: views change around them
    flapping    partitions that come and go several times a second
    restarts    one party crashes three times, another once, some in the middle of a step
    liar        as many parties lie as the protocol bears
    both        one party less lies, and another crashes: together exactly f
    snapshot    a short log or checkpoint interval, and crashes while it is cut
    skew        clocks that are wrong and run wrong
    moment      a crash or a cut exactly when the protocol enters one of its phases

`mpclab.search.shrink` takes away what a failure does not need.
"""

from __future__ import annotations

import random
from typing import Any

from mpclab.consensus.registry import agreement
from mpclab.core.ids import format_duration
from mpclab.core.notes import BecameLeader, Decided, EnteredView, Phase, Voted
from mpclab.lab.scenario import Scenario
from mpclab.testing.cluster import smallest
from mpclab.testing.sweep import LIES
from mpclab.trace import rows

SAFETY = (
    "agreement", "validity", "integrity", "total-order", "durability", "leaders", "certificates",
    "blame",
)  # fmt: skip
MOODS = ("late", "flapping", "restarts", "liar", "both", "snapshot", "skew", "moment")
SHORT = {"raft": {"compaction": 2}, "pbft": {"checkpoint": 2, "window": 4}}
"""Options under which what is rare otherwise (a snapshot, a checkpoint) happens all the time."""


SYNCHRONOUS = ("3pc",)
"""Those that assume that every message arrives in time: no partition, no loss, nothing late."""


def draw(seed: int, protocol: str, *, mood: str = "", n: int = 0) -> Scenario:
    """The experiment of a seed: the same every time.

    Args:
        mood: one of `MOODS`, instead of a drawn one.
        n: number of parties, instead of a drawn one.
    """
    rng = random.Random(f"experiment {protocol} {seed}")
    cls = agreement(protocol)
    mood = mood or rng.choice([m for m in MOODS if _can(m, protocol)])
    n = smallest(cls, n or rng.choice((4, 4, 4, 5, 7)))
    if mood == "both":
        n = smallest(cls, max(n, 7))
    slow = rng.choice((20, 80, 250))
    start = 2_000 if mood in ("snapshot", "moment") else rng.choice((0, 500))
    count = rng.randint(8, 16) if mood == "snapshot" else rng.randint(2, 8)
    at_once = rng.randint(0, start)
    fields: dict[str, Any] = {
        "name": f"soak {protocol} {seed}: {mood}",
        "mesh": "ready",
        "parties": n,
        "policy": rng.choice(("unanimous", f"threshold({rng.randint(n // 2 + 1, n)})")),
        "agreement": {protocol: SHORT[protocol]} if mood == "snapshot" else protocol,
        "network": {
            "delay": f"uniform(1ms, {slow}ms)", "ordered": rng.random() < 0.3,
            "loss": 0.0 if protocol in SYNCHRONOUS else rng.choice((0.0, 0.0, 0.05)),
        },
        "operations": [
            {
                "at": _ms(at_once if rng.random() < 0.7 else rng.randint(0, 6_000)),
                "by": rng.randint(1, n), "kind": "note", "text": f"number {k}",
            }
            for k in range(count)
        ],
        "checks": list(SAFETY),
        "until": "60s",
        "seed": seed,
    }  # fmt: skip
    moments = _moments(fields) if mood == "moment" else []
    fields["faults"] = _faults(rng, mood, protocol, n, moments)
    return Scenario.parse(fields)


def _can(mood: str, protocol: str) -> bool:
    if protocol in SYNCHRONOUS:
        return mood == "restarts"
    liars = agreement(protocol).liars(7)
    return {"liar": liars > 0, "both": liars > 1, "snapshot": protocol in SHORT}.get(mood, True)


def _ms(ms: int) -> str:
    return f"{ms}ms"


def _moments(fields: dict[str, Any]) -> list[tuple[int, int]]:
    """When, and at whom, a run without faults enters a phase: (µs, party)."""
    trace = Scenario.parse({**fields, "checks": []}).run().trace
    steps = (Phase, BecameLeader, EnteredView, Decided, Voted)
    return [
        (row.at, row.actor)
        for row in trace.of(rows.Noted)
        if isinstance(row.note, steps) and row.at > 0
    ]


def _faults(
    rng: random.Random, mood: str, protocol: str, n: int, moments: list[tuple[int, int]]
) -> list[dict[str, Any]]:
    parties = list(range(1, n + 1))
    some = rng.sample(parties, n)
    liars = agreement(protocol).liars(n)

    def crash(party: int, at: int, *, torn: bool | None = None) -> dict[str, Any]:
        found = {
            "at": _ms(at), "kind": "crash", "party": party,
            "restart_after": _ms(rng.randint(50, 3_000)),
        }  # fmt: skip
        return found | ({"torn": True} if rng.random() < 0.5 and torn is None else {})

    def lie(party: int) -> dict[str, Any]:
        kind = rng.choice(LIES)
        told = {"to": [p for p in some[: n // 2 + 1] if p != party]}
        return {"at": "0ms", "kind": kind, "party": party} | (
            told if kind == "send-to-some" else {}
        )

    match mood:
        case "late":
            return [
                {
                    "at": _ms(rng.randint(0, 5_000)), "for": _ms(rng.randint(500, 4_000)),
                    "kind": "delay", "delay": f"exponential({rng.randint(300, 3_000)}ms)",
                    "from": [some[k]],
                }
                for k in range(rng.randint(1, n // 2))
            ]  # fmt: skip
        case "flapping":
            found = []
            at = rng.randint(0, 500)
            while at < 7_000:
                cut = rng.randint(1, n - 1)
                members = rng.sample(parties, n)
                lasting = rng.randint(100, 900)
                found.append(
                    {
                        "at": _ms(at), "for": _ms(lasting), "kind": "partition",
                        "groups": [sorted(members[:cut]), sorted(members[cut:])],
                    }
                )  # fmt: skip
                at += lasting + rng.randint(50, 900)
            return found
        case "restarts":
            times = sorted(rng.sample(range(40), 3))
            return [
                {**crash(some[0], 100 + 200 * t), "restart_after": _ms(rng.randint(20, 150))}
                for t in times
            ] + [crash(some[1], rng.randint(0, 8_000))]
        case "liar":
            return [lie(p) for p in some[:liars]]
        case "both":
            return [lie(p) for p in some[1:liars]] + [crash(some[0], rng.randint(0, 6_000))]
        case "snapshot":
            return [crash(p, rng.randint(500, 9_000)) for p in some[: max(1, n // 2)]]
        case "skew":
            return [
                {
                    "at": _ms(rng.randint(0, 2_000)), "for": _ms(rng.randint(1_000, 8_000)),
                    "kind": "skew", "party": p, "offset": _ms(rng.randint(1, 5_000)),
                    "drift": round(rng.uniform(-0.4, 0.4), 2),
                }
                for p in some[: rng.randint(1, n)]
            ]  # fmt: skip
        case _:
            if not moments:
                return []
            at, party = rng.choice(moments)
            at = max(0, at - rng.choice((0, 0, 1, 1_000)))
            if rng.random() < 0.6:
                return [{**crash(party, 0, torn=False), "at": format_duration(at)}]
            rest = [p for p in parties if p != party]
            return [
                {
                    "at": format_duration(at), "for": _ms(rng.randint(200, 3_000)),
                    "kind": "partition", "groups": [[party], rest],
                }
            ]  # fmt: skip
