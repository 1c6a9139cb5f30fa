"""What every check needs to know of a run, read from its trace once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeAlias

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.trace import Fault, Noted, Row, Trace
from mpclab.trace.flights import Flight, flights
from mpclab.trace.fold import CRASHED, UP, State

LYING = frozenset(
    {
        "byzantine",
        "silent",
        "equivocate",
        "lie",
        "vote-twice",
        "replay",
        "garbage",
        "send-to-some",
        "last-moment",
        "filter",
    }
)
"""Kinds of fault after which a party is no longer honest. Crashes and links are not lies."""


class NeedsApprovals(Protocol):
    """An approval policy, as far as checks care: how many must approve."""

    @property
    def needed(self) -> int: ...


PolicyLike: TypeAlias = "str | NeedsApprovals"


@dataclass(frozen=True, slots=True)
class Decision:
    """One party's word that an operation was committed or aborted."""

    party: Party
    op: str
    what: str  # committed | aborted
    value: str
    index: int | None
    at: int
    row: int
    life: int  # how often the party had been started by then, from 1


@dataclass
class Facts:
    """A trace, and what its readers agree on. Rows are row numbers.

    Attributes:
        n: number of parties; `members` is `1..n`.
        needed: approvals that the policy asks for.
        faulty: parties that a Byzantine fault aims at; the others are honest.
    """

    trace: Trace
    n: int
    needed: int
    faulty: frozenset[Party]
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        trace: Trace,
        *,
        n: int,
        policy: PolicyLike = "unanimous",
        faulty: Iterable[Party] | None = None,
    ) -> Facts:
        """Read `trace`. `faulty=None`: those that the trace's own Byzantine faults aim at.

        Raises:
            UsageError: n is not positive, or the policy is not one.
        """
        if n < 1:
            raise UsageError(f"n: {n} parties; a run has at least one")
        rows = list(trace)
        if faulty is None:
            faulty = (
                p
                for r in rows
                if isinstance(r, Fault) and r.kind in LYING
                # A fault of the plan only acts when it begins; its own "act" says why it did not.
                if r.phase != "act" or r.index < 0
                for p in r.parties
            )
        # A malicious server is none of the parties, and neither is a liar of another session.
        liars = frozenset(faulty).intersection(range(1, n + 1))
        return cls(trace, n, approvals_needed(policy, n), liars, rows)

    @property
    def members(self) -> range:
        return range(1, self.n + 1)

    @property
    def honest(self) -> tuple[Party, ...]:
        return tuple(p for p in self.members if p not in self.faulty)

    @cached_property
    def final(self) -> State:
        """The state after the last row."""
        state = State()
        for row in self.rows:
            state.apply(row)
        return state

    @cached_property
    def flights(self) -> list[Flight]:
        return flights(self.trace, background=False)

    @cached_property
    def crashes(self) -> dict[Party, list[int]]:
        """The rows at which each party stopped running."""
        found: dict[Party, list[int]] = {}
        state = State()
        up = set(self.members)
        for number, row in enumerate(self.rows):
            state.apply(row)
            if isinstance(row, Fault | Noted):
                now = set(lives_left(state, self.members)) | (up - state.parties.keys())
                for party in up - now:
                    if state.parties[party].life == CRASHED:
                        found.setdefault(party, []).append(number)
                up = now
        return found

    @cached_property
    def bare(self) -> bool:
        """A protocol experiment without a coordinator: nothing is proposed, voted, committed."""
        return not self.notes("proposed", "heard", "voted", "committed")

    @cached_property
    def decisions(self) -> list[Decision]:
        """Everyone's commits and aborts, in order. Where the coordinator ran, its word counts;
        in a bare protocol experiment that of the agreement protocol (`decided`)."""
        words = {"committed": "committed", "aborted": "aborted"}
        if self.bare:
            words["decided"] = "committed"
        found = []
        for number, row in enumerate(self.rows):
            if isinstance(row, Noted) and row.what in words and "op" in row.details:
                if row.actor not in self.members:
                    continue  # of another session that shares the world
                details = row.details
                value, index = str(details.get("value", "")), details.get("index")
                life = 1 + sum(end < number for end in self.crashes.get(row.actor, ()))
                found.append(
                    Decision(
                        row.actor,
                        str(details["op"]),
                        words[row.what],
                        value,
                        index,
                        row.at,
                        number,
                        life,
                    )
                )
        return found

    def commits(self, *, honest: bool = True) -> list[Decision]:
        return [
            d
            for d in self.decisions
            if d.what == "committed" and not (honest and d.party in self.faulty)
        ]

    def notes(self, *what: str) -> list[tuple[int, Noted]]:
        """The members' notes of these names, with their row numbers."""
        return [
            (i, row)
            for i, row in enumerate(self.rows)
            if isinstance(row, Noted) and row.what in what and row.actor in self.members
        ]


def approvals_needed(policy: PolicyLike, n: int) -> int:
    """How many of `n` parties must approve, of `"unanimous"`, `"threshold(k)"` or a policy."""
    if not isinstance(policy, str):
        return policy.needed
    if policy.strip() == "unanimous":
        return n
    if match := re.fullmatch(r"\s*threshold\(\s*(\d+)\s*\)\s*", policy):
        return int(match[1])
    raise UsageError(f"policy: {policy!r} is not known; use unanimous or threshold(k)")


def lives_left(state: State, parties: Iterable[Party]) -> list[Party]:
    """Those of `parties` that are up in `state`."""
    return [p for p in parties if p in state.parties and state.parties[p].life == UP]


def names(parties: Iterable[Party]) -> str:
    """`party 2`, `parties 2 and 4`, `parties 1, 2 and 3`, for sentences."""
    each = sorted(set(parties))
    if not each:
        return "no party"
    if len(each) == 1:
        return f"party {each[0]}"
    return f"parties {', '.join(map(str, each[:-1]))} and {each[-1]}"
