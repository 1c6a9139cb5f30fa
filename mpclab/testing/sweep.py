"""One random trial of a log protocol, all from one number: what soaking repeats.

A trial draws n, delays, loss, crashes, partitions and submits from its seed, runs through them,
heals everything, and then judges: one log, nothing decided twice, no blame of the honest, and
every operation decided everywhere in the end. Mutants of the protocols (no persisted slot, no
check of the last term, no lock) are caught within 1 to 116 of these.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.registry import AGREEMENTS, agreement
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Machine
from mpclab.core.notes import BecameLeader
from mpclab.faults.network import Delay, Network
from mpclab.faults.plan import Fault, parse_fault, schedule
from mpclab.testing.cluster import Cluster, smallest
from mpclab.testing.twins import twins_of

LEAST = {"raft": 2, "paxos": 2, "vr": 2}
OPTIONS: dict[str, dict[str, Any]] = {"raft": {"patience": 4_000 * MS, "compaction": 4}}


class Verdict(NamedTuple):
    """The result of a trial: "" when all is well."""

    problem: str
    messages: int
    story: str


def trial(
    protocol: str | type[Agreement],
    seed: int,
    patience: int = 1_000 * MS,
    *,
    torn: bool = False,
    rivals: bool = False,
    lies: bool = False,
    ends: bool = True,
    chooses: bool = True,
    options: Mapping[str, Any] | None = None,
) -> Verdict:
    """One run of a protocol; equal arguments, equal runs.

    Args:
        protocol: a class, or the word of one.
        patience: of the protocol, µs.
        torn: crashes fall into the middle of steps.
        rivals: several parties submit values of their own for one operation.
        lies: as many parties as the protocol bears lie, each in one way all the time.
        ends: everything must be decided in the end.
        chooses: so must that for which there are rival values.
        options: what else the protocol is built with.
    """
    cls = agreement(protocol) if isinstance(protocol, str) else protocol
    name = next((known for known, one in AGREEMENTS.items() if issubclass(cls, one)), "")
    draw = random.Random(seed)
    n = smallest(cls, draw.randint(LEAST.get(name, 4), 8))
    loss = draw.choice([0.0, 0.0, 0.1, 0.2])
    delay = Delay("uniform", 1 * MS, draw.randint(1, 200) * MS)
    network = Network(delay, loss=loss, ordered=draw.random() < 0.5)
    built = {"patience": patience} | OPTIONS.get(name, {}) | dict(options or {})
    liars = _liars(cls, n, seed, built) if lies else {}
    others = {p: made for p, made in liars.items() if not isinstance(made, Fault)}
    c = Cluster(cls, n, seed=seed, network=network, others=others, **built)
    c.honest = tuple(p for p in c.members if p not in liars)
    for made in liars.values():
        if isinstance(made, Fault):
            schedule(made, c.world)
    world = c.world
    for _ in range(draw.randint(0, 4)):
        p, at, lasting = draw.randint(1, n), draw.randint(0, 4_000), draw.randint(100, 4_000)
        if draw.random() < 0.5:
            world.at(at * MS, lambda p=p: c.tear(p) if torn else c.crash(p))  # type: ignore[misc]
            world.at((at + lasting) * MS, lambda p=p: c.restart(p))  # type: ignore[misc]
        else:
            world.at(at * MS, lambda p=p: c.cut(range(1, p + 1), range(p + 1, n + 1)))  # type: ignore[misc]
            world.at((at + lasting) * MS, c.heal)
    spice = random.Random(f"rivals {seed}")
    submits: list[tuple[str, int, bytes | None]] = []
    for k in range(draw.randint(1, 20)):
        op, p = f"op{k}", draw.randint(1, n)
        submits.append((op, p, None))
        if rivals and spice.random() < 0.5:
            submits += [(op, q, b"rival" * q) for q in spice.sample(range(1, n + 1), 2) if q != p]

    def submit(op: str, p: int, value: bytes | None) -> None:
        for q in c.honest if cls.everyone_submits else (p,):
            if q in world.actors:
                c.submit(q, op, value)

    submits = [one for one in submits if one[1] in c.honest] or [("op", c.honest[0], None)]
    for one in submits:
        world.at(draw.randint(0, 5_000) * MS, lambda one=one: submit(*one))  # type: ignore[misc]
    rivalled = set() if chooses else {op for op, _, value in submits if value is not None}
    ops = [op for op, _, _ in submits if op not in rivalled]
    problem = ""
    try:
        c.run(9_000)
        c.check_agreement()
        world.network = Network(delay, ordered=network.ordered)
        for one in submits:  # what a crash forgot, the coordinator submits again
            submit(*one)
        ended = world.run(lambda: c.all_decided(*ops), limit=(3_000 if ends else 60) * SECOND)
        c.check_agreement()
        if ends and not ended:
            problem = "it did not end after everything was healed"
        elif wrongly := c.blamed() - set(liars):
            problem = f"the honest were blamed: {sorted(map(str, wrongly))}"
        elif two := leaders_of_one_term(c, c.honest):
            problem = f"two leaders in one term: {two}"
    except AssertionError as error:
        problem = f"agreement is violated: {error}"
    return Verdict(problem, c.sent().total(), c.story())


def contest(
    protocol: type[Agreement], seed: int, *, rivals: bool = True, options: Mapping[str, Any] = {}
) -> str:
    """Few parties, one or two operations, everyone's patience shorter than the network's delays,
    and crashes, cuts and losses as often as messages: where rounds overlap as they never do
    otherwise. Returns the problem, "" for none. Agreement alone is judged: little comes to an end.
    """
    draw = random.Random(f"contest {seed}")
    n = smallest(protocol, draw.choice((3, 3, 4, 5)))
    network = Network(
        Delay("uniform", 1 * MS, draw.choice((30, 100, 300)) * MS),
        loss=draw.choice((0.0, 0.1, 0.3)),
        ordered=draw.random() < 0.3,
    )
    patience = draw.choice((40, 100, 250)) * MS
    c = Cluster(protocol, n, seed=seed, network=network, **{"patience": patience, **options})
    end = draw.choice((1_000, 3_000))
    world = c.world

    def submit(op: str, p: int, value: bytes | None) -> None:
        for q in c.members if protocol.everyone_submits else (p,):
            if q in world.actors:
                c.submit(q, op, value)

    for op in ("a", "b")[: draw.randint(1, 2)]:
        wanting = draw.sample(range(1, n + 1), draw.randint(2, n)) if rivals else [1]
        for p in wanting:
            value = op.encode() * (2 + p) if rivals else None
            world.at(draw.randint(0, end // 3) * MS, partial(submit, op, p, value))
    for _ in range(draw.randint(2, 10)):
        p, at, lasting = draw.randint(1, n), draw.randint(0, end), draw.randint(1, end // 3)
        match draw.choice(("crash", "crash", "tear", "cut", "isolate")):
            case "crash":
                world.at(at * MS, partial(c.crash, p))
                world.at((at + lasting) * MS, partial(c.restart, p))
            case "tear":
                world.at(at * MS, partial(c.tear, p))
                world.at((at + lasting) * MS, partial(c.restart, p))
            case "cut":
                world.at(at * MS, partial(c.cut, range(1, p + 1), range(p + 1, n + 1)))
                world.at((at + lasting) * MS, c.heal)
            case "isolate":
                rest = [q for q in c.members if q != p]
                world.at(at * MS, partial(c.cut, [p], rest))
                world.at((at + lasting) * MS, c.heal)
    try:
        c.run(2 * end)
        c.restart(*c.members)
        c.heal()
        world.network = Network(Delay("uniform", 1 * MS, 20 * MS))
        c.run(4_000)
        c.check_agreement()
    except AssertionError as error:
        return f"agreement is violated: {error}"
    return ""


def duel(
    protocol: type[Agreement], seed: int, *, rivals: bool = True, options: Mapping[str, Any] = {}
) -> str:
    """Two `rivals` start nearly at once with values of their own for one operation, or one does
    where a protocol knows no rivals, or all with one value where everyone submits. Who has just
    taken a step may crash, or die in the middle of its next, and be back at once. Who decides
    first, or another, may be cut off with what it has just heard, and all the rest start again.
    Returns the problem, "" for none; agreement alone is judged.
    """
    draw = random.Random(f"duel {seed}")
    n = smallest(protocol, 3)
    network = Network(Delay("uniform", 1 * MS, draw.choice((20, 60)) * MS), ordered=False)
    patience = draw.choice((40, 100)) * MS
    c = Cluster(protocol, n, seed=seed, network=network, **{"patience": patience, **options})
    one, other, *_ = draw.sample(c.members, n)
    often, dies = draw.choice((0.0, 0.1, 0.2, 0.4)), draw.choice((c.crash, c.crash, c.tear))
    try:
        for p in c.members if protocol.everyone_submits else (one,):
            c.submit(p, "a", b"first" * 3)
        c.run(draw.choice((0, 10, 30)))
        if rivals:
            c.submit(other, "a", b"second" * 5)
        _, seen = c.world.trace.since((0, 0))
        for _ in range(draw.randint(4, 14 * n)):
            c.world.step()
            news, seen = c.world.trace.since(seen)
            if news and draw.random() < often and (last := news[-1].actor) in c.members:
                dies(last)
            c.restart(*(p for p in c.members if p not in c.world.actors))
            if any(c.log(p) for p in c.up):
                break
        if draw.random() < 0.7:
            alone = draw.choice([p for p in c.up if c.log(p)] or c.members)
            rest = [p for p in c.members if p != alone]
            c.cut([alone], rest)
            if draw.random() < 0.5:  # what they told it has to be on their disks
                c.crash(*rest)
                c.restart(*rest)
        c.world.run(lambda: c.all_decided("a"), limit=SECOND)
        c.heal()
        c.world.run(lambda: c.all_decided("a"), limit=SECOND)
        c.check_agreement()
    except AssertionError as error:
        return f"agreement is violated: {error}"
    return ""


LIES = ("equivocate", "lie", "vote-twice", "replay", "garbage", "silent", "send-to-some")


def _liars(
    cls: type[Agreement], n: int, seed: int, built: Mapping[str, Any]
) -> dict[Party, Fault | Callable[[], Machine]]:
    """The liars and their ways: a fault, or being two parties at once."""
    draw = random.Random(f"lies {seed}")
    found: dict[Party, Fault | Callable[[], Machine]] = {}
    for p in draw.sample(range(1, n + 1), cls.liars(n)):
        kind = draw.choice(("twins", "twins", *LIES))
        some = draw.sample(range(1, n + 1), n // 2)
        if kind == "twins":
            twins, first = twins_of(cls), frozenset(some)
            found[p] = partial(twins, cls, first, frozenset(draw.sample(some, 1)), **built)
            continue
        fields: dict[str, Any] = {"kind": kind, "party": p}
        if kind == "send-to-some":
            fields["to"] = [q for q in some if q != p] or [p % n + 1]
        found[p] = parse_fault(fields, n)
    return found


def leaders_of_one_term(c: Cluster, among: Iterable[Party]) -> dict[int, list[int]]:
    """Terms or views with more than one leader, and these."""
    leaders: dict[int, set[int]] = defaultdict(set)
    for row in c.notes("became-leader"):
        if isinstance(note := row.note, BecameLeader) and row.actor in among:
            leaders[note.view or 0 if note.term is None else note.term].add(row.actor)
    return {term: sorted(who) for term, who in leaders.items() if len(who) > 1}
