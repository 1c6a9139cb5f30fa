"""Termination: every proposal is settled at every honest party that is up at the end.

A finite trace cannot show that something would *never* happen. So what is unsettled is
`unknown` while messages still fly or a link fault still holds, and `violated` once the run has
come to rest: then nothing that is left could settle it. Either way it says what each waits for.
"""

from mpclab.check.facts import Facts, lives_left, names
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core.ids import Party
from mpclab.trace import Noted

NAME = "termination"
COORDINATOR = ("session",)
"""The path of the machine that asks for votes; a protocol of one's own may have none."""
_PARTY_FAULTS = frozenset(
    {"crash", "torn-crash", "kill", "restart", "pause", "slow", "skew", "drift", "leave"}
)


def termination(facts: Facts) -> Verdict:
    """Every proposal is committed or aborted at every honest party that is up at the end."""
    proposals = [(i, r) for i, r in facts.notes("proposed", "heard")]
    ops = list(dict.fromkeys(str(r.details["op"]) for _, r in proposals))
    if not ops:
        return unknown(NAME, "nothing was proposed")
    up = lives_left(facts.final, facts.honest)
    settled = {(d.party, d.op) for d in facts.decisions}
    honest_source = {str(r.details["op"]) for _, r in proposals if r.actor not in facts.faulty}
    voted = {(r.actor, str(r.details["op"])) for _, r in facts.notes("voted")}
    heard = {
        who
        for i, r in proposals
        if (who := (r.actor, str(r.details["op"]))) in voted
        or not any(i < crash for crash in facts.crashes.get(r.actor, ()))
    }  # what a party heard and had not voted on, it forgets in a crash
    last_word = {(d.party, d.op): d.what for d in facts.decisions}
    found: list[tuple[str, list[int]]] = []
    for op in ops:
        # What only liars know of binds nobody.
        waiting = [p for p in up if (p, op) not in settled] if op in honest_source else []
        if all(last_word.get((p, op)) == "aborted" for p in up if p not in waiting):
            # Who was down all the while and never heard of what the others gave up has missed
            # nothing: no one will tell it, and it has nothing to settle.
            waiting = [p for p in waiting if (p, op) in heard]
        if waiting:
            rows = [i for i, r in proposals if r.details.get("op") == op][:1]
            why: dict[str, list[Party]] = {}
            for p in waiting:
                reason, seen = _waits_for(facts, p, op)
                why.setdefault(reason, []).append(p)
                rows += seen
            each = "; ".join(_said(names(ps), len(ps), reason) for reason, ps in why.items())
            found.append((f"{op} is not settled: {each}", rows))
    if not found:
        what = "the proposal" if len(ops) == 1 else f"all {len(ops)} proposals"
        return ok(NAME, f"{what} settled at {names(up)}")
    flying = [f for f in facts.flights if f.fate == "flying" and f.receiver in up]
    held = [
        f
        for f in facts.final.faults.values()
        if f.kind not in _PARTY_FAULTS and not set(f.parties) & facts.faulty
    ]
    rows = [r for _, rs in found for r in rs]
    if held:
        return unknown(NAME, f"{found[0][0]}; but the {held[0].kind} never healed", rows)
    if flying:
        count = f"{len(flying)} message{'s were' if len(flying) > 1 else ' was'}"
        return unknown(
            NAME, f"{found[0][0]}; but the run ended while {count} still under way", rows
        )
    return violated(NAME, found)


def _said(who: str, count: int, reason: str) -> str:
    """`party 3 waits for …`, `parties 3 and 4 wait for …`."""
    if count > 1:
        reason = reason.replace("waits", "wait").replace("has heard", "have heard", 1)
    return f"{who} {reason}"


def _waits_for(facts: Facts, party: Party, op: str) -> tuple[str, list[int]]:
    """What keeps `party` from settling `op`, in words, and the rows that show it."""
    blocked = [
        (i, r)
        for i, r in facts.notes("blocked")
        if r.actor == party and r.details.get("op", op) == op
    ]
    if blocked:
        i, row = blocked[-1]
        why = row.details.get("why", "")
        whom = row.details.get("waiting_for", ())
        waits = f"waits for {names(whom)}" if whom else "waits"
        return waits + (f" ({why})" if why else ""), [i]
    votes = {r.actor: (i, r) for i, r in facts.notes("voted") if r.details.get("op") == op}
    gated = votes or any(r.path[:1] == COORDINATOR for _, r in facts.notes("proposed", "heard"))
    silent = [p for p in facts.members if p not in votes] if gated else []
    lost: list[Party] = []
    rows: list[int] = []
    for voter, (i, row) in votes.items():
        gone = [
            f
            for f in facts.flights
            if f.sender == voter
            and f.receiver == party
            and f.sent_row >= i
            and f.fate == "dropped"
            and f.sent_at == row.at
        ]
        if gone:
            lost.append(voter)
            rows += [f.ended_row for f in gone if f.ended_row is not None]
    parts = []
    if silent:
        parts.append(f"the vote of {names(silent)}, which never came")
    if lost:
        parts.append(f"the vote of {names(lost)}, which was lost on its way")
    if parts:
        return "waits for " + " and ".join(parts), rows
    heard = any(
        isinstance(r, Noted) and r.actor == party and r.details.get("op") == op for r in facts.rows
    )
    if not heard:
        return "never heard of it", rows
    if not gated:
        return "waits", rows
    return "has heard every vote and waits for the agreement protocol", rows
