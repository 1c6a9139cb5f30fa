"""The living diagram, opened from disk in a Chromium: pointed at, clicked, zoomed, asked."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mpclab import Lab
from mpclab.trace import Trace
from mpclab.trace.flights import Flight, flights
from mpclab.view import page as page_of
from tests.browser.harness import SCREENSHOTS
from tests.plots import scenes

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def run(parties: int, operations: int = 2, agreement: str = "pbft") -> Trace:
    with Lab(
        parties=parties, agreement=agreement, mesh="ready", seed=5,
        network={"delay": "normal(50ms, 10ms)", "loss": 0.05},
    ) as lab:  # fmt: skip
        lab.spawn()
        lab.join()
        for i in range(operations):
            lab.propose(by=1 + i % 2, kind="note", text=f"tea {i}")
        lab.run()
        return lab.trace


@pytest.fixture(scope="module")
def four() -> Trace:
    return run(4)


@pytest.fixture
def opened(chromium_browser: Browser, tmp_path: Path) -> Iterator[Open]:
    errors: list[str] = []
    context = chromium_browser.new_context(viewport={"width": 1280, "height": 800})

    def show(trace: Trace, **options: object) -> Page:
        file = tmp_path / "run.html"
        file.write_text(page_of(trace, **options), encoding="utf-8")  # type: ignore[arg-type]
        made = context.new_page()
        made.on("pageerror", lambda error: errors.append(str(error)))
        made.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        made.goto(file.as_uri())
        made.wait_for_function("diagram.frames.length > 0")
        return made

    yield show
    context.close()
    assert errors == []


def window(page: Page) -> list[float]:
    found: list[float] = page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame("
        "() => done([diagram.picture.left, diagram.picture.right]))))"
    )
    return found


def point_of(page: Page, message: int) -> tuple[float, float]:
    """A point a third of the way along a message's arrow, on the page."""
    box = page.locator(".stage").bounding_box()
    assert box is not None
    x0, y0, x1, y1 = page.evaluate(f"diagram.picture.ends({message})")
    return box["x"] + x0 + (x1 - x0) * 0.35, box["y"] + y0 + (y1 - y0) * 0.35


def test_it_says_what_it_shows(opened: Open, four: Trace) -> None:
    page = opened(four, title="Tea")
    summary = page.locator(".summary")
    lost = sum(f.fate == "dropped" for f in flights(four))
    expect(summary).to_contain_text(f"Tea. 4 parties, {len(flights(four))} messages, {lost} lost")
    expect(summary).to_contain_text("operations: 2 committed")
    foreground = sum(not f.background for f in flights(four))
    expect(page.locator(".said")).to_contain_text(f"{foreground} messages in view")


def test_wheel_drag_and_keys_move_the_window(opened: Open, four: Trace) -> None:
    page = opened(four)
    whole = window(page)
    page.locator(".stage").hover()
    page.mouse.wheel(0, -600)
    close = window(page)
    assert close[1] - close[0] < 0.5 * (whole[1] - whole[0])
    page.mouse.down()
    page.mouse.move(500, 300, steps=4)
    page.mouse.up()
    moved = window(page)
    assert moved[0] != close[0]
    assert moved[1] - moved[0] == pytest.approx(close[1] - close[0])
    page.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    assert window(page)[0] > moved[0]
    page.keyboard.press("-")
    page.keyboard.press("Home")
    assert window(page) == whole
    page.get_by_role("button", name="Latest").click()
    assert window(page)[0] >= whole[0]
    page.locator("canvas.map").click(position={"x": 300, "y": 10})


def test_a_call_of_a_client_is_a_bar_that_opens(opened: Open) -> None:
    page = opened(scenes.called())
    expect(page.locator(".summary")).to_contain_text("calls of clients: 2 ok, 1 failed, 1 unknown")
    box = page.locator(".stage").bounding_box()
    bars = page.evaluate(
        "diagram.picture.callsDrawn.map(([x, y, w, h, c]) => [x + w / 2, y + h / 2, c.client])"
    )
    assert box is not None
    assert [bar[2] for bar in bars] == [1, 2, 2, 2, 2]
    x, y, _ = bars[2]
    page.mouse.move(box["x"] + x, box["y"] + y)
    expect(page.locator(".tip")).to_contain_text("client 2 asked party 3: note tea: failed")
    page.mouse.down()
    page.mouse.up()
    expect(page.locator(".details")).to_contain_text("so it is failed")
    page.keyboard.press("Escape")
    expect(page.locator(".details")).to_be_hidden()


