"""The coordinator in Notebook 7, tried by hand: `python -m tests.browser.notebook7`.

No test of its own: what it shows is JupyterLab's own cells and widgets, and it would bring another
14 MB and a second server into every run. Needs `pip install 'notebook>=7.6'` beside JupyterLab.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.harness import (
    KERNEL_READY,
    SCREENSHOTS,
    START_SECONDS,
    browser,
    jupyter_server,
    written,
)

CELL = "from mpclab.panels import Coordinator\ncoordinator = Coordinator(parties=4)\ncoordinator"
PATIENCE = 60_000  # ms
ARROWS = "document.querySelector('.mpclab-diagram').diagram.picture.visible.length"


def main() -> None:
    """Start the server, spawn, join, propose by clicks, and look at the picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyter_server(Path(folder), "notebook") as server,
        browser() as chromium,
    ):
        written(server.notebooks / "coordinator.ipynb", CELL)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.address("coordinator.ipynb"))
        page.wait_for_function(KERNEL_READY, timeout=START_SECONDS * 1000)
        page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.get_by_role("button", name="Start server").click(timeout=START_SECONDS * 1000)
        for name in ("Spawn all", "Join all", "Propose"):
            page.get_by_role("button", name=name).click(timeout=PATIENCE)
        hint = page.locator(".mpclab-next-step")
        expect(hint).to_contain_text("Committed by everyone", timeout=PATIENCE)
        page.wait_for_function(f"{ARROWS} > 10", timeout=PATIENCE)
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "notebook7.png")
        arrows = page.evaluate(ARROWS)
        print(f"committed; {arrows} arrows: {SCREENSHOTS}/notebook7.png")  # noqa: T201  # by hand
        print(f"errors in the page: {errors or 'none'}")  # noqa: T201


if __name__ == "__main__":
    main()
