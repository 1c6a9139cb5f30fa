"""`diff`: two runs side by side: where they part, and what each party knew there.

Runs are compared party by party, event by event: a party's history is what it was asked, which
messages came, which timers went off, what it sent, noted and put out. Two histories are *alike* up
to the first event at which they differ, whatever the times (they may be told apart too). The first
difference of two runs is the earliest of these, by time in the first run: before it nobody had seen
anything that would tell the runs apart.

    print(diff(a, b))            # the first difference, and what the party at hand knew
    diff(a, b).picture()         # both diagrams, one above the other, the difference marked
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mpclab.core.ids import MS, SERVER, Party
from mpclab.core.notes import Note
from mpclab.lab.run import Run
from mpclab.lab.scenario import Scenario
from mpclab.trace import rows
from mpclab.trace.fold import State
from mpclab.trace.log import Trace

if TYPE_CHECKING:
    from mpclab.plots.style import Picture

Event: TypeAlias = tuple[int, str]
"""A row's number, and what it says without times and message numbers."""


@dataclass(frozen=True)
class Split:
    """The first event at which a party's two histories differ.

    Attributes:
        row_a, row_b: the rows; None where that history ends before.
        text_a, text_b: what they say.
        common: how many events before are alike.
    """

    party: Party
    at_a: int | None
    at_b: int | None
    row_a: int | None
    row_b: int | None
    text_a: str
    text_b: str
    common: int


@dataclass(frozen=True)
class Diff:
    """Two runs compared.

    Attributes:
        first: the first difference; None: no party can tell the runs apart.
        splits: the first difference of each party that has one.
        outcomes: operations whose outcome differs, in words.
        a, b: the traces.
    """

    first: Split | None
    splits: tuple[Split, ...]
    outcomes: tuple[str, ...]
    a: Trace = field(repr=False)
    b: Trace = field(repr=False)
    ready: tuple[int, int] = (0, 0)

    def knew(self, party: Party | None = None, *, last: int = 8) -> str:
        """What a party had seen and held in both runs when it first saw a difference: the last
        common events, and then the two ways. By default the party of the first difference."""
        split = self._of(party)
        if split is None:
            return f"party {party} cannot tell the runs apart" if party else "nobody can tell"
        mine = _history(self.a, split.party)[: split.common][-last:]
        lines = [f"party {split.party} in both:"]
        lines += [f"  {text}" for _, text in mine] or ["  nothing yet"]
        for name, trace, row, text in (
            ("first", self.a, split.row_a, split.text_a),
            ("second", self.b, split.row_b, split.text_b),
        ):
            held = _held(trace, split.party, row)
            lines.append(f"in the {name}: {text}")
            lines += [f"  it held: {held}"] if held else []
        return "\n".join(lines)

    def _of(self, party: Party | None) -> Split | None:
        if party is None:
            return self.first
        return next((split for split in self.splits if split.party == party), None)

    def picture(self) -> Picture:
        """Both space-time diagrams, aligned in time, with each party's first difference marked."""
        from mpclab.plots.compare import compare

        marks_a = [split.row_a for split in self.splits if split.row_a is not None]
        marks_b = [split.row_b for split in self.splits if split.row_b is not None]
        return compare(self.a, self.b, marks_a, marks_b, since=self.ready)

    def lines(self) -> str:
        """Both runs as text, party by party, as `diff -u` shows files."""
        parties = sorted({row.actor for t in (self.a, self.b) for row in t if row.actor > SERVER})
        found: list[str] = []
        for p in parties:
            one = [text for _, text in _history(self.a, p)]
            two = [text for _, text in _history(self.b, p)]
            found += difflib.unified_diff(one, two, f"party {p}, a", f"party {p}, b", "", "", 2, "")
        return "\n".join(found)

    def __str__(self) -> str:
        if self.first is None:
            return "no party can tell the two runs apart"
        split = self.first
        where = f"at {_when(split) / MS:.1f} ms"
        lines = [
            f"The first difference is at party {split.party}, {where}, "
            f"after {split.common} events that are alike:",
            f"  a: {split.text_a}",
            f"  b: {split.text_b}",
        ]
        others = [str(s.party) for s in self.splits if s is not split]
        if others:
            lines.append(f"then at part{'y' if len(others) == 1 else 'ies'} {', '.join(others)}")
        return "\n".join([*lines, *self.outcomes])


def diff(a: Run | Trace, b: Run | Trace) -> Diff:
    """Compare two runs, or their traces."""
    one, two = _trace(a), _trace(b)
    parties = sorted({row.actor for trace in (one, two) for row in trace if row.actor > SERVER})
    splits = [split for p in parties if (split := _split(one, two, p)) is not None]

    splits.sort(key=lambda split: (_when(split), split.party))
    first = splits[0] if splits else None
    return Diff(first, tuple(splits), _outcomes(a, b), one, two, _ready(a, b))