def test_pointing_names_a_message_and_a_click_opens_it(opened: Open, four: Trace) -> None:
    page = opened(four)
    all_flights = flights(four)
    number = next(
        i for i, f in enumerate(all_flights) if f.fate == "delivered" and f.kind.endswith("Prepare")
    )
    flight = all_flights[number]
    page.evaluate(f"diagram.zoom(0.15, diagram.axis.x({flight.sent_at}))")
    window(page)
    page.mouse.move(*point_of(page, number))
    expect(page.locator(".tip")).to_contain_text("Prepare party")
    page.mouse.down()
    page.mouse.up()
    details = page.locator(".details")
    chosen = all_flights[page.evaluate("diagram.view.chosen")]
    expect(details).to_contain_text(chosen.kind)
    expect(details).to_contain_text(f"party {chosen.sender} → party {chosen.receiver}")
    expect(details).to_contain_text(f"{chosen.sent_row} and {chosen.ended_row}")
    page.keyboard.press("n")
    assert page.evaluate("diagram.view.chosen") > number - len(all_flights)
    page.screenshot(path=SCREENSHOTS / "diagram-message.png")
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()


def cone(found: list[Flight], chosen: int, direction: str) -> set[int]:
    """What led to a message, or what it led to, by the definition alone (Lamport 1978)."""
    inside = {chosen}
    while True:
        more = {
            i
            for i, one in enumerate(found)
            if i not in inside
            for other in (found[j] for j in inside)
            if (led(one, other) if direction == "past" else led(other, one))
        }
        if not more:
            return inside
        inside |= more


def led(one: Flight, other: Flight) -> bool:
    """Whether `one` arrived at the sender of `other` before that was sent."""
    arrived = one.fate == "delivered" and one.receiver == other.sender
    return arrived and one.ended_at is not None and one.ended_at <= other.sent_at


@pytest.mark.parametrize("direction", ["past", "future"])
def test_the_causal_past_and_future_are_what_the_definition_says(
    opened: Open, direction: str
) -> None:
    trace = run(3, operations=1, agreement="direct")
    found = flights(trace)
    page = opened(trace)
    for number in range(0, len(found), 5):
        page.evaluate(f"diagram.choose({number}), diagram.act('{direction}')")
        lit = set(page.evaluate("[...diagram.view.lit]"))
        wanted = cone(found, number, direction)
        if direction == "future":  # the picture leaves out what came of it and was lost
            wanted = {i for i in wanted if found[i].fate == "delivered"} | {number}
        assert lit == wanted, number


def test_a_filter_narrows_and_a_wrong_one_says_what_can_be_asked(opened: Open, four: Trace) -> None:
    page = opened(four)
    ask = page.get_by_label("Filter messages")
    all_flights = [f for f in flights(four) if not f.background]
    for text, fits in {
        "lost": lambda f: f.fate == "dropped",
        "from:1 to:2-3": lambda f: f.sender == 1 and f.receiver in (2, 3),
        "kind:Prop": lambda f: f.kind.lower().startswith("prop"),
        "party:4 lost": lambda f: 4 in (f.sender, f.receiver) and f.fate == "dropped",
        'path:"agreement"': lambda f: "agreement" in "/".join(f.path),
    }.items():
        ask.fill(text)
        window(page)
        wanted = sum(fits(f) for f in all_flights)
        if text != "party:4 lost":  # which also hides the lanes of others
            expect(page.locator(".said")).to_contain_text(f"{wanted} messages in view")
    ask.fill("size:3")
    expect(page.locator(".said")).to_contain_text("size: is not known; use kind, party")
    ask.fill("from:x")
    expect(page.locator(".said")).to_contain_text("from:x: write from:2, from:1,3 or from:2-4")


def test_a_verdicts_row_is_one_click_away(opened: Open, four: Trace) -> None:
    row = next(f.sent_row for f in flights(four) if f.fate == "delivered")
    page = opened(four, lines=[("agreement: violated", (row,))])
    page.get_by_role("button", name=f"row {row}").click()
    expect(page.locator(".details")).to_contain_text("party")
    assert page.evaluate("diagram.view.chosen") >= 0 or page.evaluate("diagram.view.chosenMark")


