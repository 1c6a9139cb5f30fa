"""Many short runs of one protocol under one roof: late messages, crashes and liars at once.

`family_run(name, seed)` draws everything from its seed: n, delays that overtake each other,
messages that come seconds late across view changes, loss, duplicates, flapping partitions, crashes
in the middle of a step, up to f parties that lie (with their own keys, `Agreement.variant`, by a
strategy that changes now and then) beside others that crash. Then the network heals, everybody is
up, the liars go on, and it must end. It does a world's part itself, with no trace.
(`storms` is for logs, honest ones above all: it reads what parties promise by what they say.)

Judged without mpclab's checks: no two honest parties decide differently, by operation or by place
in the log; what is decided is one of the valid values of its operation; nobody decides twice in
one life; nobody commits what another refused; only liars are accused; and after the healing every
operation of an honest party ends at every honest party, as far as its protocol promises that.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mpclab.consensus.agreement import Agreement, Oppose, Submit
from mpclab.consensus.registry import agreement
from mpclab.core.effects import (
    Asked,
    Blame,
    Delivered,
    Effect,
    Output,
    Persist,
    Send,
    SetTimer,
    Started,
    TimerFired,
    Words,
)
from mpclab.core.errors import Strength
from mpclab.core.ids import MS, SECOND, Party, Path
from mpclab.core.node import Node
from mpclab.core.variants import one_field
from mpclab.core.wire import Frame
from mpclab.testing.cluster import AT, IDENTITIES, Parent

PATIENCE = 300 * MS
HEALED = 3 * SECOND
"""When everything that goes wrong has gone wrong."""
LIMIT = 400 * SECOND
"""Of virtual time, for everything to end."""
MOST_MESSAGES = 60_000

LEAST = {"raft": 3, "2pc": 2, "3pc": 2, "ben-or": 3, "direct": 2}
SYNCHRONOUS = ("3pc",)
"""Their promises hold only while the network is punctual: crashes alone go wrong."""


class Plan(NamedTuple):
    """The parameters of one run, all from its seed."""

    n: int
    late: float
    """Part of the messages that come up to 2.5 s late."""
    loss: float
    spread: int
    liars: tuple[Party, ...]
    crashes: tuple[tuple[int, int, Party, int | None], ...]
    """At, for how long, who, and after how many effects of its next step (None: between steps)."""
    cuts: tuple[tuple[int, int, Party], ...]
    """At, for how long, and who is alone."""
    operations: tuple[tuple[int, str, Party], ...]
    opposed: frozenset[Party]
    """Those that oppose where everyone submits."""


def plan_of(name: str, seed: int, protocol: type[Agreement] | None = None) -> Plan:
    draw = random.Random(f"{name} {seed}")
    protocol = protocol or agreement(name)
    n = draw.choice((LEAST.get(name, 4), 4, 4, 5, 7))
    f = protocol.liars(n)
    liars = draw.sample(range(1, n + 1), draw.randint(0, f)) if draw.random() < 0.7 else []
    honest = [p for p in range(1, n + 1) if p not in liars]
    rough = name not in SYNCHRONOUS
    crashes = tuple(
        (
            draw.randint(0, 2_500) * MS,
            draw.randint(20, 1_500) * MS,
            draw.choice(honest),
            draw.choice((None, draw.randint(0, 6))),
        )
        for _ in range(draw.choice((0, 0, 1, 2, 3)))
    )
    cuts = tuple(
        (draw.randint(0, 2_500) * MS, draw.randint(20, 900) * MS, draw.randint(1, n))
        for _ in range(draw.choice((0, 0, 1, 2, 6)) if rough else 0)
    )
    operations = tuple(
        (draw.choice((0, draw.randint(0, 2_500) * MS)), f"op{k}", draw.choice(range(1, n + 1)))
        for k in range(draw.choice((1, 2, 3, 6)))
    )
    return Plan(
        n,
        draw.choice((0.0, 0.02, 0.15)) if rough else 0.0,
        draw.choice((0.0, 0.0, 0.05, 0.2)) if rough else 0.0,
        draw.choice((5, 20, 80)) * MS,
        tuple(sorted(liars)),
        crashes,
        cuts,
        operations,
        frozenset(p for p in range(1, n + 1) if draw.random() < 0.2),
    )


class Member(Parent):
    """The machine above the protocol; it knows other values for its own operations."""

    def __init__(self, agreement: Agreement, values: Mapping[bytes, bytes]) -> None:
        super().__init__(agreement)
        self.values = values

    def other_values(self, story: int) -> Mapping[bytes, bytes]:
        return self.values


@dataclass
class Liar:
    """One corrupted party: what it says instead, by a strategy that changes now and then."""

    draw: random.Random
    n: int
    me: Party
    run: Run
    strategy: str = "honest"
    past: list[Words] = field(default_factory=list)

    STRATEGIES = (
        "honest", "equivocate", "lie", "twice", "silent", "some", "late", "replay", "field",
    )  # fmt: skip

    def __call__(self, words: Words) -> Iterable[Words]:
        if not words.to or words.path != AT:
            return [words]
        if self.draw.random() < 0.15:
            self.strategy = self.draw.choice(self.STRATEGIES)
        other = self._one_field(words) if self.strategy == "field" else self._other(words)
        half = tuple(p for p in words.to if (p + self.run.seed) % 2)
        self.past.append(words)
        del self.past[:-32]
        match self.strategy:
            case "silent":
                return []
            case "some":
                return [Words(words.path, half, words.msg)]
            case "late":
                self.run.say_later(self.me, self.draw.randint(50, 2_000) * MS, words)
                return []
            case "replay":
                old = self.draw.choice(self.past)
                return [words, Words(old.path, words.to, old.msg)]
            case "lie" | "field" if other is not None:
                return [other]
            case "twice" if other is not None:
                return [words, other]
            case "equivocate" if other is not None:
                rest = tuple(p for p in words.to if p not in half)
                return [Words(words.path, rest, words.msg), Words(other.path, half, other.msg)]
        return [words]

    def _one_field(self, words: Words) -> Words | None:
        """Now and then, the same but for one field, and signed again."""
        if self.draw.random() < 0.5:
            return None
        other = one_field(words.msg, self.draw.randrange, [old.msg for old in self.past])
        if other is None:
            return None
        machine: Any = self.run.nodes[self.me].machine(AT)
        self.run.lies += 1
        return Words(words.path, words.to, machine.resigned(other))

    def _other(self, words: Words) -> Words | None:
        machine: Any = self.run.nodes[self.me].machine(AT)
        member: Any = self.run.nodes[self.me].machine(AT[:-1])
        other = machine.variant(words.msg, member.values)
        if other is None or other == words.msg:
            return None
        self.run.lies += 1
        return Words(words.path, words.to, other)


class Run:
    """One run of a plan."""

    def __init__(
        self,
        name: str,
        seed: int,
        plan: Plan | None = None,
        *,
        protocol: type[Agreement] | None = None,
        **options: Any,
    ) -> None:
        self.name, self.seed = name, seed
        self.plan = plan or plan_of(name, seed, protocol)
        self.protocol = protocol or agreement(name)
        self.options = {"patience": PATIENCE, **options}
        self.draw = random.Random(f"{name} {seed} network")
        self.now = 0
        self.queue: list[tuple[int, int, Any]] = []
        self.pushed = self.messages = self.lies = 0
        self.nodes: dict[Party, Node] = {}
        self.lives: dict[Party, int] = {}
        self.disk: dict[Party, dict[Path, dict[str, bytes]]] = {}
        self.torn: dict[Party, int] = {}
        self.alone: dict[Party, int] = {}
        self.problems: list[str] = []
        self.decided: dict[Party, dict[str, tuple[bytes, int | None]]] = {}
        self.decided_now: dict[Party, set[str]] = {}  # in this life
        self.refused: dict[Party, set[str]] = {}
        n = self.plan.n
        self.honest = tuple(p for p in range(1, n + 1) if p not in self.plan.liars)
        self.keys = {p: IDENTITIES[p].public for p in range(1, n + 1)}
        self.values = {op: f"{op}|by {by}".encode() for _, op, by in self.plan.operations}
        others = {
            self.values[op]: f"{op}|another".encode()
            for _, op, by in self.plan.operations
            if by in self.plan.liars
        }
        self.others = others
        self.valid = frozenset((*self.values.values(), *others.values()))

    # --- the world ---

    def push(self, at: int, what: Any) -> None:
        self.pushed += 1
        heapq.heappush(self.queue, (at, self.pushed, what))

    def build(self, p: Party) -> Node:
        life = self.lives.get(p, 0)
        machine = self.protocol(
            IDENTITIES[p],
            self.keys,
            valid=self.valid.__contains__,
            names=lambda value: value.split(b"|")[0].decode(),
            **self.options,
        )
        node = Node(
            p,
            self.plan.n,
            Member(machine, self.others),
            coins=lambda path: random.Random(f"{self.seed} {p} {life} {path}"),
            at=AT[:-1],
            stored=self.disk.get(p, {}),
        )
        if p in self.plan.liars:
            node.tamper = Liar(random.Random(f"{self.seed} {p} lies"), self.plan.n, p, self)
        return node

    def boot(self, p: Party) -> None:
        self.lives[p] = self.lives.get(p, 0) + 1
        self.decided.setdefault(p, {})
        self.refused.setdefault(p, set())
        self.decided_now[p] = set()
        self.nodes[p] = self.build(p)
        self.perform(p, self.nodes[p].step(Started(), self.now))

    def crash(self, p: Party) -> None:
        if p in self.nodes:
            del self.nodes[p]

    def perform(self, p: Party, effects: list[Effect]) -> None:
        budget = self.torn.pop(p, None) if any(type(e) is Persist for e in effects) else None
        for k, effect in enumerate(effects):
            if budget is not None and k >= budget:
                self.crash(p)
                return
            match effect:
                case Send(to, frame):
                    self.send(p, to, frame)
                case SetTimer(path, name, at):
                    self.push(at, (p, self.lives[p], TimerFired(path, name)))
                case Persist(path, key, value):
                    items = self.disk.setdefault(p, {}).setdefault(path, {})
                    if value is None:
                        items.pop(key, None)
                    else:
                        items[key] = value
                case Blame(party=party, reason=reason, strength=strength):
                    self.accused(p, party, reason, strength)
                case Output(path, value) if path == AT:
                    self.told(p, value)

    def send(self, src: Party, to: tuple[Party, ...], frame: Frame) -> None:
        plan, draw, rough = self.plan, self.draw, self.now < HEALED
        for dst in to:
            self.messages += 1
            cut = self.alone.get(src, 0) > self.now or self.alone.get(dst, 0) > self.now
            if rough and (cut or draw.random() < plan.loss):
                continue
            delay = draw.randint(1 * MS, plan.spread)
            if rough and draw.random() < plan.late:
                delay += draw.randint(0, 2_500) * MS
            self.push(self.now + delay, (dst, 0, Delivered(src, frame)))
            if rough and plan.late and draw.random() < 0.01:
                self.push(self.now + 2 * delay, (dst, 0, Delivered(src, frame)))

    def say_later(self, p: Party, delay: int, words: Words) -> None:
        self.push(self.now + delay, (p, self.lives[p], words))

    # --- what is seen ---

    def accused(self, by: Party, party: Party | None, reason: str, strength: Strength) -> None:
        if by in self.honest and (party in self.honest or strength is Strength.SOMEONE):
            self.problems.append(f"{by} accuses {party}: {reason} ({strength})")

    def told(self, p: Party, value: Any) -> None:
        if p not in self.honest:
            return
        op = value.op
        match type(value).__name__:
            case "Decided":
                if op in self.decided_now[p]:
                    self.problems.append(f"{p} decided {op} twice in one life")
                self.decided_now[p].add(op)
                if value.value not in self.valid or not value.value.startswith(f"{op}|".encode()):
                    self.problems.append(f"{p} decided an invalid value for {op}")
                known = self.decided[p].setdefault(op, (value.value, value.index))
                if known != (value.value, value.index):
                    self.problems.append(f"{p} decided {op} otherwise than before")
            case "Refused":
                self.refused[p].add(op)

    # --- the run ---

    def play(self) -> Run:
        for p in range(1, self.plan.n + 1):
            self.boot(p)
        for at, op, by in self.plan.operations:
            self.push(at, ("submit", op, by))
        for at, lasting, p, after in self.plan.crashes:
            self.push(at, ("crash", p, after))
            self.push(min(at + lasting, HEALED), ("boot", p, None))
        for at, lasting, p in self.plan.cuts:
            self.push(at, ("cut", p, min(at + lasting, HEALED)))
        for again in range(1, 40):  # what a crash forgot, the coordinator submits again
            self.push(HEALED + again * again * 20 * MS, ("again", 0, None))
        while self.queue and not self.problems:
            at, _, what = heapq.heappop(self.queue)
            if at > LIMIT or self.messages > MOST_MESSAGES:
                break
            self.now = max(self.now, at)
            self.take(*what)
            if self.now > HEALED and self.ended():
                break
        self.judge()
        return self

    def take(self, p: Any, life: Any, event: Any) -> None:
        match p:
            case "submit":
                self.submit(life, event)
            case "again":
                for _, op, by in self.plan.operations:
                    self.submit(op, by)
            case "crash":
                if event is None:
                    self.crash(life)
                else:
                    self.torn[life] = event
            case "boot":
                self.torn.pop(life, None)
                if life not in self.nodes:
                    self.boot(life)
            case "cut":
                self.alone[life] = event
            case _:
                node = self.nodes.get(p)
                if node is None or (life and life != self.lives[p]):
                    return
                if isinstance(event, Words):
                    tamper, node.tamper = node.tamper, None
                    frame = Frame(node.next_id, event.path, event.msg)  # type: ignore[arg-type]
                    node.next_id += 1
                    frame.suspect = True
                    self.send(p, event.to, frame)
                    node.tamper = tamper
                else:
                    self.perform(p, node.step(event, self.now))

    def submit(self, op: str, by: Party) -> None:
        everyone = self.protocol.everyone_submits
        value = self.values[op]
        for rank in range(self.plan.n if everyone or self.now > HEALED else 1):
            p = (by - 1 + rank) % self.plan.n + 1
            if p not in self.nodes or self.settled(p, op):
                continue
            if self.protocol.votes_inside and p != by:
                continue
            ask: Any = Submit(op, value, rank)
            if everyone and self.protocol.refuses and p in self.plan.opposed and p != by:
                ask = Oppose(op, "opposed")
            self.perform(p, self.nodes[p].step(Asked(AT[:-1], ask), self.now))

    def settled(self, p: Party, op: str) -> bool:
        return op in self.decided[p] or op in self.refused[p]

    def ended(self) -> bool:
        """Whether all that must end has ended."""
        return not self.open_operations()

    def open_operations(self) -> list[tuple[Party, str]]:
        wanted = [op for _, op, by in self.plan.operations if by in self.honest]
        if self.protocol.votes_inside:  # a coordinator that crashed before it asked knows nothing
            wanted = [op for op in wanted if any(self.settled(p, op) for p in self.honest)]
        return [
            (p, op)
            for p in self.honest
            for op in wanted
            if not self.settled(p, op) and not self.never_heard(p, op)
        ]

    def never_heard(self, p: Party, op: str) -> bool:
        """A party that was not asked has nothing to end; its coordinator's catch-up tells it."""
        machine: Any = self.nodes[p].machine(AT) if p in self.nodes else None
        records = getattr(machine, "records", None)
        return self.protocol.votes_inside and records is not None and op not in records

    def judge(self) -> None:
        by_op: dict[str, bytes] = {}
        by_place: dict[int, str] = {}
        for p in self.honest:
            for op, (value, index) in self.decided[p].items():
                if by_op.setdefault(op, value) != value:
                    self.problems.append(f"{op} was decided in two ways")
                if index is not None and by_place.setdefault(index, op) != op:
                    self.problems.append(f"place {index} holds two operations")
        if self.name != "direct":
            for p in self.honest:
                for op in self.refused[p] & by_op.keys():
                    self.problems.append(f"{p} refused {op}, which was committed")
        if not self.problems and (left := self.open_operations()):
            self.problems.append(f"it did not end: {left[:4]}")


def family_run(
    name: str, seed: int, *, protocol: type[Agreement] | None = None, **options: Any
) -> Run:
    """One run of protocol `name`; equal arguments, equal runs. Its `problems` are empty when all
    is well. `protocol` instead of the one that `name` names: a mutant of it, or one of yours."""
    return Run(name, seed, protocol=protocol, **options).play()


__all__ = ["Plan", "Run", "family_run", "plan_of"]
