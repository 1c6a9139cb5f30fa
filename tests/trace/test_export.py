"""Tables and graphs hold what the trace holds, in columns with fixed types."""

import json

from mpclab.core.notes import fields_of
from mpclab.trace import Noted, Trace
from mpclab.trace.export import message_counts, messages_table, to_networkx, to_pandas
from tests.plots import scenes
from tests.trace.rowmaker import committed


def test_one_line_a_row_with_times_in_milliseconds() -> None:
    trace = scenes.broken(4)
    frame = to_pandas(trace)
    assert len(frame) == len(trace)
    assert frame["at_ms"].tolist() == [row.at / 1000 for row in trace]
    assert frame["actor"].tolist() == [row.actor for row in trace]
    assert (frame["row"] == "sent").sum() == len(trace.sent())
    notes = frame[frame["row"] == "noted"]
    assert [json.loads(d) for d in notes["details"]] == [
        fields_of(n.note) for n in trace.rows if isinstance(n, Noted)
    ]


def test_types_do_not_depend_on_what_happened() -> None:
    full, bare = to_pandas(scenes.broken(4)), to_pandas(Trace())
    assert (
        full.dtypes.drop(["to", "parties"]).to_dict()
        == bare.dtypes.drop(["to", "parties"]).to_dict()
    )
    assert (
        messages_table(scenes.quiet(3)).dtypes.to_dict() == messages_table(Trace()).dtypes.to_dict()
    )


def test_the_messages_table_joins_sending_with_arrival() -> None:
    trace = scenes.broken(4)
    table = messages_table(trace)
    arrived = table[table["fate"] == "delivered"]
    assert len(arrived) == trace.deliveries
    assert (arrived["delay_ms"] > 0).all()
    assert ((arrived["ended_ms"] - arrived["sent_ms"] - arrived["delay_ms"]).abs() < 1e-9).all()
    lost = table[table["fate"] == "dropped"]
    assert len(lost) > 0
    assert lost["delay_ms"].isna().all()
    assert set(lost["why"]) <= {"loss", "partition", "crashed"}


def test_counts_add_up() -> None:
    trace = scenes.broken(5)
    counts = message_counts(trace)
    for fate in ("sent", "delivered", "dropped"):
        assert counts["all"][fate] == sum(c[fate] for k, c in counts.items() if k != "all")
    assert counts["all"]["sent"] == sum(len(sent.to) for sent in trace.sent().values())
    assert counts["all"]["delivered"] == trace.deliveries
    assert counts["all"]["dropped"] > 0
    assert message_counts(committed().trace) == {"all": {"sent": 0, "delivered": 0, "dropped": 0}}


def test_the_graph_counts_messages_and_bytes_between_each_two() -> None:
    trace = scenes.quiet(4)
    graph = to_networkx(trace)
    assert sorted(graph.nodes) == [1, 2, 3, 4]
    votes = [d for _, _, k, d in graph.edges(keys=True, data=True) if k == "Vote"]
    assert len(votes) == 12
    assert all(v["sent"] == v["delivered"] == 1 and v["bytes"] > 0 for v in votes)
    assert (
        sum(d["sent"] for _, _, d in graph.edges(data=True)) == message_counts(trace)["all"]["sent"]
    )