def test_twenty_parties_are_lanes_in_groups_that_open(opened: Open) -> None:
    page = opened(run(20, operations=1, agreement="direct"))
    names = page.evaluate("diagram.picture.lanes.map(lane => lane.name)")
    assert names == [f"{p}–{p + 1}" for p in range(1, 21, 2)]
    y = page.evaluate("diagram.picture.lanes[1].y")
    page.locator(".stage").click(position={"x": 40, "y": y})
    window(page)
    assert page.evaluate("diagram.picture.lanes.map(lane => lane.name)")[:4] == [
        "1–2",
        "3",
        "4",
        "5–6",
    ]
    page.screenshot(path=SCREENSHOTS / "diagram-twenty.png")


def test_on_a_phone_it_is_one_column(opened: Open, four: Trace) -> None:
    page = opened(four)
    page.set_viewport_size({"width": 390, "height": 800})
    window(page)
    page.evaluate("diagram.choose(3)")
    box = page.locator(".details").bounding_box()
    stage = page.locator(".stage").bounding_box()
    assert box is not None
    assert stage is not None
    assert box["y"] >= stage["y"] + stage["height"] - 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=SCREENSHOTS / "diagram-phone.png")


def test_very_many_messages_are_counted_not_drawn_until_one_comes_closer(opened: Open) -> None:
    page = opened(run(10, operations=20))
    assert page.evaluate("diagram.picture.inView") > 2500
    expect(page.locator(".said")).to_contain_text("zoom in to see single messages")
    for _ in range(60):
        if page.evaluate("diagram.picture.visible.length"):
            break
        page.evaluate("diagram.zoom(0.7)")
        window(page)
    assert 0 < page.evaluate("diagram.picture.visible.length") <= 2500


HANDS = """() => {
  window.deeds = [];
  const every = ["crash", "restart", "pause", "resume", "corrupt", "partition", "branch", "lose",
                 "hold", "duplicate"];
  Object.assign(diagram.options, { able: () => every, act: (deed) => window.deeds.push(deed) });
}"""


def test_a_party_is_paused_resumed_restarted_and_made_to_lie_by_a_click(opened: Open) -> None:
    with Lab(parties=3, mesh="ready", seed=1) as lab:
        lab.spawn()
        lab.propose(by=1, text="tea")
        lab.run()
        lab.crash(2)
        lab.pause(3)
        page = opened(lab.trace)
    page.evaluate(HANDS)
    for lane, words in ((1, "pause it"), (1, "let it lie"), (2, "restart it"), (3, "let it go on")):
        names = page.evaluate("diagram.picture.lanes.map(lane => lane.name)")
        y = page.evaluate(f"diagram.picture.lanes[{names.index(str(lane))}].y")
        page.locator(".stage").click(position={"x": 62, "y": y})
        page.get_by_role("button", name=words).click()
    assert [(deed["verb"], deed["party"]) for deed in page.evaluate("deeds")] == [
        ("pause", 1), ("corrupt", 1), ("restart", 2), ("resume", 3),
    ]  # fmt: skip


def test_a_message_is_held_or_sent_twice_by_dragging_it(opened: Open, four: Trace) -> None:
    page = opened(four)
    page.evaluate(HANDS)
    all_flights = flights(four)
    number = next(i for i, f in enumerate(all_flights) if f.kind.endswith("Prepare"))
    page.evaluate(f"diagram.zoom(0.15, diagram.axis.x({all_flights[number].sent_at}))")
    window(page)
    x, y = point_of(page, number)
    box = page.locator(".stage").bounding_box()
    assert box is not None
    there = page.evaluate(f"diagram.picture.at({x - box['x']}, {y - box['y']}).message")
    for key in (None, "Shift"):
        if key:
            page.keyboard.down(key)
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 120, y + 2, steps=4)
        said = "arrives twice" if key else "arrives at"
        expect(page.locator(".said")).to_contain_text(said)
        page.mouse.up()
    page.keyboard.up("Shift")
    held, twice = page.evaluate("deeds")
    flight = all_flights[there]
    for deed, verb in ((held, "hold"), (twice, "duplicate")):
        assert deed["verb"] == verb
        assert (deed["id"], deed["sender"], deed["receiver"]) == (
            flight.id, flight.sender, flight.receiver,
        )  # fmt: skip
    assert held["until"] > flight.sent_at
    assert "until" not in twice
