"""Integrity: each thing is done at most once, and in its order.

An honest party votes one way on an operation, whatever crashes it goes through; commits it at most
once in each of its lives; and carries it out once in a life, after it committed it.
"""

from mpclab.check.facts import Decision, Facts
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.core.words import count

NAME = "integrity"

Found = list[tuple[str, list[int]]]


def integrity(facts: Facts) -> Verdict:
    """No honest party votes both ways, commits or executes an operation twice in one life, or
    executes it uncommitted."""
    commits = facts.commits()
    executed = [e for e in facts.told(notes.Executed) if e[1] not in facts.faulty]
    found = _votes(facts)
    first: dict[tuple[Party, str, int], Decision] = {}
    held: dict[tuple[Party, str], int] = {}
    for d in commits:
        # A restarted party may learn its history again: once a life is allowed.
        before = first.setdefault((d.party, d.op, d.life), d)
        if before is not d:
            found.append((f"party {d.party} committed {d.op} twice", [before.row, d.row]))
        held.setdefault((d.party, d.op), d.row)
    done: dict[tuple[Party, str, int], int] = {}
    for i, party, note in executed:
        if held.get((party, note.op), i) >= i:
            found.append((f"party {party} executed {note.op} without having committed it", [i]))
        life = sum(row < i for row in facts.crashes.get(party, ()))
        if (earlier := done.setdefault((party, note.op, life), i)) != i:
            found.append((f"party {party} executed {note.op} twice", [earlier, i]))
    if found:
        return violated(NAME, found)
    if not commits and not executed:
        if facts.settled:
            return ok(NAME, "nothing was committed, and nothing executed")
        return unknown(NAME, "nobody honest committed anything")
    return ok(
        NAME, f"{count(len(first), 'commit')}, none of them twice; nothing uncommitted was executed"
    )


def _votes(facts: Facts) -> Found:
    """Honest parties that voted both ways, and had not lost their store between."""
    found: Found = []
    for op, votes in facts.votes.items():
        said: dict[Party, list[tuple[bool, int]]] = {}
        for vote in votes:
            if vote.party in facts.faulty:
                continue
            mine = said.setdefault(vote.party, [])
            for approved, row in mine:
                gone = any(row < i < vote.row for i in facts.emptied.get(vote.party, ()))
                if approved != vote.approve and not gone:
                    found.append((f"party {vote.party} voted both ways on {op}", [row, vote.row]))
                    break
            mine.append((vote.approve, vote.row))
    return found
