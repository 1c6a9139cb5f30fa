"""Runs what was committed: one executor for each operation, its result, and its failure.

An operation starts when those that it needs have ended here. A machine is spawned as a child
whose name every party derives alike, `kind-op`. A party that missed the execution, because it
was down or came late, or that failed for want of somebody's message, asks the others what came
of it and takes what `t` of them report alike: fewer than `t` parties are assumed to lie.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from mpclab.coordinator.ledger import Ledger
from mpclab.coordinator.messages import Report, ResultRequest
from mpclab.coordinator.operation import End, Operation, Status
from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.peers import PeerUp
from mpclab.core.rounds import Aborted, Copied, Finished, Proceed, Ready, Stored
from mpclab.operations import Execution, Result

RUNNING = "running"
_BINDING = ("pending", "without", "certificate")
"""The items of a certified executor's state that others may need."""
FLEETING = 8
"""Operations of which something is kept in memory alone."""
LINGERING = 32
"""Executors that have ended and stay, to answer those who are behind; older ones are closed."""


class Executor:
    """The part of a session that executes.

    Args:
        t: fewer than so many parties may lie.
        round_deadline: µs that a round of an executor may take.
        private: our user's own numbers, for computations that they fit.
    """

    def __init__(
        self,
        ledger: Ledger,
        t: int,
        round_deadline: int,
        *,
        private: tuple[int | Decimal, ...] = (),
    ) -> None:
        self.ledger = ledger
        self.t = t
        self.round_deadline = round_deadline
        self.private = private
        self.succession = ledger.succession
        self.secrets: dict[str, bytes] = {}
        self.fleeting: dict[str, Any] = {}  # the latest
        self.running: dict[str, str] = {}  # child → op
        self.waiting: dict[str, tuple[str, ...]] = {}  # op → needed before
        self.missed: dict[str, None] = {}  # executed without us, in order
        self.reports: dict[str, dict[Party, Report]] = {}
        self.waiters: dict[str, list[Party]] = {}  # the parties that wait for its result
        self.lingering: dict[str, str] = {}  # ended child → op, oldest first
        self.keepers: dict[str, str] = {}  # ended child with signatures → op
        self.ready: dict[str, tuple[Party, ...]] = {}  # child → who would hold its result
        self.held: dict[str, str] = {}  # child that waits for a rival's end → op

    @property
    def results(self) -> dict[str, Result]:
        """Public results by operation."""
        return self.ledger.results

    # --- beginning ------------------------------------------------------------------------

    def commit(self, ctx: Ctx, o: Operation, *, executed_elsewhere: bool = False) -> None:
        """`o` is committed: execute it, unless it was `executed_elsewhere`, without us."""
        if o.invalid_reason:
            self._fail(ctx, o, Aborted(o.invalid_reason))
            return
        spec = self.ledger.kinds[o.kind]
        wanted = (*spec.after(spec.read(o.params)), *self._rivals_ahead(o))
        needs = tuple(op for op in dict.fromkeys(wanted) if not self._has_ended(op))
        if needs and not executed_elsewhere:
            self.waiting[o.op] = needs
            ctx.set_timer(f"needs/{o.op}", 2 * self.round_deadline)
            return
        self._start(ctx, o, executed_elsewhere)

    def _start(self, ctx: Ctx, o: Operation, executed_elsewhere: bool = False) -> None:
        spec = self.ledger.kinds[o.kind]
        replaced = {} if executed_elsewhere else self._replaced(o)
        if not executed_elsewhere and (why := self._breaks_rules(o)) is not None:
            self._fail(ctx, o, Aborted(why))
            return
        if replaced and not spec.follows:
            need, successor = next(iter(replaced.items()))
            self._fail_replaced(ctx, o, need, successor)
            ctx.multicast(ctx.others, ResultRequest((o.op,)))  # they may have begun before that
            return
        try:
            made = spec.make(self._execution(ctx, o))
        except UsageError as error:
            if (
                executed_elsewhere
            ):  # it builds on what we have not heard of yet: the others tell both
                self._ask_result(ctx, o)
            else:
                self._fail(ctx, o, Aborted(str(error)))
            return
        if not isinstance(made, Machine):
            self._finish(ctx, o, made if isinstance(made, Result) else Result(str(made)))
        elif executed_elsewhere:
            self._ask_result(ctx, o)
        else:
            child = _child(o, *replaced.values())
            self.running[child] = o.op
            self._keep(ctx, o.op, End(RUNNING))
            ctx.spawn(child, made)

    def _breaks_rules(self, o: Operation) -> str | None:
        """Why we take no part, whoever approved: fewer than `t` may lie, and the rest refuses."""
        assert o.signed is not None
        spec, known = self.ledger.kinds[o.kind], self.ledger.known()
        approving = o.certificate.approvals if o.certificate is not None else ()
        if (why := spec.forbidden(o.signed.proposal, known)) is not None:
            return why
        return spec.lacking(o.params, known, (party for party, _ in approving))

    def _replaced(self, o: Operation) -> dict[str, str]:
        """The operations that `o` needs whose secrets were replaced, and by which."""
        spec = self.ledger.kinds[o.kind]
        found = {need: self.succession.successor(need) for need in spec.after(spec.read(o.params))}
        return {need: by for need, by in found.items() if by not in (None, o.op)}

    def _execution(self, ctx: Ctx, o: Operation) -> Execution:
        assert o.signed is not None
        spec = self.ledger.kinds[o.kind]
        params, replaced = spec.read(o.params), self._replaced(o) if spec.follows else {}
        return Execution(
            session=self.ledger.session,
            op=o.op,
            proposal=o.signed.proposal,
            params={
                name: replaced.get(value, value) if name in spec.references else value
                for name, value in params.items()
            },
            me=ctx.me,
            n=ctx.n,
            t=self.t,
            identity=self.ledger.identity,
            keys=dict(self.ledger.keys),
            results=self.results,
            secrets=dict(self.secrets),
            private=self.private,
            deadline=self.round_deadline,
            fleeting=self.fleeting,
            approving=tuple(p for p, _ in o.certificate.approvals) if o.certificate else (),
            followed=tuple(replaced.values()),
        )

    @property
    def keeps_fleeting(self) -> bool:
        """Whether something is in memory alone for later operations, or will be."""
        return bool(self.fleeting or self._preparing())

    def _preparing(self) -> list[str]:
        kinds, operations = self.ledger.kinds, self.ledger.operations
        return [child for child, op in self.running.items() if kinds[operations[op].kind].fleeting]

    def forget_fleeting(self, ctx: Ctx) -> None:
        """Drop that, because somebody has a copy of us."""
        self.fleeting.clear()
        for child in self._preparing():
            ctx.ask(child, Copied())

    # --- ending ---------------------------------------------------------------------------

    def on_output(self, ctx: Ctx, child: str, outcome: object) -> None:
        """An executor has a result. Its first counts, unless that was none."""
        if isinstance(outcome, Ready):
            self.ready[child] = outcome.holders
            self._let_proceed(ctx, child)
            return
        op = self.running.pop(child, None)
        if op is None:
            op = self.keepers.get(child) or self.lingering.get(child)
            if op is not None and isinstance(outcome, Finished):
                self._finish_late(ctx, self.ledger.operations[op], outcome)
                self._settle(ctx, child, self.ledger.operations[op])
            return
        o = self.ledger.operations[op]
        self.held.pop(child, None)
        self.ready.pop(child, None)
        self._linger(ctx, child, o)
        match outcome:
            case Aborted():
                self._fail(ctx, o, outcome)
                if child not in self.keepers:
                    ctx.forget(child)  # it is bound to nothing
                if not outcome.blamed:  # another may have got what we lacked
                    ctx.multicast(ctx.others, ResultRequest((op,)))
            case Finished(result):
                self._finish(ctx, o, _as_result(result))
            case _:
                self._finish(ctx, o, _as_result(outcome))
        if o.status is Status.EXECUTED:
            self._settle(ctx, child, o)
        if self._holds_retired(o):  # its shares were replaced while it ran
            self._close(ctx, child)

    def _linger(self, ctx: Ctx, child: str, o: Operation) -> None:
        """An executor that has ended stays, for those who are behind; one with everybody's
        signatures, or bound by its own, for as long as they are good for something."""
        if self.ledger.kinds[o.kind].certified and ctx.kept_by(child).keys() & {*_BINDING}:
            self.keepers[child] = o.op
            return
        self.lingering[child] = o.op
        if len(self.lingering) > LINGERING:
            self._close(ctx, next(iter(self.lingering)))

    def _settle(self, ctx: Ctx, child: str, o: Operation) -> None:
        """Its result is stored here."""
        if self.ledger.kinds[o.kind].certified:
            ctx.ask(child, Stored())
        else:
            ctx.forget(child)

    def _close(self, ctx: Ctx, child: str) -> None:
        for known in (self.lingering, self.keepers, self.running, self.held):
            known.pop(child, None)
        self.ready.pop(child, None)
        ctx.close(child)

    def _finish_late(self, ctx: Ctx, o: Operation, outcome: Finished[object]) -> None:
        """An executor gave up and went on listening, as after a confirmation that was lost, and
        has its result after all. Meanwhile the others may have told us what is public of it."""
        result = _as_result(outcome.result)
        if o.status is Status.FAILED:
            self._finish(ctx, o, result)
        elif o.result == Result(result.text, result.data) and o.op not in self.secrets:
            self._keep_secret(ctx, o.op, result)

    def _finish(self, ctx: Ctx, o: Operation, result: Result, source: str = "") -> None:
        self._keep_secret(ctx, o.op, result)
        if result.fleeting is not None:
            self.fleeting[o.op] = result.fleeting
            if len(self.fleeting) > FLEETING:
                del self.fleeting[next(iter(self.fleeting))]
        self._keep(ctx, o.op, End(Status.EXECUTED, text=result.text, data=result.data))
        o.status, o.reason, o.missing, o.blamed = Status.EXECUTED, "", (), ()
        o.result = self.results[o.op] = Result(result.text, result.data)
        facts = self.ledger.kinds[o.kind].facts(result.data)
        ctx.note(notes.Executed(op=o.op, result=result.text, source=source, facts=facts))
        self._retire(ctx, o)
        self._ended(ctx, o)

    def _fail(self, ctx: Ctx, o: Operation, why: Aborted, data: bytes = b"") -> None:
        end = End(Status.FAILED, why.reason, "", data, missing=why.missing, blamed=why.blamed)
        self._keep(ctx, o.op, end)
        o.status, o.reason, o.missing, o.blamed = Status.FAILED, *end_names(end)
        ctx.note(notes.Failed(op=o.op, reason=why.reason, missing=why.missing, blamed=why.blamed))
        self._ended(ctx, o)

    def _ended(self, ctx: Ctx, o: Operation) -> None:
        o.ended_at = ctx.now
        self.missed.pop(o.op, None)
        ctx.cancel_timer(f"needs/{o.op}")
        ctx.cancel_timer(f"result/{o.op}")
        for party in self.waiters.pop(o.op, ()):
            self._report(ctx, party, o)
        self._release(ctx)

    def on_aborted(self, ctx: Ctx, o: Operation) -> None:
        """Operations that need `o` have waited in vain, and find out why when they start."""
        self._release(ctx)

    def _release(self, ctx: Ctx) -> None:
        for op, needs in list(self.waiting.items()):
            if all(self._has_ended(need) for need in needs):
                del self.waiting[op]
                ctx.cancel_timer(f"needs/{op}")
                self._start(ctx, self.ledger.operations[op])
        for child in list(self.held):
            self._let_proceed(ctx, child)

    def _has_ended(self, op: str) -> bool:
        o = self.ledger.operations.get(op)
        if o is None or o.status not in (Status.EXECUTED, Status.FAILED, Status.ABORTED):
            return False
        # We gave up and are bound: the others may have the result, and we may yet hear of it.
        return o.status is not Status.FAILED or _child(o) not in self.keepers

    def on_peer_up(self, ctx: Ctx, ask: PeerUp) -> None:
        """A peer can be reached (again): ask it for signatures that we lack."""
        for child, op in self.keepers.items():
            if self.ledger.operations[op].status is not Status.EXECUTED:
                ctx.ask(child, ask)

    def _keep(self, ctx: Ctx, op: str, end: End) -> None:
        ctx.persist(f"end/{op}", msgspec.msgpack.encode(end))

    # --- one result for each key ----------------------------------------------------------

    def _rivals_ahead(self, o: Operation) -> tuple[str, ...]:
        """Committed operations on the same key that were proposed before `o`."""
        rank = self.succession.rank(o)
        return tuple(
            other.op
            for other in self.succession.rivals(o)
            if other.status is Status.COMMITTED and self.succession.rank(other) < rank
        )

    def _let_proceed(self, ctx: Ctx, child: str) -> None:
        """An executor could bind us: see `succession` for when it may."""
        op = self.running.get(child)
        if op is None:
            return
        o = self.ledger.operations[op]
        later = [
            other.op
            for other in self.succession.rivals(o)
            if self.succession.rank(other) > self.succession.rank(o)
            and f"bound/{other.op}" in ctx.stored
        ]
        if later:
            self._give_up(ctx, child, o, f"operation {later[0]} on the same key was ahead of it")
        elif (why := self._undoes(ctx, o, self.ready.get(child, ()))) is not None:
            self._give_up(ctx, child, o, why)
        elif self._rivals_ahead(o):
            self.held[child] = op
        else:
            self.held.pop(child, None)
            if self.succession.replaced_by(o):
                holders = self.ready.get(child, ())
                ctx.persist(f"bound/{op}", msgspec.msgpack.encode(holders))
            ctx.ask(child, Proceed())

    def _undoes(self, ctx: Ctx, o: Operation, holders: tuple[Party, ...]) -> str | None:
        """Why we must not bind ourselves to `o`: a rival that we signed leaves somebody out, and
        whoever keeps a signature back may complete first that one, then this one."""
        for rival in self.succession.rivals(o):
            bound = ctx.stored.get(f"bound/{rival.op}")
            if bound is None or rival.status is Status.EXECUTED:
                continue
            left = bound_to(bound)
            if back := sorted(set(holders) - set(left) - self._never_held(rival, holders)):
                named = ", ".join(map(str, back))
                return (
                    f"operation {rival.op} may still take the share of {named}, who would hold one "
                    f"again: propose it for holders among {', '.join(map(str, left))}"
                )
        return None

    def _never_held(self, rival: Operation, parties: tuple[Party, ...]) -> set[Party]:
        """Those who hold none of the secrets that `rival` replaces, so that it takes none from
        them; nobody where we do not know who holds these."""
        held: set[Party] = set()
        for old in self.succession.replaced_by(rival):
            held_by = self.ledger.kinds[self.ledger.operations[old].kind].held_by
            if held_by is None or old not in self.results:
                return set()
            held |= set(held_by(self.results[old].data))
        return set(parties) - held

    def _give_up(self, ctx: Ctx, child: str, o: Operation, why: str) -> None:
        """It is never let proceed; it stays for others to come as far, and to the same end."""
        for known in (self.running, self.held):
            known.pop(child, None)
        self.ready.pop(child, None)
        self._linger(ctx, child, o)
        self._fail(ctx, o, Aborted(why))
        ctx.forget(child)  # what it said goes after the end is stored: or it would say it anew

    def _fail_replaced(self, ctx: Ctx, o: Operation, old: str, successor: str) -> None:
        """The key that `o` builds on was replaced meanwhile. A later use of `o` means that key."""
        why = f"the secrets of {old} were replaced by those of {successor}: name that"
        data = self.results[successor].data if self.ledger.kinds[o.kind].certified else b""
        self._fail(ctx, o, Aborted(why), data)
        if data:
            self.results[o.op] = Result(why, data)

    # --- secrets --------------------------------------------------------------------------

    def _keep_secret(self, ctx: Ctx, op: str, result: Result) -> None:
        if result.secret and self.succession.successor(op, result.data) is None:
            ctx.persist(f"secret/{op}", result.secret)
            self.secrets[op] = result.secret

    def restore_share(self, ctx: Ctx, data: bytes, sealed: bytes) -> None:
        """Our user brings a share back.

        Raises:
            UsageError: no operation here made this key, or its shares were replaced since.
        """
        made = [op for op, result in self.results.items() if result.data == data]
        if not made:
            raise UsageError("no operation that is known here made or renewed this key")
        if (successor := self.succession.successor(made[0])) is not None:
            raise UsageError(f"the shares of this key were replaced by those of {successor}")
        ctx.persist(f"secret/{made[0]}", sealed)
        self.secrets[made[0]] = sealed

    def delete_share(self, ctx: Ctx, op: str) -> None:
        """Our user wants to hold it no more.

        Raises:
            UsageError: we hold no such share.
        """
        known = self.results.get(op)
        ours = [
            other
            for other in self.secrets
            if known is not None and self.results[other].data == known.data
        ]
        if not ours:
            raise UsageError(f"operation {op}: this party holds no share of such a key")
        for other in ours:
            del self.secrets[other]
            ctx.persist(f"secret/{other}", None)

    def _retire(self, ctx: Ctx, o: Operation) -> None:
        """Delete the secrets that `o` replaces, from the store and from machines that linger."""
        if not self.succession.add(o):
            return
        for op in [op for op in self.secrets if self.succession.successor(op) is not None]:
            del self.secrets[op]
            ctx.persist(f"secret/{op}", None)
        for rival in self.succession.rivals(o):
            child, old = _child(rival), self.succession.replaced_by(rival)[0]
            bound = f"bound/{rival.op}" in ctx.stored
            successor = self.succession.successor(rival.op if bound else old)
            if child in self.running and successor is not None:
                self._close(ctx, child)
                self._fail_replaced(ctx, rival, old, successor)
                ctx.forget(child)
        for child, op in list(self.running.items()):  # by secrets that are out of use now
            user = self.ledger.operations[op]
            if self.ledger.kinds[user.kind].follows and self._replaced(user):
                if child != _child(user, *self._replaced(user).values()):
                    self._close(ctx, child)
                    ctx.forget(child)
                    self._start(ctx, user)
        for made in self.ledger.operations.values():  # a share that was never confirmed is one too
            if made.signed is None or self.succession.successor(made.op) in (None, made.op):
                continue
            if made.status is not Status.COMMITTED or f"bound/{made.op}" in ctx.stored:
                ctx.forget(_child(made))
                ctx.persist(f"bound/{made.op}", None)
        for child, op in [*self.lingering.items(), *self.keepers.items()]:
            if self._holds_retired(self.ledger.operations[op]):
                self._close(ctx, child)

    def _holds_retired(self, o: Operation) -> bool:
        """Whether `o` holds a replaced secret: it is dropped, and the new one may be asked for."""
        spec = self.ledger.kinds[o.kind]
        replaced = {*self.succession.replaced_by(o)}
        held = {o.op, *spec.after(spec.read(o.params))} - replaced
        return any(self.succession.successor(op) is not None for op in held)

    # --- after a crash --------------------------------------------------------------------

    def restore(self, ctx: Ctx, o: Operation, end: End | None, secret: bytes | None) -> None:
        """Take up a committed operation that this party had stored."""
        if secret is not None:
            self.secrets[o.op] = secret
        resumable = o.kind in self.ledger.kinds and self.ledger.kinds[o.kind].resumable
        if end is not None and end.status == Status.EXPIRED:
            end = None  # it had expired, then it was committed, and nothing came of it yet
        if end is None or (end.status == RUNNING and resumable):
            self.commit(ctx, o)
        elif end.status == RUNNING:
            self._fail(ctx, o, Aborted("this party was restarted while it was executed"))
            self.missed[o.op] = None  # asked for when the others are here
        else:
            o.status = Status(end.status)
            o.reason, o.missing, o.blamed = end_names(end)
            if o.status is Status.EXECUTED:
                o.result = self.results[o.op] = Result(end.text, end.data)
                self._retire(ctx, o)
            elif end.data:
                self.results[o.op] = Result(end.reason, end.data)
            self._listen_if_bound(ctx, o)

    def restored(self, ctx: Ctx) -> None:
        """All that was stored is taken up: what waited for an end that came later is free."""
        self._release(ctx)

    def _listen_if_bound(self, ctx: Ctx, o: Operation) -> None:
        spec = self.ledger.kinds.get(o.kind)
        if spec is not None and spec.resumable and ctx.kept_by(_child(o)).keys() & {*_BINDING}:
            self._listen_on(ctx, o)

    def _listen_on(self, ctx: Ctx, o: Operation) -> None:
        """Our executor kept something, so it was not through: it may have its result late."""
        try:
            made = self.ledger.kinds[o.kind].make(self._execution(ctx, o))
        except UsageError:
            return
        if isinstance(made, Machine):
            self._linger(ctx, _child(o), o)
            ctx.spawn(_child(o), made)

    def on_timer(self, ctx: Ctx, what: str, o: Operation) -> None:
        if what == "needs" and (needs := self.waiting.pop(o.op, None)):
            lacking = ", ".join(op for op in needs if not self._has_ended(op))
            self._fail(ctx, o, Aborted(f"needs {lacking}, which is not done here"))
            self._listen_if_bound(ctx, o)  # we signed in an earlier life
        elif what == "result" and o.status is Status.COMMITTED:
            untold = f"executed without us, and fewer than {self.t} tell how"
            self._fail(ctx, o, Aborted(self._breaks_rules(o) or untold))

    # --- what the others know -------------------------------------------------------------

    def _ask_result(self, ctx: Ctx, o: Operation) -> None:
        self.missed[o.op] = None
        ctx.set_timer(f"result/{o.op}", 2 * self.round_deadline)
        ctx.multicast(ctx.others, ResultRequest((o.op,)))

    def on_result_request(self, ctx: Ctx, sender: Party, ops: tuple[str, ...]) -> None:
        """`sender` wants to know: answer now, or as soon as we know ourselves."""
        for op in dict.fromkeys(ops):  # to ask a thousand times in one message is to ask once
            o = self.ledger.operations.get(op)
            if o is None or not o.status.decided or o.status is Status.ABORTED:
                continue
            if o.status is Status.COMMITTED:
                asking = self.waiters.setdefault(op, [])
                if sender not in asking:
                    asking.append(sender)
            else:
                self._report(ctx, sender, o)

    def _report(self, ctx: Ctx, to: Party, o: Operation) -> None:
        if o.result is not None:
            ctx.send(to, Report(o.op, True, o.result.text, o.result.data))
        elif o.op not in self.missed:
            ctx.send(to, Report(o.op, False, o.reason, b""))

    def on_report(self, ctx: Ctx, sender: Party, report: Report) -> None:
        """Take over what `t` parties say alike. Our own result is never replaced."""
        o = self.ledger.operations.get(report.op)
        if o is None or o.status not in (Status.COMMITTED, Status.FAILED):
            return
        if o.op in self.waiting or o.op in self.running.values():
            return
        told = self.reports.setdefault(o.op, {})
        told[sender] = report
        alike = [r for r in told.values() if r.ok == report.ok and (not r.ok or r == report)]
        if len(alike) < self.t:
            return
        if report.ok:
            del self.reports[o.op]
            self._finish(ctx, o, Result(report.text, report.data), "reports")
        elif o.status is Status.COMMITTED:
            self._fail(ctx, o, Aborted(f"failed at the others: {report.text}"))


def _child(o: Operation, *followed: str) -> str:
    """The name of the machine that executes `o`, with the secrets of `followed` if any: who runs
    it with others speaks to others."""
    return "-".join((o.kind, o.op, *followed))


def bound_to(data: bytes) -> tuple[Party, ...]:
    """The holders of what we signed, from `bound/op` in our store.

    Raises:
        UsageError: it was written by a version that kept no holders.
    """
    try:
        return msgspec.msgpack.decode(data, type=tuple[int, ...])
    except msgspec.DecodeError:
        raise UsageError(
            "the store is of a trial version of mpclab, which did not keep who would hold a key "
            "that was signed: end its operations with that version, or use another folder"
        ) from None


def end_names(end: End) -> tuple[str, tuple[Party, ...], tuple[Party, ...]]:
    return end.reason, end.missing, end.blamed


def _as_result(value: object) -> Result:
    match value:
        case Result():
            return value
        case bytes():
            return Result(value.hex(), value)
        case _:
            return Result(str(value))
