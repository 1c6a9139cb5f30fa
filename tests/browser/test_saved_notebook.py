"""A saved notebook without a kernel: the run in it is alive, in a plain browser, offline."""

from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, FrameLocator, Page, expect

from mpclab.lab import Scenario
from mpclab.lab.run import play
from tests.browser.harness import LabDriver
from tests.browser.test_coordinator import PATIENCE

pytestmark = pytest.mark.browser


def saved() -> nbformat.NotebookNode:
    """A notebook with one cell, which was run."""
    scenario = Scenario(
        parties=4, mesh="ready", agreement="pbft", seed=5,
        operations=[{"by": 1, "kind": "note", "text": "tea <at> \"four\""}],
    )  # fmt: skip
    shown = play(scenario).diagram(height=700)
    data = {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
    output = nbformat.v4.new_output("execute_result", data, execution_count=1)
    cell = nbformat.v4.new_code_cell("run.diagram()", outputs=[output], execution_count=1)
    kernel = {"name": "python3", "display_name": "Python 3"}
    return nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})


def is_alive(page: Page, frame: FrameLocator) -> None:
    """The canvas draws, and the picture answers."""
    summary = frame.locator(".summary")
    expect(summary).to_contain_text("4 parties", timeout=PATIENCE)
    expect(frame.locator("ul")).to_contain_text('tea <at> "four"')
    inside = next(f for f in page.frames if f.locator(".mpclab-diagram").count())
    inside.wait_for_function("diagram.picture.visible.length > 10")
    painted = inside.evaluate(
        "() => { const c = diagram.canvas, d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return d.some((x) => x > 0); }"
    )
    assert painted
    frame.get_by_role("button", name="state", exact=True).click()
    expect(frame.locator("tr[data-party]")).to_have_count(4)


def test_as_an_html_file_it_opens_from_disk(chromium_browser: Browser, tmp_path: Path) -> None:
    body, _ = HTMLExporter(template_name="lab").from_notebook_node(saved())
    file = tmp_path / "saved.html"
    file.write_text(body, encoding="utf-8")
    context = chromium_browser.new_context(offline=True)
    page = context.new_page()
    page.goto(file.as_uri(), wait_until="domcontentloaded")
    is_alive(page, page.frame_locator("iframe"))
    context.close()


def test_in_jupyterlab_it_is_alive_once_it_is_trusted_and_before_any_cell_is_run(
    lab: LabDriver,
) -> None:
    notebook = saved()
    nbformat.write(notebook, lab.server.notebooks / "saved.ipynb")
    page = lab.context.new_page()
    page.goto(lab.server.address("saved.ipynb"))
    # One that somebody else has saved may run no script before it is trusted.
    expect(page.locator(".jp-OutputArea")).to_contain_text("trust this notebook", timeout=PATIENCE)
    page.wait_for_function("window.jupyterapp?.commands?.hasCommand('notebook:trust')")
    page.evaluate("void jupyterapp.commands.execute('notebook:trust')")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    is_alive(page, page.frame_locator(".jp-OutputArea iframe"))
