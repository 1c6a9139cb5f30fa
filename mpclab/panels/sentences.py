"""Rows of a trace as sentences, for the message log."""

from __future__ import annotations

from typing import Final, NamedTuple, assert_never

from mpclab.core import notes
from mpclab.core.ids import SERVER, Party
from mpclab.core.notes import fields_of, word_of
from mpclab.core.words import count
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
    Lied,
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


def sentence(row: Row, message: Sent | None = None) -> Sentence:
    """A row as a sentence for a reader; `message` is what a delivery or a loss is about."""
    words, level = _words(row, message)
    sent = row if type(row) is Sent else message
    return Sentence(row.at, row.actor, words, level, sent is not None and is_background(sent))


def is_background(row: Sent) -> bool:
    """Whether a message is a heartbeat or the like."""
    return row.background or row.kind in HEARTBEATS


def _words(row: Row, message: Sent | None) -> tuple[str, int]:
    match row:
        case Sent(to=to, kind=kind, via=via, text=text):
            how = {"relay": " through the server, sealed", "none": ", but there is no way"}
            return f"sends {kind} to {_all(to)}{how.get(via, '')}{_text(text)}", 1
        case Delivered(sender=sender, id=id):
            if message is None:
                return f"receives message {id} of {_name(sender)}", 2
            return f"receives {message.kind} of {_name(sender)}{_text(message.text)}", 2
        case Dropped(sender=sender, why=why):
            what = "a message" if message is None else message.kind
            return f"never gets {what} of {_name(sender)}: {why}", 1
        case Fired(path=path, name=name):
            return f"timer {name} of {'/'.join(path) or 'the party'} goes off", 2
        case Asked(text=text):
            return f"is asked by its user: {shorten(text, 120)}", 1
        case Noted():
            return _note(row)
        case Output(path=path, text=text):
            return f"{'/'.join(path) or 'reports'}: {shorten(text, 140)}", 2 if path else 0
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
        case Fault(index=index, phase=phase, text=text):
            begins = {"begin": "fault begins", "end": "healed"}.get(phase, "fault")
            return f"{begins}: {text}", 1 if index < 0 else 0
        case Lied(kind=kind, to=to, said=said):
            if not kind:
                return f"is made to say {count(len(said), 'message')} of its adversary's own", 2
            what = "something else than" if said else "nothing instead of"
            return f"tells {_all(to)} {what} {kind}", 2
        case _:
            assert_never(row)


def _text(text: str) -> str:
    return f": {shorten(text, 110)}" if text else ""


def _note(row: Noted) -> tuple[str, int]:
    """A note as a sentence, and its log."""
    note = row.note
    match note:
        case notes.Proposed(op, kind, _, text):
            return f"proposes {text or kind} [{op}]", 0
        case notes.Heard(op, _, by):
            return f"hears the proposal of party {by} [{op}]", 1
        case notes.Voted(op, approve, reason):
            why = f": {reason}" if reason else ""
            return f"{'approves' if approve else 'rejects'} [{op}]{why}", 0
        case notes.Certified(op, approvals):
            return f"holds a certificate of {_all(approvals)} [{op}]", 1
        case notes.Committed(op, _, index, _, head):
            place = f" as entry {index}" if index is not None else ""
            return f"commits{place}, head {head} [{op}]", 0
        case notes.Aborted(op, reason):
            return f"aborts: {reason} [{op}]", 0
        case notes.Expired(op, reason):
            return f"stops waiting: {reason} [{op}]", 0
        case notes.Executed(op, result):
            return f"executed it: {shorten(result, 90)} [{op}]", 0
        case notes.Failed(op, reason):
            return f"failed: {reason} [{op}]", 0
        case notes.Broken(error):
            return f"breaks: {error}", 0
        case notes.Untimely(op, sender, how, assumed):
            return f"heard party {sender} {how} [{op}]; it is assumed that {assumed}", 1
        case notes.CaughtUp(records, source):
            return f"caught up on {records} records from {source}", 0
        case notes.Opened(session):
            return f"opens session {session!r}", 0
        case notes.Joined(session, party):
            return f"admits party {party} to session {session!r}", 0
        case notes.Left(_, party, why):
            return f"sees party {party} leave{f': {why}' if why else ''}", 0
        case notes.JoinRefused(reason):
            return f"refuses: {reason}", 0
        case notes.NotAdmitted(reason, hint):
            return f"is not admitted: {reason}{f' ({hint})' if hint else ''}", 0
        case notes.PackageRefused(attempt, why):
            return f"does not sign in attempt {attempt}: {why}", 0
        case notes.AskRefused(ask, why):
            return f"refuses {ask}: {why}", 0
        case notes.Closed(session):
            return f"closes session {session!r}", 0
        case notes.Confirmed(peer):
            return f"and party {peer} know each other's fingerprints", 1
        case notes.Blocked(_, why):
            return f"is blocked: {why}", 0
        case notes.BecameLeader():
            return f"becomes the leader ({_fields(note)})", 0
        case notes.SteppedDown(term):
            return f"leads term {term} no more", 0
        case notes.VotersChanged(voters, old):
            before = f" together with {_all(old)}" if old else ""
            return f"knows that {_all(voters)} vote{before}", 0
        case notes.Said(sender, text, to_all):
            return f"hears party {sender} say{' to all' if to_all else ''}: {text}", 0
        case notes.Restarted(amnesia):
            return f"restarted{' and remembers nothing' if amnesia else ''}", 0
        case notes.Removed():
            return "left for good", 0
        case notes.Started() | notes.Crashed() | notes.Paused() | notes.Resumed():
            return word_of(note), 0
        case notes.CouldNot(verb, reason):
            return f"could not {verb}: {reason}", 0
        case notes.ReadAnswered(_, records, last):
            return f"answers a read: {count(records, 'operation')}, {last or 'none'} the last", 0
        case notes.Invoked(client, _, party, kind, _, text):
            return f"client {client} asks party {party}: {kind} {text}".rstrip(), 0
        case notes.Returned(client, call, _, end, text):
            return f"client {client}, call {call}: {end} {text}".rstrip(), 0
        case notes.Remark(what, details):
            more = ", ".join(f"{k} {v}" for k, v in details.items())
            return f"{what} {more}".strip(), 1 if row.path else 0
        case (
            notes.Ignored() | notes.Decided() | notes.Phase() | notes.Round()
            | notes.EnteredView() | notes.Restored() | notes.InputWanted() | notes.KeyAgreed()
            | notes.Signed() | notes.Beacon() | notes.LinkFailed() | notes.Suspected()
            | notes.StaleOffer() | notes.StaleAnswer() | notes.StaleCard() | notes.StaleBox()
            | notes.UnconfirmedDropped() | notes.EarlyDropped() | notes.Expelled()
            | notes.RelayOverflow() | notes.VertexAdded() | notes.AnchorOrdered()
        ):  # fmt: skip
            return f"{word_of(note)} {_fields(note)}".strip(), 1
        case _:
            assert_never(note)


def _fields(note: notes.AnyNote) -> str:
    """The fields that are not at their defaults: `term 3`."""
    return ", ".join(f"{field} {value}" for field, value in fields_of(note).items())


def _name(party: Party) -> str:
    if party == SERVER:
        return "the server"
    return "the lab" if party == WORLD else f"party {party}"


def _all(parties: tuple[Party, ...]) -> str:
    if len(parties) == 1:
        return _name(parties[0])
    shown = party_tips(parties[:12]) + (" …" if len(parties) > 12 else "")
    return f"parties {shown}"
