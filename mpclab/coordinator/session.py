"""`Session`: the coordinator. Propose → vote → commit → execute → remember.

An operation passes two gates. *Approval*: the proposal is broadcast, every party votes as its
vote policy or its user says, and broadcasts its vote, a signature over the hash of the whole
proposal. As soon as the votes here satisfy the approval policy they make a certificate.
*Agreement*: the certificate goes to the agreement protocol, a child machine at `agreement`, and
what that decides is committed: appended to the history and executed. A value without a valid
certificate is never accepted from anyone. Where the protocol's own first phase is the vote (2pc,
3pc) the proposal goes there at once.

An operation that is not approved ends too. A party whose deadline passes signs that it waits no
longer; the operation has *expired* there, and may yet be committed. Rejections and withdrawals
enough to stop it are an abort certificate. A log (raft, pbft, hotstuff, …) orders whichever of
the two certificates it gets first, and that one holds for everybody: *aborted* is as final as
*committed*. 2pc, 3pc and ben-or decide against an operation themselves.

With `direct` there is no second gate: n-1 messages propose, n(n-1) vote, and each party commits
when its own votes are enough, one delay after voting. There an operation is aborted only when so
many rejected it that nobody can have a certificate unless a party votes both ways; else it expires.
Parties can end differently, and for good, only if somebody votes both ways or proposes two things
under one id; both leave signed evidence. `bracha` carries both certificates, that of abort by
rejections too, and delivers one of them at the most: who votes both ways may leave the operation
expired everywhere, and splits nobody.

A party asks for the messages that it lacks, every second while something is open, and learns
within seconds of decisions made without it (see `catchup`); lost messages, late parties and
restarts are all mended that way. Own votes are stored before they are sent, so no restart makes a
party contradict itself.

What an adversary here may not do: forge a signature; make an honest party count a vote twice; get
anything committed that too few approved; have more than 2 `MAX_OPEN` of its proposals open at
others, or one that expires sooner than `MIN_DEADLINE`. What it may do: withhold its vote until a
deadline, and show it later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import (
    Agreement,
    Cast,
    Decided,
    Learnt,
    Oppose,
    Read,
    Readable,
    Refused,
    Submit,
    VoteWanted,
)
from mpclab.consensus.direct import Direct
from mpclab.coordinator import statements, stories
from mpclab.coordinator.approval import VOTE_POLICIES, Approval, known_vote_policy
from mpclab.coordinator.catchup import CatchUp
from mpclab.coordinator.executor import Executor
from mpclab.coordinator.history import History, Record, committed
from mpclab.coordinator.ledger import Ledger
from mpclab.coordinator.messages import (
    DecidedBatch,
    DecidedDigest,
    DecidedIds,
    DeleteShare,
    Fetch,
    FetchDecided,
    ForgetFleeting,
    ProposalState,
    Propose,
    ReadHistory,
    Report,
    RestoreShare,
    ResultRequest,
    SessionMessage,
    SetPrivate,
    SetVotePolicy,
    Summary,
    Vote,
)
from mpclab.coordinator.operation import AbortRecord, End, Operation, Status
from mpclab.coordinator.policy import Policy
from mpclab.coordinator.restore import restore
from mpclab.coordinator.statements import (
    Certificate,
    Ending,
    Evidence,
    InvalidStatement,
    Refusal,
    SignedProposal,
    SignedVote,
    UnknownParty,
    Withdrawal,
    named,
    value_from_bytes,
)
from mpclab.coordinator.views import OperationView, SessionView, session_view
from mpclab.coordinator.voters import voters_of, why_no_voters
from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SECOND, Party, format_duration
from mpclab.core.machine import Ctx, Machine
from mpclab.core.peers import AcceptKey, Introduced, PeerDown, PeerUp
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.operations import OPERATIONS, Operations, Proposal

__all__ = ["VOTE_POLICIES", "Propose", "Session", "SetVotePolicy", "Vote"]

AGREEMENT = "agreement"


class Session(Machine):
    """One party's side of a session.

    Args:
        session: its id. `n`: members; `t`: shares needed, so fewer than `t` may lie.
        policy: who must approve.
        identity: this party's key. `keys`: the members' public keys, 32 bytes each, as far as
            they are known; `Introduced` adds to them.
        agreement: the protocol's class, or a function with the same arguments.
        votes: how this party votes: approve, reject, silent, validate or (by) hand.
        operations: the kinds that can be proposed.
        deadline: µs to wait for votes unless a proposal says otherwise.
        round_deadline: µs that a round of an executor may take.
        patience: the agreement protocol's, µs, instead of its own.
        private: this party's own numbers, for computations whose input they fit.
        greet: tell all others what we know when starting. A mesh makes this needless: `PeerUp`
            does it.
    """

    messages: ClassVar[Any] = SessionMessage
    caches = frozenset({"_valid"})
    archives = frozenset({"proposal", "vote", "withdrawal", "record", "abort", "end"})
    starts: ClassVar[str] = "joined"

    def __init__(
        self,
        session: str,
        n: int,
        t: int,
        policy: Policy,
        identity: Identity,
        keys: dict[Party, bytes] | None = None,
        agreement: Callable[..., Agreement] = Direct,
        votes: str = "approve",
        operations: Operations = OPERATIONS,
        *,
        deadline: int = 10 * SECOND,
        round_deadline: int = 10 * SECOND,
        patience: int | None = None,
        greet: bool = False,
        private: tuple[int | Decimal, ...] = (),
    ) -> None:
        if not 1 <= t <= n:
            raise UsageError(f"t: {t} of {n} parties; use 1 to {n}")
        if policy.n != n:
            raise UsageError(f"policy: {policy} is for {policy.n} parties, not for {n}")
        self.n, self.t = n, t
        self.greet = greet
        self.ledger = Ledger(session, policy, identity, keys or {}, operations)
        self.up: dict[Party, str] = {}
        self.agreement = agreement(
            identity,
            self.ledger.keys,
            valid=self.is_valid,
            **({} if patience is None else {"patience": patience}),
            session=session,
            needed=policy.needed,
            names=name_of,
            changes=self.changes,
            means=meaning_of,
            lacks=self.lacks,
            recall=self.recall,
        )
        type(self.agreement).check_size(n)
        self.broadcasts = self.ledger.broadcasts = not self.agreement.votes_inside
        self.ordered = self.ledger.ordered = self.agreement.orders
        self.carries_aborts = self.agreement.orders or self.agreement.exclusive
        self.tellers = type(self.agreement).liars(n) + 1
        self.approval = Approval(self.ledger, self, votes, deadline)
        self.executor = Executor(self.ledger, t, round_deadline, private=private)
        self.catchup = CatchUp(self.ledger, self.approval, self.executor, self)
        self._deferred: list[Decided] = []
        self._early: dict[int, tuple[Ending, bool, bool]] = {}  # of the log, ahead of a gap

    # --- beginning, and beginning again ---------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        self.ledger.me = ctx.me
        self.ledger.keys[ctx.me] = self.ledger.identity.public
        ctx.spawn(AGREEMENT, self.agreement)
        if ctx.stored:
            self._restore(ctx)
        self.catchup.watch(ctx)
        if self.greet:
            self.catchup.greet(ctx, ctx.others)

    def _restore(self, ctx: Ctx) -> None:
        unvoted = restore(ctx, self.ledger, self.approval, self.catchup, self.executor)
        for o in list(self.ledger.pending.values()):
            if o.status is Status.EXPIRED:
                self._wait_on(ctx, o)
        self.catchup.retry_later(ctx)
        for o in unvoted:  # perhaps nobody has heard of it
            if self.broadcasts:
                self.approval.consider(ctx, o)
            else:
                self.on_proposed(ctx, o)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Propose():
                self.approval.propose(ctx, ask)
            case ReadHistory(read):
                if not self.agreement.reads:
                    title = self.agreement.title
                    raise UsageError(f"{title} cannot say when a read is up to date; use raft")
                ctx.ask(AGREEMENT, Read(read))
            case Vote(op, approve, reason):
                self.approval.vote_by_hand(ctx, op, approve, reason)
            case SetPrivate(values):
                self.executor.private = values
            case ForgetFleeting():
                self.executor.forget_fleeting(ctx)
            case SetVotePolicy(vote_policy):
                self.approval.vote_policy = known_vote_policy(vote_policy)
                for o in list(self.ledger.pending.values()):
                    if o.status is Status.OPEN:
                        self.approval.consider(ctx, o)
            case Introduced(party, key):
                if self.ledger.keys.setdefault(party, key) != key:
                    ctx.blame(
                        party, "was introduced with another key than before", Strength.SUSPECT
                    )
                deferred, self._deferred = self._deferred, []
                for decided in deferred:
                    self._decided(ctx, decided)
            case RestoreShare(data, sealed):
                self.executor.restore_share(ctx, data, sealed)
            case DeleteShare(op):
                self.executor.delete_share(ctx, op)
            case AcceptKey(party, key):
                self.ledger.keys[party] = key
            case PeerUp(party, via):
                self.up[party] = via
                self.catchup.greet(ctx, (party,))
                self.executor.on_peer_up(ctx, ask)
            case PeerDown(party):
                self.up.pop(party, None)
            case _:
                raise UsageError(f"a session cannot {type(ask).__name__}")

    # --- what the protocols ask ----------------------------------------------------------

    def objection(self, proposal: Proposal) -> str:
        return why_no_voters(proposal, self.ledger.kinds, self.n, self.agreement)

    def changes(self, data: bytes) -> tuple[Party, ...]:
        """The parties that a value of the agreement protocol makes its voters."""
        return voters_of(data, self.ledger.kinds, self.n)

    # --- from the first gate to the second ------------------------------------------------

    def on_opened(self, ctx: Ctx, o: Operation) -> None:
        if o.refused is not None and o.signed is not None:
            self._refused(ctx, o, o.refused)
        self.catchup.retry_later(ctx)

    def on_proposed(self, ctx: Ctx, o: Operation) -> None:
        assert o.signed is not None
        ctx.ask(AGREEMENT, Submit(o.op, Certificate(o.signed, ()).to_bytes()))

    def on_voted(self, ctx: Ctx, o: Operation) -> None:
        assert o.mine is not None
        signature = o.mine.signature if o.mine.approve else b""
        ctx.ask(AGREEMENT, Cast(o.op, o.mine.approve, o.mine.reason, signature))

    def on_enough(self, ctx: Ctx, o: Operation) -> None:
        assert o.signed is not None
        approvals = o.tally.approvals(o.proposal_hash)
        o.certificate = Certificate(o.signed, approvals)
        ctx.note(notes.Certified(op=o.op, approvals=tuple(p for p, _ in approvals)))
        if self.agreement.exclusive:
            # It may come to nothing, should somebody vote both ways: then the operation expires.
            ctx.set_timer(f"deadline/{o.op}", o.signed.proposal.deadline)
        else:
            ctx.cancel_timer(f"deadline/{o.op}")
        o.submitted = False
        self.ledger.pending[o.op] = o  # also what had expired: the certificate says more
        self.catchup.retry_later(ctx)
        if self.agreement.everyone_submits or o.by == ctx.me:
            self.submit(ctx, o)

    def on_stopped(self, ctx: Ctx, o: Operation) -> None:
        assert o.abort is not None
        if self.carries_aborts:
            if o.by == ctx.me:
                self.submit(ctx, o)
        elif not self.agreement.refuses:
            self.conclude(ctx, o.abort, None)
        elif self.agreement.everyone_submits:
            ctx.ask(AGREEMENT, Oppose(o.op, o.abort.reason))

    def submit(self, ctx: Ctx, o: Operation) -> None:
        """Hand the certificate of `o`, of either kind, to the agreement protocol."""
        value = o.certificate or o.abort
        if value is None or not (o.certificate or self.carries_aborts):
            return
        o.submitted = True
        data = value.to_bytes()
        self.ledger.remember(data, value)  # everything in it was checked
        ctx.ask(AGREEMENT, Submit(o.op, data, (ctx.me - o.by) % ctx.n))

    # --- what the agreement protocol says -------------------------------------------------

    def lacks(self, op: str, approving: Iterable[Party]) -> str:
        """Whose approval rules want besides these, for a protocol that counts votes itself."""
        o = self.ledger.operations.get(op)
        return "" if o is None else self.approval.lacks(o, approving)

    def recall(self, op: str) -> bytes | None:
        """The certificate by which `op` ended, as the agreement protocol would carry it."""
        o = self.ledger.operations.get(op)
        ending = None if o is None else o.ending
        return None if ending is None or isinstance(ending, Refusal) else ending.to_bytes()

    def is_valid(self, data: bytes) -> bool:
        """External validity: `data` is a certificate that satisfies the policy, or one that stops
        an operation where those are ordered; or, where the vote is inside the protocol, a genuine
        proposal of this session."""
        try:
            if self.broadcasts:
                value = self.ledger.value(data)
                return isinstance(value, Certificate) or self.carries_aborts
            signed = Certificate.from_bytes(data).signed
            statements.check_proposal(signed, self.ledger.session, self.ledger.keys)
        except InvalidStatement:
            return False
        return True

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        if child != AGREEMENT:
            self.executor.on_output(ctx, child, value)
            return
        match value:
            case VoteWanted(op, proposed, by):
                self._vote_wanted(ctx, op, Certificate.from_bytes(proposed).signed, by)
            case Decided():
                self._decided(ctx, value)
            case Readable(read, places):
                # Behind only where a party is not introduced yet: then there is no answer.
                if self.history.fits(places):
                    ctx.note(notes.ReadAnswered(read, *self.history.tip))
            case Refused(op):
                o = self.ledger.operations.setdefault(op, Operation(op))
                if o.signed is None:
                    o.refused = value  # until the proposal is heard
                elif not o.status.decided:
                    self._refused(ctx, o, value)

    def _refused(self, ctx: Ctx, o: Operation, refused: Refused) -> None:
        assert o.signed is not None
        rejected, missing = refused.rejected, refused.missing
        if not (rejected or missing):  # the protocol knows neither: what do the votes say?
            rejected = o.tally.against(o.proposal_hash)
            missing = () if rejected else self._unheard(ctx, o)
        refusal = Refusal(o.signed, refused.reason, rejected, missing)
        self.conclude(ctx, refusal, None, learnt=False)

    def _decided(self, ctx: Ctx, decided: Decided) -> None:
        if decided.index is not None and not self.ordered:
            name = type(self.agreement).__name__
            raise TypeError(f"{name} decides with a place in a log: say {name}.orders = True")
        o = self.ledger.operations.get(decided.op)
        if o is not None and o.status.decided and o.index == decided.index:
            return  # told again after a crash
        try:
            value = self._value(decided)
        except UnknownParty:
            self._deferred.append(decided)  # until that party is introduced
        except InvalidStatement as error:
            ctx.blame(None, f"{decided.op} was decided with {error}", Strength.SOMEONE)
        else:
            self.conclude(ctx, value, decided.index, learnt=False)

    def _value(self, decided: Decided) -> Ending:
        if self.broadcasts:
            return self.ledger.value(decided.value)
        signed = Certificate.from_bytes(decided.value).signed
        certificate = Certificate(signed, decided.approvals)
        self.ledger.verify(certificate)
        return certificate

    def _vote_wanted(self, ctx: Ctx, op: str, signed: SignedProposal, by: Party) -> None:
        if signed.op != op or signed.proposal.by != by:
            ctx.ask(AGREEMENT, Cast(op, False, "proposed in another's name"))
            ctx.blame(by, f"asks for votes on {op} with another proposal")
            return
        o = self.ledger.operations.get(op)
        if o is None or o.signed is None:
            self.approval.hear(ctx, signed)
        elif o.mine is None:
            self.approval.consider(ctx, o)  # we proposed it ourselves
        else:
            self.on_voted(ctx, o)  # asked again, after a crash

    # --- ending ---------------------------------------------------------------------------

    @property
    def early(self) -> set[str]:
        return {ending.op for ending, _, _ in self._early.values()}

    def conclude(
        self,
        ctx: Ctx,
        ending: Ending,
        index: int | None,
        *,
        executed_elsewhere: bool = False,
        learnt: bool = True,
    ) -> None:
        """An operation has ended like this, which was verified; `index` is its place in the log.

        Catching up may tell of a place in the log before the places ahead of it: what comes too
        early waits, for all parties take a log in its order. `learnt`: from others, and not from
        our agreement protocol.
        """
        if index is None:
            self._conclude(ctx, ending, None, executed_elsewhere, learnt)
            return
        if not self.history.fits(index):
            self._early[index] = (ending, executed_elsewhere, learnt)
            return
        self._conclude(ctx, ending, index, executed_elsewhere, learnt)
        for later in sorted(self._early):
            if not self.history.fits(later):
                break
            early, executed_elsewhere, learnt = self._early.pop(later)
            self._conclude(ctx, early, later, executed_elsewhere, learnt)

    def _conclude(
        self, ctx: Ctx, ending: Ending, index: int | None, executed_elsewhere: bool, learnt: bool
    ) -> None:
        op, signed = ending.op, ending.signed
        o = self.ledger.operations.get(op)
        if o is None:
            o = self.ledger.operations[op] = Operation(op)
            o.heard_at = ctx.now
        self.approval.compare(ctx, o, signed)
        if o.status.decided:  # the first time counts
            if index is not None and o.index != index:
                # Each operation takes one place in a log (`consensus.agreement`): more lied than
                # the protocol bears, or it breaks that rule.
                self.history.skip(index)
                why = f"{op} was decided at place {index} and at {o.index}"
                ctx.blame(None, why, Strength.SOMEONE)
            return
        self.ledger.clock = max(self.ledger.clock, signed.proposal.lamport)
        o.describe(self.ledger.kinds, signed)
        self.ledger.decided.add(op)
        self.ledger.expired.pop(op, None)
        self.catchup.told.pop(op, None)
        self.catchup.settle(ctx, o)
        if isinstance(ending, Certificate):
            self._commit(ctx, o, Record(ending, index), executed_elsewhere)
        else:
            self._abort(ctx, o, AbortRecord(ending, index))
        if learnt:
            ctx.ask(AGREEMENT, Learnt(self._outcome(ending, index), signed.proposal.by))

    def _outcome(self, ending: Ending, index: int | None) -> Decided | Refused:
        """The output with which the agreement protocol would have told of this ending."""
        if isinstance(ending, Refusal):
            return Refused(ending.op, ending.reason, ending.rejected, ending.missing)
        if isinstance(ending, Certificate) and not self.broadcasts:
            value = Certificate(ending.signed, ()).to_bytes()
            return Decided(ending.op, value, index, ending.approvals)
        return Decided(ending.op, ending.to_bytes(), index)

    def _commit(self, ctx: Ctx, o: Operation, record: Record, executed_elsewhere: bool) -> None:
        packed = record.pack()
        ctx.persist(f"record/{o.op}", packed)
        self.history.add(record, packed)
        o.conclude_commit(record, packed)
        o.committed_at = ctx.now
        ctx.note(committed(self.history, record))
        self.executor.commit(ctx, o, executed_elsewhere=executed_elsewhere)

    def _abort(self, ctx: Ctx, o: Operation, record: AbortRecord) -> None:
        packed = record.pack()
        ctx.persist(f"abort/{o.op}", packed)
        if record.index is not None:
            self.history.skip(record.index)
        o.conclude_abort(record, packed)
        o.ended_at = ctx.now
        ctx.note(notes.Aborted(o.op, o.reason, o.rejected, o.missing, o.index))
        self.executor.on_aborted(ctx, o)

    def expire(self, ctx: Ctx, o: Operation, why: str = "") -> None:
        """We wait no longer for votes. Only the second gate, where there is one, can say more."""
        assert o.signed is not None
        o.rejected = o.tally.against(o.proposal_hash)
        o.missing = self._unheard(ctx, o)
        waited = format_duration(o.signed.proposal.deadline)
        lacking = f"no vote from {named(o.missing)}" if o.missing else "no decision"
        o.status, o.reason, o.asked = Status.EXPIRED, why or f"{lacking} in {waited}", 0
        end = End(Status.EXPIRED, o.reason, rejected=o.rejected, missing=o.missing)
        ctx.persist(f"end/{o.op}", msgspec.msgpack.encode(end))
        o.ended_at = ctx.now
        ctx.note(notes.Expired(o.op, o.reason, o.rejected, o.missing))
        self._wait_on(ctx, o)

    def _wait_on(self, ctx: Ctx, o: Operation) -> None:
        """After it has expired: have it decided, if that can be."""
        if self.ordered:
            self.approval.withdraw(ctx, o)
        elif not self.agreement.refuses:
            self.catchup.settle(ctx, o)
            self.ledger.expired[o.op] = None
        elif self.agreement.everyone_submits:
            ctx.ask(AGREEMENT, Oppose(o.op, o.reason))

    def _unheard(self, ctx: Ctx, o: Operation) -> tuple[Party, ...]:
        if not self.broadcasts:
            return ()
        return tuple(p for p in ctx.members if p not in o.tally.votes)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name == "retry":
            self.catchup.retry(ctx)
            return
        if name == "digest":
            self.catchup.tell_next(ctx)
            return
        what, op = name.split("/", 1)
        o = self.ledger.operations[op]
        if what != "deadline":
            self.executor.on_timer(ctx, what, o)
        elif o.status is Status.OPEN and (o.certificate is None or self.agreement.exclusive):
            if self.broadcasts or o.asked:
                self.expire(ctx, o)
                return
            # The protocol has deadlines of its own, and ends by them soon.
            assert o.signed is not None
            o.asked = 1
            ctx.set_timer(name, o.signed.proposal.deadline)
            if o.mine is None and self.approval.vote_policy == "hand":
                self.approval.cast(ctx, o, False, "no answer in time")

    # --- messages -------------------------------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        try:
            self._take(ctx, sender, msg)
        except UnknownParty:
            pass  # its key is not here yet; what it said is asked for again
        except InvalidStatement as error:
            raise PeerFault(f"sent {error}") from None

    def _take(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        session, keys = self.ledger.session, self.ledger.keys
        match msg:
            case SignedVote():
                statements.check_vote(msg, session, keys)
                self.approval.count(ctx, msg)
            case SignedProposal():
                statements.check_proposal(msg, session, keys)
                self.approval.hear(ctx, msg)
            case Withdrawal():
                if not self.ordered:  # a rejection would be final; this would be taken back
                    raise PeerFault("withdrawal where nothing orders it")
                statements.check_withdrawal(msg, session, keys)
                self.approval.count_withdrawal(ctx, msg)
            case ProposalState():
                self.catchup.on_proposal_state(ctx, sender, msg)
            case Fetch():
                self.catchup.on_fetch(ctx, sender, msg)
            case DecidedDigest():
                self.catchup.on_digest(ctx, sender, msg)
            case Summary():
                self.catchup.on_summary(ctx, sender, msg)
            case DecidedIds():
                self.catchup.on_decided_ids(ctx, sender, msg)
            case FetchDecided():
                self.catchup.on_fetch_decided(ctx, sender, msg)
            case DecidedBatch():
                self.catchup.on_decided(ctx, sender, msg)
            case ResultRequest(ops):
                self.executor.on_result_request(ctx, sender, ops)
            case Report():
                self.executor.on_report(ctx, sender, msg)

    def restated(self, msg: Message, story: int) -> Message | None:
        """For adversaries: `msg` with another story in it, as well signed."""
        return stories.restated(self.ledger, msg, story)

    def resigned(self, msg: Message) -> Message:
        """For adversaries: `msg`, in which something was changed, signed by us again."""
        return stories.resigned(self.ledger, msg)

    def other_values(self, story: int) -> dict[bytes, bytes]:
        """For adversaries: other values for what this party got decided."""
        return stories.other_values(self.ledger, story)

    # --- looking --------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        return self.ledger.identity

    @property
    def keys(self) -> dict[Party, bytes]:
        return self.ledger.keys

    @property
    def operations(self) -> dict[str, Operation]:
        return self.ledger.operations

    @property
    def history(self) -> History:
        return self.ledger.history

    @property
    def evidence(self) -> list[Evidence]:
        return self.ledger.evidence

    def view(self) -> SessionView:
        """All that a panel shows, frozen."""
        return session_view(
            self.ledger, self.n, self.t, self.agreement.title, self.approval.vote_policy, self.up
        )

    def outcomes(self) -> dict[str, OperationView]:
        """Every operation that this party has heard of, by id."""
        return {o.op: o for o in self.view().operations}


def name_of(data: bytes) -> str:
    """The id of the operation that a value is about; "" for any other bytes. Without it a
    valid value could be decided under another operation's id, which then never is itself."""
    try:
        return value_from_bytes(data).op
    except InvalidStatement:
        return ""


def meaning_of(data: bytes) -> bytes:
    """The proposal that a value commits or aborts, and which: two certificates of one proposal may
    name other parties, and mean the same."""
    try:
        value = value_from_bytes(data)
    except InvalidStatement:
        return data
    return type(value).__name__.encode() + value.signed.proposal.hash
