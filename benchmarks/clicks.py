"""How soon a click is seen: a row, a picture, beside a bare ipywidgets button on the same page.

In a real JupyterLab and Chromium. A time is from the click until what it changed is on the page and
the next frame has begun. The bare button and the coordinator's are pressed in turn, so that both
have the machine as it is then; figures are medians.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from benchmarks.measure import Result, heading, show
from tests.browser.harness import LabDriver, browser, jupyter_server

ROUNDS: Final = 15
_ROW, _PICTURE = 2.0, 3.0  # times a bare button, at the most
_BARE = """\
import ipywidgets as widgets
label, button = widgets.Label("0"), widgets.Button(description="bare")
label.add_class("bare-label")
button.add_class("bare-button")
button.on_click(lambda _: setattr(label, "value", str(int(label.value) + 1)))"""
_COORDINATOR = """\
from mpclab.panels import Coordinator
coordinator = Coordinator(parties=4, agreement="direct", seed=3)
widgets.VBox([button, label, coordinator.widget])"""
# Presses `button`, and gives the ms until `seen()` holds and a frame was begun since.
_PRESS = """([button, seen]) => new Promise((done, fail) => {
  const holds = new Function(`return (${seen})`), before = holds();
  const began = performance.now();
  const look = () => {
    if (performance.now() - began > 15000) { fail(new Error(`waited in vain: ${seen}`)); return; }
    if (holds() === before) { setTimeout(look, 1); return; }
    requestAnimationFrame(() => done(performance.now() - began));
  };
  document.querySelector(button).click();
  look();
})"""
_TEXT = "document.querySelector('{0}').innerText"
_DIAGRAM = "document.querySelector('.mpclab-diagram').diagram"


def _press(page: Page, button: str, seen: str) -> float:
    page.wait_for_function(f"!document.querySelector('{button}').disabled", timeout=15_000)
    took: float = page.evaluate(_PRESS, [button, seen])
    return took


def _rounds(page: Page) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}

    def press(name: str, button: str, seen: str) -> None:
        times.setdefault("bare", []).append(
            _press(page, ".bare-button", _TEXT.format(".bare-label"))
        )
        times.setdefault(name, []).append(_press(page, button, seen))

    rows = "document.querySelectorAll('.mpclab-operations tbody tr').length"
    first = "document.querySelector('.mpclab-operations tbody tr')?.innerText.split('\\t')[0]"
    proposed = f"{_DIAGRAM}.store.marks.slice(0, {_DIAGRAM}.painted)"
    seen_in_picture = f"{proposed}.filter((m) => m.what === 'proposed').length"
    for _ in range(ROUNDS):
        press("row: crash", ".mpclab-life-4", _TEXT.format(".mpclab-life-4"))
        press("row: restart", ".mpclab-life-4", _TEXT.format(".mpclab-life-4"))
        press("row: inject", ".mpclab-inject", _TEXT.format(".mpclab-faults"))
        press("row: heal", ".mpclab-heal-all", _TEXT.format(".mpclab-faults"))
        press("row: propose", ".mpclab-propose", f"{rows} + '/' + {first}")
        press("picture: propose", ".mpclab-propose", seen_in_picture)
    return times


def measure() -> list[Result]:
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyter_server(Path(folder)) as server,
        browser() as chromium,
    ):
        driver = LabDriver(server, chromium)
        page = driver.open_notebook(driver.write_notebook("c.ipynb", _BARE, _COORDINATOR))
        for name in ("Start server", "Spawn all", "Join all"):
            page.locator(".mpclab").get_by_role("button", name=name).click()
        page.locator(".mpclab-connections").get_by_text("6 of 6").wait_for(state="attached")
        times = _rounds(page)
        driver.close()
    bare = statistics.median(times.pop("bare"))
    results: list[Any] = [Result("a bare button", bare, "ms")]
    for name, found in times.items():
        ratio = statistics.median(found) / bare
        aim = _PICTURE if name.startswith("picture") else _ROW
        results.append(Result(f"{name} ({statistics.median(found):.0f} ms)", ratio, "×", aim))
    return results


def main() -> None:
    heading("Clicks, times a bare button")
    for result in measure():
        show(result)


if __name__ == "__main__":
    main()
