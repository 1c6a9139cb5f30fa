"""Experiments from a seed, each a scenario file that could have been written by hand.

A seed draws a *mood*: what is unusual in this run. All of them have operations that come one by one
or all at once, links that may reorder and lose, and delays near the protocol's patience; then

    late        for seconds messages come late and are not lost: views change around them
    flapping    partitions that come and go several times a second
    restarts    one party crashes three times, another once, some in the middle of a step
    message     one kind of message is held up, lost, doubled or overtaken on some links
    moment      a crash, a pause or a cut exactly when some kind of message is sent or heard,
                something is stored or a phase begins, in a run that is otherwise quiet or not
    snapshot    a short log or checkpoint interval, and crashes while it is cut
    skew        clocks that are wrong and run wrong
    liar        as many parties lie as the protocol bears, each in its way
    colluders   as many lie, all in one way and at one time
    both        one party less lies, and another crashes: together exactly f
    beside      as many lie as are borne, and honest parties crash and come back

The ends are fair: every fault but a lie is over after some seconds, and who crashed comes back. So
everything has to end, and `termination` is judged as well.

`mpclab.search.shrink` takes away what a failure does not need.
"""

from __future__ import annotations

import random
from typing import Any, TypeAlias

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.registry import agreement
from mpclab.core.ids import Party, format_duration
from mpclab.core.notes import BecameLeader, Decided, EnteredView, Phase, Voted
from mpclab.lab.kinds import spoken_by
from mpclab.lab.scenario import Scenario
from mpclab.testing.cluster import smallest
from mpclab.testing.sweep import LIES
from mpclab.trace import rows

CHECKS = (
    "agreement", "validity", "integrity", "termination", "total-order", "linearizability",
    "durability", "leaders", "certificates", "blame", "delivery",
)  # fmt: skip
MOODS = (
    "late", "flapping", "restarts", "message", "moment", "snapshot", "skew", "liar", "colluders",
    "both", "beside",
)  # fmt: skip
LYING = ("liar", "colluders", "both", "beside")
WAYS = (*LIES, "one-field", "last-moment", "flood", "adaptive", "attack")
SHORT = {"raft": {"compaction": 2}, "pbft": {"checkpoint": 2, "window": 4}}
"""Options under which what is rare otherwise (a snapshot, a checkpoint) happens all the time."""
PUNCTUAL = ("restarts", *LYING)
"""Moods for protocols that assume that every message arrives in time: no partition, no loss,
nothing late but what liars say."""

Fields: TypeAlias = dict[str, Any]
Moment: TypeAlias = tuple[int, Party]
"""When, in µs, and at whom."""


def draw(seed: int, protocol: str, *, mood: str = "", n: int = 0) -> Scenario:
    """The experiment of a seed: the same every time.

    Args:
        mood: one of `MOODS`, instead of a drawn one.
        n: number of parties, instead of a drawn one.
    """
    return _Drawing(seed, protocol, mood, n).scenario()


def moods_of(protocol: str) -> list[str]:
    """Those that fit what a protocol assumes."""
    liars = agreement(protocol).liars(7)
    never = {
        "liar": not liars, "colluders": not liars, "beside": not liars, "both": liars < 2,
        "snapshot": protocol not in SHORT,
        "message": not spoken_by(agreement(protocol)),
    }  # fmt: skip
    moods = PUNCTUAL if agreement(protocol).synchronous else MOODS
    return [mood for mood in moods if not never.get(mood, False)]


