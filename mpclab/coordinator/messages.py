"""What sessions of different parties say to each other, and what a session can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from mpclab.coordinator.statements import Certificate, SignedProposal, SignedVote
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


class Vote(msgspec.Struct, frozen=True):
    """Vote by hand on an open operation. `reason` is for rejections."""

    op: str
    approve: bool
    reason: str = ""


@dataclass(frozen=True)
class SetPrivate:
    """Our own numbers, for computations that want some and find that these fit; they are never
    sent as they are. `repr` does not show them, so no trace does. Empty: we are asked each time."""

    values: tuple[int, ...] = field(repr=False)


class SetVotePolicy(msgspec.Struct, frozen=True):
    """From now on vote like this: approve, reject, silent, validate or hand."""

    vote_policy: str


# --- messages -----------------------------------------------------------------------------


class Fetch(Message, frozen=True):
    """Tell me of `op` what I lack. `have`: whose votes I have; `has_proposal`: I have it."""

    op: str
    have: tuple[Party, ...]
    has_proposal: bool


class ProposalState(Message, frozen=True):
    """An open operation, as far as I know it."""

    signed: SignedProposal
    votes: tuple[SignedVote, ...]


class Summary(Message, frozen=True):
    """What I know, to a party that I had lost or never met: ids committed, ids still open."""

    committed: tuple[str, ...]
    open: tuple[str, ...]
    reply: bool = False


class CommittedEntry(Message, frozen=True):
    """A committed operation. `ended`: I know what came of executing it."""

    certificate: Certificate
    index: int | None
    ended: bool


class CommittedBatch(Message, frozen=True):
    """Committed operations that you lack; `more` are to be had."""

    entries: tuple[CommittedEntry, ...]
    more: bool


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
    | Fetch
    | ProposalState
    | Summary
    | CommittedBatch
    | ResultRequest
    | Report
)
