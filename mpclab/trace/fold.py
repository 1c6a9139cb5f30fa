"""The state of an experiment at a time, as a fold over its trace: what a scrubber shows.

`State` is plain data and `apply` the only thing that changes it, so that the state after row
k is a function of the first k rows alone. `Scrubber` keeps a copy every few hundred rows:
moving a slider back costs as little as moving it on.
"""

import copy
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations, takewhile
from typing import TypeAlias, assert_never

from mpclab.core import notes
from mpclab.core.ids import SERVER, STRIDE, Party
from mpclab.trace.calls import Call, Name, take_call
from mpclab.trace.log import Trace
from mpclab.trace.rows import (
    Asked,
    Blamed,
    Delivered,
    Dropped,
    Fault,
    Fired,
    Lied,
    Linked,
    Noted,
    Output,
    Persisted,
    Row,
    Sent,
)

UP, PAUSED, CRASHED, LEFT = "up", "paused", "crashed", "left"

WEAKEST_FIRST = ("closed", "dialing", "open", "relay", "confirmed")
"""A pair is linked as well as its worse end says."""


@dataclass(slots=True)
class Vote:
    """A party's answer to a proposal, when (µs) and in which row."""

    approve: bool
    reason: str
    at: int
    row: int


@dataclass(slots=True)
class Commit:
    """A commit of a party, when and in which row; `value` is a digest."""

    value: str
    index: int | None
    head: str
    at: int
    row: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One party's word on how an operation ended, in order of time over the whole run.

    `what` is committed, aborted, expired, or decided: an agreement protocol's commit, which is
    the last word where no coordinator runs.
    """

    party: Party
    op: str
    what: str
    value: str
    index: int | None
    head: str
    at: int
    row: int
    life: int  # how often the party had begun by then, from 1

    def __deepcopy__(self, memo: dict[int, object]) -> "Decision":
        return self


@dataclass(slots=True)
class Operation:
    """One proposal and all that became of it.

    Attributes:
        standing: each party's latest word: open, certified, committed, executed, failed, aborted,
            expired.
        commits, aborts, expiries, results, facts: by party; all but commits and facts hold text.
        untaken: by party, why its private numbers were not taken.
        certified: by party, when it held a certificate, and whose approvals it names.
    """

    op: str
    kind: str = ""
    by: Party | None = None
    text: str = ""
    proposed_at: int | None = None
    votes: dict[Party, Vote] = field(default_factory=dict)
    certified: dict[Party, tuple[int, tuple[Party, ...]]] = field(default_factory=dict)
    standing: dict[Party, str] = field(default_factory=dict)
    commits: dict[Party, Commit] = field(default_factory=dict)
    aborts: dict[Party, str] = field(default_factory=dict)
    aborted_at: dict[Party, int] = field(default_factory=dict)
    expiries: dict[Party, str] = field(default_factory=dict)
    results: dict[Party, str] = field(default_factory=dict)
    facts: dict[Party, tuple[tuple[str, str | int], ...]] = field(default_factory=dict)
    untaken: dict[Party, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """committed, aborted or expired when anyone says so (in this order), else open."""
        if self.commits:
            return "committed"
        return "aborted" if self.aborts else "expired" if self.expiries else "open"

    @property
    def values(self) -> tuple[str, ...]:
        """The different values committed, the most common first. One, if all went well."""
        counts: dict[str, int] = {}
        for commit in self.commits.values():
            counts[commit.value] = counts.get(commit.value, 0) + 1
        return tuple(sorted(counts, key=lambda value: (-counts[value], value)))

    @property
    def split(self) -> bool:
        """Parties ended differently: different values, or one committed and another aborted."""
        last = {p: w for p, w in self.standing.items() if w in ("aborted", "committed", "executed")}
        return len(self.values) > 1 or (bool(self.commits) and "aborted" in last.values())


@dataclass(slots=True)
class PartyState:
    """A party as the trace last showed it. `phase`, `term`, `view` are its protocol's words."""

    life: str = UP
    phase: str = ""
    phase_op: str = ""  # the operation that the phase is about, where it says so
    term: int | None = None
    view: int | None = None
    leader: bool = False
    waiting_for: tuple[Party, ...] = ()
    blocked: str = ""
    voters: tuple[Party, ...] = ()  # who votes by what it knows, in its session; empty: everybody
    votes: bool = True  # whether it is one of them
    blames: dict[Party, str] = field(default_factory=dict)

    def enter(self, phase: str, op: str) -> None:
        self.phase, self.phase_op = phase, op

    def lead(self, leads: bool, term: int | None, view: int | None) -> None:
        """A new term or view, which this party leads or follows."""
        self.leader, self.phase, self.phase_op = leads, "", ""
        self.term = self.term if term is None else term
        self.view = self.view if view is None else view

    def ended(self, op: str) -> None:
        """It settled an operation, or is further with it: nothing blocks it there."""
        self.waiting_for, self.blocked = (), ""
        if self.phase_op in ("", op):
            self.phase = self.phase_op = ""


