"""`paxos`: one instance of Paxos for each place of a log, and one leader's phase 1 for all of them.

L. Lamport, "Paxos made simple", ACM SIGACT News 32(4), 2001. §2 is one instance, which chooses one
command (`paxos_synod`); §3 runs a sequence of them, known as Multi-Paxos: what is here. Every party
is proposer, acceptor and learner.

* Assumes: parties crash and restart with what they stored; nobody lies; links are authenticated.
  Messages may be lost, late, doubled or out of order. n > 2f for progress.
* Guarantees, whatever the timing: one log. No two parties learn different commands for one slot.
* Progress while a majority is up and delays do not grow without end: a leader that nobody hears is
  replaced, and who fails to become one waits twice as long before it tries again.

*Phase 1*, once in the life of a leader: it chooses a ballot (a proposal number; no two parties can
have the same) higher than all that it heard of, and has a majority promise to accept nothing under
a lower one. Each tells what it had accepted. In each slot the leader must propose the command of
the highest ballot among these; a slot that nobody told of, below one that somebody did, gets a
no-op. *Phase 2*, once for each command: it is chosen when a majority accepted it under one ballot.

Why it is safe. Let a command be chosen in a slot under ballot b: a majority accepted it. The leader
of the next ballot has promises of a majority, so one party is in both; that party accepted before
it promised (afterwards it would not have), and told. Nothing of a higher ballot stands in that slot
yet, so the new leader proposes the same command again; and so on, for every ballot after b.

A command takes 2(n − 1) messages from its leader and two delays, as few as any protocol can do with
(§3: Paxos is "essentially optimal"); the leader is the distinguished learner of §2.3, and tells the
n − 1 others at once, one delay later. The first command of a leader takes phase 1 before it: two
more delays and 2(n − 1) messages. A request made elsewhere is forwarded.

Deviations. Who leads is not the paper's matter (§2.4: "randomness or real time"): here a leader
sends heartbeats, and a party that hears none for a random time takes a higher ballot; or hears
them, and what it wants is not chosen after 8, 16, 32, … requests. There is no other election, so
whoever was away may take over with a higher ballot, and nothing is lost by it but a phase 1. A
command is a batch of operations. A leader may be `window` slots ahead of what is chosen (§3: α).
Who knows that a slot is chosen answers a prepare request with that alone: the proposer learns the
command from it, by pages, before it leads; so acceptors forget what they accepted in such slots. A
slot above `REACH` waits until its acceptor has caught up.

A liar may stop this protocol or split it; it ends no program. A ballot that is absurdly far ahead
is refused and blamed, and never stored.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mpclab.consensus.agreement import with_values
from mpclab.consensus.decided_log import NOOP, Command
from mpclab.consensus.led_log import LedLog, retold
from mpclab.consensus.paxos_messages import (
    PaxosAccept,
    PaxosAccepted,
    PaxosChosen,
    PaxosLead,
    PaxosLearn,
    PaxosPrepare,
    PaxosPromise,
    PaxosRefused,
    PaxosRequest,
    PaxosVote,
)
from mpclab.consensus.paxos_synod import (
    Acceptor,
    Promises,
    Proposal,
    ballot_above,
    by_slot,
    owner,
    pages,
)
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class Paxos(LedLog):
    """One process: proposer, acceptor and learner."""

    title = "Paxos"
    unvaried = (PaxosLearn,)

    REACH: ClassVar = 256
    """We accept in so many slots beyond those whose commands we know."""
    LEAP: ClassVar = 2**32
    """How far a ballot may be ahead of ours: more than an honest group ever uses."""
    LAST_BALLOT: ClassVar = 2**53 - 1 - 2**10
    """Beyond, nobody takes over: the next ballot could not be said."""

    acceptor: Acceptor
    highest: int
    """The highest ballot that we heard of; its owner is the `leader`."""
    view: int
    """The ballot of the last leader that we heard."""
    role: str
    """follower, candidate or leader."""
    ballot: int
    """Our own last ballot, in this life."""
    promises: dict[Party, Promises]
    """The answers to our prepare request."""
    open: dict[int, Proposal]
    """As the leader: our proposals in slots that are not chosen, or come after such a one."""
    next: int
    """As the leader: the next slot to propose in."""

    def start(self, ctx: Ctx) -> None:
        self.acceptor = Acceptor(ctx.stored)
        self.role, self.view, self.ballot, self.next = "follower", 0, 0, 0
        self.promises, self.open = {}, {}
        self.begin(ctx)
        self.highest = self.acceptor.promised
        if self.highest and owner(self.highest, ctx.n) != ctx.me:
            self.leader = owner(self.highest, ctx.n)
        for slot in [s for s in self.acceptor.votes if s < len(self.log)]:
            self.acceptor.forget(ctx, slot)  # the crash came before
        self.wait(ctx)

    def request(self, op: str, value: bytes) -> Message:
        return PaxosRequest(op, value)

    def question(self, first: int) -> Message:
        return PaxosLearn(first)

    @property
    def leads(self) -> bool:
        return self.role == "leader"

    @property
    def waiting(self) -> list[Command]:
        return [proposal.command for proposal in self.open.values()]

    @property
    def is_settled(self) -> bool:
        return not (self.backlog.pending or self.open or self.acceptor.votes)

    # --- ballots --------------------------------------------------------------------------------

    def _see(self, ctx: Ctx, ballot: int) -> None:
        """There is such a ballot. §2.4: a proposer abandons its own when there is a higher one."""
        if ballot <= self.highest:
            return
        self.highest, self.leader = ballot, owner(ballot, ctx.n)
        if self.role != "follower":
            self.role, self.open = "follower", {}
            ctx.cancel_timer("heartbeat")
            ctx.note(notes.Phase(phase=self.role, view=ballot))
            self.wait(ctx)

    def _hear_leader(self, ctx: Ctx, ballot: int) -> None:
        """The owner of `ballot` has the promises of a majority."""
        self._see(ctx, ballot)
        self.backoff = 1
        self.wait(ctx)
        if ballot > self.view:
            self.view = ballot
            ctx.note(notes.EnteredView(view=ballot))
            self.push(ctx)

    # --- phase 1: "prepare" -------------------------------------------------------------------

    def take_over(self, ctx: Ctx) -> None:
        """Phase 1 (a), §3: for all slots that we do not know, in one message."""
        ballot = ballot_above(self.highest, ctx.me, ctx.n)
        if ballot > self.LAST_BALLOT:
            return
        self.role, self.leader = "candidate", ctx.me
        self.highest = self.ballot = ballot
        self.acceptor.prepare(ctx, ballot)  # stored, so that we never use this number again
        ctx.note(notes.Phase(phase="prepare", view=ballot))
        own = self.acceptor.after(len(self.log))
        kept = Promises(len(self.log), len(own), {vote.slot: vote for vote in own})
        self.promises = {ctx.me: kept}
        self.wait(ctx)
        ctx.multicast(ctx.others, PaxosPrepare(ballot, len(self.log)))
        self._count(ctx)

    def _on_prepare(self, ctx: Ctx, sender: Party, msg: PaxosPrepare) -> None:
        if not self.acceptor.prepare(ctx, msg.ballot):
            ctx.send(sender, PaxosRefused(self.acceptor.promised))
            return
        self._see(ctx, msg.ballot)
        self.wait(ctx)
        votes = self.acceptor.after(msg.first)
        for page in pages(votes):
            ctx.send(sender, PaxosPromise(msg.ballot, len(self.log), len(votes), page))

    def _on_promise(self, ctx: Ctx, sender: Party, msg: PaxosPromise) -> None:
        for vote in msg.votes:
            self.check(vote.command)  # or we would propose it, and be blamed
        last = max((vote.slot for vote in msg.votes), default=-1)
        if msg.count > self.REACH or last >= msg.chosen + self.REACH:
            raise PeerFault("accepted in slots far beyond those that it knows")
        if self.role == "candidate" and msg.ballot == self.ballot:
            promises = self.promises.setdefault(sender, Promises(msg.chosen, msg.count))
            if not promises.are_complete:
                promises.add(msg.chosen, msg.count, msg.votes)
            self._count(ctx)

    def _count(self, ctx: Ctx) -> None:
        """Lead with the promises of a majority; but learn first what one of these knows."""
        promised = {p: one for p, one in self.promises.items() if one.are_complete}
        if len(promised) < self.quorum:
            return
        ahead = max(promised, key=lambda p: (promised[p].chosen, p))
        if promised[ahead].chosen > len(self.log):
            self.learn_from(ctx, ahead)
            return
        self._lead(ctx, by_slot(promised.values(), len(self.log)))

    # --- phase 2: "accept" --------------------------------------------------------------------

    def _lead(self, ctx: Ctx, reported: Mapping[int, Sequence[PaxosVote]]) -> None:
        """§3: a new leader proposes what it must, fills the gaps, and goes on."""
        self.role, self.view, self.backoff = "leader", self.ballot, 1
        ctx.note(notes.BecameLeader(view=self.ballot))
        ctx.cancel_timer("election")
        self.next = max(reported, default=len(self.log) - 1) + 1
        for slot in range(len(self.log), self.next):
            self._offer(ctx, slot, self.command_for(reported.get(slot, ())))
        self.propose(ctx)
        if not self.open:  # otherwise they hear of us by that
            ctx.multicast(ctx.others, PaxosLead(self.ballot, len(self.log)))
        ctx.set_timer("heartbeat", self.options.beat, background=True)

    def command_for(self, votes: Sequence[PaxosVote]) -> Command:
        """Phase 2 (a): "the value of the highest-numbered proposal among the responses"; where
        there is none a no-op, since a later slot is taken (§3)."""
        return max(votes, key=lambda vote: vote.ballot).command if votes else NOOP

    def propose(self, ctx: Ctx) -> None:
        """As the leader: what is pending, α slots ahead at most."""
        while self.leads and self.next < len(self.log) + self.options.window:
            if not (command := self.new_command()):
                return
            self._offer(ctx, self.next, command)
            self.next += 1

    def _offer(self, ctx: Ctx, slot: int, command: Command) -> None:
        self.open[slot] = Proposal(command)
        ctx.broadcast(PaxosAccept(self.ballot, slot, command))
        self.watch(ctx)

    def _on_accept(self, ctx: Ctx, sender: Party, msg: PaxosAccept) -> None:
        self.check(msg.command)
        if msg.ballot < self.acceptor.promised:
            ctx.send(sender, PaxosRefused(self.acceptor.promised))
            return
        if sender != ctx.me:
            self._hear_leader(ctx, msg.ballot)
        if msg.slot >= len(self.log) + self.REACH:
            self.learn_from(ctx, sender)
            return
        if msg.slot >= len(self.log):  # before that it is chosen, and the same
            self.acceptor.accept(ctx, msg.ballot, msg.slot, msg.command)
        ctx.send(sender, PaxosAccepted(msg.ballot, msg.slot))

    def _on_accepted(self, ctx: Ctx, sender: Party, msg: PaxosAccepted) -> None:
        if self.role != "leader" or msg.ballot != self.ballot or msg.slot not in self.open:
            return
        self.open[msg.slot].accepts.add(sender)
        before = len(self.log)
        while (proposal := self.open.get(len(self.log))) is not None:
            if len(proposal.accepts) < self.quorum:
                break
            del self.open[len(self.log)]
            self._learn(ctx, proposal.command)
        if len(self.log) > before:
            ctx.multicast(ctx.others, PaxosLead(self.ballot, len(self.log)))
            self.propose(ctx)

    # --- learning, §2.3 ------------------------------------------------------------------------

    def _learn(self, ctx: Ctx, command: Command) -> None:
        """The command of the next slot is chosen."""
        slot = len(self.log)
        self.log.add(ctx, command)
        self.acceptor.forget(ctx, slot)
        self.decide(ctx, command)

    def _on_lead(self, ctx: Ctx, sender: Party, msg: PaxosLead) -> None:
        if msg.ballot < self.acceptor.promised:
            ctx.send(sender, PaxosRefused(self.acceptor.promised))
            return
        self._hear_leader(ctx, msg.ballot)
        while len(self.log) < msg.chosen:
            vote = self.acceptor.votes.get(len(self.log))
            if vote is None or vote.ballot != msg.ballot:
                self.learn_from(ctx, sender)  # what we accepted of others may not be chosen
                return
            self._learn(ctx, vote.command)

    def _on_chosen(self, ctx: Ctx, sender: Party, msg: PaxosChosen) -> None:
        for command in msg.commands:
            self.check(command)
        # A leader knows what was chosen before its ballot; what came after, under a higher one, it
        # must not tell under its own.
        if self.role == "leader" or not msg.first <= len(self.log):
            return
        new = msg.commands[len(self.log) - msg.first :]
        for command in new:
            self._learn(ctx, command)
        if new:
            ctx.note(notes.CaughtUp(records=len(new), source=sender))
            if len(self.log) < msg.chosen:
                self.learn_from(ctx, sender)
            if self.role == "candidate":
                self._count(ctx)

    def _on_learn(self, ctx: Ctx, sender: Party, msg: PaxosLearn) -> None:
        if commands := self.log.page(msg.first):
            ctx.send(sender, PaxosChosen(msg.first, commands, len(self.log)))

    # --- messages -----------------------------------------------------------------------------

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: PaxosRequest
        | PaxosPrepare
        | PaxosPromise
        | PaxosAccept
        | PaxosAccepted
        | PaxosRefused
        | PaxosLead
        | PaxosLearn
        | PaxosChosen,
    ) -> None:
        match msg:
            case PaxosPrepare(ballot) | PaxosAccept(ballot) | PaxosLead(ballot):
                if owner(ballot, ctx.n) != sender:
                    raise PeerFault(f"used ballot {ballot}, which is another party's")
                self._is_near(ballot)
            case PaxosRefused(ballot):
                self._is_near(ballot)
        match msg:
            case PaxosAccepted():
                self._on_accepted(ctx, sender, msg)
            case PaxosAccept():
                self._on_accept(ctx, sender, msg)
            case PaxosLead():
                self._on_lead(ctx, sender, msg)
            case PaxosRequest():
                self.take_request(ctx, msg.op, msg.value)
            case PaxosPrepare():
                self._on_prepare(ctx, sender, msg)
            case PaxosPromise():
                self._on_promise(ctx, sender, msg)
            case PaxosRefused(ballot):
                self._see(ctx, ballot)
            case PaxosLearn():
                self._on_learn(ctx, sender, msg)
            case PaxosChosen():
                self._on_chosen(ctx, sender, msg)
        self.backlog.hear(sender)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "election" if self.role != "leader":
                if self.role == "candidate":
                    self.wait_longer()
                self.take_over(ctx)
            case "heartbeat" if self.role == "leader":
                ctx.multicast(ctx.others, PaxosLead(self.ballot, len(self.log)))
                ctx.set_timer("heartbeat", self.options.beat, background=True)
            case "retry":
                self.retry(ctx)

    def say_again(self, ctx: Ctx) -> None:
        """What may have been lost; also to those who answered, so that we hear who is there."""
        match self.role:
            case "candidate":
                first = self.promises[ctx.me].chosen
                ctx.multicast(ctx.others, PaxosPrepare(self.ballot, first))
            case "leader":
                for slot, proposal in self.open.items():
                    ctx.multicast(ctx.others, PaxosAccept(self.ballot, slot, proposal.command))
            case "follower":
                self.push_again(ctx)

    def _is_near(self, ballot: int) -> None:
        if ballot > self.highest + self.LEAP:
            raise PeerFault(f"ballot {ballot} is absurd: the highest was {self.highest}")

    # --- lies, for adversaries alone --------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Another value in commands, another place up to which all is chosen, promises that leave
        out what was accepted. Nothing here is signed, and it promises nothing against that."""
        match msg:
            case PaxosLead(ballot, chosen):
                return PaxosLead(ballot, chosen - 1 if chosen else 1)
            case PaxosAccept(ballot, slot, command) if command:
                return PaxosAccept(ballot, slot, retold(command, values))
            case PaxosPromise(ballot, chosen, votes=votes) if votes:
                return PaxosPromise(ballot, chosen, 0, ())
            case PaxosChosen(first, commands, chosen):
                told = tuple(retold(command, values) for command in commands)
                return PaxosChosen(first, told, chosen)
            case PaxosRequest():
                return with_values(msg, values)
        return None
