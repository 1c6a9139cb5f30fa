"""Raft's log: entries after a snapshot, kept in the party's store entry by entry.

Index 1 is the first entry. The applied part is the *history*: the operations in order, without
the empty entries that new leaders write. A snapshot is the history up to some index, so a
compacted log is a history, the place where it ends, and the entries after it.

Stored: `log/<index>` an entry, `done/<place>` an operation of the snapshot (`old/<place>` without
its value, which is on record), `snapshot` its end with the voters there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from mpclab.consensus.agreement import Recall
from mpclab.consensus.raft_history import RaftHistory
from mpclab.consensus.raft_messages import RaftEntry
from mpclab.consensus.raft_voters import Voters
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx

PAGE_BYTES = 128 * 1024
"""Values in one message, about: so that heartbeats come between two of them."""

_encode = msgspec.msgpack.encode


def _first(entries: Sequence[RaftEntry]) -> tuple[RaftEntry, ...]:
    """As many of the entries as fit into one message; one at least."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.value)
        if size > PAGE_BYTES and count:
            return tuple(entries[:count])
    return tuple(entries)


class Mark(msgspec.Struct, array_like=True, frozen=True):
    """The end of the snapshot, as stored: where, how many operations, who votes (empty: all)."""

    index: int
    term: int
    count: int
    old: tuple[int, ...] = ()
    new: tuple[int, ...] = ()


