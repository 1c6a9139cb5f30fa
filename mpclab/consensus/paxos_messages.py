"""The messages of Paxos: the paper's four, and what a log of instances needs beside them."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.consensus.decided_log import Command
from mpclab.core.wire import Message

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A ballot, a place of the log or a count. Larger ones are malformed: a party that counts on from
what it was told must still be able to say and to store it."""


class PaxosRequest(Message, frozen=True):
    """You lead: get this chosen."""

    op: str
    value: bytes


class PaxosVote(Message, frozen=True):
    """In `slot`, this is the proposal with the highest number that I accepted."""

    slot: Number
    ballot: Number
    command: Command


class PaxosPrepare(Message, frozen=True):
    """Phase 1 (a), for all slots from `first` on: promise to accept nothing under a lower ballot,
    and tell me what you accepted."""

    ballot: Number
    first: Number


class PaxosPromise(Message, frozen=True):
    """Phase 1 (b): I promise. I know all slots before `chosen`; in those after it I accepted
    `count` proposals, of which these are some."""

    ballot: Number
    chosen: Number
    count: Number
    votes: tuple[PaxosVote, ...]


class PaxosAccept(Message, frozen=True):
    """Phase 2 (a): accept this proposal."""

    ballot: Number
    slot: Number
    command: Command


class PaxosAccepted(Message, frozen=True):
    """Phase 2 (b): I accepted it."""

    ballot: Number
    slot: Number


class PaxosRefused(Message, frozen=True):
    """I have promised `ballot` to somebody."""

    ballot: Number


class PaxosLead(Message, frozen=True):
    """I lead with this ballot, and what I proposed before slot `chosen` is chosen."""

    ballot: Number
    chosen: Number


class PaxosLearn(Message, frozen=True):
    """What is chosen from slot `first` on?"""

    first: Number


class PaxosChosen(Message, frozen=True):
    """These commands are chosen from slot `first` on; I know `chosen` of them altogether."""

    first: Number
    commands: tuple[Command, ...]
    chosen: Number
