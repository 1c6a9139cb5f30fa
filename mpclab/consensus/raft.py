"""`raft`: a leader, its log, and the others who copy it.

D. Ongaro and J. Ousterhout, "In search of an understandable consensus algorithm (extended
version)", 2014: the sections below. Pre-vote, the check of the quorum and the refusal to unseat a
leader, reads, leases: Ongaro's thesis, §9.6, §6.2, §4.2.3 and §6.4.

* Assumes: parties crash and restart with what they stored; nobody lies; links are authenticated.
  Messages may be lost, late, doubled or out of order. n > 2f for progress.
* Guarantees, whatever the timing: at most one leader a term, and one log: no two parties decide
  different operations at one place.
* Progress while a majority is up and delays do not grow without end: election timeouts double
  while nobody answers in time.

Who votes may change, by an operation whose value `changes` the voters (in a session, `voters`):
joint consensus (§6). Its
entry is C_old,new, and counts from the moment that it stands in a log; once it is committed the
leader appends C_new, and a leader that is not in it steps down when that is committed. A party that
does not vote follows as all do, and campaigns only for a C_new that is not committed; the next
change waits for the end of the one before it.

A `Read` takes no entry: see `raft_reads`.

An operation takes 2(n − 1) messages from its leader and one round trip to a majority; a commit
notice tells the others at once. A submit elsewhere is forwarded. An operation stands in the log
once: a leader does not append what its log already holds, and every entry of every log was
appended by a leader.

A liar may stop this protocol or split it; it ends no program. A term that is absurdly far ahead is
refused and blamed, and never stored.

Deviations: heartbeats are messages of their own, which also carry the commit index and uncover
what was lost; a snapshot is the history of operations itself, sent in pages and without what the
follower has (§7 sends an opaque state in chunks); votes and pre-votes that come later than a
timeout still count, as long as our term is the one that they are for; every party is always sent
the log, so that new voters need not catch up first (§6 adds servers as non-voting members).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import Agreement, Read, Readable, Submit
from mpclab.consensus.backlog import Backlog
from mpclab.consensus.options import Options, count, duration, switch
from mpclab.consensus.raft_followers import NOTICE, Followers
from mpclab.consensus.raft_log import RaftLog
from mpclab.consensus.raft_messages import (
    RaftAppendEntries,
    RaftAppendEntriesResponse,
    RaftEntry,
    RaftForward,
    RaftHeartbeat,
    RaftHeartbeatResponse,
    RaftInstallSnapshot,
    RaftReadIndex,
    RaftReadIndexResponse,
    RaftRequestVote,
    RaftRequestVoteResponse,
)
from mpclab.consensus.raft_reads import Rounds, Wanted
from mpclab.consensus.raft_voters import Voters, checked, final, read_final
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

Term = tuple[int, Party]  # current term, and for whom we voted in it (0: nobody)


@dataclass(frozen=True, kw_only=True)
class RaftOptions(Options):
    """The settings of Raft."""

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
    leases: bool = switch(
        False, "answer reads under a lease, without a round; clocks must not differ much in speed"
    )

    @property
    def timeouts(self) -> tuple[int, int]:
        """Least and greatest election timeout, µs."""
        least = self.patience // 4 if self.election_timeout is None else self.election_timeout
        spread = least if self.election_spread is None else self.election_spread
        return least, least + spread


class Raft(Agreement):
    """One server of the group (Fig. 2)."""

    title = "Raft"
    orders = True
    reads = True
    revotes = True
    archives = frozenset({"log", "done", "old"})
    options_type = RaftOptions
    options: RaftOptions

    TRIES: ClassVar = 8
    """Attempts at a submit before we count it as blocked."""
    LEAP: ClassVar = 2**32
    """How far a term may be ahead of ours: more elections than an honest group ever holds."""
    LAST_TERM: ClassVar = 2**53 - 2
    """Beyond, nobody campaigns: the next term could not be said."""
    MOST_BACKOFF: ClassVar = 8
    """How often an election timeout is doubled at most, as a factor."""

    log: RaftLog
    term: int
    """currentTerm (Fig. 2), stored with `vote`."""
    vote: Party
    """votedFor: whom we voted for in `term`; 0 is nobody."""
    commit: int
    """commitIndex: the log up to here is decided."""
    applied: int
    """lastApplied: up to here our user was told."""
    role: str
    """follower, pre-candidate, candidate or leader."""
    leader: Party
    """The leader of `term`, as far as we know; 0 is nobody."""
    followers: Followers | None
    """While we lead: how far the others are."""
    heard_leader: int
    """When we last heard the leader, µs."""
    heard: dict[Party, int]
    """When we last heard each party, µs."""
    votes: set[Party]
    """The parties that vote for us in `term`; `pre_votes`: those that would in the next."""
    pre_votes: set[Party]
    stands: bool
    """We are up for election in `term` since we became its candidate in this life: nobody leads it
    yet, as far as we know, nor have we led it."""
    answers: set[Party]
    """The parties that answered our latest request for votes, either way."""
    backoff: int
    """The factor of our election timeouts."""
    page: list[RaftEntry]
    """What came of a snapshot that is arriving,"""
    page_at: int
    """… from this place on."""
    backlog: Backlog
    unread: dict[str, int]
    """Our user's reads that no leader has answered, and how often we asked."""
    readable: dict[str, int]
    """Those that are answered as soon as so much of the log is applied."""
    known_voters: Voters
    """Those that our user was told of."""

    @classmethod
    def liars(cls, n: int) -> int:
        return 0

    def start(self, ctx: Ctx) -> None:
        o = self.options
        self.election = o.timeouts
        self.heartbeat = self.election[0] // 5 if o.heartbeat is None else o.heartbeat
        self.members = ctx.members
        self.log = RaftLog(ctx.stored, Voters(ctx.members), self._changed, self.recall)
        self.term, self.vote = 0, 0
        if (kept := ctx.stored.get("term")) is not None:
            self.term, self.vote = msgspec.msgpack.decode(kept, type=Term)
        self.commit = self.applied = self.log.start  # the snapshot is decided
        self.role, self.leader, self.followers = "follower", 0, None
        # Under leases whoever comes back may have heard the leader just before it crashed.
        self.heard_leader = ctx.now if o.leases else -self.election[1]
        self.heard = {}
        self.unread, self.readable = {}, {}
        self.votes, self.pre_votes, self.answers = set(), set(), set()
        self.stands = False
        self.backoff = 1
        self.page, self.page_at = [], 0
        self.backlog = Backlog(self.TRIES)
        for entry in self.log.history:
            self.backlog.decide(ctx, entry.op, entry.value)
        self.known_voters = self.log.first
        self._tell_voters(ctx)
        self._wait(ctx)

    # --- elections, §5.2 and §5.4.1 ---------------------------------------------------------

    def _wait(self, ctx: Ctx) -> None:
        """Restart the election timer, with a random timeout (§5.2: splits are rare)."""
        low, high = self.election
        timeout = self.backoff * (low + ctx.rng.randrange(high - low + 1))
        idle = self.role == "follower" and not self.backlog.pending
        ctx.set_timer("election", timeout, background=idle and self.applied == self.log.last)

    def _set_term(self, ctx: Ctx, term: int, vote: Party = 0) -> None:
        """Fig. 2, persistent state: stored before anything is said in a new term."""
        if term != self.term:
            self.votes, self.pre_votes, self.stands = set(), set(), False
        self.term, self.vote = term, vote
        self._keep_term(ctx)

    def _keep_term(self, ctx: Ctx) -> None:
        ctx.persist("term", msgspec.msgpack.encode((self.term, self.vote)))

    def _follow(self, ctx: Ctx, leader: Party) -> None:
        if leader or self.role == "leader":
            # A greater term alone restarts no timer (Fig. 2), or a candidate that cannot win
            # would keep those back who can.
            self._wait(ctx)
        if self.followers is not None:
            ctx.note(notes.SteppedDown(term=self.followers.term))
            self.followers = None
            for timer in ("heartbeat", "commit-notice", "quorum"):
                ctx.cancel_timer(timer)
        if self.role != "follower":
            self.role = "follower"
            ctx.note(notes.Phase(phase=self.role, term=self.term))
        if leader:
            self.pre_votes = set()  # they were for a time without a leader
            # This term has one. Its log may make a majority of votes that were too few (§6), and of
            # those that come late.
            self.stands = False
        if leader and leader != self.leader:
            self.leader = leader
            self._push(ctx)
        self.leader = leader

    def _campaign(self, ctx: Ctx, *, pre: bool) -> None:
        """Become a (pre-)candidate and ask everybody."""
        if self.term > self.LAST_TERM:
            return
        self.role = "pre-candidate" if pre else "candidate"
        self.leader = 0
        if not pre:
            # §5.2: increment the current term, vote for oneself
            self._set_term(ctx, self.term + 1, ctx.me)
            self.stands = True
        ctx.note(notes.Phase(phase=self.role, term=self.term + pre))
        (self.pre_votes if pre else self.votes).add(ctx.me)
        self.answers = {ctx.me}
        self._wait(ctx)
        ask = RaftRequestVote(self.term + pre, self.log.last, self.log.last_term, pre)
        ctx.multicast(ctx.others, ask)
        self._count(ctx)

    def _again(self, ctx: Ctx) -> None:
        """The election timeout passed. When too few answered in it, it is too short."""
        if not self.log.voters.include(ctx.me) and self.log.voters_at <= self.commit:
            # Thesis §4.2.2: one that is left out may have to lead until C_new is committed (nobody
            # else may have it), and does not count its own vote; afterwards it never campaigns.
            self._wait(ctx)
            return
        if self.role != "follower" and not self.log.voters.agree(self.answers):
            self.backoff = min(2 * self.backoff, self.MOST_BACKOFF)
        # The pre-vote comes first each time; a candidate that lost begins again.
        self._campaign(ctx, pre=self.options.prevote)

    def _on_request_vote(self, ctx: Ctx, sender: Party, msg: RaftRequestVote) -> None:
        lease = self.backoff * self.election[0]
        in_lease = self.role == "leader" or ctx.now - self.heard_leader < lease
        if (self.options.prevote or self.options.leases) and in_lease:
            granted = False  # thesis §4.2.3: a follower of a live leader does not help to unseat it
        else:
            if msg.term > self.term and not msg.pre:
                self._newer(ctx, msg.term)
            # §5.2: one vote a term, first come first served. §9.6: a pre-vote binds nobody, and is
            # for a term that we are not in yet.
            free = msg.term > self.term if msg.pre else self.vote in (0, sender)
            # §5.4.1: its log must be at least as up to date as ours
            current = (msg.last_term, msg.last) >= (self.log.last_term, self.log.last)
            granted = msg.term >= self.term and free and current
        if granted and not msg.pre:
            self._set_term(ctx, self.term, sender)
            self._wait(ctx)
        term = msg.term if granted and msg.pre else self.term
        self._answer(ctx, sender, RaftRequestVoteResponse(term, granted, msg.pre))

    def _answer(self, ctx: Ctx, to: Party, msg: RaftRequestVoteResponse) -> None:
        ctx.send(to, msg)

    def _on_vote(self, ctx: Ctx, sender: Party, msg: RaftRequestVoteResponse) -> None:
        if not (msg.pre and msg.granted) and self._newer(ctx, msg.term):
            return
        self.answers.add(sender)
        if self.role in ("follower", "leader") or not msg.granted:
            return
        if msg.term == self.term + msg.pre:
            (self.pre_votes if msg.pre else self.votes).add(sender)
            self._count(ctx)

    def _count(self, ctx: Ctx) -> None:
        """§5.2: a candidate wins with the votes of a majority in its term. Also when it asks for
        pre-votes again by then: the votes are for the term that it still is in."""
        if self.stands and self.log.voters.agree(self.votes):
            self._lead(ctx)
        elif self.role == "pre-candidate" and self.log.voters.agree(self.pre_votes):
            self._campaign(ctx, pre=False)

    def _lead(self, ctx: Ctx) -> None:
        self.role, self.leader = "leader", ctx.me
        self.stands = False  # the votes count once: who steps down needs those of a new term (§5.2)
        ctx.note(notes.BecameLeader(term=self.term))
        ctx.cancel_timer("election")
        rounds = Rounds(ctx.me)
        self.followers = Followers(self.term, self.log, rounds, ctx.others, self.options.batch)
        # §8: an entry of its own term tells the leader what is committed. It is also what makes
        # §5.4.2 harmless: only entries of this term are counted, the older ones come with them.
        self._append(ctx, RaftEntry(self.term, "", b""))
        self._push(ctx)
        ctx.set_timer("heartbeat", self.heartbeat, background=True)
        ctx.set_timer("quorum", self.backoff * self.election[1], background=True)

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
            case Submit(op, value) if self.fits(op, value) and op not in self.backlog.done:
                if not self.backlog.pending:
                    ctx.set_timer("retry", self.election[0], foreground=True)
                self.backlog.add(op, value, own=True)
                self._push(ctx, op)
            case Read(read):
                self.unread[read] = 0
                self._ask_to_read(ctx)

    def _push(self, ctx: Ctx, only: str = "") -> None:
        """Hand our pending operations to the leader, whoever it is now."""
        pending = self.backlog.pending
        for op in [only] if only else list(pending):
            if op not in pending:
                continue  # decided with the one before
            if self.role == "leader":
                self._order(ctx, op, pending[op])
            elif self.leader:
                ctx.send(self.leader, RaftForward(op, pending[op]))
        if not only and self.unread:
            self._ask_to_read(ctx)

    def _order(self, ctx: Ctx, op: str, value: bytes) -> None:
        """As the leader: append an operation that the log does not hold. A change of voters waits
        for the one before it; who wants it asks again."""
        known = op in self.log.ops or op in self.backlog.done
        if not known and not (self._new_voters(value) and self._is_changing):
            self._append(ctx, RaftEntry(self.term, op, value))

    def _retry(self, ctx: Ctx) -> None:
        if self.backlog.pending:
            self.backlog.attempt(ctx, "no leader has committed it")
            self._push(ctx)
            hopeless = self.backlog.is_hopeless
            ctx.set_timer("retry", self.election[0], background=hopeless, foreground=not hopeless)

    # --- replication, §5.3 ------------------------------------------------------------------

    def _append(self, ctx: Ctx, entry: RaftEntry) -> None:
        if self.followers is not None:
            self.log.append(ctx, entry)
            self.followers.replicate(ctx, self.commit)
            self._advance(ctx)

    def _on_append(self, ctx: Ctx, sender: Party, msg: RaftAppendEntries) -> None:
        log = self.log
        if msg.term >= self.term and self._overwrites(msg):
            raise PeerFault("overwrote a decided entry")
        if not self._accept_leader(ctx, sender, msg.term):
            self._reply(ctx, sender, False, log.last)  # 1. Reply false if term < currentTerm
            return
        if msg.prev >= log.start and log.term(msg.prev) != msg.prev_term:
            # 2. Reply false if the log has no entry at prevLogIndex with that term. The hint skips
            # all of a conflicting term at once.
            hint = min(msg.prev - 1, log.last)
            conflict = log.term(msg.prev)
            while hint > self.commit and conflict is not None and log.term(hint) == conflict:
                hint -= 1
            self._reply(ctx, sender, False, hint)
            return
        index = msg.prev
        for entry in msg.entries:
            index += 1
            if index <= log.start or log.term(index) == entry.term:
                continue  # we have it
            if index <= log.last:
                log.truncate(ctx, index - 1)  # 3. A conflict deletes the entry and all after it
            log.append(ctx, entry)  # 4. Append those that are new
        self._reply(ctx, sender, True, max(index, log.start))
        # 5. commitIndex = min(leaderCommit, index of last new entry)
        self._commit(ctx, min(msg.commit, index))

    def _overwrites(self, msg: RaftAppendEntries) -> bool:
        """Whether it contradicts what is committed here: no honest leader does (§5.4.3)."""
        first = max(msg.prev + 1, self.log.start + 1)
        return any(
            self.log.term(index) != msg.entries[index - msg.prev - 1].term
            for index in range(first, min(msg.prev + len(msg.entries), self.commit) + 1)
        )

    def _reply(self, ctx: Ctx, to: Party, ok: bool, index: int) -> None:
        history = len(self.log.history)
        ctx.send(to, RaftAppendEntriesResponse(self.term, ok, index, history))

    def _on_appended(self, ctx: Ctx, peer: Party, msg: RaftAppendEntriesResponse) -> None:
        if self._newer(ctx, msg.term) or self.followers is None or msg.term != self.term:
            return
        if not msg.ok:
            self.followers.refused(ctx, peer, msg, self.commit)
        elif self.followers.accepted(ctx, peer, msg.index, self.commit):
            self._advance(ctx)
            self._tell(ctx)

    def _advance(self, ctx: Ctx) -> None:
        """Commit what a majority holds, if it is of this term (§5.4.2, Fig. 8)."""
        if self.followers is not None:
            index = self.followers.replicated()
            if index > self.commit and self.log.term(index) == self.term:
                self._commit(ctx, index)
                self._tell(ctx)
                self._serve_reads(ctx)  # they may have waited for an entry of this term
                self._go_on_changing(ctx)

    # --- changes of voters, §6 ------------------------------------------------------------------

    def _new_voters(self, value: bytes) -> tuple[Party, ...]:
        """The voters that an operation's value asks for; () where it changes none."""
        return checked(self.changes(value), self.members)

    def _changed(self, entry: RaftEntry, before: Voters) -> Voters:
        """Who votes from an entry on."""
        if not entry.op:
            return Voters(new) if (new := read_final(entry, self.members)) else before
        return self._switch(before, new) if (new := self._new_voters(entry.value)) else before

    def _switch(self, before: Voters, new: tuple[Party, ...]) -> Voters:
        # §6: C_old,new; neither set decides without the other until C_new.
        return before.joint(new)

    @property
    def _is_changing(self) -> bool:
        """A change of voters is not over: C_new is not committed."""
        return bool(self.log.voters.new) or self.log.voters_at > self.commit

    def _tell_voters(self, ctx: Ctx) -> None:
        """Note who votes, as soon as it is committed."""
        voters = self.log.voters_until(self.commit)
        if voters != self.known_voters:
            self.known_voters = voters
            ctx.note(notes.VotersChanged(voters.sets[-1], voters.old if voters.new else ()))

    def _go_on_changing(self, ctx: Ctx) -> None:
        """As the leader, once the latest configuration is committed: C_new after C_old,new; and
        after C_new a leader that is not in it steps down."""
        if self.followers is None or self.log.voters_at > self.commit:
            return
        if voters := self.log.voters.new:
            self._append(ctx, final(self.term, voters))
        elif not self.log.voters.include(ctx.me):
            self._follow(ctx, 0)

    def _tell(self, ctx: Ctx) -> None:
        """Tell the others at once what is committed; in a burst, every other moment."""
        if self.followers is not None and self.followers.tell(ctx, self.commit):
            ctx.set_timer("commit-notice", NOTICE)

    def _commit(self, ctx: Ctx, index: int) -> None:
        self.commit = max(self.commit, min(index, self.log.last))
        while self.applied < self.commit:
            self.applied += 1
            entry = self.log.at(self.applied)
            if entry.op:
                self.log.history.append(entry)
                self._decide(ctx, entry)
        self._tell_voters(ctx)
        self._answer_reads(ctx)
        self.log.leave_old(ctx)
        if self.applied - self.log.start >= self.options.compaction:
            # The last few stay, for followers that are only a little behind.
            self.log.compact(ctx, self.applied - self.options.compaction // 4, self.applied)

    def _decide(self, ctx: Ctx, entry: RaftEntry) -> None:
        self.backlog.decide(ctx, entry.op, entry.value)
        if not self.backlog.pending:
            ctx.cancel_timer("retry")

    # --- heartbeats ---------------------------------------------------------------------------

    def _accept_leader(self, ctx: Ctx, sender: Party, term: int) -> bool:
        """Whether `sender` leads in our term, or a later one that we then follow."""
        if term < self.term:
            return False
        if term > self.term:
            self._set_term(ctx, term)
        elif self.role == "leader":
            raise PeerFault(f"leads term {term}, which we lead")
        if self.backoff > 1 and ctx.now - self.heard_leader < self.election[0]:
            self.backoff -= 1  # it is heard steadily again
        self.heard_leader = ctx.now
        self._follow(ctx, sender)
        return True

    def _on_heartbeat(self, ctx: Ctx, sender: Party, msg: RaftHeartbeat) -> None:
        if self._accept_leader(ctx, sender, msg.term):
            self._commit(ctx, msg.commit)
            ctx.send(sender, RaftHeartbeatResponse(self.term, msg.round))
        else:  # it may lead our term by the time that it hears this: that was none of its rounds
            ctx.send(sender, RaftHeartbeatResponse(self.term))

    def _on_heartbeat_response(self, ctx: Ctx, peer: Party, msg: RaftHeartbeatResponse) -> None:
        if self._newer(ctx, msg.term) or self.followers is None:
            return
        rounds = self.followers.rounds
        if msg.term == self.term and rounds.answer(peer, msg.round, self.log.voters):
            self._serve_reads(ctx)
        self.followers.heard(ctx, peer, self.heartbeat, self.commit)

    # --- reads, thesis §6.4 -------------------------------------------------------------------

    def _ask_to_read(self, ctx: Ctx) -> None:
        """Ask the leader, whoever it is now, how far our user's reads must see."""
        for read in list(self.unread):
            if read not in self.unread:
                continue  # answered with the one before
            self.unread[read] += 1
            if self.unread[read] > 2 * self.TRIES:
                del self.unread[read]  # nobody is told: who reads has time-outs of its own
            elif self.role == "leader":
                self._want_read(ctx, Wanted(ctx.me, read))
            elif self.leader:
                ctx.send(self.leader, RaftReadIndex(read))
        if self.unread:
            ctx.set_timer("read", self.election[0], foreground=True)

    def _want_read(self, ctx: Ctx, wanted: Wanted) -> None:
        """As the leader: find out how far a read must see."""
        if self.followers is not None and wanted not in self.followers.rounds.waiting:
            self.followers.rounds.waiting.append(wanted)
            self._serve_reads(ctx)

    def _serve_reads(self, ctx: Ctx) -> None:
        """Give the reads that wait their index, as far as we know it and that we still lead."""
        if self.followers is None or self.log.term(self.commit) != self.term:
            return  # step 1: an entry of this term is not committed yet
        rounds = self.followers.rounds
        while rounds.under_way or rounds.waiting:
            sure = self._in_lease(ctx)
            if not rounds.under_way:
                if not sure:
                    rounds.begin(ctx.now)
                    self.followers.send_heartbeats(ctx, self.commit)
                rounds.take(self.commit)
            if not (sure or rounds.is_confirmed(self.log.voters)):
                return
            served, rounds.under_way = rounds.under_way, []
            for (by, read), index in served:
                if by == ctx.me:
                    self._can_read(ctx, read, index)
                else:
                    ctx.send(by, RaftReadIndexResponse(read, index))

    def _in_lease(self, ctx: Ctx) -> bool:
        if not self.options.leases or self.followers is None:
            return False
        return ctx.now < self.followers.rounds.lasts(self.election[0])

    def _can_read(self, ctx: Ctx, read: str, index: int) -> None:
        if self.unread.pop(read, None) is not None:
            self.readable[read] = index
            self._answer_reads(ctx)

    def _answer_reads(self, ctx: Ctx) -> None:
        """Steps 4 and 5: answer what is applied."""
        for read, index in list(self.readable.items()):
            if index <= self.applied:
                del self.readable[read]
                ctx.report(Readable(read, len(self.log.history)))

    # --- snapshots, §7 ------------------------------------------------------------------------

    def _on_snapshot(self, ctx: Ctx, sender: Party, msg: RaftInstallSnapshot) -> None:
        if not self._accept_leader(ctx, sender, msg.term):
            return
        log = self.log
        if msg.last <= self.applied:
            self._reply(ctx, sender, True, msg.last)
            return
        have = len(log.history)
        if msg.first <= have:
            self.page, self.page_at = [], msg.first
        if self.page_at + len(self.page) != msg.first:
            return  # a page before this one was lost; the leader will notice
        self.page += msg.history
        if self.page_at + len(self.page) < msg.count:
            return
        lacking, self.page = self.page[have - self.page_at :], []
        old, new = (checked(one, ctx.members) for one in (msg.old, msg.new))
        voters = Voters(old, new) if old else log.first
        log.install(ctx, msg.last, msg.last_term, lacking, voters)
        self.applied = self.commit = msg.last
        for entry in lacking:
            self._decide(ctx, entry)
        self._tell_voters(ctx)
        self._answer_reads(ctx)
        ctx.note(notes.CaughtUp(records=len(lacking), source=sender))
        self._reply(ctx, sender, True, msg.last)

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
        | RaftForward
        | RaftReadIndex
        | RaftReadIndexResponse,
    ) -> None:
        if isinstance(msg, RaftForward):
            if not self.fits(msg.op, msg.value):
                raise PeerFault(f"forwarded an invalid value of {msg.op!r}")
        elif isinstance(msg, RaftReadIndex | RaftReadIndexResponse):
            pass
        elif msg.term > self.term + self.LEAP:
            raise PeerFault(f"term {msg.term} is absurd: ours is {self.term}")
        match msg:
            case RaftAppendEntriesResponse():
                self._on_appended(ctx, sender, msg)
            case RaftAppendEntries():
                self._on_append(ctx, sender, msg)
            case RaftHeartbeatResponse():
                self._on_heartbeat_response(ctx, sender, msg)
            case RaftHeartbeat():
                self._on_heartbeat(ctx, sender, msg)
            case RaftForward(op, value):
                self._order(ctx, op, value)
            case RaftRequestVote():
                self._on_request_vote(ctx, sender, msg)
            case RaftRequestVoteResponse():
                self._on_vote(ctx, sender, msg)
            case RaftInstallSnapshot():
                self._on_snapshot(ctx, sender, msg)
            case RaftReadIndex(read):
                self._want_read(ctx, Wanted(sender, read))
            case RaftReadIndexResponse(read, index):
                self._can_read(ctx, read, index)
        self.heard[sender] = ctx.now
        self.backlog.hear(sender)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "election" if self.role != "leader":
                self._again(ctx)
            case "heartbeat" if self.followers is not None:
                if self.options.leases:
                    self.followers.rounds.begin(ctx.now)
                self.followers.send_heartbeats(ctx, self.commit)
                busy = self.commit < self.log.last
                ctx.set_timer("heartbeat", self.heartbeat, background=not busy)
            case "commit-notice":
                self._tell(ctx)
            case "quorum":
                # Thesis §6.2: a leader that a majority does not hear steps down.
                recent = ctx.now - self.backoff * self.election[1]
                active = {p for p in ctx.others if self.heard.get(p, -1) >= recent}
                if not self.log.voters.agree({ctx.me, *active}):
                    self._follow(ctx, 0)
                else:
                    ctx.set_timer("quorum", self.backoff * self.election[1], background=True)
            case "retry":
                self._retry(ctx)
            case "read":
                self._ask_to_read(ctx)

    # --- lies, for adversaries alone --------------------------------------------------------

    unvaried = (RaftHeartbeatResponse, RaftReadIndex)

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Another value in entries, another place up to which all is decided, the contrary of an
        answer. Nothing in Raft is signed, and it promises nothing against that."""
        match msg:
            case RaftHeartbeat(commit=commit):
                return msgspec.structs.replace(msg, commit=commit - 1 if commit else 1)
            case RaftAppendEntries(entries=entries) if other := _retold(entries, values):
                return msgspec.structs.replace(msg, entries=other)
            case RaftAppendEntries(commit=commit):
                return msgspec.structs.replace(msg, commit=commit - 1 if commit else 1)
            case RaftInstallSnapshot(history=history) if history:
                other = _retold(history, values) or (*history[1:], history[0])
                return msgspec.structs.replace(msg, history=other)
        return super().variant(msg, values)


def _retold(
    entries: tuple[RaftEntry, ...], values: Mapping[bytes, bytes]
) -> tuple[RaftEntry, ...] | None:
    """The entries with the other values; None where they hold none of these."""
    other = tuple(RaftEntry(e.term, e.op, values.get(e.value, e.value)) for e in entries)
    return other if other != entries else None
