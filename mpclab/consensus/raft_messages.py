"""Raft's messages (Fig. 2 and Fig. 13 of the paper), and what `raft` adds to them."""

from mpclab.consensus.raft_log import RaftEntry
from mpclab.core.wire import Message


class RaftRequestVote(Message, frozen=True):
    """Vote for me. `pre`: would you? (nothing changes yet)"""

    term: int
    last: int
    last_term: int
    pre: bool


class RaftRequestVoteResponse(Message, frozen=True):
    term: int
    granted: bool
    pre: bool


class RaftAppendEntries(Message, frozen=True):
    """The entries after `prev`, if your log has an entry of `prev_term` there."""

    term: int
    prev: int
    prev_term: int
    entries: tuple[RaftEntry, ...]
    commit: int


class RaftAppendEntriesResponse(Message, frozen=True):
    """My log equals yours up to `index`; or not `ok`: try again after `index`. `history` is how
    many operations I hold as decided."""

    term: int
    ok: bool
    index: int
    history: int


class RaftHeartbeat(Message, frozen=True):
    """I am your leader; your log up to `commit` is decided."""

    term: int
    commit: int


class RaftHeartbeatResponse(Message, frozen=True):
    term: int


class RaftInstallSnapshot(Message, frozen=True):
    """Operations of the history from place `first` on; it has `count`, and ends at `last`."""

    term: int
    last: int
    last_term: int
    first: int
    count: int
    history: tuple[RaftEntry, ...]


class RaftForward(Message, frozen=True):
    """You lead: get this decided."""

    op: str
    value: bytes
