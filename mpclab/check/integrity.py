"""Integrity: each operation is committed at most once by each party, and only then executed."""

from mpclab.check.facts import Decision, Facts
from mpclab.check.verdict import Verdict, ok, unknown, violated

NAME = "integrity"


def integrity(facts: Facts) -> Verdict:
    """No honest party commits an operation twice in one life, or executes it uncommitted."""
    commits = facts.commits()
    executed = [(i, r) for i, r in facts.notes("executed") if r.actor not in facts.faulty]
    if not commits and not executed:
        return unknown(NAME, "nobody honest committed anything")
    found: list[tuple[str, list[int]]] = []
    first: dict[tuple[int, str, int], Decision] = {}
    for d in commits:
        # A restarted party may learn its history again: once a life is allowed.
        before = first.setdefault((d.party, d.op, d.life), d)
        if before is not d:
            found.append((f"party {d.party} committed {d.op} twice", [before.row, d.row]))
    for i, row in executed:
        op = str(row.details["op"])
        if not any(d.party == row.actor and d.op == op and d.row < i for d in commits):
            found.append((f"party {row.actor} executed {op} without having committed it", [i]))
    if found:
        return violated(NAME, found)
    return ok(NAME, f"{len(first)} commits, none of them twice; nothing uncommitted was executed")
