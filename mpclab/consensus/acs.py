"""`acs`: in each epoch all broadcast a batch, and agree on n − f of them. No timing at all.

A. Miller, Y. Xia, K. Croman, E. Shi and D. Song, "The Honey Badger of BFT protocols", CCS 2016
(IACR ePrint 2016/199), §4.2 to §4.4: the asynchronous common subset of Ben-Or, Kelmer and Rabin.

* Assumes: n > 3f, at most f Byzantine, authenticated links on which everything arrives at some
  time (what is lost is asked for again). **No** timing: there is no leader to wait for and no
  time-out that a slow network could run into. An honest party's store outlives a crash.
* Guarantees: one log. An operation that all honest parties want is in the log after an epoch, since
  of the n − f batches that count most are honest. An epoch ends with probability 1, if the coin is
  not foreseen: Fischer, Lynch and Paterson (1985) allow no more.

The whole protocol, in an epoch. Each party broadcasts its batch reliably (`acs_broadcast`). For
each party all agree on a bit, whether its batch is in (`acs_binary`): yes, for those that are
delivered; and when n − f are in, no for the others. Once all n agreements have ended, the batches
that are in are the same everywhere, and so is their order.

Why all n must have ended: an agreement that comes later may still say yes. Who takes the first
n − f that do, takes others than its neighbour (`wrong-acs`).

The coin. In the first two rounds of an agreement it is 1 and 0 (which speeds up what everybody
wants anyhow), then it is tossed: by a threshold key where one is given (`coin=KeyCoin(…)`: it takes
the parts of more than f parties, and nobody knows it earlier), else by the hash of the session's
id. That coin anybody can compute beforehand, and an adversary who orders the messages as well could
keep an epoch from ever ending, though never make it end in two ways. A remark in the trace says
which one it is.

Without failures an epoch takes 5 delays (VAL, ECHO, READY, BVAL, AUX) after the request, and
n(n − 1)(5n + 1) messages: n(n − 1) VAL, and n²(n − 1) of each of ECHO, READY, BVAL, AUX and FINISH.
Requests are n − 1 more.

Deviations. Batches are not encrypted (in the paper they are, so that an adversary cannot choose
what to leave out by what is in it): each party batches what has waited longest, not a random
choice. A batch that is not valid counts as not delivered (external validity). An epoch begins when
there is something to decide. Who lacks something asks for it (`AcsAgain`); who is an epoch behind
is told how it ended, and believes f + 1 that say the same. Words are stored before they are said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.acs_batches import batch_of, fits, ops_of, other_batch, united
from mpclab.consensus.acs_binary import Binary
from mpclab.consensus.acs_broadcast import Broadcast, shards_of
from mpclab.consensus.acs_coin import OPENING, ThresholdCoin, hashed
from mpclab.consensus.acs_epoch import Epoch, encode, read_word
from mpclab.consensus.acs_messages import (
    AcsAgain,
    AcsAux,
    AcsBval,
    AcsConf,
    AcsEcho,
    AcsEnded,
    AcsFinish,
    AcsPart,
    AcsReady,
    AcsRequest,
    AcsVal,
    AcsWords,
    Word,
)
from mpclab.consensus.acs_record import Ops, Record
from mpclab.consensus.agreement import Agreement, Submit, flipped, with_values
from mpclab.consensus.backlog import Backlog
from mpclab.consensus.options import Options, count
from mpclab.consensus.quorum import at_least, max_faulty
from mpclab.core import notes
from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.crypto.transcript import digest

_ops = msgspec.msgpack.Decoder(tuple[AcsRequest, ...])


@dataclass(frozen=True, kw_only=True)
class AcsOptions(Options):
    """The settings of the common subset, the same for all parties: a longer batch is not valid."""

    batch: int = count(16, "operations in a batch, at most", most=256)


class Acs(Agreement):
    """One node of the paper.

    Args:
        coin: a threshold coin; None: the hash of the session's id.
        options: as for every `Agreement`.
    """

    title = "asynchronous common subset (HoneyBadgerBFT)"
    orders = True
    options_type = AcsOptions
    options: AcsOptions
    unvaried = (AcsAgain, AcsPart, AcsWords)
    archives = frozenset({"epoch"})

    OPEN: ClassVar = 256
    """Undecided operations that we keep for others."""
    GOSSIP: ClassVar = 5
    """Patiences between asking a few others whether we missed anything."""
    TRIES: ClassVar = 8
    """Times that we ask again in vain before we count an operation as blocked."""
    SLOWEST: ClassVar = 3
    """Patiences between two of them double up to 2 to the power of this."""
    f: int
    epochs: dict[int, Epoch]
    """The one before, for who lacks our words, ours, and the next."""
    record: Record
    tries: int
    backlog: Backlog

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def __init__(
        self,
        identity: Identity,
        keys: Mapping[Party, bytes],
        *,
        coin: ThresholdCoin | None = None,
        **options: Any,
    ) -> None:
        super().__init__(identity, keys, **options)
        self.coin = coin

    def start(self, ctx: Ctx) -> None:
        self.f = max_faulty(ctx.n)
        if self.coin is not None and not self.f < self.coin.needed <= ctx.n - self.f:
            raise UsageError(
                f"coin: {self.coin.name}; use a key that {self.f + 1} to {ctx.n - self.f} of "
                f"{ctx.n} parties toss: fewer may all lie, and more may not all help"
            )
        self.tries = 0
        self.epochs, self.record = {}, Record(self.f, self.patience)
        self.backlog = Backlog(self.TRIES)
        what = "tossed by the hash of the session's id, which all can compute beforehand"
        ctx.remark("coin", tossed=what if self.coin is None else f"tossed by {self.coin.name}")
        if ctx.stored:
            self._recover(ctx)
        ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)

    @property
    def now(self) -> int:
        """The epoch that we are in."""
        return self.record.now

    # --- requests -----------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value):
                new = op not in self.backlog.pending
                if self.backlog.add(op, value, own=True):
                    if new:
                        ctx.multicast(ctx.others, AcsRequest(op, value))
                    self._begin(ctx)

    def _want(self, ops: tuple[AcsRequest, ...]) -> None:
        """Propose what others want as well, as far as there is room."""
        for one in ops:
            if len(self.backlog.pending) < self.OPEN:
                self.backlog.add(one.op, one.value)

    def _is_good(self, batch: bytes | None) -> bool:
        """Whether a batch is delivered and valid. What is valid here is wanted here, too."""
        ops = None if batch is None else ops_of(batch)
        if ops is None or not fits(ops, self.options.batch):
            return False
        if not all(one.op and self.fits(one.op, one.value) for one in ops):
            return False
        self._want(ops)
        return True

    # --- epochs -------------------------------------------------------------------------------

    def _epoch(self, ctx: Ctx, number: int) -> Epoch:
        if number not in self.epochs:
            self.epochs[number] = Epoch.of(number, ctx.n, self.f)
        return self.epochs[number]

    def _begin(self, ctx: Ctx) -> None:
        """Broadcast our batch, if there is something to decide: here, or at an honest party."""
        it = self._epoch(ctx, self.now)
        if it.batch is None and (self.backlog.pending or len(it.began) > self.f):
            it.batch = batch_of(self.backlog.pending, self.options.batch)
            ctx.persist(f"batch/{it.number}", it.batch)
            ctx.note(notes.Phase(phase="batch", round=it.number))
            self._deal(ctx, it)
            self._clock(ctx)

    def _deal(self, ctx: Ctx, it: Epoch) -> None:
        """ "Upon input v: … send VAL(h, b_j, s_j) to each party P_j." """
        for p in ctx.members:
            ctx.send(p, it.val(p))

    def _say(self, ctx: Ctx, it: Epoch, word: Word) -> None:
        """Once, and never otherwise."""
        if (stored := it.say(word)) is not None:
            ctx.persist(*stored)
            ctx.broadcast(word)

    # --- messages -----------------------------------------------------------------------------

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: AcsRequest
        | AcsVal
        | AcsEcho
        | AcsReady
        | AcsBval
        | AcsAux
        | AcsConf
        | AcsPart
        | AcsFinish
        | AcsWords
        | AcsAgain
        | AcsEnded,
    ) -> None:
        match msg:
            case AcsRequest(op, value):
                if not op or not self.fits(op, value):
                    raise PeerFault(f"requested a value of {op!r} that is not valid")
                self._want((msg,))
                self._begin(ctx)
            case AcsWords(words):
                for word in words:
                    ctx.redeliver(sender, word)  # should one be wrong, only it is undone
            case AcsAgain(epoch):
                self._on_again(ctx, sender, epoch)
            case AcsEnded(epoch, ops):
                self._on_ended(ctx, sender, epoch, ops)
            case _:
                self._on_word(ctx, sender, msg)
        self.backlog.hear(sender)

    def _on_word(self, ctx: Ctx, sender: Party, word: AcsVal | Word) -> None:
        if word.epoch > self.now + 1:
            self._ask(ctx, sender)
        elif word.epoch >= self.now:
            it = self.epochs.get(word.epoch) or Epoch.of(word.epoch, ctx.n, self.f)
            if isinstance(word, AcsVal):
                it.check(sender, ctx.me, word)
                self.epochs[word.epoch] = it
                self._echo(ctx, sender, it, word)
            else:
                self._check_part(sender, word)
                it.take(sender, word)
                self.epochs[word.epoch] = it
                self._advance(ctx, it, word.of)
            self._begin(ctx)

    def _echo(self, ctx: Ctx, sender: Party, it: Epoch, msg: AcsVal) -> None:
        """ "Upon receiving VAL(h, b_i, s_i) from P_sender: multicast ECHO(h, b_i, s_i)." """
        it.began.add(sender)
        self._say(ctx, it, AcsEcho(it.number, sender, msg.root, msg.branch, msg.shard))

    def _advance(self, ctx: Ctx, it: Epoch, of: Party) -> None:
        """Take the steps about the batch of `of`, and what follows for all."""
        broadcast, votes = it.broadcasts[of], it.votes[of]
        if broadcast.batch is None:
            self._deliver(ctx, it, of, broadcast)
        if votes.decision is not None:
            return
        if votes.round == 0 and self._is_good(broadcast.batch):
            self._enter(ctx, it, votes, of, 1)
        decided = votes.advance(
            lambda step, round, bits: self._say(ctx, it, it.word(of, step, round, bits)),
            lambda round: self._toss(ctx, it, of, round),
        )
        if decided is not None:
            self._say(ctx, it, AcsFinish(it.number, of, decided))
            self._begin_others(ctx, it)
            self._close_if_over(ctx)

    def _deliver(self, ctx: Ctx, it: Epoch, of: Party, broadcast: Broadcast) -> None:
        for root in sorted({*broadcast.echoes, *broadcast.readies.support}):
            if ("AcsReady", of) not in it.said and broadcast.is_ready(root):
                self._say(ctx, it, AcsReady(it.number, of, root))
            broadcast.deliver(root)
        if broadcast.batch is not None:
            self._close_if_over(ctx)

    def _begin_others(self, ctx: Ctx, it: Epoch) -> None:
        it.begin_others(lambda votes, of: self._enter(ctx, it, votes, of, 0))

    def _enter(self, ctx: Ctx, it: Epoch, votes: Binary, of: Party, bit: int) -> None:
        votes.begin(
            1, 1 << bit,
            lambda step, round, bits: self._say(ctx, it, it.word(of, step, round, bits)),
        )  # fmt: skip

    # --- the coin -----------------------------------------------------------------------------

    def _toss(self, ctx: Ctx, it: Epoch, of: Party, round: int) -> int | None:
        if round <= len(OPENING):
            return OPENING[round - 1]
        about = self._about(it.number, of, round)
        if self.coin is None:
            return hashed(about)
        if ("AcsPart", of, round) not in it.said and (part := self.coin.part(about, ctx.rng)):
            self._say(ctx, it, AcsPart(it.number, of, round, part))
        right = it.parts.get((of, round), {})
        return self.coin.toss(about, right) if len(right) >= self.coin.needed else None

    def _about(self, epoch: int, of: Party, round: int) -> bytes:
        return digest("mpclab acs coin", self.session, epoch, of, round)

    def _check_part(self, sender: Party, word: Word) -> None:
        """Raise `PeerFault` for a part of a coin that is not the sender's."""
        if isinstance(word, AcsPart):
            about = self._about(word.epoch, word.of, word.round)
            if self.coin is None or not self.coin.is_right(about, sender, word.part):
                raise PeerFault("gave a part of a coin that is not its own")

    # --- the end of an epoch ------------------------------------------------------------------

    def is_over(self, it: Epoch) -> bool:
        return it.is_over()

    def _close_if_over(self, ctx: Ctx) -> None:
        while (it := self.epochs.get(self.now)) is not None and self.is_over(it):
            self._close(ctx, united(it.subset(), self.backlog.done))

    def _close(self, ctx: Ctx, ops: Ops) -> None:
        ctx.persist(f"epoch/{self.now}", encode(ops))
        ctx.note(notes.Phase(phase="subset", round=self.now))
        for one in ops:
            self.backlog.decide(ctx, one.op, one.value)
        if (old := self.epochs.pop(self.now - 1, None)) is not None:
            self._forget(ctx, old)
        if (it := self.epochs.get(self.now)) is not None:
            it.forget()
        self.record.end(ops)
        self.tries = 0
        self._begin(ctx)
        self._clock(ctx)

    def _forget(self, ctx: Ctx, old: Epoch) -> None:
        """More than f honest parties have ended the epoch after it: nobody needs our words."""
        if old.batch is not None:
            ctx.persist(f"batch/{old.number}", None)
        for key in old.said:
            ctx.persist(old.name(key), None)

    # --- what is lost -------------------------------------------------------------------------

    def _clock(self, ctx: Ctx) -> None:
        """Ask again, while our epoch goes on."""
        it = self.epochs.get(self.now)
        if it is None or it.batch is None:
            ctx.cancel_timer("again")
            return
        hopeless = self.backlog.is_hopeless
        alive = bool(self.backlog.pending) and not hopeless
        delay = self.patience << min(self.tries, self.SLOWEST)
        ctx.set_timer("again", delay, background=hopeless, foreground=alive)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "again":
                self.tries += 1
                why = f"epoch {self.now} needs {ctx.n - self.f} parties"
                self.backlog.attempt(ctx, why)
                own = (op for op in self.backlog.pending if op in self.backlog.own)
                if (op := next(own, None)) is not None:
                    ctx.multicast(ctx.others, AcsRequest(op, self.backlog.pending[op]))
                it = self._epoch(ctx, self.now)
                ctx.multicast(ctx.others, AcsAgain(self.now))
                for of in ctx.members:  # what was not valid may be so by now
                    if it.number == self.now:
                        self._advance(ctx, it, of)
                self._clock(ctx)
            case "gossip":
                ctx.multicast(ctx.rng.sample(ctx.others, self.f + 1), AcsAgain(self.now))
                ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)

    def _ask(self, ctx: Ctx, whom: Party) -> None:
        """It is further than we: how did our epoch end?"""
        if self.record.may_answer(whom, -1, ctx.now):
            ctx.send(whom, AcsAgain(self.now))

    def _on_again(self, ctx: Ctx, asker: Party, epoch: int) -> None:
        if epoch > self.now:
            self._ask(ctx, asker)
        elif asker != ctx.me and self.record.may_answer(asker, epoch, ctx.now):
            for told in self.record.page(epoch):
                ctx.send(asker, told)
            it = self.epochs.get(epoch)
            for words in it.words_to(asker) if it is not None else ():
                ctx.send(asker, words)

    def _on_ended(self, ctx: Ctx, sender: Party, epoch: int, ops: Ops) -> None:
        begun = self.now
        self.record.claim(sender, epoch, ops)
        while (believed := self.record.believed()) is not None:
            self._close(ctx, believed)
        if self.now > begun:
            ctx.note(notes.CaughtUp(records=self.now - begun, source=sender))
            ctx.multicast(ctx.others, AcsAgain(self.now))  # more?
            self._close_if_over(ctx)

    # --- the store ----------------------------------------------------------------------------

    def _recover(self, ctx: Ctx) -> None:
        stored = ctx.stored
        while (data := stored.get(f"epoch/{self.now}")) is not None:
            self.record.end(_ops.decode(data))
            for one in self.record.ended[-1]:
                self.backlog.decide(ctx, one.op, one.value)
        for number in (self.now - 1, self.now, self.now + 1):
            prefix = f"said/{number}/"
            words = [read_word(v) for k, v in sorted(stored.items()) if k.startswith(prefix)]
            batch = stored.get(f"batch/{number}")
            if words or batch is not None:
                it = self._epoch(ctx, number)
                it.restore(words)
                if number < self.now:
                    it.forget()
                it.batch = batch
                if batch is not None:
                    self._want(ops_of(batch) or ())
                    self._deal(ctx, it)
                for word in words:
                    ctx.broadcast(word)
                self._begin_others(ctx, it)  # the crash may have come before
        ctx.multicast(ctx.others, AcsAgain(self.now))
        self._clock(ctx)

    # --- lies, for adversaries alone ------------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Another batch, root or bit."""
        match msg:
            case AcsVal(epoch, shard=shard) if (it := self.epochs.get(epoch)) and it.batch:
                root, shards, branches = shards_of(other_batch(it.batch, values), it.n, it.f)
                _, own, _ = shards_of(it.batch, it.n, it.f)
                place = own.index(shard) if shard in own else 0
                return AcsVal(epoch, root, branches[place], shards[place])
            case AcsEcho():
                return msgspec.structs.replace(msg, shard=flipped(msg.shard))
            case AcsReady():
                return msgspec.structs.replace(msg, root=flipped(msg.root))
            case AcsBval() | AcsAux() | AcsFinish():
                return msgspec.structs.replace(msg, bit=1 - msg.bit)
            case AcsConf():
                return msgspec.structs.replace(msg, bits=3 - msg.bits or 1)
            case AcsRequest():
                return with_values(msg, values)
            case AcsEnded():
                return msgspec.structs.replace(msg, ops=msg.ops[1:] or (AcsRequest("a lie", b"x"),))
        return None
