"""Many short runs of one protocol: late messages, crashes and liars at once, and then it heals.

`storm(name, seed)` draws everything from its seed (`plans`): n, delays that overtake each other,
messages that come seconds late across view changes, loss, doubled messages, slow links, partitions
that flap, crashes in the middle of a step, a party that was away, operations that come one by one
or all at once (and in some of Raft's change who votes), up to f liars (each with its own key, by a
strategy that changes at times, or all by one) beside others that crash. Then the network heals,
everybody is up, the liars go on, and it must end. It does a world's part itself, with no trace.

Judged without mpclab's checks: no two honest parties decide differently, by operation or by place
in the log, and each comes to the places in their order; what is decided is one of the valid values
of its operation; nobody decides twice in one life; nobody commits what another refused; nobody
contradicts what it said before (`promises`); only liars are accused; nobody's program fails on what
a peer says; and after the healing every operation of an honest party ends at every honest party, as
far as its protocol promises that.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mpclab.consensus.agreement import Agreement, Decided, Oppose, Refused, Submit
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
from mpclab.testing.plans import PATIENCE, Plan, Spell, Want, plan_of, read_plan, smaller
from mpclab.testing.promises import Broken, Statements

LIMIT = 400 * SECOND
"""Of virtual time, for everything to end."""
MOST_MESSAGES = 60_000


class Member(Parent):
    """The machine above the protocol; it knows other values for its own operations."""

    def __init__(self, agreement: Agreement, values: Mapping[bytes, bytes], vote: bool) -> None:
        super().__init__(agreement, vote)
        self.values = values

    def other_values(self, story: int) -> Mapping[bytes, bytes]:
        return self.values


STRATEGIES = (
    "honest", "equivocate", "lie", "twice", "silent", "some", "late", "replay", "field", "attack",
)  # fmt: skip


@dataclass
class Liar:
    """One corrupted party: what it says instead, by a strategy that changes now and then."""

    draw: random.Random
    me: Party
    storm: Storm
    strategy: str = "honest"
    past: deque[Words] = field(default_factory=lambda: deque(maxlen=64))

    def __call__(self, words: Words) -> Iterable[Words]:
        if not words.to or words.path != AT:
            return [words]
        draw = self.draw
        if self.storm.scheme:
            self.strategy = self.storm.scheme
        elif draw.random() < 0.15:
            self.strategy = draw.choice(STRATEGIES)
        self.past.append(words)
        half = tuple(p for p in words.to if (p + self.storm.plan.seed) % 2)
        match self.strategy:
            case "honest":
                return [words]
            case "silent":
                return []
            case "some":
                return [Words(words.path, half, words.msg)]
            case "late":
                self.storm.say_later(self.me, draw.randint(50, 2_000) * MS, words)
                return []
            case "attack":
                return self._attack(words)
            case "replay":
                old = draw.choice(self.past)
                return [words, Words(old.path, words.to, old.msg)]
        other = self._other(words)
        if other is None:
            return [words]
        self.storm.lies += 1
        match self.strategy:
            case "twice":
                return [words, other]
            case "equivocate":
                rest = tuple(p for p in words.to if p not in half)
                return [Words(words.path, rest, words.msg), Words(other.path, half, other.msg)]
        return [other]

    def _attack(self, words: Words) -> Iterable[Words]:
        """Play our part in a known attack on the protocol, where there is one."""
        machine: Any = self.storm.nodes[self.me].machine(AT)
        if not machine.attacks:
            return [words]
        script = list(machine.attacks.values())[self.storm.plan.seed % len(machine.attacks)]
        self.storm.lies += 1
        return [Words(words.path, to, msg) for to, msg in script(machine, words.to, words.msg)]

    def _other(self, words: Words) -> Words | None:
        """Something else to say: the protocol's own variant, or one field, signed again."""
        node = self.storm.nodes[self.me]
        machine: Any = node.machine(AT)
        member: Any = node.machine(AT[:-1])
        if self.strategy == "field":
            if self.draw.random() < 0.5:
                return None
            changed = one_field(words.msg, self.draw.randrange, [old.msg for old in self.past])
            other = None if changed is None else machine.resigned(changed)
        else:
            other = machine.variant(words.msg, member.values)
        return None if other is None or other == words.msg else Words(words.path, words.to, other)


