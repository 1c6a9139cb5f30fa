"""Validity: only what was proposed and approved is committed, and nothing is aborted for nothing.

An abort is one of something that was proposed, and has a reason: not enough approvals, because some
party rejected or was not heard, or something that failed. Where all needed approvals reached the
party that aborted and nothing failed in the whole run, it had to commit (AC4 of atomic commit:
Bernstein, Hadzilacos and Goodman 1987, §7.3).

And `certificates`: a certificate names enough parties, all different, all members, and each
honest one among them really approved before.
"""

from mpclab.check.facts import Decision, Facts, Vote, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.trace import Dropped, Fault, Lied

NAME = "validity"

Found = list[tuple[str, list[int]]]


def validity(facts: Facts) -> Verdict:
    """Every commit was proposed and enough had approved it; every abort has a reason."""
    commits = facts.commits()
    found = [] if facts.bare else [*_commits(facts, commits), *_aborts(facts)]
    if found:
        return violated(NAME, found)
    if not commits:
        if facts.settled:
            return ok(NAME, f"nothing was committed: {_aborted(facts)}")
        return unknown(NAME, "nobody honest committed anything")
    if facts.bare:
        return unknown(NAME, "nothing goes through proposals and votes here")
    ops = len({d.op for d in commits})
    return ok(
        NAME,
        ("the" if ops == 1 else f"all {ops}")
        + f" committed operation{'s' * (ops != 1)} had been proposed"
        + (f" and approved by {facts.needed} or more" if facts.votes else "")
        + _trusting(_unheard(facts, commits)),
    )


def _unheard(facts: Facts, commits: list[Decision]) -> set[Party]:
    """Who runs elsewhere and whose approval, which is told nowhere, a commit rests on."""
    unheard: set[Party] = set()
    for op in {d.op for d in commits} if facts.votes else ():
        yes = {v.party for v in facts.votes.get(op, ()) if v.approve} | facts.faulty
        if len(yes) < facts.needed:
            unheard |= facts.elsewhere - yes
    return unheard


def _trusting(unheard: set[Party]) -> str:
    return f"; that {names(unheard)} approved is not in the trace" if unheard else ""


def _aborted(facts: Facts) -> str:
    """`1 operation was aborted`, with reasons."""
    ended = {d.op: d.what for d in facts.decisions}
    count = len(ended)
    words = " or ".join(sorted(set(ended.values())))
    return f"{count} operation{'s were' if count != 1 else ' was'} {words}"


def _commits(facts: Facts, commits: list[Decision]) -> Found:
    found: Found = []
    born = {note.op: i for i, _, note in reversed(facts.told(notes.Proposed))}
    untold = facts.faulty | facts.elsewhere
    if untold:
        # A liar's own proposal need not be in the trace; that others heard it must be.
        for op, heard in facts.known.items():
            born.setdefault(op, min(heard.values()))
        for op, votes in facts.votes.items():
            born.setdefault(op, votes[0].row)
    for d in commits:
        if born.get(d.op, d.row) >= d.row:
            found.append((f"party {d.party} committed {d.op}, which nobody had proposed", [d.row]))
        elif facts.votes:  # else it is a protocol without an approval gate
            cast = _cast(facts, d)
            told = {v.party for v in cast.values() if v.approve}
            elsewhere = (
                p for p in facts.elsewhere if _said_elsewhere(facts, d.op, p, approve=True)
            )
            if len(told | facts.faulty | set(elsewhere)) < facts.needed:
                by = names(sorted(told - facts.faulty))
                said = f"party {d.party} committed {d.op} when only {by} had approved it"
                rows = [d.row, *(v.row for v in cast.values())]
                found.append((f"{said}; {facts.needed} must", rows))
    return found


