"""The base of Tendermint: its state, votes and certificates, timers, gossip and the store.

§2.1 of the paper assumes *gossip*: whatever an honest party got, all get soon. Here a party that
waits says where it is, and whoever knows more tells it: its votes of the round, the valid value and
decided blocks with the votes that prove them to anybody, and the precommits that ended a round.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import msgspec

from mpclab.consensus.agreement import KEPT, Agreement
from mpclab.consensus.backlog import Backlog
from mpclab.consensus.options import Options, count
from mpclab.consensus.quorum import at_least, byzantine_quorum, max_faulty, signed_by
from mpclab.consensus.tendermint_messages import (
    NIL,
    PRECOMMIT,
    PREVOTE,
    Block,
    TendermintCommit,
    TendermintCommits,
    TendermintPolka,
    TendermintPrecommit,
    TendermintPrecommits,
    TendermintPrevote,
    TendermintProposal,
    TendermintRequest,
    TendermintStatus,
    Votes,
)
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

Step: TypeAlias = Literal[1, 2, 3]
PROPOSE_STEP: Step = 1
PREVOTE_STEP: Step = 2
PRECOMMIT_STEP: Step = 3


class Kept(msgspec.Struct, frozen=True):
    """What a party must never contradict: where it is, its votes there, and its lock."""

    height: int
    round: int
    step: Step
    prevote: bytes | None
    precommit: bytes | None
    locked_round: int
    locked: bytes


@dataclass(slots=True)
class RoundLog:
    """The messages of one round: id and signature of each party's votes."""

    proposal: TendermintProposal | None = None
    prevotes: dict[Party, tuple[bytes, bytes]] = field(default_factory=dict)
    precommits: dict[Party, tuple[bytes, bytes]] = field(default_factory=dict)


def votes_for(votes: Mapping[Party, tuple[bytes, bytes]], name: bytes) -> Votes:
    """Those that name `name`, by party."""
    return tuple((p, signature) for p, (said, signature) in sorted(votes.items()) if said == name)


class Recorded(msgspec.Struct, frozen=True):
    """What we keep of an old decision whose values are on record: the packed votes, and the ids."""

    round: int
    ops: tuple[str, ...]
    precommits: bytes


@dataclass(frozen=True, kw_only=True)
class TendermintOptions(Options):
    """The settings of Tendermint, the same for all parties: a longer block is not valid."""

    batch: int = count(16, "operations in a block, at most", most=256)


