"""Termination: every proposal is settled at every honest party that is up at the end.

A finite trace cannot show that something would *never* happen. So what is unsettled is
`unknown` while messages still fly or a fault of links still bites, and where the run was stopped
before everything in it had had time enough (`Facts.patience`); it is `violated` once the run has
come to rest: then nothing that is left could settle it. Either way it says what each waits for.
`Facts.unsettled` lists the debts: only of those who could know.
"""

from mpclab.check.facts import Facts, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core import notes
from mpclab.core.ids import SECOND, Party
from mpclab.core.notes import op_of
from mpclab.trace import Fault
from mpclab.trace.flights import Flight

NAME = "termination"
COORDINATOR = ("session",)
"""The path of the machine that asks for votes; a protocol of one's own may have none."""


def termination(facts: Facts) -> Verdict:
    """Every proposal has an end at every honest party that is up at the end."""
    ops = list(facts.known)
    if not ops:
        return unknown(NAME, "nothing was proposed")
    found: list[tuple[str, list[int]]] = []
    reasons = _Reasons(facts) if facts.unsettled else None
    for op, waiting in facts.unsettled.items():
        assert reasons is not None
        rows = [min(facts.known[op].values())]
        why: dict[str, list[Party]] = {}
        for p in waiting:
            reason, seen = reasons.of(p, op)
            why.setdefault(reason, []).append(p)
            rows += seen
        each = "; ".join(_said(names(ps), len(ps), reason) for reason, ps in why.items())
        found.append((f"{op} is not settled: {each}", rows))
    if not found:
        owed = [op for op in ops if op not in facts.left_open]
        if not owed:
            return ok(NAME, "nothing was proposed but by liars, and nothing of that is decided")
        what = "the proposal" if len(owed) == 1 else f"all {len(owed)} proposals"
        up = set(facts.up)
        reached = {(row.actor, op) for _, row in facts.all_notes if (op := op_of(row.note))}
        late = sum(
            any(word == "expired" and p in up for p, word in one.standing.items())
            for one in facts.final.operations.values()
        )
        also = f", {late} of them only in that nobody waits any more" if late else ""
        if left := len(ops) - len(owed):
            also += f"; {left} of liars, which nobody decided, not counted"
        deaf = [p for p in facts.up if any((p, op) not in reached for op in owed)]
        where = [p for p in facts.up if p not in deaf]
        unheard = f"; {names(deaf)} never heard of {'it' if len(owed) == 1 else 'some'}"
        return ok(NAME, f"{what} settled at {names(where)}{also}{unheard if deaf else ''}")
    rows = [r for _, rs in found for r in rs]
    waiters = {p for ps in facts.unsettled.values() for p in ps}
    if held := [f for f in facts.final.faults.values() if _excuses(facts, f, waiters)]:
        return unknown(NAME, f"{found[0][0]}; but the {held[0].kind} never healed", rows)
    if facts.patience is not None and (young := _young(facts)) < 2 * facts.patience:
        stopped = f"but the run was stopped when that had lasted {young / SECOND:.3g} s"
        return unknown(NAME, f"{found[0][0]}; {stopped}", rows)
    flying = [f for f in facts.flights if f.fate == "flying" and f.receiver in facts.up]
    if flying:
        count = f"{len(flying)} message{'s were' if len(flying) > 1 else ' was'}"
        return unknown(
            NAME, f"{found[0][0]}; but the run ended while {count} still under way", rows
        )
    return violated(NAME, found)


def _young(facts: Facts) -> int:
    """How long the oldest of what is unsettled had waited at the end, since it was proposed or a
    fault last came or went, µs."""
    stirs = (notes.Crashed, notes.Restarted, notes.Paused, notes.Resumed, notes.Removed)
    rows = [i for i, row in enumerate(facts.rows) if isinstance(row, Fault)]
    rows += [i for i, _ in facts.notes(*stirs)]
    stirred = facts.clock[max(rows, default=0)]
    return max(
        facts.clock[-1] - max(stirred, facts.clock[min(facts.known[op].values())])
        for op in facts.unsettled
    )


def _excuses(facts: Facts, fault: Fault, waiters: set[Party]) -> bool:
    """Whether a fault that still holds may be why `waiters` wait: it is one of links or of the
    server, and since it began not all messages to and from them arrived."""
    if fault.life or set(fault.parties) & facts.faulty:
        return False
    fates = [
        flight.fate
        for flight in facts.all_flights
        if flight.sent_at >= fault.at and (flight.sender in waiters or flight.receiver in waiters)
    ]
    return not fates or any(fate != "delivered" for fate in fates)


def _said(who: str, count: int, reason: str) -> str:
    """`party 3 waits for …`, `parties 3 and 4 wait for …`."""
    if count > 1:
        reason = reason.replace("waits", "wait").replace("has heard", "have heard", 1)
    return f"{who} {reason}"


class _Reasons:
    """The reasons why parties cannot settle operations, in words, with the rows that show it."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.blocked: dict[tuple[Party, str], tuple[int, notes.Blocked]] = {}
        for i, party, note in facts.told(notes.Blocked):
            self.blocked[party, note.op] = (i, note)
        self.spoke = {(row.actor, op) for _, row in facts.all_notes if (op := op_of(row.note))}
        self.coordinated = any(
            row.path[:1] == COORDINATOR for _, row in facts.notes(notes.Proposed, notes.Heard)
        )
        # Dropped messages by (sender, time µs, receiver): in the step of a vote, the vote.
        self.dropped: dict[tuple[Party, int, Party], list[Flight]] = {}
        for flight in facts.flights:
            if flight.fate == "dropped":
                key = (flight.sender, flight.sent_at, flight.receiver)
                self.dropped.setdefault(key, []).append(flight)

    def of(self, party: Party, op: str) -> tuple[str, list[int]]:
        told = [self.blocked[key] for key in ((party, ""), (party, op)) if key in self.blocked]
        if told:
            i, note = max(told, key=lambda pair: pair[0])
            waits = f"waits for {names(note.waiting_for)}" if note.waiting_for else "waits"
            return waits + (f" ({note.why})" if note.why else ""), [i]
        votes = {v.party: v for v in self.facts.votes.get(op, ())}
        gated = votes or self.coordinated
        silent = [p for p in self.facts.members if p not in votes] if gated else []
        lost: list[Party] = []
        rows: list[int] = []
        for voter, vote in votes.items():
            key = (voter, self.facts.rows[vote.row].at, party)
            gone = [f.ended_row for f in self.dropped.get(key, ()) if f.sent_row >= vote.row]
            if gone:
                lost.append(voter)
                rows += [row for row in gone if row is not None]
        parts = []
        if silent:
            parts.append(f"the vote of {names(silent)}, which never came")
        if lost:
            parts.append(f"the vote of {names(lost)}, which was lost on its way")
        if parts:
            return "waits for " + " and ".join(parts), rows
        if (party, op) not in self.spoke:
            return "never heard of it", rows
        if not gated:
            return "waits", rows
        return "has heard every vote and waits for the agreement protocol", rows
