"""The picture of a DAG shows the vertices, edges and order that a party noted."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from mpclab.consensus.bullshark import Bullshark
from mpclab.faults.network import Delay, Network
from mpclab.plots import dag, style
from mpclab.plots.dag import held_by
from mpclab.testing.cluster import Cluster
from mpclab.trace import Trace


def some(n: int = 4) -> Cluster:
    """Some operations at once, of which one party hears the first alone."""
    c = Cluster(Bullshark, n, seed=3, network=Network(Delay("uniform", 5_000, 40_000)))
    for p in c.members:
        c.submit(p, f"op{p}")
    c.run(60)
    c.cut([n], range(1, n))
    c.run(2_000)
    return c


def drawn(ax: Axes) -> Axes:
    assert isinstance(ax.figure, Figure)
    FigureCanvasAgg(ax.figure).draw()
    return ax


def words(ax: Axes) -> list[Text]:
    return [t for t in ax.findobj(Text) if t.get_visible() and t.get_text().strip()]


def test_what_is_held_and_ordered_is_what_the_machine_says() -> None:
    c = some()
    for p in c.members:
        held, machine = held_by(c.world.trace, p), c.machine(p)
        assert [anchor[0] for anchor in held.anchors] == [
            machine.ordered.at(k).round for k in range(len(machine.ordered))
        ]
        assert set(held.ordered) == machine.dag.ordered
        numbers = [number for _, number in held.ordered.values()]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        assert all(
            it.vertex.place in held.vertices
            for vertices in machine.dag.rounds.values()
            for it in vertices.values()
        )


def test_every_vertex_and_every_edge_is_drawn_and_votes_are_dark() -> None:
    trace = some().world.trace
    held = held_by(trace, 1)
    ax = drawn(dag(trace, party=1))
    marks = [line for line in ax.lines if len(line.get_xdata()) == 1]  # type: ignore[arg-type]
    assert len(marks) == len(held.vertices)
    anchors = [line for line in marks if line.get_marker() == "D"]
    assert len(anchors) == sum(v.anchor for v in held.vertices.values()) > 0
    edges = [line for line in ax.lines if len(line.get_xdata()) == 2]  # type: ignore[arg-type]
    assert len(edges) == sum(len(v.parents) + len(v.weak) for v in held.vertices.values())
    votes = [
        (round, p)
        for (round, p), v in held.vertices.items()
        if any(held.vertices[round - 1, q].anchor for q in v.parents)
    ]
    assert sum(line.get_color() == style.INK for line in edges) == len(votes) > 0
    told = [t.get_text() for t in words(ax)]
    assert "op op1" in told
    assert {str(number) for _, number in held.ordered.values()} <= set(told)


@pytest.mark.parametrize("n", [4, 7])
def test_its_words_do_not_overlap(n: int) -> None:
    ax = drawn(dag(some(n).world.trace))
    boxes = [(t.get_text(), t.get_window_extent()) for t in words(ax)]
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = min(a.x1, b.x1) - max(a.x0, b.x0) < 1.5 or min(a.y1, b.y1) - max(a.y0, b.y0) < 2.5
        assert apart, f"{one!r} and {other!r} overlap"


def test_some_rounds_are_drawn_and_it_says_so() -> None:
    trace = some().world.trace
    ax = drawn(dag(trace, rounds=(2, 3), title="two rounds"))
    told = " | ".join(t.get_text() for t in words(ax))
    assert "two rounds" in told
    assert "rounds 2 to 3 of" in told
    assert ax.get_xlim() == (1.5, 3.5)


def test_without_a_dag_it_says_so() -> None:
    (only,) = words(drawn(dag(Trace())))
    assert "no vertex" in only.get_text()
    (only,) = words(drawn(dag(some().world.trace, party=9)))
    assert "party 9" in only.get_text()
