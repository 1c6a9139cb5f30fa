"""Linearizability: the history is one that clients could have seen of a single, correct machine.

A party is the client of what it proposes: `proposed` is the invocation, and the first `executed`,
`failed` or `aborted` there is the response. Where clients outside the group called, what they saw
counts instead: `invoked`, and `returned` with ok or failed; a call that ended unknown may stand
anywhere. A client that read saw the operations up to one, and none after it: it stands between.
What was ok for such a client, and what it read, some honest party has committed.

There must be *one* order of all committed operations that fits every honest party's history, and
real time: what was answered before another operation was invoked stands before it (Herlihy and Wing
1990, §2). An operation whose client was told that it is aborted never happened, and may stand in
nobody's history. An operation never answered, or proposed by a liar, may stand anywhere.

A party's history is in the order of the log's indices. Where nothing orders operations (`direct`,
2pc, …) each party sorts its own by (Lamport stamp, proposer, id), and promises nothing about real
time or about what others have heard: the answer is then `unknown`, but for an operation whose
client was told that it is aborted. All this is a graph of what must come before what, and an
order exists when the graph has no cycle. Real time takes one node for each response, chained in
the order of time, instead of an edge for each pair.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from mpclab.check.agreement import places
from mpclab.check.facts import Decision, Facts, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core import notes
from mpclab.core.ids import MS, Party
from mpclab.core.notes import op_of, word_of

NAME = "linearizability"
ANSWERS = (notes.Executed, notes.Failed, notes.Aborted)
"""The notes that end a call. `expired` does not: the client was told that it may still happen."""

Node: TypeAlias = "str | int"
"""An operation, or the response of one: its row."""


@dataclass(slots=True)
class Call:
    """One operation as its client saw it: when it was invoked and answered, in which rows."""

    by: Party
    invoked_at: int
    invoked: int
    answer: str = ""
    answered_at: int | None = None
    answered: int | None = None
    client: int = 0
    """A client outside the group, or 0: the party's own user."""
    reads: bool = False
    last: str = ""
    """Of a read: the last operation that it saw; "" when it saw none."""

    @property
    def who(self) -> str:
        return f"client {self.client}" if self.client else f"the client of party {self.by}"


class Edge(NamedTuple):
    """Why one node stands before another: `party`'s history, or real time (None)."""

    to: Node
    party: Party | None


def linearizability(facts: Facts) -> Verdict:
    """One order of all committed operations fits every history and what clients saw, when."""
    commits = facts.commits()
    calls = _calls(facts)
    # What a client was told that nobody has is no place in any order: there is no graph of it.
    if wrong := _unfounded({d.op for d in commits}, calls):
        return violated(NAME, wrong)
    if not commits:
        if facts.settled:
            return ok(NAME, "nothing was committed, so any order fits")
        return unknown(NAME, "nobody honest committed anything")
    if not calls:
        return unknown(NAME, "no honest party proposed anything, so no client saw anything")
    wrong = _false_aborts(commits, calls)
    if not wrong and all(d.index is None for d in commits):
        return unknown(NAME, "this protocol orders nothing")
    histories = _histories(commits)
    if not wrong and (cycle := _shortest_cycle(_graph(histories, calls))):
        wrong = [_explain(cycle, histories, calls)]
    # One machine has one thing at one place, whoever looks there, and however little of it.
    if wrong := [*wrong, *places(facts)]:
        return violated(NAME, wrong)
    ops = {d.op for d in commits}
    answered = sum(1 for op in ops if op in calls and calls[op].answered_at is not None)
    many = f"{len(ops)} operation{'s' * (len(ops) != 1)}"
    return ok(
        NAME,
        f"one order of {many} fits the histories of {names(histories)} and what the clients of "
        f"{answered} of them saw",
    )


def _calls(facts: Facts) -> dict[str, Call]:
    """The calls of the honest proposers' clients, by operation."""
    calls: dict[str, Call] = {}
    for i, row in facts.notes(notes.Proposed, *ANSWERS):
        op, at = op_of(row.note), facts.clock[i]
        if row.actor in facts.faulty:
            continue
        if isinstance(row.note, notes.Proposed):
            calls.setdefault(op, Call(row.actor, at, i))
        elif (call := calls.get(op)) and call.by == row.actor and call.answered is None:
            call.answer, call.answered_at, call.answered = word_of(row.note), at, i
    for i, note in facts.clients:
        at = facts.clock[i]
        if isinstance(note, notes.Invoked):
            if note.party not in facts.faulty:
                reads = note.kind == "read"
                calls[note.op] = Call(note.party, at, i, client=note.client, reads=reads)
        elif (call := calls.get(note.op)) and call.client and note.end != "unknown":
            call.answer = "aborted" if note.end == "failed" else note.end
            call.answered_at, call.answered, call.last = at, i, note.last
    return calls


def _reads(calls: Mapping[str, Call]) -> dict[str, Call]:
    """The reads that were answered."""
    return {op: call for op, call in calls.items() if call.reads and call.answer == "ok"}


def _unfounded(committed: set[str], calls: Mapping[str, Call]) -> list[tuple[str, list[int]]]:
    """What clients outside the group were told that no honest party has committed: reads that saw
    it, and operations that were ok."""
    found: list[tuple[str, list[int]]] = []
    for op, call in calls.items():
        if not call.client or call.answer != "ok" or call.answered is None:
            continue
        if call.reads and call.last and call.last not in committed:
            found.append(
                (f"{op} saw {call.last}, which no honest party committed", [call.answered])
            )
        elif not call.reads and op not in committed:
            said = f"{op} was ok for {call.who}, and no honest party committed it"
            found.append((said, [call.answered]))
    return found


