"""The facts of a run that every check needs, read from its trace once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Protocol, TypeAlias, TypeVar, cast

from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party
from mpclab.core.notes import Invoked, Note, Returned, class_of
from mpclab.trace import Dropped, Fault, Lied, Linked, Noted, Row, Sent, Trace
from mpclab.trace.flights import Flight, flights
from mpclab.trace.fold import UP, Decision, State

__all__ = ["Decision", "Facts", "NeedsApprovals", "PolicyLike", "Vote", "names"]

N = TypeVar("N", bound=Note)


class NeedsApprovals(Protocol):
    """An approval policy, as far as checks care: how many must approve."""

    @property
    def needed(self) -> int: ...


PolicyLike: TypeAlias = "str | NeedsApprovals"


class MessagesGone(Exception):
    """A check asks for messages, which the trace did not keep."""


_REACHED = ("confirmed", "relay")
"""States of a link at whose other end is somebody."""


@dataclass(frozen=True, slots=True)
class Vote:
    """A party's answer to an operation, and in which row."""

    row: int
    party: Party
    approve: bool


@dataclass
class Facts:
    """A trace, and what its readers agree on. Rows are row numbers, and stand for time: what
    comes before in the trace came before.

    Attributes:
        n: number of parties; `members` is `1..n`.
        needed: approvals that the policy asks for.
        faulty: parties whose word does not count; the others are honest.
        final: the state after the last row.
        patience: how long a proposal may stay open, µs, where the run was stopped while something
            was left to happen; None: it had come to rest.
        whole: whether the trace has every message; else who asks for them gets `MessagesGone`.
        idle: faults that were planned, and had nothing to act on, in words.
    """

    trace: Trace
    n: int
    needed: int
    faulty: frozenset[Party]
    rows: list[Row]
    final: State
    patience: int | None = None
    whole: bool = True
    idle: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        trace: Trace,
        *,
        n: int,
        policy: PolicyLike = "unanimous",
        faulty: Iterable[Party] | None = None,
        patience: int | None = None,
        rows: list[Row] | None = None,
    ) -> Facts:
        """Read `trace`. `faulty=None`: those that the trace itself shows to be liars; `rows`: its
        rows, where they are read already.

        Raises:
            UsageError: n is not positive, or the policy is not one.
        """
        if n < 1:
            raise UsageError(f"n: {n} parties; a run has at least one")
        rows = list(trace) if rows is None else rows
        final = State()
        final.read(rows)
        # A malicious server is none of the parties, and neither is a liar of another session.
        liars = final.liars if faulty is None else faulty
        members = frozenset(range(1, n + 1))
        needed = approvals_needed(policy, n)
        return cls(trace, n, needed, members.intersection(liars), rows, final, patience)

    @property
    def members(self) -> range:
        return range(1, self.n + 1)

    @property
    def honest(self) -> tuple[Party, ...]:
        return tuple(p for p in self.members if p not in self.faulty)

    @cached_property
    def elsewhere(self) -> frozenset[Party]:
        """Members that run somewhere else: they tell of themselves late, or, where others were
        linked to them and the trace has no row of them, never."""
        linked = {r.peer for r in self.rows if type(r) is Linked and r.state in _REACHED}
        seen = {r.actor for r in self.rows if type(r) is not Dropped}
        return frozenset(self.members) & (self.tellers | (linked - seen))

    @cached_property
    def tellers(self) -> frozenset[Party]:
        """Members that run somewhere else and tell of themselves: their rows are their word."""
        return frozenset(party for _, party, note in self.told(notes.Started) if note.elsewhere)

    @cached_property
    def untimely(self) -> list[notes.Untimely]:
        """What honest parties heard of each other when none should, as their protocol assumes."""
        told = self.told(notes.Untimely)
        return [n for _, p, n in told if not {p, n.sender} & self.faulty]

    # --- what was noted ---

    @cached_property
    def _noted(self) -> dict[type[Note], list[tuple[int, Noted]]]:
        found: dict[type[Note], list[tuple[int, Noted]]] = {}
        for i, row in enumerate(self.rows):
            if type(row) is Noted and 0 < row.actor <= self.n:
                found.setdefault(type(row.note), []).append((i, row))
        return found

    def notes(self, *kinds: type[Note] | str) -> list[tuple[int, Noted]]:
        """The members' notes of these classes or words, with their row numbers, in order."""
        wanted = [class_of(kind) if isinstance(kind, str) else kind for kind in kinds]
        found = [pair for kind in dict.fromkeys(wanted) for pair in self._noted.get(kind, ())]
        return sorted(found, key=lambda pair: pair[0]) if len(wanted) > 1 else found

    @cached_property
    def all_notes(self) -> list[tuple[int, Noted]]:
        """All of the members' notes, in order."""
        return self.notes(*self._noted)

    def told(self, kind: type[N]) -> list[tuple[int, Party, N]]:
        """The members' notes of one class: row, party, note."""
        found = [(i, row.actor, row.note) for i, row in self._noted.get(kind, ())]
        return cast("list[tuple[int, Party, N]]", found)

    @cached_property
    def clock(self) -> list[int]:
        """The time of each row, µs, which never goes back; it does where a host's clock did."""
        return list(accumulate((row.at for row in self.rows), max))

    @cached_property
    def flights(self) -> list[Flight]:
        """The messages, without heartbeats and the like."""
        return [flight for flight in self.all_flights if not flight.background]

    @cached_property
    def all_flights(self) -> list[Flight]:
        if not self.whole:
            raise MessagesGone
        return flights(self.trace)

    @cached_property
    def sent(self) -> dict[tuple[Party, int], int]:
        """The row of each message that was sent, by (sender, id)."""
        return {(row.actor, row.id): i for i, row in enumerate(self.rows) if type(row) is Sent}

    @cached_property
    def untold(self) -> Fault | None:
        """A Byzantine fault of our parties or the server that began and never acted, if any."""
        held: dict[int, Fault] = {}
        idle: list[Fault] = []
        for row in self.rows:
            if type(row) is Fault and row.byzantine and row.phase == "begin":
                if not {SERVER, *self.members}.isdisjoint(row.parties):
                    held[row.index] = row
            elif type(row) is Fault and row.phase == "end" and row.index in held:
                idle.append(held.pop(row.index))
            elif type(row) is Lied:
                held = {i: one for i, one in held.items() if row.actor not in one.parties}
        return next(iter([*idle, *held.values()]), None)

    @cached_property
    def clients(self) -> list[tuple[int, Invoked | Returned]]:
        """What clients outside the group called and got, with the row numbers, in order; those of
        another session have a path."""
        return [
            (i, row.note)
            for i, row in enumerate(self.rows)
            if type(row) is Noted and isinstance(row.note, Invoked | Returned) and not row.path
        ]

    # --- operations ---

    @property
    def crashes(self) -> dict[Party, list[int]]:
        """The rows at which each party stopped running."""
        return {p: rows for p, rows in self.final.crashes.items() if p in self.members}

    @cached_property
    def bare(self) -> bool:
        """A protocol experiment without a coordinator: nothing is proposed, voted, committed."""
        kinds = (notes.Proposed, notes.Heard, notes.Voted, notes.Committed)
        return not any(kind in self._noted for kind in kinds)

    @cached_property
    def decisions(self) -> list[Decision]:
        """The members' commits, aborts and expiries, in order. Where the coordinator ran, its
        word counts; in a bare protocol experiment that of the agreement protocol (`decided`)."""
        return [
            d
            for d in self.final.decisions
            if d.party in self.members and (self.bare or d.what != "decided")
        ]

    def commits(self, *, honest: bool = True) -> list[Decision]:
        return [
            d
            for d in self.decisions
            if d.what in ("committed", "decided") and not (honest and d.party in self.faulty)
        ]

    def aborts(self) -> list[Decision]:
        """Honest parties' final aborts."""
        return [d for d in self.decisions if d.what == "aborted" and d.party not in self.faulty]

    @cached_property
    def votes(self) -> dict[str, list[Vote]]:
        """Everybody's votes, by operation, in order."""
        found: dict[str, list[Vote]] = {}
        for i, party, vote in self.told(notes.Voted):
            found.setdefault(vote.op, []).append(Vote(i, party, vote.approve))
        return found

    @cached_property
    def up(self) -> tuple[Party, ...]:
        """Honest parties that are up at the end."""
        lives = self.final.parties
        return tuple(p for p in self.honest if p in lives and lives[p].life == UP)

    @cached_property
    def known(self) -> dict[str, dict[Party, int]]:
        """For each operation, who proposed or heard of it, and the first row that says so."""
        found: dict[str, dict[Party, int]] = {}
        for i, row in self.notes(notes.Proposed, notes.Heard):
            assert isinstance(row.note, notes.Proposed | notes.Heard)
            found.setdefault(row.note.op, {}).setdefault(row.actor, i)
        return found

    @cached_property
    def proposers(self) -> dict[str, Party]:
        """Who proposed each operation, as those say who heard of it."""
        found: dict[str, Party] = {}
        for _, row in self.notes(notes.Proposed, notes.Heard):
            assert isinstance(row.note, notes.Proposed | notes.Heard)
            found.setdefault(row.note.op, row.note.by or row.actor)
        return found

    @cached_property
    def left_open(self) -> frozenset[str]:
        """The liars' own proposals that no honest party has decided: nobody owes them an end."""
        decided = {d.op for d in (*self.commits(), *self.aborts())}
        liars = {op for op, party in self.proposers.items() if party in self.faulty}
        return frozenset(liars - decided)

    @cached_property
    def emptied(self) -> dict[Party, list[int]]:
        """The rows at which each party came back without its store: a fault had taken it."""
        found: dict[Party, list[int]] = {}
        for i, row in self.notes(notes.Restarted):
            # Its host says so, who has no path.
            if isinstance(row.note, notes.Restarted) and row.note.amnesia and not row.path:
                found.setdefault(row.actor, []).append(i)
        return found

    def _kept(self, party: Party, row: int) -> bool:
        """Whether what a party did in this row is in its store still, if it ever was."""
        return row > max(self.emptied.get(party, ()), default=-1)

    @cached_property
    def unsettled(self) -> dict[str, tuple[Party, ...]]:
        """The honest parties that are up and still owe an end, by operation.

        An operation is owed where an honest party that is up knows of it, or committed it: what
        only liars and the dead know, nobody can settle. A party that never heard of it, or heard
        and forgot it in a crash before it voted, owes it an end only if somebody who is up
        committed it: nobody tells others what it gave up. What was in a store that a fault took
        is known no longer, and an end that was told from it was told. A liar's own proposal is owed
        once an honest party has decided it: before, its proposer may keep it open as long as it
        likes.
        """
        last: dict[tuple[Party, str], Decision] = {(d.party, d.op): d for d in self.decisions}
        certified = {(c.op, party): i for i, party, c in self.told(notes.Certified)}
        committed = {d.op for d in self.commits() if self._kept(d.party, d.row)}
        cast = [(v, op) for op, votes in self.votes.items() for v in votes]
        voted = {(v.party, op) for v, op in cast if self._kept(v.party, v.row)}
        proposed = {
            (party, note.op) for i, party, note in self.told(notes.Proposed) if self._kept(party, i)
        }
        heard = {(party, note.op): i for i, party, note in self.told(notes.Heard)}  # the last time
        found: dict[str, tuple[Party, ...]] = {}
        for op in self.known:
            if op in self.left_open:
                continue
            knows = {
                p
                for p in self.up
                if (p, op) in voted
                or (p, op) in proposed
                or heard.get((p, op), -1) > self._crashed(p)
            }
            words = {p: last[p, op] for p in self.up if (p, op) in last}
            holds = any(
                d.what in ("committed", "decided") and self._kept(d.party, d.row)
                for d in words.values()
            )
            if not (knows or holds):
                continue
            waiting = []
            for p in self.up:
                word = words.get(p)
                if word is None:
                    if p in knows or holds or not all(q in words for q in knows):
                        waiting.append(p)
                elif word.what == "expired":
                    # It said that it stopped waiting, not that it is over.
                    if op in committed or certified.get((op, p), -1) > word.row:
                        waiting.append(p)
            if waiting:
                found[op] = tuple(waiting)
        return found

    @property
    def settled(self) -> bool:
        """Something was proposed, and every honest party that is up has an end for all of it."""
        return bool(self.known) and not self.unsettled and bool(self.decisions)

    def _crashed(self, party: Party) -> int:
        """The row at which a party last crashed; -1: it never did."""
        return self.final.crashes.get(party, [-1])[-1]


def approvals_needed(policy: PolicyLike, n: int) -> int:
    """How many of `n` parties must approve, of `"unanimous"`, `"threshold(k)"` or a policy."""
    if not isinstance(policy, str):
        return policy.needed
    if policy.strip() == "unanimous":
        return n
    if match := re.fullmatch(r"\s*threshold\(\s*(\d+)\s*\)\s*", policy):
        return int(match[1])
    raise UsageError(f"policy: {policy!r} is not known; use unanimous or threshold(k)")


def names(parties: Iterable[Party]) -> str:
    """`party 2`, `parties 2 and 4`, `parties 1, 2 and 3`, for sentences."""
    each = sorted(set(parties))
    if not each:
        return "no party"
    if len(each) == 1:
        return f"party {each[0]}"
    return f"parties {', '.join(map(str, each[:-1]))} and {each[-1]}"
