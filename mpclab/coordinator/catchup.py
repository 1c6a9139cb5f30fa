"""How a party gets what it lacks: lost messages, late arrivals, restarts.

* While something is open, every second a party asks those whose votes it lacks, and two others
  at random who may have heard them, for what it has not got (`Fetch` → `ProposalState`).
* When two parties meet again they say what they know (`Summary`), and each tells the other the open
  operations and the committed ones that it lacks (`ProposalState`, `CommittedBatch`).
* After a restart a party takes up what it had stored: its proposals, votes, records and results.

Votes and certificates are signed, so it does not matter who passes them on: everything is verified
before it is believed. A certificate proves that the policy was satisfied, which with `direct` is
all there is to know. That the protocol decided it too, and its place in a log, is taken over once
`liars + 1` parties tell it alike, so that one of them is honest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mpclab.coordinator import statements
from mpclab.coordinator.history import Record
from mpclab.coordinator.messages import (
    CommittedBatch,
    CommittedEntry,
    Fetch,
    ProposalState,
    ResultRequest,
    Summary,
)
from mpclab.coordinator.statements import SignedProposal, SignedVote
from mpclab.coordinator.tally import End, Operation, Status
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx

if TYPE_CHECKING:
    from mpclab.coordinator.session import Session

PAGE = 32
"""Committed operations in one message."""
MOST_IDS = 4096
ALSO_ASK = 2
UNHEARD_RETRIES = 10


# --- while something is open --------------------------------------------------------------


def state_of(o: Operation, have: tuple[Party, ...] = ()) -> ProposalState:
    assert o.signed is not None
    votes = tuple(vote for voter, vote in sorted(o.tally.votes.items()) if voter not in have)
    return ProposalState(o.signed, votes)


def retry(session: Session, ctx: Ctx) -> bool:
    """Ask for what is missing. Whether anything still is."""
    for o in list(session.pending.values()):
        if o.status is Status.UNHEARD:
            o.asked += 1
            if o.asked > UNHEARD_RETRIES:
                del session.operations[o.op], session.pending[o.op]
            else:
                ctx.multicast(sorted(o.tally.votes), Fetch(o.op, (), False))
        elif o.certificate is not None:
            if not o.submitted:  # the proposer should have: it may be gone
                session.submit(ctx, o)
        elif not session.agreement.votes_inside:
            _ask_around(ctx, o)
    return bool(session.pending)


def _ask_around(ctx: Ctx, o: Operation) -> None:
    lacking = [p for p in ctx.others if p not in o.tally.votes]
    others = [p for p in ctx.others if p in o.tally.votes]
    also = ctx.rng.sample(others, min(ALSO_ASK, len(others)))
    strange = [
        p for p in others if o.tally.votes[p].proposal_hash != o.proposal_hash
    ]  # see Session.count
    ctx.multicast(sorted({*lacking, *also}), Fetch(o.op, tuple(sorted(o.tally.votes)), True))
    if strange:
        ctx.multicast(strange, Fetch(o.op, (), False))


def on_fetch(session: Session, ctx: Ctx, sender: Party, msg: Fetch) -> None:
    o = session.operations.get(msg.op)
    if o is None or o.signed is None:
        if msg.has_proposal:
            ctx.send(sender, Fetch(msg.op, (), False))  # then tell me of it first
    elif msg.op in session.history and not session.agreement.votes_inside:
        ctx.send(sender, CommittedBatch((_entry(session, msg.op),), False))
    else:
        news = state_of(o, msg.have)
        if news.votes or not msg.has_proposal:
            ctx.send(sender, news)


def on_proposal_state(session: Session, ctx: Ctx, msg: ProposalState) -> None:
    statements.check_proposal(msg.signed, session.session, session.keys)
    genuine: list[SignedVote] = []
    for vote in msg.votes:
        if vote.op != msg.signed.op:
            raise PeerFault("told votes of another operation")
        if vote.voter in session.keys:
            statements.check_vote(vote, session.session, session.keys)
            genuine.append(vote)
    for vote in genuine:  # first, since our own may be among them: see Approval.consider
        session.count(ctx, vote)
    session.hear(ctx, msg.signed)


# --- when two parties meet ----------------------------------------------------------------


def greet(session: Session, ctx: Ctx, parties: tuple[Party, ...]) -> None:
    """Tell parties that we (again) reach what we know and what we do not."""
    ctx.multicast(parties, summary(session))
    if session.executor.missed:
        ctx.multicast(parties, ResultRequest(tuple(session.executor.missed)))


def summary(session: Session, *, reply: bool = False) -> Summary:
    open_ = [o.op for o in session.pending.values() if o.signed is not None]
    return Summary(tuple(session.history.records)[-MOST_IDS:], tuple(open_), reply)


def on_summary(session: Session, ctx: Ctx, sender: Party, msg: Summary) -> None:
    for o in list(session.pending.values()):
        if o.signed is not None and o.op not in msg.committed:
            ctx.send(sender, state_of(o))
    has = set(msg.committed)
    mine = list(session.history.records)
    if len(msg.committed) >= MOST_IDS:  # its latest: what it does not tell it has as well
        mine = mine[next((k for k, op in enumerate(mine) if op in has), 0) :]
    lacking = [op for op in mine if op not in has]
    if lacking:
        page = tuple(_entry(session, op) for op in lacking[:PAGE])
        ctx.send(sender, CommittedBatch(page, len(lacking) > PAGE))
    # What we gave up and they committed is news too, though we have heard of it.
    news = has - session.history.records.keys() or set(msg.open) - session.operations.keys()
    if news and not msg.reply:
        ctx.send(sender, summary(session, reply=True))


def _entry(session: Session, op: str) -> CommittedEntry:
    record, o = session.history.records[op], session.operations[op]
    ended = o.status in (Status.EXECUTED, Status.FAILED)
    return CommittedEntry(record.certificate, record.index, ended)


class Claims:
    """Who told which record, until enough did. Each party's latest word on an operation counts,
    so no party takes more room than there are certificates."""

    def __init__(self) -> None:
        self._told: dict[str, dict[Party, CommittedEntry]] = {}

    def add(self, sender: Party, entry: CommittedEntry) -> list[CommittedEntry]:
        """Take note of what `sender` tells, verified; all entries that say the same by now."""
        told = self._told.setdefault(entry.certificate.op, {})
        told[sender] = entry
        return [other for other in told.values() if _place(other) == _place(entry)]

    def settle(self, op: str) -> None:
        self._told.pop(op, None)


def _place(entry: CommittedEntry) -> tuple[int | None, bytes]:
    return entry.index, entry.certificate.signed.proposal.hash


def on_committed(session: Session, ctx: Ctx, sender: Party, msg: CommittedBatch) -> None:
    for entry in msg.entries:
        session.verify(entry.certificate)
    needed = type(session.agreement).liars(session.n) + 1
    new = 0
    for entry in msg.entries:
        op = entry.certificate.op
        if op in session.history:
            session.compare(ctx, session.operations[op], entry.certificate.signed)
            continue
        alike = session.claims.add(sender, entry)
        if len(alike) >= needed:
            new += 1
            # To stay out of an execution that goes on would harm it: all of them must say so.
            executed_elsewhere = all(other.ended for other in alike)
            session.commit(
                ctx, Record(entry.certificate, entry.index), executed_elsewhere=executed_elsewhere
            )
    if new:
        ctx.note(notes.CaughtUp(records=new, source=sender))
    if msg.more and new:
        ctx.send(sender, summary(session, reply=True))


# --- after a crash ------------------------------------------------------------------------


def restore(session: Session, ctx: Ctx) -> None:
    """Take up what an earlier life of this party stored."""
    kept: dict[str, dict[str, bytes]]
    kept = {what: {} for what in ("proposal", "vote", "record", "end", "secret", "bound")}
    for key, data in sorted(ctx.stored.items()):
        what, op = key.split("/", 1)
        kept[what][op] = data
    ends = {op: msgspec.msgpack.decode(data, type=End) for op, data in kept["end"].items()}
    for data in kept["vote"].values():
        _restore_open(session, ctx, *_decode_vote(data), ends)
    unvoted = [op for op in kept["proposal"] if op not in kept["vote"]]
    for op in unvoted:
        _restore_open(session, ctx, _decode_signed(kept["proposal"][op]), None, ends)
    records = [msgspec.msgpack.decode(data, type=Record) for data in kept["record"].values()]
    records.sort(key=lambda r: (r.index or 0, r.proposal.lamport, r.op))
    for record in records:
        o = session.operations.setdefault(record.op, Operation(record.op))
        o.describe(session.kinds, record.certificate.signed)
        session.clock = max(session.clock, record.proposal.lamport)
        session.history.add(record)
        o.certificate, o.index, o.status = record.certificate, record.index, Status.COMMITTED
        o.reason, o.rejected, o.missing = "", (), ()
        session.settle(ctx, o)
    if records:
        ctx.note(notes.Restored(len(records), session.history.head.hex()[:12]))
    for record in records:
        o = session.operations[record.op]
        session.executor.restore(ctx, o, ends.get(o.op), kept["secret"].get(o.op))
    for o in (session.operations[op] for op in unvoted):
        if o.status is Status.OPEN:  # perhaps nobody has heard of it
            if session.broadcasts:
                session.consider(ctx, o)
            else:
                session.on_proposed(ctx, o)


_decode_signed = msgspec.msgpack.Decoder(SignedProposal).decode
_decode_vote = msgspec.msgpack.Decoder(tuple[SignedProposal, SignedVote]).decode


def _restore_open(
    session: Session,
    ctx: Ctx,
    signed: SignedProposal,
    vote: SignedVote | None,
    ends: dict[str, End],
) -> None:
    o = session.enter(ctx, signed)
    if vote is not None:
        o.mine = vote
        o.tally.add(vote, ctx.now)
    end = ends.get(o.op)
    if end is not None and end.status == Status.ABORTED:
        o.status, o.reason = Status.ABORTED, end.reason
        o.rejected, o.missing = end.rejected, end.missing
        session.settle(ctx, o)