def _aborts(facts: Facts) -> Found:
    """Aborts in the name of one who did not reject, and aborts for no reason."""
    found: Found = []
    quiet = not _failures(facts)
    judged: set[str] = set()
    # Where somebody had waited too long, the network was too slow: that is a failure as well.
    expired = {note.op: i for i, _, note in reversed(facts.told(notes.Expired))}
    for d in facts.aborts():
        note = getattr(facts.rows[d.row], "note", None)
        assert isinstance(note, notes.Aborted)
        if d.op not in facts.known and not facts.faulty | facts.elsewhere:
            found.append((f"party {d.party} aborted {d.op}, which nobody had proposed", [d.row]))
            continue
        cast = _cast(facts, d)
        # A vote on another version of a liar's proposal counts as a rejection of this one.
        told_one = facts.final.operations[d.op].by not in facts.faulty
        for p in note.rejected if told_one else ():
            if p in facts.honest and not (p in cast and not cast[p].approve):
                if _said_elsewhere(facts, d.op, p, approve=False):
                    continue
                did = "had approved it" if p in cast else "had not voted"
                said = f"party {d.party} aborted {d.op} because party {p} rejected it, which {did}"
                found.append((said, [d.row, *([cast[p].row] if p in cast else [])]))
        if quiet and d.op not in judged and facts.votes:
            judged.add(d.op)
            if d.row < expired.get(d.op, d.row + 1):
                found += _for_nothing(facts, d, cast)
    return found


def _for_nothing(facts: Facts, d: Decision, cast: dict[Party, Vote]) -> Found:
    """The first abort of an operation that all needed approvals had reached, in a quiet run."""
    yes = [v for v in cast.values() if v.approve]
    if len(yes) < facts.needed or any(not v.approve for v in cast.values()):
        return []
    arrived: dict[Party, int] = {}
    for flight in facts.flights:
        if flight.receiver == d.party and flight.ended_row is not None:
            if flight.ended_row < d.row:
                arrived[flight.sender] = max(arrived.get(flight.sender, 0), flight.sent_row)
    if all(v.party == d.party or arrived.get(v.party, -1) >= v.row for v in yes):
        said = f"party {d.party} aborted {d.op}, which {names(v.party for v in yes)} had approved"
        return [(f"{said}, and nothing had failed", [d.row, *(v.row for v in yes)])]
    return []


def _failures(facts: Facts) -> bool:
    """Whether anything at all went wrong in the run."""
    stopped = facts.notes(notes.Crashed, notes.Paused, notes.Removed, notes.LinkFailed)
    return bool(stopped) or any(
        isinstance(row, Dropped | Lied) or (isinstance(row, Fault) and row.phase == "begin")
        for row in facts.rows
    )


def _said_elsewhere(facts: Facts, op: str, party: Party, *, approve: bool) -> bool:
    """Whether a party that runs elsewhere may have voted so: it tells its votes late or never."""
    if party not in facts.elsewhere:
        return False
    told = [vote for vote in facts.votes.get(op, ()) if vote.party == party]
    return not told or any(vote.approve == approve for vote in told)


def _cast(facts: Facts, d: Decision) -> dict[Party, Vote]:
    """Everybody's last vote on the operation before a decision on it."""
    return {v.party: v for v in facts.votes.get(d.op, ()) if v.row < d.row}


def certificates(facts: Facts) -> Verdict:
    """Every certificate that an honest party accepts carries enough real approvals."""
    held = [c for c in facts.told(notes.Certified) if c[1] not in facts.faulty]
    if not held:
        return unknown("certificates", "nobody honest held a certificate")
    found: Found = []
    unheard: set[Party] = set()
    for i, party, note in held:
        real = {p for p in note.approvals if p in facts.members}
        prefix = f"party {party} accepted a certificate for {note.op}"
        if len(real) < len(note.approvals):
            found.append(
                (f"{prefix} that counts a party twice or a party outside the session", [i])
            )
        elif len(real) < facts.needed:
            found.append((f"{prefix} with {len(real)} of the {facts.needed} approvals needed", [i]))
        mine: dict[Party, list[Vote]] = {}
        for vote in facts.votes.get(note.op, ()):
            if vote.row < i:
                mine.setdefault(vote.party, []).append(vote)
        for p in sorted(real - facts.faulty):
            votes = mine.get(p, [])
            if not any(vote.approve for vote in votes):
                if _said_elsewhere(facts, note.op, p, approve=True):
                    # Its vote may come later in the trace, or never.
                    if not any(v.party == p for v in facts.votes.get(note.op, ())):
                        unheard.add(p)
                    continue
                if p in facts.elsewhere:  # told late
                    votes = [v for v in facts.votes.get(note.op, ()) if v.party == p]
                did = "rejected it" if votes else "had not voted"
                rows = [i, *(vote.row for vote in votes)]
                found.append((f"{prefix} in the name of party {p}, which {did}", rows))
    if found:
        return violated("certificates", found)
    return ok(
        "certificates",
        f"all {len(held)} certificates carry {facts.needed} or more "
        "approvals that were really given" + _trusting(unheard),
    )
