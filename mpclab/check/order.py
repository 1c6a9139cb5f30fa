"""Total order, durability, and one leader a term: what a replicated log promises."""

from mpclab.check.facts import Decision, Facts, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core.ids import Party


def total_order(facts: Facts) -> Verdict:
    """Honest parties commit the same operations in the same order, without gaps."""
    commits = [d for d in facts.commits() if d.index is not None]
    if not commits:
        unordered = len(facts.commits())
        why = "this protocol orders nothing" if unordered else "nobody honest committed anything"
        return unknown("total-order", why)
    found: list[tuple[str, list[int]]] = []
    holder: dict[int, Decision] = {}
    place: dict[str, Decision] = {}
    previous: dict[tuple[Party, int], Decision] = {}
    for d in commits:
        assert d.index is not None
        other = holder.setdefault(d.index, d)
        if other.op != d.op:
            found.append(
                (
                    f"at index {d.index}, party {other.party} committed {other.op} and "
                    f"party {d.party} {d.op}",
                    [other.row, d.row],
                )
            )
        elsewhere = place.setdefault(d.op, d)
        if elsewhere.index != d.index:
            found.append(
                (
                    f"{d.op} is at index {elsewhere.index} for party {elsewhere.party} "
                    f"and at {d.index} for party {d.party}",
                    [elsewhere.row, d.row],
                )
            )
        before = previous.get((d.party, d.life))
        if before is not None and before.index is not None and d.index <= before.index:
            found.append(
                (
                    f"party {d.party} committed index {d.index} after {before.index}",
                    [before.row, d.row],
                )
            )
        previous[d.party, d.life] = d
    if found:
        return violated("total-order", found)
    return ok(
        "total-order",
        f"{len(holder)} operations stand in one order at {names(d.party for d in commits)}",
    )


def durability(facts: Facts) -> Verdict:
    """What a party committed before a crash, it holds after it. Amnesia is no excuse here."""
    commits = facts.commits()
    found: list[tuple[str, list[int]]] = []
    judged: list[int] = []
    for party, stops in facts.crashes.items():
        for stop in stops if party not in facts.faulty else ():
            kept = {d.op: d for d in commits if d.party == party and d.row < stop}
            after = [d for d in facts.decisions if d.party == party and d.row > stop]
            told = [
                (i, row)
                for i, row in facts.notes("restored", "caught-up")
                if row.actor == party and i > stop
            ]
            if not kept or not (after or told):
                continue
            judged += [i for i, _ in told] or [after[0].row]
            found += _forgotten(party, stop, kept, after)
            again = {d.op for d in after if d.what == "committed"}
            records = [int(row.details.get("records", 0)) for _, row in told[:1]]
            if told and told[0][1].what == "restored" and records[0] < len(kept.keys() - again):
                was = f"party {party} had committed {len(kept)} operations before its crash"
                found.append((f"{was} and came back with {records[0]}", [stop, told[0][0]]))
    if found:
        return violated("durability", found)
    if not judged:
        return unknown("durability", "no party that had committed anything came back from a crash")
    return ok("durability", "what was committed before a crash was there after it", judged)


def _forgotten(
    party: Party, stop: int, kept: dict[str, Decision], after: list[Decision]
) -> list[tuple[str, list[int]]]:
    """Where decisions after the crash at row `stop` contradict those before it."""
    found: list[tuple[str, list[int]]] = []
    for d in after:
        old = kept.get(d.op)
        if old is not None and (d.what, d.value) != ("committed", old.value):
            did = "aborted it" if d.what == "aborted" else f"committed {d.value} instead"
            said = f"party {party} had committed {d.op} before its crash and {did} after it"
            found.append((said, [old.row, stop, d.row]))
        for other in kept.values():
            if d.index is not None and d.index == other.index and d.op != other.op:
                said = f"party {party} held {other.op} at index {d.index} before its crash"
                found.append((f"{said} and {d.op} after it", [other.row, stop, d.row]))
    return found


def leaders(facts: Facts) -> Verdict:
    """At most one leader in each term or view."""
    elected: dict[tuple[tuple[str, ...], str, int], tuple[int, Party]] = {}
    found: list[tuple[str, list[int]]] = []
    for i, row in facts.notes("became-leader"):
        if row.actor in facts.faulty:
            continue
        word = "term" if "term" in row.details else "view"
        number = int(row.details.get(word, 0))
        first, leader = elected.setdefault((row.path, word, number), (i, row.actor))
        if leader != row.actor:
            found.append(
                (
                    f"parties {leader} and {row.actor} both became leader in {word} {number}",
                    [first, i],
                )
            )
    if found:
        return violated("leaders", found)
    if not elected:
        return unknown("leaders", "nobody became a leader")
    return ok("leaders", f"each of {len(elected)} terms or views had one leader")
