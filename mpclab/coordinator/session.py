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
anything committed that too few approved; fill the memory of others faster than `MAX_OPEN` open
operations a proposer. What it may do: withhold its vote until a deadline, and show it later.
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
from mpclab.consensus.policy import Policy, Standing
from mpclab.coordinator import ballots, catchup
from mpclab.coordinator.ballots import (
    Ballot,
    BallotError,
    Certificate,
    Evidence,
    Proposal,
    SignedVote,
    UnknownParty,
)
from mpclab.coordinator.executor import Executor
from mpclab.coordinator.history import History, Record
from mpclab.coordinator.messages import (
    Hello,
    Propose,
    Records,
    Report,
    Said,
    SetVotePolicy,
    Told,
    Vote,
    Want,
    Wonder,
)
from mpclab.coordinator.operations import OPERATIONS, Known, Operations
from mpclab.coordinator.tally import End, Operation, Status
from mpclab.coordinator.views import OperationView, SessionView, history_view, operation_view
from mpclab.core.errors import PeerFault, Strength, UsageError, nearest
from mpclab.core.ids import MS, SECOND, Party, format_duration, new_id
from mpclab.core.machine import Ctx, Machine
from mpclab.core.peers import Introduced, PeerDown, PeerUp
from mpclab.crypto.identity import Identity

__all__ = ["VOTE_POLICIES", "Propose", "Session", "SetVotePolicy", "Vote"]

VOTE_POLICIES = ("approve", "reject", "silent", "validate", "hand")

