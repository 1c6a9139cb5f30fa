"""The asynchronous adversary: machines alone, and nothing but orders of events.

There is no time. From a bag of messages and timers one is taken after the other; each run draws
what is wrong with it: which links are dead for how long, which kinds of messages get lost, how
eager timers are, and up to f liars that vote both ways (`Agreement.variant`) and keep silent
towards some. So a run comes to what `storms`, which have a clock, meet once in a million: one party
decides, and nobody hears of it while the others go on. Safety alone is judged: one log, one answer
to each question (`promises`), no honest party blamed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from mpclab.consensus.agreement import Agreement
from mpclab.core.effects import Blame, Output
from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.testing.alone import Alone
from mpclab.testing.promises import Promises

OPS = "abcdefghijklmnop"
VALUES = {f"{op}|{k}".encode(): f"{op}|{1 - k}".encode() for op in OPS for k in (0, 1)}
"""The valid values, and what a liar says instead of each."""
EVENTS = 700
"""In one run, at most;"""
LONG = 2000
"""… and in a long one."""


def _name(value: bytes) -> str:
    return value[:1].decode()


class Gauntlet:
    """One run; `problem` is "" when all is well.

    Args:
        long: not two operations at the beginning, but one after the other; and a session of its
            own, since the leaders of some protocols follow from that. For protocols to which
            nothing happens without something to do, such as Streamlet.
    """

    def __init__(
        self,
        protocol: type[Agreement],
        seed: int,
        *,
        n: int = 4,
        promises: Promises | None = None,
        long: bool = False,
        **options: Any,
    ) -> None:
        if long:
            options = {"session": f"gauntlet {seed}", **options}
        draw = self.draw = random.Random(f"gauntlet {seed}")
        self.n, self.promises = n, promises
        self.members = range(1, n + 1)
        self.long, self.to_come = long, list(OPS)
        self.problem = ""
        self.bag: list[tuple[Party, Party, Message]] = []
        self.answers: dict[tuple[Any, ...], Any] = {}
        self.log: dict[int, tuple[str, bytes]] = {}
        self.ends: dict[str, bytes] = {}
        most = protocol.liars(n)
        self.liars = frozenset(draw.sample(self.members, draw.randint(0, most)))
        self.dead: set[tuple[Party, Party]] = set()
        self.lost: dict[str, float] = {}
        self.eager = draw.choice((0.02, 0.06, 0.15))
        self.newest = draw.choice((0.0, 0.5, 0.9))
        self.seen: dict[Party, int] = dict.fromkeys(self.members, 0)
        self.parties: dict[Party, Alone] = {}
        # In some long runs the liars play a known attack on the protocol, where there is one.
        self.script: Any = None
        if long and protocol.attacks:
            self.script = draw.choice((None, *protocol.attacks.values()))
        for p in self.members:
            self.parties[p] = Alone(
                protocol, p, n, valid=VALUES.__contains__, names=_name, **options
            )
            self.listen(p)

    # --- what happens ---

    def run(self) -> str:
        draw = self.draw
        if self.long:
            for _ in range(LONG):
                if self.problem:
                    break
                if draw.random() < 0.01 or len(self.to_come) == len(OPS):
                    self.submit_next()
                else:
                    self.event()
            return self.problem
        for p in self.members:
            if draw.random() < 0.6:
                op = draw.choice((b"a", b"b"))
                self.parties[p].submit(op.decode(), op + draw.choice((b"|0", b"|1")))
                self.listen(p)
        for _ in range(EVENTS):
            if self.problem:
                break
            self.event()
        return self.problem

    def submit_next(self) -> None:
        """Some submit the next operation."""
        draw = self.draw
        if not self.to_come:
            return
        op = self.to_come.pop(0)
        for p in self.members:
            if draw.random() < 0.6:
                self.parties[p].submit(op, op.encode() + draw.choice((b"|0", b"|1")))
                self.listen(p)

    def event(self) -> None:
        draw, chance = self.draw, self.draw.random()
        if chance < 0.01:  # another weather
            self.dead = {(p, q) for p in self.members for q in self.members if draw.random() < 0.25}
        elif chance < 0.02 and draw.random() < 0.3:
            p = draw.choice(self.members)
            self.parties[p].restart()
            self.listen(p)
        elif chance < 0.02 + self.eager or not self.bag:
            p = draw.choice(self.members)
            if timers := self.parties[p].timers:
                soonest = min(timers, key=lambda name: (timers[name], name))
                self.parties[p].fire(soonest if draw.random() < 0.5 else draw.choice([*timers]))
                self.listen(p)
        else:
            place = (
                len(self.bag) - 1 if draw.random() < self.newest else draw.randrange(len(self.bag))
            )
            src, dst, msg = self.bag[place]
            self.bag[place] = self.bag[-1]
            self.bag.pop()
            self.parties[dst].hear(src, msg)
            self.listen(dst)

    def listen(self, p: Party) -> None:
        """Take down what `p` did and said in its last step."""
        party = self.parties[p]
        if p not in self.liars:
            for effect in party.effects:
                if isinstance(effect, Output):
                    self.decided(p, effect.value)
                elif isinstance(effect, Blame) and effect.party not in self.liars:
                    self.problem = f"party {p} blames party {effect.party}: {effect.reason}"
        new = party.said[self.seen[p] :]
        self.seen[p] = len(party.said)
        for to, msg in new:
            if p not in self.liars and self.promises is not None:
                for question, answer in self.promises(p, to, msg):
                    if self.answers.setdefault(question, answer) != answer:
                        self.problem = f"{question}: {self.answers[question]!r} and {answer!r}"
            self.post(p, to, msg)

    def post(self, p: Party, to: tuple[Party, ...], msg: Message) -> None:
        draw = self.draw
        if p in self.liars and self.script is not None:
            for some, other in self.script(self.parties[p].machine, to, msg):
                self.bag += [(p, q, other) for q in some if (p, q) not in self.dead]
            return
        kind = type(msg).__name__
        loss = self.lost.setdefault(kind, draw.choice((0.0, 0.0, 0.1, 0.3, 1.0)))
        for q in to:
            if (p, q) in self.dead or draw.random() < (min(loss, 0.3) if len(to) > 1 else loss):
                continue
            said: Message | None = msg
            if p in self.liars and draw.random() < 0.5:
                machine = self.parties[p].machine
                said = machine.variant(msg, VALUES) if draw.random() < 0.7 else None
            if said is not None:
                self.bag.append((p, q, said))

    def decided(self, p: Party, value: Any) -> None:
        here = value.op, value.value
        if self.ends.setdefault(value.op, value.value) != value.value:
            self.problem = f"{value.op} is decided in two ways, the second by party {p}"
        if value.index is not None and self.log.setdefault(value.index, here) != here:
            self.problem = f"place {value.index} holds {self.log[value.index]} and {here}"


def gauntlet(
    protocol: type[Agreement],
    seed: int,
    *,
    n: int = 4,
    promises: Promises | None = None,
    long: bool = False,
    options: Mapping[str, Any] = {},
) -> str:
    """One random order of events; the problem, "" for none. Equal arguments, equal runs."""
    return Gauntlet(protocol, seed, n=n, promises=promises, long=long, **options).run()
