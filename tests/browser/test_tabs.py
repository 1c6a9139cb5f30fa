"""Tabs of a real Chromium and parties of ours, through the page that `serve --pages` serves."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from mpclab.lab import Lab
from mpclab.signaling.rooms import build_server
from mpclab.web import assets, pages
from mpclab.worlds.real import ServerSettings, WebSocketWorld
from tests.browser.harness import SCREENSHOTS

PATIENCE = 120_000
"""Milliseconds: Python takes seconds to begin, and more where the machine has other work."""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The url of a signaling server that also serves the pages."""
    settings = ServerSettings(pages=pages.load(assets.ready()), per_address=0)
    with WebSocketWorld(server=settings) as world:
        yield world.host_server(build_server(), "127.0.0.1", 0)


class People:
    """The tabs of one browser. What any of them complains of in its console is kept."""

    def __init__(self, context: BrowserContext, server: str) -> None:
        self.context = context
        self.server = server
        self.complaints: list[str] = []

    def open(self, **fields: object) -> Page:
        """A tab, at the link that has these fields."""
        page = self.context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"http{self.server.removeprefix('ws')}/#{urlencode(fields)}")
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


@pytest.fixture
def people(chromium_browser: Browser, server: str) -> Iterator[People]:
    context = chromium_browser.new_context(viewport={"width": 390, "height": 844})
    them = People(context, server)
    yield them
    context.close()
    assert not them.complaints


def is_connected(page: Page, n: int) -> None:
    expect(page.locator("#status")).to_contain_text(f"{n} of {n} connected", timeout=PATIENCE)


def propose(page: Page, kind: str, **params: str) -> None:
    page.locator("[name=kind]").select_option(kind)
    for name, value in params.items():
        page.locator(f"[name='param {name}']").fill(value)
    page.get_by_role("button", name="Propose").click()


def operation(page: Page, text: str) -> Locator:
    return page.locator(".op", has_text=text)


def approve(page: Page, text: str) -> None:
    operation(page, text).get_by_role("button", name="Approve").click()


def is_done(page: Page, text: str) -> None:
    expect(operation(page, text).locator(".badge")).to_have_text("done", timeout=PATIENCE)


def fact(page: Page, text: str, name: str) -> str:
    return operation(page, text).locator(f"dt:text-is('{name}') + dd").last.inner_text()


def check_signature(page: Page, message: str) -> None:
    """OpenSSL accepts the signature that the tab shows."""
    key, signature = fact(page, message, "public key"), fact(page, message, "signature")
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    public.verify(bytes.fromhex(signature), message.encode())


def picture(page: Page, name: str) -> None:
    """Keep what the page shows, and see that nothing of it is wider than the screen."""
    page.bring_to_front()
    expect(page.locator(".flow .said")).to_contain_text("messages in view")  # it is drawn
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    width = page.viewport_size["width"] if page.viewport_size else 0
    box = page.locator("main").bounding_box()
    assert box is not None
    assert box["width"] <= width


def test_two_tabs_and_two_parties_make_a_key_and_sign(people: People, server: str) -> None:
    first = people.open()
    expect(first.locator("form")).to_be_visible(timeout=PATIENCE)
    for name, value in {"Session": "shop", "Parties": "4", "Shares needed": "3"}.items():
        first.get_by_label(name).fill(value)
    first.get_by_label("Agreement").select_option("raft")
    first.get_by_role("button", name="Create or join").click()
    link = {"session": "shop", "parties": 4, "threshold": 3, "policy": "unanimous"}
    second = people.open(party=2, agreement="raft", **link)
    with Lab(
        world="webrtc", url=server, session="shop", parties=4, threshold=3, agreement="raft"
    ) as lab:
        lab.spawn(3, 4)
        lab.join(wait=False)
        for tab in (first, second):
            is_connected(tab, 4)
        propose(first, "dkg")
        approve(second, "make a key together")
        is_done(first, "make a key together")

        # In the middle of a vote the second tab is loaded again, and is the same party.
        mine = second.locator(".people li").nth(1).locator("code").get_attribute("title")
        propose(first, "sign", message="pay 5 to Eve")
        expect(operation(second, "pay 5 to Eve")).to_be_visible()
        second.reload()
        is_connected(second, 4)
        assert second.locator(".people li").nth(1).locator("code").get_attribute("title") == mine
        approve(second, "pay 5 to Eve")
        for tab in (first, second):
            is_done(tab, "pay 5 to Eve")
            check_signature(tab, "pay 5 to Eve")
        heads = [
            tab.locator("ol.history code").first.get_attribute("title") for tab in (first, second)
        ]
        assert heads[0] == heads[1]
        picture(first, "tab-390")
        second.emulate_media(color_scheme="dark")
        second.set_viewport_size({"width": 1280, "height": 900})
        picture(second, "tab-1280-dark")
        with second.expect_download() as saved:
            second.get_by_role("button", name="Save signature and key").click()
        assert saved.value.suggested_filename


def test_three_tabs_need_no_server_but_a_tab(people: People) -> None:
    link = {
        "session": "nobody", "parties": 3, "threshold": 2, "policy": "threshold(2)",
        "agreement": "direct", "server": "tab:nobody",
    }  # fmt: skip
    host = people.open(party=1, **link)
    expect(host.locator(".people")).to_be_visible(timeout=PATIENCE)
    expect(host.get_by_text("This tab is the server")).to_be_visible(timeout=PATIENCE)
    others = [people.open(party=party, **link) for party in (2, 3)]
    for tab in (host, *others):
        is_connected(tab, 3)
    propose(others[0], "dkg")
    approve(others[1], "make a key together")
    for tab in (host, *others):
        is_done(tab, "make a key together")
    host.close()
    for tab in others:
        expect(tab.locator("#status")).to_contain_text("2 of 3 still connected", timeout=PATIENCE)
    others[0].get_by_role("button", name="Start server in this tab").click()
    for tab in others:
        expect(tab.locator("#status")).to_contain_text("🟢 2 of 3 connected", timeout=PATIENCE)
    propose(others[1], "sign", message="without a server")
    approve(others[0], "without a server")
    is_done(others[1], "without a server")
    check_signature(others[1], "without a server")
