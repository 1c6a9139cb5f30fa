"""Blame: only the guilty are accused.

A suspicion ("this party, or whatever carried its message") is not an accusation, and neither
is one that names nobody; a liar's accusations count for nothing. A party that came back without its
store contradicts what it said before, and is rightly accused of that.
"""

from mpclab.check.facts import Facts, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core.errors import Strength
from mpclab.trace import Blamed

NAME = "blame"
ACCUSATIONS = frozenset({Strength.PROOF, Strength.KNOWN})


def blame(facts: Facts) -> Verdict:
    """No honest party accuses an honest party, of which it says that it is sure."""
    accused = [
        (i, r)
        for i, r in enumerate(facts.rows)
        if isinstance(r, Blamed)
        and r.actor not in facts.faulty
        and r.party is not None
        and r.party in facts.members
        and r.strength in ACCUSATIONS
    ]
    found = [
        (f"party {r.actor} blames party {r.party}, which is honest: {r.reason}", [i])
        for i, r in accused
        if r.party not in facts.faulty
        and not any(row < i for row in facts.emptied.get(r.party or 0, ()))
    ]
    if found:
        return violated(NAME, found)
    if not accused:
        word = "although some parties lied" if facts.faulty else "and nobody lied"
        sentence = f"nobody was blamed, {word}"
        return unknown(NAME, sentence) if facts.faulty else ok(NAME, sentence)
    guilty = names(r.party for _, r in accused if r.party is not None)
    return ok(NAME, f"only the guilty were blamed: {guilty}", [i for i, _ in accused])
