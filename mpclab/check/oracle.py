"""An independent oracle: the promises once more, from their definitions, by other means.

It shares no code with the checks: it reads the saved form of a trace (JSON lines) and nothing of
the trace's classes, walks over it once as over a stage with parties on it, and at each line asks
what the definitions ask of that line. It knows no witnesses and no reasons to excuse; it is there
to disagree. `disagreements` puts it beside the verdicts: the soak and a test call that a failure.

It judges agreement, validity, integrity, total-order, durability, leaders, certificates,
blame, delivery, and (whether anything is open at the end) termination. It does not judge
linearizability, which a test compares with trying every order.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

JUDGED = ("agreement", "validity", "integrity", "total-order", "durability", "leaders",
          "certificates", "blame", "delivery", "termination")  # fmt: skip

GATES = ("proposed", "heard", "voted", "committed")
"""Words of a coordinator; a protocol alone has only `decided`."""
STOPS = ("crashed", "paused", "left")

Json = dict[str, Any]


@dataclass
class Actor:
    """One party on the stage: what it was seen to do."""

    up: bool = False
    down: bool = False  # crashed
    seen: bool = False
    liar: bool = False
    vote: dict[str, bool] = field(default_factory=dict)
    ways: dict[str, set[bool]] = field(default_factory=dict)  # how it voted, as far as it knows
    approved: set[str] = field(default_factory=set)
    knows: set[str] = field(default_factory=set)  # heard of, in memory
    stored: set[str] = field(default_factory=set)  # proposed or voted on, so not forgotten
    records: dict[str, tuple[str, int | None]] = field(default_factory=dict)  # op → value, index
    values: dict[str, str] = field(default_factory=dict)  # of all that it ever committed
    this_life: set[str] = field(default_factory=set)  # committed since it last began
    carried_out: set[str] = field(default_factory=set)  # since it last began
    end: dict[str, str] = field(default_factory=dict)
    ever: set[str] = field(default_factory=set)  # "committed x", "aborted x": both are for good
    index: int = -1
    before: dict[str, tuple[str, int | None]] = field(default_factory=dict)  # at the last crash
    owed: set[str] = field(default_factory=set)  # of these, not shown since
    stands: dict[str, int | None] = field(default_factory=dict)  # op → its place when first told
    empty: set[int] = field(default_factory=set)  # places of the log that hold no record
    forgot: bool = False  # a fault took its store
    told_all: bool = True  # its records are those of the trace
    tip: str = ""


class Oracle:
    """Walks over the lines of a trace; `broken` has the promises that do not hold, and why."""

    def __init__(self, n: int, needed: int, liars: Iterable[int] | None = None) -> None:
        self.n = n
        self.needed = needed
        self.given = None if liars is None else set(liars)
        self.parties = {p: Actor() for p in range(1, n + 1)}
        self.broken: dict[str, str] = {}
        self.gated = self.coordinated = False
        self.born: set[str] = set()
        self.by: dict[str, int] = {}
        self.tips: dict[frozenset[tuple[str, str, int | None]], str] = {}
        self.leaders: dict[tuple[str, str, int], int] = {}
        self.sent: dict[tuple[int, int], int] = {}
        self.heard: dict[tuple[int, int], int] = {}  # (receiver, sender) → line of latest sending
        self.voted_at: dict[tuple[int, str], int] = {}
        self.addressed: dict[str, str] = {}  # "sender.id>receiver" → by which way
        self.arrived: dict[str, int] = {}  # likewise → how much more often than sent
        self.twice = False  # messages may be doubled
        self.stage: set[int] = set()  # whose lines are here at all
        self.away: set[int] = set()  # crashed or gone, the server too
        self.ends: set[str] = set()  # "actor-peer": who knows of a link
        self.aborted: set[str] = set()
        self.late: set[str] = set()  # somebody waited too long for it
        self.held: dict[int, str] = {}  # what a fault of the plan did to its parties
        self.failed = False
        self.line = 0

    def judge(self, lines: list[Json]) -> dict[str, str]:
        """The promises that are broken, with a reason each; "termination" for what is open."""
        for row in lines:  # what nobody on the stage knows yet: who lies, whether all goes well
            self._look_ahead(row)
        for self.line, row in enumerate(lines):
            self._take(row)
        self._final()
        return self.broken

    def _look_ahead(self, row: Json) -> None:
        kind = row["row"]
        self.stage.add(row["actor"])
        if kind == "fault" and row.get("byzantine"):
            if row["phase"] == "begin" or row["index"] < 0:
                self._mark(row.get("parties", ()))
        if kind == "lied":
            self._mark((row["actor"],))
        if kind in ("dropped", "lied") or (kind == "fault" and row["phase"] == "begin"):
            self.failed = True
        if kind == "noted" and row["actor"] in self.parties:
            note = row["note"]
            word = note["word"]
            self.failed = self.failed or word in ("crashed", "paused", "removed", "link-failed")
            self.coordinated = self.coordinated or word in GATES
            self.gated = self.gated or word == "voted"
            if word in ("proposed", "heard"):
                self.by.setdefault(note["op"], note.get("by") or row["actor"])

    def _mark(self, parties: Iterable[int]) -> None:
        for p in parties:
            if p in self.parties:
                self.parties[p].liar = True

    def _is_liar(self, p: int) -> bool:
        return p in self.given if self.given is not None else self.parties[p].liar

    @property
    def honest(self) -> list[int]:
        return [p for p in self.parties if not self._is_liar(p)]

    def _break(self, promise: str, why: str) -> None:
        self.broken.setdefault(promise, f"line {self.line}: {why}")

    # --- one line -----------------------------------------------------------------------------

    def _take(self, row: Json) -> None:
        kind, actor = row["row"], row["actor"]
        if actor in self.parties and not self.parties[actor].seen:
            self.parties[actor].seen = self.parties[actor].up = True
        self._carried(kind, actor, row)
        if kind == "sent" and not row.get("background"):
            self.sent[actor, row["id"]] = self.line
        elif kind == "delivered":
            begun = self.sent.get((row["sender"], row["id"]), -1)
            key = (actor, row["sender"])
            self.heard[key] = max(self.heard.get(key, -1), begun)
        elif kind == "fault":
            self._fault(row)
        elif actor not in self.parties:
            return
        elif kind == "blamed" and not self._is_liar(actor):
            accused = row["party"]
            sure = row["strength"] in ("proof", "known")
            known = sure and accused in self.parties and not self._is_liar(accused)
            if known and not self.parties[accused].forgot:
                self._break("blame", f"{actor} accuses {accused}")
        elif kind == "noted":
            self._note(actor, row["path"], row["note"])

    def _carried(self, kind: str, actor: int, row: Json) -> None:
        """Messages and links: nothing comes from nowhere, nor to where nobody is."""
        note = row["note"] if kind == "noted" and not row["path"] else {}
        if note.get("word") in ("crashed", "removed"):
            self.away.add(actor)
        elif note.get("word") in ("started", "restarted"):
            self.away.discard(actor)
        elif kind == "fault" and row["kind"] == "duplicate" and row["phase"] != "end":
            self.twice = True
        elif kind == "fault" and row["phase"] == "begin" and row.get("life") in ("crashed", "left"):
            self.away.update(row.get("parties", ()))
        elif kind == "fault" and row["phase"] == "end" and row.get("life") == "up":
            self.away.difference_update(row.get("parties", ()))
        elif kind == "sent":
            if actor in self.away:
                self._break("delivery", f"{actor} is away, and sends")
            for to in row["to"]:
                way = f"{actor}.{row['id']}>{to}"
                self.addressed[way] = row.get("via", "link")
                self.arrived[way] = self.arrived.get(way, 0) - 1
        elif kind in ("delivered", "dropped"):
            way = self.addressed.get(f"{row['sender']}.{row['id']}>{actor}", "")
            lost = kind == "dropped"
            if not lost:
                one = f"{row['sender']}.{row['id']}>{actor}"
                self.arrived[one] = self.arrived.get(one, -1) + 1
                if self.arrived[one] > 0 and not self.twice and row["sender"] in self.stage:
                    self._break("delivery", f"{row['id']} of {row['sender']} is {actor}'s again")
            if (not way and row["sender"] in self.stage) or (way == "none" and not lost):
                self._break("delivery", f"{row['id']} of {row['sender']} has no way to {actor}")
            if actor in self.away and not lost:
                self._break("delivery", f"{actor} is away, and hears {row['id']}")
        elif kind == "linked":
            peer, state = row["peer"], row["state"]
            known = f"{peer}-{actor}" in self.ends or peer not in self.stage
            odd = state not in ("dialing", "open", "confirmed", "relay", "closed")
            if odd or peer == actor or (state in ("open", "confirmed") and not known):
                self._break("delivery", f"{actor} has a {state} link to {peer}")
            self.ends.add(f"{actor}-{peer}")

    def _fault(self, row: Json) -> None:
        life, phase = row.get("life", ""), row["phase"]
        self.held[row["index"]] = life if phase == "begin" else self.held.get(row["index"], "")
        if phase not in ("begin", "end") or self.held[row["index"]] not in STOPS:
            return
        for p in row.get("parties", ()):
            if p in self.parties:
                self.parties[p].seen = True
                self._stop(p, life) if phase == "begin" else self._go_on(p)

    def _stop(self, p: int, how: str) -> None:
        one = self.parties[p]
        if how == "crashed" and not one.down:
            one.before = dict(one.records)
            one.owed = set(one.records)
            one.knows.clear()
            one.this_life.clear()
            one.carried_out.clear()
            one.index = -1
            one.told_all = not one.records
        one.up, one.down = False, how == "crashed"

    def _go_on(self, p: int) -> None:
        self.parties[p].up, self.parties[p].down = True, False

    def _note(self, p: int, path: list[str], note: Json) -> None:
        word, one, op = note["word"], self.parties[p], note.get("op", "")
        if not path and word in ("crashed", "paused", "removed"):
            self._stop(p, "left" if word == "removed" else word)
        elif not path and word in ("started", "restarted", "resumed"):
            if note.get("amnesia"):  # its store is gone, and its promises with it
                one.before, one.owed, one.records, one.tip = {}, set(), {}, ""
                one.empty, one.told_all = set(), True
                one.stored, one.ways, one.forgot = set(), {}, True
            self._go_on(p)
        elif word in ("proposed", "heard", "voted"):
            self._speaks(p, word, op, note)
        elif self._is_liar(p):
            return
        elif word == "certified":
            self._certified(p, note)
        else:
            self._acts(p, word, path, note, op)

    def _acts(self, p: int, word: str, path: list[str], note: Json, op: str) -> None:
        one = self.parties[p]
        if word in ("committed", "aborted", "expired") and self.coordinated:
            self._shows(p)
        if word == "committed" or (word == "decided" and not self.coordinated):
            self._committed(p, note)
        elif word == "aborted":
            self._aborted(p, note)
        elif word == "expired":
            one.end[op] = "expired"
            self.late.add(op)
        elif word == "executed":
            if op not in one.values:
                self._break("integrity", f"{p} executes {op} before it commits it")
            if op in one.carried_out:
                self._break("integrity", f"{p} executes {op} twice")
            one.carried_out.add(op)
        elif word == "restored":
            self._restored(p, note)
        elif word == "became-leader":
            what = "term" if "term" in note else "view"
            key = ("/".join(path), what, note.get(what) or 0)
            if self.leaders.setdefault(key, p) != p:
                self._break("leaders", f"{self.leaders[key]} and {p} lead {what} {key[2]}")

    def _shows(self, p: int) -> None:
        """It takes part: it has to have said before what it holds."""
        one = self.parties[p]
        if one.owed and not self._is_liar(p):
            one.owed.clear()
            self._break("durability", f"{p} takes part again and has not said what it holds")

    def _speaks(self, p: int, word: str, op: str, note: Json) -> None:
        one = self.parties[p]
        self._shows(p)
        if word == "voted":
            ways = one.ways.setdefault(op, set())
            ways.add(note["approve"])
            if len(ways) > 1 and not self._is_liar(p):
                self._break("integrity", f"{p} votes both ways on {op}")
            one.vote[op] = note["approve"]
            self.voted_at[p, op] = self.line
            if note["approve"]:
                one.approved.add(op)
        else:
            one.knows.add(op)
        if word != "heard":
            one.stored.add(op)
        # A liar's own proposal need not be seen; that others heard it must be.
        if word == "proposed" or len(self.honest) < self.n:
            self.born.add(op)

    def _certified(self, p: int, note: Json) -> None:
        op, names = note["op"], note.get("approvals", [])
        real = {q for q in names if q in self.parties}
        if len(real) != len(names) or len(real) < self.needed:
            self._break("certificates", f"{p} accepts {names} for {op}")
        for q in real:
            if not self._is_liar(q) and op not in self.parties[q].approved:
                self._break("certificates", f"{p} accepts {q}'s approval of {op}, never given")
        if self.parties[p].end.get(op) == "expired":
            del self.parties[p].end[op]

    def _committed(self, p: int, note: Json) -> None:
        one, op = self.parties[p], note["op"]
        record = (note.get("value", ""), note.get("index"))
        if op in one.this_life:
            self._break("integrity", f"{p} commits {op} twice")
        if self.coordinated:
            if op not in self.born:
                self._break("validity", f"{p} commits {op}, which nobody proposed")
            yes = [q for q in self.parties if self._is_liar(q) or self.parties[q].vote.get(op)]
            if self.gated and len(yes) < self.needed:
                self._break("validity", f"{p} commits {op} with the approval of {yes}")
        if record[1] is not None:
            if record[1] <= one.index:
                self._break("total-order", f"{p} commits place {record[1]} after {one.index}")
            one.index = record[1]
        if op in one.before and one.before[op][0] != record[0]:
            self._break("durability", f"{p} had committed {op} with another value")
        if record[1] is not None and op not in one.before:
            if any(place == record[1] for _, place in one.before.values()):
                self._break("durability", f"{p} had committed another operation at {record[1]}")
        for q in self.honest:
            if self.parties[q].values.get(op, record[0]) != record[0]:
                self._break("agreement", f"{p} and {q} hold different values for {op}")
        self._place(p, op, record[1])
        one.ever.add("committed " + op)
        one.owed.discard(op)
        one.this_life.add(op)
        one.records[op] = record
        one.values[op] = record[0]
        one.end[op] = "committed"
        one.tip = note.get("tip", "")
        self._head(p, one.tip)

    def _place(self, p: int, op: str, index: int | None) -> None:
        """Where p puts an operation, beside where everybody honest put all of theirs."""
        for q in self.honest:
            other = self.parties[q].stands
            taken = [o for o, i in other.items() if o != op and i is not None and i == index]
            if taken or other.get(op, index) != index:
                self._break("agreement", f"{p} and {q} differ in the place of {op}")
                self._break("total-order", f"{p} and {q} differ in the place of {op}")
        self.parties[p].stands.setdefault(op, index)

    def _aborted(self, p: int, note: Json) -> None:
        op, one = note["op"], self.parties[p]
        if op in one.before:
            self._break("durability", f"{p} had committed {op} and aborts it")
        first = op not in self.aborted
        if (index := note.get("index")) is not None:
            one.empty.add(index)
            self._place(p, op, index)
        self.aborted.add(op)
        one.ever.add("aborted " + op)
        one.end[op] = "aborted"
        if not self.coordinated:
            return
        if op not in self.by and len(self.honest) == self.n:
            self._break("validity", f"{p} aborts {op}, which nobody proposed")
        proposer = self.by.get(op, 0)
        if proposer not in self.parties or not self._is_liar(proposer):
            for q in note.get("rejected", []):
                if q in self.honest and self.parties[q].vote.get(op) is not False:
                    self._break("validity", f"{p} aborts {op} in the name of {q}")
        votes = {q: other.vote[op] for q, other in self.parties.items() if op in other.vote}
        if first and op not in self.late and not self.failed and self.gated and all(votes.values()):
            unheard = [q for q in votes if self.heard.get((p, q), -1) < self.voted_at[q, op]]
            if len(votes) >= self.needed and unheard in ([], [p]):
                self._break("validity", f"{p} aborts {op} though it heard all approve")

    def _restored(self, p: int, note: Json) -> None:
        one, tip = self.parties[p], note.get("head", "")
        one.told_all = note["records"] == len(one.records)
        if one.owed:
            if note["records"] < len(one.owed):
                self._break("durability", f"{p} came back with {note['records']} records")
            elif one.told_all and tip and one.tip and tip != one.tip:
                self._break("durability", f"{p} came back under another head")
        one.owed.clear()
        self._head(p, tip)

    def _head(self, p: int, tip: str) -> None:
        """Equal records, equal heads; where no record can be missing before the last."""
        one = self.parties[p]
        places = [i for _, i in one.records.values() if i is not None]
        whole = not places or max(places) < len(one.records) + len(one.empty)
        if not tip or not one.told_all or not whole:
            return
        key = frozenset((op, value, index) for op, (value, index) in one.records.items())
        if self.tips.setdefault(key, tip) != tip:
            self._break("agreement", f"{p} holds equal records under another head")

    # --- the end ------------------------------------------------------------------------------

    def _final(self) -> None:
        ends: dict[str, set[str]] = defaultdict(set)
        for p in self.honest:
            for op, end in self.parties[p].end.items():
                ends[op].add(end)
        for op in {*self.by, *ends}:
            ever = {w for p in self.honest for w in self.parties[p].ever if w.endswith(f" {op}")}
            if len(ever) > 1:
                self._break("agreement", f"{op} is committed here and aborted there")
        up = [p for p in self.honest if self.parties[p].up]
        for op in self.by:
            aware = [p for p in up if op in self.parties[p].knows | self.parties[p].stored]
            have = [p for p in up if op in self.parties[p].records]
            anyone = any(op in self.parties[p].records for p in self.honest)
            own = self.by[op] in self.parties and self._is_liar(self.by[op])
            if own and not any(w.endswith(f" {op}") for p in self.honest
                               for w in self.parties[p].ever):  # fmt: skip
                continue  # a liar's own, and nobody honest holds an end that others lack
            for p in up:
                end = self.parties[p].end.get(op, "")
                if end in ("committed", "aborted") or (end == "expired" and not anyone):
                    continue
                unsettled = [q for q in aware if not self.parties[q].end.get(op)]
                if have or unsettled or (p in aware) or (end == "expired" and anyone):
                    if aware or have:
                        self._break("termination", f"{op} is open at {p}")


def broken(
    lines: Iterable[bytes], *, n: int, needed: int, faulty: Iterable[int] | None = None
) -> dict[str, str]:
    """The promises that the oracle finds broken in a trace (`Trace.lines`), and why; under
    "termination" what is open at its end, whether or not anything excuses that."""
    return Oracle(n, needed, faulty).judge([msgspec.json.decode(line) for line in lines])


def disagreements(
    lines: Iterable[bytes],
    verdicts: Iterable[Any],
    *,
    n: int,
    needed: int,
    faulty: Iterable[int] | None = None,
) -> list[str]:
    """Where the verdicts on a trace (`Trace.lines`) and the oracle differ, in words."""
    return differences(broken(lines, n=n, needed=needed, faulty=faulty), verdicts)


def differences(said: Mapping[str, str], verdicts: Iterable[Any]) -> list[str]:
    """Where verdicts and what the oracle said (`broken`) differ, in words.

    A verdict `unknown` of termination is no disagreement, and neither is any other where the
    oracle finds nothing wrong.
    """
    found = []
    for verdict in verdicts:
        name, word = verdict.check, verdict.verdict
        if name not in JUDGED or (name == "termination" and word == "unknown"):
            continue
        if (word == "violated") != (name in said):
            found.append(f"{name}: {word} ({verdict.sentence}); oracle: {said.get(name, 'ok')}")
    return found
