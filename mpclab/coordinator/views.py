"""Views of a session for panels, the lab and tests: frozen pictures, safe to keep."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mpclab.coordinator.ledger import Ledger
from mpclab.coordinator.operation import Operation, Status
from mpclab.core.ids import Party
from mpclab.operations.proposal import Params


class VoteView(msgspec.Struct, frozen=True):
    """One party's vote, and when it was heard (µs)."""

    party: Party
    approve: bool
    reason: str
    at: int


class OperationView(msgspec.Struct, frozen=True):
    """One operation as one party sees it.

    Attributes:
        status: open, expired, committed, executed, aborted or failed.
        mine: this party's own vote; None while it has not voted.
        waiting_for: whose votes are not here.
        rejected, missing, blamed: who is named for an abort or a failure.
        result: the result's text, once executed; `data` its public bytes.
    """

    op: str
    kind: str
    by: Party
    text: str
    params: Params
    status: str
    reason: str
    votes: tuple[VoteView, ...]
    mine: bool | None
    waiting_for: tuple[Party, ...]
    rejected: tuple[Party, ...]
    missing: tuple[Party, ...]
    blamed: tuple[Party, ...]
    result: str
    data: bytes
    index: int | None
    heard_at: int
    deadline_at: int
    committed_at: int | None
    ended_at: int | None


class EntryView(msgspec.Struct, frozen=True):
    """One line of the history; `head` is the chain's hash so far, as hex."""

    index: int
    op: str
    kind: str
    by: Party
    text: str
    head: str


class SessionView(msgspec.Struct, frozen=True):
    """Everything at once. `operations` are in the order in which this party heard of them."""

    session: str
    me: Party
    n: int
    t: int
    policy: str
    agreement: str
    vote_policy: str
    operations: tuple[OperationView, ...]
    history: tuple[EntryView, ...]
    head: str
    up: tuple[Party, ...]

    def __getitem__(self, op: str) -> OperationView:
        for one in self.operations:
            if one.op == op:
                return one
        raise KeyError(op)


def _operation_view(o: Operation, n: int) -> OperationView:
    assert o.signed is not None
    votes = tuple(
        VoteView(p, v.approve and v.proposal_hash == o.proposal_hash, v.reason, o.tally.heard_at[p])
        for p, v in sorted(o.tally.votes.items())
    )
    rejected = o.rejected
    if o.status in (Status.EXPIRED, Status.ABORTED):  # others may have rejected since
        rejected = tuple(sorted({*o.rejected, *o.tally.against(o.proposal_hash)}))
    return OperationView(
        op=o.op,
        kind=o.kind,
        by=o.by,
        text=o.text,
        params=o.params,
        status=str(o.status),
        reason=o.reason,
        votes=votes,
        mine=None if o.mine is None else o.mine.approve,
        waiting_for=tuple(p for p in range(1, n + 1) if p not in o.tally.votes),
        rejected=rejected,
        missing=o.missing,
        blamed=o.blamed,
        result=o.result.text if o.result else "",
        data=o.result.data if o.result else b"",
        index=o.index,
        heard_at=o.heard_at,
        deadline_at=o.heard_at + o.signed.proposal.deadline,
        committed_at=o.committed_at,
        ended_at=o.ended_at,
    )


def _history_view(ledger: Ledger) -> tuple[EntryView, ...]:
    return tuple(
        EntryView(
            entry.index,
            entry.record.op,
            entry.record.proposal.kind,
            entry.record.proposal.by,
            ledger.operations[entry.record.op].text,
            entry.head.hex(),
        )
        for entry in ledger.history.entries()
    )


def session_view(
    ledger: Ledger, n: int, t: int, agreement: str, vote_policy: str, up: Iterable[Party]
) -> SessionView:
    heard = [o for o in ledger.operations.values() if o.signed is not None]
    return SessionView(
        session=ledger.session,
        me=ledger.me,
        n=n,
        t=t,
        policy=str(ledger.policy),
        agreement=agreement,
        vote_policy=vote_policy,
        operations=tuple(_operation_view(o, n) for o in heard),
        history=_history_view(ledger),
        head=ledger.history.head.hex(),
        up=tuple(sorted(up)),
    )
