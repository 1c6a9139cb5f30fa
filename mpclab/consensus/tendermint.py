"""`tendermint`: propose, prevote, precommit, with a proposer for each round of each height.

E. Buchman, J. Kwon and Z. Milosevic, "The latest gossip on BFT consensus", 2018 (arXiv
1807.04938): Algorithm 1, whose lines are quoted.

* Assumes: n > 3f, at most f Byzantine, authenticated links, unforgeable signatures. Safety needs
  no timing. Progress needs partial synchrony: timeouts grow with each round of a height. An
  honest party's store outlives a crash.
* Guarantees: one log. At each *height* one block is decided, and blocks hold operations.

(n − 1) + 2n(n − 1) messages for a block, and three delays. There is no view change: who enters
the next round says nothing. What an old proposer left behind comes through by two variables. A
party is **locked** on what it last precommitted, and prevotes against it only upon 2f + 1 prevotes
of a later round. Its **valid value** is the last one that it saw 2f + 1 prevotes for, and what it
proposes itself: so an honest proposer never proposes what the locked must refuse, if it heard all
that they heard. That is why a proposer waits (a timeout of the round before) where HotStuff's, with
a third phase, need not.

Why 2f + 1, here q = (n + f)//2 + 1: two quorums share an honest party, which prevotes once in a
round, so that no two blocks have q prevotes in it. Once q precommitted a block, an honest party in
any q is locked on it, and no other block gets q prevotes in a later round.

Deviations. *Gossip* (§2.1: whatever an honest party got, all get) is by asking: a party that waits
says where it is, and is told what it lacks: votes again, valid values (`TendermintPolka`) and
decided blocks, both with the votes that prove them to anybody. A proposal carries the prevotes of
its valid round, and a valid value is learnt also after its round. Line 55 skips to a round that
f + 1 parties reached, whichever of its messages they sent. Heights begin when there is something
to decide. Proposers rotate with heights and rounds, all with one vote each. A vote, and what a
party is locked on, is stored before it is said. Of old heights a party holds the votes and the
ids of operations; their values are its coordinator's history (`consensus.agreement.KEPT`).
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

from mpclab.consensus.agreement import Submit, flipped, with_values
from mpclab.consensus.quorum import signed_by
from mpclab.consensus.tendermint_base import (
    PRECOMMIT_STEP,
    PREVOTE_STEP,
    PROPOSE_STEP,
    RoundLog,
    TendermintBase,
    votes_for,
)
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
    id_of,
)
from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class Tendermint(TendermintBase):
    """One process of the paper."""

    # --- requests -------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value):
                new = op not in self.backlog.pending
                if self.backlog.add(op, value, own=True):
                    proposes = self._propose(ctx)
                    if new and not proposes:
                        ctx.multicast(ctx.others, TendermintRequest(op, value))
                    self.watch(ctx)

    def _on_request(self, ctx: Ctx, msg: TendermintRequest) -> None:
        if not msg.op or not self.fits(msg.op, msg.value):
            raise PeerFault(f"requested a value of {msg.op!r} that is not valid")
        if len(self.backlog.pending) < self.OPEN:
            self.backlog.add(msg.op, msg.value)
            self._propose(ctx)
            self.watch(ctx)

    def is_valid(self, block: Block) -> bool:
        """valid(v): operations that are not decided, each once, with values that fit; and no more
        of them than a proposer may put into a block."""
        if len(block) > self.options.batch or (
            len(block) > 1 and sum(len(one.value) for one in block) > self.BLOCK_BYTES
        ):
            return False
        ops = {one.op for one in block}
        return (
            0 < len(ops) == len(block)
            and not ops & self.backlog.done
            and all(one.op and self.fits(one.op, one.value) for one in block)
        )

    # --- rounds, lines 11 to 21 -------------------------------------------------------------

    def _start_round(self, ctx: Ctx, round: int) -> None:
        """Lines 11 to 13."""
        self.round, self.step = round, PROPOSE_STEP
        self.prevote = self.precommit = None
        for timer in ("propose", "prevote", "precommit"):
            self.stop(ctx, timer)
        self.logs = {
            (h, r): log
            for (h, r), log in self.logs.items()
            if h > self.height or r >= round - self.REACH
        }
        if round > 0:
            self.keep(ctx)
        self.note_phase(ctx, "propose")
        self._propose(ctx)
        self.watch(ctx)
        self._advance(ctx)

    def _propose(self, ctx: Ctx) -> bool:
        """Lines 14 to 19, once in a round: stored, then said. Whether we proposed."""
        now = self.height, self.round
        if self.step != PROPOSE_STEP or self.proposer(ctx, *now) != ctx.me:
            return False
        if self.proposed is not None and (self.proposed.height, self.proposed.round) == now:
            return False
        if self.valid_value is not None:  # line 15
            proposal = TendermintProposal(
                *now, self.valid_value.block, self.valid_value.round, self.valid_value.prevotes
            )
        elif self.backlog.pending:  # line 18, getValue()
            proposal = TendermintProposal(*now, self._next_block(), -1, ())
        else:
            return False
        self.proposed = proposal
        ctx.persist("proposal", msgspec.msgpack.encode(proposal))
        ctx.broadcast(proposal)
        return True

    def _next_block(self) -> Block:
        """getValue(): what has waited longest, as much as one block takes."""
        found: list[TendermintRequest] = []
        size = 0
        for op, value in islice(self.backlog.pending.items(), self.options.batch):
            size += len(value)
            if found and size > self.BLOCK_BYTES:
                break
            found.append(TendermintRequest(op, value))
        return tuple(found)

    # --- messages -------------------------------------------------------------------------

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: TendermintPrevote
        | TendermintPrecommit
        | TendermintProposal
        | TendermintRequest
        | TendermintStatus
        | TendermintPolka
        | TendermintPrecommits
        | TendermintCommits,
    ) -> None:
        match msg:
            case TendermintPrevote() | TendermintPrecommit():
                self._on_vote(ctx, sender, msg)
            case TendermintProposal():
                self._on_proposal(ctx, sender, msg)
            case TendermintRequest():
                self._on_request(ctx, msg)
            case TendermintStatus():
                self.take_status(ctx, sender, msg)
            case TendermintPolka():
                self._on_polka(ctx, msg)
            case TendermintPrecommits():
                self._on_precommits(ctx, msg)
            case TendermintCommits(commits):
                self._on_commits(ctx, sender, commits)
        self.backlog.hear(sender)

    def _on_proposal(self, ctx: Ctx, sender: Party, msg: TendermintProposal) -> None:
        where = f"round {msg.round} of height {msg.height}"
        if sender != self.proposer(ctx, msg.height, msg.round):
            raise PeerFault(f"proposed in {where}, which another party leads")
        log = self.log_of(msg.height, msg.round)
        if log is not None and log.proposal is not None and log.proposal != msg:
            raise PeerFault(f"proposed two blocks in {where}")
        if msg.valid_round >= msg.round:
            raise PeerFault(f"proposed a value of the future in {where}")
        if msg.valid_round >= 0:
            parts = self.session, msg.height, msg.valid_round, id_of(msg.block)
            if not self.certifies(PREVOTE, parts, msg.proof):
                return
        if log is not None and log.proposal is None:
            log.proposal = msg
            self.logs[msg.height, msg.round] = log
        self._see(ctx, sender, msg.height, msg.round)

    def _on_vote(
        self, ctx: Ctx, sender: Party, msg: TendermintPrevote | TendermintPrecommit
    ) -> None:
        label = PREVOTE if isinstance(msg, TendermintPrevote) else PRECOMMIT
        if sender not in self.keys:
            return
        parts = self.session, msg.height, msg.round, msg.id
        if not signed_by(self.keys[sender], label, parts, msg.signature):
            raise PeerFault("voted with a wrong signature")
        if (log := self.log_of(msg.height, msg.round)) is not None:
            votes = log.prevotes if label == PREVOTE else log.precommits
            if votes.get(sender, (msg.id, b""))[0] != msg.id:
                where = f"round {msg.round} of height {msg.height}"
                raise PeerFault(f"voted for two blocks in {where}", strength=Strength.PROOF)
            votes[sender] = msg.id, msg.signature
            self.logs[msg.height, msg.round] = log
        self._see(ctx, sender, msg.height, msg.round)

    def _see(self, ctx: Ctx, sender: Party, height: int, round: int) -> None:
        """`sender` is that far."""
        self.places[sender] = max((height, round), self.places.get(sender, (0, 0)))
        self._go_on(ctx)

    def _go_on(self, ctx: Ctx) -> None:
        # line 55: f + 1 parties are in a later round, so that an honest one is
        height, round = self.reached
        if height == self.height and round > self.round:
            self._start_round(ctx, round)
            self.ask_all(ctx)
        else:
            self._advance(ctx)
        self.watch(ctx)

    # --- the rules: "upon …", lines 22 to 54 ------------------------------------------------

    def _advance(self, ctx: Ctx) -> None:
        """Apply what rules apply. Our own votes come back as messages, and apply the next."""
        log = self.logs.get((self.height, self.round), RoundLog())
        if self.step == PROPOSE_STEP and log.proposal is not None:
            self._answer(ctx, log.proposal)  # lines 22 to 33
        if self.step == PREVOTE_STEP and len(log.prevotes) >= self.quorum:
            self.arm(ctx, "prevote")  # line 34
        if self.step >= PREVOTE_STEP and self.valid_round < self.round and log.proposal is not None:
            prevotes = votes_for(log.prevotes, id_of(log.proposal.block))
            if len(prevotes) >= self.quorum and self.is_valid(log.proposal.block):  # line 36
                self._take_valid(
                    ctx,
                    TendermintPolka(self.height, self.round, log.proposal.block, prevotes),
                )
        if (
            self.step == PREVOTE_STEP
            and self.valid_value is not None
            and self.valid_value.round == self.round
        ):
            name = id_of(self.valid_value.block)
            self.locked, self.locked_round = name, self.round  # lines 38 to 41
            self._precommit(ctx, name)
        if self.step == PREVOTE_STEP and len(votes_for(log.prevotes, NIL)) >= self.quorum:
            self._precommit(ctx, NIL)  # line 44
        if len(log.precommits) >= self.quorum:
            self.arm(ctx, "precommit")  # line 47
        for (height, round), log in list(self.logs.items()):
            if height == self.height and log.proposal is not None:
                name = id_of(log.proposal.block)
                precommits = votes_for(log.precommits, name)
                if len(precommits) >= self.quorum and self.is_valid(log.proposal.block):
                    commit = TendermintCommit(height, round, log.proposal.block, precommits)
                    self._decide(ctx, commit)  # line 49
                    return

    def _answer(self, ctx: Ctx, proposal: TendermintProposal) -> None:
        """Lines 22 to 33: prevote for the proposal, or against it."""
        name = id_of(proposal.block)
        if not self.is_valid(proposal.block):
            ctx.blame(self.proposer(ctx, self.height, self.round), "proposed an invalid block")
            self._prevote(ctx, NIL)
            return
        self.want(proposal.block)
        if self.may_prevote(name, proposal.valid_round):
            self._prevote(ctx, name)
        else:
            self._prevote(ctx, NIL)  # lines 26 and 32

    def may_prevote(self, name: bytes, valid_round: int) -> bool:
        """Lines 23 and 29: nothing we are locked on forbids it. (`valid_round` is -1 in the
        former, and lockedRound ≤ -1 then says: not locked.)"""
        return self.locked_round <= valid_round or self.locked == name

    def _prevote(self, ctx: Ctx, name: bytes) -> None:
        self.step, self.prevote = PREVOTE_STEP, self.signed_prevote(name)
        self.stop(ctx, "propose")
        self.keep(ctx)
        self.note_phase(ctx, "prevote")
        ctx.broadcast(self.prevote)

    def _precommit(self, ctx: Ctx, name: bytes) -> None:
        self.step, self.precommit = PRECOMMIT_STEP, self.signed_precommit(name)
        self.stop(ctx, "prevote")
        self.keep(ctx)
        self.note_phase(ctx, "precommit")
        ctx.broadcast(self.precommit)

    def _take_valid(self, ctx: Ctx, polka: TendermintPolka) -> None:
        """Lines 42 and 43: stored with its proof, since nobody else may hold it."""
        self.valid_value = polka
        ctx.persist("valid", msgspec.msgpack.encode(polka))
        self.want(polka.block)

    def _decide(self, ctx: Ctx, commit: TendermintCommit) -> None:
        """Lines 51 to 54."""
        self.take_decision(ctx, commit)
        ctx.persist(f"height/{commit.height}", msgspec.msgpack.encode(commit))
        for one in commit.block:
            self.backlog.decide(ctx, one.op, one.value)
        self.reset()
        self.stop(ctx, "again")
        self._start_round(ctx, 0)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "propose" if self.step == PROPOSE_STEP:
                self._prevote(ctx, NIL)  # line 59
            case "prevote" if self.step == PREVOTE_STEP:
                self._precommit(ctx, NIL)  # line 63
            case "precommit":
                self._keep_end(ctx)
                self._start_round(ctx, self.round + 1)  # line 67
            case "again":
                self.timers.discard("again")
                self.say_again(ctx)
                self.watch(ctx)
            case "gossip":
                ctx.multicast(ctx.rng.sample(ctx.others, self.f + 1), self.status())
                ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)

    def _keep_end(self, ctx: Ctx) -> None:
        """Store why this round is over, before we are in the next."""
        precommits = self.logs[self.height, self.round].precommits
        votes = tuple((p, name, signature) for p, (name, signature) in sorted(precommits.items()))
        self.over = TendermintPrecommits(self.height, self.round, votes)
        ctx.persist("over", msgspec.msgpack.encode(self.over))

    # --- what others learnt ---

    def _on_precommits(self, ctx: Ctx, msg: TendermintPrecommits) -> None:
        """Each counts as if its voter had said it to us."""
        if msg.height != self.height or msg.round < self.round:
            return
        voters = {p for p, _, _ in msg.votes}
        if len(voters) != len(msg.votes) or not voters <= self.members:
            raise PeerFault("passed on votes that are nobody's, or twice")
        for voter, name, signature in msg.votes:
            parts = self.session, msg.height, msg.round, name
            if voter in self.keys and not signed_by(self.keys[voter], PRECOMMIT, parts, signature):
                raise PeerFault("passed on a vote with a wrong signature")
        log = self.log_of(msg.height, msg.round)
        for voter, name, signature in msg.votes:
            if voter not in self.keys:
                continue
            if log is not None:
                self.logs[msg.height, msg.round] = log
                if log.precommits.setdefault(voter, (name, signature))[0] != name:
                    where = f"round {msg.round} of height {msg.height}"
                    ctx.blame(voter, f"voted for two blocks in {where}", Strength.PROOF)
            self.places[voter] = max((msg.height, msg.round), self.places.get(voter, (0, 0)))
        self._go_on(ctx)

    def _on_polka(self, ctx: Ctx, msg: TendermintPolka) -> None:
        if msg.height != self.height or msg.round <= self.valid_round:
            return
        parts = self.session, msg.height, msg.round, id_of(msg.block)
        if not self.certifies(PREVOTE, parts, msg.prevotes) or not self.is_valid(msg.block):
            return
        self._take_valid(ctx, msg)
        if msg.round > self.round:  # line 55: a quorum is there
            self._start_round(ctx, msg.round)
        self._propose(ctx)
        self._advance(ctx)
        self.watch(ctx)

    def _on_commits(self, ctx: Ctx, sender: Party, commits: tuple[TendermintCommit, ...]) -> None:
        new: list[TendermintCommit] = []
        for commit in commits[: self.PAGE]:
            if commit.height == self.height + len(new):
                parts = self.session, commit.height, commit.round, id_of(commit.block)
                if not self.certifies(PRECOMMIT, parts, commit.precommits):
                    break
                new.append(commit)
        for commit in new:
            if commit.height == self.height:
                self._decide(ctx, commit)
        if new:
            ctx.note(notes.CaughtUp(records=sum(len(c.block) for c in new), source=sender))
            ctx.send(sender, self.status())  # is there more?

    # --- lies, for adversaries alone --------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Another block, or none where there is no other value; votes for that one, signed."""
        match msg:
            case TendermintProposal():
                return msgspec.structs.replace(
                    msg, block=other_block(msg.block, values), valid_round=-1, proof=()
                )
            case TendermintPrevote(height, round, name) | TendermintPrecommit(height, round, name):
                label = PREVOTE if isinstance(msg, TendermintPrevote) else PRECOMMIT
                other = self._other_name(height, round, name, values)
                signature = self.identity.sign(label, self.session, height, round, other)
                return type(msg)(height, round, other, signature)
            case TendermintStatus(height, round, valid_round):
                return TendermintStatus(height + 1, round, valid_round)
            case TendermintRequest():
                return with_values(msg, values)
        return None

    def resigned(self, msg: Message) -> Message:
        match msg:
            case TendermintPrevote(height, round, name) | TendermintPrecommit(height, round, name):
                label = PREVOTE if isinstance(msg, TendermintPrevote) else PRECOMMIT
                signature = self.identity.sign(label, self.session, height, round, name)
                return type(msg)(height, round, name, signature)
        return msg

    def _other_name(
        self, height: int, round: int, name: bytes, values: Mapping[bytes, bytes]
    ) -> bytes:
        """The id of what its proposer could have proposed too; nil, or something, otherwise."""
        log = self.logs.get((height, round), RoundLog())
        if log.proposal is not None and (other := other_block(log.proposal.block, values)):
            return id_of(log.proposal.block) if name != id_of(log.proposal.block) else id_of(other)
        return NIL if name else flipped(bytes(32))


def other_block(block: Block, values: Mapping[bytes, bytes]) -> Block:
    """A block with other values where there are any, else one operation less."""
    changed = tuple(with_values(one, values) or one for one in block)
    return changed if changed != block else block[1:]