def _histories(commits: list[Decision]) -> dict[Party, dict[str, Decision]]:
    """Each honest party's operations in the order of the log, as known at the end. One without a
    place there is in nobody's way here: `places` finds it where others have one for it."""
    found: dict[Party, dict[str, Decision]] = {}
    for d in sorted((d for d in commits if d.index is not None), key=lambda d: d.index or 0):
        found.setdefault(d.party, {}).setdefault(d.op, d)  # told again after a crash: once
    return dict(sorted(found.items()))


def _false_aborts(
    commits: list[Decision], calls: Mapping[str, Call]
) -> list[tuple[str, list[int]]]:
    """Operations whose client was told that they are aborted, and that were committed."""
    found: dict[str, tuple[str, list[int]]] = {}
    for d in commits:
        call = calls.get(d.op)
        if call is not None and call.answered is not None and call.answer == "aborted":
            said = f"{call.who} was told that {d.op} is aborted, and "
            did = "it committed it later" if d.party == call.by else f"party {d.party} committed it"
            found.setdefault(d.op, (said + did, [call.answered, d.row]))
    return list(found.values())


def _graph(
    histories: Mapping[Party, Mapping[str, Decision]], calls: Mapping[str, Call]
) -> dict[Node, list[Edge]]:
    """The operations that must come before each operation."""
    graph: dict[Node, list[Edge]] = {op: [] for mine in histories.values() for op in mine}
    for party, mine in histories.items():
        for before, after in pairwise(mine):
            graph[before].append(Edge(after, party))
    for read, call in _reads(calls).items():
        graph[read] = []
        if call.last in graph:
            graph[call.last].append(Edge(read, call.by))
        for mine in histories.values():
            order = list(mine)
            place = order.index(call.last) + 1 if call.last in mine else 0
            if (call.last in mine or not call.last) and place < len(order):
                graph[read].append(Edge(order[place], call.by))
    seen = {op: call for op, call in calls.items() if op in graph}
    # What clients outside the group saw is told by one witness, row by row: of one moment, too.
    answers = sorted(
        (call.answered_at, not call.client, call.answered)
        for call in seen.values()
        if call.answered_at is not None and call.answered is not None
    )
    graph |= {row: [] for *_, row in answers}
    for (*_, row), (*_, later) in pairwise(answers):
        graph[row].append(Edge(later, None))
    for op, call in seen.items():
        if call.answered is not None:
            graph[op].append(Edge(call.answered, None))
        asked = (call.invoked_at, False, call.invoked if call.client else 0)
        if place := bisect_left(answers, asked):
            graph[answers[place - 1][-1]].append(Edge(op, None))
    return graph


def _shortest_cycle(graph: Mapping[Node, list[Edge]]) -> list[tuple[Node, Edge]]:
    """The shortest way from an operation back to itself; empty when there is none."""
    best: list[tuple[Node, Edge]] = []
    for tries, start in enumerate(_on_cycles(graph)):
        if best and tries > 100:
            break  # a longer proof than need be, in a hopeless history, is a proof too
        came: dict[Node, tuple[Node, Edge]] = {}
        queue: deque[Node] = deque([start])
        while queue and start not in came:
            node = queue.popleft()
            for edge in graph[node]:
                if edge.to not in came:
                    came[edge.to] = (node, edge)
                    queue.append(edge.to)
        if start not in came:
            continue
        way = [came[start]]
        while way[-1][0] != start:
            way.append(came[way[-1][0]])
        if not best or len(way) < len(best):
            best = way[::-1]
    return best


def _on_cycles(graph: Mapping[Node, list[Edge]]) -> list[Node]:
    """The operations that are left when, again and again, what nothing comes before is taken
    away (Kahn 1962): those on cycles, and those behind them."""
    before = dict.fromkeys(graph, 0)
    for edges in graph.values():
        for edge in edges:
            before[edge.to] += 1
    free = [node for node, count in before.items() if not count]
    while free:
        node = free.pop()
        del before[node]
        for edge in graph[node]:
            before[edge.to] -= 1
            if not before[edge.to]:
                free.append(edge.to)
    return [node for node in before if isinstance(node, str)]


def _explain(
    cycle: Iterable[tuple[Node, Edge]],
    histories: Mapping[Party, Mapping[str, Decision]],
    calls: Mapping[str, Call],
) -> tuple[str, list[int]]:
    """Why no order fits, in words, and the rows that show it."""
    reasons: list[str] = []
    witnesses: list[int] = []
    reads = _reads(calls)
    answered = ""  # the operation whose response began a stretch of real time
    for node, edge in cycle:
        if edge.party is not None and (node in reads or edge.to in reads):
            read, other = (node, edge.to) if node in reads else (edge.to, node)
            told = calls[str(read)]
            assert told.answered is not None
            reasons.append(
                f"{told.who} read at party {told.by} and "
                f"{'did not see' if node in reads else 'saw'} {other}"
            )
            witnesses.append(told.answered)
        elif edge.party is not None:
            mine = histories[edge.party]
            before, after = mine[str(node)], mine[str(edge.to)]
            reasons.append(f"party {edge.party} holds {before.op} before {after.op}")
            witnesses += [before.row, after.row]
        elif isinstance(node, str):
            answered = node
        elif isinstance(edge.to, str):
            first, then = calls[answered], calls[edge.to]
            assert first.answered is not None
            assert first.answered_at is not None
            reasons.append(
                f"{answered} was {first.answer} for its client at {first.answered_at / MS:g} ms, "
                f"before {edge.to} was {'asked for' if then.reads else 'proposed'} at "
                f"{then.invoked_at / MS:g} ms"
            )
            witnesses += [first.answered, then.invoked]
    return "no order fits: " + ", but ".join(reasons), witnesses
