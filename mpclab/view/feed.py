"""`Feed`: what a living space-time diagram needs of a trace, in binary chunks that only grow.

A chunk is a little-endian u32, the length of a JSON head, the head itself in UTF-8, and then the
columns that the head names, one after the other without padding:

    columns   [[name, type, length], …]; types: f64 u32 u16 i16 u8
    words     texts that are new; a column of words holds their numbers, 0 being the empty text
    lanes     [[actor, colour], …] that are new
    marks     what actors did: {at, actor, what, row, op?, text?, long?, other?}
    bands     faults: {index, from, to?, text, parties}; a later one completes an earlier one
    calls     of clients: {call, client, party, at, row, text, asks}; a later one completes it
              by {call, to, end, text, long?, end_row}
    states    {at, actor, life?, leads?}: from then on
    facts     {title?, ready?, …}: of the whole run
    rows      [first, end) of the trace's rows that it tells of
    end       the time of the last row

The columns of messages (`at` sender receiver kind path text size via background row id) have one
entry for each receiver; `flight` and `end_*` say how earlier ones ended, by their number. The
columns `now_*` say what became of a party: its `now_name` is `now_value` from that row on. Times
are µs since the run began. The reader is `Store` in web/store.js.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, assert_never

from mpclab.core import notes
from mpclab.core.ids import SERVER, Party
from mpclab.trace import palette
from mpclab.trace.calls import Name
from mpclab.trace.fold import State
from mpclab.trace.log import Trace
from mpclab.trace.rows import (
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

_VIA: Final = {"link": 0, "pieces": 0, "relay": 1, "none": 2}
_DELIVERED, _DROPPED = 1, 2
_SENT: Final = (
    ("at", "f64"), ("sender", "i16"), ("receiver", "i16"), ("kind", "u16"), ("path", "u16"),
    ("text", "u32"), ("size", "u32"), ("via", "u8"), ("background", "u8"), ("row", "u32"),
    ("id", "f64"),
)  # fmt: skip
_ENDED: Final = (
    ("flight", "u32"), ("end_at", "f64"), ("end_fate", "u8"), ("end_row", "u32"),
    ("end_why", "u32"),
)  # fmt: skip
_CHANGED: Final = (
    ("now_at", "f64"), ("now_actor", "i16"), ("now_name", "u32"), ("now_value", "u32"),
    ("now_row", "u32"),
)  # fmt: skip
_CODES: Final = {"f64": "d", "u32": "I", "u16": "H", "i16": "h", "u8": "B"}
_LONGEST_TEXT: Final = 400
_FEW_WORDS: Final = 65_535  # that many kinds and paths have numbers in a u16


class Change(NamedTuple):
    """From row `row` on, at time `at` (µs), what is called `name` is `value` at `actor`."""

    row: int
    at: int
    actor: Party
    name: str
    value: str


class Feed:
    """Follows a growing trace; each `read()` gives what came since the last one.

    Args:
        ready: the time that counts as 0 for a reader, µs; earlier ones are negative.
        title: of the run, for those who do not see the picture.
        within: what became of the parties' machines, in the order of rows: see `lab.inside`.
        cut: what was left out, in words.
        parties: those that have a lane from the beginning, whether they do anything here or not.
    """

    def __init__(
        self,
        trace: Trace,
        *,
        ready: int = 0,
        title: str = "",
        within: Iterable[Change] = (),
        cut: str = "",
        parties: Iterable[Party] = (),
    ) -> None:
        self._trace = trace
        self._facts: dict[str, Any] = {"ready": ready, "title": title}
        if cut:
            self._facts["cut"] = cut
        self._within = deque(within)
        self._cursor = (0, 0)
        self._row = 0
        self._count = 0
        self._words: dict[str, int] = {"": 0}
        self._new_words: list[str] = []
        self._flying: dict[tuple[Party, int, Party], deque[int]] = {}
        self._sent_rows: dict[tuple[Party, int], tuple[Sent, int]] = {}
        self._known: set[Party] = set()
        self._values: dict[str, str] = {}
        self._state = State()
        self._called: dict[Name, int] = {}
        self._shown: dict[Party, tuple[str, bool]] = {}
        self._told: dict[Party, dict[str, str]] = {}
        self._absent = tuple(parties)
        self._begin()

    def _begin(self) -> None:
        self._sent = {name: array(_CODES[kind]) for name, kind in _SENT}
        self._ended = {name: array(_CODES[kind]) for name, kind in _ENDED}
        self._changed = {name: array(_CODES[kind]) for name, kind in _CHANGED}
        self._first = self._row
        self._lanes: list[tuple[Party, str]] = []
        self._marks: list[dict[str, Any]] = []
        self._bands: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._states: list[dict[str, Any]] = []
        self._new_words = []

    def read(self) -> bytes | None:
        """One chunk with all that is new; None when nothing is."""
        rows, self._cursor = self._trace.since(self._cursor)
        if not rows:
            return None
        self._begin()
        for party in self._absent:
            self._known.add(party)
            self._lanes.append((party, palette.party_colour(party)))
        self._absent = ()
        for row in rows:
            self._take(row)
            while self._within and self._within[0].row <= self._row:
                self._change(*self._within.popleft())
            self._row += 1
        return self._pack(max(self._trace.end, rows[-1].at))

    def _take(self, row: Row) -> None:
        if row.actor >= SERVER and row.actor not in self._known:
            self._known.add(row.actor)
            self._lanes.append((row.actor, palette.party_colour(row.actor)))
        match row:
            case Sent():
                self._send(row)
            case Delivered(at, actor, sender, id):
                self._end(at, actor, sender, id, _DELIVERED, "")
            case Dropped(at, actor, sender, id, why):
                self._end(at, actor, sender, id, _DROPPED, why)
            case Noted(note=notes.Invoked() | notes.Returned() as note):
                self._state.apply(row)
                self._call(row, (row.path, note.client, note.call))
            case Noted():
                self._note(row)
                self._live(row)
            case Fault():
                self._fault(row)
                self._live(row)
            case Blamed(at, actor, _, party, reason):
                whom = "somebody" if party is None else f"party {party}"
                self._mark(row, "blamed", text=f"blames {party or '?'}", long=f"{whom}: {reason}")
                self._tell(row.at, row.actor, f"blames {party or 'somebody'}", reason)
            case Linked(at, actor, peer, state):
                self._state.apply(row)
                self._tell(row.at, row.actor, f"link {peer or 'server'}", state)
            case Persisted(at, actor, path, key, size):
                self._tell(
                    row.at,
                    row.actor,
                    f"stored {'/'.join((*path, key))}",
                    f"{size} B" if size else "",
                )
            case Output(at, actor, path, text):
                self._tell(row.at, row.actor, f"output {'/'.join(path)}", text)
            case Fired() | Asked() | Lied():
                pass  # these have no mark
            case _:
                assert_never(row)

    # --- messages ---

    def _word(self, text: str, most: int | None = None) -> int:
        number = self._words.get(text)
        if number is None:
            if most is not None and len(self._words) > most:
                return 0
            number = self._words[text] = len(self._words)
            self._new_words.append(text)
        return number

    def _send(self, row: Sent) -> None:
        self._sent_rows[row.actor, row.id] = (row, self._row)
        for receiver in row.to:
            number = self._fly(row, self._row, receiver)
            if row.via == "none":
                self._close(number, row.at, _DROPPED, "no way to reach them")
            else:
                name = (row.actor, row.id, receiver)
                self._flying.setdefault(name, deque()).append(number)

    def _fly(self, row: Sent, sent_row: int, receiver: Party) -> int:
        columns = self._sent
        columns["at"].append(row.at)
        columns["sender"].append(row.actor)
        columns["receiver"].append(receiver)
        columns["kind"].append(self._word(row.kind, _FEW_WORDS))
        columns["path"].append(self._word("/".join(row.path), _FEW_WORDS))
        columns["text"].append(self._word(row.text[:_LONGEST_TEXT]))
        columns["size"].append(min(row.size, 2**32 - 1))
        columns["via"].append(_VIA[row.via])
        columns["background"].append(row.background)
        columns["row"].append(sent_row)
        columns["id"].append(row.id)
        self._count += 1
        return self._count - 1

    def _end(self, at: int, actor: Party, sender: Party, id: int, fate: int, why: str) -> None:
        """An arrival ends the oldest flight of its name; when all have ended, it is a copy."""
        waiting = self._flying.get((sender, id, actor))
        if waiting:
            self._close(waiting.popleft(), at, fate, why)
            if not waiting:
                del self._flying[sender, id, actor]
        elif (before := self._sent_rows.get((sender, id))) is not None:
            self._close(self._fly(*before, actor), at, fate, why)

    def _close(self, number: int, at: int, fate: int, why: str) -> None:
        columns = self._ended
        columns["flight"].append(number)
        columns["end_at"].append(at)
        columns["end_fate"].append(fate)
        columns["end_row"].append(self._row)
        columns["end_why"].append(self._word(why))

    # --- marks, faults, states ---

    def _mark(self, row: Row, what: str, **more: Any) -> None:
        mark = {"at": row.at, "actor": row.actor, "what": what, "row": self._row}
        self._marks.append(mark | {name: value for name, value in more.items() if value})

    def _note(self, row: Noted) -> None:
        if row.actor <= SERVER:
            return
        match row.note:
            case notes.Proposed(op, kind, _, text):
                self._mark(row, "proposed", op=op, text=kind, long=text)
            case notes.Voted(op, approve, reason):
                self._mark(row, "approved" if approve else "rejected", op=op, long=reason)
            case notes.Certified(op):
                self._mark(row, "certified", op=op)
            case notes.Committed(op, value=value):
                other = self._values.setdefault(op, value) != value
                self._mark(
                    row, "committed", op=op, text="another value" if other else "", other=other
                )
            case notes.Decided(op):
                if op not in self._values:  # a coordinator's commit says more
                    self._mark(row, "decided", op=op)
            case notes.Aborted(op, reason):
                self._mark(row, "aborted", op=op, text="aborted", long=reason)
            case notes.Expired(op, reason):
                self._mark(row, "expired", op=op, text="expired", long=reason)
            case notes.Executed(op, result):
                self._mark(row, "executed", op=op, long=result[:_LONGEST_TEXT])
            case notes.Failed(op, reason):
                self._mark(row, "failed", op=op, text="failed", long=reason)
            case notes.BecameLeader(term, view):
                number = f"term {term}" if term is not None else f"view {view}"
                self._mark(row, "became-leader", text=number)
            case notes.VotersChanged(voters, old):
                both = [", ".join(map(str, one)) for one in (old, voters) if one]
                self._mark(row, "voters", text=f"votes: {' and '.join(both)}")
            case notes.EnteredView(view):
                self._mark(row, "entered-view", text=f"view {view}")
            case notes.SteppedDown(term):
                self._mark(row, "stepped-down", text=f"leads term {term} no more")
            case notes.Blocked(_, why, op):
                self._mark(row, "blocked", op=op, text="blocked", long=why)
            case (
                notes.Heard() | notes.Ignored() | notes.Phase() | notes.Round()
                | notes.CaughtUp() | notes.Restored() | notes.InputWanted() | notes.KeyAgreed()
                | notes.Untimely()
                | notes.PackageRefused() | notes.Signed() | notes.Beacon() | notes.Confirmed()
                | notes.LinkFailed() | notes.Suspected() | notes.StaleOffer()
                | notes.StaleAnswer() | notes.StaleCard() | notes.StaleBox()
                | notes.UnconfirmedDropped() | notes.EarlyDropped() | notes.AskRefused()
                | notes.RelayOverflow() | notes.VertexAdded() | notes.AnchorOrdered()
                | notes.NotAdmitted() | notes.Said() | notes.Opened() | notes.Joined()
                | notes.Left() | notes.JoinRefused() | notes.Expelled() | notes.Closed()
                | notes.Started() | notes.Crashed() | notes.Restarted() | notes.Paused()
                | notes.Resumed() | notes.Removed() | notes.Broken() | notes.CouldNot()
                | notes.Remark() | notes.ReadAnswered() | notes.Invoked() | notes.Returned()
            ):  # fmt: skip
                pass  # the log tells the rest
            case note:
                assert_never(note)

    def _call(self, row: Noted, name: Name) -> None:
        """A client's call begins or ends; the fold knows which."""
        one = self._state.calls.get(name)
        if one is None:
            return  # it ended, and nobody saw it begin
        number = self._called.setdefault(name, len(self._called))
        told: dict[str, Any] = {"call": number, "text": one.words[:_LONGEST_TEXT]}
        if isinstance(row.note, notes.Invoked):
            told |= {"client": one.client, "party": one.party, "at": row.at, "row": self._row,
                     "asks": told["text"]}  # fmt: skip
        else:
            told |= {"to": row.at, "end": one.end, "end_row": self._row}
            told |= {"long": one.answer[:_LONGEST_TEXT]} if one.answer else {}
        self._calls.append(told)

    def _fault(self, row: Fault) -> None:
        match row.phase:
            case "begin":
                self._bands.append(
                    {"index": row.index, "from": row.at, "text": row.text or row.kind,
                     "parties": list(row.parties), "row": self._row}
                )  # fmt: skip
            case "end":
                self._bands.append({"index": row.index, "to": row.at})
            case _ if row.actor > SERVER:
                self._mark(row, "acted", long=row.text)

    def _live(self, row: Row) -> None:
        """Record changes of any party's life and leadership."""
        self._state.apply(row)
        aimed = row.parties if isinstance(row, Fault) else (row.actor,)
        for actor in aimed:
            if (one := self._state.parties.get(actor)) is None:
                continue
            self._become(row, actor)
            life, leads = self._shown.get(actor, ("up", False))
            if (one.life, one.leader) == (life, leads):
                continue
            change: dict[str, Any] = {"at": row.at, "actor": actor}
            if one.life != life:
                change["life"] = one.life
            if one.leader != leads:
                change["leads"] = one.leader
            self._shown[actor] = (one.life, one.leader)
            self._states.append(change)

    # --- what became of each party ---

    def _tell(self, at: int, actor: Party, name: str, value: str) -> None:
        known = self._told.setdefault(actor, {})
        if known.get(name, "") != value:
            known[name] = value
            self._change(self._row, at, actor, name, value)

    def _change(self, row: int, at: int, actor: Party, name: str, value: str) -> None:
        columns = self._changed
        columns["now_at"].append(at)
        columns["now_actor"].append(actor)
        columns["now_name"].append(self._word(name))
        columns["now_value"].append(self._word(value[:_LONGEST_TEXT]))
        columns["now_row"].append(row)

    def _become(self, row: Row, actor: Party) -> None:
        """What the fold says of a party, where it is another thing than before."""
        one = self._state.parties[actor]

        waits = ", ".join(map(str, one.waiting_for))
        for name, value in (
            ("life", one.life), ("phase", one.phase), ("term", one.term), ("view", one.view),
            ("leads", "yes" if one.leader else ""), ("voters", ", ".join(map(str, one.voters))),
            ("waits for", waits), ("blocked", one.blocked),
        ):  # fmt: skip
            self._tell(row.at, actor, name, "" if value is None else str(value))
        if one.life in ("crashed", "left"):
            for name in [n for n, v in self._told[actor].items() if v and n.startswith("link ")]:
                self._tell(row.at, actor, name, "closed")
        if isinstance(row, Noted) and (op := getattr(row.note, "op", "")):
            self._settle(row, op)

    def _settle(self, row: Noted, op: str) -> None:
        known = self._state.operations.get(op)
        if known is None:
            return
        actor = row.actor
        if (vote := known.votes.get(actor)) is not None:
            word = "approves" if vote.approve else f"rejects {vote.reason}".strip()
            self._tell(row.at, row.actor, f"vote {op}", word)
        self._tell(row.at, row.actor, f"operation {op}", known.standing.get(actor, ""))
        if (held := known.commits.get(actor)) is not None:
            place = "" if held.index is None else f"{held.index + 1}: "
            self._tell(
                row.at, row.actor, f"history {op}", f"{place}{held.head[:12] or held.value[:12]}"
            )

    def _pack(self, end: int) -> bytes:
        columns = [(name, kind, self._sent[name]) for name, kind in _SENT]
        columns += [(name, kind, self._ended[name]) for name, kind in _ENDED]
        columns += [(name, kind, self._changed[name]) for name, kind in _CHANGED]
        head = {
            "columns": [(name, kind, len(values)) for name, kind, values in columns],
            "words": self._new_words,
            "lanes": self._lanes,
            "marks": self._marks,
            "bands": self._bands,
            "calls": self._calls,
            "states": self._states,
            "facts": self._facts,
            "rows": [self._first, self._row],
            "end": end,
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        body = b"".join(values.tobytes() for _, _, values in columns)
        return struct.pack("<I", len(text)) + text + body
