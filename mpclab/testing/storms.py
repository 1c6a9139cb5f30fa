"""Thousands of random runs of a log protocol a minute: its machines on a bare queue of events.

A storm draws everything from one number: parties, delays near the timeouts, ordered and unordered
links, loss, doubled messages, slow links, partitions that flap, crashes in the middle of a step,
restarts, a party that was away for long, operations that come one by one or all at once; and, if
asked, f liars that say each of their messages to some, not to others, late, again, or otherwise
(as `Agreement.variant` allows, or with another number in it). Then the weather calms down, and
everybody must come to one log that holds everything.

The judge shares nothing with `mpclab.check`. It reads what each party gives out, and what it says:
an honest party must never contradict itself, in this life or a later one (`PROMISES`).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from mpclab.consensus import hotstuff_messages as hotstuff
from mpclab.consensus import pbft_messages as pbft
from mpclab.consensus import raft_messages as raft
from mpclab.consensus.agreement import Agreement, Decided, Submit
from mpclab.consensus.chained_hotstuff import ChainedGeneric
from mpclab.consensus.hotstuff import HotStuffAdvance, HotStuffPropose
from mpclab.consensus.registry import agreement
from mpclab.core.effects import Asked, Blame, Effect, Output, Persist, Send, SetTimer, Started
from mpclab.core.effects import TimerFired as Timer
from mpclab.core.ids import MS, Party, Path
from mpclab.core.node import Node
from mpclab.core.wire import Frame, Message
from mpclab.testing.cluster import AT, IDENTITIES
from mpclab.testing.promises import Promise, Promises, tendermint_promises

LEAST = {"raft": 2}
OPTIONS: dict[str, dict[str, Any]] = {"raft": {"compaction": 4}, "pbft": {}}
PATIENCE = 400 * MS
STORM = 16 * PATIENCE
"""How long the weather is bad."""
CALM = 4_000 * PATIENCE
"""How long it may take afterwards until everybody holds everything."""


class Result(NamedTuple):
    """The result of a storm: `problem` is "" when all is well."""

    problem: str
    messages: int
    story: str


class Broken(Exception):
    """The protocol broke a promise."""


# --- what an honest party promises by what it says -----------------------------------------


def _pbft_promises(me: Party, to: tuple[Party, ...], msg: Message) -> Iterator[Promise]:
    match msg:
        case pbft.PbftPrePrepare(view, seq, op, value):
            yield (("proposed", me, view, seq), pbft.digest_of(op, value))
        case pbft.PbftPrepare(view, seq, digest):
            yield (("prepared", me, view, seq), digest)
        case pbft.PbftCommit(view, seq, digest):
            yield (("committed", me, view, seq), digest)
            yield (("prepared by a quorum", view, seq), digest)
        case pbft.PbftCheckpoint(seq, digest):
            yield (("history", seq), digest)
        case pbft.PbftViewChange(view):
            yield (("left", me, view), msg)
        case pbft.PbftNewView(view):
            yield (("began", me, view), msg)  # or shows how it began


def _raft_promises(me: Party, to: tuple[Party, ...], msg: Message) -> Iterator[Promise]:
    match msg:
        case raft.RaftRequestVote(term, _, _, False):
            yield (("voted", me, term), me)
        case raft.RaftRequestVoteResponse(term, True, False):
            yield (("voted", me, term), to[0])
        case raft.RaftAppendEntries(term, prev, prev_term, entries):
            yield (("leads", term), me)
            for index, entry in enumerate(entries, prev + 1):
                # §5.3, Log Matching: one entry for an index and a term, and one before it
                yield (("entry", index, entry.term), (entry.op, entry.value, prev_term))
                prev_term = entry.term
        case raft.RaftHeartbeat(term) | raft.RaftInstallSnapshot(term):
            yield (("leads", term), me)


def _hotstuff_promises(me: Party, to: tuple[Party, ...], msg: Message) -> Iterator[Promise]:
    match msg:
        case hotstuff.HotStuffVote(phase, view, block):
            yield (("voted", me, view, phase), block)
        case HotStuffPropose(block) | ChainedGeneric(block):
            yield (("proposed", me, block.view), block)
        case HotStuffAdvance(qc):
            # any two certificates of one view share an honest voter
            yield (("certified", qc.view), qc.block)


PROMISES: dict[str, Promises] = {
    "pbft": _pbft_promises,
    "raft": _raft_promises,
    "hotstuff": _hotstuff_promises,
    "chained-hotstuff": _hotstuff_promises,
    "tendermint": tendermint_promises,
}


class Judge:
    """The outputs and messages of honest parties, judged: are they one log?"""

    def __init__(self, name: str) -> None:
        self.promises = PROMISES.get(name)
        self.answers: dict[tuple[Any, ...], Any] = {}
        self.left: dict[Party, int] = {}  # the latest view that each has left for
        self.log: list[tuple[str, bytes]] = []
        self.places: dict[str, int] = {}
        self.held: dict[Party, int] = {}  # how much of the log each was told, in this life

    def decided(self, party: Party, value: Decided) -> None:
        place = self.held[party]
        if value.index != place:
            raise Broken(f"party {party} decides place {value.index} after {place - 1}")
        self.held[party] = place + 1
        here = (value.op, value.value)
        if place == len(self.log):
            if value.op in self.places:
                raise Broken(f"{value.op} has places {self.places[value.op]} and {place}")
            self.log.append(here)
            self.places[value.op] = place
        elif self.log[place] != here:
            raise Broken(f"place {place} holds {self.log[place]} and, at party {party}, {here}")

    def said(self, me: Party, to: tuple[Party, ...], msg: Message) -> None:
        if self.promises is None:
            return
        for question, answer in self.promises(me, to, msg):
            if self.answers.setdefault(question, answer) != answer:
                raise Broken(f"{question}: {self.answers[question]!r} and {answer!r}")
        if isinstance(msg, pbft.PbftViewChange):
            self.left[me] = max(msg.view, self.left.get(me, 0))
        elif isinstance(msg, pbft.PbftPrepare | pbft.PbftCommit):
            if msg.view < self.left.get(me, 0):
                raise Broken(f"party {me} votes in view {msg.view}, which it had left: {msg}")


# --- the weather ---------------------------------------------------------------------------


@dataclass
class Spell:
    """From `since` to `until` (µs) messages from `src` to `dst` take `delay` more, or are lost
    where that is None; `period`: only every other so many µs (it flaps)."""

    since: int
    until: int
    pairs: frozenset[tuple[Party, Party]]
    delay: int | None
    period: int = 0

    def strikes(self, src: Party, dst: Party, now: int) -> bool:
        inside = self.since <= now < self.until and (src, dst) in self.pairs
        return inside and (not self.period or (now - self.since) // self.period % 2 == 0)


@dataclass
class Weather:
    """How long each message takes."""

    draw: random.Random = field(repr=False)
    mean: int
    shape: str
    loss: float
    doubled: float
    is_ordered: bool
    spells: list[Spell] = field(default_factory=list)
    last: dict[tuple[Party, Party], int] = field(default_factory=dict, repr=False)

    def arrivals(self, src: Party, dst: Party, now: int) -> list[int]:
        """When a message that is sent now arrives: never, once, or twice."""
        draw = self.draw
        if self.loss and draw.random() < self.loss:
            return []
        delay = 0
        for spell in self.spells:
            if spell.strikes(src, dst, now):
                if spell.delay is None:
                    return []
                delay += spell.delay
        times = [self._arrival(src, dst, now + delay)]
        if self.doubled and draw.random() < self.doubled:
            times.append(self._arrival(src, dst, now + delay))
        return times

    def _arrival(self, src: Party, dst: Party, now: int) -> int:
        match self.shape:
            case "exponential":
                at = now + 1 + int(self.draw.expovariate(1 / self.mean))
            case "uniform":
                at = now + self.draw.randint(1, 2 * self.mean)
            case _:
                at = now + self.mean
        if self.is_ordered:
            at = self.last[src, dst] = max(at, self.last.get((src, dst), 0))
        return at


def _weather(draw: random.Random, n: int) -> Weather:
    weather = Weather(
        draw,
        mean=draw.choice((2, 10, 40, 100, 200)) * MS,
        shape=draw.choice(("exponential", "exponential", "uniform", "constant")),
        loss=draw.choice((0.0, 0.0, 0.0, 0.05, 0.2)),
        doubled=draw.choice((0.0, 0.0, 0.05)),
        is_ordered=draw.random() < 0.5,
    )
    pairs = [(p, q) for p in range(1, n + 1) for q in range(1, n + 1) if p != q]
    for _ in range(draw.choice((0, 1, 2, 3, 5))):
        since = draw.randrange(STORM)
        until = since + draw.randrange(PATIENCE // 4, 6 * PATIENCE)
        if draw.random() < 0.6:  # slow or deaf links
            some = frozenset(draw.sample(pairs, draw.randint(1, len(pairs) // 2)))
            late = None if draw.random() < 0.3 else draw.randrange(PATIENCE // 4, 4 * PATIENCE)
            weather.spells.append(Spell(since, until, some, late))
        else:  # a partition
            group = set(draw.sample(range(1, n + 1), draw.randint(1, n // 2)))
            cut = frozenset((p, q) for p, q in pairs if (p in group) != (q in group))
            period = draw.choice((0, 0, draw.randrange(20 * MS, PATIENCE)))
            weather.spells.append(Spell(since, until, cut, None, period))
    return weather


# --- the storm -----------------------------------------------------------------------------


def value_of(op: str, version: int = 0) -> bytes:
    """One of the values that are valid for `op`."""
    return f"{op}|{version}".encode()


def _name_of(value: bytes) -> str:
    return value.split(b"|")[0].decode()


def _is_valid(value: bytes) -> bool:
    return value.count(b"|") == 1 and value[-1:].isdigit()


class Storm:
    """One run. `protocol` instead of the one that `name` names: a mutant of it."""

    def __init__(
        self, name: str, seed: int, protocol: type[Agreement] | None = None, *, lies: bool = False
    ) -> None:
        draw = self.draw = random.Random(f"storm {name} {seed} {lies}")
        self.protocol = protocol or agreement(name)
        least = LEAST.get(name, 4)
        self.n = draw.choice((least, 4, 4, 4, 5, 7))
        self.members = range(1, self.n + 1)
        self.options = {"patience": PATIENCE, **OPTIONS.get(name, {})}
        self.judge = Judge(name)
        self.weather = self.drawn = _weather(draw, self.n)
        self.now = 0
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self.messages = 0
        self.nodes: dict[Party, Node] = {}
        self.life: dict[Party, int] = dict.fromkeys(self.members, 0)
        self.disk: dict[Party, dict[Path, dict[str, bytes]]] = {p: {} for p in self.members}
        self.torn: dict[Party, int] = {}  # dying in their next step, after so many effects
        self.liars: frozenset[Party] = frozenset()
        if lies:
            most = self.protocol.liars(self.n)
            self.liars = frozenset(draw.sample(self.members, draw.randint(1, most)))
        self.past: list[tuple[Path, Message]] = []  # what liars may say again
        self.ops: dict[str, Party] = {}
        self.plan()

    def at(self, time: int, do: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.queue, (time, self.count, do))

    # --- what is drawn ---

    def plan(self) -> None:
        draw, honest = self.draw, [p for p in self.members if p not in self.liars]
        for p in self.members:
            self.at(0, lambda p=p: self.start(p))  # type: ignore[misc]
        count = draw.choice((1, 2, 3, 5, 8, 24))
        together = draw.random() < 0.4
        begun = draw.randrange(STORM // 2)
        for k in range(count):
            time = begun + draw.randrange(30 * MS) if together else draw.randrange(STORM)
            self.submit_at(time, f"op{k}", draw.choice(honest))
        if draw.random() < 0.2:  # somebody was away, and has something to propose when back
            away = draw.choice(honest)
            pairs = {(away, p) for p in self.members} | {(p, away) for p in self.members}
            self.weather.spells.append(Spell(0, STORM - PATIENCE, frozenset(pairs), None))
            for k in range(draw.choice((4, 20))):
                self.submit_at(draw.randrange(STORM // 2), f"home{k}", draw.choice(honest))
            self.submit_at(STORM - PATIENCE + draw.randrange(40 * MS), "back", away)
        for _ in range(draw.choice((0, 0, 1, 3, 6))):
            p = draw.choice(self.members)
            time = draw.randrange(STORM)
            self.at(time, lambda p=p: self.crash(p))  # type: ignore[misc]
            until = time + draw.randrange(3 * PATIENCE)
            self.at(until, lambda p=p: self.start(p))  # type: ignore[misc]

    def submit_at(self, time: int, op: str, party: Party) -> None:
        self.ops[op] = party
        self.at(time, lambda: self.submit(op, party))
        if self.draw.random() < 0.2:  # another party has another valid value for it
            other = self.draw.choice([p for p in self.members if p not in self.liars])
            self.at(time + self.draw.randrange(PATIENCE), lambda: self.submit(op, other, 1))

    # --- parties ---

    def start(self, p: Party) -> None:
        """Begin, or begin again with what is on disk."""
        self.torn.pop(p, None)
        if p in self.nodes:
            return
        keys = {q: IDENTITIES[q].public for q in self.members}
        machine = self.protocol(
            IDENTITIES[p], keys, valid=_is_valid, names=_name_of, **self.options
        )
        self.life[p] += 1
        seed = f"{self.draw.random()} {p} {self.life[p]}"
        coins = random.Random(seed)
        self.nodes[p] = Node(
            p, self.n, machine, coins=lambda path: coins, at=AT, stored=self.disk[p]
        )
        self.judge.held[p] = 0
        self.step(p, Started())

    def crash(self, p: Party) -> None:
        """Die now, or in the middle of the next step."""
        if p in self.nodes:
            if self.draw.random() < 0.5:
                del self.nodes[p]
            else:
                self.torn[p] = self.draw.randrange(6)

    def submit(self, op: str, p: Party, version: int = 0) -> None:
        if p in self.nodes:
            self.step(p, Asked(AT, Submit(op, value_of(op, version))))

    def step(self, p: Party, event: Any) -> None:
        effects = self.nodes[p].step(event, self.now)
        self.check(p)
        dies = self.torn.pop(p, None)
        if dies is not None:
            effects = effects[:dies]
            del self.nodes[p]
        for effect in effects:
            self.perform(p, effect)

    def check(self, p: Party) -> None:
        """A bug that a peer's message brought to light is contained, and is one."""
        for sender, error in self.nodes[p].contained:
            raise Broken(f"party {p} fails on a message of party {sender}: {error!r}")

    def perform(self, p: Party, effect: Effect) -> None:
        match effect:
            case Send(to, frame):
                if p in self.liars:
                    self.lie(p, to, frame)
                else:
                    assert frame.msg is not None
                    self.judge.said(p, to, frame.msg)
                    for q in to:
                        self.send(p, q, frame)
            case SetTimer(path, name, at):
                self.at(at, lambda: self.fire(p, self.life[p], path, name, at))
            case Persist(path, key, value):
                items = self.disk[p].setdefault(path, {})
                if value is None:
                    items.pop(key, None)
                else:
                    items[key] = value
            case Output(_, value) if p not in self.liars:
                self.judge.decided(p, value)
            case Blame(_, party, reason) if p not in self.liars and party not in self.liars:
                raise Broken(f"party {p} blames party {party}: {reason}")

    def fire(self, p: Party, life: int, path: Path, name: str, at: int) -> None:
        node = self.nodes.get(p)
        if node is not None and self.life[p] == life and node.timers.get((path, name)) == at:
            self.step(p, Timer(path, name))

    def send(self, src: Party, dst: Party, frame: Frame, delay: int = 0) -> None:
        for at in self.weather.arrivals(src, dst, self.now + delay):
            self.at(at, lambda: self.deliver(src, dst, frame))

    def deliver(self, src: Party, dst: Party, frame: Frame) -> None:
        node = self.nodes.get(dst)
        if node is None:
            return
        frame.suspect = src in self.liars
        self.messages += 1
        effects = node.deliver(src, frame, self.now)
        self.check(dst)
        if effects:
            dies = self.torn.pop(dst, None)
            if dies is not None:
                effects = effects[:dies]
                del self.nodes[dst]
            for effect in effects:
                self.perform(dst, effect)

    # --- liars ---

    def lie(self, p: Party, to: tuple[Party, ...], frame: Frame) -> None:
        """Say something of it, or else, to each."""
        draw, msg = self.draw, frame.msg
        assert msg is not None
        frame.suspect = True
        self.past.append((frame.path, msg))
        del self.past[:-200]
        for q in to:
            chance = draw.random()
            if chance < 0.4:
                self.send(p, q, frame)
            elif chance < 0.6:
                if (other := self.variant(p, msg)) is not None:
                    self.send(p, q, _lie(frame.path, other))
            elif chance < 0.7:
                self.send(p, q, _lie(frame.path, _renumbered(msg, draw)))
            elif chance < 0.8:
                path, old = draw.choice(self.past)
                self.send(p, q, _lie(path, old))
            elif chance < 0.9:
                self.send(p, q, frame, draw.randrange(3 * PATIENCE))

    def variant(self, p: Party, msg: Message) -> Message | None:
        machine = self.nodes[p].machine(AT) if p in self.nodes else None
        if not isinstance(machine, Agreement):
            return None
        versions = {value_of(op, k): value_of(op, 1 - k) for op in self.ops for k in (0, 1)}
        return machine.variant(msg, versions)

    # --- running ---

    def run(self) -> Result:
        try:
            problem = self._run()
        except Broken as broken:
            problem = str(broken)
        except Exception as error:
            problem = f"a party failed: {type(error).__name__}: {error}"
        return Result(problem, self.messages, self.story())

    def _run(self) -> str:
        while self.queue and self.queue[0][0] < STORM:
            self.now, _, do = heapq.heappop(self.queue)
            do()
        self.weather = Weather(self.draw, 5 * MS, "uniform", 0.0, 0.0, is_ordered=False)
        for p in self.members:
            self.start(p)
        for op, p in self.ops.items():  # what a crash forgot, the coordinator submits again
            self.submit(op, p)
        limit = STORM + CALM
        honest = [p for p in self.members if p not in self.liars]
        while self.queue and self.queue[0][0] < limit:
            self.now, _, do = heapq.heappop(self.queue)
            do()
            if all(self.judge.held.get(p, 0) >= len(self.ops) for p in honest):
                return ""
        held = {p: self.judge.held.get(p, 0) for p in honest}
        return f"after the storm not everybody holds the {len(self.ops)} operations: {held}"

    def story(self) -> str:
        """The parameters drawn, and the state of every party."""
        lines = [f"{self.n} parties, liars {sorted(self.liars)}, at {self.now / MS} ms"]
        lines += [str(self.drawn), f"log {[op for op, _ in self.judge.log]}"]
        return "\n".join(lines)


def _lie(path: Path, msg: Message) -> Frame:
    frame = Frame(0, path, msg)
    frame.suspect = True
    return frame


def _renumbered(msg: Message, draw: random.Random) -> Message:
    """`msg` with another number in it, a little or absurdly different."""
    numbers = [
        name
        for name in msg.__struct_fields__
        if isinstance(value := getattr(msg, name), int) and not isinstance(value, bool)
    ]
    if not numbers:
        return msg
    name = draw.choice(numbers)
    old = getattr(msg, name)
    other = draw.choice((old + 1, max(0, old - 1), old + 8, 2**50, 2**62))
    return msgspec.structs.replace(msg, **{name: other})


def storm(
    name: str, seed: int, protocol: type[Agreement] | None = None, *, lies: bool = False
) -> Result:
    """One random run of the log protocol `name`; equal arguments, equal runs."""
    return Storm(name, seed, protocol, lies=lies).run()


def first_failure(
    name: str, seeds: Iterable[int], protocol: type[Agreement] | None = None, *, lies: bool = False
) -> tuple[int, str] | None:
    """The first seed that finds something, and what; None when all is well."""
    for seed in seeds:
        if problem := storm(name, seed, protocol, lies=lies).problem:
            return seed, problem
    return None
