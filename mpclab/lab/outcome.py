"""The outcome of each operation, told from the trace alone."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Collection, Generator, Iterable
from itertools import islice
from typing import Any

import msgspec

from mpclab.core.ids import MS, SERVER, Party, Path
from mpclab.trace.calls import READ
from mpclab.trace.fold import UP, Operation, State
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD, Dropped, Fault, Noted, Row

FINAL = ("executed", "failed", "aborted")
"""Where an operation ends for good at a party."""


class Progress(enum.StrEnum):
    """How far all operations of a session are, at everybody who is up."""

    OPEN = "open"  # some party has yet to learn or to do something
    EXPIRED = "expired"  # nobody waits any more, and what expired may still be decided
    SETTLED = "settled"  # every operation has ended for good, everywhere


class Holding(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operation's state at one party: `open`, `committed`, `executed`, …"""

    status: str
    value: str = ""
    reason: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of one operation.

    Attributes:
        operation: its number in the order of proposing, from 1.
        status: committed or aborted, when every honest party that is up says so; expired, when
            those that have not aborted it stopped waiting, so that it may yet be committed; split,
            when it ended in two ways; else undecided. `reason` says why, or who holds what.
        parties: what each party holds.
        committed_at_ms: when the last of them committed, ms after the session was ready.
        result: what executing it gave, when all agree on it. `data`: the same for programs, by
            name: of a key its public_key, curve, threshold and holders, of a signature the
            signature and what it is on.
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
    data: dict[str, str | int] = {}

    def __repr__(self) -> str:
        what = f"{self.operation}. {self.kind} by party {self.by}: {self.status}"
        if self.status == "committed" and self.result:
            return f"{what} → {self.result}"
        return f"{what} ({self.reason})" if self.reason else what


class CallOutcome(msgspec.Struct, frozen=True):
    """How a client's call ended, see `mpclab.lab.clients`.

    Attributes:
        call: its number among this client's, from 1.
        status: ok, failed (it never happens), unknown, or open as long as it has not ended.
        answer: what the client was told. `records`: how many operations a read saw.
        invoked_at_ms, returned_at_ms: ms after the session was ready.
    """

    client: int
    call: int
    by: Party
    kind: str
    op: str
    status: str
    text: str = ""
    answer: str = ""
    records: int = 0
    invoked_at_ms: float = 0.0
    returned_at_ms: float | None = None

    def __repr__(self) -> str:
        asks = f"client {self.client} asks party {self.by}: {self.kind} {self.text}".rstrip()
        if self.kind == READ and self.status == "ok":
            return f"{asks}: ok, {self.records} operation{'s' * (self.records != 1)}"
        return f"{asks}: {self.status}" + (f" ({self.answer})" if self.answer else "")


class Outcomes(tuple[Outcome, ...]):
    """The outcomes of all operations, in the order of proposing; may be awaited.

    Attributes:
        calls: the calls of clients outside the group, in the order in which they were made.
    """

    calls: tuple[CallOutcome, ...] = ()

    @classmethod
    def of(cls, made: Iterable[Outcome], calls: Iterable[CallOutcome]) -> Outcomes:
        """The outcomes of operations, and of clients' calls."""
        outcomes = cls(made)
        outcomes.calls = tuple(calls)
        return outcomes

    def __await__(self) -> Generator[Any, None, Outcomes]:
        yield from ()
        return self

    def __repr__(self) -> str:
        return "\n".join(map(repr, [*self, *self.calls])) or "nothing was proposed yet"


