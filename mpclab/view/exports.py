"""A run for other tools: Perfetto, ShiViz, Mermaid, and SVG for a paper.

.json    Chrome's trace events (Perfetto, chrome://tracing): parties are threads, what they do
         and get are slices, messages flow from one to another
.shiviz  a log with vector clocks; ShiViz reads it by the expression in `SHIVIZ`
.mmd     a Mermaid sequence diagram
.svg     the space-time diagram, to scale
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, Final

from mpclab.core.ids import SERVER, Party
from mpclab.core.notes import fields_of
from mpclab.trace import palette
from mpclab.trace.causal import Causality
from mpclab.trace.flights import Flight, flights
from mpclab.trace.log import Trace
from mpclab.trace.rows import Delivered, Dropped, Fault, Noted, Row, Sent

SHIVIZ: Final = r"(?<host>\S*) (?<clock>{.*})\n(?<event>.*)"
"""What one gives ShiViz as the log's parsing expression."""


def _name(actor: Party) -> str:
    return "server" if actor == SERVER else "world" if actor < SERVER else f"party {actor}"


def _said(row: Row) -> str:
    """A row as a few words."""
    match row:
        case Sent(to=to, kind=kind):
            return f"sends {kind} to {', '.join(map(_name, to))}"
        case Dropped(sender=sender, why=why):
            return f"never gets a message of {_name(sender)}: {why}"
        case Noted():
            told = fields_of(row.note)
            return f"{row.word} {told.get('op', '')}".strip()
        case Fault(phase=phase, text=text, kind=kind):
            return f"fault {phase}: {text or kind}"
        case _:
            return type(row).__name__.lower()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def chrome_trace(trace: Trace) -> str:
    """Chrome's trace event format, one JSON object; times in µs as it wants them."""
    events: list[dict[str, Any]] = []
    actors = sorted({row.actor for row in trace})
    for actor in actors:
        who = {"ph": "M", "pid": 1, "tid": actor + 2, "name": "thread_name"}
        events.append({**who, "args": {"name": _name(actor)}})
        order = {**who, "name": "thread_sort_index"}
        events.append({**order, "args": {"sort_index": actor + 2}})

    def slice_at(at: int, actor: Party, name: str, **args: Any) -> None:
        place = {"ts": at, "dur": 1, "pid": 1, "tid": actor + 2}
        events.append({"ph": "X", "name": name, "cat": "message", **place, "args": args})

    sent: set[int] = set()
    for number, flight in enumerate(flights(trace)):
        if flight.sent_row not in sent:
            sent.add(flight.sent_row)
            slice_at(flight.sent_at, flight.sender, f"send {flight.kind}", bytes=flight.size)
        if flight.ended_at is None:
            continue
        word = "get" if flight.fate == "delivered" else "lose"
        slice_at(flight.ended_at, flight.receiver, f"{word} {flight.kind}", why=flight.why)
        flow = {"cat": "flow", "name": flight.kind, "id": number, "pid": 1}
        events.append({"ph": "s", **flow, "ts": flight.sent_at, "tid": flight.sender + 2})
        end = {"ph": "f", "bp": "e", **flow, "ts": flight.ended_at, "tid": flight.receiver + 2}
        events.append(end)
    for row in trace.rows:
        if type(row) is Noted:
            mark = {"ph": "i", "s": "t", "name": row.word, "cat": "note", "ts": row.at, "pid": 1}
            told = {name: str(value) for name, value in fields_of(row.note).items()}
            events.append({**mark, "tid": row.actor + 2, "args": told})
        elif type(row) is Fault and row.phase in ("begin", "end"):
            kind = {"begin": "b", "end": "e"}[row.phase]
            where = {"cat": "fault", "id": row.index, "pid": 1, "tid": row.actor + 2}
            events.append({"ph": kind, "name": row.text or row.kind, "ts": row.at, **where})
    events.sort(key=lambda event: event.get("ts", -1))
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})


def shiviz(trace: Trace) -> str:
    """A log for ShiViz: each event with the vector clock at which its actor had it."""
    order = Causality(trace)
    lines = []
    for number, row in enumerate(order.rows):
        clock = {
            _name(actor).replace(" ", "-"): count
            for actor, count in zip(order.actors, order.clocks[number], strict=True)
            if count
        }
        said = "gets a message" if type(row) is Delivered else _said(row)
        if type(row) is Delivered:
            said = f"gets message {row.id} of {_name(row.sender)}"
        host = _name(row.actor).replace(" ", "-")
        lines.append(f"{host} {json.dumps(clock)}\n{_one_line(said)}")
    return "\n".join(lines) + "\n"


