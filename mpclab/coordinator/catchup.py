"""How a party gets what it lacks: lost messages, late arrivals, cuts, restarts.

* While something is open, every second a party asks those whose votes it lacks, and two others
  at random who may have heard them, for what it has not got (`Fetch` → `ProposalState`).
* Every few seconds it tells one other, each in turn, a digest of what is decided here. One
  with another digest answers with what it knows, and so do two parties that meet again (`Summary`).
* What expired where nothing decides it (`direct`, `bracha`) is told too: whoever never heard of it
  takes it as expired when `liars + 1` parties say so, and votes no more. It is told to each party
  a few times only: where too few say so, nobody there ever learns more of it.
* Two that compare summaries name the ids in which they differ (`DecidedIds`), and each tells the
  other how those ended that it lacks (`DecidedBatch`): committed or aborted, with the certificate.
* After a restart a party takes up what it had stored: its proposals, votes, endings and results.

Votes and certificates are signed, so it does not matter who passes them on: everything is verified
before it is believed. A certificate proves that the policy was satisfied, which with `direct` is
all there is to know. That the protocol decided it too, and its place in a log, is taken over once
`liars + 1` parties tell it alike, so that one of them is honest; who is told by fewer asks others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from mpclab.coordinator import statements
from mpclab.coordinator.approval import Approval
from mpclab.coordinator.executor import Executor
from mpclab.coordinator.inventory import BUCKETS, DIGESTS_BYTES
from mpclab.coordinator.ledger import Ledger
from mpclab.coordinator.messages import (
    DecidedBatch,
    DecidedDigest,
    DecidedEntry,
    DecidedIds,
    Fetch,
    FetchDecided,
    ProposalState,
    ResultRequest,
    Summary,
)
from mpclab.coordinator.operation import Operation, Status
from mpclab.coordinator.statements import AbortCertificate, Ending, SignedProposal
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.crypto.transcript import digest

PAGE_BYTES = 128 * 1024
"""Endings, or votes, in one message, about: so that other messages come between two of them."""
PAGE_IDS = 4096
BUCKETS_A_TIME = 4
"""Buckets whose ids are named in answer to one summary, so that a liar's costs us little."""
RETRY = 1 * SECOND
TOLD_EVERY = 2 * SECOND
"""How often a digest goes to the next party."""
ALSO_ASK = 2
MOST_EXPIRED = 64
"""Expired operations, the newest, that are told to those who never heard of them."""
TELLINGS = 8
"""How often one of them is told to the same party, which has not been away since."""
KNOWS = -1
"""Instead of that number: it has said so itself."""
UNHEARD_RETRIES = 10
LAST_RETRIES = 10
"""Retries for an operation that has expired that a run waits for; later ones go on behind it."""

T = TypeVar("T")


class Decider(Protocol):
    """The session as catch-up needs it: how its agreement protocol decides, and a way to tell."""

    @property
    def broadcasts(self) -> bool: ...
    @property
    def ordered(self) -> bool:
        """Decisions have places in a log."""

    @property
    def carries_aborts(self) -> bool:
        """The protocol carries certificates of abort too."""

    @property
    def tellers(self) -> int:
        """So many parties that tell an ending alike are believed."""

    @property
    def early(self) -> set[str]:
        """Operations whose end is known, and whose place in the log comes after a gap."""

    def expire(self, ctx: Ctx, o: Operation, why: str = "") -> None:
        """We wait for `o` no longer."""

    def submit(self, ctx: Ctx, o: Operation) -> None:
        """Hand the certificate of `o` to the agreement protocol."""

    def conclude(
        self, ctx: Ctx, ending: Ending, index: int | None, *, executed_elsewhere: bool = False
    ) -> None:
        """This is how an operation ended."""


