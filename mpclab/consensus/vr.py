"""`vr`: a primary for each view orders what is wanted, and the others take over view by view.

B. Liskov and J. Cowling, "Viewstamped Replication revisited", MIT-CSAIL-TR-2012-021: the sections
below; its messages and variables by their names. The protocol is B. Oki's and B. Liskov's of 1988,
older than Paxos and Raft.

* Assumes: parties crash and restart with what they stored; nobody lies; links are authenticated.
  Messages may be lost, late, doubled or out of order. n > 2f for progress (the paper's n is
  2f + 1; a quorum of f + 1 is a majority here, also of an even n).
* Guarantees, whatever the timing: one log. No two parties decide different commands at one place.
* Progress while a majority is up and delays do not grow without end: timeouts double while views
  change in vain.

*Normal operation*, §4.1. The primary of view v is party v mod n + 1: there is no election. It gives
a command the next op-number and sends PREPARE; a backup that has all before it adds it to its log
and answers PREPAREOK; with f of these, all up to there is committed. *View change*, §4.2. Who does
not hear the primary sends STARTVIEWCHANGE; with f + 1 for one view, its own among them, a party
sends the next primary its log, DOVIEWCHANGE. With f + 1 of these the new primary takes the log of
the latest view in which its sender's status was *normal*, the longest of these, and sends it to
all: STARTVIEW.

Why it is safe. What was committed in view v is in f + 1 logs of view v. Of f + 1 DOVIEWCHANGEs for
the next view one is from such a party, which sent it after its PREPAREOK (afterwards it would not
have accepted in view v). Its log is of view v or a later one that began with all this, and none of
an earlier view is preferred to it, however long: an old primary that was cut off may have written
much that nobody else has. So "the latest normal view" is all that stands against two logs.

A command takes 2(n − 1) messages from the primary and two delays; COMMIT tells the n − 1 others one
delay later. A view change takes (n − 1)² + 2n − 3 messages and three delays: STARTVIEWCHANGE of all
who are left to all, DOVIEWCHANGE of each, STARTVIEW. A request made elsewhere is forwarded.

Deviations. *A disk* instead of the recovery protocol of §4.3: the paper's replicas store nothing,
come back with nothing and ask f + 1 others, so that more than f crashes at one time lose the log.
Here the view, the last normal view and each entry are stored before the message that tells of
them, so who comes back is one that was slow, and all may crash; one that lost its store must not
come back. *Logs travel from the commit-number on* (§5.3); what lies before is fetched by state
transfer (§5.2), by a new primary before it begins its view. COMMIT is sent at once, and also is the
heartbeat. A command is a batch of operations, and a primary is at most `window` places and about
1 MiB ahead of what is committed. A backup keeps PREPAREs that come too early. A view is left also
when its primary is heard and what one wants is not committed after 8, 16, 32, … requests.

A liar may stop this protocol or split it; it ends no program. A view that is absurdly far ahead is
refused and blamed, and never stored.
"""

from collections.abc import Mapping

