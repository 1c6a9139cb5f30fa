"""Validity: only what was proposed is committed, and only with enough approvals.

And `certificates`: a certificate names enough parties, all different, all members, and each
honest one among them really approved before.
"""

from mpclab.check.facts import Facts, names
from mpclab.check.verdict import Verdict, ok, unknown, violated


def validity(facts: Facts) -> Verdict:
    """Every operation that an honest party commits was proposed, and enough had approved it."""
    commits = facts.commits()
    if not commits:
        return unknown("validity", "nobody honest committed anything")
    if facts.bare:
        return unknown("validity", "nothing goes through proposals and votes here")
    proposed = {str(r.details["op"]): i for i, r in reversed(facts.notes("proposed"))}
    votes = facts.notes("voted")
    found: list[tuple[str, list[int]]] = []
    for d in commits:
        born = proposed.get(d.op)
        if born is None and facts.faulty:
            # A liar's own proposal need not be in the trace; that others heard it must be.
            heard = (i for i, r in facts.notes("heard", "voted") if r.details.get("op") == d.op)
            born = next(heard, None)
        if born is None or born > d.row:
            found.append((f"party {d.party} committed {d.op}, which nobody had proposed", [d.row]))
            continue
        if not votes:
            continue  # a protocol without an approval gate
        cast = {
            r.actor: (i, bool(r.details.get("approve")))
            for i, r in votes
            if i < d.row and r.details.get("op") == d.op
        }
        yes = {p for p, (_, approve) in cast.items() if approve} | facts.faulty
        if len(yes & set(facts.members)) < facts.needed:
            by = names(sorted(yes - facts.faulty))
            found.append(
                (
                    f"party {d.party} committed {d.op} when only {by} had approved it; "
                    f"{facts.needed} must",
                    [d.row, *(i for i, _ in cast.values())],
                )
            )
    if found:
        return violated("validity", found)
    ops = len({d.op for d in commits})
    return ok(
        "validity",
        ("the" if ops == 1 else f"all {ops}")
        + f" committed operation{'s' * (ops != 1)} had been proposed"
        + (f" and approved by {facts.needed} or more" if votes else ""),
    )


def certificates(facts: Facts) -> Verdict:
    """Every certificate that an honest party accepts carries enough real approvals."""
    held = [(i, r) for i, r in facts.notes("certified") if r.actor not in facts.faulty]
    if not held:
        return unknown("certificates", "nobody honest held a certificate")
    votes = facts.notes("voted")
    found: list[tuple[str, list[int]]] = []
    for i, row in held:
        op, approvals = str(row.details["op"]), tuple(row.details.get("approvals", ()))
        real = {p for p in approvals if p in facts.members}
        prefix = f"party {row.actor} accepted a certificate for {op}"
        if len(real) < len(approvals):
            found.append((f"{prefix} that names a party twice or one that is no member", [i]))
        elif len(real) < facts.needed:
            found.append((f"{prefix} with {len(real)} of the {facts.needed} approvals needed", [i]))
        for p in sorted(real - facts.faulty):
            mine = [
                (j, bool(v.details.get("approve")))
                for j, v in votes
                if v.actor == p and v.details.get("op") == op and j < i
            ]
            if not any(approve for _, approve in mine):
                did = "rejected it" if mine else "had not voted"
                found.append(
                    (f"{prefix} in the name of party {p}, which {did}", [i, *(j for j, _ in mine)])
                )
    if found:
        return violated("certificates", found)
    return ok(
        "certificates",
        f"all {len(held)} certificates carry {facts.needed} or more "
        "approvals that were really given",
    )
