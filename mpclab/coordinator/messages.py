"""The messages between the sessions of different parties, and the asks of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

import msgspec

from mpclab.coordinator.statements import Ending, SignedProposal, SignedVote, Withdrawal
from mpclab.core.ids import Party
from mpclab.core.wire import Message

# --- asks ---------------------------------------------------------------------------------


class Propose(msgspec.Struct, frozen=True):
    """Ask everyone to do `kind` with `params`.

    Attributes:
        attempt: a fresh text that makes the operation's id, `operation_id(session, me, attempt)`;
            drawn when empty, and then the note `proposed` tells the id.
        deadline: µs to wait for votes; None: the session's own.
    """

    kind: str
    params: Mapping[str, Any] = {}
    attempt: str = ""
    deadline: int | None = None


class ReadHistory(msgspec.Struct, frozen=True):
    """Say what the history holds, and miss nothing that was committed before this was asked. The
    note `read-answered` does, if the agreement protocol can say when; `read` is a fresh name."""

    read: str


class Vote(msgspec.Struct, frozen=True):
    """Vote by hand on an open operation. `reason` is for rejections."""

    op: str
    approve: bool
    reason: str = ""


@dataclass(frozen=True)
class SetPrivate:
    """Our own numbers, for computations that want some and find that these fit; they are never
    sent as they are. `repr` does not show them, so no trace does. Empty: we are asked each time."""

    values: tuple[int | Decimal, ...] = field(repr=False)


@dataclass(frozen=True)
class ForgetFleeting:
    """What operations left in memory alone is to be used no more: somebody has a copy of us."""


@dataclass(frozen=True)
class RestoreShare:
    """Take back a share that this party had lost: `sealed` to it, of the key whose public bytes
    are `data`."""

    data: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


class DeleteShare(msgspec.Struct, frozen=True):
    """Delete our share of the key that `op` made or renewed, for good; the others keep theirs."""

    op: str


class SetVotePolicy(msgspec.Struct, frozen=True):
    """From now on vote like this: approve, reject, silent, validate or hand."""

    vote_policy: str


# --- messages -----------------------------------------------------------------------------


class Fetch(Message, frozen=True):
    """Tell me of `op` what I lack. `have` and `withdrawn`: whose votes and withdrawals I have;
    `has_proposal`: I have it."""

    op: str
    have: tuple[Party, ...] = ()
    withdrawn: tuple[Party, ...] = ()
    has_proposal: bool = False


class ProposalState(Message, frozen=True):
    """An operation that is not decided, as far as I know it. `expired`: I wait for it no longer,
    and nothing will decide it unless more votes come."""

    signed: SignedProposal
    votes: tuple[SignedVote, ...]
    withdrawals: tuple[Withdrawal, ...] = ()
    expired: bool = False


class DecidedDigest(Message, frozen=True):
    """From time to time: a digest of what is decided here. If yours is another, tell me yours."""

    background: ClassVar[bool] = True

    digest: bytes


class Summary(Message, frozen=True):
    """What I know, to a party that I had lost or never met, or that knows something else.

    Attributes:
        digests: of the ids decided here, bucket by bucket (see `inventory`).
        open: the ids of proposals that are not decided here.
        expired: the ids of the newest that have expired here, where nothing decides them any more.
    """

    digests: bytes
    open: tuple[str, ...]
    expired: tuple[str, ...] = ()


class DecidedIds(Message, frozen=True):
    """The ids decided here in one bucket, since ours differ. Tell me of those that I lack."""

    bucket: int
    ids: tuple[str, ...]


class FetchDecided(Message, frozen=True):
    """How did these end? I only hear that they did."""

    ops: tuple[str, ...]


class DecidedEntry(Message, frozen=True):
    """How an operation ended. `index`: its place in the log, where there is one; `executed`: I
    know what came of executing it."""

    ending: Ending
    index: int | None = None
    executed: bool = False


class DecidedBatch(Message, frozen=True):
    """Decided operations that you lack, as many as fit; there may be more."""

    entries: tuple[DecidedEntry, ...]


class ResultRequest(Message, frozen=True):
    """What came of these operations? I was not there."""

    ops: tuple[str, ...]


class Report(Message, frozen=True):
    """What came of executing `op`: the result's text and public bytes, or why it failed."""

    op: str
    ok: bool
    text: str
    data: bytes


SessionMessage: TypeAlias = (
    SignedProposal
    | SignedVote
    | Withdrawal
    | Fetch
    | ProposalState
    | DecidedDigest
    | Summary
    | DecidedIds
    | FetchDecided
    | DecidedBatch
    | ResultRequest
    | Report
)
