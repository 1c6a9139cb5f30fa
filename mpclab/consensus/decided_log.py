"""The part of a log that is decided: commands by place, kept once, and told to whoever lacks them.

What raft, the BFT logs and this have in common is `agreement.KEPT`: of old decisions whose values
our caller keeps on record, only the operations' ids are kept here. `paxos` and `vr` use it.

Stored: `chosen/<place>` a command; of an old one on record `old/<place>` its ids.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from mpclab.consensus.agreement import KEPT, Recall
from mpclab.core.machine import Ctx

Command: TypeAlias = tuple[tuple[str, bytes], ...]
"""What one place of a log holds: operations with their values, in order."""

NOOP: Command = ()
"""A command that does nothing."""

PAGE = 32
"""Commands in one message, at most."""
PAGE_BYTES = 128 * 1024
"""Bytes of values in one command or one page of commands, at most, unless there is only one."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What we keep of a command whose values are on record."""

    ops: tuple[str, ...]


def size_of(command: Command) -> int:
    """Bytes of its values."""
    return sum(len(value) for _, value in command)


def next_command(pending: Mapping[str, bytes], taken: Collection[str], batch: int) -> Command:
    """What has waited longest and is not `taken`, as much as one command holds; may be none."""
    found: list[tuple[str, bytes]] = []
    size = 0
    for op, value in pending.items():
        if op in taken:
            continue
        size += len(value)
        if len(found) == batch or (found and size > PAGE_BYTES):
            break
        found.append((op, value))
    return tuple(found)


class DecidedLog:
    """The commands of places 0, 1, … without a gap."""

    def __init__(self, recall: Recall) -> None:
        self.recall = recall
        self._commands: list[Command | Recorded] = []
        self._old = 0  # so many of them were looked up on record

    def __len__(self) -> int:
        return len(self._commands)

    def at(self, place: int) -> Command | None:
        """The command there; None when its values are not on record any more."""
        kept = self._commands[place]
        if not isinstance(kept, Recorded):
            return kept
        values = [self.recall(op) for op in kept.ops]
        found = tuple((op, v) for op, v in zip(kept.ops, values, strict=True) if v is not None)
        return found if len(found) == len(values) else None

    def page(self, first: int) -> tuple[Command, ...]:
        """The commands from `first` on, as many as one message takes."""
        found: list[Command] = []
        size = 0
        for place in range(first, min(first + PAGE, len(self))):
            if (command := self.at(place)) is None:
                break
            size += size_of(command)
            if found and size > PAGE_BYTES:
                break
            found.append(command)
        return tuple(found)

    def add(self, ctx: Ctx, command: Command) -> None:
        """The next place holds `command`: stored."""
        ctx.persist(f"chosen/{len(self)}", msgspec.msgpack.encode(command))
        self._commands.append(command)
        self._leave_to_the_record(ctx)

    def _leave_to_the_record(self, ctx: Ctx) -> None:
        while self._old < len(self) - KEPT:
            place = self._old
            command = self._commands[place]
            if command and not isinstance(command, Recorded):
                values = [self.recall(op) for op, _ in command]
                if None in values:
                    return  # not on record yet
                if values == [value for _, value in command]:
                    ops = tuple(op for op, _ in command)
                    self._commands[place] = Recorded(ops)
                    # The record was stored before this: a crash leaves the one or the other.
                    ctx.persist(f"old/{place}", msgspec.msgpack.encode(ops))
                    ctx.persist(f"chosen/{place}", None)
            self._old += 1

    def recover(self, stored: Mapping[str, bytes]) -> list[Command]:
        """Take up what is stored; all commands, to be told again."""
        found: list[Command] = []
        while True:
            place = len(self)
            if (ops := stored.get(f"old/{place}")) is not None:
                self._commands.append(Recorded(msgspec.msgpack.decode(ops, type=tuple[str, ...])))
            elif (data := stored.get(f"chosen/{place}")) is not None:
                self._commands.append(msgspec.msgpack.decode(data, type=Command))
            else:
                return found
            if (command := self.at(place)) is None:
                raise ValueError(f"the values of place {place} are not on record any more")
            found.append(command)