class CatchUp:
    """One party's side of it. `told` is who told which ending, until enough did: each party's
    latest word on an operation counts, so no party takes more room than there are certificates.
    `told_expired` is which proposals, by hash, each party says have expired, of those that we never
    heard. `_tellings` is how often we told each party of what expired here."""

    def __init__(
        self, ledger: Ledger, approval: Approval, executor: Executor, decider: Decider
    ) -> None:
        self.ledger = ledger
        self.approval = approval
        self.executor = executor
        self.decider = decider
        self.told: dict[str, dict[Party, DecidedEntry]] = {}
        self.told_expired: dict[Party, dict[bytes, None]] = {}
        self._tellings: dict[str, dict[Party, int]] = {}
        self._retrying = False
        self._in_background = False  # that timer is for operations that may never end
        self._turn = 0

    # --- while something is open ----------------------------------------------------------

    def retry_later(self, ctx: Ctx) -> None:
        if not self.ledger.pending:
            return
        background = all(map(_hopeless, self._pending()))
        if not self._retrying or (self._in_background and not background):
            # A hopeless operation may get a certificate after all. Then a run waits for it.
            self._retrying, self._in_background = True, background
            ctx.set_timer("retry", RETRY, background=background, foreground=not background)

    def settle(self, ctx: Ctx, o: Operation) -> None:
        """Nothing more is wanted for `o`."""
        self.ledger.pending.pop(o.op, None)
        ctx.cancel_timer(f"deadline/{o.op}")
        if not self.ledger.pending:
            ctx.cancel_timer("retry")
            self._retrying = False

    def retry(self, ctx: Ctx) -> None:
        """Ask for what is missing."""
        for o in self._pending():
            o.asked += 1
            if o.status is Status.UNHEARD:
                if o.asked > UNHEARD_RETRIES:
                    del self.ledger.operations[o.op], self.ledger.pending[o.op]
                else:
                    ctx.multicast(sorted(o.tally.votes), Fetch(o.op))
            elif o.certificate is not None or o.abort is not None:
                if not o.submitted:  # the proposer should have: it may be gone
                    self.decider.submit(ctx, o)
            elif self.decider.broadcasts:
                self._ask_around(ctx, o)
        self._retrying = False
        self.retry_later(ctx)

    def _pending(self) -> list[Operation]:
        return list(self.ledger.pending.values())

    def _ask_around(self, ctx: Ctx, o: Operation) -> None:
        lacking = [p for p in ctx.others if p not in o.tally.votes]
        others = [p for p in ctx.others if p in o.tally.votes]
        also = ctx.rng.sample(others, min(ALSO_ASK, len(others)))
        # Those that voted on another proposal under this id: to see it is to prove the lie.
        strange = [p for p in others if o.tally.votes[p].proposal_hash != o.proposal_hash]
        have, withdrawn = tuple(sorted(o.tally.votes)), tuple(sorted(o.withdrawals))
        ctx.multicast(sorted({*lacking, *also}), Fetch(o.op, have, withdrawn, True))
        if strange:
            ctx.multicast(strange, Fetch(o.op))

    def on_fetch(self, ctx: Ctx, sender: Party, msg: Fetch) -> None:
        o = self.ledger.operations.get(msg.op)
        if o is None or o.signed is None:
            if msg.has_proposal:
                ctx.send(sender, Fetch(msg.op))  # then tell me of it first
        elif msg.op in self.ledger.decided:
            ctx.send(sender, DecidedBatch((self._entry(msg.op),)))
        else:
            state = _state_of(o, msg.have, msg.withdrawn)
            if state.votes or state.withdrawals or not msg.has_proposal:
                ctx.send(sender, state)

    def on_proposal_state(self, ctx: Ctx, sender: Party, msg: ProposalState) -> None:
        session, keys = self.ledger.session, self.ledger.keys
        statements.check_proposal(msg.signed, session, keys)
        op = msg.signed.op
        if any(v.op != op for v in msg.votes) or any(w.op != op for w in msg.withdrawals):
            raise PeerFault("told votes of another operation")
        if msg.withdrawals and not self.decider.ordered:
            raise PeerFault("told withdrawals where nothing orders them")
        votes = [vote for vote in msg.votes if vote.voter in keys]
        withdrawals = [one for one in msg.withdrawals if one.party in keys]
        for vote in votes:
            statements.check_vote(vote, session, keys)
        for withdrawal in withdrawals:
            statements.check_withdrawal(withdrawal, session, keys)
        known = self.ledger.operations.get(op)
        if msg.expired and not self.decider.ordered and (known is None or known.signed is None):
            self._told_expired(ctx, sender, msg.signed)
            return
        for vote in votes:  # first, since our own may be among them: see Approval.consider
            self.approval.count(ctx, vote)
        self.approval.hear(ctx, msg.signed)
        for withdrawal in withdrawals:
            self.approval.count_withdrawal(ctx, withdrawal)

    def _told_expired(self, ctx: Ctx, sender: Party, signed: SignedProposal) -> None:
        """An operation that we never heard of is over for `sender`. One party alone could say so
        to keep us from voting; when enough do it is over here as well, and we do not vote: nothing
        comes to life again because somebody was away."""
        proposal = signed.proposal.hash  # of two proposals under one id, each needs its own tellers
        said = self.told_expired.setdefault(sender, {})
        said[proposal] = None
        if len(said) > 2 * MOST_EXPIRED:  # at its own expense
            del said[next(iter(said))]
        told = [p for p, hashes in self.told_expired.items() if proposal in hashes]
        if len(told) < self.decider.tellers:
            return
        for hashes in self.told_expired.values():
            hashes.pop(proposal, None)
        o = self.approval.enter(ctx, signed)
        ctx.note(notes.Heard(op=o.op, kind=o.kind, by=o.by))
        self.decider.expire(ctx, o, f"it had expired at {statements.named(tuple(sorted(told)))}")

    # --- what is decided ------------------------------------------------------------------

    def watch(self, ctx: Ctx) -> None:
        """Tell the next party, from time to time, what is decided here."""
        ctx.set_timer("digest", TOLD_EVERY, background=True)

    def tell_next(self, ctx: Ctx) -> None:
        """Each party tells another one in each turn, and in n-1 turns everybody."""
        if ctx.others and (len(self.ledger.decided) or self.ledger.expired):
            self._turn += 1
            to = ctx.members[(ctx.me - 1 + 1 + self._turn % (ctx.n - 1)) % ctx.n]
            ctx.send(to, DecidedDigest(self._digest(ctx)))
        self.watch(ctx)

    def _digest(self, ctx: Ctx) -> bytes:
        """Of all that ended here, be it for good or not."""
        decided, expired = self.ledger.decided.digest, self._expired(ctx)
        return digest("mpclab ended", decided, *expired)[: len(decided)] if expired else decided

    def _expired(self, ctx: Ctx) -> tuple[str, ...]:
        """The newest that expired here, for all who know the same the same ones; but not what
        some were told of often enough and all the others know."""
        newest = self.ledger.expired.keys()
        if len(newest) > MOST_EXPIRED:
            newest = dict.fromkeys(sorted(newest, key=self._age)[-MOST_EXPIRED:]).keys()
        self._tellings = {op: of for op, of in self._tellings.items() if op in newest}
        return tuple(op for op in sorted(newest) if not self._is_told(ctx, op))

    def _is_told(self, ctx: Ctx, op: str) -> bool:
        tellings = [self._tellings.get(op, {}).get(p, 0) for p in ctx.others]
        return TELLINGS in tellings and all(k in (TELLINGS, KNOWS) for k in tellings)

    def _age(self, op: str) -> tuple[int, str]:
        signed = self.ledger.operations[op].signed
        return (0 if signed is None else signed.proposal.lamport, op)

    def on_digest(self, ctx: Ctx, sender: Party, msg: DecidedDigest) -> None:
        if msg.digest != self._digest(ctx):
            ctx.send(sender, self._summary(ctx))

    def greet(self, ctx: Ctx, parties: tuple[Party, ...]) -> None:
        """Tell parties that we (again) reach what we know and what we do not."""
        for told in self._tellings.values():  # they may have been away, or begun again
            for party in parties:
                told.pop(party, None)
        ctx.multicast(parties, self._summary(ctx))
        if self.executor.missed:
            ctx.multicast(parties, ResultRequest(tuple(self.executor.missed)[-PAGE_IDS:]))

    def _summary(self, ctx: Ctx) -> Summary:
        open_ = [o.op for o in self._pending() if o.signed is not None]
        # What waits for a gap counts as held: only the gap is lacking, and is told in answer.
        digests = self.ledger.decided.digests_with(self.decider.early)
        return Summary(digests, tuple(open_[-PAGE_IDS:]), self._expired(ctx))

    def on_summary(self, ctx: Ctx, sender: Party, msg: Summary) -> None:
        if len(msg.digests) != DIGESTS_BYTES:
            raise PeerFault(f"a summary of {len(msg.digests)} bytes; {DIGESTS_BYTES} are needed")
        decided, operations = self.ledger.decided, self.ledger.operations
        theirs = set(msg.open)
        for o in self._pending():
            if o.signed is not None and o.op not in theirs:
                ctx.send(sender, _state_of(o))  # if it is decided there, we hear it in answer
        for op in self._expired(ctx):
            told = self._tellings.setdefault(op, {})
            if op in msg.expired:
                told[sender] = KNOWS
            elif op not in theirs and max(0, told.get(sender, 0)) < TELLINGS:
                told[sender] = max(0, told.get(sender, 0)) + 1
                ctx.send(sender, _state_of(operations[op]))
        for op in dict.fromkeys(msg.open):  # in its order: a set has none that replays
            if op in decided:
                continue  # it is told by its bucket
            if op not in operations or operations[op].signed is None:
                ctx.send(sender, Fetch(op))
        for bucket in decided.differing(msg.digests)[:BUCKETS_A_TIME]:
            ctx.send(sender, DecidedIds(bucket, decided.ids(bucket)[-PAGE_IDS:]))

    def on_decided_ids(self, ctx: Ctx, sender: Party, msg: DecidedIds) -> None:
        if not 0 <= msg.bucket < BUCKETS:
            raise PeerFault("the ids of a bucket that does not exist")
        has = set(msg.ids)
        self._tell(ctx, sender, [op for op in self.ledger.decided.ids(msg.bucket) if op not in has])
        early = self.decider.early
        wanted = [op for op in msg.ids if op not in self.ledger.decided and op not in early]
        if wanted:
            ctx.send(sender, FetchDecided(tuple(wanted[:PAGE_IDS])))

    def on_fetch_decided(self, ctx: Ctx, sender: Party, msg: FetchDecided) -> None:
        self._tell(ctx, sender, [op for op in msg.ops if op in self.ledger.decided])

    def _tell(self, ctx: Ctx, to: Party, ops: Sequence[str]) -> None:
        page = _page(self._entry(op) for op in ops)
        if page:
            ctx.send(to, DecidedBatch(page))

    def _entry(self, op: str) -> DecidedEntry:
        o = self.ledger.operations[op]
        assert o.ending is not None
        return DecidedEntry(o.ending, o.index, o.status in (Status.EXECUTED, Status.FAILED))

    def on_decided(self, ctx: Ctx, sender: Party, msg: DecidedBatch) -> None:
        for entry in msg.entries:
            self.ledger.verify(entry.ending)
            if (entry.index is None) is self.decider.ordered:
                raise PeerFault("decided entry with a needless or a missing log index")
        new, doubted = 0, []
        for entry in msg.entries:
            op = entry.ending.op
            if op in self.ledger.decided:
                known = self.ledger.operations[op]
                self.approval.compare(ctx, known, entry.ending.signed)
                continue
            if op in self.decider.early:
                continue  # no news: to ask for more on hearing it again would never end
            first = op not in self.told
            told = self.told.setdefault(op, {})
            told[sender] = entry
            alike = [other for other in told.values() if _same(other, entry)]
            # Where nothing carries an abort, it is its rejections: they prove themselves.
            proved = isinstance(entry.ending, AbortCertificate) and not self.decider.carries_aborts
            if proved or len(alike) >= self.decider.tellers:
                new += 1
                # To stay out of an execution that goes on would harm it: all must say so.
                elsewhere = all(other.executed for other in alike)
                self.decider.conclude(ctx, entry.ending, entry.index, executed_elsewhere=elsewhere)
            elif first:
                doubted.append(op)
        if doubted:
            ctx.multicast([p for p in ctx.others if p != sender], FetchDecided(tuple(doubted)))
        if new:
            ctx.note(notes.CaughtUp(records=new, source=sender))
            ctx.send(sender, self._summary(ctx))  # perhaps there is more


