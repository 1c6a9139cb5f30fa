"""Synod: one value for each operation, whoever proposes it and whoever crashes.

L. Lamport, "Paxos made simple", ACM SIGACT News 32(4), 2001; the steps below are of its §2.2
and §2.3. Every party is proposer, acceptor and learner.

* Assumes: parties crash and come back with what they stored; nobody lies; messages may be late,
  lost and repeated. n > 2f for progress, nothing for safety.
* Guarantees: no two parties decide different values for one operation. Any two majorities share a
  party, and that one tells the later proposer what the earlier may have got chosen.
* Orders nothing: `Decided.index` is None. `agreement: paxos` of mpclab itself is a log of such
  instances.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mpclab import Ctx, Message, Party, register
from mpclab.consensus.agreement import Agreement, Decided, Submit
from mpclab.core import notes


class SynodPrepare(Message, frozen=True):
    """Promise to take no proposal below `number`, and tell me the last that you accepted."""

    op: str
    number: int


class SynodPromise(Message, frozen=True):
    """I promise. `accepted` is the number of what I accepted last, 0 for nothing."""

    op: str
    number: int
    accepted: int
    value: bytes


class SynodAccept(Message, frozen=True):
    """Accept `value` under `number`, unless you promised otherwise."""

    op: str
    number: int
    value: bytes


class SynodAccepted(Message, frozen=True):
    """I accepted the proposal of that number."""

    op: str
    number: int


class SynodRefused(Message, frozen=True):
    """I have promised `promised` to somebody."""

    op: str
    promised: int


class SynodChosen(Message, frozen=True):
    """`value` is chosen."""

    op: str
    value: bytes


class SynodLearned(Message, frozen=True):
    """I know; you need not tell me again."""

    op: str


class Stored(msgspec.Struct):
    """What an acceptor must remember (§2.2: "in stable storage")."""

    promised: int = 0
    accepted: int = 0
    value: bytes = b""
    chosen: bool = False
    ours: bytes = b""  # what our own user wants chosen


class Instance:
    """One operation's Paxos at this party."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.number = 0  # of our own proposal, 0 when we make none
        self.promises: dict[Party, tuple[int, bytes]] = {}
        self.accepts: set[Party] = set()
        self.proposed: bytes | None = None
        self.unaware: set[Party] = set()  # who has not said that it knows what was chosen
        self.tries = 0