class RaftLog:
    """The entries, the snapshot before them, and which operations they hold.

    Args:
        stored: what is on the disk.
        first: who votes at the beginning.
        changed: who votes from an entry on, and who did before it; the same where it changes none.
        recall: the value that is on record for an operation, or None.
    """

    start: int
    """Index of the last entry that the snapshot replaces (Fig. 13: lastIncludedIndex)."""
    start_term: int
    history: RaftHistory
    """The operations of the snapshot, then those applied since."""
    kept: int
    """How much of the history is the snapshot, stored as `done/…` and `old/…`."""
    entries: list[RaftEntry]
    """Those after `start`."""
    ops: set[str]
    """The operations in entries: one is appended once, unless it is decided."""
    configurations: list[tuple[int, Voters]]
    """Who votes from which index on: at `start`, and where an entry after it changes that."""

    def __init__(
        self,
        stored: Mapping[str, bytes],
        first: Voters,
        changed: Callable[[RaftEntry, Voters], Voters] = lambda entry, voters: voters,
        recall: Recall = lambda op: None,
    ) -> None:
        self.first = first
        self.changed = changed
        self.start, self.start_term, count, voters = 0, 0, 0, first
        if (kept := stored.get("snapshot")) is not None:
            mark = msgspec.msgpack.decode(kept, type=Mark)
            self.start, self.start_term, count = mark.index, mark.term, mark.count
            if mark.old:
                voters = Voters(mark.old, mark.new)
        self.configurations = [(self.start, voters)]
        self.history = RaftHistory(recall)
        for k in range(count):
            on_record = f"old/{k}" in stored
            item = stored[f"old/{k}" if on_record else f"done/{k}"]
            entry = msgspec.msgpack.decode(item, type=RaftEntry)
            self.history.append(entry, recorded=on_record)
        self.entries = []
        self.kept = count
        while (data := stored.get(f"log/{self.last + 1}")) is not None:
            self._add(msgspec.msgpack.decode(data, type=RaftEntry))
        self.ops = {e.op for e in self.entries if e.op}

    def _add(self, entry: RaftEntry) -> None:
        self.entries.append(entry)
        if (voters := self.changed(entry, self.voters)) != self.voters:
            self.configurations.append((self.last, voters))

    @property
    def voters(self) -> Voters:
        """§6: a server uses the latest configuration in its log, committed or not."""
        return self.configurations[-1][1]

    @property
    def voters_at(self) -> int:
        """The index of the entry that `voters` is from."""
        return self.configurations[-1][0]

    def voters_until(self, index: int) -> Voters:
        """Who votes as of entry `index`, which is not in the snapshot unless it ends that."""
        return next(voters for at, voters in reversed(self.configurations) if at <= index)

    def _told(self, voters: Voters) -> tuple[tuple[Party, ...], tuple[Party, ...]]:
        """As messages and the disk have it: empty for those of the beginning."""
        return ((), ()) if voters == self.first else (voters.old, voters.new)

    @property
    def told_at_start(self) -> tuple[tuple[Party, ...], tuple[Party, ...]]:
        """The voters at the end of the snapshot, as a message has them."""
        return self._told(self.configurations[0][1])

    @property
    def last(self) -> int:
        """Index of the last entry."""
        return self.start + len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.start_term

    def term(self, index: int) -> int | None:
        """The term of the entry at `index`; None where it is compacted away or not yet here."""
        if index == self.start:
            return self.start_term
        if self.start < index <= self.last:
            return self.entries[index - self.start - 1].term
        return None

    def at(self, index: int) -> RaftEntry:
        return self.entries[index - self.start - 1]

    def after(self, index: int, most: int) -> tuple[RaftEntry, ...]:
        """Entries after `index`: at most `most`, and about 128 KiB (one at least)."""
        begin = index - self.start
        return _first(self.entries[begin : begin + most])

    def page(self, place: int, most: int) -> tuple[RaftEntry, ...]:
        """Operations of the snapshot from `place` on, as many."""
        return _first(self.history.between(place, min(place + most, self.kept)))

    def append(self, ctx: Ctx, entry: RaftEntry) -> None:
        self._add(entry)
        if entry.op:
            self.ops.add(entry.op)
        ctx.persist(f"log/{self.last}", _encode(entry))

    def truncate(self, ctx: Ctx, last: int) -> None:
        """Forget the entries after `last`: another leader wrote something else there."""
        # From the end, so that a crash on the way leaves a log without a hole.
        for index in range(self.last, last, -1):
            ctx.persist(f"log/{index}", None)
            self.ops.discard(self.entries.pop().op)
        # §6: with its entry a configuration goes, and the one before it holds again.
        while len(self.configurations) > 1 and self.voters_at > last:
            self.configurations.pop()

    def compact(self, ctx: Ctx, index: int, applied: int) -> None:
        """Put all up to `index` into the snapshot; the history reaches to `applied`."""
        if (term := self.term(index)) is None:
            return  # it is in the snapshot already
        tail = self.entries[index - self.start : applied - self.start]
        count = len(self.history) - sum(bool(entry.op) for entry in tail)
        before = [voters for at, voters in self.configurations if at <= index]
        self._snapshot(ctx, index, term, count, before[-1])

    def leave_old(self, ctx: Ctx) -> None:
        """Leave the values of old operations to the record, which was stored before this."""
        for place in self.history.leave_old():
            if place < self.kept:  # a crash leaves the one or the other
                ctx.persist(f"old/{place}", _encode(self.history.stored(place)[1]))
                ctx.persist(f"done/{place}", None)

    def install(
        self, ctx: Ctx, index: int, term: int, new: Sequence[RaftEntry], voters: Voters
    ) -> None:
        """Take another's snapshot (§7), of whose history we lack the last, `new`. Entries after it
        stay where the log agrees with it.

        A crash may fall between any two of the deeds:
        1. Where the log does not agree, its entries go first, from the end. Lost ones are
           replaced by the snapshot, which a majority without us holds: its last entry is
           committed and we lack it. So no committed entry loses its majority.
        2. The operations are stored before the mark that counts them; unmarked they are nothing.
        3. The entries that the mark covers go last: left over, they are below `start` and unread.
        Were the mark stored before 1, entries of an old term would follow it after the crash.
        """
        if self.term(index) != term:
            self.truncate(ctx, self.start)
        self.history.extend(new)
        self._snapshot(ctx, index, term, len(self.history), voters)

    def _snapshot(self, ctx: Ctx, index: int, term: int, count: int, voters: Voters) -> None:
        for place in range(self.kept, count):
            on_record, entry = self.history.stored(place)
            name = "old" if on_record else "done"
            ctx.persist(f"{name}/{place}", _encode(entry))
        self.kept = count
        ctx.persist("snapshot", _encode(Mark(index, term, self.kept, *self._told(voters))))
        for old in range(self.start + 1, min(index, self.last) + 1):
            ctx.persist(f"log/{old}", None)
        self.ops.difference_update(entry.op for entry in self.entries[: index - self.start])
        del self.entries[: index - self.start]
        self.start, self.start_term = index, term
        later = [one for one in self.configurations if one[0] > index]
        self.configurations = [(index, voters), *later]
