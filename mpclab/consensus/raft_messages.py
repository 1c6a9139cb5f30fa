"""Raft's messages (Fig. 2 and Fig. 13 of the paper), and what `raft` adds to them."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.core.wire import Message

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A term, an index or a count in a message. Larger ones are malformed: a party that counts on from
what it was told must still be able to say and to store it."""


class RaftEntry(Message, frozen=True):
    """One place in the log. An empty `op`: a new leader's first entry, which does nothing, or,
    with a value, the end of a change of voters (C_new)."""

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
    """I am your leader; your log up to `commit` is decided. `round`: which round of heartbeats it
    is, where reads or a lease wait for one to be answered."""

    term: Number
    commit: Number
    round: Number = 0


class RaftHeartbeatResponse(Message, frozen=True):
    """I hear you, in that round."""

    term: Number
    round: Number = 0


class RaftInstallSnapshot(Message, frozen=True):
    """Operations of the history from place `first` on; it has `count`, and ends at `last`. Who
    votes there: `old`, and `new` during a change; all parties where `old` is empty."""

    term: Number
    last: Number
    last_term: Number
    first: Number
    count: Number
    history: tuple[RaftEntry, ...]
    old: tuple[Number, ...] = ()
    new: tuple[Number, ...] = ()


class RaftForward(Message, frozen=True):
    """You lead: get this decided."""

    op: str
    value: bytes


class RaftReadIndex(Message, frozen=True):
    """You lead: how far must I be to answer this read of mine?"""

    read: str


class RaftReadIndexResponse(Message, frozen=True):
    """As far as `index`: all that was decided when you asked is up to there."""

    read: str
    index: Number
