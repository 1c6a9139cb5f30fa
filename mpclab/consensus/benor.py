"""`ben-or`: agreement on one bit, "approved", with no timing at all, by tossing coins.

M. Ben-Or, "Another advantage of free choice: completely asynchronous agreement protocols", PODC
1983: protocol A (crashes, n > 2t) and protocol B (`byzantine=True`, n > 5t).

* Assumes: authenticated links, on which everything arrives at some time (what is lost is asked
  for again). No timing: Fischer, Lynch and Paterson (1985) forbid a *deterministic* protocol to
  end always, so this one ends with probability 1.
* Guarantees: **agreement** on the bit; **validity**: if all honest parties begin with the same
  bit, that is decided, in one round.

A party begins with 1 when a valid value is submitted to it, and with 0 when it is told to oppose.
If others are at it and neither happens within a `patience`, it asks them for a value, and after
another it begins with 0. Deciding 1 gives `Decided` (some honest
party began with 1, so the value is to be had), deciding 0 `Refused`. It orders nothing. Two valid
values of one operation may differ in their certificates.

2n(n − 1) messages a round. With local coins and inputs that are split, the number of rounds grows
exponentially with n: each party tosses for itself until enough agree by chance. With a *common*
coin (M. O. Rabin, FOCS 1983) two rounds are enough on average: pass `coin`, such as
`common_coin(seed)` of a seed that a `coin` operation made. With the seed one knows the tosses;
an adversary who also orders the messages could then keep the parties apart.

Deviation: a party that has decided says both its messages of the next round at once and stops;
that is all the others need to decide in that round. Whoever is behind is told what was decided,
believes it when so many say it that one of them is honest, and tells it in its turn: which counts
as its word in every round in which it said nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import msgspec

from mpclab.consensus.agreement import Agreement, Decided, Learnt, Oppose, Refused, Submit
from mpclab.consensus.quorum import at_least
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.crypto.transcript import digest

Coin: TypeAlias = Callable[[str, int], int]
"""From operation and round to a bit, the same for all parties."""

NEITHER = 2


def common_coin(seed: bytes) -> Coin:
    """A common coin from a random value that all hold, such as a `coin` operation's result."""
    return lambda op, round: digest("mpclab ben-or coin", seed, op, round)[0] & 1


class BenOrValue(Message, frozen=True):
    """The value that the bit is about."""

    op: str
    value: bytes


class BenOrReport(Message, frozen=True):
    """Step 1: (1, r, x)."""

    op: str
    round: int
    bit: int


class BenOrProposal(Message, frozen=True):
    """Step 2: (2, r, v, D), or (2, r, ?) with `NEITHER`."""

    op: str
    round: int
    bit: int


class BenOrAgain(Message, frozen=True):
    """I am in this round and lack messages (or, with round 0, the value)."""

    op: str
    round: int


class BenOrSettled(Message, frozen=True):
    """I have decided."""

    op: str
    bit: int


class _Kept(msgspec.Struct, frozen=True):
    """One operation as persisted: what we have said, we never say otherwise."""

    value: bytes | None
    reports: tuple[int, ...]  # our bit in each round, from 1
    proposals: tuple[int, ...]
    decision: int | None


@dataclass(slots=True)
class _Instance:
    """One operation.

    Attributes:
        opener: whose message made us begin it; None: our own user, or an earlier life.
        round: ours; 0: not begun.
        reports: our bit in each round, from 1; `proposals` likewise.
        told: the decision was output.
        heard: by step and round, what each party said.
        settled: what each party says was decided.
    """

    opener: Party | None = None
    value: bytes | None = None
    round: int = 0
    reports: list[int] = field(default_factory=list)
    proposals: list[int] = field(default_factory=list)
    decision: int | None = None
    told: bool = False
    heard: dict[tuple[type, int], dict[Party, int]] = field(default_factory=dict)
    settled: dict[Party, int] = field(default_factory=dict)
    tries: int = 0


