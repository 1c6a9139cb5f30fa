"""`streamlet`: propose on the longest notarised chain, vote, and three in a row are final.

B. Y. Chan and E. Shi, "Streamlet: textbook streamlined blockchains", AFT 2020 (IACR ePrint
2020/088): §2.1, whose rules are quoted.

* Assumes: n > 3f, at most f Byzantine, authenticated links, unforgeable signatures. Safety needs
  no timing. Progress needs partial synchrony and good luck: five epochs in a row with honest
  leaders. An honest party's store outlives a crash.
* Guarantees: one log. Blocks hold operations; the final blocks are one chain everywhere.

The whole protocol: in each *epoch* its leader **proposes** a block that extends a longest notarised
chain that it has seen. Every party **votes** for the first block that the leader proposes, if it
extends one of the longest notarised chains that the *party* has seen. A block is **notarised** by
votes of 2n/3 parties. Where three adjacent blocks of a notarised chain have consecutive epochs, the
chain up to the second of them is **final**. No views, no locks, no second phase.

Why it is safe. Two blocks of one epoch are not both notarised: their 2n/3 votes would share an
honest party, and it votes once. Take three blocks of epochs e, e + 1, e + 2, and another block at
the height of the second. If it is of an epoch before e, some honest voter of the first block had
seen a longer chain; if after e + 2, some honest voter of that other block had: both vote for
nothing but a longest chain. So "longest" is all that stands against two logs.

An epoch takes (n − 1) + n(n − 1) messages and two delays δ, and lasts 2Δ however short they are:
Streamlet is not *responsive*. A block is final when the next one is notarised, 2Δ + 2δ after it was
proposed, if the epoch before had a block as well; one epoch later otherwise. Blocks that only make
an operation final may be empty.

Deviations. *Echoing* (§2.1: every message is passed on to all, O(n³) an epoch) is by asking: a
proposal carries the votes that notarise its parent; who must refuse it shows its proposer the
longer chain; and in the middle of an epoch that notarised nothing here yet a party says its words
again and asks for what it missed. *Epochs* are not read off a common clock: they begin when there
is something to decide, each lasts 2Δ by a party's own clock, and a party follows f + 1 others who
are further; they double while nothing becomes final, so that clocks that are apart overlap. Leaders
are drawn by a hash of session and epoch, as the paper draws them: were it their turn, one liar
among four could keep any three epochs in a row from being good. Proposals are not signed, as links
are authenticated. A vote and each notarised block are stored before the next message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import Agreement, Submit, flipped, with_values
from mpclab.consensus.backlog import Backlog
from mpclab.consensus.options import Options, count, duration
from mpclab.consensus.quorum import at_least, byzantine_quorum, max_faulty, signed_by
from mpclab.consensus.streamlet_attacks import ATTACKS
from mpclab.consensus.streamlet_chain import NotarisedTree
from mpclab.consensus.streamlet_final import OldBlock
from mpclab.consensus.streamlet_messages import (
    ROOT,
    VOTE,
    Block,
    Notarised,
    StreamletChain,
    StreamletPropose,
    StreamletRequest,
    StreamletStatus,
    StreamletVote,
    Votes,
    digest_of,
)
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest

_encode = msgspec.msgpack.encode


@dataclass(frozen=True, kw_only=True)
class StreamletOptions(Options):
    """The settings of Streamlet, `batch` the same for all parties: a longer block is not valid."""

    delta: int | None = duration(
        None, "Δ, the longest delay; an epoch is twice as long (a quarter of patience)"
    )
    batch: int = count(16, "operations in a block, at most", most=256)

    @property
    def epoch(self) -> int:
        """2Δ, µs."""
        return 2 * (self.patience // 4 if self.delta is None else self.delta)


def leader_of(session: str, epoch: int, n: int) -> Party:
    """§2.1: drawn by a public hash function H*: {0, 1}* → [n]."""
    drawn = digest("mpclab streamlet leader", session, epoch)
    return int.from_bytes(drawn[:8], "big") % n + 1


class Streamlet(Agreement):
    """One player of the paper."""

    title = "Streamlet"
    orders = True
    options_type = StreamletOptions
    options: StreamletOptions
    unvaried = (StreamletChain,)
    attacks = ATTACKS
    archives = frozenset({"block", "old"})

    BLOCK_BYTES: ClassVar = 128 * 1024
    """Bytes of values in a block, at most, unless it has one operation alone."""
    OPEN: ClassVar = 256
    """Undecided operations that we keep for others."""
    REACH: ClassVar = 8
    """Messages of so many epochs before and after ours are kept."""
    GOSSIP: ClassVar = 5
    """Patiences between asking a few others whether we missed anything."""
    TRIES: ClassVar = 12
    """Epochs in vain before we count an operation as blocked."""
    GRACE: ClassVar = 6
    """Epochs without a final block before they are doubled, and doubled again."""

    f: int
    quorum: int
    """2n/3, rounded up."""
    members: frozenset[Party]

    trees: ClassVar[type[NotarisedTree]] = NotarisedTree
    tree: NotarisedTree
    epoch: int
    running: bool
    """The epoch's timer is set; otherwise nothing is open, and the next epoch waits."""
    voted: tuple[int, bytes]
    """The last epoch in which we voted, and for which block."""
    proposed: StreamletPropose | None
    """Our last proposal."""
    proposals: dict[int, tuple[bytes, StreamletPropose]]
    """By epoch: the first block that its leader proposed."""
    votes: dict[int, dict[Party, tuple[bytes, bytes]]]
    """By epoch: for which block each party voted, and its signature."""
    places: dict[Party, int]
    """The furthest epoch that each party has said something in."""
    told: int
    """The last epoch whose leader we showed a longer chain."""
    backlog: Backlog

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def start(self, ctx: Ctx) -> None:
        self.f = max_faulty(ctx.n)
        self.quorum = byzantine_quorum(ctx.n)
        self.members = frozenset(ctx.members)
        self.tree = self.trees(self.recall)
        self.epoch = self.told = 0
        self.running = False
        self.voted, self.proposed = (0, b""), None
        self.proposals, self.votes, self.places = {}, {}, {}
        self.backlog = Backlog(self.TRIES)
        if ctx.stored:
            self._recover(ctx)
        ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)

    # --- requests -------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value):
                new = op not in self.backlog.pending
                if self.backlog.add(op, value, own=True):
                    if new:
                        ctx.multicast(ctx.others, StreamletRequest(op, value))
                    self._wake(ctx)

    def _on_request(self, ctx: Ctx, msg: StreamletRequest) -> None:
        if not msg.op or not self.fits(msg.op, msg.value):
            raise PeerFault(f"requested a value of {msg.op!r} that is not valid")
        self.want((msg,))
        self._wake(ctx)

    def want(self, ops: tuple[StreamletRequest, ...]) -> None:
        """Wait for what was proposed, and propose it ourselves, as far as there is room."""
        for one in ops:
            if len(self.backlog.pending) < self.OPEN:
                self.backlog.add(one.op, one.value)

    # --- epochs ---------------------------------------------------------------------------

    def leader(self, epoch: int) -> Party:
        return leader_of(self.session, epoch, len(self.members))

    @property
    def busy(self) -> bool:
        """Whether something is wanted, or notarised and not final."""
        return bool(self.backlog.pending) or any(
            it.block.ops for _, it in self.tree.branch(self.tree.longest)
        )

    def _wake(self, ctx: Ctx) -> None:
        if self.running:
            self._propose(ctx)
        elif self.busy:
            self._enter(ctx, self.epoch + 1)

    def _enter(self, ctx: Ctx, epoch: int) -> None:
        self.epoch = epoch
        ctx.note(notes.EnteredView(view=epoch))
        for kept in (self.proposals, self.votes):
            for old in [e for e in kept if e < epoch - self.REACH]:
                del kept[old]
        leads = self.leader(epoch) == ctx.me
        if leads:
            ctx.note(notes.BecameLeader(view=epoch))
        self._clock(ctx)
        self._propose(ctx)
        self._advance(ctx)

    def _clock(self, ctx: Ctx) -> None:
        """2Δ until the next epoch; twice that after each GRACE of them in which nothing became
        final."""
        self.running = True
        fruitless = max(0, self.epoch - self.tree.epoch(self.tree.proof)) // self.GRACE
        hopeless = self.backlog.is_hopeless
        alive = bool(self.backlog.pending) and not hopeless
        lasts = self.options.epoch << min(fruitless, 6)
        background = hopeless or not self.busy
        ctx.set_timer("epoch", lasts, background=background, foreground=alive)
        ctx.set_timer("again", lasts // 2, background=background)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "epoch":
                self.running = False
                if not self.busy:
                    return
                if self.tree.epoch(self.tree.longest) < self.epoch:
                    why = f"epoch {self.epoch} has no quorum of {self.quorum}"
                    self.backlog.attempt(ctx, why)
                self._enter(ctx, self.epoch + 1)
            case "again":
                if self.busy and self.tree.epoch(self.tree.longest) < self.epoch:
                    self._say_again(ctx)  # nothing was notarised in it, as far as we know
            case "gossip":
                ctx.multicast(ctx.rng.sample(ctx.others, self.f + 1), self.status())
                ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)

    # --- messages -------------------------------------------------------------------------

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: StreamletVote | StreamletPropose | StreamletRequest | StreamletStatus | StreamletChain,
    ) -> None:
        match msg:
            case StreamletVote():
                self._on_vote(ctx, sender, msg)
            case StreamletPropose():
                self._on_proposal(ctx, sender, msg)
            case StreamletRequest():
                self._on_request(ctx, msg)
            case StreamletStatus():
                self._on_status(ctx, sender, msg)
            case StreamletChain(chain):
                self._on_chain(ctx, sender, chain)
        self.backlog.hear(sender)

    def _see(self, ctx: Ctx, sender: Party, epoch: int) -> None:
        """`sender` is that far. Where f + 1 are further than we, an honest party is."""
        self.places[sender] = max(epoch, self.places.get(sender, 0))
        ranked = sorted(self.places.values(), reverse=True)
        if len(ranked) > self.f and ranked[self.f] > self.epoch:
            self._enter(ctx, ranked[self.f])
        else:
            self._advance(ctx)

    def is_near(self, epoch: int) -> bool:
        return abs(epoch - self.epoch) <= self.REACH

    # --- "propose" --------------------------------------------------------------------------

    def _propose(self, ctx: Ctx) -> None:
        """The leader of the epoch extends a longest notarised chain, once: stored, then said."""
        if self.leader(self.epoch) != ctx.me or not self.running:
            return
        if self.proposed is not None and self.proposed.block.epoch >= self.epoch:
            return
        parent = self.tree.longest
        branch = self.tree.branch(parent)
        taken = {one.op for _, it in branch for one in it.block.ops}
        ops = self._next_ops(taken)
        if not ops and not taken:
            return
        block = Block(parent, self.epoch, ops)
        self.proposed = StreamletPropose(block, self.tree.links[parent].it.votes)
        ctx.persist("proposal", _encode(self.proposed))
        ctx.broadcast(self.proposed)

    def _next_ops(self, taken: set[str]) -> tuple[StreamletRequest, ...]:
        """What has waited longest and is not in the chain yet, as much as one block takes."""
        found: list[StreamletRequest] = []
        size = 0
        for op, value in self.backlog.pending.items():
            if op not in taken:
                size += len(value)
                if len(found) == self.options.batch or (found and size > self.BLOCK_BYTES):
                    break
                found.append(StreamletRequest(op, value))
        return tuple(found)

    def is_valid(self, ops: tuple[StreamletRequest, ...]) -> bool:
        """Operations once each, with values that fit; and no more of them than a leader may put
        into a block."""
        if len(ops) > self.options.batch or (
            len(ops) > 1 and sum(len(one.value) for one in ops) > self.BLOCK_BYTES
        ):
            return False
        return len({one.op for one in ops}) == len(ops) and all(
            one.op and self.fits(one.op, one.value) for one in ops
        )

    def _on_proposal(self, ctx: Ctx, sender: Party, msg: StreamletPropose) -> None:
        block = msg.block
        if sender != self.leader(block.epoch):
            raise PeerFault(f"proposed in epoch {block.epoch}, which another party leads")
        if not self.is_valid(block.ops):
            raise PeerFault(f"proposed an invalid block in epoch {block.epoch}")
        if block.parent != ROOT and not self.certifies(block.parent, msg.proof):
            return
        name = digest_of(block)
        if self.is_near(block.epoch):
            if self.proposals.setdefault(block.epoch, (name, msg))[0] != name:
                raise PeerFault(f"proposed two blocks in epoch {block.epoch}")
            if block.parent not in self.tree.links:
                self._notarise_by(ctx, block.parent, msg.proof)
                if block.parent not in self.tree.links:
                    ctx.send(sender, self.status())  # what does it extend?
        self._see(ctx, sender, block.epoch)

    # --- "vote" -----------------------------------------------------------------------------

    def _vote(self, ctx: Ctx) -> None:
        """For the first block that the leader proposed in this epoch, once."""
        if self.epoch not in self.proposals or self.voted[0] >= self.epoch:
            return
        name, msg = self.proposals[self.epoch]
        parent = msg.block.parent
        if parent not in self.tree.links or self.tree.epoch(parent) >= self.epoch:
            return
        if not self.may_vote(parent):
            leader = self.leader(self.epoch)
            if self.told < self.epoch and leader != ctx.me:
                self.told = self.epoch
                self._show(ctx, leader, parent, self.tree.height)
            return
        self.want(msg.block.ops)
        self.voted = self.epoch, name
        ctx.persist("vote", _encode(self.voted))
        ctx.broadcast(self._signed(*self.voted))

    def may_vote(self, parent: bytes) -> bool:
        """§2.1: if it extends from one of the longest notarised chains that we have seen."""
        return self.tree.is_longest(parent)

    def _signed(self, epoch: int, name: bytes) -> StreamletVote:
        return StreamletVote(epoch, name, self.identity.sign(VOTE, self.session, name))

    def _on_vote(self, ctx: Ctx, sender: Party, msg: StreamletVote) -> None:
        if sender not in self.keys:
            return
        if not signed_by(self.keys[sender], VOTE, (self.session, msg.block), msg.signature):
            raise PeerFault("voted with a wrong signature")
        if self.is_near(msg.epoch):
            votes = self.votes.get(msg.epoch, {})
            if votes.get(sender, (msg.block, b""))[0] != msg.block:
                raise PeerFault(f"voted for two blocks in epoch {msg.epoch}")
            votes[sender] = msg.block, msg.signature
            self.votes[msg.epoch] = votes
        self._see(ctx, sender, msg.epoch)

    # --- "notarised" and "final" ------------------------------------------------------------

    def _advance(self, ctx: Ctx) -> None:
        """Notarise what has its votes, from the oldest on; then vote on the longest chain."""
        for epoch, (name, _) in sorted(self.proposals.items()):
            said = self.votes.get(epoch, {})
            if name not in self.tree.links and len(said) >= self.quorum:
                votes = tuple((p, s) for p, (b, s) in sorted(said.items()) if b == name)
                self._notarise_by(ctx, name, votes)
        self._vote(ctx)

    def _notarise_by(self, ctx: Ctx, name: bytes, votes: Votes) -> None:
        """`votes` notarise the block of this hash, if we have it and there are enough."""
        if len(votes) >= self.quorum:
            for known, msg in list(self.proposals.values()):
                if known == name:
                    self._notarise(ctx, name, Notarised(msg.block, votes))

    def _notarise(self, ctx: Ctx, name: bytes, it: Notarised) -> bool:
        if not self.tree.add(name, it):
            return False
        ctx.persist(f"block/{name.hex()}", _encode(it))
        if (last := self.tree.finalised_by(name)) is not None:
            self._finalise(ctx, last, name)
        self.want(it.block.ops)
        return True

    def _finalise(self, ctx: Ctx, last: bytes, proof: bytes) -> None:
        branch = self.tree.branch(last)
        dead = self.tree.finalise(branch, proof)
        ctx.persist("final", _encode((last, proof)))
        for _, it in branch:
            for one in it.block.ops:
                self.backlog.decide(ctx, one.op, one.value)  # once: it may stand in two blocks
        for name in dead:
            ctx.persist(f"block/{name.hex()}", None)
        for height, name, kept in self.tree.leave_old():
            # The record was stored before this: a crash leaves the one or the other.
            ctx.persist(f"old/{height}", _encode((name, kept)))
            ctx.persist(f"block/{name.hex()}", None)
        if self.running and not self.busy:
            self._clock(ctx)  # it keeps the run no longer going

    def certifies(self, name: bytes, votes: Votes) -> bool:
        """Whether these notarise a block; False when we do not know a voter's key yet.

        Raises:
            PeerFault: they do not.
        """
        parties = {p for p, _ in votes}
        parts = self.session, name
        if (
            len(parties) != len(votes)
            or len(parties) < self.quorum
            or not parties <= self.members
            or not all(signed_by(self.keys[p], VOTE, parts, s) for p, s in votes if p in self.keys)
        ):
            raise PeerFault("showed a block without votes of 2n/3 parties")
        return parties <= self.keys.keys()

    # --- echoing: whatever an honest party has seen, all get to see ---------------------------

    def status(self) -> StreamletStatus:
        return StreamletStatus(self.epoch, self.tree.height, self.tree.longest)

    def _say_again(self, ctx: Ctx) -> None:
        own = (op for op in self.backlog.pending if op in self.backlog.own)
        if (op := next(own, None)) is not None:  # the oldest; the others have their turn
            ctx.multicast(ctx.others, StreamletRequest(op, self.backlog.pending[op]))
        for msg in self.own_words():
            ctx.multicast(ctx.others, msg)
        ctx.multicast(ctx.others, self.status())

    def own_words(self) -> list[Message]:
        """What we said in this epoch."""
        said: list[Message] = []
        if self.proposed is not None and self.proposed.block.epoch == self.epoch:
            said.append(self.proposed)
        if self.voted[0] == self.epoch > 0:
            said.append(self._signed(*self.voted))
        return said

    def _on_status(self, ctx: Ctx, sender: Party, msg: StreamletStatus) -> None:
        if sender != ctx.me:
            if msg.after != self.tree.longest or msg.height < self.tree.height:
                self._show(ctx, sender, msg.after, msg.height)
                if msg.height > self.tree.height:
                    ctx.send(sender, self.status())
            self._see(ctx, sender, msg.epoch)

    def _show(self, ctx: Ctx, to: Party, after: bytes, height: int) -> None:
        if chain := self.tree.after(after, height):
            ctx.send(to, StreamletChain(chain))

    def _on_chain(self, ctx: Ctx, sender: Party, chain: tuple[Notarised, ...]) -> None:
        new = []
        for it in chain:
            name = digest_of(it.block)
            if name in self.tree.links:
                continue
            if not self.certifies(name, it.votes):
                break
            new.append((name, it))
        height = self.tree.height
        new = [(name, it) for name, it in new if self._notarise(ctx, name, it)]
        if new:
            if self.tree.height > height:
                ctx.note(notes.CaughtUp(records=self.tree.height - height, source=sender))
            ctx.send(sender, StreamletStatus(self.epoch, self.tree.height, new[-1][0]))  # more?
            self._wake(ctx)
            if (reached := self.tree.epoch(self.tree.longest)) > self.epoch:
                self._enter(ctx, reached)  # more than f honest parties were there
            self._advance(ctx)

    # --- the store --------------------------------------------------------------------------

    def _recover(self, ctx: Ctx) -> None:
        stored = ctx.stored
        self._restore_old(ctx)
        waiting = {
            bytes.fromhex(key.removeprefix("block/")): msgspec.msgpack.decode(data, type=Notarised)
            for key, data in stored.items()
            if key.startswith("block/")
        }
        for name, it in sorted(waiting.items(), key=lambda item: (item[1].block.epoch, item[0])):
            if not self.tree.add(name, it):  # a parent is of an earlier epoch
                ctx.persist(f"block/{name.hex()}", None)  # a crash amid a deletion has left it
        if (data := stored.get("final")) is not None:
            self._finalise(ctx, *msgspec.msgpack.decode(data, type=tuple[bytes, bytes]))
        for name in list(self.tree.waiting):  # the crash came before we stored what is final
            if name in self.tree.links and (last := self.tree.finalised_by(name)) is not None:
                self._finalise(ctx, last, name)
        if (data := stored.get("vote")) is not None:
            self.voted = msgspec.msgpack.decode(data, type=tuple[int, bytes])
        if (data := stored.get("proposal")) is not None:
            self.proposed = msgspec.msgpack.decode(data, type=StreamletPropose)
            self.want(self.proposed.block.ops)
        self.epoch = max(
            self.voted[0],
            self.tree.epoch(self.tree.longest),
            0 if self.proposed is None else self.proposed.block.epoch,
        )
        for msg in self.own_words():  # what we may have said is said again
            ctx.broadcast(msg)
        ctx.multicast(ctx.others, self.status())
        if self.busy:
            self._clock(ctx)

    def _restore_old(self, ctx: Ctx) -> None:
        """The final blocks whose values were left to the record."""
        final = self.tree.final
        while (data := ctx.stored.get(f"old/{final.height + 1}")) is not None:
            final.add(*msgspec.msgpack.decode(data, type=tuple[bytes, Notarised | OldBlock]))
            for one in final.at(final.height).block.ops:
                self.backlog.decide(ctx, one.op, one.value)
        if final.height:
            self.tree.resume()

    # --- lies, for adversaries alone --------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Another block, or an empty one where there is no other value; votes for that one."""
        match msg:
            case StreamletPropose(block, proof):
                return StreamletPropose(other_block(block, values), proof)
            case StreamletVote(epoch, name):
                _, proposal = self.proposals.get(epoch, (b"", None))
                other = flipped(name)
                if proposal is not None:
                    there = proposal.block
                    first, second = digest_of(there), digest_of(other_block(there, values))
                    other = second if name == first else first
                return self._signed(epoch, other)
            case StreamletStatus(epoch, height, after):
                return StreamletStatus(epoch + 1, height, after)
            case StreamletRequest():
                return with_values(msg, values)
        return None

    def resigned(self, msg: Message) -> Message:
        return self._signed(msg.epoch, msg.block) if isinstance(msg, StreamletVote) else msg


def other_block(block: Block, values: Mapping[bytes, bytes]) -> Block:
    """A block that its leader could have proposed too: with other values where there are any, else
    one operation less; where it is empty, nobody's child."""
    changed = tuple(with_values(one, values) or one for one in block.ops)
    if changed != block.ops or block.ops:
        return Block(block.parent, block.epoch, changed if changed != block.ops else block.ops[1:])
    return Block(flipped(block.parent), block.epoch, ())
