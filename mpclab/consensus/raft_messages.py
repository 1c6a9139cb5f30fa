"""Raft's messages (Fig. 2 and Fig. 13 of the paper), and what `raft` adds to them."""

from mpclab.consensus.raft_log import Number, RaftEntry
from mpclab.core.wire import Message


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