@register
class Synod(Agreement):
    """Single-decree Paxos, one instance for each operation."""

    word = "synod"
    title = "Synod (Lamport 2001)"

    @classmethod
    def liars(cls, n: int) -> int:
        return 0

    def quorum(self, ctx: Ctx) -> int:
        return ctx.n // 2 + 1

    def start(self, ctx: Ctx) -> None:
        self.instances: dict[str, Instance] = {}
        for op, data in ctx.stored.items():
            it = self.instances[op] = Instance(msgspec.msgpack.decode(data, type=Stored))
            if it.stored.chosen:
                self._tell(ctx, op, it)
                ctx.output(Decided(op, it.stored.value))
            elif it.stored.ours:
                self._begin(ctx, op, it)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if self.fits(op, value):
                it = self._instance(op)
                if it.stored.chosen or it.stored.ours:
                    return
                it.stored.ours = value
                self._store(ctx, op, it)
                self._begin(ctx, op, it)

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: SynodPrepare
        | SynodPromise
        | SynodAccept
        | SynodAccepted
        | SynodRefused
        | SynodChosen
        | SynodLearned,
    ) -> None:
        it = self._instance(msg.op)
        stored = it.stored
        if stored.chosen and not isinstance(msg, SynodChosen | SynodLearned):
            if sender != ctx.me:
                ctx.send(sender, SynodChosen(msg.op, stored.value))
            return
        match msg:
            case SynodPrepare(op, number):
                # Phase 1 (b): "if an acceptor receives a prepare request with number n greater
                # than that of any prepare request to which it has already responded".
                if number <= stored.promised:
                    ctx.send(sender, SynodRefused(op, stored.promised))
                    return
                stored.promised = number
                self._store(ctx, op, it)
                ctx.send(sender, SynodPromise(op, number, stored.accepted, stored.value))
                self._watch(ctx, op, it)
            case SynodPromise(op, number, accepted, value):
                if number == it.number and it.proposed is None:
                    it.promises[sender] = (accepted, value)
                    self._propose(ctx, op, it)
            case SynodAccept(op, number, value):
                # Phase 2 (b): "it accepts the proposal unless it has already responded to a
                # prepare request having a number greater than n".
                if number < stored.promised:
                    ctx.send(sender, SynodRefused(op, stored.promised))
                    return
                if not self.fits(op, value):
                    return
                stored.promised = stored.accepted = number
                stored.value = value
                self._store(ctx, op, it)
                ctx.send(sender, SynodAccepted(op, number))
                self._watch(ctx, op, it)
            case SynodAccepted(op, number):
                if number == it.number and it.proposed is not None:
                    it.accepts.add(sender)
                    if len(it.accepts) >= self.quorum(ctx):
                        self._learn(ctx, op, it, it.proposed)
            case SynodRefused(op, promised):
                stored.promised = max(stored.promised, promised)  # the next number is above it
            case SynodChosen(op, value):
                if sender != ctx.me:
                    ctx.send(sender, SynodLearned(op))
                if not stored.chosen:
                    self._learn(ctx, op, it, value)
            case SynodLearned(op):
                it.unaware.discard(sender)

    def _begin(self, ctx: Ctx, op: str, it: Instance) -> None:
        """Phase 1 (a): "a proposer selects a proposal number n and sends a prepare request"."""
        round = max(it.stored.promised, it.number) // ctx.n + 1
        it.number = round * ctx.n + ctx.me - 1  # numbers of two parties never meet
        it.promises, it.accepts, it.proposed = {}, set(), None
        it.tries += 1
        ctx.note(notes.Phase(phase="prepare", op=op, round=round))
        ctx.broadcast(SynodPrepare(op, it.number))
        self._watch(ctx, op, it)

    def _propose(self, ctx: Ctx, op: str, it: Instance) -> None:
        """Phase 2 (a): "where v is the value of the highest-numbered proposal among the responses,
        or is any value if the responses reported no proposals"."""
        if len(it.promises) < self.quorum(ctx):
            return
        accepted, value = max(it.promises.values())
        it.proposed = value if accepted else it.stored.ours
        if not it.proposed:
            it.proposed = None  # nobody has anything to propose
            return
        ctx.note(notes.Phase(phase="accept", op=op, round=it.number // ctx.n))
        ctx.broadcast(SynodAccept(op, it.number, it.proposed))

    def _learn(self, ctx: Ctx, op: str, it: Instance, value: bytes) -> None:
        it.stored.value, it.stored.chosen = value, True
        self._store(ctx, op, it)
        ctx.cancel_timer(f"try {op}")
        self._tell(ctx, op, it)
        ctx.note(notes.Decided(op=op, index=None))
        ctx.output(Decided(op, value))

    def _tell(self, ctx: Ctx, op: str, it: Instance) -> None:
        """§2.3: learners are told, until each has said that it knows."""
        it.unaware = set(ctx.others)
        ctx.multicast(ctx.others, SynodChosen(op, it.stored.value))
        ctx.set_timer(f"tell {op}", self.patience, background=True)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        what, op = name.split(" ", 1)
        it = self.instances[op]
        if what == "tell":
            if it.unaware:
                ctx.multicast(sorted(it.unaware), SynodChosen(op, it.stored.value))
                ctx.set_timer(name, self.patience, background=True)
            return
        if it.tries == 3:
            missing = tuple(p for p in ctx.others if p not in it.promises)
            ctx.note(notes.Blocked(op=op, waiting_for=missing, why="no majority of promises"))
        self._begin(ctx, op, it)

    def _watch(self, ctx: Ctx, op: str, it: Instance) -> None:
        """Take over if nothing is chosen in time; at different times, or proposers duel (§2.4)."""
        wait = self.patience + ctx.rng.randrange(self.patience)
        ctx.set_timer(f"try {op}", wait, background=it.tries > 12)

    def _instance(self, op: str) -> Instance:
        return self.instances.setdefault(op, Instance(Stored()))

    def _store(self, ctx: Ctx, op: str, it: Instance) -> None:
        ctx.persist(op, msgspec.msgpack.encode(it.stored))
