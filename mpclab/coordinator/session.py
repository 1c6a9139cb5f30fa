"""`Session`: the coordinator. Propose → vote → commit → execute → remember.

An operation passes two gates. *Approval*: the proposal is broadcast, every party votes as its
vote policy or its user says, and broadcasts its vote, a signature over the hash of the whole
proposal. As soon as the votes here satisfy the approval policy they make a certificate.
*Agreement*: the certificate goes to the agreement protocol, a child machine at `agreement`, and
what that decides is committed: appended to the history and executed. A value without a valid
certificate is never accepted from anyone. Where the protocol's own first phase is the vote (2pc,
3pc) the proposal goes there at once.

With `direct` there is no second gate: n-1 messages propose, n(n-1) vote, and each party commits
when its own votes are enough, one delay after voting. What may differ then: when messages are lost
one party can commit and another give up at its deadline (it will commit when it hears of the
certificate, which is evidence enough), and if somebody votes both ways or proposes two things
under one id, parties can commit different things for good. Both leave signed evidence.

What a party needs of others and lacks it asks for, every second while something is open (see
`catchup`); lost messages, late parties and restarts are all mended that way. Own votes are stored
before they are sent, so no restart makes a party contradict itself.

What an adversary here may not do: forge a signature; make an honest party count a vote twice; get
anything committed that too few approved; have more than 2 `MAX_OPEN` of its proposals open at
others, or one that expires sooner than `MIN_DEADLINE`. What it may do: withhold its vote until a
deadline, and show it later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import (
    Agreement,
    Cast,
    Decided,
    Oppose,
    Refused,
    Submit,
    VoteWanted,
)
from mpclab.consensus.direct import Direct
from mpclab.coordinator import catchup, statements, stories
from mpclab.coordinator.approval import RETRY, VOTE_POLICIES, Approval, known_vote_policy
from mpclab.coordinator.executor import Executor
from mpclab.coordinator.history import History, Record
from mpclab.coordinator.messages import (
    CommittedBatch,
    Fetch,
    ProposalState,
    Propose,
    Report,
    ResultRequest,
    SessionMessage,
    SetPrivate,
    SetVotePolicy,
    Summary,
    Vote,
)
from mpclab.coordinator.policy import Policy
from mpclab.coordinator.statements import (
    Certificate,
    InvalidStatement,
    SignedProposal,
    SignedVote,
    UnknownParty,
)
from mpclab.coordinator.tally import End, Operation, Status
from mpclab.coordinator.views import OperationView, SessionView, session_view
from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SECOND, Party, format_duration
from mpclab.core.machine import Ctx
from mpclab.core.peers import AcceptKey, Introduced, PeerDown, PeerUp
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.operations import OPERATIONS, Operations

__all__ = ["VOTE_POLICIES", "Propose", "Session", "SetVotePolicy", "Vote"]

AGREEMENT = "agreement"
REMEMBERED = 256


class Session(Approval):
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
        patience: the agreement protocol's, µs.
        private: this party's own numbers, for computations whose input they fit.
        greet: say hello to all when starting. A mesh makes this needless: `PeerUp` does it.
    """

    messages: ClassVar[Any] = SessionMessage
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
        patience: int = 2 * SECOND,
        greet: bool = False,
        private: tuple[int, ...] = (),
    ) -> None:
        if not 1 <= t <= n:
            raise UsageError(f"t: {t} of {n} parties; use 1 to {n}")
        if policy.n != n:
            raise UsageError(f"policy: {policy} is for {policy.n} parties, not for {n}")
        super().__init__(session, policy, identity, keys or {}, votes, operations, deadline)
        self.n, self.t = n, t
        self.greet = greet
        self._valid: dict[bytes, Certificate] = {}  # values found valid, the latest
        self._deferred: list[Decided] = []
        self._waiting: dict[int, tuple[Record, bool]] = {}  # of the log, ahead of a gap
        self.history = History(session)
        self.up: dict[Party, str] = {}
        self.claims = catchup.Claims()
        self.agreement = agreement(
            identity,
            self.keys,
            valid=self.is_valid,
            patience=patience,
            session=session,
            needed=policy.needed,
            names=name_of,
        )
        type(self.agreement).check_size(n)
        self.broadcasts = not self.agreement.votes_inside
        self.executor = Executor(
            session, t, operations, identity, self.keys, self.operations, self.results,
            round_deadline, private=private,
        )  # fmt: skip

    # --- beginning, and beginning again ---------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        self.me = ctx.me
        self.keys[ctx.me] = self.identity.public
        ctx.spawn(AGREEMENT, self.agreement)
        if ctx.stored:
            catchup.restore(self, ctx)
        if self.greet:
            for o in self.open():
                ctx.multicast(ctx.others, catchup.state_of(o))
            catchup.greet(self, ctx, ctx.others)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Propose():
                self.propose(ctx, ask)
            case Vote(op, approve, reason):
                self.vote_by_hand(ctx, op, approve, reason)
            case SetPrivate(values):
                self.executor.private = values
            case SetVotePolicy(vote_policy):
                self.vote_policy = known_vote_policy(vote_policy)
                for o in self.open():
                    self.consider(ctx, o)
            case Introduced(party, key):
                if self.keys.setdefault(party, key) != key:
                    ctx.blame(
                        party, "was introduced with another key than before", Strength.SUSPECT
                    )
                deferred, self._deferred = self._deferred, []
                for decided in deferred:
                    self._decided(ctx, decided)
            case AcceptKey(party, key):
                self.keys[party] = key
            case PeerUp(party, via):
                self.up[party] = via
                catchup.greet(self, ctx, (party,))
                self.executor.on_peer_up(ctx, ask)
            case PeerDown(party):
                self.up.pop(party, None)
            case _:
                raise UsageError(f"a session cannot {type(ask).__name__}")

    # --- from the first gate to the second ------------------------------------------------

    def on_proposed(self, ctx: Ctx, o: Operation) -> None:
        assert o.signed is not None
        ctx.ask(AGREEMENT, Submit(o.op, Certificate(o.signed, ()).to_bytes()))

    def on_voted(self, ctx: Ctx, o: Operation) -> None:
        assert o.mine is not None
        signature = o.mine.signature if o.mine.approve else b""
        ctx.ask(AGREEMENT, Cast(o.op, o.mine.approve, o.mine.reason, signature))

    def on_impossible(self, ctx: Ctx, o: Operation) -> None:
        self._give_up(ctx, o, o.tally.rejection(o.proposal_hash))

    def on_enough(self, ctx: Ctx, o: Operation) -> None:
        assert o.signed is not None
        o.certificate = Certificate(o.signed, o.tally.approvals(o.proposal_hash))
        ctx.note(notes.Certified(op=o.op, approvals=tuple(p for p, _ in o.certificate.approvals)))
        ctx.cancel_timer(f"deadline/{o.op}")
        if o.status is Status.ABORTED:
            o.status = Status.OPEN  # evidence overrules our having given up
            self.pending[o.op] = o
            self.retry_later(ctx)
        if self.agreement.everyone_submits or o.by == ctx.me:
            self.submit(ctx, o)

    def submit(self, ctx: Ctx, o: Operation) -> None:
        assert o.certificate is not None
        o.submitted = True
        value = o.certificate.to_bytes()
        self._remember(value, o.certificate)  # every vote in it was checked
        ctx.ask(AGREEMENT, Submit(o.op, value))

    # --- what the agreement protocol says -------------------------------------------------

    def is_valid(self, value: bytes) -> bool:
        """External validity: `value` is a certificate that satisfies the policy, or, where the
        vote is inside the protocol, a genuine proposal of this session."""
        if value in self._valid:
            return True
        try:
            certificate = Certificate.from_bytes(value)
            if self.broadcasts:
                self.verify(certificate)
            else:
                statements.check_proposal(certificate.signed, self.session, self.keys)
        except InvalidStatement:
            return False
        self._remember(value, certificate)
        return True

    def _remember(self, value: bytes, certificate: Certificate) -> None:
        self._valid[value] = certificate
        if len(self._valid) > REMEMBERED:
            del self._valid[next(iter(self._valid))]

    def verify(self, certificate: Certificate) -> None:
        statements.verify_certificate(certificate, self.session, self.policy, self.keys)

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        if child != AGREEMENT:
            self.executor.on_output(ctx, child, value)
            return
        match value:
            case VoteWanted(op, proposed, by):
                self._vote_wanted(ctx, op, Certificate.from_bytes(proposed).signed, by)
            case Decided():
                self._decided(ctx, value)
            case Refused(op, reason, rejected, missing):
                if (o := self.operations.get(op)) is not None and o.status is Status.OPEN:
                    o.rejected, o.missing = rejected or o.rejected, missing or o.missing
                    self._abort(ctx, o, reason)

    def _decided(self, ctx: Ctx, decided: Decided) -> None:
        known = self.history.records.get(decided.op)
        if known is not None and known.index == decided.index:
            return  # told again after a crash
        try:
            certificate = self._certificate(decided.value, decided.approvals)
        except UnknownParty:
            self._deferred.append(decided)  # until that party is introduced
        except InvalidStatement as error:
            ctx.blame(None, f"{decided.op} was decided with {error}", Strength.SOMEONE)
        else:
            self.commit(ctx, Record(certificate, decided.index))

    def _certificate(self, value: bytes, approvals: tuple[tuple[Party, bytes], ...]) -> Certificate:
        """The certificate of a decided value; where the vote was inside, with its approvals."""
        certificate = self._valid.get(value)
        if certificate is not None and self.broadcasts:
            return certificate
        certificate = certificate or Certificate.from_bytes(value)
        if not self.broadcasts:
            certificate = Certificate(certificate.signed, approvals)
        self.verify(certificate)
        return certificate

    def _vote_wanted(self, ctx: Ctx, op: str, signed: SignedProposal, by: Party) -> None:
        if signed.op != op or signed.proposal.by != by:
            ctx.ask(AGREEMENT, Cast(op, False, "proposed in another's name"))
            ctx.blame(by, f"asks for votes on {op} with another proposal")
            return
        if (o := self.operations.get(op)) is None:
            self.hear(ctx, signed)
        elif o.mine is None:
            self.consider(ctx, o)  # we proposed it ourselves
        else:
            self.on_voted(ctx, o)  # asked again, after a crash

    # --- ending ---------------------------------------------------------------------------

    def commit(self, ctx: Ctx, record: Record, *, executed_elsewhere: bool = False) -> None:
        """The record says yes, and its certificate is valid.

        Catching up may tell of a place in the log before the places ahead of it: what comes too
        early waits, for all parties commit a log in its order.
        """
        if record.index is not None and not self.history.fits(record.index):
            self._waiting[record.index] = (record, executed_elsewhere)
            return
        self._commit(ctx, record, executed_elsewhere)
        for index in sorted(self._waiting):
            if self.history.fits(index):
                self._commit(ctx, *self._waiting.pop(index))

    def _commit(self, ctx: Ctx, record: Record, executed_elsewhere: bool) -> None:
        op, proposal = record.op, record.proposal
        o = self.operations.get(op)
        if o is not None:
            self.compare(ctx, o, record.certificate.signed)
        if op in self.history:
            if record.index is not None and self.history.records[op].index != record.index:
                self.history.skip(record.index)  # decided twice: the first time counts
                ctx.note(notes.Repeated(op, record.index))
            return
        self.clock = max(self.clock, proposal.lamport)
        if o is None:
            o = self.operations[op] = Operation(op)
            o.heard_at = ctx.now
        o.describe(self.kinds, record.certificate.signed)
        ctx.persist(f"record/{op}", msgspec.msgpack.encode(record))
        self.history.add(record)
        self.claims.settle(op)
        o.certificate, o.index = record.certificate, record.index
        o.status, o.committed_at = Status.COMMITTED, ctx.now
        o.reason, o.rejected, o.missing = "", (), ()
        self.settle(ctx, o)
        ctx.note(
            notes.Committed(
                op=op,
                kind=o.kind,
                index=record.index,
                stamp=proposal.lamport,
                head=self.history.head_at(op).hex()[:12],
                value=proposal.hash.hex()[:12],
                tip=self.history.head.hex()[:12],
            )
        )
        self.executor.commit(ctx, o, executed_elsewhere=executed_elsewhere)

    def _give_up(self, ctx: Ctx, o: Operation, reason: str) -> None:
        """We will not get a certificate."""
        if self.agreement.everyone_submits:
            o.submitted = True
            ctx.ask(AGREEMENT, Oppose(o.op, reason))
        elif not self.agreement.votes_inside:
            self._abort(ctx, o, reason)

    def _abort(self, ctx: Ctx, o: Operation, reason: str) -> None:
        o.status, o.reason, o.ended_at = Status.ABORTED, reason, ctx.now
        self.settle(ctx, o)
        end = End(Status.ABORTED, reason, rejected=o.rejected, missing=o.missing)
        ctx.persist(f"end/{o.op}", msgspec.msgpack.encode(end))
        ctx.note(
            notes.Aborted(
                op=o.op,
                reason=reason,
                rejected=o.rejected,
                missing=o.missing,
            )
        )

    def settle(self, ctx: Ctx, o: Operation) -> None:
        """Nothing more is wanted for `o`."""
        self.pending.pop(o.op, None)
        ctx.cancel_timer(f"deadline/{o.op}")
        if not self.pending:
            ctx.cancel_timer("retry")
            self._retrying = False

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name == "retry":
            self._retrying = catchup.retry(self, ctx)
            if self._retrying:
                ctx.set_timer("retry", RETRY)
            return
        what, op = name.split("/", 1)
        o = self.operations[op]
        if what != "deadline":
            self.executor.on_timer(ctx, what, o)
        elif o.status is not Status.OPEN:
            pass
        elif self.agreement.votes_inside:
            if o.mine is None and self.vote_policy == "hand":
                self._cast(ctx, o, False, "no answer in time")
        elif o.certificate is None:
            o.rejected = o.tally.against(o.proposal_hash)
            o.missing = tuple(p for p in ctx.members if p not in o.tally.votes)
            assert o.signed is not None
            waited = format_duration(o.signed.proposal.deadline)
            self._give_up(ctx, o, f"no vote from {_names(o.missing)} in {waited}")

    # --- messages -------------------------------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        try:
            match msg:
                case SignedVote():
                    statements.check_vote(msg, self.session, self.keys)
                    self.count(ctx, msg)
                case SignedProposal():
                    statements.check_proposal(msg, self.session, self.keys)
                    self.hear(ctx, msg)
                case ProposalState():
                    catchup.on_proposal_state(self, ctx, msg)
                case Fetch():
                    catchup.on_fetch(self, ctx, sender, msg)
                case Summary():
                    catchup.on_summary(self, ctx, sender, msg)
                case CommittedBatch():
                    catchup.on_committed(self, ctx, sender, msg)
                case ResultRequest(ops):
                    self.executor.on_result_request(ctx, sender, ops)
                case Report():
                    self.executor.on_report(ctx, sender, msg)
        except UnknownParty:
            pass  # its key is not here yet; what it said is asked for again
        except InvalidStatement as error:
            raise PeerFault(f"sent {error}") from None

    def restated(self, msg: Message, story: int) -> Message | None:
        """For adversaries: `msg` with another story in it, as well signed."""
        return stories.restated(self, msg, story)

    def other_values(self, story: int) -> dict[bytes, bytes]:
        """For adversaries: other values for what this party got decided."""
        return stories.other_values(self, story)

    # --- looking --------------------------------------------------------------------------

    def view(self) -> SessionView:
        """All that a panel shows, frozen."""
        return session_view(self)

    def outcomes(self) -> dict[str, OperationView]:
        """Every operation that this party has heard of, by id."""
        return {o.op: o for o in self.view().operations}


def _names(parties: tuple[Party, ...]) -> str:
    return f"part{'y' if len(parties) == 1 else 'ies'} {', '.join(map(str, parties))}"


def name_of(value: bytes) -> str:
    """The id of the operation that a value is about; "" for what is no certificate. Without it a
    valid value could be decided under another operation's id, which then never is itself."""
    try:
        return Certificate.from_bytes(value).op
    except InvalidStatement:
        return ""