@dataclass(slots=True)
class State:
    """Everything at one moment. `rows` of the trace have been applied, the last one at `at`.

    Attributes:
        decisions: everybody's commits, aborts and expiries, in order.
        crashes: the rows at which each party stopped.
        liars: parties that a Byzantine fault aimed at, or that said what no machine of theirs
            wanted to say; `told`: the rows of their lies.
        faults: those now active.
        calls: of clients outside the group, in the order in which they were made.
    """

    at: int = 0
    rows: int = 0
    parties: dict[Party, PartyState] = field(default_factory=dict)
    server: str = ""  # "" while there is none, then up or down
    members: dict[str, dict[Party, str]] = field(default_factory=dict)  # session → party → state
    links: dict[tuple[Party, Party], str] = field(default_factory=dict)  # (end, other end) → state
    operations: dict[str, Operation] = field(default_factory=dict)
    faults: dict[int, Fault] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    crashes: dict[Party, list[int]] = field(default_factory=dict)
    liars: set[Party] = field(default_factory=set)
    told: list[int] = field(default_factory=list)
    calls: dict[Name, Call] = field(default_factory=dict)

    def read(self, rows: Iterable[Row]) -> None:
        """Take more rows into account: what `apply` does with each, and quicker."""
        known, number, row = self.parties, self.rows, None
        for row in rows:
            if type(row) in _SILENT and row.actor in known:
                number += 1
            else:
                self.rows = number
                self.apply(row)
                number = self.rows
        if row is not None:
            self.at, self.rows = row.at, number

    def apply(self, row: Row) -> None:
        """Take one more row into account."""
        actor = row.actor
        if actor > SERVER and actor not in self.parties:
            self.parties[actor] = PartyState()
        elif actor == SERVER and not self.server:
            self.server = UP
        match row:
            case Noted():
                self._note(row)
            case Sent() | Delivered() | Dropped() | Fired() | Asked() | Output() | Persisted():
                pass
            case Linked(_, _, peer, state, attempt):
                # While frames are relayed, direct attempts come and go beside them.
                if not (attempt and self.links.get((actor, peer)) == "relay"):
                    self.links[actor, peer] = state
            case Fault():
                self._fault(row)
            case Blamed(party=guilty, reason=reason):
                if guilty is not None:
                    self._party(actor).blames[guilty] = reason
            case Lied():
                self.liars.add(actor)
                self.told.append(self.rows)
            case _:
                assert_never(row)
        self.at = row.at
        self.rows += 1

    def link(self, one: Party, other: Party) -> str:
        """How a pair is linked: confirmed, relay, open, dialing, closed; "" when never tried."""
        ends = [s for s in (self.links.get((one, other)), self.links.get((other, one))) if s]
        return min(ends, key=WEAKEST_FIRST.index) if ends else ""

    @property
    def pairs(self) -> dict[tuple[Party, Party], str]:
        """The pairs of parties that ever had a link, the smaller number first."""
        pairs = combinations(sorted(self.parties), 2)
        return {pair: kind for pair in pairs if (kind := self.link(*pair))}

    @property
    def leaders(self) -> tuple[Party, ...]:
        """The parties that are up and believe themselves to be the leader."""
        return tuple(p for p, s in sorted(self.parties.items()) if s.leader and s.life == UP)

    @property
    def reachable(self) -> tuple[Party, ...]:
        """The parties that are up."""
        return tuple(p for p, s in sorted(self.parties.items()) if s.life == UP)

    # --- what each kind of row changes ---

    def _party(self, party: Party) -> PartyState:
        return self.parties.setdefault(party, PartyState())

    def _set_life(self, actor: Party, life: str) -> None:
        if actor == SERVER:
            self.server = UP if life == UP else "down"
            for session in self.members.values() if life != UP else ():
                session.update(dict.fromkeys(session, "away"))
            return
        if actor < SERVER:
            return
        if life == CRASHED != self._party(actor).life:
            self.crashes.setdefault(actor, []).append(self.rows)
        self._party(actor).life = life
        if life in (CRASHED, LEFT):  # its ends of its links are gone; the others have to notice
            self.parties[actor] = PartyState(life)
            for ends in self.links:
                if ends[0] == actor:
                    self.links[ends] = "closed"
            for one in self.operations.values():  # a vote is stored, having heard is not
                if one.standing.get(actor) == "open" and actor not in one.votes:
                    del one.standing[actor]

    def _fault(self, row: Fault) -> None:
        begun = self.faults.pop(row.index, None) if row.phase == "end" else None
        if row.phase == "begin":
            begun = self.faults[row.index] = row
        if begun is not None and begun.life in (CRASHED, PAUSED, LEFT):
            for party in row.parties:
                self._set_life(party, begun.life if row.phase == "begin" else UP)
        # One of the plan acts when it begins; its own "act" says why it did not.
        if row.byzantine and (row.phase == "begin" or row.index < 0):
            self.liars.update(row.parties)

    def _note(self, row: Noted) -> None:
        """Apply a note; each class has its case, even if it changes nothing."""
        note, actor = row.note, row.actor
        match note:
            case (
                notes.Proposed() | notes.Heard() | notes.Voted() | notes.Certified()
                | notes.Decided() | notes.Committed() | notes.Aborted() | notes.Expired()
                | notes.Executed() | notes.Failed()
            ):  # fmt: skip
                self._operation_note(row, note)
                if not isinstance(note, OPENING):
                    self._party(actor).ended(note.op)
            case notes.Phase(phase, op):
                self._party(actor).enter(phase, op)
            # Of these the host speaks, who has no path; a machine may call its own things alike.
            case notes.Started() | notes.Restarted() | notes.Resumed():
                if not row.path:
                    self._set_life(actor, UP)
            case notes.Crashed():
                if not row.path:
                    self._set_life(actor, CRASHED)
            case notes.Paused():
                if not row.path:
                    self._set_life(actor, PAUSED)
            case notes.Removed():
                if not row.path:
                    self._set_life(actor, LEFT)
            case notes.Opened(session):
                self.members.setdefault(session, {})
            case notes.Joined(session, party):
                self._party(party)
                self.members.setdefault(session, {})[party] = "present"
            case notes.Left(session, party):
                self.members.setdefault(session, {})[party] = "away"
            case notes.Closed(session):
                self.members.pop(session, None)
            case notes.Round(round, of):
                self._party(actor).enter(f"round {round} of {of}", "")
            case notes.BecameLeader(term, view):
                self._party(actor).lead(True, term, view)
            case notes.VotersChanged(voters, old):
                one, both = self._party(actor), tuple(sorted({*voters, *old}))
                one.voters, one.votes = both, actor % STRIDE in both
            case notes.EnteredView(view):
                self._party(actor).lead(False, None, view)
            case notes.SteppedDown():
                self._party(actor).leader = False
            case notes.Blocked(waiting_for, why):
                one = self._party(actor)
                one.waiting_for, one.blocked = waiting_for, why or "blocked"
            case (
                notes.Ignored() | notes.CaughtUp() | notes.Untimely() | notes.Restored()
                | notes.VertexAdded() | notes.AnchorOrdered()
                | notes.KeyAgreed() | notes.PackageRefused() | notes.Signed() | notes.Beacon()
                | notes.Confirmed() | notes.LinkFailed() | notes.Suspected() | notes.StaleOffer()
                | notes.StaleAnswer() | notes.StaleCard() | notes.StaleBox()
                | notes.UnconfirmedDropped() | notes.EarlyDropped() | notes.AskRefused()
                | notes.RelayOverflow()
                | notes.NotAdmitted() | notes.Said() | notes.JoinRefused() | notes.Expelled()
                | notes.Broken() | notes.CouldNot() | notes.Remark()
                | notes.ReadAnswered()
            ):  # fmt: skip
                pass
            case notes.InputWanted(why=why):
                for made in self.operations.values() if why and row.path else ():
                    if row.path[-1].startswith(f"{made.kind}-{made.op}"):
                        made.untaken[actor] = why
            case notes.Invoked() | notes.Returned():
                take_call(self.calls, row, self.rows)
            case _:
                assert_never(note)

    def _operation_note(self, row: Noted, note: "OperationNote") -> None:
        actor, op = row.actor, note.op
        one = self.operations.setdefault(op, Operation(op))
        match note:
            case notes.Proposed(_, _, by) if None not in (by, one.by) and by != one.by:
                pass  # somebody else's, as a party elsewhere told it
            case notes.Proposed(_, kind, by, text):
                one.kind = one.kind or kind
                one.by = actor if one.by is None and by is None else one.by or by
                one.text, one.proposed_at = text, row.at
                one.standing.setdefault(actor, "open")
            case notes.Heard(_, kind, by):
                one.kind = one.kind or kind
                one.by = by if one.by is None else one.by
                one.standing.setdefault(actor, "open")
            case notes.Voted(_, approve, reason):
                one.votes[actor] = Vote(approve, reason, row.at, self.rows)
                one.standing.setdefault(actor, "open")
            case notes.Certified(_, approvals):
                one.certified[actor] = (row.at, approvals)
                if one.standing.get(actor, "open") == "open":
                    one.standing[actor] = "certified"
            case notes.Decided(_, index, value):
                self._decide(row, "decided", op, value, index)
                # Under a coordinator its commit counts; a bare protocol has only its decision.
                if not (one.votes or one.by or actor in one.commits):
                    one.commits[actor] = Commit(value, index, "", row.at, self.rows)
                    one.standing[actor] = "committed"
            case notes.Committed(_, kind, index, _, head, value):
                self._decide(row, "committed", op, value, index, head)
                one.kind = one.kind or kind
                one.commits[actor] = Commit(value, index, head, row.at, self.rows)
                one.standing[actor] = "committed"
            case notes.Aborted(_, reason, index=index):
                self._decide(row, "aborted", op, "", index)
                one.aborts[actor] = reason
                one.aborted_at[actor] = row.at
                one.standing[actor] = "aborted"
            case notes.Expired(_, reason):
                self._decide(row, "expired", op)
                one.expiries[actor] = reason
                one.standing[actor] = "expired"
            case notes.Executed(_, result, _, facts):
                one.results[actor] = result
                one.facts[actor] = facts
                one.standing[actor] = "executed"
            case notes.Failed(_, reason):
                one.results[actor] = reason
                one.standing[actor] = "failed"
            case _:
                assert_never(note)

    def _decide(
        self, row: Noted, what: str, op: str, value: str = "", index: int | None = None,
        head: str = "",
    ) -> None:  # fmt: skip
        life = 1 + len(self.crashes.get(row.actor, ()))
        decision = Decision(row.actor, op, what, value, index, head, row.at, self.rows, life)
        self.decisions.append(decision)


