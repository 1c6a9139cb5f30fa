"""The explorer counts what TLC counts: two-phase commit as Gray and Lamport wrote it in TLA+.

`TwoPhase.tla` (Gray and Lamport, "Consensus on transaction commit", 2006; the TLA+ examples) has
288 distinct states with three resource managers, says TLC. Its messages are never taken away, ours
are; so what is counted are the values of its four variables among our states.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mpclab.consensus.agreement import Agreement, Decided, Refused
from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message
from mpclab.model.states import AT
from mpclab.search.explore import _Search
from mpclab.search.subject import subject

TM: Party = 1


class TpPrepared(Message, frozen=True):
    pass


class TpOutcome(Message, frozen=True):
    commit: bool


class Tla2pc(Agreement):
    """TwoPhase.tla: its actions are timers and messages. Party 1 is the transaction manager."""

    state = "working"
    prepared: tuple[Party, ...] = ()
    promised = False
    too_soon: ClassVar[bool] = False

    def start(self, ctx: Ctx) -> None:
        self.state = "init" if ctx.me == TM else "working"
        for name in ("abort",) if ctx.me == TM else ("prepare", "abort"):
            ctx.set_timer(name, MS)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        """The specification has no request: its actors act by themselves."""

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name == "prepare":  # RMPrepare
            self.promised = True
            self._be(ctx, "prepared")
            ctx.send(TM, TpPrepared())
        elif ctx.me == TM:  # TMCommit, TMAbort
            self._be(ctx, "committed" if name == "commit" else "aborted")
            ctx.broadcast(TpOutcome(name == "commit"))
        else:  # RMChooseToAbort
            self._be(ctx, "aborted")
            ctx.output(Refused("a", "chose to"))

    def on_message(self, ctx: Ctx, sender: Party, msg: TpPrepared | TpOutcome) -> None:
        match msg:
            case TpPrepared() if self.state == "init":  # TMRcvPrepared
                self.prepared = tuple(sorted({*self.prepared, sender}))
                if len(self.prepared) == ctx.n - 1 - self.too_soon:
                    ctx.set_timer("commit", MS)
            case TpOutcome(commit=True):  # RMRcvCommitMsg
                self._be(ctx, "committed")
                ctx.output(Decided("a", b"a|0"))
            case TpOutcome():  # RMRcvAbortMsg
                if self.state != "aborted":
                    ctx.output(Refused("a", "told to"))
                self._be(ctx, "aborted")

    def _be(self, ctx: Ctx, state: str) -> None:
        self.state = state
        for name in ("prepare", "abort", "commit"):
            ctx.cancel_timer(name)


class Tla2pcTooSoon(Tla2pc):
    """The manager does not wait for the last."""

    too_soon: ClassVar[bool] = True


def search(protocol: type[Agreement]) -> _Search:
    asked = subject(
        protocol, parties=4, submits={}, losses=0, timers=99, crashes=0, repeats=0, torn=False,
        liars=frozenset(), options={},
    )  # fmt: skip
    return _Search(asked, None, 100_000, 30, 0, False, False, (), lambda states, depth: None)


def test_two_phase_commit_has_as_many_states_as_tlc_says() -> None:
    ours = search(Tla2pc)
    found = ours.run()
    assert found.exhausted
    assert found.counterexample is None
    variables = set()
    for state in ours.came:
        tm, *rms = (ours.model.locals[number].node.machine(AT) for number in state.parties)  # type: ignore[union-attr]
        # rmState, tmState, tmPrepared; msgs follows from who promised and from tmState
        variables.add((tuple((r.state, r.promised) for r in rms), tm.state, tm.prepared))
    assert len(variables) == 288


def test_a_manager_that_does_not_wait_for_the_last_is_found() -> None:
    found = search(Tla2pcTooSoon).run().counterexample
    assert found is not None
    assert "differently" in found.problem
