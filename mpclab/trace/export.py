"""A trace as tables and graphs, for people who go on with pandas or networkx.

JSONL is the trace's own format: `Trace.save` and `Trace.load`. pandas and networkx are
imported when they are asked for.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from mpclab.core.notes import fields_of
from mpclab.trace.flights import flights
from mpclab.trace.log import Trace
from mpclab.trace.rows import Noted, Sent

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

_INTEGERS = ("id", "size", "sender", "peer", "party", "attempt", "index")
_TEXTS = (
    "path",
    "kind",
    "via",
    "text",
    "why",
    "name",
    "what",
    "reason",
    "strength",
    "key",
    "state",
    "detail",
    "phase",
)


def to_pandas(trace: Trace) -> pd.DataFrame:
    """One line a row of the trace, indexed by row number.

    Columns: `at_ms` (float), `row` (its kind), `actor`, then every field of any kind of row
    (missing where it has none): nullable integers, text, `to` and `parties` as tuples,
    `background` as nullable boolean, and a note's `details` as JSON text.
    """
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for row in trace:
        line = msgspec.structs.asdict(row)
        line["at_ms"] = line.pop("at") / 1000
        line["row"] = type(row).__name__.lower()
        if "path" in line:
            line["path"] = "/".join(line["path"])
        if isinstance(row, Noted):
            del line["note"]
            line["what"], told = row.word, fields_of(row.note)
            line["details"] = msgspec.json.encode(told, order="deterministic").decode()
        lines.append(line)
    columns = [
        "at_ms",
        "row",
        "actor",
        *_INTEGERS,
        *_TEXTS,
        "to",
        "parties",
        "background",
        "details",
    ]
    frame = pd.DataFrame(lines, columns=columns)
    types: dict[str, str] = {"at_ms": "float64", "row": "string", "actor": "int64"}
    types |= dict.fromkeys(_INTEGERS, "Int64") | dict.fromkeys(_TEXTS, "string")
    types |= {"background": "boolean", "details": "string"}
    frame = frame.astype(types)
    frame.index.name = "number"
    return frame


def messages_table(trace: Trace) -> pd.DataFrame:
    """One line a message and receiver: sending joined with arrival or loss.

    Columns: `sender`, `receiver`, `id`, `kind`, `path`, `size`, `via`, `background`, `text`,
    `sent_ms`, `fate` (delivered, dropped, flying), `ended_ms`, `delay_ms`, `why`, `copy`,
    `sent_row`, `ended_row`.
    """
    import pandas as pd

    found = flights(trace)

    def column(name: str) -> list[Any]:
        return [getattr(flight, name) for flight in found]

    ended = pd.array(column("ended_at"), dtype="Float64") / 1000
    sent = pd.array(column("sent_at"), dtype="Float64") / 1000
    delivered = pd.Series(column("fate"), dtype="string") == "delivered"
    return pd.DataFrame(
        {
            **{name: pd.Series(column(name), dtype="int64") for name in ("sender", "receiver")},
            "id": pd.Series(column("id"), dtype="int64"),
            "kind": pd.Series(column("kind"), dtype="string"),
            "path": pd.Series(["/".join(flight.path) for flight in found], dtype="string"),
            "size": pd.Series(column("size"), dtype="int64"),
            "via": pd.Series(column("via"), dtype="string"),
            "background": pd.Series(column("background"), dtype="bool"),
            "text": pd.Series(column("text"), dtype="string"),
            "sent_ms": sent,
            "fate": pd.Series(column("fate"), dtype="string"),
            "ended_ms": ended,
            "delay_ms": pd.Series(ended - sent).where(delivered),
            "why": pd.Series(column("why"), dtype="string"),
            "copy": pd.Series(column("copy"), dtype="bool"),
            "sent_row": pd.Series(column("sent_row"), dtype="int64"),
            "ended_row": pd.Series(column("ended_row"), dtype="Int64"),
        }
    )


def message_counts(trace: Trace, *, background: bool = True) -> dict[str, dict[str, int]]:
    """Per kind of message, and under `"all"`: how many were sent, delivered and dropped.

    A broadcast to k parties counts k times; one that arrived twice was delivered twice.
    """
    counts: dict[str, Counter[str]] = {}
    for flight in flights(trace, background=background):
        for kind in (flight.kind, "all"):
            count = counts.setdefault(kind, Counter(sent=0, delivered=0, dropped=0))
            count["sent"] += not flight.copy
            if flight.fate != "flying":
                count[flight.fate] += 1
    counts.setdefault("all", Counter(sent=0, delivered=0, dropped=0))
    return {kind: dict(counts[kind]) for kind in sorted(counts)}


def to_networkx(trace: Trace) -> nx.MultiDiGraph:
    """The messages as a graph: an edge per (sender, receiver, kind of message).

    Edges are keyed by kind and carry `sent`, `delivered`, `dropped`, `bytes`; nodes are
    actors, with `sent` and `received`.
    """
    import networkx as nx

    graph = nx.MultiDiGraph()
    for flight in flights(trace):
        for actor in (flight.sender, flight.receiver):
            if actor not in graph:
                graph.add_node(actor, sent=0, received=0)
        if not graph.has_edge(flight.sender, flight.receiver, flight.kind):
            graph.add_edge(
                flight.sender, flight.receiver, flight.kind, sent=0, delivered=0, dropped=0, bytes=0
            )
        edge = graph.edges[flight.sender, flight.receiver, flight.kind]
        if not flight.copy:
            edge["sent"] += 1
            edge["bytes"] += flight.size
            graph.nodes[flight.sender]["sent"] += 1
        if flight.fate != "flying":
            edge[flight.fate] += 1
            graph.nodes[flight.receiver]["received"] += flight.fate == "delivered"
    return graph


def to_causal_graph(trace: Trace) -> nx.DiGraph:
    """Happens-before as a graph: nodes are row numbers, edges the direct steps.

    Node attributes: `at_ms`, `actor`, `row`, `text`; edge attribute `step` is "next" (of the
    same actor) or "message". `networkx.ancestors(graph, row)` is the causal past of a row.
    """
    import networkx as nx

    graph = nx.DiGraph()
    latest: dict[int, int] = {}
    for number, row in enumerate(trace):
        text = row.kind if isinstance(row, Sent) else str(getattr(row, "what", ""))
        graph.add_node(
            number, at_ms=row.at / 1000, actor=row.actor, row=type(row).__name__.lower(), text=text
        )
        if row.actor in latest:
            graph.add_edge(latest[row.actor], number, step="next")
        latest[row.actor] = number
    for flight in flights(trace):
        if flight.fate == "delivered":
            graph.add_edge(flight.sent_row, flight.ended_row, step="message")
    return graph
