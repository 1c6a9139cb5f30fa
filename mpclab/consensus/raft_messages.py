"""Raft's messages (Fig. 2 and Fig. 13 of the paper), and what `raft` adds to them."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.core.wire import Message

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A term, an index or a count in a message. Larger ones are malformed: a party that counts on from
what it was told must still be able to say and to store it."""


class RaftEntry(Message, frozen=True):
    """One place in the log. An empty `op`: a new leader's first entry, which does nothing."""

    term: Number
    op: str
    value: bytes


class RaftRequestVote(Message, frozen=True):
    """Vote for me. `pre`: would you? (nothing changes yet)"""

    term: Number
    last: Number
    last_term: Number
    pre: bool


class RaftRequestVoteResponse(Message, frozen=True):
    """My vote in `term`, or that you have none; `pre`: whether I would."""

    term: Number
    granted: bool
    pre: bool


class RaftAppendEntries(Message, frozen=True):
    """The entries after `prev`, if your log has an entry of `prev_term` there."""

    term: Number
    prev: Number
    prev_term: Number
    entries: tuple[RaftEntry, ...]
    commit: Number


class RaftAppendEntriesResponse(Message, frozen=True):
    """My log equals yours up to `index`; or not `ok`: try again after `index`. `history` is how
    many operations I hold as decided."""

    term: Number
    ok: bool
    index: Number
    history: Number


class RaftHeartbeat(Message, frozen=True):
    """I am your leader; your log up to `commit` is decided."""

    term: Number
    commit: Number


class RaftHeartbeatResponse(Message, frozen=True):
    """I hear you."""

    term: Number


class RaftInstallSnapshot(Message, frozen=True):
    """Operations of the history from place `first` on; it has `count`, and ends at `last`."""

    term: Number
    last: Number
    last_term: Number
    first: Number
    count: Number
    history: tuple[RaftEntry, ...]


class RaftForward(Message, frozen=True):
    """You lead: get this decided."""

    op: str
    value: bytes
