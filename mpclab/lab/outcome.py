"""What became of each operation, told from the trace alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any

import msgspec

from mpclab.core.ids import MS, SERVER, Party
from mpclab.trace.fold import UP, Operation, State
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD

FINAL = ("executed", "failed", "aborted")
"""Where an operation ends at a party."""


class Holding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one party holds of an operation: `open`, `committed`, `executed`, …"""

    status: str
    value: str = ""
    reason: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one operation.

    Attributes:
        operation: its number in the order of proposing, from 1.
        status: committed or aborted, when every honest party that is up says so; otherwise
            undecided, and `reason` tells who holds what.
        parties: what each party holds.
        committed_at_ms: when the last of them committed, ms after the session was ready.
        result: what executing it gave, when all agree on it.
    """

    operation: int
    op: str
    kind: str
    by: Party | None
    status: str
    parties: dict[Party, Holding]
    reason: str = ""
    proposed_at_ms: float | None = None
    committed_at_ms: float | None = None
    result: str = ""

    def __repr__(self) -> str:
        what = f"{self.operation}. {self.kind} by party {self.by}: {self.status}"
        if self.status == "committed" and self.result:
            return f"{what} → {self.result}"
        return f"{what} ({self.reason})" if self.reason else what


class Outcomes(tuple[Outcome, ...]):
    """The outcomes of all operations, in the order of proposing; may be awaited."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Outcomes]:
        yield from ()
        return self

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "nothing was proposed yet"


class Tracker:
    """Follows a growing trace and knows, at any time, what became of every operation.

    Args:
        base: which session: its party p is the actor `base + p`. Rows of others are left out.
        n: how many parties it has.
    """

    def __init__(self, trace: Trace, base: int, n: int) -> None:
        self._trace = trace
        self._ours = {WORLD, SERVER, *range(base + 1, base + n + 1)}
        self._base = base
        self._read = 0
        self.state = State()

    def follow(self) -> State:
        """Take in the rows that came since last time (deliveries are of no interest here)."""
        rows = self._trace.rows
        while self._read < len(rows):
            row = rows[self._read]
            self._read += 1
            if row.actor in self._ours:
                self.state.apply(row)
        return self.state

    def settled(self, parties: tuple[Party, ...], expected: int, *, agreed: bool = False) -> bool:
        """Whether at least `expected` operations are known and each of them has ended at every
        one of `parties` that is up.

        `agreed`: an agreement protocol decides, so what one committed and another gave up has
        not ended: the other hears of it yet, and evidence overrules its having given up.
        """
        state = self.follow()
        proposed = [o for o in state.operations.values() if o.proposed_at is not None]
        up = [self._base + p for p in self._up(parties)]
        if agreed and any(_is_split(operation, up) for operation in proposed):
            return False
        return len(proposed) >= expected and all(
            operation.standing.get(actor) in FINAL
            for operation in proposed
            for actor in up
            if not _missed(operation, actor)
        )

    def outcomes(
        self,
        parties: tuple[Party, ...],
        *,
        since: int = 0,
        faulty: frozenset[Party] = frozenset(),
    ) -> Outcomes:
        """The outcome of every operation, in the order of proposing."""
        state = self.follow()
        known = [o for o in state.operations.values() if o.proposed_at is not None]
        judges = [p for p in self._up(parties) if p not in faulty]
        return Outcomes(
            _outcome(i, _by_party(o, self._base), parties, judges, since)
            for i, o in enumerate(known, 1)
        )

    def _up(self, parties: tuple[Party, ...]) -> list[Party]:
        states = self.follow().parties
        return [
            p for p in parties if (one := states.get(self._base + p)) is not None and one.life == UP
        ]


def _is_split(one: Operation, up: list[Party]) -> bool:
    """Whether some of `up` committed it and others of them gave it up."""
    words = {one.standing.get(actor) for actor in up}
    return "aborted" in words and bool(words & {"committed", "executed", "failed"})


def _missed(one: Operation, actor: Party) -> bool:
    """Whether `actor` never heard of it, and everyone who did has given it up: nobody will tell
    it any more, and it has nothing to settle."""
    said = set(one.standing.values())
    return actor not in one.standing and bool(said) and said == {"aborted"}


def _by_party(one: Operation, base: int) -> Operation:
    """The operation with party numbers instead of actors."""
    if base == 0:
        return one
    fields: dict[str, Any] = {
        name: {actor - base: value for actor, value in getattr(one, name).items()}
        for name in ("votes", "standing", "commits", "aborts", "results")
    }
    return dataclasses.replace(one, **fields)


def _outcome(
    number: int, one: Operation, parties: tuple[Party, ...], judges: list[Party], since: int
) -> Outcome:
    holdings = {p: _holding(one, p) for p in parties}
    judges = [p for p in judges if not _missed(one, p)]
    committed = [p for p in judges if p in one.commits]
    aborted = [p for p in judges if one.standing.get(p) == "aborted"]
    values = {one.commits[p].value for p in committed}
    reason, result, done_at = "", "", None
    if judges and len(committed) == len(judges) and len(values) == 1:
        status = "committed"
        done_at = max(one.commits[p].at for p in committed)
        results = {one.results[p] for p in committed if p in one.results}
        failed = [p for p in committed if one.standing.get(p) == "failed"]
        result = results.pop() if len(results) == 1 and not failed else ""
        if failed:
            reason = f"committed, but not executed: {one.results[failed[0]]}"
    elif judges and len(aborted) == len(judges):
        status = "aborted"
        reason = one.aborts[aborted[0]]
    else:
        status = "undecided"
        reason = _split(one, judges)
    at = None if one.proposed_at is None else (one.proposed_at - since) / MS
    return Outcome(
        number, one.op, one.kind, one.by, status, holdings, reason, at,
        None if done_at is None else (done_at - since) / MS, result,
    )  # fmt: skip


def _holding(one: Operation, party: Party) -> Holding:
    status = one.standing.get(party, "unheard")
    value = one.commits[party].value if party in one.commits else ""
    reason = one.aborts.get(party, "") if status == "aborted" else ""
    return Holding(status, value, reason or (one.results[party] if status == "failed" else ""))


def _split(one: Operation, judges: list[Party]) -> str:
    groups: dict[str, list[Party]] = {}
    for party in judges:
        held = _holding(one, party)
        said = f"committed {held.value[:8]}" if held.value else held.status
        groups.setdefault(said, []).append(party)
    return "; ".join(
        f"part{'y' if len(who) == 1 else 'ies'} {', '.join(map(str, who))}: {said}"
        for said, who in groups.items()
    )
