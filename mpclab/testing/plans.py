"""What goes wrong in a storm, as data: drawn from a seed, written to a file, made smaller."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.registry import agreement
from mpclab.core.ids import MS, Party
from mpclab.testing.cluster import smallest

PATIENCE = 300 * MS
LONGEST = 3_000 * MS
"""Until when things go wrong, at the latest."""
CALM = 300 * MS

LEAST = {"raft": 3, "paxos": 3, "vr": 3, "2pc": 2, "3pc": 2, "ben-or": 3, "direct": 2}
OPTIONS: dict[str, dict[str, int]] = {
    # Elections as before, and not so many heartbeats that a storm is made of them.
    "raft": {"compaction": 4, "election_timeout": 120 * MS, "heartbeat": 40 * MS},
    "dolev-strong": {"delta": 170 * MS},  # no delay of a punctual network is longer than 160 ms
}
SHORT: dict[str, dict[str, int]] = {"pbft": {"checkpoint": 2, "window": 4}}
"""In every third storm: what is rare otherwise happens all the time."""


class Crash(msgspec.Struct, frozen=True):
    """Who dies when and for how long, µs; `after`: in the middle of the next step that both stores
    and says something, after so many effects (modulo their number); None: between two steps."""

    at: int
    lasting: int
    party: Party
    after: int | None = None


class Spell(msgspec.Struct, frozen=True):
    """For `lasting` µs, messages from some to others take `delay` more, or are lost where that is
    None; `both`: and back; `period`: only every other so many µs (it flaps)."""

    at: int
    lasting: int
    sources: tuple[Party, ...]
    targets: tuple[Party, ...]
    delay: int | None = None
    both: bool = True
    period: int = 0


class Want(msgspec.Struct, frozen=True):
    """When, what and who submits; `version`: which of the values that are valid for it."""

    at: int
    op: str
    by: Party
    version: int = 0


class Plan(msgspec.Struct, frozen=True):
    """All that a storm is made of.

    Attributes:
        mean: of the delay, µs; its `shape` is exponential, uniform or constant.
        late: part of the messages that come up to 2.5 s late; `doubled`: that come twice.
        opposed: those that oppose where everyone submits, and reject where the vote is inside.
        rough: until when messages are late, lost and doubled, µs.
        options: what the protocol is built with.
        voters: by operation, the parties that it makes the voters (Raft, in every fifth storm).
    """

    protocol: str
    seed: int
    n: int
    mean: int
    shape: str = "uniform"
    ordered: bool = False
    late: float = 0.0
    loss: float = 0.0
    doubled: float = 0.0
    liars: tuple[Party, ...] = ()
    crashes: tuple[Crash, ...] = ()
    spells: tuple[Spell, ...] = ()
    wants: tuple[Want, ...] = ()
    opposed: tuple[Party, ...] = ()
    rough: int = 0
    options: dict[str, int] = {}
    voters: dict[str, tuple[Party, ...]] = {}

    @property
    def healed(self) -> int:
        """When everything that goes wrong has gone wrong, µs."""
        ends = [crash.at + crash.lasting for crash in self.crashes]
        ends += [spell.at + spell.lasting for spell in self.spells]
        ends += [want.at for want in self.wants]
        return min(LONGEST, max(self.rough, *ends, 0)) + CALM

    def save(self, path: Path | str) -> None:
        """Write it as JSON; `read_plan` reads it back."""
        data = msgspec.json.encode(self)
        Path(path).write_bytes(msgspec.json.format(data, indent=1) + b"\n")


def read_plan(path: Path | str) -> Plan:
    """Read `Plan.save`."""
    return msgspec.json.decode(Path(path).read_bytes(), type=Plan)


def plan_of(name: str, seed: int, protocol: type[Agreement] | None = None, *, n: int = 0) -> Plan:
    """The storm of a seed: the same every time.

    Args:
        protocol: instead of the one that `name` names.
        n: number of parties, instead of a drawn one.
    """
    draw = random.Random(f"{name} {seed}")
    protocol = protocol or agreement(name)
    n = smallest(protocol, n or draw.choice((LEAST.get(name, 4), 4, 4, 5, 7)))
    members = range(1, n + 1)
    rough = not protocol.synchronous  # else the network is punctual: liars and crashes alone
    liars = draw.sample(members, draw.randint(0, protocol.liars(n))) if draw.random() < 0.7 else []
    honest = [p for p in members if p not in liars]
    crashes = tuple(
        Crash(
            draw.randint(0, 2_500) * MS,
            draw.randint(20, 1_500) * MS,
            draw.choice(honest),
            draw.choice((None, draw.randint(0, 6), draw.randint(0, 6))),
        )
        for _ in range(draw.choice((0, 0, 1, 2, 3, 5) if protocol.liars(n) else (0, 1, 3, 6)))
    )
    spells, wants = _spells(draw, n) if rough else (), list(_wants(draw, protocol, n, honest))
    if rough and draw.random() < 0.15:  # somebody was away, and has something to propose when back
        away, rest = draw.choice(honest), 2_000 * MS
        others = tuple(p for p in members if p != away)
        spells = (*spells, Spell(0, rest, (away,), others))
        wants.append(Want(rest + draw.randint(0, 40) * MS, "back", away))
    late = draw.choice((0.0, 0.0, 0.02, 0.15)) if rough else 0.0
    loss = draw.choice((0.0, 0.0, 0.05, 0.2)) if rough else 0.0
    short = SHORT.get(name, {}) if draw.random() < 0.33 else {}
    if protocol.votes_inside and draw.random() < 0.5:
        short = {"needed": draw.randint(n // 2 + 1, n)}
    return Plan(
        protocol=name,
        seed=seed,
        n=n,
        mean=draw.choice((5, 20, 80)) * MS,
        shape=draw.choice(("uniform", "exponential", "constant")) if rough else "uniform",
        ordered=draw.random() < 0.4,
        late=late,
        loss=loss,
        doubled=draw.choice((0.0, 0.0, 0.05)) if rough else 0.0,
        liars=tuple(sorted(liars)),
        crashes=crashes,
        spells=spells,
        wants=tuple(wants),
        opposed=tuple(p for p in members if draw.random() < 0.2),
        rough=draw.choice((500, 1_500, 3_000)) * MS if late or loss else 0,
        options={**OPTIONS.get(name, {}), **short},
        voters=_voters(seed, n, wants) if protocol.revotes and seed % 5 == 4 else {},
    )


def _voters(seed: int, n: int, wants: list[Want]) -> dict[str, tuple[Party, ...]]:
    draw = random.Random(f"voters {seed}")
    ops = dict.fromkeys(want.op for want in wants)
    return {
        op: tuple(sorted(draw.sample(range(1, n + 1), draw.randint(1, n))))
        for op in ops
        if draw.random() < 0.6
    }


def _wants(
    draw: random.Random, protocol: type[Agreement], n: int, honest: list[Party]
) -> list[Want]:
    count = draw.choice((1, 1, 2, 3, 6, 14))
    together, begun = draw.random() < 0.5, draw.randint(0, 2_000)
    found = []
    for k in range(count):
        at = begun + draw.randint(0, 30) if together else draw.randint(0, 2_500)
        found.append(Want(at * MS, f"op{k}", draw.randint(1, n)))
        if not protocol.votes_inside and draw.random() < 0.2:  # another has another valid value
            other = (at + draw.randint(0, 300)) * MS
            found.append(Want(other, f"op{k}", draw.choice(honest), 1))
    return found


def _spells(draw: random.Random, n: int) -> tuple[Spell, ...]:
    members = range(1, n + 1)
    found = []
    for _ in range(draw.choice((0, 0, 1, 2, 4))):
        at, lasting = draw.randint(0, 2_500) * MS, draw.randint(50, 1_500) * MS
        group = tuple(sorted(draw.sample(members, draw.randint(1, max(1, n // 2)))))
        rest = tuple(p for p in members if p not in group)
        if draw.random() < 0.5:  # slow or deaf links, one way or both
            late = None if draw.random() < 0.3 else draw.randint(75, 1_200) * MS
            some = tuple(sorted(draw.sample(members, draw.randint(1, n))))
            found.append(Spell(at, lasting, group, some, late, draw.random() < 0.3))
        else:  # a partition
            period = draw.choice((0, 0, draw.randint(20, 300))) * MS
            found.append(Spell(at, lasting, group, rest, period=period))
    return tuple(found)


# --- making it smaller ---------------------------------------------------------------------


def smaller(plan: Plan) -> list[Plan]:
    """Plans with one thing less in them, the boldest first."""
    found: list[Plan] = []

    def without(name: str, items: tuple[Any, ...]) -> None:
        found.append(msgspec.structs.replace(plan, **{name: items}))

    for name in ("crashes", "spells", "wants", "opposed", "liars"):
        items = getattr(plan, name)
        if len(items) > 1 or (items and name != "wants"):
            if len(items) > 3:
                without(name, items[: len(items) // 2])
                without(name, items[len(items) // 2 :])
            for k in range(len(items)):
                if len(items) > 1 or name != "wants":
                    without(name, items[:k] + items[k + 1 :])
    calmer: dict[str, Any] = {
        "late": 0.0, "loss": 0.0, "doubled": 0.0, "rough": 0, "ordered": True, "shape": "constant",
        "voters": {},
    }  # fmt: skip
    for name, value in calmer.items():
        if getattr(plan, name) != value:
            found.append(msgspec.structs.replace(plan, **{name: value}))
    return found
