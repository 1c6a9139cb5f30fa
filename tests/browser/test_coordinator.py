"""The Distributed Coordinator in a real JupyterLab, by clicking: one story in three worlds."""

import socket

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.harness import LabDriver

pytestmark = pytest.mark.browser

PATIENCE = 20_000  # ms
CELL = """\
from mpclab.panels import Coordinator
coordinator = Coordinator({fields})
coordinator"""


class Clicker:
    """A page that shows a coordinator."""

    def __init__(self, driver: LabDriver, page: Page) -> None:
        self.driver = driver
        self.page = page

    def panel(self, name: str) -> Locator:
        return self.page.locator(f".mpclab-card.mpclab-{name}, .mpclab-{name}").first

    def field(self, name: str) -> Locator:
        return self.page.locator(f".mpclab-{name}").locator("input, select").first

    def button(self, name: str) -> Locator:
        # Not exact: an icon is a letter of its font, and so a part of the button's name.
        return self.page.locator(".mpclab").get_by_role("button", name=name)

    def turn_to(self, *tabs: str) -> None:
        """Bring tabs to the front: of what one does, of what one sees."""
        for tab in tabs:
            self.page.get_by_role("tab", name=tab, exact=True).click()

    def click(self, name: str) -> None:
        self.button(name).click()

    def says(self, panel: str, words: str) -> None:
        expect(self.panel(panel)).to_contain_text(words, timeout=PATIENCE)

    def gather(self) -> None:
        """From nothing to a full mesh of four."""
        self.turn_to("Parties")
        self.click("Spawn all")
        self.click("Join all")
        self.says("connections", "6 of 6 pairs can talk")

    def propose(self, text: str) -> None:
        self.turn_to("Operations")
        self.field("param-text").fill(text)
        self.field("param-text").press("Tab")
        self.click("Propose")
        self.says("operations", text)


@pytest.fixture
def coordinator(lab: LabDriver) -> Clicker:
    name = lab.write_notebook("coordinator.ipynb", CELL.format(fields="parties=4, seed=3"))
    return Clicker(lab, lab.open_notebook(name))


def test_one_story_in_three_worlds_by_one_switch(coordinator: Clicker) -> None:
    it = coordinator
    it.field("port").fill("0")
    it.field("port").press("Tab")
    it.says("hint", "Start the signaling server")
    it.click("Start server")
    it.says("server", "🟢 running")
    for world, scheme in (("simulated", "sim://"), ("websocket", "ws://"), ("webrtc", "ws://")):
        if world != "simulated":
            it.page.get_by_role("button", name=world, exact=True).click()
            it.says("status", f"a new lab: {world}")
        it.says("server", f"{scheme}127.0.0.1:")
        it.gather()
        it.says("hint", "Propose something")
        it.propose(f"agreed over {world}")
        it.says("history", f"agreed over {world}")
        it.says("history", "all heads are equal")
        it.says("hint", "Committed by everyone")
        kind = {"websocket": "relayed through the server, sealed"}.get(world, "data channel")
        it.says("connections", kind)
        it.turn_to("Connections")
        picture = it.page.locator(".mpclab-connections img")
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 300
        it.turn_to("Message flow")
        expect(it.page.locator(".mpclab-flow .summary")).to_contain_text("operations: 1 committed")
        arrows = "document.querySelector('.mpclab-diagram').diagram.picture.visible.length"
        assert it.page.evaluate(arrows) > 10
        it.driver.screenshot(it.page, f"coordinator-{world}", whole=True)


def test_a_vote_by_hand_and_the_verdicts(coordinator: Clicker) -> None:
    it = coordinator
    it.click("Start server")
    it.gather()
    it.turn_to("Parties")
    it.field("votes-2").select_option("hand")
    it.says("status", "party 2 votes from now on: hand")
    it.propose("a new coffee machine")
    it.says("hint", "Party 2 votes by hand: approve or reject.")
    it.field("reason").fill("too dear")
    it.field("reason").press("Tab")
    it.click("Reject")
    it.says("operations", "party 2 rejected: too dear")
    it.propose("a new kettle")
    it.click("Approve")
    it.says("history", "a new kettle")
    it.turn_to("Outcome")
    it.click("Check")
    expect(it.page.locator(".mpclab-verdicts .mpclab-badge.good")).to_have_count(4)
    it.driver.screenshot(it.page, "coordinator-votes", whole=True)


