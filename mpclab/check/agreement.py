"""Agreement: honest parties never hold different records.

For one operation, no two honest parties commit different values, and none commits what another
aborts (AC1 of atomic commit: Bernstein, Hadzilacos and Goodman 1987, §7.3). Where the protocol
orders operations, no place holds two of them and none stands at two places. And one history has
one head: parties that committed the same records hold the same hash over them.
"""

import hashlib
from dataclasses import dataclass, field

from mpclab.check.facts import Decision, Facts, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.trace import Lied

NAME = "agreement"

Found = list[tuple[str, list[int]]]


def agreement(facts: Facts) -> Verdict:
    """No two honest parties decide differently on one operation, on its place, or on the head."""
    honest = [d for d in facts.decisions if d.party not in facts.faulty]
    found = [*_records(facts, honest), *places(facts), *_heads(facts)]
    if found:
        return violated(NAME, found)
    if not honest:
        return unknown(NAME, "nobody honest decided anything")
    ops = len({d.op for d in honest})
    return ok(NAME, f"{_who(honest)} decided alike on {ops} operation{'s' * (ops != 1)}")


def _records(facts: Facts, honest: list[Decision]) -> Found:
    """Operations of which honest parties hold different values, or different ends."""
    found: Found = []
    by_op: dict[str, list[Decision]] = {}
    for d in honest:
        by_op.setdefault(d.op, []).append(d)
    for op, mine in by_op.items():
        commits = [d for d in mine if d.what in ("committed", "decided")]
        if len({d.value for d in commits}) > 1:
            because, rows = _told(facts, op, commits)
            said = f"{_who(commits)} committed different values for {op}: {_by_value(commits)}"
            found.append((said + because, [d.row for d in commits] + rows))
        # Both are final: a party that takes its own word back is no better than two that differ.
        yes = list({d.party: d for d in commits}.values())
        no = list({d.party: d for d in mine if d.what == "aborted"}.values())
        if yes and no:
            said = f"{_who(yes)} committed {op} and {_who(no)} aborted it"
            found.append((said, [d.row for d in yes + no]))
    return found


def places(facts: Facts) -> Found:
    """Places that hold two operations, and operations that stand at two places. An abort that a
    log ordered has its place like a commit; one that was only heard of may have none."""
    found: Found = []
    holders: dict[int, dict[str, list[Decision]]] = {}
    stands: dict[str, Decision] = {}
    moved: set[str] = set()
    elsewhere: Found = []
    for d in facts.decisions:
        if d.party in facts.faulty or d.what == "expired":
            continue
        if d.what == "aborted" and d.index is None:
            continue
        if d.index is not None:
            holders.setdefault(d.index, {}).setdefault(d.op, []).append(d)
        first = stands.setdefault(d.op, d)
        if first.index != d.index and d.op not in moved:
            moved.add(d.op)
            here = "no index" if first.index is None else f"index {first.index}"
            there = "none" if d.index is None else d.index
            said = f"{d.op} is at {here} for party {first.party} and at {there} for party {d.party}"
            elsewhere.append((said, [first.row, d.row]))
    for index, ops in sorted(holders.items()):
        if len(ops) > 1:
            what = "; ".join(f"{names(d.party for d in each)} {op}" for op, each in ops.items())
            rows = [d.row for each in ops.values() for d in each]
            found.append((f"index {index} holds different operations: {what}", rows))
    return found + elsewhere


# --- heads ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Chain:
    """One party's commits so far, as a sum of hashes that no order changes."""

    held: set[str] = field(default_factory=set)
    total: int = 0
    highest: int = -1
    empty: set[int] = field(default_factory=set)  # places of the log with no commit of their own
    lost: bool = False  # what it holds cannot be told from the trace

    def add(self, d: Decision) -> None:
        if d.op not in self.held:
            self.held.add(d.op)
            text = f"{d.op}\0{d.value}\0{d.index}".encode()
            self.total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
            self.highest = max(self.highest, -1 if d.index is None else d.index)

    @property
    def key(self) -> tuple[int, int] | None:
        """Names the set of records; None: the chain may end before the last of them."""
        missing = self.highest >= len(self.held) + len(self.empty)
        return None if self.lost or missing else (len(self.held), self.total)


def _heads(facts: Facts) -> Found:
    """Parties that hold the same records under different heads."""
    restored = {(i, party): note for i, party, note in facts.told(notes.Restored)}
    commits = {d.row: d for d in facts.commits()}
    rows = sorted(
        [(i, row.actor) for i, row in facts.notes(notes.Aborted, notes.Committed)]
        + [*restored]
        + [(row, party) for party, times in facts.emptied.items() for row in times]
        + [(row, party) for party, crashes in facts.crashes.items() for row in crashes]
    )
    chains: dict[Party, _Chain] = {p: _Chain() for p in facts.honest}
    first: dict[tuple[int, int], tuple[str, int, Party]] = {}
    found: Found = []
    for i, party in rows:
        chain = chains.get(party)
        if chain is None:
            continue
        if i in facts.emptied.get(party, ()):
            chains[party] = _Chain()  # it begins anew, with nothing
            continue
        if (note := restored.get((i, party))) is not None:
            # It goes on from what it had stored; more or less than it told of is not known here.
            chain.lost = note.records != len(chain.held)
            head = note.head
        elif (d := commits.get(i)) is not None:
            chain.add(d)
            committed = getattr(facts.rows[i], "note", None)
            head = committed.tip if isinstance(committed, notes.Committed) else ""
        elif isinstance(skip := getattr(facts.rows[i], "note", None), notes.Aborted):
            chain.empty |= set() if skip.index is None else {skip.index}
            continue
        else:
            chain.lost = bool(chain.held)  # a crash: `restored` has to say that it is all there
            continue
        if not head or (key := chain.key) is None:
            continue
        other, row, holder = first.setdefault(key, (head, i, party))
        if other != head:
            many = f"the same {key[0]} operation{'s' * (key[0] != 1)}"
            said = f"parties {holder} and {party} committed {many} and hold different heads"
            found.append((f"{said}: {other} and {head}", [row, i]))
            chain.lost = True  # said once
    return found


# --- the lie behind a split -------------------------------------------------------------------


def _told(facts: Facts, op: str, split: list[Decision]) -> tuple[str, list[int]]:
    """The lie that came before a split, in words, and the messages in which it was told."""
    since = min((*facts.known.get(op, {}).values(), *(v.row for v in facts.votes.get(op, ()))),
                default=0)  # fmt: skip
    until = max(d.row for d in split)
    lies = [
        (i, row)
        for i in facts.final.told
        if since <= i < until and isinstance(row := facts.rows[i], Lied)
        if row.actor in facts.faulty
    ]
    if not lies:
        return "", []
    i, lie = next((pair for pair in lies if pair[1].said and pair[1].to), lies[0])
    messages = [facts.sent.get((lie.actor, id)) for id in (lie.id, *lie.said)]
    return f", because party {lie.actor} {in_words(lie)}", [
        i, *(row for row in messages if row is not None)
    ]  # fmt: skip


def in_words(lie: Lied) -> str:
    """`tells party 3 another SignedProposal`."""
    if not lie.kind:
        return "sends messages of its own invention"
    if lie.said:
        return f"tells {names(lie.to) if lie.to else 'the others'} another {lie.kind}"
    return f"keeps its {lie.kind} from {names(lie.to)}"


# --- words ------------------------------------------------------------------------------------


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
