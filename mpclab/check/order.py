"""Total order, durability, and one leader a term: what a replicated log promises."""

from dataclasses import dataclass, field

from mpclab.check.agreement import places
from mpclab.check.facts import Decision, Facts, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core import notes
from mpclab.core.ids import Party

Found = list[tuple[str, list[int]]]


def total_order(facts: Facts) -> Verdict:
    """Honest parties commit the same operations at the same places, each in order."""
    honest = (d for d in facts.decisions if d.party not in facts.faulty)
    ordered = [d for d in honest if d.index is not None]
    if not ordered:
        unordered = len(facts.commits())
        why = "this protocol orders nothing" if unordered else "nobody honest committed anything"
        return unknown("total-order", why)
    found = places(facts)
    previous: dict[tuple[Party, int], Decision] = {}
    for d in ordered:
        assert d.index is not None
        if d.what == "aborted":
            continue  # it may be learnt late, without what comes after it
        before = previous.get((d.party, d.life))
        if before is not None and before.index is not None and d.index <= before.index:
            said = f"party {d.party} committed index {d.index} after {before.index}"
            found.append((said, [before.row, d.row]))
        previous[d.party, d.life] = d
    if found:
        return violated("total-order", found)
    count = len({d.index for d in ordered})
    return ok(
        "total-order",
        f"{count} operation{'s' * (count != 1)} stand{'s' * (count == 1)} in one order "
        f"at {names(d.party for d in ordered)}",
    )


# --- durability -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Memory:
    """One party's commits, and those among them that it showed since its last crash."""

    held: dict[str, Decision] = field(default_factory=dict)
    places: dict[int, Decision] = field(default_factory=dict)
    tip: str = ""
    crash: int = -1  # the row of the last crash
    owed: dict[str, Decision] = field(default_factory=dict)  # not shown yet since then
    shown: bool = True  # whether it has said with what it came back


def durability(facts: Facts) -> Verdict:
    """A party holds after a crash all that it committed before, if it came back with its store."""
    decisions = {d.row: d for d in facts.decisions}
    speaking = (notes.Proposed, notes.Heard, notes.Voted)
    rows = [(i, row.actor) for i, row in facts.notes(notes.Restored, *speaking)]
    emptied = {row: party for party, times in facts.emptied.items() for row in times}
    rows += emptied.items()
    rows += [(d.row, d.party) for d in facts.decisions]
    rows += [(row, party) for party, crashes in facts.crashes.items() for row in crashes]
    memories = {p: _Memory() for p in facts.honest}
    found: Found = []
    judged: list[int] = []
    lost: dict[Party, int] = {}
    for i, party in sorted(rows):
        memory = memories.get(party)
        if memory is None:
            continue
        note = getattr(facts.rows[i], "note", None)
        if i in emptied:
            # A fault took its store: what it had committed nobody can ask of it any more.
            if memory.held:
                lost[party] = i
            memories[party] = _Memory(crash=i)
        elif i in facts.crashes.get(party, ()):
            memory.crash, memory.owed, memory.shown = i, dict(memory.held), not memory.held
        elif isinstance(note, notes.Restored):
            if memory.owed:
                judged.append(i)
                found += _restored(party, memory, note, i)
            memory.shown, memory.owed = True, {}
        else:
            d = decisions.get(i)
            wrong = [] if d is None else _contradicts(party, memory, d)
            if not wrong and memory.owed and not memory.shown and not facts.bare:
                # It takes part again, and has not said that it still holds what it had.
                memory.shown = True
                wrong = [(f"{_had(party, memory)} and came back with none", [memory.crash, i])]
            if wrong or (d is not None and memory.crash >= 0 and memory.held):
                judged.append(i)
            found += wrong
            if d is not None:
                _remember(memory, d, note)
    if found:
        return violated("durability", found)
    excused = f"a fault took the store of {names(lost)}, which is not judged"
    if not judged:
        why = excused if lost else "no party that had committed anything came back from a crash"
        return unknown("durability", why, lost.values())
    held = "what was committed before a crash was there after it"
    return ok("durability", f"{held}; {excused}" if lost else held, judged)


def _had(party: Party, memory: _Memory) -> str:
    many = len(memory.held)
    return f"party {party} had committed {many} operation{'s' * (many != 1)} before its crash"


def _remember(memory: _Memory, d: Decision, note: object) -> None:
    if d.what not in ("committed", "decided"):
        return
    memory.held.setdefault(d.op, d)
    if d.index is not None:
        memory.places.setdefault(d.index, d)
    memory.owed.pop(d.op, None)
    if isinstance(note, notes.Committed):
        memory.tip = note.tip


def _restored(party: Party, memory: _Memory, note: notes.Restored, row: int) -> Found:
    """Where what came back is less than what was held, or another history."""
    was = _had(party, memory)
    if note.records < len(memory.owed):
        return [(f"{was} and came back with {note.records}", [memory.crash, row])]
    if note.records == len(memory.held) and "" not in (note.head, memory.tip):
        if note.head != memory.tip:
            said = f"{was} under the head {memory.tip} and came back with {note.head}"
            return [(said, [memory.crash, row])]
    return []


def _contradicts(party: Party, memory: _Memory, d: Decision) -> Found:
    """Where a decision after a crash contradicts those before it."""
    found: Found = []
    old = memory.held.get(d.op)
    if old is not None and old.row < memory.crash and d.what != "expired":
        if d.what == "aborted" or d.value != old.value:
            did = "aborted it" if d.what == "aborted" else f"committed {d.value} instead"
            said = f"party {party} had committed {d.op} before its crash and {did} after it"
            found.append((said, [old.row, memory.crash, d.row]))
    other = None if d.index is None else memory.places.get(d.index)
    if other is not None and other.op != d.op and other.row < memory.crash:
        said = f"party {party} held {other.op} at index {d.index} before its crash"
        found.append((f"{said} and {d.op} after it", [other.row, memory.crash, d.row]))
    return found


# --- leaders ----------------------------------------------------------------------------------


def leaders(facts: Facts) -> Verdict:
    """At most one leader in each term or view."""
    elected: dict[tuple[tuple[str, ...], str, int], tuple[int, Party]] = {}
    found: Found = []
    for i, party, note in facts.told(notes.BecameLeader):
        if party in facts.faulty:
            continue
        word = "view" if note.term is None else "term"
        number = (note.view if note.term is None else note.term) or 0
        path = getattr(facts.rows[i], "path", ())
        first, leader = elected.setdefault((path, word, number), (i, party))
        if leader != party:
            said = f"parties {leader} and {party} both became leader in {word} {number}"
            found.append((said, [first, i]))
    if found:
        return violated("leaders", found)
    if not elected:
        return unknown("leaders", "nobody became a leader")
    words = {word for _, word, _ in elected}
    what = words.pop() if len(words) == 1 else "term or view"
    one = len(elected) == 1
    said = f"the one {what}" if one else f"each of {len(elected)} {what}s"
    return ok("leaders", f"{said} had one leader")
