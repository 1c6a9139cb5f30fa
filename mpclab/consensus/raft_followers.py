"""The followers as a Raft leader knows them, and the entries for them (Fig. 2: nextIndex,
matchIndex; §5.3, §7)."""

from __future__ import annotations

from dataclasses import dataclass

from mpclab.consensus.raft_log import RaftLog
from mpclab.consensus.raft_messages import (
    RaftAppendEntries,
    RaftAppendEntriesResponse,
    RaftHeartbeat,
    RaftInstallSnapshot,
)
from mpclab.consensus.raft_reads import Rounds
from mpclab.core.errors import PeerFault
from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx

NOTICE = 2 * MS
"""At most one commit notice to a follower in this time, so that a burst is told at once."""


@dataclass(slots=True)
class Progress:
    """How far one follower is, as far as its leader knows."""

    next: int  # index of the next entry to send
    match: int = 0  # up to here its log is known to equal ours
    told: int = 0  # up to here it was told, in this term, what is committed
    sent_at: int = 0  # when it was last sent entries, µs
    told_at: int = -NOTICE  # when it was last told something, µs


class Followers:
    """The followers of one leader in one term.

    Args:
        term: that term.
        log: the leader's.
        rounds: the leader's heartbeat rounds.
        others: the parties that follow, voters or not.
        batch: entries in one message, at most.
    """

    def __init__(
        self, term: int, log: RaftLog, rounds: Rounds, others: tuple[Party, ...], batch: int
    ) -> None:
        self.term = term
        self.rounds = rounds
        self.log = log
        self.batch = batch
        # Fig. 2: nextIndex begins at the leader's last index + 1, matchIndex at 0
        self.of = {p: Progress(log.last + 1) for p in others}

    def replicate(self, ctx: Ctx, commit: int) -> None:
        """Send a new entry to all who have been sent what is before it.

        Optimistic: what is on its way counts as sent. A refusal resets `next`.
        """
        for peer, progress in self.of.items():
            if progress.next == self.log.last:
                self.send(ctx, peer, commit)

    def send(self, ctx: Ctx, peer: Party, commit: int, have: int = 0) -> None:
        """Send the next entries, or the snapshot where they are compacted; `have` is how many
        operations of it the follower holds."""
        progress = self.of[peer]
        prev = progress.next - 1
        term = self.log.term(prev)
        progress.sent_at = ctx.now
        if term is None:
            self._send_snapshot(ctx, peer, have)
            return
        entries = self.log.after(prev, self.batch)
        progress.next = prev + len(entries) + 1
        progress.told = max(progress.told, min(commit, progress.match))
        ctx.send(peer, RaftAppendEntries(self.term, prev, term, entries, commit))

    def _send_snapshot(self, ctx: Ctx, peer: Party, have: int) -> None:
        log = self.log
        first = min(have, log.kept)
        while True:
            page = log.page(first, self.batch)
            ctx.send(
                peer,
                RaftInstallSnapshot(
                    self.term, log.start, log.start_term, first, log.kept, page, *log.told_at_start
                ),
            )
            first += len(page)
            if first >= log.kept:
                break
        self.of[peer].next = log.start + 1

    def refused(self, ctx: Ctx, peer: Party, msg: RaftAppendEntriesResponse, commit: int) -> None:
        """§5.3: decrement nextIndex and try again; the answer says by how much."""
        progress = self.of[peer]
        progress.next = max(progress.match, min(msg.index, self.log.last)) + 1
        self.send(ctx, peer, commit, msg.history)

    def accepted(self, ctx: Ctx, peer: Party, index: int, commit: int) -> bool:
        """The follower's log equals ours up to `index`. False when that is not new.

        Raises:
            PeerFault: we have no such entry.
        """
        progress = self.of[peer]
        if index > self.log.last:
            raise PeerFault(f"confirmed entry {index} of a log that ends at {self.log.last}")
        if index <= progress.match:
            return False
        progress.match = index
        progress.next = max(progress.next, index + 1)
        if progress.next <= self.log.last:
            self.send(ctx, peer, commit)
        return True

    def heard(self, ctx: Ctx, peer: Party, heartbeat: int, commit: int) -> None:
        """A heartbeat was answered: send again what seems to be lost."""
        progress = self.of[peer]
        if progress.match < self.log.last and ctx.now - progress.sent_at >= heartbeat:
            progress.next = progress.match + 1
            self.send(ctx, peer, commit)

    def replicated(self) -> int:
        """The highest index that a majority of the voters holds; of both sets during a change."""
        held = {peer: progress.match for peer, progress in self.of.items()}
        return self.log.voters.reached({**held, self.rounds.me: self.log.last})

    def send_heartbeats(self, ctx: Ctx, commit: int) -> None:
        """A follower is told to commit no further than its log is known to equal ours."""
        for peer in self.of:
            self._tell(ctx, peer, commit)

    def tell(self, ctx: Ctx, commit: int) -> bool:
        """Notices of what is newly committed, to those who do not know; True when there is more
        to tell in a moment."""
        later = False
        for peer, progress in self.of.items():
            if min(commit, progress.match) > progress.told:
                if ctx.now - progress.told_at >= NOTICE:
                    self._tell(ctx, peer, commit)
                else:
                    later = True
        return later

    def _tell(self, ctx: Ctx, peer: Party, commit: int) -> None:
        progress = self.of[peer]
        progress.told = min(commit, progress.match)
        progress.told_at = ctx.now
        ctx.send(peer, RaftHeartbeat(self.term, progress.told, self.rounds.number))