def mermaid(trace: Trace, most: int = 400) -> str:
    """A sequence diagram; of more than `most` messages the first, and a note that says so."""
    found = flights(trace, background=False)
    actors = sorted({a for f in found for a in (f.sender, f.receiver)})
    lines = ["sequenceDiagram"]
    lines += [f"    participant P{actor} as {_name(actor)}" for actor in actors]
    steps: list[tuple[int, int, str]] = []
    for flight in found[:most]:
        way = f"P{flight.sender}"
        if flight.fate == "dropped":
            lost = f"{way}-xP{flight.receiver}: {flight.kind} (lost)"
            steps.append((flight.sent_at, flight.sent_row, lost))
        else:
            at = flight.sent_at if flight.ended_at is None else flight.ended_at
            row = flight.sent_row if flight.ended_row is None else flight.ended_row
            steps.append((at, row, f"{way}->>P{flight.receiver}: {flight.kind}"))
    for number, one in enumerate(trace):
        if type(one) is Noted and one.actor in actors and one.word in _TOLD:
            word = _one_line(_said(one)).replace(";", ",").replace("#", "")
            steps.append((one.at, number, f"Note over P{one.actor}: {word}"))
    lines += [f"    {text}" for _, _, text in sorted(steps)]
    if len(found) > most:
        lines.append(f"    Note over P{actors[0]}: {len(found) - most} more messages are left out")
    return "\n".join(lines) + "\n"


_TOLD: Final = ("proposed", "committed", "aborted", "expired", "became-leader", "crashed")


def svg(trace: Trace, *, width: int = 1000, lane: int = 44, background: bool = False) -> str:
    """The space-time diagram to scale, as vectors."""
    found = flights(trace, background=background)
    actors = sorted({a for f in found for a in (f.sender, f.receiver)})
    begin = min((f.sent_at for f in found), default=0)
    end = max((f.ended_at or f.sent_at for f in found), default=1)
    left, right, top = 80, 16, 24
    height = top + lane * max(1, len(actors)) + 26
    scale = (width - left - right) / max(1, end - begin)

    def x(at: int) -> float:
        return round(left + (at - begin) * scale, 2)

    y = {actor: top + lane * (k + 0.5) for k, actor in enumerate(actors)}
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f"<title>{len(actors)} actors, {len(found)} messages</title>",
    ]
    for actor in actors:
        colour = palette.party_colour(actor)
        pieces.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y[actor]}" y2="{y[actor]}" '
            f'stroke="{colour}"/><text x="8" y="{y[actor] + 4}" fill="{colour}">'
            f"{escape(_name(actor))}</text>"
        )
    pieces += _arrows(found, x, y)
    seconds = (end - begin) / 1_000_000
    pieces.append(f'<text x="{left}" y="{height - 8}">0 s</text>')
    pieces.append(
        f'<text x="{width - right}" y="{height - 8}" text-anchor="end">{seconds:.3f} s</text></svg>'
    )
    return "\n".join(pieces) + "\n"


def _arrows(found: list[Flight], x: Callable[[int], float], y: dict[Party, float]) -> Iterator[str]:
    for flight in found:
        if flight.ended_at is None:
            continue
        lost = flight.fate == "dropped"
        x0, y0 = x(flight.sent_at), y[flight.sender]
        x1, y1 = x(flight.ended_at), y[flight.receiver]
        if lost:  # its cross is on nobody's line
            x1, y1 = (x0 + max(x1, x0 + 30)) / 2, (y0 + y1) / 2 + 4
        colour = palette.party_colour(flight.sender)
        dashes = ' stroke-dasharray="3 3"' if lost else ""
        mark = "×" if lost else "●"
        yield (
            f'<g stroke="{colour}" fill="{colour}"><title>{escape(flight.kind)}</title>'
            f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"{dashes}/>'
            f'<text x="{x1}" y="{y1 + (4 if lost else 2)}" stroke="none" text-anchor="middle" '
            f'font-size="{12 if lost else 5}">{mark}</text></g>'
        )


EXPORTS: Final[dict[str, Callable[[Trace], str]]] = {
    ".json": chrome_trace,
    ".shiviz": shiviz,
    ".mmd": mermaid,
    ".svg": svg,
}
"""By the ending of a file's name."""
