"""A random nemesis: faults at random times, of random kinds, from a seed, within limits.

The limits are what makes a run a *test*: a protocol for n > 3f must survive every plan in which
at most f parties are touched, and owes nothing when more are. Parties that lie stay the same for
the whole run; parties that crash, pause or slow down count while they do. Everything heals at
the end, so that what should end can.
"""

import random
from collections.abc import Sequence
from typing import Any

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import MS, SECOND, Party, format_duration
from mpclab.faults.fault import Fault
from mpclab.faults.plan import KINDS, parse_fault

DEFAULT = ("partition", "loss", "delay", "crash", "pause")
"""Kinds that every protocol with recovery should survive."""

_SHORTEST = 50 * MS


def nemesis(
    seed: int,
    n: int,
    kinds: Sequence[str] = DEFAULT,
    *,
    until: int = 10 * SECOND,
    rate: float = 1.0,
    most: int | None = None,
) -> list[Fault]:
    """Faults for parties `1..n` in the order of their times; the same for the same arguments.

    Args:
        seed: everything random follows from it.
        kinds: which kinds to draw from, each as often as it is named.
        until: by when all have healed, µs.
        rate: how many begin per second, on average.
        most: f, the most parties that may be faulty at any one time; by default (n − 1) // 3.

    Raises:
        UsageError: for a kind that is not known or cannot be drawn.
    """
    known = drawable(n)
    for kind in kinds:
        if kind not in known:
            raise UsageError(f"kinds: {kind!r} cannot be drawn{nearest(kind, known)}")
    if n < 2 or rate <= 0 or until < 2 * _SHORTEST or not kinds:
        raise UsageError("a nemesis needs two parties, kinds, a rate above 0, and some time")
    limit = (n - 1) // 3 if most is None else most
    rng = random.Random(f"nemesis {seed}")
    liars = rng.sample(range(1, n + 1), limit) if limit else []
    faults: list[Fault] = []
    at = 0
    while True:
        at += round(rng.expovariate(rate) * SECOND) + MS
        at -= at % MS  # readable times
        if at > until - _SHORTEST:
            return faults
        kind = rng.choice(list(kinds))
        lasts = rng.randrange(_SHORTEST, max(_SHORTEST + 1, (until - at) // 2 + _SHORTEST), MS)
        fields = {"at": at, "for": min(lasts, until - at), "kind": kind}
        fault = _draw(rng, fields, n, liars)
        if fault is not None and _within(faults, fault, set(liars), limit):
            faults.append(fault)


def drawable(n: int = 4) -> tuple[str, ...]:
    """The kinds that a nemesis can draw among `n` parties: ours, and yours that say how."""
    probe = random.Random(0)
    return (
        *DRAWN,
        *(word for word, kind in KINDS.added.items() if kind.draw(probe, n) is not None),
    )


def _draw(rng: random.Random, fields: dict[str, Any], n: int, liars: list[Party]) -> Fault | None:
    from mpclab.faults.byzantine import ByzantineFault
    from mpclab.faults.nodes import PartyFault

    drawn = fields["kind"]
    kind = fields["kind"] = "crash" if drawn == "torn-crash" else drawn
    if issubclass(KINDS[kind], ByzantineFault):
        if not liars:
            return None
        fields["party"] = rng.choice(liars)
    elif issubclass(KINDS[kind], PartyFault):
        fields["party"] = rng.randint(1, n)
    own = DRAWN[drawn](rng, n) if drawn in DRAWN else KINDS[kind].draw(rng, n)
    fields |= own or {}
    if KINDS[kind].momentary:
        del fields["for"]
    if kind == "send-to-some":  # … of the others
        others = [p for p in fields["to"] if p != fields["party"]]
        fields["to"] = others or [fields["party"] % n + 1]
    texts = {k: format_duration(v) if k in ("at", "for") else v for k, v in fields.items()}
    return parse_fault(texts, n)


def _within(before: list[Fault], fault: Fault, liars: set[Party], limit: int) -> bool:
    """Whether `fault` leaves at most `limit` parties faulty at any time, and no party with two
    faults of its own at once."""
    from mpclab.faults.byzantine import ByzantineFault
    from mpclab.faults.nodes import PartyFault

    if not isinstance(fault, PartyFault):
        return True
    lying = {f.party for f in [*before, fault] if isinstance(f, ByzantineFault)}
    ours = [f for f in before if isinstance(f, PartyFault) and not isinstance(f, ByzantineFault)]
    if isinstance(fault, ByzantineFault):
        moments = [0, *(f.at for f in ours)]
    else:
        moments = [fault.at, *(f.at for f in ours if fault.at <= f.at < _end(fault))]
        ours.append(fault)
        if any(
            f.party == fault.party and f.at < _end(fault) and fault.at < _end(f) for f in ours[:-1]
        ):
            return False
    return all(
        len(lying | {f.party for f in ours if f.at <= moment < _end(f)}) <= limit
        for moment in moments
    )


def _end(fault: Fault) -> int:
    assert fault.lasts is not None, "every drawn fault heals"
    return fault.at + fault.lasts


# --- what each kind draws -------------------------------------------------------------------------


def _partition(rng: random.Random, n: int) -> dict[str, Any]:
    ways = ["groups", "isolated"] + ["halves"] * (n > 1) + ["bridge"] * (n > 2) + ["ring"] * (n > 3)
    way = rng.choice(ways)
    if way == "isolated":
        return {"isolated": rng.randint(1, n), "one_way": rng.random() < 0.3}
    if way != "groups":
        return {"shape": way}
    members = rng.sample(range(1, n + 1), n)
    cut = rng.randint(1, n - 1)
    return {"groups": [sorted(members[:cut]), sorted(members[cut:])]}


def _links(rng: random.Random, n: int) -> dict[str, Any]:
    """All links, those from one party, or those between two."""
    a, b = rng.sample(range(1, n + 1), 2)
    return rng.choice([{}, {"from": [a]}, {"from": [a], "to": [b], "both": rng.random() < 0.5}])


def _ms(rng: random.Random, low: int, high: int) -> str:
    return f"{rng.randint(low, high)}ms"


def _rate(rng: random.Random, high: float) -> float:
    return round(rng.uniform(0.05, high), 2)


DRAWN: dict[str, Any] = {
    "partition": _partition,
    "delay": lambda rng, n: {**_links(rng, n), "delay": f"exponential({_ms(rng, 10, 300)})"},
    "jitter": lambda rng, n: {**_links(rng, n), "up_to": _ms(rng, 5, 200)},
    "loss": lambda rng, n: {
        **_links(rng, n), "rate": _rate(rng, 0.5), "burst": rng.choice([1, 1, 3, 8])
    },
    "duplicate": lambda rng, n: {**_links(rng, n), "rate": _rate(rng, 0.5)},
    "reorder": lambda rng, n: {**_links(rng, n), "within": _ms(rng, 5, 200)},
    "corrupt": lambda rng, n: {**_links(rng, n), "rate": _rate(rng, 0.5)},
    "hold": _links,
    "crash": lambda rng, n: {},
    "torn-crash": lambda rng, n: {"torn": True},
    "pause": lambda rng, n: {},
    "slow": lambda rng, n: {"step": _ms(rng, 1, 50)},
    "skew": lambda rng, n: {
        "offset": _ms(rng, 10, 2000), "drift": round(rng.uniform(-0.3, 0.3), 2)
    },
    "silent": lambda rng, n: {},
    "equivocate": lambda rng, n: {},
    "lie": lambda rng, n: {},
    "vote-twice": lambda rng, n: {},
    "replay": lambda rng, n: {"rate": _rate(rng, 1)},
    "garbage": lambda rng, n: {"rate": _rate(rng, 1)},
    "send-to-some": lambda rng, n: {"to": rng.sample(range(1, n + 1), rng.randint(1, n - 1))},
    "last-moment": lambda rng, n: {"delay": _ms(rng, 50, 1500)},
}  # fmt: skip
"""The fields that each kind draws beyond when, how long and whom; `torn-crash` is a crash."""