def _hopeless(o: Operation) -> bool:
    """Whether no run should wait for what we do about `o`: it is handed to the agreement protocol,
    or it expired and was asked for often enough."""
    return o.submitted or (o.status is Status.EXPIRED and o.asked >= LAST_RETRIES)


def _state_of(
    o: Operation, have: tuple[Party, ...] = (), withdrawn: tuple[Party, ...] = ()
) -> ProposalState:
    """The proposal and votes of an operation that is not decided, as far as they fit."""
    assert o.signed is not None
    votes = _page(vote for voter, vote in sorted(o.tally.votes.items()) if voter not in have)
    rest = _page(one for party, one in sorted(o.withdrawals.items()) if party not in withdrawn)
    return ProposalState(o.signed, votes, rest, o.status is Status.EXPIRED)


def _page(items: Iterable[T]) -> tuple[T, ...]:
    """As many of the items, from the first, as fit into one message: `PAGE_BYTES`, or one."""
    page: list[T] = []
    size = 0
    for item in items:
        size += len(msgspec.msgpack.encode(item))
        if page and size > PAGE_BYTES:
            break
        page.append(item)
    return tuple(page)


def _same(one: DecidedEntry, other: DecidedEntry) -> bool:
    """Two certificates of one proposal may name other parties, and mean the same."""
    a, b = one.ending, other.ending
    return (one.index, type(a), a.signed.proposal) == (other.index, type(b), b.signed.proposal)