class Tracker:
    """Follows a growing trace and knows, at any time, what became of every operation.

    Args:
        base: which session: its party p is the actor `base + p`. Rows of others are left out.
        n: how many parties it has.
        path: of its clients' notes.
        session: its name; without it what the server notes of any session is ours.
    """

    def __init__(self, trace: Trace, base: int, n: int, path: Path = (), session: str = "") -> None:
        self._trace = trace
        self._ours = {WORLD, SERVER, *range(base + 1, base + n + 1)}
        self._base = base
        self._path, self._session = path, session
        self._read = 0
        self.state = State()
        self.heard: set[Party] = set()  # actors that had a row themselves, here or told from there
        self.here: Callable[[], Collection[Party]] = tuple  # the parties that are ours
        # These leave out the operations that have ended, of which there may be thousands.
        self._unsettled: set[str] = set()  # by id, at those who are `_up_then`
        self._up_then: list[Party] = []
        self._place: dict[str, int] = {}  # in the order of proposing, from 0
        self._changed: set[str] = set()  # since `_made` was
        self._made: list[Outcome] = []
        self._made_for: tuple[Any, ...] = ()

    def follow(self) -> State:
        """Take in the rows that came since last time (deliveries are of no interest here)."""
        rows = self._trace.rows
        while self._read < len(rows):
            row = rows[self._read]
            self._read += 1
            if row.actor in self._ours and not self._of_others(row):
                self.state.apply(row)
                if type(row) is not Dropped:  # which a sender here may say of a party elsewhere
                    self.heard.add(row.actor)
                if type(row) is Noted and (op := getattr(row.note, "op", "")):
                    self._unsettled.add(op)
                    self._changed.add(op)
                    one = self.state.operations.get(op)
                    if one is not None and (one.proposed_at is not None or self._foreign(row, one)):
                        self._place.setdefault(op, len(self._place))
        return self.state

    def _of_others(self, row: Row) -> bool:
        """Whether the server notes it of another session, or a fault aims at others alone."""
        if row.actor > SERVER:
            return False
        if type(row) is Fault:
            return bool(row.parties) and self._ours.isdisjoint(row.parties)
        told = getattr(row.note, "session", "") if type(row) is Noted else ""
        return self._session != "" and told not in ("", self._session)

    def _foreign(self, row: Noted, one: Operation) -> bool:
        """Whether a party here heard of what one elsewhere proposed, whose rows are not here. Where
        no party is here, as many as two of those that tell, so that none invents it alone; or the
        one that does."""
        here = self.here()
        if one.by is None or one.by in here or self._base + one.by in self.heard:
            return False
        if here:
            return row.actor - self._base in here
        tellers = {actor for actor in self.heard if actor > SERVER}
        return len(tellers & one.standing.keys()) >= min(2, len(tellers))

    @property
    def elsewhere(self) -> tuple[Party, ...]:
        """The parties that are not ours and tell of themselves."""
        self.follow()
        heard = {actor - self._base for actor in self.heard if actor > SERVER}
        return tuple(sorted(heard - set(self.here())))

    def progress(
        self, parties: tuple[Party, ...], expected: int, faulty: frozenset[Party] = frozenset()
    ) -> Progress:
        """How far at least `expected` operations are at those of `parties` that are up.

        A proposal of a `faulty` party keeps nobody waiting, unless an honest one has decided it.
        """
        state = self.follow()
        up = [self._base + p for p in self._up(parties) if p not in faulty]
        if up != self._up_then:
            self._up_then = up
            self._unsettled = set(state.operations)
        worst = Progress.SETTLED
        for op in sorted(self._unsettled):
            one = state.operations.get(op)
            found = Progress.SETTLED
            if one is not None and (one.proposed_at is not None or op in self._place):
                found = _progress(one, up, self._base, faulty)
            if found is Progress.SETTLED:
                self._unsettled.discard(op)
            elif found is Progress.OPEN:
                return found
            else:
                worst = found
        # One that is planned and was never noted: its proposer died in that very step.
        return worst if len(self._place) >= expected else Progress.EXPIRED

    def outcomes(
        self,
        parties: tuple[Party, ...],
        *,
        since: int = 0,
        faulty: frozenset[Party] = frozenset(),
    ) -> Outcomes:
        """The outcome of every operation, in the order of proposing."""
        state = self.follow()
        judges = [p for p in self._up(parties) if p not in faulty]
        now = (parties, judges, since)
        if now != self._made_for:
            self._made_for, self._made = now, []

        def made(op: str) -> Outcome:
            one = _by_party(state.operations[op], self._base)
            return _outcome(self._place[op] + 1, one, parties, judges, since)

        for op in self._changed:
            if self._place.get(op, len(self._made)) < len(self._made):
                self._made[self._place[op]] = made(op)
        self._changed.clear()
        self._made += [made(op) for op in islice(self._place, len(self._made), None)]
        return Outcomes.of(self._made, self._calls(since))

    def _calls(self, since: int) -> list[CallOutcome]:
        return [
            CallOutcome(
                c.client, c.number, c.party, c.kind, c.op, c.end, c.text, c.answer, c.records,
                (c.at - since) / MS, None if c.ended_at is None else (c.ended_at - since) / MS,
            )
            for c in self.state.calls.values()
            if c.session == self._path
        ]  # fmt: skip

    def _up(self, parties: tuple[Party, ...]) -> list[Party]:
        states = self.follow().parties
        return [
            p
            for p in parties
            if (one := states.get(self._base + p)) is not None
            and one.life == UP
            and self._base + p in self.heard  # of others we only know that they are in the session
        ]


