"""The messages of Viewstamped Replication: those of its Figure 2 and §4, by their names there."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.consensus.decided_log import Command
from mpclab.core.wire import Message

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A view, an op-number or a commit-number. Larger ones are malformed: a party that counts on from
what it was told must still be able to say and to store it."""


class VrRequest(Message, frozen=True):
    """You are the primary: get this decided."""

    op: str
    value: bytes


class VrPrepare(Message, frozen=True):
    """In `view`, `command` has op-number `number`; all up to `commit` is committed."""

    view: Number
    number: Number
    command: Command
    commit: Number


class VrPrepareOk(Message, frozen=True):
    """My log of `view` reaches to op-number `number`."""

    view: Number
    number: Number


class VrCommit(Message, frozen=True):
    """I am the primary of `view`; all up to `commit` is committed."""

    view: Number
    commit: Number


class VrStartViewChange(Message, frozen=True):
    """I have left the views before `view`."""

    view: Number


class VrDoViewChange(Message, frozen=True):
    """You are the primary of `view`. `normal` is the last view in which my status was normal; up to
    `commit` my log is committed, and it goes on with `entries`."""

    view: Number
    normal: Number
    commit: Number
    entries: tuple[Command, ...]

    @property
    def number(self) -> int:
        """The op-number of the last entry."""
        return self.commit + len(self.entries)


class VrStartView(Message, frozen=True):
    """`view` has begun with this log: committed up to `commit`, and then `entries`."""

    view: Number
    commit: Number
    entries: tuple[Command, ...]

    @property
    def number(self) -> int:
        """The op-number of the last entry."""
        return self.commit + len(self.entries)


class VrGetState(Message, frozen=True):
    """What comes after op-number `number`?"""

    number: Number


class VrNewState(Message, frozen=True):
    """After op-number `number` these were committed, of `commit` altogether; I am in `view`."""

    view: Number
    number: Number
    commands: tuple[Command, ...]
    commit: Number
