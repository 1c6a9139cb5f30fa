"""What became of each operation, told from the trace alone."""

from __future__ import annotations

import msgspec

from mpclab.core.ids import MS, Party
from mpclab.trace.fold import LEFT, UP, Operation, State
from mpclab.trace.log import Trace

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


class Tracker:
    """Follows a growing trace and knows, at any time, what became of every operation."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._read = 0
        self.state = State()

    def follow(self) -> State:
        """Take in the rows that came since last time (deliveries are of no interest here)."""
        rows = self._trace.rows
        while self._read < len(rows):
            self.state.apply(rows[self._read])
            self._read += 1
        return self.state

    def settled(self, parties: tuple[Party, ...], expected: int) -> bool:
        """Whether at least `expected` operations are known and each of them has ended at every
        one of `parties` that is up."""
        state = self.follow()
        if len(state.operations) < expected:
            return False
        up = [p for p in parties if p in state.parties and state.parties[p].life == UP]
        return all(
            operation.standing.get(party) in FINAL
            for operation in state.operations.values()
            if operation.proposed_at is not None
            for party in up
        )

    def outcomes(
        self,
        parties: tuple[Party, ...],
        *,
        since: int = 0,
        faulty: frozenset[Party] = frozenset(),
    ) -> tuple[Outcome, ...]:
        """The outcome of every operation, in the order of proposing."""
        state = self.follow()
        known = [o for o in state.operations.values() if o.proposed_at is not None]
        judges = [
            p
            for p in parties
            if p not in faulty and p in state.parties and state.parties[p].life == UP
        ]
        return tuple(_outcome(i, o, parties, judges, since) for i, o in enumerate(known, 1))

    def members(self, parties: tuple[Party, ...]) -> tuple[Party, ...]:
        """Those of `parties` that have not left."""
        state = self.follow()
        return tuple(p for p in parties if p in state.parties and state.parties[p].life != LEFT)


def _outcome(
    number: int, one: Operation, parties: tuple[Party, ...], judges: list[Party], since: int
) -> Outcome:
    holdings = {p: _holding(one, p) for p in parties}
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