class BenOr(Agreement):
    """One instance for each operation.

    Args:
        coin: a common coin; None: each party tosses its own.
        byzantine: protocol B instead of protocol A.
        options: as for every `Agreement`.
    """

    title = "Ben-Or binary agreement"
    unvaried = (BenOrAgain,)
    everyone_submits = True
    refuses = True
    archives = frozenset({"op"})

    TRIES: ClassVar = 10
    OPEN: ClassVar = 256
    """Operations that may be undecided at once, of those that one other party spoke of first."""
    AHEAD: ClassVar = 64
    """Rounds ahead of ours that we listen to."""

    n: int
    t: int
    """Parties that may fail."""
    most: int
    """As many reports of one bit make us propose it."""
    adopt: int
    """As many proposals of one bit make us adopt it,"""
    decide: int
    """… and as many decide it."""
    instances: dict[str, _Instance]
    opened: dict[Party, int]
    """Undecided operations by the party that spoke of them first."""

    def __init__(
        self,
        identity: Identity,
        keys: Mapping[Party, bytes],
        *,
        coin: Coin | None = None,
        byzantine: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(identity, keys, **options)
        self.coin = coin
        self.byzantine = byzantine

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 2, cls.title, "there must be somebody to agree with")

    @classmethod
    def liars(cls, n: int) -> int:
        return 0

    def start(self, ctx: Ctx) -> None:
        n = self.n = ctx.n
        if self.byzantine:
            self.t = (n - 1) // 5
            self.adopt = self.t + 1  # one of them is honest
            self.most = self.decide = (n + self.t) // 2 + 1
        else:
            self.t = (n - 1) // 2
            self.most = n // 2 + 1  # so no two parties propose different bits
            self.adopt = 1
            self.decide = self.t + 1  # so everybody adopts
        self.instances, self.opened = {}, {}
        for key, data in ctx.stored.items():
            op = key.removeprefix("op/")
            kept = msgspec.msgpack.decode(data, type=_Kept)
            it = self.instances[op] = _Instance(
                None, kept.value, len(kept.reports), list(kept.reports), list(kept.proposals)
            )
            if kept.decision is not None:
                self._settle(ctx, op, it, kept.decision)
            else:
                for step, bits in ((BenOrReport, it.reports), (BenOrProposal, it.proposals)):
                    if len(bits) == it.round and bits:
                        it.heard[step, it.round] = {ctx.me: bits[-1]}
                ctx.multicast(ctx.others, BenOrAgain(op, it.round))
                self._wait(ctx, op, it)

    # --- beginning ----------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if self.fits(op, value):
                it = self._find(ctx, op)
                if it.decision == 0 and it.told:
                    self._tell(ctx, op, it)  # a late certificate re-opens nothing
                elif it.value is None:
                    self._take_value(ctx, op, it, value)
            case Oppose(op):
                it = self._find(ctx, op)
                if it.decision == 0 and it.told:
                    self._tell(ctx, op, it)  # a late certificate re-opens nothing
                elif it.round == 0 and it.decision is None:
                    self._report(ctx, op, it, 0)
            case Learnt(outcome):
                self._learn(ctx, outcome)

    def _learn(self, ctx: Ctx, outcome: Decided | Refused) -> None:
        """The user knows it already: help the others, and say nothing else from now on."""
        op = outcome.op
        it = self._find(ctx, op)
        if it.told:
            return
        it.told = True
        ctx.cancel_timer(f"again/{op}")
        if isinstance(outcome, Decided) and it.value is None:
            it.value = outcome.value
        if it.decision is None:
            self._take_over(ctx, op, it, int(isinstance(outcome, Decided)))
        else:
            self._keep(ctx, op, it)

    def _take_value(self, ctx: Ctx, op: str, it: _Instance, value: bytes) -> None:
        it.value = value
        self._keep(ctx, op, it)
        if it.round == 0 and it.decision is None:
            self._report(ctx, op, it, 1)
        elif it.decision is not None:
            self._settle(ctx, op, it, it.decision)

    def _find(self, ctx: Ctx, op: str, opener: Party | None = None) -> _Instance:
        """The instance of `op`, begun now if need be."""
        it = self.instances.get(op)
        if it is None:
            it = self.instances[op] = _Instance(opener)
            if opener is not None:
                self.opened[opener] = self.opened.get(opener, 0) + 1
            self._wait(ctx, op, it)
        return it

    def _no_room(self, op: str, opener: Party) -> bool:
        return op not in self.instances and self.opened.get(opener, 0) >= self.OPEN

    # --- rounds -------------------------------------------------------------------------------

    def _report(self, ctx: Ctx, op: str, it: _Instance, bit: int) -> None:
        """Step 1 of the next round."""
        it.round += 1
        it.reports.append(bit)
        self._keep(ctx, op, it)
        ctx.note(notes.Phase(phase="report", op=op, round=it.round, bit=bit))
        ctx.broadcast(BenOrReport(op, it.round, bit))

    def _propose(self, ctx: Ctx, op: str, it: _Instance, bit: int) -> None:
        """Step 2."""
        it.proposals.append(bit)
        self._keep(ctx, op, it)
        ctx.broadcast(BenOrProposal(op, it.round, bit))

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: BenOrReport | BenOrProposal | BenOrValue | BenOrAgain | BenOrSettled,
    ) -> None:
        self._check(sender, msg)
        if self._no_room(msg.op, sender):
            return  # it says so again when it lacks something
        it = self._find(ctx, msg.op, sender)
        match msg:
            case BenOrReport(op, round, bit) | BenOrProposal(op, round, bit):
                if it.decision is not None or not it.round <= round <= it.round + self.AHEAD:
                    return
                it.heard.setdefault((type(msg), round), {})[sender] = bit
                if round == it.round:
                    self._advance(ctx, op, it)
            case BenOrValue(op, value):
                if it.value is None:
                    self._take_value(ctx, op, it, value)
            case BenOrAgain(op, round):
                self._repeat(ctx, sender, op, it, round)
            case BenOrSettled(op, bit):
                it.settled[sender] = bit
                same = sum(b == bit for b in it.settled.values())
                if it.decision is None and same >= self.adopt:
                    self._take_over(ctx, op, it, bit)
                else:
                    self._advance(ctx, op, it)

    def _check(
        self,
        sender: Party,
        msg: BenOrReport | BenOrProposal | BenOrValue | BenOrAgain | BenOrSettled,
    ) -> None:
        """Raise `PeerFault` for an invalid message; nothing is changed yet."""
        it = self.instances.get(msg.op) or _Instance()
        match msg:
            case BenOrReport(op, round, bit) | BenOrProposal(op, round, bit):
                if bit not in (0, 1) and not (bit == NEITHER and type(msg) is BenOrProposal):
                    raise PeerFault(f"bit {bit} is neither 0 nor 1")
                if it.heard.get((type(msg), round), {}).get(sender, bit) != bit:
                    raise PeerFault(f"said two things in round {round} on {op}")
            case BenOrValue(op, value):
                if not self.fits(op, value):
                    raise PeerFault(f"sent a value of {op} that is not valid")
            case BenOrSettled(_, bit):
                if bit not in (0, 1):
                    raise PeerFault(f"bit {bit} is neither 0 nor 1")

    def _advance(self, ctx: Ctx, op: str, it: _Instance) -> None:
        """Count the first n − t messages of a step, exactly those, and act on them."""
        while it.round and it.decision is None:
            proposing = len(it.proposals) < it.round
            heard = it.heard.get((BenOrReport if proposing else BenOrProposal, it.round), {})
            said = it.settled | heard  # who took a decision over says nothing else any more
            if len(said) < self.n - self.t or ctx.me not in said:
                return
            ones = sum(bit == 1 for bit in said.values())
            zeros = sum(bit == 0 for bit in said.values())
            bit, count = (1, ones) if ones >= zeros else (0, zeros)
            if proposing:
                self._propose(ctx, op, it, bit if count >= self.most else NEITHER)
            elif count >= self.decide:
                self._decide(ctx, op, it, bit)
            else:
                if count < self.adopt:
                    bit = self._toss(ctx, op, it.round)
                for step in (BenOrReport, BenOrProposal):
                    it.heard.pop((step, it.round), None)
                self._report(ctx, op, it, bit)

    def _toss(self, ctx: Ctx, op: str, round: int) -> int:
        return self.coin(op, round) if self.coin is not None else ctx.rng.randrange(2)

    # --- deciding -----------------------------------------------------------------------------

    def _decide(self, ctx: Ctx, op: str, it: _Instance, bit: int) -> None:
        """We counted enough proposals. All others adopt `bit` in this round: help them through
        the next, in which nobody reports anything else."""
        ctx.note(notes.Phase(phase="decide", op=op, round=it.round, bit=bit))
        it.round += 1
        it.reports.append(bit)
        it.proposals.append(bit)
        self._end(ctx, op, it, bit)
        ctx.multicast(ctx.others, BenOrReport(op, it.round, bit))
        ctx.multicast(ctx.others, BenOrProposal(op, it.round, bit))
        self._settle(ctx, op, it, bit)

    def _take_over(self, ctx: Ctx, op: str, it: _Instance, bit: int) -> None:
        """Others decided `bit`, perhaps in a later round than ours: what we would have said in
        ours we do not know, and say how it ended instead."""
        ctx.note(notes.Phase(phase="decide", op=op, round=it.round, bit=bit))
        self._end(ctx, op, it, bit)
        ctx.multicast(ctx.others, BenOrSettled(op, bit))
        self._settle(ctx, op, it, bit)

    def _end(self, ctx: Ctx, op: str, it: _Instance, bit: int) -> None:
        it.decision = bit
        if it.opener is not None:
            self.opened[it.opener] -= 1
        it.heard.clear()
        self._keep(ctx, op, it)

    def _settle(self, ctx: Ctx, op: str, it: _Instance, bit: int) -> None:
        it.decision = bit
        if it.told:
            return
        if bit == 1 and it.value is None:
            ctx.multicast(ctx.others, BenOrAgain(op, 0))
            self._wait(ctx, op, it)
            return
        it.told = True
        ctx.cancel_timer(f"again/{op}")
        self._tell(ctx, op, it)

    def _tell(self, ctx: Ctx, op: str, it: _Instance) -> None:
        """Output the decision."""
        if it.decision == 0:
            ctx.output(Refused(op, "the parties agreed that it is not approved"))
            return
        assert it.value is not None
        ctx.note(notes.Decided(op=op, index=None))
        ctx.output(Decided(op, it.value))

    # --- what is late or lost -----------------------------------------------------------------

    def _wait(self, ctx: Ctx, op: str, it: _Instance) -> None:
        ctx.set_timer(f"again/{op}", self.patience, background=it.tries >= self.TRIES)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        op = name.removeprefix("again/")
        it = self.instances[op]
        if it.told:
            return
        it.tries += 1
        if it.round == 0 and it.decision is None and it.tries > 1:
            self._report(ctx, op, it, 0)  # others are at it, and its value did not come
        round = 0 if it.decision is not None else it.round
        ctx.multicast(ctx.others, BenOrAgain(op, round))
        if it.tries == self.TRIES:
            step = BenOrReport if len(it.proposals) < it.round else BenOrProposal
            said = it.heard.get((step, it.round), {})
            missing = [p for p in ctx.members if p not in said]
            why = f"round {it.round} needs {ctx.n - self.t} parties"
            ctx.note(notes.Blocked(op=op, waiting_for=tuple(missing), why=why))
        self._wait(ctx, op, it)

    def _repeat(self, ctx: Ctx, to: Party, op: str, it: _Instance, round: int) -> None:
        if it.value is not None:
            ctx.send(to, BenOrValue(op, it.value))
        if it.decision is not None:
            ctx.send(to, BenOrSettled(op, it.decision))
        for k in range(max(round, 1), it.round + 1):
            ctx.send(to, BenOrReport(op, k, it.reports[k - 1]))
            if k <= len(it.proposals):
                ctx.send(to, BenOrProposal(op, k, it.proposals[k - 1]))

    def _keep(self, ctx: Ctx, op: str, it: _Instance) -> None:
        kept = _Kept(it.value, tuple(it.reports), tuple(it.proposals), it.decision)
        ctx.persist(f"op/{op}", msgspec.msgpack.encode(kept))

    # --- lies -------------------------------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """The other bit; for "?", a 1."""
        match msg:
            case BenOrReport() | BenOrProposal() | BenOrSettled():
                return msgspec.structs.replace(msg, bit=0 if msg.bit == 1 else 1)
        return super().variant(msg, values)
