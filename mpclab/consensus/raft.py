"""`raft`: a leader, its log, and the others who copy it.

D. Ongaro and J. Ousterhout, "In search of an understandable consensus algorithm (extended
version)", 2014: the sections below. Pre-vote and the check of the quorum: Ongaro's thesis,
§9.6 and §6.2.

* Assumes: parties crash and restart with what they stored; nobody lies; links are authenticated.
  Messages may be lost, late, doubled or out of order. n > 2f for progress.
* Guarantees, whatever the timing: at most one leader a term, and one log: no two parties decide
  different operations at one place.
* Progress while a majority is up and a message is much quicker than an election timeout.

An operation takes 2(n − 1) messages from its leader and one round trip to a majority; the others
learn of the commit with the next message from the leader. A submit elsewhere is forwarded. An
operation stands in the log once: a leader does not append what its log already holds, and every
entry of every log was appended by a leader.

Deviations: heartbeats are messages of their own, which also carry the commit index and uncover
what was lost; a snapshot is the history of operations itself, sent in pages and without what the
follower has (§7 sends an opaque state in chunks).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import Agreement, Decided, Submit
from mpclab.consensus.options import Options, count, duration, switch
from mpclab.consensus.quorum import majority
from mpclab.consensus.raft_log import RaftEntry, RaftLog
from mpclab.consensus.raft_messages import (
    RaftAppendEntries,
    RaftAppendEntriesResponse,
    RaftForward,
    RaftHeartbeat,
    RaftHeartbeatResponse,
    RaftInstallSnapshot,
    RaftRequestVote,
    RaftRequestVoteResponse,
)
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx


@dataclass(frozen=True, kw_only=True)
class RaftOptions(Options):
    """What a user may set of Raft."""

    election_timeout: int | None = duration(
        None, "the least election timeout; a quarter of the patience unless set"
    )
    election_spread: int | None = duration(
        None, "how much a random draw adds to it; as much again unless set", least=0
    )
    heartbeat: int | None = duration(
        None, "between two heartbeats; a fifth of the election timeout unless set"
    )
    prevote: bool = switch(True, "ask before a candidacy, and stay with a leader that is heard")
    compaction: int = count(64, "applied entries in a log before they are a snapshot", most=1 << 20)
    batch: int = count(32, "entries in one message, at most", most=1024)

    @property
    def timeouts(self) -> tuple[int, int]:
        """Least and greatest election timeout, µs."""
        least = self.patience // 4 if self.election_timeout is None else self.election_timeout
        spread = least if self.election_spread is None else self.election_spread
        return least, least + spread


Term = tuple[int, Party]  # current term, and for whom we voted in it (0: nobody)


class Raft(Agreement):
    """One server of the group (Fig. 2)."""

    title = "Raft"
    options_type = RaftOptions
    options: RaftOptions

    TRIES: ClassVar = 8
    """Attempts at a submit before we count it as blocked."""

    @classmethod
    def liars(cls, n: int) -> int:
        return 0

    def start(self, ctx: Ctx) -> None:
        o = self.options
        self.election = o.timeouts
        self.heartbeat = self.election[0] // 5 if o.heartbeat is None else o.heartbeat
        self.log = RaftLog(ctx.stored)
        self.term: int = 0
        self.vote: Party = 0
        if (kept := ctx.stored.get("term")) is not None:
            self.term, self.vote = msgspec.msgpack.decode(kept, type=Term)
        self.commit = self.applied = self.log.start  # the snapshot is decided
        self.role = "follower"
        self.leader: Party = 0
        self.heard_leader = -self.election[1]  # when
        self.heard: dict[Party, int] = {}  # when we last heard anybody
        self.votes: set[Party] = set()
        self.next: dict[Party, int] = {}
        self.match: dict[Party, int] = {}
        self.sent_at: dict[Party, int] = {}
        self.page: list[RaftEntry] = []  # of a snapshot that is arriving
        self.pending: dict[str, bytes] = {}  # our own submits, until decided
        self.tries: dict[str, int] = {}
        self.done: set[str] = set()
        for place, entry in enumerate(self.log.history):
            self._decide(ctx, place, entry)
        self._wait(ctx)

    # --- elections, §5.2 and §5.4.1 ---------------------------------------------------------

    def _wait(self, ctx: Ctx) -> None:
        """Restart the election timer, with a random timeout (§5.2: splits are rare)."""
        low, high = self.election
        idle = self.role == "follower" and not self.pending and self.applied == self.log.last
        ctx.set_timer("election", low + ctx.rng.randrange(high - low + 1), background=idle)

    def _set_term(self, ctx: Ctx, term: int, vote: Party = 0) -> None:
        """A new term: stored before anything is said in it."""
        self.term, self.vote = term, vote
        self._keep_term(ctx)

    def _keep_term(self, ctx: Ctx) -> None:
        ctx.persist("term", msgspec.msgpack.encode((self.term, self.vote)))

    def _follow(self, ctx: Ctx, leader: Party) -> None:
        if leader or self.role == "leader":
            # A greater term alone restarts no timer (Fig. 2), or a candidate that cannot win
            # would keep those back who can.
            self._wait(ctx)
        if self.role == "leader":
            ctx.cancel_timer("heartbeat")
            ctx.cancel_timer("commit-notice")
            ctx.cancel_timer("quorum")
        if self.role != "follower":
            self.role = "follower"
            ctx.note(notes.Phase(phase=self.role, term=self.term))
        if leader and leader != self.leader:
            self.leader = leader
            self._push(ctx)
        self.leader = leader

    def _campaign(self, ctx: Ctx, *, pre: bool) -> None:
        """Become a (pre-)candidate and ask everybody."""
        self.role = "pre-candidate" if pre else "candidate"
        self.leader = 0
        if not pre:
            self._set_term(ctx, self.term + 1, ctx.me)
        ctx.note(notes.Phase(phase=self.role, term=self.term + pre))
        self.votes = {ctx.me}
        self._wait(ctx)
        ask = RaftRequestVote(self.term + pre, self.log.last, self.log.last_term, pre)
        ctx.multicast(ctx.others, ask)
        self._count(ctx)

    def _on_request(self, ctx: Ctx, sender: Party, msg: RaftRequestVote) -> None:
        in_lease = self.options.prevote and ctx.now - self.heard_leader < self.election[0]
        if in_lease or (self.role == "leader" and self.options.prevote):
            # Thesis §4.2.3: who hears a leader does not help to unseat it.
            granted = False
        else:
            if msg.term > self.term and not msg.pre:
                self._set_term(ctx, msg.term)
                self._follow(ctx, 0)
            free = msg.pre or self.vote in (0, sender)
            # §5.4.1: its log must be at least as up to date as ours
            current = (msg.last_term, msg.last) >= (self.log.last_term, self.log.last)
            granted = msg.term >= self.term and free and current
            if msg.pre and msg.term == self.term:
                granted = False  # it would campaign in a term that we are in already
        if granted and not msg.pre:
            self._set_term(ctx, self.term, sender)
            self._wait(ctx)
        term = msg.term if granted and msg.pre else self.term
        self._answer(ctx, sender, RaftRequestVoteResponse(term, granted, msg.pre))

    def _answer(self, ctx: Ctx, to: Party, msg: RaftRequestVoteResponse) -> None:
        ctx.send(to, msg)

    def _on_voted(self, ctx: Ctx, sender: Party, msg: RaftRequestVoteResponse) -> None:
        if msg.pre and msg.granted:
            current = self.role == "pre-candidate" and msg.term == self.term + 1
        else:
            if self._newer(ctx, msg.term):
                return
            current = self.role == "candidate" and msg.term == self.term and not msg.pre
        if current and msg.granted:
            self.votes.add(sender)
            self._count(ctx)

    def _count(self, ctx: Ctx) -> None:
        if len(self.votes) < majority(ctx.n):
            return
        if self.role == "pre-candidate":
            self._campaign(ctx, pre=False)
            return
        self.role = "leader"
        self.leader = ctx.me
        ctx.note(notes.BecameLeader(term=self.term))
        ctx.cancel_timer("election")
        self.next = dict.fromkeys(ctx.others, self.log.last + 1)
        self.match = dict.fromkeys(ctx.others, 0)
        self.sent_at = dict.fromkeys(ctx.others, 0)
        # §8: an entry of its own term tells the leader what is committed. It is also what makes
        # §5.4.2 harmless: only entries of this term are counted, the older ones come with them.
        self._append(ctx, RaftEntry(self.term, "", b""))
        self._push(ctx)
        ctx.set_timer("heartbeat", self.heartbeat, background=True)
        ctx.set_timer("quorum", self.election[1], background=True)

    def _newer(self, ctx: Ctx, term: int) -> bool:
        """Fig. 2, all servers: a greater term makes us a follower in it."""
        if term > self.term:
            self._set_term(ctx, term)
            self._follow(ctx, 0)
            return True
        return False

    # --- submitting -------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if self.fits(op, value) and op not in self.done:
                if not self.pending:
                    ctx.set_timer("retry", self.election[0])
                self.pending[op] = value
                self._push(ctx, op)

    def _push(self, ctx: Ctx, only: str = "") -> None:
        """Hand our pending operations to the leader, whoever it is now."""
        for op in [only] if only else list(self.pending):
            if self.role == "leader":
                if op not in self.log.ops:
                    self._append(ctx, RaftEntry(self.term, op, self.pending[op]))
            elif self.leader:
                ctx.send(self.leader, RaftForward(op, self.pending[op]))

    def _retry(self, ctx: Ctx) -> None:
        for op in self.pending:
            self.tries[op] = tries = self.tries.get(op, 0) + 1
            if tries == self.TRIES:
                recent = ctx.now - 2 * self.election[1]
                missing = [p for p in ctx.others if self.heard.get(p, -1) < recent]
                why = "not enough parties are heard" if missing else "no leader has committed it"
                ctx.note(notes.Blocked(op=op, waiting_for=tuple(missing), why=why))
        if self.pending:
            self._push(ctx)
            hopeless = min(self.tries.values()) >= 4 * self.TRIES
            ctx.set_timer("retry", self.election[0], background=hopeless)

    # --- replication, §5.3 ------------------------------------------------------------------

    def _append(self, ctx: Ctx, entry: RaftEntry) -> None:
        self.log.append(ctx, entry)
        for peer in ctx.others:
            # Optimistic: what is on its way counts as sent. A failure resets `next`.
            if self.next[peer] == self.log.last:
                self._send_entries(ctx, peer)
        self._advance(ctx)

    def _send_entries(self, ctx: Ctx, peer: Party) -> None:
        prev = self.next[peer] - 1
        term = self.log.term(prev)
        self.sent_at[peer] = ctx.now
        if term is None:
            self._send_snapshot(ctx, peer, 0)
            return
        entries = self.log.after(prev, self.options.batch)
        self.next[peer] = prev + len(entries) + 1
        ctx.send(peer, RaftAppendEntries(self.term, prev, term, entries, self.commit))

    def _on_append(self, ctx: Ctx, sender: Party, msg: RaftAppendEntries) -> None:
        log = self.log
        if not self._accept_leader(ctx, sender, msg.term):
            ctx.send(
                sender, RaftAppendEntriesResponse(self.term, False, log.last, len(log.history))
            )
            return
        if log.term(msg.prev) != msg.prev_term and msg.prev >= log.start:
            # §5.3: refused. The hint skips all of a conflicting term at once.
            hint = min(msg.prev - 1, log.last)
            conflict = log.term(msg.prev)
            while hint > self.commit and conflict is not None and log.term(hint) == conflict:
                hint -= 1
            ctx.send(sender, RaftAppendEntriesResponse(self.term, False, hint, len(log.history)))
            return
        index = msg.prev
        for entry in msg.entries:
            index += 1
            if index <= log.start or log.term(index) == entry.term:
                continue  # we have it
            if index <= log.last:
                if index <= self.commit:
                    raise PeerFault("wrote over what is decided")
                log.truncate(ctx, index - 1)
            log.append(ctx, entry)
        ctx.send(
            sender,
            RaftAppendEntriesResponse(self.term, True, max(index, log.start), len(log.history)),
        )
        self._commit(ctx, min(msg.commit, index))

    def _on_appended(self, ctx: Ctx, peer: Party, msg: RaftAppendEntriesResponse) -> None:
        if self._newer(ctx, msg.term) or self.role != "leader" or msg.term != self.term:
            return
        if not msg.ok:
            self.next[peer] = max(self.match[peer], min(msg.index, self.log.last)) + 1
            if self.log.term(self.next[peer] - 1) is None:
                self._send_snapshot(ctx, peer, msg.history)
            else:
                self._send_entries(ctx, peer)
        elif msg.index > self.match[peer]:
            self.match[peer] = msg.index
            self.next[peer] = max(self.next[peer], msg.index + 1)
            if self.next[peer] <= self.log.last:
                self._send_entries(ctx, peer)
            self._advance(ctx)
            if self.commit >= msg.index:
                ctx.set_timer("commit-notice", self.heartbeat // 2)  # it may not know yet

    def _advance(self, ctx: Ctx) -> None:
        """Commit what a majority holds, if it is of this term (§5.4.2, Fig. 8)."""
        held = sorted([self.log.last, *self.match.values()], reverse=True)
        index = held[majority(ctx.n) - 1]
        if index > self.commit and self.log.term(index) == self.term:
            self._commit(ctx, index)
            ctx.set_timer("commit-notice", self.heartbeat // 2)  # the others want to know

    def _commit(self, ctx: Ctx, index: int) -> None:
        self.commit = max(self.commit, min(index, self.log.last))
        while self.applied < self.commit:
            self.applied += 1
            entry = self.log.at(self.applied)
            if entry.op:
                self.log.history.append(entry)
                self._decide(ctx, len(self.log.history) - 1, entry)
        if self.applied - self.log.start >= self.options.compaction:
            # The last few stay, for followers that are only a little behind.
            self.log.compact(ctx, self.applied - self.options.compaction // 4, self.applied)

    def _decide(self, ctx: Ctx, place: int, entry: RaftEntry) -> None:
        if self.pending.pop(entry.op, None) is not None and not self.pending:
            ctx.cancel_timer("retry")
        self.tries.pop(entry.op, None)
        self.done.add(entry.op)
        ctx.note(notes.Decided(op=entry.op, index=place))
        ctx.output(Decided(entry.op, entry.value, place))

    # --- heartbeats ---------------------------------------------------------------------------

    def _accept_leader(self, ctx: Ctx, sender: Party, term: int) -> bool:
        """Whether `sender` leads in our term, or a later one that we then follow."""
        if term < self.term:
            return False
        if term > self.term:
            self._set_term(ctx, term)
        elif self.role == "leader":
            raise PeerFault(f"leads term {term}, which we lead")
        self.heard_leader = ctx.now
        self._follow(ctx, sender)
        return True

    def _on_heartbeat(self, ctx: Ctx, sender: Party, msg: RaftHeartbeat) -> None:
        if self._accept_leader(ctx, sender, msg.term):
            self._commit(ctx, msg.commit)
        ctx.send(sender, RaftHeartbeatResponse(self.term))

    def _on_heartbeat_reply(self, ctx: Ctx, peer: Party, msg: RaftHeartbeatResponse) -> None:
        if self._newer(ctx, msg.term) or self.role != "leader":
            return
        late = ctx.now - self.sent_at[peer] >= self.heartbeat
        if self.match[peer] < self.log.last and late:  # something was lost
            self.next[peer] = self.match[peer] + 1
            self._send_entries(ctx, peer)

    def _send_heartbeats(self, ctx: Ctx) -> None:
        # A follower is told to commit no further than its log is known to equal ours.
        for peer in ctx.others:
            ctx.send(peer, RaftHeartbeat(self.term, min(self.commit, self.match[peer])))

    # --- snapshots, §7 ------------------------------------------------------------------------

    def _send_snapshot(self, ctx: Ctx, peer: Party, have: int) -> None:
        """What `peer` lacks of the snapshot's history (it holds the first `have` operations)."""
        log = self.log
        first = min(have, log.kept)
        while True:
            page = log.page(first, self.options.batch)
            ctx.send(
                peer,
                RaftInstallSnapshot(self.term, log.start, log.start_term, first, log.kept, page),
            )
            first += len(page)
            if first >= log.kept:
                break
        self.next[peer] = log.start + 1

    def _on_snapshot(self, ctx: Ctx, sender: Party, msg: RaftInstallSnapshot) -> None:
        if not self._accept_leader(ctx, sender, msg.term):
            return
        log = self.log
        if msg.last <= self.applied:
            ctx.send(sender, RaftAppendEntriesResponse(self.term, True, msg.last, len(log.history)))
            return
        have = len(log.history)
        if msg.first <= have:
            self.page = list(log.history[: msg.first])
        if len(self.page) != msg.first:
            return  # a page before this one was lost; the leader will notice
        self.page += msg.history
        if len(self.page) < msg.count:
            return
        history, self.page = self.page, []
        log.install(ctx, msg.last, msg.last_term, history)
        self.applied = self.commit = msg.last
        for place in range(have, len(history)):
            self._decide(ctx, place, history[place])
        ctx.note(notes.CaughtUp(records=len(history) - have, source=sender))
        ctx.send(sender, RaftAppendEntriesResponse(self.term, True, msg.last, len(history)))

    # --- inputs -------------------------------------------------------------------------------

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: RaftRequestVote
        | RaftRequestVoteResponse
        | RaftAppendEntries
        | RaftAppendEntriesResponse
        | RaftHeartbeat
        | RaftHeartbeatResponse
        | RaftInstallSnapshot
        | RaftForward,
    ) -> None:
        self.heard[sender] = ctx.now
        match msg:
            case RaftAppendEntriesResponse():
                self._on_appended(ctx, sender, msg)
            case RaftAppendEntries():
                self._on_append(ctx, sender, msg)
            case RaftHeartbeatResponse():
                self._on_heartbeat_reply(ctx, sender, msg)
            case RaftHeartbeat():
                self._on_heartbeat(ctx, sender, msg)
            case RaftForward(op, value):
                if not self.fits(op, value):
                    raise PeerFault(f"forwarded a value of {op} that is not valid")
                if self.role == "leader" and op not in self.log.ops:
                    self._append(ctx, RaftEntry(self.term, op, value))
            case RaftRequestVote():
                self._on_request(ctx, sender, msg)
            case RaftRequestVoteResponse():
                self._on_voted(ctx, sender, msg)
            case RaftInstallSnapshot():
                self._on_snapshot(ctx, sender, msg)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "election":
                if self.role != "leader":
                    # The pre-vote comes first each time; a candidate that lost begins again.
                    self._campaign(ctx, pre=self.options.prevote)
            case "heartbeat":
                self._send_heartbeats(ctx)
                busy = self.commit < self.log.last
                ctx.set_timer("heartbeat", self.heartbeat, background=not busy)
            case "commit-notice":
                self._send_heartbeats(ctx)
            case "quorum":
                # Thesis §6.2: a leader that a majority does not hear is none.
                recent = ctx.now - self.election[1]
                active = sum(self.heard.get(p, -1) >= recent for p in ctx.others)
                if active + 1 < majority(ctx.n):
                    self._follow(ctx, 0)
                else:
                    ctx.set_timer("quorum", self.election[1], background=True)
            case "retry":
                self._retry(ctx)