class _Drawing:
    """One experiment, while it is drawn."""

    def __init__(self, seed: int, protocol: str, mood: str, n: int) -> None:
        rng = self.rng = random.Random(f"experiment {protocol} {seed}")
        self.seed, self.protocol = seed, protocol
        self.cls: type[Agreement] = agreement(protocol)
        self.mood = mood or rng.choice(moods_of(protocol))
        least = 7 if self.mood == "both" else 4
        self.n = smallest(self.cls, max(least, n or rng.choice((4, 4, 4, 5, 7))))
        self.parties = list(range(1, self.n + 1))
        self.some = rng.sample(self.parties, self.n)

    def scenario(self) -> Scenario:
        fields = self._fields()
        fields["faults"] = self._faults(fields)
        return Scenario.parse(fields)

    def _fields(self) -> Fields:
        rng, n, mood = self.rng, self.n, self.mood
        slow = rng.choice((20, 80, 250))
        count = rng.randint(8, 16) if mood == "snapshot" else rng.choice((1, 1, 2, 2, 3, 4, 6))
        begun = rng.randint(0, rng.choice((1, 500, 2_000)))
        together = rng.random() < 0.7
        least = n - self.cls.liars(n) if mood in LYING else n
        fields: Fields = {
            "name": f"soak {self.protocol} {self.seed}: {mood}",
            "mesh": "ready",
            "parties": n,
            "policy": rng.choice(("unanimous", f"threshold({rng.randint(n // 2 + 1, least)})")),
            "agreement": self.protocol,
            "patience": rng.choice(("2s", "10s")),
            "network": {
                "delay": f"uniform(1ms, {slow}ms)", "ordered": rng.random() < 0.3,
                "loss": 0.0 if self._is_punctual else rng.choice((0.0, 0.0, 0.05)),
            },
            "operations": [
                {
                    "at": _ms(begun if together else rng.randint(0, 4_000)),
                    "by": rng.randint(1, n), "kind": "note", "text": f"number {k}",
                }
                for k in range(count)
            ],
            "checks": list(CHECKS),
            "until": "120s",
            "seed": self.seed,
        }  # fmt: skip
        if self.protocol in SHORT and (mood == "snapshot" or rng.random() < 0.1):
            fields["agreement"] = {self.protocol: SHORT[self.protocol]}
        if rng.random() < 0.15:
            fields["votes"] = {rng.randint(1, n): rng.choice(("reject", "silent"))}
        return fields

    @property
    def _is_punctual(self) -> bool:
        return self.cls.synchronous

    # --- faults ---

    def _faults(self, fields: Fields) -> list[Fields]:
        rng, some, n = self.rng, self.some, self.n
        liars = self.cls.liars(n)
        match self.mood:
            case "late":
                return [self._late(some[k]) for k in range(rng.randint(1, n // 2))]
            case "flapping":
                return self._flapping()
            case "restarts":
                times = sorted(rng.sample(range(20), 3))
                back = [_ms(rng.randint(20, 150)) for _ in times]
                return [
                    self._crash(some[0], 200 * t, restart_after=after)
                    for t, after in zip(times, back, strict=True)
                ] + [self._crash(some[1], rng.randint(0, 5_000))]
            case "message":
                return [self._on_a_kind() for _ in range(rng.choice((1, 1, 2, 3)))]
            case "snapshot":
                return [self._crash(p, rng.randint(0, 6_000)) for p in some[: max(1, n // 2)]]
            case "skew":
                return [self._skew(p) for p in some[: rng.randint(1, n)]]
            case "liar":
                return [self._lie(p) for p in some[:liars]]
            case "colluders":
                way = self._lie(some[0])
                told = [p for p in way.get("to", ()) if p not in some[:liars]]
                shared = {**way, "to": told or [some[-1]]} if "to" in way else way
                return [{**shared, "party": p} for p in some[:liars]]
            case "both":
                lies = [self._lie(p) for p in some[1:liars]]
                return [*lies, self._crash(some[0], rng.randint(0, 4_000))]
            case "beside":
                crashes = rng.randint(1, 3)
                return [self._lie(p) for p in some[:liars]] + [
                    self._crash(rng.choice(some[liars:]), 700 * k + rng.randint(0, 600))
                    for k in range(crashes)
                ]
            case _:
                return self._moment(fields)

    def _crash(self, party: Party, at: int, **fields: Any) -> Fields:
        rng = self.rng
        found = {"at": _ms(at), "kind": "crash", "party": party}
        found |= {"restart_after": _ms(rng.randint(50, 3_000))} | fields
        return found | ({"torn": True} if rng.random() < 0.5 else {})

    def _late(self, party: Party) -> Fields:
        rng = self.rng
        way = {"kind": "delay", "delay": f"exponential({rng.randint(300, 3_000)}ms)"}
        if rng.random() < 0.3:
            way = {"kind": "hold"}
        return {**self._spell(5_000, 4_000), **way, "from": [party]}

    def _spell(self, latest: int, longest: int) -> Fields:
        rng = self.rng
        return {"at": _ms(rng.randint(0, latest)), "for": _ms(rng.randint(100, longest))}

    def _flapping(self) -> list[Fields]:
        rng, n = self.rng, self.n
        found: list[Fields] = []
        at = rng.randint(0, 500)
        end = rng.choice((1_500, 4_000, 7_000))
        while at < end:
            cut = rng.randint(1, n - 1)
            members = rng.sample(self.parties, n)
            lasting = rng.randint(50, 900)
            groups = [sorted(members[:cut]), sorted(members[cut:])]
            found.append(
                {"at": _ms(at), "for": _ms(lasting), "kind": "partition", "groups": groups}
            )
            at += lasting + rng.randint(50, 900)
        return found

    def _on_a_kind(self, kind: str = "") -> Fields:
        rng = self.rng
        kinds = [*spoken_by(self.cls), *(() if self.cls.votes_inside else ("SignedVote",))]
        way: Fields = rng.choice(
            [
                {"kind": "hold"}, {"kind": "hold"},
                {"kind": "delay", "delay": f"exponential({rng.randint(100, 2_000)}ms)"},
                {"kind": "loss", "rate": rng.choice((0.3, 0.7, 1.0))},
                {"kind": "duplicate", "rate": 0.8},
                {"kind": "reorder", "rate": 0.7, "within": _ms(rng.randint(50, 1_000))},
            ]
        )  # fmt: skip
        found = {**self._spell(3_000, 4_000), **way, "messages": [kind or rng.choice(kinds)]}
        ends = self.some[: rng.randint(1, self.n - 1)]
        if (side := rng.choice(("from", "to", ""))) != "":
            found[side] = sorted(ends)
        return found

    def _skew(self, party: Party) -> Fields:
        rng = self.rng
        return {
            **self._spell(2_000, 6_000), "kind": "skew", "party": party,
            "offset": _ms(rng.randint(1, 5_000)), "drift": round(rng.uniform(-0.4, 0.4), 2),
        }  # fmt: skip

    def _lie(self, party: Party) -> Fields:
        rng = self.rng
        ways = WAYS if self.cls.attacks else WAYS[:-1]
        kind = rng.choice(ways)
        found: Fields = {"at": "0ms", "kind": kind, "party": party}
        match kind:
            case "send-to-some" | "equivocate":
                found["to"] = sorted(set(self.some[: self.n // 2 + 1]) - {party})
            case "last-moment":
                found["delay"] = _ms(rng.randint(50, 3_000))
            case "flood":
                found["for"] = _ms(rng.randint(500, 5_000))
                found["copies"] = rng.choice((1, 3))
            case "attack":
                found["name"] = rng.choice(list(self.cls.attacks))
            case "one-field":
                found["rate"] = rng.choice((0.1, 0.3, 0.7))
            case "adaptive":
                found["quiet"] = _ms(rng.randint(20, 600))
        own = [k for k, cls in spoken_by(self.cls).items() if cls not in self.cls.unvaried]
        if rng.random() < 0.4 and kind != "attack":
            found["messages"] = [rng.choice(own)]
        return found

    # --- moments ---

    def _moment(self, fields: Fields) -> list[Fields]:
        rng = self.rng
        before = rng.choice(
            ([], [], [self._crash(self.some[0], rng.randint(0, 800))], [self._late(self.some[0])])
        )
        found = list(before)
        for _ in range(rng.choice((1, 1, 2))):
            moments = _moments({**fields, "faults": found})
            if not moments:
                break
            # Each kind of moment as often as any other, however seldom it comes.
            at, party = rng.choice(moments[rng.choice(sorted(moments))])
            found.append(self._strike(max(0, at - rng.choice((0, 0, 1, 1_000))), party))
        return found

    def _strike(self, at: int, party: Party) -> Fields:
        rng = self.rng
        when = format_duration(at)
        lasting = _ms(rng.choice((rng.randint(20, 300), rng.randint(200, 3_000))))
        chance = rng.random()
        if chance < 0.55:
            return {**self._crash(party, 0, restart_after=lasting), "at": when}
        if chance < 0.7:
            return {"at": when, "for": lasting, "kind": "pause", "party": party}
        if chance < 0.85 and spoken_by(self.cls):
            return {**self._on_a_kind(), "at": when, "from": [party]}
        rest = [p for p in self.parties if p != party]
        return {"at": when, "for": lasting, "kind": "partition", "groups": [[party], rest]}


def _ms(ms: int) -> str:
    return f"{ms}ms"


STEPS = (Phase, BecameLeader, EnteredView, Decided, Voted)


def _moments(fields: Fields) -> dict[str, list[Moment]]:
    """When, and at whom, each kind of thing happens in a run: messages sent and heard, things
    stored, phases begun."""
    trace = Scenario.parse({**fields, "checks": []}).run().trace
    found: dict[str, list[Moment]] = {}
    kinds: dict[tuple[Party, int], str] = {}
    for row in trace:
        if row.actor < 1:
            continue
        name = ""
        match row:
            case rows.Sent(_, actor, id, kind=kind, background=False):
                kinds[actor, id] = kind
                name = f"sends {kind}"
            case rows.Delivered(_, _, sender, id) if (sender, id) in kinds:
                name = f"hears {kinds[sender, id]}"
            case rows.Persisted(_, _, _, key):
                name = f"stores {key.partition('/')[0]}"
            case rows.Noted(note=note) if isinstance(note, STEPS):
                name = f"notes {getattr(note, 'phase', row.word)}"
        if name:
            found.setdefault(name, []).append((row.at, row.actor))
    return found
