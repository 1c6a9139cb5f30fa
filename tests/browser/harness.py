"""A real JupyterLab and a real Chromium, for tests that click.

The server gets its own configuration, data and notebooks in a temporary folder: nothing of the
user's is read, and nothing in the checkout is written.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tools import chromium

CHECKOUT = Path(__file__).parents[2]
SCREENSHOTS = Path(__file__).parent / "screenshots"
START_SECONDS = 150
RUN_SECONDS = 90
APPLICATIONS = {
    "jupyterlab": ("LabApp", "lab/tree"),
    "notebook": ("JupyterNotebookApp", "notebooks"),
}
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# No news or update check (both reach for the internet), no autosave, and cells that are scrolled
# out of sight stay in the page, where a test can find them.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
# The execution indicator says idle before there is a kernel, so ask the session itself.
KERNEL_READY = """() => {
    const context = window.jupyterapp?.shell?.currentWidget?.context;
    const kernel = context?.sessionContext?.session?.kernel;
    return kernel?.status === 'idle' && kernel?.connectionStatus === 'connected';
}"""
# Started, not awaited: an evaluation has no deadline, waiting for `mpclabRan` has one.
RUN_ALL = """() => {
    window.mpclabRan = undefined;
    const note = (ran) => { window.mpclabRan = String(ran); };
    jupyterapp.restored
        .then(() => jupyterapp.commands.execute('notebook:run-all-cells'))
        .then(note, note);
    jupyterapp.shell.collapseLeft();
}"""
CELLS = """() => jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code' && cell.model.sharedModel.source.trim())
    .map(cell => ({
        source: cell.model.sharedModel.source,
        ran: cell.model.executionCount !== null && cell.model.executionState !== 'running',
        error: cell.model.outputs.toJSON()
            .filter(output => output.output_type === 'error')
            .map(output => `${output.ename}: ${output.evalue}`).join('; '),
    }))"""


@dataclass(frozen=True)
class JupyterServer:
    """A running JupyterLab. `notebooks` is its folder: a test may add its own there."""

    url: str
    notebooks: Path
    token: str
    log: Path
    page: str = "lab/tree"  # where a notebook is opened

    def address(self, notebook: str) -> str:
        return f"{self.url}{self.page}/{notebook}?token={self.token}&reset"


@contextmanager
def jupyter_server(folder: Path, application: str = "jupyterlab") -> Iterator[JupyterServer]:
    """Run JupyterLab in `folder`, on a free port, over a copy of notebooks/; end it afterwards.

    `application` may be `notebook`, for Notebook 7.
    """
    kind, page = APPLICATIONS[application]
    notebooks = folder / "notebooks"
    if (CHECKOUT / "notebooks").is_dir():
        ignore = shutil.ignore_patterns(".ipynb_checkpoints")
        shutil.copytree(CHECKOUT / "notebooks", notebooks, ignore=ignore)
    notebooks.mkdir(exist_ok=True)
    overrides = folder / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(json.dumps(SETTINGS))
    token, log = secrets.token_hex(16), folder / "jupyter.log"
    command = [
        *(sys.executable, "-m", application, "--no-browser", "--allow-root", "--ip=127.0.0.1"),
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={notebooks}",
        f"--{kind}.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
    ]
    environment = os.environ | {
        "JUPYTER_TOKEN": token,  # not on the command line, which all users of a machine can see
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=notebooks,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = _wait_until_up(process, folder / "runtime", log)
        yield JupyterServer(url, notebooks, token, log, page)
    finally:
        process.terminate()  # the server ends its kernels
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(process: "subprocess.Popen[bytes]", runtime: Path, log: Path) -> str:
    """The server's address, once it answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        # Port 0 lets the system choose; which one it was stands in the server's own file.
        for file in runtime.glob("jpserver-*.json"):
            try:
                info = json.loads(file.read_text())
                request = urllib.request.Request(
                    f"{info['url']}api", headers={"Authorization": f"token {info['token']}"}
                )
                with urllib.request.urlopen(request, timeout=5):
                    return str(info["url"])
            except (OSError, ValueError):
                continue  # half written, or not yet listening
        time.sleep(0.05)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-4000:]}")


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium.

    Raises:
        NoChromium: none is installed; the message says how to get one.
    """
    path = chromium.find()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        try:
            yield launched
        finally:
            launched.close()


def written(file: Path, *cells: str) -> None:
    """Write a notebook of code `cells`."""
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        # Without its kernel's name JupyterLab asks which one to use, and waits.
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(made, file)


class LabDriver:
    """The verbs of a browser test. Its pages are closed with it."""

    def __init__(self, server: JupyterServer, browser: Browser) -> None:
        self.server = server
        self.context = browser.new_context(viewport={"width": 1400, "height": 1000})
        self.script_errors: list[str] = []  # what no one caught in the pages' JavaScript

    def write_notebook(self, name: str, *cells: str) -> str:
        """Write a notebook of code `cells` where the server finds it."""
        written(self.server.notebooks / name, *cells)
        return name

    def open_notebook(self, name: str, *, run: bool = True) -> Page:
        """Open notebook `name` (of `server.notebooks`) and run its cells to the end.

        Raises:
            AssertionError: a cell did not run or ended in an error; the message quotes it.
        """
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.script_errors.append(str(error)))
        page.goto(self.server.address(name))
        page.wait_for_function(KERNEL_READY, timeout=START_SECONDS * 1000)
        if run:
            self.run_all(page)
        return page

    def run_all(self, page: Page) -> None:
        """Run every cell of the open notebook and check that each ran without an error."""
        page.evaluate(RUN_ALL)
        page.wait_for_function("() => window.mpclabRan", timeout=RUN_SECONDS * 1000)
        cells = page.evaluate(CELLS)
        assert cells, "the notebook has no code cells"
        for cell in cells:
            assert not cell["error"], f"a cell failed: {cell['error']}\n{cell['source']}"
            assert cell["ran"], f"a cell did not run:\n{cell['source']}"

    def button(self, page: Page, name: str) -> Locator:
        """The button `name` in the cells' outputs, not one of JupyterLab's own."""
        return page.locator(".jp-OutputArea").get_by_role("button", name=name, exact=True)

    def click(self, page: Page, name: str) -> None:
        """Press the button `name`, as soon as it is there and enabled."""
        self.button(page, name).click()

    def screenshot(self, page: Page, name: str, *, whole: bool = False) -> Path:
        """Keep what the page shows now as `screenshots/NAME.png`; with `whole`, all its cells."""
        SCREENSHOTS.mkdir(exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        size = page.viewport_size
        if whole and size:
            height = page.locator(".jp-WindowedPanel-inner").first.bounding_box()
            tall = int(height["height"]) + 160 if height else size["height"]
            page.set_viewport_size({"width": size["width"], "height": max(size["height"], tall)})
        page.screenshot(path=path)
        if whole and size:
            page.set_viewport_size(size)
        print(f"screenshot: {path}")  # noqa: T201  # pytest shows it when the test fails, or -s
        return path

    def close(self) -> None:
        self.context.close()