from mpclab.consensus.agreement import with_values
from mpclab.consensus.decided_log import size_of
from mpclab.consensus.led_log import retold
from mpclab.consensus.vr_base import VrBase
from mpclab.consensus.vr_messages import (
    VrCommit,
    VrDoViewChange,
    VrGetState,
    VrNewState,
    VrPrepare,
    VrPrepareOk,
    VrRequest,
    VrStartView,
    VrStartViewChange,
)
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class ViewstampedReplication(VrBase):
    """One replica."""

    # --- normal operation, §4.1 -----------------------------------------------------------------

    def propose(self, ctx: Ctx) -> None:
        """Step 2: "the primary advances op-number, adds the request to the end of the log"."""
        while self.leads and len(self.entries) < self.options.window:
            command = self.new_command()
            size = sum(map(size_of, self.entries))
            if not command or (size and size + size_of(command) > self.OPEN_BYTES):
                return
            self.append(ctx, command)  # stored first: no number is given twice
            ctx.multicast(ctx.others, VrPrepare(self.view, self.number, command, self.commit))
            self.watch(ctx)
            self._count_acks(ctx)

    def _on_prepare(self, ctx: Ctx, sender: Party, msg: VrPrepare) -> None:
        """Step 3: a backup "won't accept a prepare with op-number n until it has entries for all
        earlier requests in its log"."""
        self.check(msg.command)
        if not self._hear_primary(ctx, sender, msg.view):
            return
        if self.number < msg.number <= self.number + self.EARLY:
            self.early[msg.number] = msg.command
        while (command := self.early.pop(self.number + 1, None)) is not None:
            self.append(ctx, command)
        for number in [number for number in self.early if number <= self.number]:
            del self.early[number]  # it came meanwhile by state transfer
        if msg.number <= self.number:
            ctx.send(sender, VrPrepareOk(self.view, self.number))
        self._follow(ctx, sender, msg.commit)

    def _on_prepare_ok(self, ctx: Ctx, sender: Party, msg: VrPrepareOk) -> None:
        if not self.leads or msg.view != self.view:
            return
        if msg.number > self.number:
            raise PeerFault(f"confirmed op-number {msg.number} of a log that ends at {self.number}")
        self.acks[sender] = max(msg.number, self.acks.get(sender, 0))
        self._count_acks(ctx)
        self.propose(ctx)

    def _count_acks(self, ctx: Ctx) -> None:
        """Step 4: with f PREPAREOKs "it considers the operation (and all earlier ones) to be
        committed"."""
        held = sorted((self.number, *self.acks.values()), reverse=True)
        if len(held) >= self.quorum and held[self.quorum - 1] > self.commit:
            self.commit_to(ctx, held[self.quorum - 1])
            ctx.multicast(ctx.others, VrCommit(self.view, self.commit))

    def _on_commit(self, ctx: Ctx, sender: Party, msg: VrCommit) -> None:
        if self._hear_primary(ctx, sender, msg.view):
            self._follow(ctx, sender, msg.commit)

    def _hear_primary(self, ctx: Ctx, sender: Party, view: int) -> bool:
        """Whether it is the primary of our view. Of a later one, which began without us, we ask for
        the log."""
        if view > self.view:
            self.leave(ctx, view)
        if view < self.view or not self.is_normal:
            if view == self.view:
                self.learn_from(ctx, sender)
            return False
        self.backoff = 1
        self.wait(ctx)
        return True

    def _follow(self, ctx: Ctx, primary: Party, commit: int) -> None:
        """Step 7: commit what we have; ask for what we lack."""
        self.commit_to(ctx, commit)
        if self.commit < commit:
            self.learn_from(ctx, primary)

    # --- view changes, §4.2 ---------------------------------------------------------------------

    def take_over(self, ctx: Ctx) -> None:
        """Step 1: "a replica that notices the need for a view change advances its view-number"."""
        if self.view < self.LAST_VIEW:
            self._change_view(ctx, self.view + 1)

    def _change_view(self, ctx: Ctx, view: int) -> None:
        self.leave(ctx, view)
        ctx.multicast(ctx.others, VrStartViewChange(view))
        self._report(ctx)

    def _on_start_view_change(self, ctx: Ctx, sender: Party, msg: VrStartViewChange) -> None:
        if msg.view > self.view:
            self._change_view(ctx, msg.view)
        if msg.view == self.view:
            self._wish(ctx, sender)

    def _wish(self, ctx: Ctx, sender: Party) -> None:
        if self.leads:
            ctx.send(sender, self._start_view())  # it has begun
        elif not self.is_normal:
            self.wishes.add(sender)
            self._report(ctx)

    def _report(self, ctx: Ctx) -> None:
        """Step 2: with f STARTVIEWCHANGEs of others, our log goes to the new primary."""
        if not self.reported and len(self.wishes | {ctx.me}) >= self.quorum:
            self.reported = True
            ctx.send(self.leader, self._do_view_change())

    def _do_view_change(self) -> VrDoViewChange:
        return VrDoViewChange(self.view, self.normal, self.commit, tuple(self.entries))

    def _on_do_view_change(self, ctx: Ctx, sender: Party, msg: VrDoViewChange) -> None:
        for command in msg.entries:
            self.check(command)
        if self.primary(ctx, msg.view) != ctx.me:
            raise PeerFault(f"told us its log for view {msg.view}, which another party leads")
        if msg.view > self.view:
            self._change_view(ctx, msg.view)
        if msg.view == self.view:
            if not self.is_normal:
                self.reports[sender] = msg
            self._wish(ctx, sender)
            self._begin_view(ctx)

    def rank(self, report: VrDoViewChange) -> tuple[int, int]:
        """Step 3: "selects as the new log the one contained in the message with the largest v'; if
        several messages have the same v' it selects the one among them with the largest n"."""
        return report.normal, report.number

    def _begin_view(self, ctx: Ctx) -> None:
        """Step 3, with f + 1 DOVIEWCHANGEs, ours among them: the new primary begins its view."""
        if self.is_normal or len(self.reports) < self.quorum or ctx.me not in self.reports:
            return
        best = max(self.reports, key=lambda p: (self.rank(self.reports[p]), p))
        chosen = self.reports[best]
        if chosen.commit > self.commit:
            self.learn_from(ctx, best)
            return
        commit = max(report.commit for report in self.reports.values())
        self.adopt(ctx, chosen.commit, chosen.entries)
        self.enter(ctx)
        self.commit_to(ctx, commit)
        ctx.multicast(ctx.others, self._start_view())
        self.propose(ctx)
        self.watch(ctx)

    def _start_view(self) -> VrStartView:
        return VrStartView(self.view, self.commit, tuple(self.entries))

    def _on_start_view(self, ctx: Ctx, sender: Party, msg: VrStartView) -> None:
        """Step 5."""
        for command in msg.entries:
            self.check(command)
        if msg.view < self.view:
            return
        if msg.view > self.view:
            self.leave(ctx, msg.view)
        if self.is_normal:
            self.commit_to(ctx, msg.commit)
        if msg.commit > self.commit:
            self.learn_from(ctx, sender)
            return
        if not self.is_normal:
            self.adopt(ctx, msg.commit, msg.entries)
            self.enter(ctx)
            self.push(ctx)
        elif msg.number > self.number:
            self.adopt(ctx, msg.commit, msg.entries)
        self.commit_to(ctx, msg.commit)
        if self.entries:
            ctx.send(sender, VrPrepareOk(self.view, self.number))

    # --- state transfer, §5.2 -------------------------------------------------------------------

    def _on_get_state(self, ctx: Ctx, sender: Party, msg: VrGetState) -> None:
        if msg.number >= self.commit:
            if self.leads:
                ctx.send(sender, self._start_view())
        elif commands := self.log.page(msg.number):
            ctx.send(sender, VrNewState(self.view, msg.number, commands, self.commit))

    def _on_new_state(self, ctx: Ctx, sender: Party, msg: VrNewState) -> None:
        for command in msg.commands:
            self.check(command)
        if msg.view > self.view:
            self.leave(ctx, msg.view)  # of our own view we tell nobody what is of a later one
        if self.leads or msg.number > self.commit:
            return
        new = msg.commands[self.commit - msg.number :]
        for command in new:
            self.learn(ctx, command)
        if new:
            ctx.note(notes.CaughtUp(records=len(new), source=sender))
            if self.commit < msg.commit or (not self.is_normal and sender == self.leader):
                self.learn_from(ctx, sender)
            self._begin_view(ctx)

    # --- messages and timers ----------------------------------------------------------------------

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: VrRequest
        | VrPrepare
        | VrPrepareOk
        | VrCommit
        | VrStartViewChange
        | VrDoViewChange
        | VrStartView
        | VrGetState
        | VrNewState,
    ) -> None:
        match msg:
            case VrPrepare(view) | VrCommit(view) | VrStartView(view):
                self.is_near(view)
                if self.primary(ctx, view) != sender:
                    raise PeerFault(f"spoke as the primary of view {view}, which it is not")
            case VrStartViewChange(view) | VrDoViewChange(view) | VrNewState(view):
                self.is_near(view)
        match msg:
            case VrPrepareOk():
                self._on_prepare_ok(ctx, sender, msg)
            case VrPrepare():
                self._on_prepare(ctx, sender, msg)
            case VrCommit():
                self._on_commit(ctx, sender, msg)
            case VrRequest():
                self.take_request(ctx, msg.op, msg.value)
            case VrStartViewChange():
                self._on_start_view_change(ctx, sender, msg)
            case VrDoViewChange():
                self._on_do_view_change(ctx, sender, msg)
            case VrStartView():
                self._on_start_view(ctx, sender, msg)
            case VrGetState():
                self._on_get_state(ctx, sender, msg)
            case VrNewState():
                self._on_new_state(ctx, sender, msg)
        self.backlog.hear(sender)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "election" if not self.leads:
                if not self.is_normal:
                    self.wait_longer()
                self.take_over(ctx)
            case "heartbeat" if self.leads:
                ctx.multicast(ctx.others, VrCommit(self.view, self.commit))
                ctx.set_timer("heartbeat", self.options.beat, background=True)
            case "retry":
                self.retry(ctx)

    def say_again(self, ctx: Ctx) -> None:
        if not self.is_normal:
            ctx.multicast(ctx.others, VrStartViewChange(self.view))
            if self.reported and self.leader != ctx.me:
                ctx.send(self.leader, self._do_view_change())
        elif self.leads:
            for number, command in enumerate(self.entries, self.commit + 1):
                ctx.multicast(ctx.others, VrPrepare(self.view, number, command, self.commit))
        else:
            self.push_again(ctx)

    # --- lies, for adversaries alone --------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Another value in commands, another commit-number, a log without what is not committed.
        Nothing here is signed, and it promises nothing against that."""
        match msg:
            case VrCommit(view, commit):
                return VrCommit(view, commit - 1 if commit else 1)
            case VrPrepare(view, number, command, commit):
                return VrPrepare(view, number, retold(command, values), commit)
            case VrDoViewChange(view, normal, commit, entries) if entries:
                return VrDoViewChange(view, normal, commit, ())
            case VrStartView(view, commit, entries) if entries:
                told = tuple(retold(command, values) for command in entries)
                return VrStartView(view, commit, told)
            case VrNewState(view, number, commands, commit):
                told = tuple(retold(command, values) for command in commands)
                return VrNewState(view, number, told, commit)
            case VrRequest():
                return with_values(msg, values)
        return None
