"""The browser harness works: cells run to their end, clicks reach Python, errors are not hidden."""

import struct
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.harness import LabDriver
from tools import chromium

pytestmark = pytest.mark.browser

COUNTER = """\
import ipywidgets as widgets
label, button = widgets.Label("never"), widgets.Button(description="Press me")
label.add_class("counted")
presses = 0
def press(_):
    global presses
    presses += 1
    label.value = f"{presses} times"
button.on_click(press)
widgets.VBox([label, button])"""


def test_a_click_reaches_python_and_its_answer_the_page(lab: LabDriver) -> None:
    slow = "import time; time.sleep(0.5)"  # the last cell must be waited for
    page = lab.open_notebook(
        lab.write_notebook("counter.ipynb", COUNTER, slow, "print('the', 'end')")
    )
    expect(page.locator(".jp-OutputArea").get_by_text("the end", exact=True)).to_be_visible()
    expect(page.locator(".counted")).to_have_text("never")
    lab.click(page, "Press me")
    expect(page.locator(".counted")).to_have_text("1 times")
    lab.click(page, "Press me")
    expect(page.locator(".counted")).to_have_text("2 times")
    picture = lab.screenshot(page, "harness", whole=True).read_bytes()
    width, _height = struct.unpack(">II", picture[16:24])
    assert width == 1400


def test_cells_run_in_the_python_that_runs_the_tests(lab: LabDriver) -> None:
    page = lab.open_notebook(lab.write_notebook("prefix.ipynb", "import sys; print(sys.prefix)"))
    shown = page.locator(".jp-OutputArea-output").first.inner_text()
    assert Path(shown.strip()) == Path(sys.prefix)


def test_a_failing_cell_fails_the_test_and_is_quoted(lab: LabDriver) -> None:
    name = lab.write_notebook("broken.ipynb", "1 + 1", "{}['no such key']", "2 + 2")
    with pytest.raises(AssertionError, match=r"KeyError.*no such key"):
        lab.open_notebook(name)


def test_errors_of_a_page_are_kept(lab: LabDriver) -> None:
    page = lab.open_notebook(lab.write_notebook("plain.ipynb", "1 + 1"))
    with page.expect_event("pageerror"):
        page.evaluate("() => { setTimeout(() => { throw new Error('a broken widget'); }); }")
    assert lab.script_errors == ["a broken widget"]
    lab.script_errors.clear()


def test_without_chromium_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPCLAB_CHROMIUM", "/no/such/browser")
    with pytest.raises(chromium.NoChromium, match="MPCLAB_CHROMIUM is '/no/such/browser'"):
        chromium.find()
    monkeypatch.delenv("MPCLAB_CHROMIUM")
    monkeypatch.setenv("PATH", "/no/such/folder")
    monkeypatch.setattr(chromium, "_playwrights_own", lambda: Path("/no/such/file"))
    with pytest.raises(chromium.NoChromium, match="make browser"):
        chromium.find()
