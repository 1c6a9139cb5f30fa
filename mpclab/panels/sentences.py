"""Rows of a trace as sentences, for the message log."""

from __future__ import annotations

from typing import Final, NamedTuple

from mpclab.core.ids import SERVER, Party
from mpclab.panels.controls import party_tips
from mpclab.plots.style import shorten
from mpclab.trace.rows import (
    WORLD,
    Asked,
    Blamed,
    Delivered,
    Dropped,
    Fault,
    Fired,
    Linked,
    Noted,
    Output,
    Persisted,
    Row,
    Sent,
)

STORY, MESSAGES, EVERYTHING = "what happened", "messages too", "everything"
HEARTBEATS: Final = frozenset({"Beat", "Ping", "Pong"})
"""Kinds of message that only say "I am here". A simulated host also knows what else was sent
in the background; a real one does not see that of a reply."""
LEVELS: Final = (STORY, MESSAGES, EVERYTHING)


class Sentence(NamedTuple):
    """One line of the log. `level` is the least detailed log in which it appears."""

    at: int
    actor: Party
    words: str
    level: int
    background: bool = False


def sentence(row: Row) -> Sentence:
    """What a row says, for a reader."""
    words, level = _words(row)
    return Sentence(row.at, row.actor, words, level, type(row) is Sent and is_background(row))


def is_background(row: Sent) -> bool:
    """Whether a message is a heartbeat or the like."""
    return row.background or row.kind in HEARTBEATS


def _words(row: Row) -> tuple[str, int]:
    match row:
        case Sent(to=to, kind=kind, via=via, text=text):
            how = {"relay": " through the server, sealed", "none": ", but there is no way"}
            said = f": {shorten(text, 110)}" if text else ""
            return f"sends {kind} to {_all(to)}{how.get(via, '')}{said}", 1
        case Delivered(sender=sender, id=id):
            return f"receives message {id} of {_name(sender)}", 2
        case Dropped(sender=sender, why=why):
            return f"never gets a message of {_name(sender)}: {why}", 1
        case Fired(path=path, name=name):
            return f"timer {name} of {'/'.join(path) or 'the party'} goes off", 2
        case Asked(text=text):
            return f"is asked by its user: {shorten(text, 120)}", 1
        case Noted():
            return _note(row)
        case Output(path=path, text=text):
            told = path == () or text.startswith("Heard(")
            return f"{'/'.join(path) or 'reports'}: {shorten(text, 140)}", 0 if told else 2
        case Blamed(party=party, reason=reason, strength=strength):
            whom = "somebody" if party is None else _name(party)
            return f"blames {whom} ({strength.lower()}): {reason}", 0
        case Persisted(key=key, size=size):
            return (f"stores {key} ({size} B)" if size else f"deletes {key}"), 2
        case Linked(peer=peer, state=state, detail=detail):
            why = f": {detail}" if detail else ""
            words = {
                "dialing": f"dials {_name(peer)}",
                "open": f"has an open channel to {_name(peer)}",
                "confirmed": f"confirmed the data channel to {_name(peer)}",
                "relay": f"reaches {_name(peer)} through the server",
                "closed": f"has no link to {_name(peer)} any more",
            }.get(state, f"link to {_name(peer)}: {state}")
            return words + why, 0 if state in ("confirmed", "relay", "closed") else 2
        case Fault(phase=phase, text=text):
            begins = {"begin": "fault begins", "end": "healed"}.get(phase, "fault")
            return f"{begins}: {text}", 0 if phase != "act" or "not" in text else 1
    raise AssertionError(row)


def _note(row: Noted) -> tuple[str, int]:
    d = row.details
    op = str(d.get("op", ""))
    match row.what:
        case "proposed":
            return f"proposes {d.get('text') or d.get('kind', '')} [{op}]", 0
        case "heard":
            return f"hears the proposal of party {d.get('by')} [{op}]", 1
        case "voted":
            why = f": {d['reason']}" if d.get("reason") else ""
            return f"{'approves' if d.get('approve') else 'rejects'} [{op}]{why}", 0
        case "certified":
            return f"holds a certificate of {_all(tuple(d.get('approvals', ())))} [{op}]", 1
        case "committed":
            place = f" as entry {d['index']}" if d.get("index") is not None else ""
            return f"commits{place}, head {d.get('head')} [{op}]", 0
        case "aborted":
            return f"aborts: {d.get('reason', '')} [{op}]", 0
        case "executed":
            return f"executed it: {shorten(str(d.get('result', '')), 90)} [{op}]", 0
        case "failed":
            return f"failed: {d.get('reason', d.get('error', ''))}" + (f" [{op}]" if op else ""), 0
        case "caught-up":
            return f"caught up on {d.get('records')} records from {d.get('source')}", 0
        case "opened":
            return f"opens session {d.get('session')!r}", 0
        case "joined":
            return f"admits party {d.get('party')} to session {d.get('session')!r}", 0
        case "left":
            why = f": {d['why']}" if d.get("why") else ""
            return f"sees party {d.get('party')} leave{why}", 0
        case "refused":
            return f"refuses: {d.get('reason', '')}", 0
        case "closed":
            return f"closes session {d.get('session')!r}", 0
        case "confirmed":
            return f"and party {d.get('peer')} know each other's fingerprints", 1
        case "blocked":
            return f"is blocked: {d.get('why', '')}", 0
        case "became-leader":
            return f"becomes the leader ({_details(d)})", 0
        case "started" | "crashed" | "restarted" | "removed" | "paused" | "resumed" | "stopped":
            more = " and remembers nothing" if d.get("amnesia") else ""
            return row.what.replace("removed", "left for good") + more, 0
    return f"{row.what} {_details(d)}".strip(), 1 if row.path else 0


def _details(details: dict[str, object]) -> str:
    return ", ".join(f"{k} {v}" for k, v in details.items())


def _name(party: Party) -> str:
    if party == SERVER:
        return "the server"
    return "the lab" if party == WORLD else f"party {party}"


def _all(parties: tuple[Party, ...]) -> str:
    if len(parties) == 1:
        return _name(parties[0])
    shown = party_tips(parties[:12]) + (" …" if len(parties) > 12 else "")
    return f"parties {shown}"