_SILENT = frozenset((Sent, Delivered, Dropped, Fired, Asked, Output, Persisted))
"""Rows that change nothing but the time, most of them all."""

OPENING = (notes.Proposed, notes.Heard, notes.Voted, notes.Certified)
"""Notes on an operation that do not end what its protocol is doing."""

OperationNote: TypeAlias = (
    notes.Proposed
    | notes.Heard
    | notes.Voted
    | notes.Certified
    | notes.Decided
    | notes.Committed
    | notes.Aborted
    | notes.Expired
    | notes.Executed
    | notes.Failed
)


def fold(rows: Iterable[Row], until: int | None = None) -> State:
    """The state after all `rows`, or after those up to time `until` (µs)."""
    state = State()
    end = until
    state.read(rows if end is None else takewhile(lambda row: row.at <= end, rows))
    return state


class Scrubber:
    """Any moment of a trace at the cost of at most `every` rows; follows a growing trace."""

    def __init__(self, trace: Trace, every: int = 500) -> None:
        self._trace = trace
        self._every = every
        self._rows: list[Row] = []
        self._times: list[int] = []
        self._cursor = (0, 0)
        self._kept = [State()]
        self._head = State()

    def at(self, time: int) -> State:
        """The state after every row up to `time` (µs). Yours to keep."""
        self._read()
        wanted = bisect_right(self._times, time)
        state = copy.deepcopy(self._kept[wanted // self._every])
        for row in self._rows[state.rows : wanted]:
            state.apply(row)
        return state

    def _read(self) -> None:
        news, self._cursor = self._trace.since(self._cursor)
        for row in news:
            self._rows.append(row)
            # Real hosts may append a row of another thread a little late: times never go back.
            self._times.append(max(row.at, self._times[-1] if self._times else 0))
            self._head.apply(row)
            if self._head.rows % self._every == 0:
                self._kept.append(copy.deepcopy(self._head))
