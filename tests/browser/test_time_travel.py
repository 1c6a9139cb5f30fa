"""Scrub, look inside, drag a message, cut between groups, branch: in the page and in a notebook."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mpclab.trace.fold import fold
from mpclab.view import page as page_of
from tests.browser.harness import SCREENSHOTS, LabDriver
from tests.browser.test_coordinator import CELL, PATIENCE, Clicker
from tests.browser.test_diagram import run

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


@pytest.fixture
def opened(chromium_browser: Browser, tmp_path: Path) -> Iterator[Open]:
    context = chromium_browser.new_context(viewport={"width": 1280, "height": 900})
    errors: list[str] = []

    def show(text: str) -> Page:
        file = tmp_path / "run.html"
        file.write_text(text, encoding="utf-8")
        made = context.new_page()
        made.on("pageerror", lambda error: errors.append(str(error)))
        made.goto(file.as_uri())
        made.wait_for_function("diagram.frames.length > 0")
        return made

    yield show
    context.close()
    assert errors == []


def test_at_every_step_the_page_tells_what_the_fold_does(opened: Open) -> None:
    trace = run(4)
    page = opened(page_of(trace))
    page.get_by_role("button", name="state", exact=True).click()
    rows = page.evaluate(
        "[...diagram.store.steps.row.data.slice(0, diagram.store.steps.row.length)]"
    )
    every = list(trace)
    for step in (0, len(rows) // 3, len(rows) // 2, len(rows) - 1):
        state = fold(every[: rows[step] + 1])
        found = page.evaluate(
            f"(diagram.scrubber.seek({step}), Object.fromEntries([...diagram.store.stateAt("
            "diagram.scrubber.row)].map(([actor, fields]) => [actor, Object.fromEntries("
            "[...fields].map(([name, [value]]) => [name, value]))])))"
        )
        for party, one in state.parties.items():
            told = found.get(str(party), {})
            view = "" if one.view is None else str(one.view)
            assert (told.get("view", ""), told.get("phase", "")) == (view, one.phase)
            assert (told.get("leads") == "yes") == one.leader
            for op, known in state.operations.items():
                assert told.get(f"operation {op}", "") == known.standing.get(party, "")


def test_a_moment_is_reached_by_slider_click_and_keys(opened: Open) -> None:
    page = opened(page_of(run(4)))
    page.locator(".stage").focus()
    page.keyboard.press("s")
    slider = page.get_by_label("Moment of the run")
    slider.fill("20")
    happened = page.locator(".happened")
    expect(happened).to_contain_text("step 21 of")
    before = happened.inner_text()
    page.get_by_role("button", name="One step on").click()
    expect(happened).to_contain_text("step 22 of")
    page.locator(".stage").focus()
    page.keyboard.press(",")
    expect(happened).to_have_text(before)
    page.locator(".stage").click(position={"x": 600, "y": 4})
    steps = "diagram.store.steps.at.data[diagram.scrubber.at + k]"
    left, right = page.evaluate(f"[0, 1].map(k => diagram.picture.px(diagram.axis.x({steps})))")
    assert left <= 601 < right
    expect(page.locator("tr[data-party]")).to_have_count(4)
    page.locator("tr[data-party='2']").click()
    expect(page.locator(".inside").first).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "scrubber.png")
    page.get_by_role("button", name="now", exact=True).click()
    expect(happened).to_contain_text("now, after")


def test_in_a_notebook_one_scrubs_looks_inside_loses_a_message_and_cuts(lab: LabDriver) -> None:
    name = lab.write_notebook(
        "travel.ipynb", CELL.format(fields="parties=4, seed=3, agreement='pbft'")
    )
    it = Clicker(lab, lab.open_notebook(name))
    it.click("Start server")
    it.gather()
    it.propose("which way?")
    it.says("hint", "Committed by everyone")
    it.click("Pause")
    page = it.page
    diagram = "document.querySelector('.mpclab-diagram').diagram"
    page.locator(".mpclab-diagram [data-do=back]").evaluate("one => 0")
    page.locator(".mpclab-diagram .stage").focus()
    for _ in range(3):
        page.keyboard.press(",")
    # inside a party, by way of the kernel
    page.locator("tr[data-party='2']").click()
    expect(page.locator(".inside dt").filter(has_text="session/agreement").first).to_be_visible(
        timeout=PATIENCE
    )
    # a vote is dragged out of the picture: the run goes another way
    vote = page.evaluate(
        f"(() => {{ const d = {diagram}, s = d.store; for (let i = 0; i < s.messages; i++) "
        "if (s.words[s.kind.data[i]] === 'SignedVote' && s.sender.data[i] === 2) return i; })()"
    )
    page.evaluate(f"{diagram}.act('present'), {diagram}.act('latest')")
    page.locator(".mpclab").first.evaluate("one => one.scrollIntoView()")
    page.wait_for_timeout(100)
    box = page.locator(".mpclab-diagram .stage").bounding_box()
    assert box is not None
    x0, y0, x1, y1 = page.evaluate(f"{diagram}.picture.ends({vote})")
    x, y = box["x"] + x0 + (x1 - x0) * 0.5, box["y"] + y0 + (y1 - y0) * 0.5
    found = page.evaluate(f"{diagram}.picture.at({x - box['x']}, {y - box['y']})?.message")
    assert found is not None
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, box["y"] + 6, steps=5)
    expect(page.locator(".mpclab-diagram .said")).to_contain_text("is lost")
    page.mouse.up()
    it.says("status", "is lost")
    it.says("time", "branch 2")
    lab.screenshot(page, "travel-branches")
    # a line drawn between lanes: nobody hears the other side
    undone = "!d.store.marks.some(m => m.what === 'committed')"
    page.wait_for_function(f"(d => d.picture.lanes.length > 4 && {undone})({diagram})")
    y = page.evaluate(f"({diagram}.picture.lanes[2].y + {diagram}.picture.lanes[3].y) / 2")
    box = page.locator(".mpclab-diagram .stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + y)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + y, steps=5)
    page.mouse.up()
    it.says("status", "parties 1 and 2 | parties 3 and 4 cannot hear each other")
    # a party clicked, and crashed
    y = page.evaluate(f"{diagram}.picture.lanes[1].y")
    page.mouse.click(box["x"] + 62, box["y"] + y)
    page.get_by_role("button", name="crash it").click()
    it.says("status", "party 1 crashed")
    it.turn_to("Parties")
    it.says("parties", "crashed")


def test_letters_typed_after_a_click_are_not_jupyters_commands(lab: LabDriver) -> None:
    name = lab.write_notebook("keys.ipynb", CELL.format(fields="parties=3"))
    page = lab.open_notebook(name)
    it = Clicker(lab, page)
    guarded = page.locator(".mpclab[data-lm-suppress-shortcuts]")
    expect(guarded).to_be_visible(timeout=PATIENCE)
    it.click("Start server")
    page.keyboard.press("b")
    page.keyboard.press("a")
    page.locator(".mpclab-diagram .stage").click(position={"x": 300, "y": 5})
    page.keyboard.press("b")
    page.keyboard.press("Control+k")
    page.keyboard.type("spawn")
    page.keyboard.press("Enter")
    it.says("status", "parties 1–3 spawned")
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length") == 1
