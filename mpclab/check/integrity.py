"""Integrity: each operation is committed at most once by each party, and only then executed."""

from mpclab.check.facts import Decision, Facts
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core import notes

NAME = "integrity"


def integrity(facts: Facts) -> Verdict:
    """No honest party commits an operation twice in one life, or executes it uncommitted."""
    commits = facts.commits()
    executed = [e for e in facts.told(notes.Executed) if e[1] not in facts.faulty]
    if not commits and not executed:
        if facts.settled:
            return ok(NAME, "nothing was committed, and nothing executed")
        return unknown(NAME, "nobody honest committed anything")
    found: list[tuple[str, list[int]]] = []
    first: dict[tuple[int, str, int], Decision] = {}
    held: dict[tuple[int, str], int] = {}
    for d in commits:
        # A restarted party may learn its history again: once a life is allowed.
        before = first.setdefault((d.party, d.op, d.life), d)
        if before is not d:
            found.append((f"party {d.party} committed {d.op} twice", [before.row, d.row]))
        held.setdefault((d.party, d.op), d.row)
    for i, party, note in executed:
        if held.get((party, note.op), i) >= i:
            found.append((f"party {party} executed {note.op} without having committed it", [i]))
    if found:
        return violated(NAME, found)
    return ok(NAME, f"{len(first)} commits, none of them twice; nothing uncommitted was executed")
