"""Happens-before by vector clocks, against a search in the graph of direct steps."""

import networkx as nx
import pytest

from mpclab.trace.causal import Causality
from mpclab.trace.export import to_causal_graph
from tests.plots import scenes
from tests.trace.rowmaker import Story


def test_a_message_carries_its_senders_past_to_its_receiver() -> None:
    story = Story(3)
    mine = story.remark(1, "thought")
    other = story.remark(3, "thought")
    id = story.send(1, (2,))
    story.at(4).arrive(1, id, at=2)
    after = story.remark(2, "knew")
    order = Causality(story.trace)
    assert order.before(mine, after)
    assert not order.before(after, mine)
    assert order.concurrent(other, after)
    assert order.past(after) == (0, 2, 3)
    assert order.future(mine) == (2, 3, 4)


def test_a_lost_message_carries_nothing() -> None:
    story = Story(2)
    mine = story.remark(1, "thought")
    id = story.send(1, (2,))
    story.lose(1, id, at=2)  # the world knows; party 2 does not
    late = story.remark(2, "late")
    assert Causality(story.trace).concurrent(mine, late)


@pytest.mark.parametrize("scene", [scenes.quiet, scenes.broken])
def test_clocks_and_graph_agree_on_real_runs(scene) -> None:  # type: ignore[no-untyped-def]
    trace = scene(3)
    order = Causality(trace)
    graph = to_causal_graph(trace)
    assert nx.is_directed_acyclic_graph(graph)
    for row in range(0, len(trace), 7):
        assert set(order.past(row)) == nx.ancestors(graph, row)
        assert set(order.future(row)) == nx.descendants(graph, row)
