"""A whole simulated lab in one page, from a plain static file server and no other network."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from playwright.sync_api import Browser, Locator, Page, expect

from mpclab.web import assets
from tests.browser.tabs import PATIENCE, Quiet, picture
from tests.web.test_simulated import FORM, Listening, begun

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


class Strict(Quiet):
    """Files, under the policy that our own server has for them."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", assets.policy())
        super().end_headers()


@pytest.fixture
def site() -> Iterator[str]:
    serve = functools.partial(Strict, directory=str(assets.ready()))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{files.server_port}/"
        files.shutdown()


def operation(page: Page, text: str) -> Locator:
    return page.locator(".op", has_text=text)


def propose(page: Page, kind: str, **params: str) -> None:
    page.locator("[name=kind]").select_option(kind)
    for name, value in params.items():
        page.locator(f"[name='param {name}']").fill(value)
    page.get_by_role("button", name="Propose").click()


def form(here: Listening, kind: str, **given: str) -> dict[str, str]:
    """What the page's form sends."""
    fields = here.do("kinds")["operations"][kind]["parameters"]
    return {
        f["name"]: "" if f["default"] in (None, []) else str(f["default"]) for f in fields
    } | given


def ended(page: Page, text: str, how: str = "committed") -> None:
    expect(operation(page, text).locator(".badge")).to_have_text(how, timeout=PATIENCE)
    expect(page.get_by_role("button", name="Play")).to_be_visible(timeout=PATIENCE)


def test_a_simulated_lab_runs_in_a_page_and_its_rows_are_those_of_any_other(
    chromium_browser: Browser, site: str, tmp_path: Path
) -> None:
    context = chromium_browser.new_context(viewport={"width": 390, "height": 844})
    asked: list[str] = []
    complaints: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(f"{site}lab.html")
    expect(page.locator("#status")).to_contain_text("🟢", timeout=PATIENCE)
    page.get_by_text("network and seed").click()
    for name, value in FORM.items():
        if name != "agreement":
            page.locator(f"[name={name}]").fill(value)
    page.get_by_role("button", name="Begin anew").click()
    page.locator("[name=speed]").select_option("10")
    propose(page, "dkg")
    ended(page, "make a key together")
    page.locator("[name=by]").select_option("2")
    propose(page, "sign", key="1", message="pay 5 to Eve")
    ended(page, "pay 5 to Eve")
    signed = operation(page, "pay 5 to Eve")
    key, signature = (
        signed.locator(f"dt:text-is('{name}') + dd").inner_text()
        for name in ("public key", "signature")
    )
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    public.verify(bytes.fromhex(signature), b"pay 5 to Eve")
    page.get_by_role("button", name="Check the run").click()
    expect(page.locator(".verdicts strong.good")).to_have_count(4)

    # The same clicks with the Python of this machine give the same rows, byte for byte.
    here = begun()
    here.do("propose", by=1, kind="dkg", params=form(here, "dkg"))
    here.play(500)
    signs = form(here, "sign", key="1", message="pay 5 to Eve")
    here.do("propose", by=2, kind="sign", params=signs)
    here.play(500)
    digest = here.do("check")["digest"]
    assert page.locator("code.digest").get_attribute("title") == digest
    expect(page.locator(".flow .said")).to_contain_text("messages in view")
    picture(page, "lab-page-390")

    # What breaks, and the way back.
    page.locator("[name=fault]").select_option("partition")
    page.get_by_role("button", name="Break it").click()
    expect(page.locator("p.warn")).to_have_count(1)
    propose(page, "note", text="while one is away")
    ended(page, "while one is away")
    page.set_viewport_size({"width": 1280, "height": 900})
    picture(page, "lab-page-1280")
    page.get_by_text("back in time").click()
    page.locator("[name=back]").fill("100")
    page.get_by_role("button", name="Go back").click()
    expect(page.get_by_text("Nothing was proposed yet.")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#status")).to_contain_text("0.100 s")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a scenario").click()
    assert saved.value.suggested_filename == "scenario.yaml"
    assert not complaints
    assert all(url.startswith((site, "blob:", "data:")) for url in asked)
    context.close()
