"""What comes after a state if nothing goes wrong any more: the end of a fair path.

From the state on no message is lost, nobody crashes, who is down comes back, clocks run at one
speed, coins fall at random, and what was submitted is submitted once more (as a coordinator does).
Then every operation must come to an end at every honest party that owes it one: where an honest
party submitted it, and where an honest party has ended it already.
"""

from __future__ import annotations

import copy
import heapq
import random
from collections import defaultdict
from collections.abc import Iterable
from functools import partial

from mpclab.consensus.agreement import Decided, Refused, Submit
from mpclab.core.effects import (
    Asked,
    Delivered,
    Effect,
    Event,
    Output,
    Send,
    SetTimer,
    Started,
    TimerFired,
)
from mpclab.core.ids import MS, SECOND, Party, Path
from mpclab.core.node import Node
from mpclab.core.wire import Frame
from mpclab.model.explorer import Explorer
from mpclab.model.states import AT, State, value_of

DELAY = 5 * MS
LIMIT = 300 * SECOND
"""Of virtual time. Patience is doubled at each view, so that 300 s are some six or eight views."""
MOST_EVENTS = 20_000


class FairEnd:
    """Runs on from a state; `late` says who owes what in the end. A subclass may look on."""

    def __init__(self, model: Explorer, state: State, *, now: int = 0, seed: int = 1) -> None:
        self.model = model
        self.now = now
        self.began = now
        self.queue: list[tuple[int, int, Party, Event]] = []
        self.count = 0
        self.nodes: dict[Party, Node] = {}
        self.offset: dict[Party, int] = {}
        self.ended: dict[Party, set[str]] = {}
        self.decided: set[str] = set()  # by somebody honest
        self.restarts: list[Party] = []
        self.wishers: dict[str, set[Party]] = defaultdict(set)
        for one in model.wishes:
            self.wishers[one.op].add(one.party)
        for p, number in zip(model.members, state.parties, strict=True):
            local = model.locals[number]
            if p not in model.liars:
                self.decided |= {one[1] for one in local.given if one[0] == "decided"}
            self.ended[p] = {one[1] for one in local.given if one[0] in ("decided", "refused")}
            coins = random.Random(f"{seed} {p}")
            if local.node is None:
                node = model.begin(p, local.stored, coins)
                self.restarts.append(p)
            else:
                node = copy.deepcopy(local.node, {id(model.coins): coins})
                node.coins = partial(_same, coins)
            self.nodes[p] = node
            self.offset[p] = now - node.now
        promised = len(model.liars) <= model.protocol.liars(model.n)
        self.owed = self._owed() if promised else set()
        for p in self.restarts:
            self.at(now + DELAY, p, Started())
        for number in state.network:
            sender, receiver, frame = model.messages[number]
            self.at(now + DELAY, receiver, Delivered(sender, frame))
        for p, node in self.nodes.items():
            for (path, name), due in list(node.timers.items()):
                self.at(due + self.offset[p], p, TimerFired(path, name))
        for one in model.wishes:
            ask = Submit(one.op, value_of(one.op, one.version))
            self.at(now + 2 * DELAY, one.party, Asked(AT, ask))

    def _owed(self) -> set[str]:
        """The operations that must end everywhere."""
        model, honest = self.model, [p for p in self.model.members if p not in self.model.liars]
        if model.protocol.everyone_submits:
            return {op for op, who in self.wishers.items() if who.issuperset(honest)}
        return {op for op, who in self.wishers.items() if who.intersection(honest)}

    @property
    def late(self) -> dict[str, list[Party]]:
        """Who has not ended what it should have."""
        honest = [p for p in self.model.members if p not in self.model.liars]
        if not self.owed:
            return {}
        ends = {op for p in honest for op in self.ended[p]}
        waiting = {}
        for op in sorted(self.owed | self.decided):
            # Who never heard of what was refused owes it nothing.
            owes = self.wishers[op] if op in ends - self.decided else honest
            if who := [p for p in honest if p in owes and op not in self.ended[p]]:
                waiting[op] = who
        return waiting

    def run(self) -> str:
        """Run until everything has ended; what has not, in words."""
        events = 0
        while self.queue and self.late:
            if events >= MOST_EVENTS or self.now - self.began > LIMIT:
                break
            self.now, _, p, event = heapq.heappop(self.queue)
            events += 1
            self.happen(p, event)
        if not (late := self.late):
            return ""
        op, who = next(iter(late.items()))
        names = f"party {who[0]}" if len(who) == 1 else f"parties {', '.join(map(str, who))}"
        held = "never end" if len(who) > 1 else "never ends"
        return f"{names} {held} {op}, though nothing goes wrong any more"

    # --- a small host ---

    def at(self, time: int, p: Party, event: Event) -> None:
        self.count += 1
        heapq.heappush(self.queue, (time, self.count, p, event))

    def happen(self, p: Party, event: Event) -> None:
        node, now = self.nodes[p], self.now - self.offset[p]
        if (
            isinstance(event, TimerFired)
            and node.timers.get((event.path, event.name), now + 1) > now
        ):
            return  # replaced or cancelled
        effects = list(node.step(event, now))
        effects += self.model.answer(node, effects)
        self.perform(p, effects)

    def perform(self, p: Party, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, frame):
                    for q in to:
                        self.send(p, q, frame)
                case SetTimer(path, name, at):
                    self.at(at + self.offset[p], p, TimerFired(path, name))
                case Output(_, Decided(op) | Refused(op)):
                    self.ended[p].add(op)
                    if isinstance(effect.value, Decided) and p not in self.model.liars:
                        self.decided.add(op)
                case _:
                    pass

    def send(self, src: Party, dst: Party, frame: Frame) -> None:
        self.at(self.now + DELAY, dst, Delivered(src, frame))


def _same(coins: random.Random, path: Path) -> random.Random:
    return coins
