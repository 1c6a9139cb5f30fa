"""How a party takes up, after a restart, what it had stored."""

from __future__ import annotations

import msgspec

from mpclab.coordinator.approval import Approval
from mpclab.coordinator.catchup import CatchUp
from mpclab.coordinator.executor import Executor, bound_to
from mpclab.coordinator.history import committed, unpack_record
from mpclab.coordinator.ledger import Ledger
from mpclab.coordinator.operation import End, Operation, Status, unpack_abort
from mpclab.coordinator.statements import SignedProposal, SignedVote, Withdrawal
from mpclab.core import notes
from mpclab.core.machine import Ctx

KINDS = ("proposal", "vote", "withdrawal", "record", "abort", "end", "secret", "bound")

_proposal = msgspec.msgpack.Decoder(SignedProposal).decode
_vote = msgspec.msgpack.Decoder(tuple[SignedProposal, SignedVote]).decode
_withdrawal = msgspec.msgpack.Decoder(Withdrawal).decode
_end = msgspec.msgpack.Decoder(End).decode


def restore(
    ctx: Ctx, ledger: Ledger, approval: Approval, catchup: CatchUp, executor: Executor
) -> list[Operation]:
    """Take up what was stored; the proposals of our own that we had not voted on."""
    kept: dict[str, dict[str, bytes]] = {what: {} for what in KINDS}
    for key, data in sorted(ctx.stored.items()):
        what, op = key.split("/", 1)
        kept[what][op] = data
    ends = {op: _end(data) for op, data in kept["end"].items()}
    for data in kept["bound"].values():
        bound_to(data)  # unreadable: refused before anything is taken up
    for data in kept["vote"].values():
        signed, vote = _vote(data)
        o = approval.enter(ctx, signed)
        o.mine = vote
        o.tally.add(vote, ctx.now)
    unvoted = [op for op in kept["proposal"] if op not in kept["vote"]]
    for op in unvoted:
        approval.enter(ctx, _proposal(kept["proposal"][op]))
    for op, data in kept["abort"].items():
        aborted = unpack_abort(data)
        o = _known(ledger, op, aborted.ending.signed)
        o.conclude_abort(aborted, data)
        if aborted.index is not None:
            ledger.history.skip(aborted.index)
        ledger.decided.add(op)
        catchup.settle(ctx, o)
    records = [unpack_record(data) for data in kept["record"].values()]
    records.sort(key=lambda r: (r.index or 0, r.proposal.lamport, r.op))
    for record in records:
        o = _known(ledger, record.op, record.certificate.signed)
        packed = kept["record"][record.op]
        ledger.history.add(record, packed)
        ledger.decided.add(record.op)
        o.conclude_commit(record, packed)
        catchup.settle(ctx, o)
    if records:
        ctx.note(notes.Restored(len(records), ledger.history.head.hex()[:12]))
    for record in records:
        o = ledger.operations[record.op]
        if o.op not in ends:  # we may have ended before we could say so
            ctx.note(committed(ledger.history, record))
        executor.restore(ctx, o, ends.get(o.op), kept["secret"].get(o.op))
    executor.restored(ctx)
    for op, end in ends.items():
        known = ledger.operations.get(op)
        if known is None:
            continue  # it expired unvoted, so we are bound by nothing; others tell us of it again
        if end.status == Status.EXPIRED and not known.status.decided:
            known.status, known.reason = Status.EXPIRED, end.reason
            known.rejected, known.missing = end.rejected, end.missing
            ctx.cancel_timer(f"deadline/{op}")
            if op in kept["withdrawal"]:
                known.withdrawals[ctx.me] = _withdrawal(kept["withdrawal"][op])
    for o in ledger.pending.values():
        if o.mine is not None:  # as above: it may be on the disk, and nobody heard of it
            ctx.note(notes.Voted(op=o.op, approve=o.mine.approve, reason=o.mine.reason))
    return [ledger.operations[op] for op in unvoted if not ledger.operations[op].status.decided]


def _known(ledger: Ledger, op: str, signed: SignedProposal) -> Operation:
    o = ledger.operations.setdefault(op, Operation(op))
    o.describe(ledger.kinds, signed)
    ledger.clock = max(ledger.clock, signed.proposal.lamport)
    return o
