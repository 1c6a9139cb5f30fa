"""Agreement: honest parties never hold different records.

For one operation, no two honest parties commit different values, and none commits what
another aborts (AC1 of atomic commit: Bernstein, Hadzilacos and Goodman 1987, §7.3). Where the
protocol orders operations, no index holds two of them.
"""

from collections.abc import Iterable

from mpclab.check.facts import Decision, Facts, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core.ids import MS
from mpclab.trace import Asked, Fault, Sent

NAME = "agreement"
A_STEP = 20 * MS
"""How far apart the rows of one step of a node may be, on a busy machine. Simulated: not at all."""


def agreement(facts: Facts) -> Verdict:
    """No two honest parties decide differently on one operation, nor on one index."""
    honest = [d for d in facts.decisions if d.party not in facts.faulty]
    commits = [d for d in honest if d.what == "committed"]
    found: list[tuple[str, list[int]]] = []
    for op in _ordered(d.op for d in honest):
        mine = [d for d in commits if d.op == op]
        if len({d.value for d in mine}) > 1:
            because, rows = _told(facts, op, mine)
            found.append(
                (
                    f"{_who(mine)} committed different values for {op}: {_by_value(mine)}{because}",
                    [d.row for d in mine] + rows,
                )
            )
        last = {d.party: d for d in honest if d.op == op}  # a party's final word
        yes = [d for d in last.values() if d.what == "committed"]
        no = [d for d in last.values() if d.what == "aborted"]
        if yes and no:
            found.append(
                (f"{_who(yes)} committed {op} and {_who(no)} aborted it", [d.row for d in yes + no])
            )
    for index in sorted({d.index for d in commits if d.index is not None}):
        here = [d for d in commits if d.index == index]
        if len({d.op for d in here}) > 1:
            what = "; ".join(
                f"{names(d.party for d in here if d.op == op)} {op}"
                for op in _ordered(d.op for d in here)
            )
            found.append(
                (f"index {index} holds different operations: {what}", [d.row for d in here])
            )
    if found:
        return violated(NAME, found)
    if not honest:
        return unknown(NAME, "nobody honest decided anything")
    ops = len({d.op for d in honest})
    return ok(NAME, f"{_who(honest)} decided alike on {ops} operation{'s' * (ops != 1)}")


def _told(facts: Facts, op: str, split: list[Decision]) -> tuple[str, list[int]]:
    """The lie that came before a split, in words, and the messages in which it was told."""
    known = [i for i, r in facts.notes("proposed", "heard", "voted") if r.details.get("op") == op]
    since = _asked_at(facts, known[0]) if known else 0
    rows = list(enumerate(facts.rows[: max(d.row for d in split)]))
    for i, lie in rows:
        if isinstance(lie, Fault) and lie.phase == "act" and lie.actor in facts.faulty:
            if lie.at < since:
                continue
            told = [
                (r.at, j)
                for j, r in rows
                if isinstance(r, Sent) and r.actor == lie.actor
                if lie.text.endswith(f" {r.kind}") and 0 <= r.at - lie.at <= A_STEP
            ]
            at_once = [j for at, j in told if at == lie.at]  # all of them in simulated time
            shown = at_once or [j for _, j in told]
            return f", because party {lie.actor} {lie.text}", [i, *shown]
    return "", []


def _asked_at(facts: Facts, row: int) -> int:
    """When the step began that led to `row`: a liar lies in it before the row is written."""
    note = facts.rows[row]
    for earlier in reversed(facts.rows[:row]):
        if note.at - earlier.at > A_STEP:
            break
        if isinstance(earlier, Asked) and earlier.actor == note.actor:
            return earlier.at
    return note.at


def _ordered(ops: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(ops))


def _who(decisions: list[Decision]) -> str:
    return names(d.party for d in decisions)


def _by_value(decisions: list[Decision]) -> str:
    """`parties 1 and 2 have a1b2…; party 3 has c3d4…`, the larger group first."""
    groups: dict[str, list[int]] = {}
    for d in decisions:
        groups.setdefault(d.value, []).append(d.party)
    largest = sorted(groups.items(), key=lambda item: (-len(set(item[1])), item[1]))
    return "; ".join(
        f"{names(group)} {'has' if len(set(group)) == 1 else 'have'} {value or 'nothing'}"
        for value, group in largest
    )
