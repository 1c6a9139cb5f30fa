"""Tabs of a real Chromium at the pages of a server of ours, and the people in front of them.

Python takes seconds of CPU to begin in a tab, so tabs that are done with a session are used again:
people leave it, and paste another link.
"""

from __future__ import annotations

from http.server import SimpleHTTPRequestHandler
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from playwright.sync_api import BrowserContext, FrameLocator, Locator, Page, expect

from tests.browser.harness import SCREENSHOTS

PATIENCE = 120_000
"""Milliseconds: Python takes seconds to begin, and more where the machine has other work."""


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each request."""

    extensions_map: ClassVar[dict[str, str]] = {
        **SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"
    }  # fmt: skip

    def log_message(self, *_: object) -> None:
        pass


class People:
    """The tabs of one browser. What any of them complains of in its console is kept."""

    def __init__(self, context: BrowserContext, server: str) -> None:
        self.context = context
        self.pages = f"http{server.removeprefix('ws')}/"
        self.complaints: list[str] = []
        self.free: list[Page] = []
        self.busy: list[Page] = []

    def open(self, **fields: object) -> Page:
        """A tab, at the link that has these fields."""
        page = self.free.pop() if self.free else self._another()
        self.busy.append(page)
        link = f"{self.pages}#{urlencode(fields)}"
        if page.url.startswith(self.pages):
            page.evaluate("(hash) => { location.hash = hash; }", urlencode(fields) or "new")
        else:
            page.goto(link)
        return page

    def follow(self, link: str, **fields: object) -> Page:
        """A tab at somebody's link, with more fields."""
        return self.open(**{**dict(parse_qsl(link.partition("#")[2])), **fields})

    def _another(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def done(self) -> None:
        """All leave; their tabs are free."""
        for page in self.busy:
            if page.is_closed():
                continue
            leave = page.get_by_role("button", name="Leave")
            if leave.is_visible():
                leave.click()
            stop = page.get_by_role("button", name="Stop server")
            if stop.is_visible():
                stop.click()
            expect(page.locator("main.start form").first).to_be_visible()
            page.set_viewport_size({"width": 390, "height": 844})
            self.free.append(page)
        self.busy.clear()


def fill(page: Page, **fields: object) -> None:
    """Fill in the form of the way in."""
    for name, value in fields.items():
        page.locator(f"main [name={name}]").fill(str(value), timeout=PATIENCE)


def is_connected(page: Page | FrameLocator, n: int, of: int = 0) -> None:
    expect(page.locator("#status")).to_contain_text(f"{n} of {of or n} connected", timeout=PATIENCE)


def propose(page: Page | FrameLocator, kind: str, **params: str) -> None:
    page.locator("[name=kind]").select_option(kind)
    for name, value in params.items():
        page.locator(f"[name='param {name}']").fill(value)
    page.get_by_role("button", name="Propose").click()


def operation(page: Page | FrameLocator, text: str) -> Locator:
    return page.locator(".op", has_text=text)


def approve(page: Page | FrameLocator, text: str) -> None:
    operation(page, text).get_by_role("button", name="Approve").click()


def is_done(page: Page | FrameLocator, text: str) -> None:
    expect(operation(page, text).locator(".badge")).to_have_text("done", timeout=PATIENCE)


def fact(page: Page | FrameLocator, text: str, name: str) -> str:
    return operation(page, text).locator(f"dt:text-is('{name}') + dd").last.inner_text()


def check_signature(page: Page | FrameLocator, message: str) -> None:
    """OpenSSL accepts the signature that the tab shows."""
    key, signature = fact(page, message, "public key"), fact(page, message, "signature")
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    public.verify(bytes.fromhex(signature), message.encode())


def head(page: Page | FrameLocator) -> str | None:
    """The hash of the whole history, as a tab has it."""
    return page.locator("ol.history code").first.get_attribute("title")


def picture(page: Page, name: str) -> None:
    """Keep what the page shows, and see that nothing of it is wider than the screen."""
    page.bring_to_front()
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
