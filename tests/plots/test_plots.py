"""Pictures show what the trace holds, read well, and leave no trace of their own."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from matplotlib.text import Text
from PIL import Image, ImageChops, ImageStat

from mpclab.core import MS, UsageError
from mpclab.plots import layout, outcomes, spacetime, style, timeline, topology
from mpclab.plots.clock import Clock, choose_scale
from mpclab.trace import Trace
from mpclab.trace.flights import flights
from mpclab.trace.fold import fold
from tests.plots import scenes
from tests.trace.rowmaker import Story

PLOTS = {"spacetime": spacetime, "topology": topology, "outcomes": outcomes, "timeline": timeline}
SCENES = {
    "quiet 3": lambda: scenes.quiet(3),
    "quiet 20": lambda: scenes.quiet(20),
    "busy 5": lambda: scenes.busy(5),
    "broken 5": lambda: scenes.broken(5),
    "broken 10": lambda: scenes.broken(10),
    "disagreement": lambda: scenes.disagreement(4),
    "meshed 8": lambda: scenes.meshed(8),
    "called": scenes.called,
    "whole lab": lambda: scenes.whole_lab(4),
}


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    return {name: make() for name, make in SCENES.items()}


@pytest.fixture(autouse=True)
def _no_side_effects() -> Iterator[None]:
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def drawn(ax: Axes) -> Axes:
    figure = ax.figure
    assert isinstance(figure, Figure)
    FigureCanvasAgg(figure).draw()
    return ax


def words(ax: Axes) -> list[Text]:
    return [t for t in ax.findobj(Text) if t.get_visible() and t.get_text().strip()]


def written(ax: Axes) -> str:
    return " | ".join(t.get_text() for t in words(ax))


@pytest.mark.parametrize(
    "plot", [*PLOTS.values(), partial(spacetime, scale="order")], ids=[*PLOTS, "in order"]
)
@pytest.mark.parametrize("scene", SCENES)
def test_words_neither_overlap_nor_leave_the_page(
    plot: Callable[..., Axes], scene: str, traces: dict[str, Trace]
) -> None:
    check_words(drawn(plot(traces[scene])))


def check_words(ax: Axes) -> None:
    page = ax.figure.bbox
    boxes = [(t.get_text(), t.get_window_extent()) for t in words(ax)]
    for text, box in boxes:
        assert page.x0 - 1 <= box.x0, (text, box)
        assert box.x1 <= page.x1 + 1, (text, box)
        assert page.y0 - 1 <= box.y0, (text, box)
        assert box.y1 <= page.y1 + 1, (text, box)
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = min(a.x1, b.x1) - max(a.x0, b.x0) < 1.5 or min(a.y1, b.y1) - max(a.y0, b.y0) < 2.5
        assert apart, f"{one!r} and {other!r} overlap"


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_an_empty_trace_says_so_and_a_lonely_party_is_drawn(plot: Callable[..., Axes]) -> None:
    (only,) = words(drawn(plot(Trace())))
    assert "no" in only.get_text()
    story = Story(1)
    story.propose(1, "x")
    drawn(plot(story.trace))


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_a_picture_is_drawn_on_given_axes_and_on_no_others(plot: Callable[..., Axes]) -> None:
    figure = Figure(figsize=(11, 6))
    left, right = figure.subplots(1, 2)
    assert plot(scenes.quiet(3), ax=left, title="mine") is left
    drawn(left)
    assert "mine" in written(left)
    assert not [*right.lines, *right.patches, *right.collections, *right.texts]


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_drawing_changes_nothing_in_the_trace(plot: Callable[..., Axes]) -> None:
    trace = scenes.broken(4)
    before = trace.digest()
    plot(trace)
    assert trace.digest() == before


# --- space-time ---------------------------------------------------------------------------


def arrows(ax: Axes) -> int:
    return sum(len(c.get_segments()) for c in ax.collections if isinstance(c, LineCollection))


def heads(ax: Axes) -> int:
    return sum(len(q.X) for q in ax.collections if isinstance(q, Quiver))


def test_clients_have_lanes_on_which_their_calls_end() -> None:
    trace = scenes.called()
    said = written(drawn(spacetime(trace)))
    for words_ in ("client 1", "client 2", "✓ read: 1 @2", "✗ note tea @3", "? read @1", "… note"):
        assert words_ in said
    for legend in ("call ok (2)", "call failed (1)", "call unknown (1)", "call open (1)"):
        assert legend in said
    assert "client" not in written(drawn(spacetime(trace, until=15 * MS)))
    assert "@2" not in written(drawn(spacetime(trace, parties=[1, 3])))


def test_a_party_that_does_not_vote_is_pale_and_said_to_be() -> None:
    story = Story(3)
    for p in (1, 2, 3):
        story.note(p, "voters-changed", voters=(1, 2))
    assert "no vote: 3" in written(drawn(topology(story.trace)))
    assert "votes: 1, 2" in written(drawn(spacetime(story.trace)))
    story.note(3, "voters-changed", voters=(1, 2, 3), old=(1, 2))
    assert "no vote" not in written(drawn(topology(story.trace)))


def crosses(ax: Axes) -> int:
    return sum(
        len(line.get_xdata())  # type: ignore[arg-type]
        for line in ax.lines
        if line.get_marker() is style.CROSS and line.get_color() == style.BAD
    )


def test_every_message_is_an_arrow_and_every_lost_one_ends_in_a_cross() -> None:
    trace = scenes.broken(5)
    found = flights(trace)
    ax = spacetime(trace)
    assert arrows(ax) == len(found)
    assert heads(ax) == sum(f.fate == "delivered" for f in found)
    assert crosses(ax) == sum(f.fate == "dropped" for f in found) > 5
    assert f"lost ({crosses(ax)})" in written(ax)


def test_arrows_begin_at_the_sending_and_end_at_the_arrival() -> None:
    story = Story(2)
    id = story.at(10).send(1, (2,))
    story.at(35).arrive(1, id, at=2)
    ax = spacetime(story.trace)
    (collection,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert collection.get_segments()[0].tolist() == [[10.0, 0.0], [35.0, 1.0]]


def test_a_lost_message_ends_on_its_way() -> None:
    story = Story(3)
    id = story.at(0).send(1, (3,))
    story.at(20).lose(1, id, at=3)
    ax = spacetime(story.trace)
    (cross,) = [line for line in ax.lines if line.get_marker() is style.CROSS]
    assert 0 < cross.get_ydata()[0] < 1  # type: ignore[index]


@pytest.mark.parametrize("n", range(2, 9))
def test_the_cross_of_a_lost_message_is_on_nobodys_line(n: int) -> None:
    story = Story(n)
    for party in range(1, n + 1):
        story.at(0).send(party, (party % n + 1,))  # so that each has a line
    id = story.send(1, (n,))
    story.at(20).lose(1, id, at=n)
    ax = spacetime(story.trace)
    (cross,) = [line for line in ax.lines if line.get_marker() is style.CROSS]
    height = float(cross.get_ydata()[0])  # type: ignore[index]
    assert 0 < height < n - 1
    assert abs(height - round(height)) >= 0.25


def test_a_message_under_way_is_an_arrow_that_grows() -> None:
    def length(until: int) -> float:
        story = Story(2)
        story.at(0).send(1, (2,))
        story.at(20).arrive(1, 1, at=2)
        story.at(40).send(1, (2,))
        ax = spacetime(story.trace, until=until * 1000, scale="time")
        assert ("under way (1)" in written(ax), crosses(ax)) == (True, 0)
        segments = [
            s for c in ax.collections if isinstance(c, LineCollection) for s in c.get_segments()
        ]
        return float(max(y for s in segments for (x, y) in s.tolist() if x > 40))

    assert 0 < length(45) < length(50) < length(60) < 1


def test_a_crash_before_the_window_leaves_no_word_in_it() -> None:
    story = Story(2)
    story.at(0).send(1, (2,))
    story.at(1).arrive(1, 1, at=2)
    story.at(5).fault(0, "crash", "begin", 2)
    story.at(9).fault(0, "crash", "end", 2)
    story.at(50).send(1, (2,))
    story.at(60).arrive(1, 2, at=2)
    assert "crashed" in written(spacetime(story.trace))
    assert "crashed" not in written(spacetime(story.trace, since=40_000, until=70_000))


def test_heartbeats_are_hidden_and_counted_until_asked_for() -> None:
    story = Story(2)
    for ms in range(5):
        story.at(ms).send(1, (2,), "Heartbeat", background=True)
    story.send(1, (2,), "Vote")
    ax = spacetime(story.trace)
    assert (arrows(ax), "5 background messages hidden" in written(ax)) == (1, True)
    assert arrows(spacetime(story.trace, background=True)) == 6


def test_what_is_cut_is_said() -> None:
    trace = scenes.quiet(5)
    ax = spacetime(trace, max_messages=10)
    assert arrows(ax) == 10
    assert "later messages not drawn" in written(ax)
    last = spacetime(trace, max_messages=10, keep="last")
    assert arrows(last) == 10
    assert "earlier messages not drawn" in written(last)


def test_no_mark_stands_where_messages_are_left_out() -> None:
    story = Story(2)
    for ms in range(10):
        story.at(10 * ms).send(1, (2,))
        story.at(10 * ms + 5).arrive(1, ms + 1, at=2)
        story.vote(2, f"op{ms}")
    for keep, where in (("first", lambda x: x <= 50), ("last", lambda x: x >= 50)):
        ax = spacetime(story.trace, max_messages=5, keep=keep, scale="time")  # type: ignore[arg-type]
        ticks = [line for line in ax.lines if line.get_marker() is style.TICK]
        xs = [float(x) for line in ticks for x in line.get_xdata()]  # type: ignore[arg-type,union-attr]
        assert len(xs) == 5, keep
        assert all(where(x) for x in xs), (keep, xs)


def test_marks_cost_an_artist_for_each_look_not_for_each_mark() -> None:
    def artists(votes: int) -> int:
        story = Story(3)
        for i in range(votes):
            story.at(i).vote(1 + i % 3, f"op{i}")
        return len(spacetime(story.trace).lines)

    assert artists(300) == artists(30)


def test_kinds_parties_and_window_select() -> None:
    trace = scenes.quiet(5)
    assert arrows(spacetime(trace, kinds={"Vote"})) == 20
    assert arrows(spacetime(trace, kinds={"Vote"}, parties=(1, 2, 3))) == 6
    window = spacetime(trace, since=50_000, until=60_000)
    expected = [f for f in flights(trace) if f.sent_at <= 60_000 and (f.ended_at or 0) >= 50_000]
    assert arrows(window) == len(expected)
    assert "party 4" not in written(spacetime(trace, parties=(1, 2)))


def test_relayed_messages_are_told_apart() -> None:
    story = Story(2)
    id = story.send(1, (2,), via="relay")
    story.at(9).arrive(1, id, at=2)
    ax = spacetime(story.trace)
    assert "relayed, sealed (1)" in written(ax)


def test_parties_of_another_session_can_be_left_out() -> None:
    trace = scenes.busy(5)
    for plot in PLOTS.values():
        text = written(plot(trace, parties=(1, 3)))
        assert "party 2" not in text.replace("party 2 rejected", "")
        assert "4" not in text.split(" | ")


def test_the_server_has_a_lane_when_it_talks() -> None:
    story = Story(2)
    id = story.send(1, (0,), "Join")
    story.at(5).arrive(1, id, at=0)
    assert "server" in written(spacetime(story.trace))
    assert "server" not in written(spacetime(scenes.quiet(3)))


def test_a_crash_interrupts_the_lane() -> None:
    ax = spacetime(scenes.broken(5))
    assert "crashed" in written(ax)
    solid = [
        tuple(line.get_xdata())  # type: ignore[arg-type]
        for line in ax.lines
        if set(line.get_ydata()) == {3.0}
        and len(line.get_xdata()) == 2  # type: ignore[arg-type]
        and line.get_linestyle() == "-"
    ]
    assert [(first, last) for first, last in solid if first < 500 < last] == []
    assert next(last for _, last in solid) == 330.0


def test_witnesses_stand_out() -> None:
    trace = scenes.disagreement(4)
    commit = max(c.row for c in fold(trace).operations["k3f9"].commits.values())
    plain, marked = spacetime(trace), spacetime(trace, highlight=[commit])
    halo = [line for line in marked.lines if line.get_markerfacecolor() == style.WITNESS]
    assert len(halo) == 1
    assert not [line for line in plain.lines if line.get_markerfacecolor() == style.WITNESS]
    sent = next(iter(flights(trace))).sent_row
    lit = spacetime(trace, highlight=[sent])
    assert arrows(lit) > arrows(plain)  # halos are segments too


def test_a_disagreement_is_in_the_title_and_in_two_colours() -> None:
    ax = spacetime(scenes.disagreement(4))
    assert "4 parties disagree on k3f9" in written(ax)
    assert "is committed" not in written(ax)
    colours = {line.get_markerfacecolor() for line in ax.lines if line.get_markersize() == 9}
    assert len(colours) == 2


# --- scales -------------------------------------------------------------------------------


def test_real_runs_are_drawn_in_order_and_simulated_ones_to_scale() -> None:
    assert choose_scale("auto", [100] * 9, 0, 3_000_000) == "order"
    assert choose_scale("auto", [40_000] * 9, 0, 300_000) == "time"
    with pytest.raises(UsageError, match="did you mean 'order'"):
        spacetime(scenes.quiet(3), scale="oder")  # type: ignore[arg-type]


def test_order_keeps_the_order_and_gives_each_moment_the_same_room() -> None:
    moments = [0, 5, 7, 900, 2_000_000, 2_000_003]
    clock = Clock("order", moments, 0, 2_000_003)
    places = [clock.x(m) for m in moments]
    assert places == sorted(set(places))
    steps = [b - a for a, b in pairwise(places)]
    assert steps[0] == steps[1] == steps[4] == 1.0
    assert [pause for _, pause in clock.breaks] == [1_999_100]


# --- topology -----------------------------------------------------------------------------


def test_links_are_counted_by_kind_as_of_a_time() -> None:
    trace = scenes.meshed(5)
    state = fold(trace)
    ax = topology(trace)
    alive = [k for pair, k in state.pairs.items() if k == "confirmed"]
    assert f"{len(alive)} of 10 pairs linked" in written(ax)
    assert "data channel" in written(ax)
    assert written(topology(state)) == written(ax)
    assert "0 of 10 pairs" in written(topology(trace, at=5_600))


def test_badges_tell_who_is_down_and_who_leads() -> None:
    text = written(topology(scenes.meshed(5)))
    assert "crashed: 3" in text
    assert "paused: 4" in text
    assert "leader: 2" in text


def test_a_bare_experiment_says_that_it_has_no_links() -> None:
    assert "each reaches every other" in written(topology(scenes.quiet(4)))


def test_layouts_are_pure_functions() -> None:
    pairs = {(1, 2): "confirmed", (2, 3): "relay"}
    for kind in ("circle", "spring"):
        first = layout((1, 2, 3, 4), pairs, kind=kind, seed=5)
        assert layout((1, 2, 3, 4), pairs, kind=kind, seed=5) == first
        assert sorted(first) == [1, 2, 3, 4]
    assert layout((1, 2), kind="circle")[1] == (0.0, 1.0)
    with pytest.raises(UsageError):
        layout((1,), kind="square")


# --- outcomes and timeline ----------------------------------------------------------------


def test_outcomes_name_votes_results_and_reasons() -> None:
    text = written(outcomes(scenes.busy(5)))
    for words_ in ("3 operations: 2 committed, 1 aborted", "committed everywhere", "aborted",
                   "party 2 rejected", "“pay Alice 10”", "certificate: 5 in"):  # fmt: skip
        assert words_ in text


def test_different_values_are_told_and_shown() -> None:
    ax = outcomes(scenes.disagreement(4))
    text = written(ax)
    assert "Parties disagree on k3f9" in text
    assert "2 different values!" in text
    assert text.count("beefbe") == 1


def test_many_operations_are_cut_to_the_latest() -> None:
    story = Story(2)
    for i in range(15):
        story.at(i).propose(1, f"op{i}")
        story.commit(1, f"op{i}")
    ax = drawn(outcomes(story.trace))
    assert "op14" in written(ax)
    assert "op2 " not in written(ax)
    assert "3 earlier operations not drawn" in written(ax)
    assert "15 operations: 15 committed" in written(ax)
    check_words(ax)
    assert "op0" in written(outcomes(story.trace, operations=["op0"]))


def test_the_timeline_shows_phases_leaders_and_blocking() -> None:
    story = Story(2)
    story.note(1, "became-leader", term=3)
    story.note(1, "phase", phase="prepare", op="x")
    story.at(10).note(2, "phase", phase="prepare", op="x")
    story.at(30).note(2, "blocked", op="x", waiting_for=[1], why="silence")
    story.at(50).note(1, "phase", phase="idle", op="x")
    text = written(drawn(timeline(story.trace)))
    for word in ("prepare", "blocked", "leads", "term 3", "blocked at the end: 2"):
        assert word in text


# --- style --------------------------------------------------------------------------------


def test_forty_parties_have_forty_colours_that_show_white_text() -> None:
    colours = [style.party_colour(p) for p in range(1, 41)]
    assert len(set(colours)) == 40
    for colour in colours[:20]:
        r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        assert 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.62


def test_a_notebook_stores_a_picture_in_few_bytes_and_the_same_colours() -> None:
    picture = spacetime(scenes.busy(5)).figure
    assert isinstance(picture, style.Picture)
    full, small = io.BytesIO(), io.BytesIO(picture._repr_png_())
    picture.savefig(full, format="png", bbox_inches="tight")
    assert len(small.getvalue()) < len(full.getvalue()) / 2
    with Image.open(full) as one, Image.open(small) as other:
        assert one.size == other.size
        apart = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
        assert sum(ImageStat.Stat(apart).mean) / 3 < 1  # of 255


def test_operations_have_numbers_and_names_that_were_chosen_stay() -> None:
    assert style.numbers(["x64csqfcqn", "motto", "q6xahyefvh", "x64csqfcqn"]) == {
        "x64csqfcqn": "1",
        "motto": "motto",
        "q6xahyefvh": "3",
    }


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 ms"),
        (430, "430 µs"),
        (8_540, "8.5 ms"),
        (37_400, "37 ms"),
        (1_250_000, "1.25 s"),
        (42_000_000, "42 s"),
    ],
)
def test_times_are_written_for_readers(us: int, text: str) -> None:
    assert style.milliseconds(us) == text
