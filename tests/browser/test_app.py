"""`mpclab lab --app`: the coordinator as a page of its own, wide and on a phone."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.harness import SCREENSHOTS
from tests.browser.test_coordinator import PATIENCE

pytestmark = pytest.mark.browser


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:  # Voilà prints port 0 as it was given
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "mpclab", "lab", "--app", "--", "--no-browser", f"--port={port}"]
    environment = os.environ | {
        name: str(tmp_path / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        yield next(
            found[0]
            for line in process.stderr
            if (found := re.search(r"http://\S+token=\w+", line))
        )
    finally:
        process.terminate()
        process.communicate(timeout=15)


def test_the_coordinator_is_a_page_of_its_own(address: str, chromium_browser: Browser) -> None:
    # A kernel runs whatever it is told: without the token there is none.
    with urllib.request.urlopen(address.partition("?")[0], timeout=10) as answer:
        assert "/login" in answer.url
    page = chromium_browser.new_page(viewport={"width": 1280, "height": 800})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, wait_until="commit", timeout=60_000)
    page.get_by_role("button", name="Start server").click(timeout=240_000)
    for name in ("Spawn all", "Join all", "Propose"):
        page.get_by_role("button", name=name).click()
    hint = page.locator(".mpclab-next-step")
    expect(hint).to_contain_text("Committed by everyone", timeout=PATIENCE)
    arrows = "document.querySelector('.mpclab-diagram').diagram.picture.visible.length"
    page.wait_for_function(f"{arrows} > 10")
    page.screenshot(path=SCREENSHOTS / "app.png")

    page.get_by_role("tab", name="Parties", exact=True).click()
    page.get_by_role("button", name="Another session").click()
    chooser = page.locator(".mpclab-sessions select")
    expect(chooser).to_have_value("lab-2", timeout=PATIENCE)
    expect(hint).to_contain_text("Spawn 4 parties", timeout=PATIENCE)
    page.wait_for_function(f"{arrows} === 0")
    chooser.select_option("lab")
    expect(hint).to_contain_text("Committed by everyone", timeout=PATIENCE)
    page.wait_for_function(f"{arrows} > 10")
    page.get_by_role("tab", name="Operations", exact=True).click()

    page.set_viewport_size({"width": 390, "height": 800})
    for what in (hint, page.get_by_role("button", name="Propose"), page.get_by_text("executed")):
        expect(what.first).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    files = page.get_by_role("button", name="Load")
    expect(files).to_be_hidden()
    page.screenshot(path=SCREENSHOTS / "app-phone.png")
    page.get_by_role("button", name="More").click()
    expect(files).to_be_visible()
    page.close()
    assert errors == []