class TendermintBase(Agreement):
    """The state of one process, and what it owes to others who missed something."""

    title = "Tendermint"
    orders = True
    archives = frozenset({"height", "old"})
    options_type = TendermintOptions
    options: TendermintOptions
    unvaried = (TendermintPolka, TendermintCommits, TendermintPrecommits)

    OPEN: ClassVar = 256
    """Undecided operations that we keep for others."""
    REACH: ClassVar = 8
    """Messages of so many rounds before and after ours are kept."""
    PAGE: ClassVar = 16
    """Decided blocks in one answer, at most; and 128 KiB of values, about."""
    PAGE_BYTES: ClassVar = 128 * 1024
    BLOCK_BYTES: ClassVar = 128 * 1024
    """Bytes of values in a block, at most, unless it has one operation alone."""
    GOSSIP: ClassVar = 5
    """Patiences between asking a few others whether we missed anything."""
    TRIES: ClassVar = 12
    """Retransmissions without a decision before we count an operation as blocked."""

    f: int
    quorum: int
    """2f + 1 of the paper."""
    members: frozenset[Party]

    # --- the variables of Algorithm 1, lines 1 to 9 ---
    height: int
    round: int
    step: Step
    decision: list[TendermintCommit | Recorded]
    """By height, each with the votes that prove it."""
    old: int
    """So many of them were looked up on record."""
    locked: bytes
    """id(lockedValue)."""
    locked_round: int
    valid_value: TendermintPolka | None
    """validValue and validRound, with the prevotes that prove them."""

    logs: dict[tuple[int, int], RoundLog]
    """By height and round."""
    prevote: TendermintPrevote | None
    """Our votes in this round."""
    precommit: TendermintPrecommit | None
    over: TendermintPrecommits | None
    """What ended the last round of this height that we saw to its end. Stored: nobody else may hold
    it, and who is still in that round goes on by nothing less."""
    proposed: TendermintProposal | None
    """Our last proposal."""
    places: dict[Party, tuple[int, int]]
    """The furthest height and round that each party has said something in."""
    backlog: Backlog
    timers: set[str]
    """Those that are set, or have rung in this round."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def start(self, ctx: Ctx) -> None:
        self.f = max_faulty(ctx.n)
        self.quorum = byzantine_quorum(ctx.n)
        self.members = frozenset(ctx.members)
        self.backlog = Backlog(self.TRIES)
        self.decision, self.old, self.logs, self.places = [], 0, {}, {}
        self.proposed = None
        self.timers = set()
        self.reset()
        self.round, self.step, self.prevote, self.precommit = 0, PROPOSE_STEP, None, None
        if ctx.stored:
            self._recover(ctx)
        ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)
        self.note_phase(ctx, "propose")
        self.watch(ctx)

    def reset(self) -> None:
        """Line 53: a new height."""
        self.height = len(self.decision)
        self.locked, self.locked_round, self.valid_value = NIL, -1, None
        self.over = None
        self.logs = {(h, r): log for (h, r), log in self.logs.items() if h >= self.height}

    @property
    def valid_round(self) -> int:
        """validRound: that of the valid value, or -1."""
        return -1 if self.valid_value is None else self.valid_value.round

    def proposer(self, ctx: Ctx, height: int, round: int) -> Party:
        """§3: round-robin."""
        return (height + round) % ctx.n + 1

    def note_phase(self, ctx: Ctx, phase: str) -> None:
        ctx.note(notes.Phase(phase=phase, view=self.height, round=self.round))

    def signed_prevote(self, name: bytes) -> TendermintPrevote:
        parts = self.height, self.round, name
        return TendermintPrevote(*parts, self.identity.sign(PREVOTE, self.session, *parts))

    def signed_precommit(self, name: bytes) -> TendermintPrecommit:
        parts = self.height, self.round, name
        return TendermintPrecommit(*parts, self.identity.sign(PRECOMMIT, self.session, *parts))

    def want(self, block: Block) -> None:
        """Wait for what was proposed, and propose it ourselves, as far as there is room."""
        for one in block:
            if len(self.backlog.pending) < self.OPEN:
                self.backlog.add(one.op, one.value)

    # --- what is heard ---

    def log_of(self, height: int, round: int) -> RoundLog | None:
        """Where the messages of a round are kept: of this height and the next, near our round."""
        near = self.round if height == self.height else 0
        if height not in (self.height, self.height + 1) or abs(round - near) > self.REACH:
            return None
        return self.logs.get((height, round)) or RoundLog()

    @property
    def reached(self) -> tuple[int, int]:
        """How far an honest party is for sure."""
        ranked = sorted(self.places.values(), reverse=True)
        return ranked[self.f] if len(ranked) > self.f else (-1, 0)

    def certifies(self, label: str, parts: tuple[str, int, int, bytes], votes: Votes) -> bool:
        """Whether these are a quorum of votes; False when we do not know a voter's key yet.

        Raises:
            PeerFault: they are not.
        """
        parties = {p for p, _ in votes}
        if (
            len(parties) != len(votes)
            or len(parties) < self.quorum
            or not parties <= self.members
            or not all(signed_by(self.keys[p], label, parts, s) for p, s in votes if p in self.keys)
        ):
            raise PeerFault("showed a block without a quorum of votes for it")
        return parties <= self.keys.keys()

    # --- timeouts, lines 57 to 67 -----------------------------------------------------------

    def timeout(self, timer: str) -> int:
        """timeoutX(r) = initTimeoutX + r · timeoutDelta; for proposals more than two delays and
        the last precommit timeout (§3, termination)."""
        init = 2 * self.patience if timer == "propose" else self.patience
        return init + min(self.round, 64) * self.patience // 2

    def arm(self, ctx: Ctx, timer: str, delay: int = 0) -> None:
        """Set a timer, once in each round."""
        if timer not in self.timers:
            self.timers.add(timer)
            hopeless = self.backlog.is_hopeless
            alive = bool(self.backlog.pending) and not hopeless
            ctx.set_timer(
                timer, delay or self.timeout(timer), background=hopeless, foreground=alive
            )

    def stop(self, ctx: Ctx, timer: str) -> None:
        if timer in self.timers:
            self.timers.discard(timer)
            ctx.cancel_timer(timer)

    def watch(self, ctx: Ctx) -> None:
        """While something is open, the proposer must come forward, and we ask what we missed."""
        hopeless = self.backlog.is_hopeless
        if self.backlog.pending or self.reached >= (self.height, 0):
            self.arm(ctx, "again", self.patience * 4 if hopeless else self.patience // 2)
            if self.step == PROPOSE_STEP and self.proposer(ctx, self.height, self.round) != ctx.me:
                self.arm(ctx, "propose")  # line 21

    # --- gossip -----------------------------------------------------------------------------

    def status(self) -> TendermintStatus:
        return TendermintStatus(self.height, self.round, self.valid_round)

    def ask_all(self, ctx: Ctx) -> None:
        ctx.multicast(ctx.others, self.status())

    def own_words(self, ctx: Ctx) -> list[Message]:
        """What we said in this round."""
        here = self.height, self.round
        said: list[Message] = []
        if self.proposed is not None and (self.proposed.height, self.proposed.round) == here:
            said.append(self.proposed)
        said += [vote for vote in (self.prevote, self.precommit) if vote is not None]
        return said

    def say_again(self, ctx: Ctx) -> None:
        """Something is open and does not come forward: say again what may have been lost."""
        own = (op for op in self.backlog.pending if op in self.backlog.own)
        if (op := next(own, None)) is not None:  # the oldest; the others have their turn
            ctx.multicast(ctx.others, TendermintRequest(op, self.backlog.pending[op]))
        for msg in self.own_words(ctx):
            ctx.multicast(ctx.others, msg)
        self.ask_all(ctx)
        where = f"round {self.round} of height {self.height}"
        self.backlog.attempt(ctx, f"{where} has no quorum of {self.quorum}")

    def take_status(self, ctx: Ctx, sender: Party, msg: TendermintStatus) -> None:
        """Tell `sender` what it lacks of what we know."""
        if sender == ctx.me:
            return
        if msg.height < self.height:
            ctx.send(sender, TendermintCommits(self._page(msg.height)))
        elif msg.height > self.height:
            ctx.send(sender, self.status())
        else:
            if self.valid_value is not None and self.valid_value.round > msg.valid_round:
                ctx.send(sender, self.valid_value)
            if self.over is not None and msg.round <= self.over.round:
                ctx.send(sender, self.over)
            if msg.round <= self.round:
                for said in self.own_words(ctx):
                    ctx.send(sender, said)

    def _page(self, height: int) -> tuple[TendermintCommit, ...]:
        found: list[TendermintCommit] = []
        size = 0
        for at in range(height, min(height + self.PAGE, len(self.decision))):
            if (commit := self._decided_at(at)) is None:
                break
            size += sum(len(one.value) for one in commit.block)
            if found and size > self.PAGE_BYTES:
                break
            found.append(commit)
        return tuple(found)

    # --- what was decided -------------------------------------------------------------------

    def take_decision(self, ctx: Ctx, commit: TendermintCommit | Recorded) -> None:
        """The next height is decided."""
        self.decision.append(commit)
        while self.old < len(self.decision) - KEPT:
            old = self.old
            if isinstance(one := self.decision[old], TendermintCommit):
                values = [self.recall(request.op) for request in one.block]
                if None in values:
                    break  # not on record yet
                if values == [request.value for request in one.block]:
                    ops = tuple(request.op for request in one.block)
                    votes = msgspec.msgpack.encode(one.precommits)
                    kept = self.decision[old] = Recorded(one.round, ops, votes)
                    # The record was stored before this: a crash leaves the one or the other.
                    ctx.persist(f"old/{old}", msgspec.msgpack.encode(kept))
                    ctx.persist(f"height/{old}", None)
            self.old += 1

    def _decided_at(self, height: int) -> TendermintCommit | None:
        kept = self.decision[height]
        if isinstance(kept, TendermintCommit):
            return kept
        block: list[TendermintRequest] = []
        for op in kept.ops:
            if (value := self.recall(op)) is None:
                return None
            block.append(TendermintRequest(op, value))
        votes = msgspec.msgpack.decode(kept.precommits, type=Votes)
        return TendermintCommit(height, kept.round, tuple(block), votes)

    def _stored(self, ctx: Ctx, height: int) -> TendermintCommit | Recorded | None:
        if (data := ctx.stored.get(f"old/{height}")) is not None:
            return msgspec.msgpack.decode(data, type=Recorded)
        data = ctx.stored.get(f"height/{height}")
        return None if data is None else msgspec.msgpack.decode(data, type=TendermintCommit)

    # --- the store --------------------------------------------------------------------------

    def keep(self, ctx: Ctx) -> None:
        """Store what we must never contradict: before the message that says it."""
        prevote = None if self.prevote is None else self.prevote.id
        precommit = None if self.precommit is None else self.precommit.id
        kept = Kept(
            self.height, self.round, self.step, prevote, precommit, self.locked_round, self.locked
        )
        ctx.persist("now", msgspec.msgpack.encode(kept))

    def _recover(self, ctx: Ctx) -> None:
        stored = ctx.stored
        while (decided := self._stored(ctx, len(self.decision))) is not None:
            self.take_decision(ctx, decided)
            if (commit := self._decided_at(len(self.decision) - 1)) is None:
                where = f"height {len(self.decision) - 1}"
                raise ValueError(f"the values of {where} are not on record any more")
            for one in commit.block:
                self.backlog.decide(ctx, one.op, one.value)
        self.reset()
        if (data := stored.get("now")) is not None:
            kept = msgspec.msgpack.decode(data, type=Kept)
            if kept.height == self.height:
                self.round, self.step = kept.round, kept.step
                if kept.prevote is not None:
                    self.prevote = self.signed_prevote(kept.prevote)
                if kept.precommit is not None:
                    self.precommit = self.signed_precommit(kept.precommit)
                self.locked_round, self.locked = kept.locked_round, kept.locked
        if (data := stored.get("over")) is not None:
            over = msgspec.msgpack.decode(data, type=TendermintPrecommits)
            if over.height == self.height:
                self.over = over
        if (data := stored.get("valid")) is not None:
            polka = msgspec.msgpack.decode(data, type=TendermintPolka)
            if polka.height == self.height:
                self.valid_value = polka
                if polka.round > self.round:  # line 55: the crash came before we stored that
                    self.round, self.step = polka.round, PROPOSE_STEP
                    self.prevote = self.precommit = None
                self.want(polka.block)
        if (data := stored.get("proposal")) is not None:
            self.proposed = msgspec.msgpack.decode(data, type=TendermintProposal)
        for msg in self.own_words(ctx):  # what we may have said is said again
            ctx.broadcast(msg)
        self.ask_all(ctx)
