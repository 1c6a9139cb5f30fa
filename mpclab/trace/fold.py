"""The state of an experiment at a time, as a fold over its trace: what a scrubber shows.

`State` is plain data and `apply` the only thing that changes it, so that the state after row
k is a function of the first k rows alone. `Scrubber` keeps a copy every few hundred rows:
moving a slider back costs as little as moving it on.
"""

import copy
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from mpclab.core.ids import SERVER, Party
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD, Blamed, Fault, Linked, Noted, Row

UP, PAUSED, CRASHED, LEFT = "up", "paused", "crashed", "left"

LIFE: dict[tuple[str, str], str] = {
    ("crash", "begin"): CRASHED,
    ("crash", "end"): UP,
    ("kill", "begin"): CRASHED,
    ("kill", "end"): UP,
    ("restart", "begin"): UP,
    ("pause", "begin"): PAUSED,
    ("pause", "end"): UP,
    ("resume", "begin"): UP,
    ("leave", "begin"): LEFT,
    ("leave", "end"): UP,
    ("join", "begin"): UP,
}
"""What a fault aimed at a party does to it, by the fault's kind and phase."""

LIFE_NOTES = {
    "crashed": CRASHED,
    "restarted": UP,
    "paused": PAUSED,
    "resumed": UP,
    "removed": LEFT,
    "started": UP,
    "stopped": CRASHED,
}
"""The same, as the host itself notes it."""

WEAKEST_FIRST = ("closed", "dialing", "open", "relay", "confirmed")
"""A pair is linked as well as its worse end says."""


@dataclass(slots=True)
class Vote:
    """What a party said of a proposal, when (µs) and in which row."""

    approve: bool
    reason: str
    at: int
    row: int


@dataclass(slots=True)
class Commit:
    """What a party committed, when and in which row; `value` is a digest."""

    value: str
    index: int | None
    head: str
    at: int
    row: int


@dataclass(slots=True)
class Operation:
    """One proposal and all that became of it.

    Attributes:
        standing: each party's latest word: open, certified, committed, executed, failed, aborted.
        commits, aborts, results: by party; aborts and results hold text.
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
    results: dict[Party, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """committed or aborted when anyone says so (committed first), else open."""
        return "committed" if self.commits else "aborted" if self.aborts else "open"

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
    blames: dict[Party, str] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """Everything at one moment. `rows` of the trace have been applied, the last one at `at`."""

    at: int = 0
    rows: int = 0
    parties: dict[Party, PartyState] = field(default_factory=dict)
    server: str = ""  # "" while there is none, then up or down
    members: dict[str, dict[Party, str]] = field(default_factory=dict)  # session → party → state
    links: dict[tuple[Party, Party], str] = field(default_factory=dict)  # (end, other end) → state
    operations: dict[str, Operation] = field(default_factory=dict)
    faults: dict[int, Fault] = field(default_factory=dict)  # those now active

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
            case Linked(_, _, peer, state):
                self.links[actor, peer] = state
            case Fault():
                self._fault(row)
            case Blamed(party=int(guilty), reason=reason):
                self._party(actor).blames[guilty] = reason
            case _:
                pass
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
        """Who believes itself to be the leader and is up."""
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
        if row.phase == "begin":
            self.faults[row.index] = row
        elif row.phase == "end":
            self.faults.pop(row.index, None)
        if life := LIFE.get((row.kind, row.phase)):
            aimed = row.parties or ((row.actor,) if row.actor != WORLD else ())
            for party in aimed:
                self._set_life(party, life)

    def _note(self, row: Noted) -> None:
        actor, details = row.actor, row.details
        if row.what in LIFE_NOTES and len(row.path) == 0:
            self._set_life(actor, LIFE_NOTES[row.what])
        elif actor == SERVER:
            self._server_note(row.what, details)
        elif actor > SERVER:
            if "op" in details:
                self._operation_note(row, str(details["op"]))
            self._protocol_note(self._party(actor), row.what, details)

    def _server_note(self, what: str, details: Mapping[str, Any]) -> None:
        session = str(details.get("session", ""))
        match what:
            case "opened":
                self.members.setdefault(session, {})
            case "joined":
                self._party(int(details["party"]))
                self.members.setdefault(session, {})[int(details["party"])] = "present"
            case "left":
                self.members.setdefault(session, {})[int(details["party"])] = "away"
            case "closed":
                self.members.pop(session, None)

    def _protocol_note(self, party: PartyState, what: str, details: Mapping[str, Any]) -> None:
        match what:
            case "phase":
                party.phase = str(details.get("phase", ""))
                party.phase_op = str(details.get("op", ""))
            case "round":
                party.phase = f"round {details.get('round')} of {details.get('of')}"
                party.phase_op = ""
            case "became-leader":
                party.leader, party.phase, party.phase_op = True, "", ""
                party.term = details.get("term", party.term)
                party.view = details.get("view", party.view)
            case "entered-view" | "became-follower" | "became-candidate":
                party.leader, party.phase, party.phase_op = False, "", ""
                party.term = details.get("term", party.term)
                party.view = details.get("view", party.view)
            case "blocked":
                party.waiting_for = tuple(details.get("waiting_for", ()))
                party.blocked = str(details.get("why", "blocked"))
            case "decided" | "committed" | "aborted" | "executed" | "failed":
                party.waiting_for, party.blocked = (), ""
                if party.phase_op in ("", details.get("op")):
                    party.phase = party.phase_op = ""

    def _operation_note(self, row: Noted, op: str) -> None:
        actor, details, what = row.actor, row.details, row.what
        one = self.operations.setdefault(op, Operation(op))
        match what:
            case "proposed" | "heard":
                one.kind = one.kind or str(details.get("kind", ""))
                if one.by is None:
                    one.by = details.get("by", actor if what == "proposed" else None)
                if what == "proposed":
                    one.text = str(details.get("text", ""))
                    one.proposed_at = row.at
                one.standing.setdefault(actor, "open")
            case "voted":
                reason = str(details.get("reason", ""))
                one.votes[actor] = Vote(bool(details["approve"]), reason, row.at, self.rows)
                one.standing.setdefault(actor, "open")
            case "certified":
                one.certified[actor] = (row.at, tuple(details.get("approvals", ())))
                if one.standing.get(actor, "open") == "open":
                    one.standing[actor] = "certified"
            case "committed" | "decided":
                # Under a coordinator its commit counts; a bare protocol has only its decision.
                if what == "committed" or not (one.votes or one.by or actor in one.commits):
                    value, head = str(details.get("value", "")), str(details.get("head", ""))
                    index = details.get("index")
                    one.kind = one.kind or str(details.get("kind", ""))
                    one.commits[actor] = Commit(value, index, head, row.at, self.rows)
                    one.standing[actor] = "committed"
            case "aborted":
                one.aborts[actor] = str(details.get("reason", ""))
                one.aborted_at[actor] = row.at
                one.standing[actor] = "aborted"
            case "executed":
                one.results[actor] = str(details.get("result", ""))
                one.standing[actor] = "executed"
            case "failed":
                one.results[actor] = str(details.get("reason", ""))
                one.standing[actor] = "failed"


def fold(rows: Iterable[Row], until: int | None = None) -> State:
    """The state after all `rows`, or after those up to time `until` (µs)."""
    state = State()
    for row in rows:
        if until is not None and row.at > until:
            break
        state.apply(row)
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