def test_faults_by_clicking_and_what_the_page_says(coordinator: Clicker) -> None:
    it = coordinator
    it.click("Start server")
    it.gather()
    it.turn_to("Faults")
    it.click("Inject")
    it.says("faults", "parties 1 and 2 | parties 3 and 4 cannot hear each other")
    it.propose("from one side")
    it.says("hint", "Waiting for the votes of parties 3 and 4.")
    it.turn_to("Faults")
    it.click("Heal all")
    it.says("faults", "Nothing is broken.")
    it.says("history", "from one side")
    it.turn_to("Parties")
    it.page.locator(".mpclab-life-4").click()
    it.says("parties", "crashed")
    it.propose("without party 4")
    it.says("hint", "Waiting for party 4, crashed")
    it.click("Run to the end")
    it.says("operations", "expired")
    it.says("hint", "Expired: no vote from party 4 in 10s.")
    it.turn_to("Parties")
    it.page.locator(".mpclab-life-4").click()
    expect(it.page.locator(".mpclab-life-4")).to_have_text("Crash", timeout=PATIENCE)
    it.driver.screenshot(it.page, "coordinator-faults", whole=True)


def test_what_cannot_work_is_disabled_and_errors_can_be_dismissed(coordinator: Clicker) -> None:
    it = coordinator
    where = {
        "Join all": "Parties", "Propose": "Operations", "Approve": "Operations",
        "Inject": "Faults", "Check": "Outcome", "Stop": "Server",
    }  # fmt: skip
    for name, tab in where.items():
        it.turn_to(tab)
        expect(it.button(name)).to_be_disabled()
    it.turn_to("Parties")
    expect(it.button("Join all")).to_have_attribute("title", "spawn parties first")
    it.page.get_by_role("button", name="websocket", exact=True).click()
    it.says("status", "a new lab: websocket")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        it.field("port").fill(str(taken.getsockname()[1]))
        it.field("port").press("Tab")
        it.click("Start server")
        expect(it.page.get_by_role("alert")).to_contain_text("in use", timeout=PATIENCE)
    it.driver.screenshot(it.page, "coordinator-error")
    it.says("server", "🔴 stopped")
    it.click("Dismiss")
    expect(it.page.get_by_role("alert")).to_be_hidden()
    assert "Traceback" not in it.page.content()


def test_the_notebook_runs_in_jupyterlab(lab: LabDriver) -> None:
    page = lab.open_notebook("01_coordinator.ipynb")
    expect(page.locator(".mpclab-hint")).to_contain_text("Start the signaling server")
    it = Clicker(lab, page)
    it.click("Start server")
    it.gather()


def test_a_cell_that_is_run_again_closes_what_it_had_made(lab: LabDriver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    name = lab.write_notebook("again.ipynb", CELL.format(fields="world='websocket'"))
    it = Clicker(lab, lab.open_notebook(name))
    for run_again in (False, True):
        if run_again:
            lab.run_all(it.page)
            it.says("server", "🔴 stopped")
        it.field("port").fill(port)
        it.field("port").press("Tab")
        it.click("Start server")
        it.says("server", f"ws://127.0.0.1:{port}")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1366, 768)])
def test_the_button_its_arrows_and_who_committed_are_on_one_screen(
    coordinator: Clicker, width: int, height: int
) -> None:
    it = coordinator
    it.page.set_viewport_size({"width": width, "height": height})
    it.click("Start server")
    it.gather()
    it.propose("seen at a glance")
    it.says("hint", "Committed by everyone")
    it.page.locator(".mpclab").first.evaluate("one => one.scrollIntoView()")
    arrows = "document.querySelector('.mpclab-diagram').diagram.picture.visible.length"
    it.page.wait_for_function(f"{arrows} > 10")
    for what in ("Propose", "Step"):
        expect(it.button(what)).to_be_in_viewport(ratio=1)
    for where in (".mpclab-next-step", ".mpclab-operations .mpclab-table", ".mpclab-steps"):
        expect(it.page.locator(where).first).to_be_in_viewport(ratio=1)
    lanes = it.page.evaluate(
        "document.querySelector('.mpclab-diagram').diagram.picture.lanes.map(lane => lane.y)"
    )
    stage = it.page.locator(".mpclab-diagram .stage").bounding_box()
    assert stage is not None
    assert stage["y"] + max(lanes) < height - 30
    it.driver.screenshot(it.page, f"coordinator-{width}")


def test_a_narrow_page_is_one_column(coordinator: Clicker) -> None:
    it = coordinator
    it.page.set_viewport_size({"width": 700, "height": 900})
    deeds, pictures = (it.page.locator(".mpclab-tab").nth(i) for i in (0, 1))
    expect(pictures).to_be_visible()
    below, above = pictures.bounding_box(), deeds.bounding_box()
    assert above is not None
    assert below is not None
    assert below["y"] >= above["y"] + above["height"] - 1
    it.driver.screenshot(it.page, "coordinator-narrow")