def rerun(run: Run, scenario: Scenario | None = None, **changes: Any) -> Diff:
    """Run the same scenario and seed once more, with a protocol that was edited meanwhile or with
    `changes` of the scenario, and compare."""
    again = (scenario or run.scenario).but(**changes) if changes else (scenario or run.scenario)
    return diff(run, again.run())


def _trace(run: Run | Trace) -> Trace:
    return run.trace if isinstance(run, Run) else run


def _ready(a: Run | Trace, b: Run | Trace) -> tuple[int, int]:
    one = a.ready_at if isinstance(a, Run) else 0
    return one, b.ready_at if isinstance(b, Run) else 0


# --- a party's history ------------------------------------------------------------------------


def _history(trace: Trace, party: Party) -> list[Event]:
    """What happened at a party and what it did, in order."""
    sent: dict[tuple[Party, int], rows.Sent] = {}
    found: list[Event] = []
    for number, row in enumerate(trace):
        if type(row) is rows.Sent:
            sent[row.actor, row.id] = row
        if row.actor == party and (text := _said(row, sent)):
            found.append((number, text))
    return found


def _said(row: rows.Row, sent: dict[tuple[Party, int], rows.Sent]) -> str:
    match row:
        case rows.Delivered(_, _, sender, id):
            what = sent.get((sender, id))
            if what is None or what.background:
                return ""
            return f"gets {_message(what)} of {_who(sender)}"
        case rows.Sent() if not row.background and row.via != "pieces":
            return f"says {_message(row)} to {', '.join(map(_who, row.to))}"
        case rows.Fired(_, _, path, name):
            return f"its timer {name} of {'/'.join(path)} goes off"
        case rows.Asked(_, _, path, text):
            return f"is asked: {text}"
        case rows.Noted(_, _, path, note):
            return f"notes {row.word}{_fields(note)}"
        case rows.Output(_, _, path, text):
            return f"gives out {text}"
        case rows.Blamed(_, _, path, whom, reason, _):
            return f"blames {whom}: {reason}"
        case _:
            return ""


def _message(row: rows.Sent) -> str:
    return f"{row.kind}({row.text})" if row.text else row.kind


def _who(party: Party) -> str:
    return "the server" if party == SERVER else f"party {party}"


def _fields(note: Note) -> str:
    shown = [
        f"{name}={value}"
        for name in note.__struct_fields__
        if (value := getattr(note, name)) not in (None, "", ())
    ]
    return f" ({', '.join(shown)})" if shown else ""


def _split(a: Trace, b: Trace, party: Party) -> Split | None:
    one, two = _history(a, party), _history(b, party)
    common = 0
    for (_, x), (_, y) in zip(one, two, strict=False):
        if x != y:
            break
        common += 1
    if common == len(one) == len(two):
        return None
    mine, other = one[common : common + 1], two[common : common + 1]
    row_a, text_a = mine[0] if mine else (None, "nothing more happens")
    row_b, text_b = other[0] if other else (None, "nothing more happens")
    return Split(
        party,
        None if row_a is None else list(a)[row_a].at,
        None if row_b is None else list(b)[row_b].at,
        row_a, row_b, text_a, text_b, common,
    )  # fmt: skip


def _held(trace: Trace, party: Party, row: int | None) -> str:
    """How things stood at a party before a row, by the trace's one fold."""
    state = State()
    for number, one in enumerate(trace):
        if number == row:
            break
        state.apply(one)
    held = [
        f"{op} {word}"
        for op, operation in state.operations.items()
        if (word := operation.standing.get(party, ""))
    ]
    return ", ".join(held)


def _outcomes(a: Run | Trace, b: Run | Trace) -> tuple[str, ...]:
    if not (isinstance(a, Run) and isinstance(b, Run)):
        return ()
    found = []
    for one, two in zip(a.outcomes, b.outcomes, strict=False):
        if (one.status, one.result) != (two.status, two.result):
            ended = [f"{x.status}{f' → {x.result}' if x.result else ''}" for x in (one, two)]
            found.append(f"operation {one.operation}, {one.kind}: a {ended[0]}, b {ended[1]}")
    told_a = {v.check: v.verdict for v in a.verdicts}
    for v in b.verdicts:
        if told_a.get(v.check, v.verdict) != v.verdict:
            found.append(f"{v.check}: a {told_a[v.check]}, b {v.verdict}")
    return tuple(found)


def _when(split: Split) -> int:
    return min(t for t in (split.at_a, split.at_b) if t is not None)