MAX_OPEN = 64
"""Operations that one proposer may have open here; more are not heard."""
MAX_EVIDENCE = 256
MAX_LEAP = 2**20
"""How far a proposal's stamp may be ahead of ours, so that nobody uses the clock up."""
RETRY = 1 * SECOND
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
        patience: the agreement protocol's, µs.
        greet: say hello to all when starting. A mesh makes this needless: `PeerUp` does it.
    """

    messages: ClassVar[Any] = Said
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
    ) -> None:
        if not 1 <= t <= n:
            raise UsageError(f"t: {t} of {n} parties; use 1 to {n}")
        if policy.n != n:
            raise UsageError(f"policy: {policy} is for {policy.n} parties, not for {n}")
        self.session, self.n, self.t, self.policy = session, n, t, policy
        self.identity = identity
        self.keys = dict(keys or {})
        self.vote_policy = _known_vote_policy(votes)
        self.kinds = operations
        self.deadline = _checked_deadline(deadline)
        self.greet = greet
        self.history = History(session)
        self.operations: dict[str, Operation] = {}
        self.pending: dict[str, Operation] = {}  # those that are unheard or open
        self.evidence: list[Evidence] = []
        self.clock = 0  # Lamport's
        self.up: dict[Party, str] = {}
        self.claims = catchup.Claims()
        self._retrying = False
        self.agreement = agreement(
            identity,
            self.keys,
            valid=self.is_valid,
            patience=patience,
            session=session,
            needed=policy.needed,
        )
        type(self.agreement).check_size(n)
        self.executor = Executor(
            session, t, policy, operations, identity, self.keys, self.operations, round_deadline
        )

    # --- beginning, and beginning again ---------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        self.me = ctx.me
        self.keys[ctx.me] = self.identity.public
        ctx.spawn(AGREEMENT, self.agreement)
        if ctx.stored:
            catchup.restore(self, ctx)
        if self.greet:
            for o in self._open():
                ctx.multicast(ctx.others, catchup.told(o))
            catchup.greet(self, ctx, ctx.others)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Propose():
                self._propose(ctx, ask)
            case Vote(op, approve, reason):
                self._vote_by_hand(ctx, op, approve, reason)
            case SetVotePolicy(vote_policy):
                self.vote_policy = _known_vote_policy(vote_policy)
                for o in self._open():
                    self._consider(ctx, o)
            case Introduced(party, key):
                if self.keys.setdefault(party, key) != key:
                    ctx.blame(
                        party, "was introduced with another key than before", Strength.SUSPECT
                    )
            case PeerUp(party, via):
                self.up[party] = via
                catchup.greet(self, ctx, (party,))
            case PeerDown(party):
                self.up.pop(party, None)
            case _:
                raise UsageError(f"a session cannot {type(ask).__name__}")

    # --- proposing ------------------------------------------------------------------------

    def _propose(self, ctx: Ctx, ask: Propose) -> None:
        params = self.kinds[ask.kind].check(ask.params)
        deadline = self.deadline if ask.deadline is None else _checked_deadline(ask.deadline)
        attempt = ask.attempt or new_id(ctx.rng, 16)
        op = ballots.operation_id(self.session, ctx.me, attempt)
        if op in self.operations:
            raise UsageError(f"attempt {attempt!r} was used before, for operation {op}")
        if sum(o.by == ctx.me for o in self._open()) >= MAX_OPEN:
            raise UsageError(f"{MAX_OPEN} of your proposals are open; wait for their end")
        self.clock += 1
        proposal = Proposal(self.session, attempt, ctx.me, self.clock, ask.kind, params, deadline)
        ballot = ballots.sign_proposal(self.identity, proposal)
        o = self.enter(ctx, ballot)
        ctx.note("proposed", op=op, kind=ask.kind, by=ctx.me, text=o.text)
        if self.agreement.votes_inside:
            ctx.ask(AGREEMENT, Submit(op, Certificate(ballot, ()).to_bytes()))
        else:
            ctx.multicast(ctx.others, ballot)
            self._consider(ctx, o)

    def enter(self, ctx: Ctx, ballot: Ballot) -> Operation:
        """Open the operation that `ballot` proposes."""
        proposal = ballot.proposal
        self.clock = max(self.clock, proposal.stamp)
        o = self.operations.setdefault(ballot.op, Operation(ballot.op))
        if not catchup.describe(self.kinds, o, ballot):
            ctx.blame(proposal.by, f"proposed what cannot be: {o.unfit}")
        o.status, o.heard_at = Status.OPEN, ctx.now
        self.pending[o.op] = o
        ctx.set_timer(f"deadline/{o.op}", proposal.deadline)
        self._retry_later(ctx)
        return o

    def hear(self, ctx: Ctx, ballot: Ballot) -> None:
        """A genuine ballot reached us: open its operation and vote, unless we know it."""
        proposal, known = ballot.proposal, self.operations.get(ballot.op)
        if known is not None and known.ballot is not None:
            self.compare(ctx, known, ballot)
            return
        if sum(o.by == proposal.by for o in self._open()) >= 2 * MAX_OPEN:
            ctx.note("ignored", op=ballot.op, by=proposal.by, why="too many open proposals")
            return
        if proposal.stamp > self.clock + MAX_LEAP:
            raise PeerFault("a time stamp far ahead of everyone's", party=proposal.by)
        o = self.enter(ctx, ballot)
        ctx.note("heard", op=o.op, kind=o.kind, by=o.by)
        self._consider(ctx, o)
        self._weigh(ctx, o)

    # --- voting ---------------------------------------------------------------------------

    def _consider(self, ctx: Ctx, o: Operation) -> None:
        """Vote, if our vote policy says how."""
        if o.mine is not None or o.status is not Status.OPEN or self.vote_policy == "silent":
            return
        if o.unfit:
            self._cast(ctx, o, False, o.unfit)
            return
        match self.vote_policy:
            case "approve":
                self._cast(ctx, o, True)
            case "reject":
                self._cast(ctx, o, False, "rejects everything")
            case "validate":
                heard = {
                    op: k.ballot.proposal
                    for op, k in self.operations.items()
                    if k.ballot is not None
                }
                known = Known(heard, self.executor.results)
                spec = self.kinds[o.kind]
                wrong = spec.validate(spec.read(o.params), known)
                self._cast(ctx, o, wrong is None, wrong or "")
            case "hand" if o.by == ctx.me:
                self._cast(ctx, o, True)  # who proposes approves

    def _vote_by_hand(self, ctx: Ctx, op: str, approve: bool, reason: str) -> None:
        o = self.operations.get(op)
        if o is None or o.ballot is None:
            raise UsageError(f"operation {op!r} is not known{nearest(op, self.operations)}")
        if o.mine is not None:
            word = "approved" if o.mine.approve else "rejected"
            raise UsageError(f"party {ctx.me} has {word} {op}; a vote is final")
        if o.status is not Status.OPEN:
            raise UsageError(f"{op} is {o.status}: too late to vote")
        if approve and o.unfit:
            raise UsageError(f"{op} cannot be approved: {o.unfit}")
        self._cast(ctx, o, approve, reason)

    def _cast(self, ctx: Ctx, o: Operation, approve: bool, reason: str = "") -> None:
        assert o.ballot is not None
        vote = ballots.sign_vote(self.identity, o.ballot.proposal, ctx.me, approve, reason)
        o.mine = vote
        ctx.persist(f"vote/{o.op}", msgspec.msgpack.encode((o.ballot, vote)))
        ctx.note("voted", op=o.op, approve=approve, reason=vote.reason)
        if self.agreement.votes_inside:
            self._pass_on(ctx, o)
        else:
            ctx.multicast(ctx.others, vote)
        self.count(ctx, vote)

    def _pass_on(self, ctx: Ctx, o: Operation) -> None:
        """Give our vote to a protocol whose own first phase is the vote."""
        assert o.mine is not None
        signature = o.mine.signature if o.mine.approve else b""
        ctx.ask(AGREEMENT, Cast(o.op, o.mine.approve, o.mine.reason, signature))

    def count(self, ctx: Ctx, vote: SignedVote) -> None:
        """A genuine vote reached us."""
        o = self.operations.get(vote.op)
        if o is None:
            if sum(vote.voter in k.tally.votes for k in self._unheard()) >= MAX_OPEN:
                return
            o = self.operations[vote.op] = self.pending[vote.op] = Operation(vote.op)
            self._retry_later(ctx)
        earlier = o.tally.add(vote, ctx.now)
        if earlier is not None:
            if ballots.contradict(earlier, vote):
                self._accuse(ctx, vote.voter, "voted both ways", earlier, vote)
        elif o.ballot is not None:
            if vote.about != o.about and vote.voter != ctx.me:
                # It voted on another proposal under this id. To see it is to prove it.
                ctx.send(vote.voter, Want(o.op, (), False))
            self._weigh(ctx, o)

    def _weigh(self, ctx: Ctx, o: Operation) -> None:
        """Are the votes enough, or can they never be?"""
        if o.certificate is not None or o.status not in (Status.OPEN, Status.ABORTED):
            return
        match o.tally.standing(o.about, self.policy):
            case Standing.ENOUGH if not self.agreement.votes_inside:
                self._certify(ctx, o)
            case Standing.IMPOSSIBLE if o.status is Status.OPEN:
                o.rejected = o.tally.against(o.about)
                self._give_up(ctx, o, _rejection(o))

    def _certify(self, ctx: Ctx, o: Operation) -> None:
        assert o.ballot is not None
        o.certificate = Certificate(o.ballot, o.tally.approvals(o.about))
        ctx.note("certified", op=o.op, approvals=[p for p, _ in o.certificate.approvals])
        ctx.cancel_timer(f"deadline/{o.op}")
        if o.status is Status.ABORTED:
            o.status = Status.OPEN  # evidence overrules our having given up
            self.pending[o.op] = o
            self._retry_later(ctx)
        if self.agreement.everyone_submits or o.by == ctx.me:
            self.submit(ctx, o)

    def submit(self, ctx: Ctx, o: Operation) -> None:
        assert o.certificate is not None
        o.submitted = True
        ctx.ask(AGREEMENT, Submit(o.op, o.certificate.to_bytes()))

    # --- what the agreement protocol says -------------------------------------------------

    def is_valid(self, value: bytes) -> bool:
        """External validity: `value` is a certificate that satisfies the policy, or, where the
        vote is inside the protocol, a genuine proposal of this session."""
        try:
            certificate = Certificate.from_bytes(value)
            if self.agreement.votes_inside:
                ballots.check_ballot(certificate.ballot, self.session, self.keys)
            else:
                self.verify(certificate)
        except BallotError:
            return False
        return True

    def verify(self, certificate: Certificate) -> None:
        ballots.verify_certificate(certificate, self.session, self.policy, self.keys)

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        if child != AGREEMENT:
            self.executor.on_output(ctx, child, value)
            return
        match value:
            case VoteWanted(op, proposed, by):
                self._vote_wanted(ctx, op, Certificate.from_bytes(proposed).ballot, by)
            case Decided(op, decided, index, approvals):
                certificate = Certificate.from_bytes(decided)
                if self.agreement.votes_inside:
                    certificate = Certificate(certificate.ballot, approvals)
                try:
                    self.verify(certificate)
                except BallotError as error:
                    ctx.blame(None, f"{op} was decided with {error}", Strength.SOMEONE)
                else:
                    self.commit(ctx, Record(certificate, index))
            case Refused(op, reason):
                if (o := self.operations.get(op)) is not None and o.status is Status.OPEN:
                    self._abort(ctx, o, reason)

    def _vote_wanted(self, ctx: Ctx, op: str, ballot: Ballot, by: Party) -> None:
        if ballot.op != op or ballot.proposal.by != by:
            ctx.ask(AGREEMENT, Cast(op, False, "proposed in another's name"))
            ctx.blame(by, f"asks for votes on {op} with another proposal")
            return
        if (o := self.operations.get(op)) is None:
            self.hear(ctx, ballot)
        elif o.mine is None:
            self._consider(ctx, o)  # we proposed it ourselves
        else:
            self._pass_on(ctx, o)  # asked again, after a crash

    # --- ending ---------------------------------------------------------------------------

    def commit(self, ctx: Ctx, record: Record, *, over: bool = False) -> None:
        """The record says yes, and its certificate is valid. `over`: executed without us."""
        op, proposal = record.op, record.proposal
        o = self.operations.get(op)
        if o is not None:
            self.compare(ctx, o, record.certificate.ballot)
        if op in self.history:
            if record.index is not None and self.history.records[op].index != record.index:
                self.history.skip(record.index)  # decided twice: the first time counts
            return
        self.clock = max(self.clock, proposal.stamp)
        if o is None:
            o = self.operations[op] = Operation(op)
            o.heard_at = ctx.now
        catchup.describe(self.kinds, o, record.certificate.ballot)
        ctx.persist(f"record/{op}", msgspec.msgpack.encode(record))
        self.history.add(record)
        o.certificate, o.index = record.certificate, record.index
        o.status, o.committed_at = Status.COMMITTED, ctx.now
        o.reason, o.rejected, o.missing = "", (), ()
        self.settle(ctx, o)
        ctx.note(
            "committed",
            op=op,
            kind=o.kind,
            index=record.index,
            head=self.history.head_at(op).hex()[:12],
            value=proposal.hash.hex()[:12],
        )
        self.executor.commit(ctx, o, over=over)

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
            "aborted",
            op=o.op,
            reason=reason,
            rejected=list(o.rejected),
            missing=list(o.missing),
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
            o.rejected = o.tally.against(o.about)
            o.missing = tuple(p for p in ctx.members if p not in o.tally.votes)
            assert o.ballot is not None
            waited = format_duration(o.ballot.proposal.deadline)
            self._give_up(ctx, o, f"no vote from {_names(o.missing)} in {waited}")

    # --- messages -------------------------------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        try:
            match msg:
                case SignedVote():
                    ballots.check_vote(msg, self.session, self.keys)
                    self.count(ctx, msg)
                case Ballot():
                    ballots.check_ballot(msg, self.session, self.keys)
                    self.hear(ctx, msg)
                case Told():
                    catchup.on_told(self, ctx, msg)
                case Want():
                    catchup.on_want(self, ctx, sender, msg)
                case Hello():
                    catchup.on_hello(self, ctx, sender, msg)
                case Records():
                    catchup.on_records(self, ctx, sender, msg)
                case Wonder(ops):
                    self.executor.on_wonder(ctx, sender, ops)
                case Report():
                    self.executor.on_report(ctx, sender, msg)
        except UnknownParty:
            pass  # its key is not here yet; what it said is asked for again
        except BallotError as error:
            raise PeerFault(f"sent {error}") from None

    def compare(self, ctx: Ctx, o: Operation, ballot: Ballot) -> None:
        """A genuine ballot for an operation that we know: is it the one that we know?"""
        if o.ballot is not None and o.ballot.proposal != ballot.proposal:
            self._accuse(ctx, o.by, "proposed two things", o.ballot, ballot)

    def _accuse(self, ctx: Ctx, party: Party, what: str, first: Any, second: Any) -> None:
        """Two signed statements contradict each other: keep both, once for each operation."""
        op = first.op
        if any(e.party == party and e.first.op == op and e.what == what for e in self.evidence):
            return
        if len(self.evidence) < MAX_EVIDENCE:
            self.evidence.append(Evidence(party, what, first, second))
        ctx.blame(party, f"{what} under one id, {op}", Strength.PROOF)

    # --- looking --------------------------------------------------------------------------

    def view(self) -> SessionView:
        """All that a panel shows, frozen."""
        heard = [o for o in self.operations.values() if o.ballot is not None]
        return SessionView(
            session=self.session,
            me=self.me,
            n=self.n,
            t=self.t,
            policy=str(self.policy),
            agreement=self.agreement.title,
            vote_policy=self.vote_policy,
            operations=tuple(operation_view(o, self.n) for o in heard),
            history=history_view(self.history, self.operations),
            head=self.history.head.hex(),
            up=tuple(sorted(self.up)),
        )

    def outcomes(self) -> dict[str, OperationView]:
        """Every operation that this party has heard of, by id."""
        return {o.op: o for o in self.view().operations}

    def _open(self) -> list[Operation]:
        return [o for o in self.pending.values() if o.status is Status.OPEN]

    def _unheard(self) -> list[Operation]:
        return [o for o in self.pending.values() if o.status is Status.UNHEARD]

    def _retry_later(self, ctx: Ctx) -> None:
        if not self._retrying and not self.agreement.votes_inside:
            self._retrying = True
            ctx.set_timer("retry", RETRY)


def _rejection(o: Operation) -> str:
    why = [
        f"party {p} rejected" + (f": {v.reason}" if (v := o.tally.votes[p]).reason else "")
        if o.tally.votes[p].about == o.about
        else f"party {p} voted on another proposal under this id"
        for p in o.rejected
    ]
    return "; ".join(why)


def _names(parties: tuple[Party, ...]) -> str:
    return f"part{'y' if len(parties) == 1 else 'ies'} {', '.join(map(str, parties))}"


def _known_vote_policy(name: str) -> str:
    if name not in VOTE_POLICIES:
        raise UsageError(f"vote policy {name!r} is not known{nearest(name, VOTE_POLICIES)}")
    return name


def _checked_deadline(deadline: int) -> int:
    if not MS <= deadline <= ballots.MAX_DEADLINE:
        longest = format_duration(ballots.MAX_DEADLINE)
        raise UsageError(f"deadline: use 1ms to {longest}, not {deadline} µs")
    return deadline