class Storm:
    """One run of a plan; `problems` is empty when all is well.

    Args:
        protocol: instead of the one that the plan names: a mutant of it, or one of yours.
        options: what it is built with, beside the plan's.
    """

    def __init__(
        self, plan: Plan, *, protocol: type[Agreement] | None = None, **options: Any
    ) -> None:
        self.plan = plan
        self.protocol = protocol or agreement(plan.protocol)
        self.options = {"patience": PATIENCE, **plan.options, **options}
        self.draw = random.Random(f"{plan.protocol} {plan.seed} network")
        # In every third run all liars do one thing all the time: they collude.
        self.scheme = STRATEGIES[plan.seed // 3 % len(STRATEGIES)] if plan.seed % 3 == 0 else ""
        self.now = 0
        self.queue: list[tuple[int, int, Any]] = []
        self.pushed = self.messages = self.lies = 0
        self.nodes: dict[Party, Node] = {}
        self.lives: dict[Party, int] = {}
        self.disk: dict[Party, dict[Path, dict[str, bytes]]] = {}
        self.torn: dict[Party, int] = {}
        self.last: dict[tuple[Party, Party], int] = {}  # on ordered links
        self.problems: list[str] = []
        members = range(1, plan.n + 1)
        self.honest = tuple(p for p in members if p not in plan.liars)
        self.keys = {p: IDENTITIES[p].public for p in members}
        self.statements = Statements(plan.protocol)
        # by party: what it decided, and where
        self.decided: dict[Party, dict[str, tuple[bytes, int | None]]] = {p: {} for p in members}
        self.refused: dict[Party, set[str]] = {p: set() for p in members}
        self.in_this_life: dict[Party, set[str]] = {}
        self.valid: dict[bytes, str] = {}
        self.others: dict[bytes, bytes] = {}  # a liar's values: the other one that is valid too
        for want in plan.wants:
            own, other = (value_of(want.op, version) for version in (0, 1))
            rivals = any(w.version for w in plan.wants if w.op == want.op)
            self.valid[own] = want.op
            if want.by in plan.liars or rivals:
                self.valid[other] = want.op
            if want.by in plan.liars:
                self.others |= {own: other, other: own}

    def _name_of(self, value: bytes) -> str:
        return self.valid.get(value, "")

    def _voters_of(self, value: bytes) -> tuple[Party, ...]:
        return self.plan.voters.get(self._name_of(value), ())

    def _meaning_of(self, value: bytes) -> bytes:
        """Of one operation all valid values mean the same, where nothing chooses one of them."""
        return value if self.protocol.orders else self._name_of(value).encode()

    # --- the world --------------------------------------------------------------------------

    def push(self, at: int, what: Any) -> None:
        self.pushed += 1
        heapq.heappush(self.queue, (at, self.pushed, what))

    def boot(self, p: Party) -> None:
        """Begin, or begin again with what is on disk."""
        life = self.lives[p] = self.lives.get(p, 0) + 1
        self.torn.pop(p, None)
        self.in_this_life[p] = set()
        machine = self.protocol(
            IDENTITIES[p], self.keys, valid=self.valid.__contains__,
            names=self._name_of, means=self._meaning_of, changes=self._voters_of, **self.options,
        )  # fmt: skip
        seed = f"{self.plan.seed} {p} {life}"
        node = self.nodes[p] = Node(
            p, self.plan.n, Member(machine, self.others, p not in self.plan.opposed),
            coins=lambda path: random.Random(f"{seed} {path}"),
            at=AT[:-1], stored=self.disk.get(p, {}),
        )  # fmt: skip
        if p in self.plan.liars:
            node.tamper = Liar(random.Random(f"{seed} lies"), p, self)
        self.perform(p, node.step(Started(), self.now))

    def perform(self, p: Party, effects: list[Effect]) -> None:
        budget = None
        if p in self.torn and {Persist, Send} <= set(map(type, effects)):
            budget = self.torn.pop(p) % len(effects)
        for k, effect in enumerate(effects):
            if budget is not None and k >= budget:
                self.nodes.pop(p, None)
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
                    if p in self.honest and (party in self.honest or strength is Strength.SOMEONE):
                        self.problems.append(f"{p} accuses {party}: {reason} ({strength})")
                case Output(path, value) if path == AT and p in self.honest:
                    self.told(p, value)

    def send(self, src: Party, to: tuple[Party, ...], frame: Frame) -> None:
        plan, draw = self.plan, self.draw
        rough = self.now < plan.rough
        spells = [s for s in plan.spells if s.at <= self.now < s.at + s.lasting]
        if src in self.honest and frame.path == AT and frame.msg is not None:
            self.statements.said(src, to, frame.msg)
        for dst in to:
            self.messages += 1
            if rough and draw.random() < plan.loss:
                continue
            delay = self._delay()
            if rough and draw.random() < plan.late:
                delay += draw.randint(0, 2_500) * MS
            for spell in spells:
                if _strikes(spell, src, dst, self.now):
                    if spell.delay is None:
                        break
                    delay += spell.delay
            else:
                self._arrive(src, dst, self.now + delay, frame)
                if rough and draw.random() < plan.doubled:
                    self._arrive(src, dst, self.now + 2 * delay, frame)

    def _delay(self) -> int:
        mean = self.plan.mean
        match self.plan.shape:
            case "exponential":
                return 1 + int(self.draw.expovariate(1 / mean))
            case "uniform":
                return 1 + int(2 * mean * self.draw.random())
        return mean

    def _arrive(self, src: Party, dst: Party, at: int, frame: Frame) -> None:
        if self.plan.ordered:
            at = self.last[src, dst] = max(at, self.last.get((src, dst), 0))
        self.push(at, (dst, 0, Delivered(src, frame)))

    def say_later(self, p: Party, delay: int, words: Words) -> None:
        self.push(self.now + delay, (p, self.lives[p], words))

    # --- the judge --------------------------------------------------------------------------

    def told(self, p: Party, value: Any) -> None:
        op = value.op
        if isinstance(value, Refused):
            self.refused[p].add(op)
        if not isinstance(value, Decided):
            return
        here = (value.value, value.index)
        if op in self.in_this_life[p]:
            self.problems.append(f"{p} decided {op} twice in one life")
        if value.index is not None and value.index != len(self.in_this_life[p]):
            self.problems.append(f"{p} decided place {value.index} out of order")
        self.in_this_life[p].add(op)
        if self.valid.get(value.value) != op:
            self.problems.append(f"{p} decided an invalid value for {op}")
        if not self.protocol.orders:
            here = (op.encode(), None)  # values of one meaning
        if self.decided[p].setdefault(op, here) != here:
            self.problems.append(f"{p} decided {op} otherwise than before")

    def judge(self) -> None:
        by_op: dict[str, bytes] = {}
        by_place: dict[int, str] = {}
        if self.protocol.votes_inside:
            self._judge_votes()
        for p in self.honest:
            for op, (value, index) in self.decided[p].items():
                if by_op.setdefault(op, value) != value:
                    self.problems.append(f"{op} was decided in two ways")
                if index is not None and by_place.setdefault(index, op) != op:
                    self.problems.append(f"place {index} holds two operations")
        if self.plan.protocol != "direct":
            for p in self.honest:
                for op in self.refused[p] & by_op.keys():
                    self.problems.append(f"{p} refused {op}, which was committed")
        if not self.problems and (left := self.open_operations()):
            self.problems.append(f"it did not end: {left[:4]}")

    def _judge_votes(self) -> None:
        """Nothing is committed that too many reject."""
        needed = self.options.get("needed") or self.plan.n
        if self.plan.n - len(self.plan.opposed) < needed:
            for p in self.honest:
                self.problems += [f"{p} committed {op}, rejected" for op in self.decided[p]]

    def settled(self, p: Party, op: str) -> bool:
        return op in self.decided[p] or op in self.refused[p]

    def open_operations(self) -> list[tuple[Party, str]]:
        """What must end, and where it has not."""
        wanted = list(dict.fromkeys(w.op for w in self.plan.wants if w.by in self.honest))
        if self.protocol.votes_inside:  # a coordinator that crashed before it asked knows nothing
            wanted = [op for op in wanted if any(self.settled(p, op) for p in self.honest)]
        return [
            (p, op)
            for p in self.honest
            for op in wanted
            if not self.settled(p, op) and not self._never_heard(p, op)
        ]

    def _never_heard(self, p: Party, op: str) -> bool:
        """A party that was not asked has nothing to end; its coordinator's catch-up tells it."""
        machine: Any = self.nodes[p].machine(AT) if p in self.nodes else None
        records = getattr(machine, "records", None)
        return self.protocol.votes_inside and records is not None and op not in records

    # --- the run ----------------------------------------------------------------------------

    def play(self) -> Storm:
        plan, healed = self.plan, self.plan.healed
        for p in range(1, plan.n + 1):
            self.boot(p)
        for want in plan.wants:
            self.push(want.at, want)
        for crash in plan.crashes:
            self.push(crash.at, ("crash", crash.party, crash.after))
            self.push(min(crash.at + crash.lasting, healed), ("boot", crash.party, None))
        self.push(healed, ("heal", 0, None))
        for again in range(1, 40):  # what a crash forgot, the coordinator submits again
            self.push(healed + again * again * 20 * MS, ("again", 0, None))
        try:
            while self.queue and not self.problems:
                at, _, what = heapq.heappop(self.queue)
                if at > LIMIT or self.messages > MOST_MESSAGES:
                    break
                self.now = at if at > self.now else self.now
                self.take(what)
                if self.now > healed and not self.open_operations():
                    break
        except Broken as broken:
            self.problems.append(str(broken))
        except Exception as error:  # a fault of the program
            self.problems.append(f"a party failed: {type(error).__name__}: {error}")
        self.judge()
        return self

    def take(self, what: Any) -> None:
        if isinstance(what, Want):
            self.submit(what)
            return
        p, life, event = what
        match p:
            case "crash":
                if event is None:
                    self.nodes.pop(life, None)
                else:
                    self.torn[life] = event
            case "boot":
                if life not in self.nodes:
                    self.boot(life)
            case "heal":
                for party in range(1, self.plan.n + 1):
                    self.torn.pop(party, None)
                    if party not in self.nodes:
                        self.boot(party)
            case "again":
                for want in self.plan.wants:
                    self.submit(want)
            case _:
                node = self.nodes.get(p)
                if node is None or (life and life != self.lives[p]):
                    return
                if isinstance(event, Words):
                    frame = Frame(node.next_id, event.path, event.msg)  # type: ignore[arg-type]
                    node.next_id += 1
                    frame.suspect = True
                    self.send(p, event.to, frame)
                    return
                if effects := node.step(event, self.now):
                    self.perform(p, effects)
                for sender, error in node.contained:
                    self.problems.append(f"{p} fails on a message of {sender}: {error!r}")

    def submit(self, want: Want) -> None:
        everyone, n = self.protocol.everyone_submits, self.plan.n
        for rank in range(n if everyone or self.now > self.plan.healed else 1):
            p = (want.by - 1 + rank) % n + 1
            if p not in self.nodes or self.settled(p, want.op):
                continue
            if self.protocol.votes_inside and p != want.by:
                continue
            value = value_of(want.op, (want.version + self.lives[p] - 1) % 2)
            if value not in self.valid:  # in its next life it holds another, if there is one
                value = value_of(want.op, want.version)
            ask: Any = Submit(want.op, value, rank)
            if everyone and self.protocol.refuses and p in self.plan.opposed and p != want.by:
                ask = Oppose(want.op, "opposed")
            self.perform(p, self.nodes[p].step(Asked(AT[:-1], ask), self.now))

    def story(self) -> str:
        """The plan, and what came of it."""
        held = {p: sorted(self.decided[p]) for p in self.honest}
        return f"{self.plan}\nat {self.now / MS} ms: {held}\n{self.problems}"


def value_of(op: str, version: int = 0) -> bytes:
    """One of the values that may be valid for `op`."""
    return f"{op}|{version}".encode()


def _strikes(spell: Spell, src: Party, dst: Party, now: int) -> bool:
    there = src in spell.sources and dst in spell.targets
    back = spell.both and dst in spell.sources and src in spell.targets
    if not (there or back):
        return False
    return not spell.period or (now - spell.at) // spell.period % 2 == 0


def storm(
    name: str, seed: int, *, protocol: type[Agreement] | None = None, n: int = 0, **options: Any
) -> Storm:
    """One random run of protocol `name`; equal arguments, equal runs. `protocol` instead of the one
    that `name` names: a mutant of it, or one of yours."""
    return Storm(plan_of(name, seed, protocol, n=n), protocol=protocol, **options).play()


def first_failure(
    name: str, seeds: Iterable[int], protocol: type[Agreement] | None = None
) -> tuple[int, str] | None:
    """The first seed that finds something, and what; None when all is well."""
    for seed in seeds:
        if problems := storm(name, seed, protocol=protocol).problems:
            return seed, problems[0]
    return None


def shrunk(plan: Plan, protocol: type[Agreement] | None = None, *, most: int = 400) -> Plan:
    """A plan as small as can be that fails in the same way, tried `most` times at the most."""
    word = way(Storm(plan, protocol=protocol).play())
    tries, found = 0, True
    while found:
        found = False
        for less in smaller(plan):
            tries += 1
            if tries > most:
                return plan
            if way(Storm(less, protocol=protocol).play()) == word:
                plan, found = less, True
                break
    return plan


def way(run: Storm) -> str:
    """How a storm fails, without names and numbers; "" when it does not."""
    if not run.problems:
        return ""
    words = run.problems[0].partition(":")[0].split()
    return " ".join(word for word in words if word.isalpha() and not word.startswith("op"))


def again(path: str) -> Storm:
    """Play the plan in a file."""
    return Storm(read_plan(path)).play()


__all__ = ["Plan", "Storm", "again", "first_failure", "shrunk", "storm"]