def _progress(one: Operation, up: list[Party], base: Party, faulty: frozenset[Party]) -> Progress:
    words = {one.standing.get(actor, "") for actor in up}
    decided = words & {"committed", *FINAL}
    if words <= {*FINAL}:
        return Progress.SETTLED
    if not decided and (one.by is not None and one.by - base in faulty):
        return Progress.EXPIRED  # a liar's own may never end, whatever the others do
    if not decided and words <= {"expired", ""} and "expired" in words:
        # A party that never heard of it waits for nothing, unless so many say that it expired
        # that it will believe them (one more than may lie).
        said = [one.standing.get(actor, "") for actor in up].count("expired")
        told = "" in words and said > (len(up) - 1) // 3
        return Progress.OPEN if told else Progress.EXPIRED
    return Progress.OPEN


def _by_party(one: Operation, base: int) -> Operation:
    """The operation with party numbers instead of actors."""
    if base == 0:
        return one
    fields: dict[str, Any] = {
        name: {actor - base: value for actor, value in getattr(one, name).items()}
        for name in ("votes", "standing", "commits", "aborts", "expiries", "results", "facts")
    }
    return dataclasses.replace(one, **fields)


def _outcome(
    number: int, one: Operation, parties: tuple[Party, ...], judges: list[Party], since: int
) -> Outcome:
    holdings = {p: _holding(one, p) for p in parties}
    committed = [p for p in judges if p in one.commits]
    aborted = [p for p in judges if one.standing.get(p) == "aborted"]
    expired = [p for p in judges if one.standing.get(p) == "expired"]
    unheard = [p for p in judges if p not in one.standing]
    values = {one.commits[p].value for p in committed}
    reason, result, done_at = "", "", None
    data: dict[str, str | int] = {}
    if judges and len(committed) == len(judges) and len(values) == 1:
        status = "committed"
        done_at = max(one.commits[p].at for p in committed)
        results = {one.results[p] for p in committed if p in one.results}
        failed = [p for p in committed if one.standing.get(p) == "failed"]
        result = results.pop() if len(results) == 1 and not failed else ""
        data = dict(one.facts.get(committed[0], ())) if result else {}
        acting = [p for p in committed if one.standing.get(p) == "committed"]
        if acting and not failed:
            reason = f"not yet executed at part{'y' if len(acting) == 1 else 'ies'} "
            reason += ", ".join(map(str, acting))
        if failed:
            reason = f"committed, but not executed: {one.results[failed[0]]}"
        if reason:
            reason += "".join(_untaken(one))
    elif len(values) > 1 or (committed and aborted):
        status = "split"
        reason = _split(one, judges)
    elif judges and aborted and len(aborted) == len(judges):
        status = "aborted"
        reason = one.aborts[aborted[0]]
    elif expired and len(expired) + len(unheard) == len(judges):
        status = "expired"
        reason = f"{one.expiries[expired[0]]}; it may still be committed"
    else:
        status = "undecided"
        reason = _split(one, judges)
    at = None if one.proposed_at is None else (one.proposed_at - since) / MS
    return Outcome(
        number, one.op, one.kind, one.by, status, holdings, reason, at,
        None if done_at is None else (done_at - since) / MS, result, data,
    )  # fmt: skip


def _untaken(one: Operation) -> list[str]:
    return [
        f"; a private number of party {party} was not taken: {why}"
        for party, why in sorted(one.untaken.items())
    ]


def _holding(one: Operation, party: Party) -> Holding:
    status = one.standing.get(party, "unheard")
    value = one.commits[party].value if party in one.commits else ""
    told = {"aborted": one.aborts, "expired": one.expiries}.get(status, {})
    reason = told.get(party, "")
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
