"""Fixtures of the browser tests: `lab` is a JupyterLab in a Chromium, ready to be clicked."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.harness import JupyterServer, LabDriver, browser, jupyter_server


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with jupyter_server(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


# Of the module, not the session: Playwright's synchronous interface leaves an event loop running
# in this thread, and a later test's `asyncio.run` would be refused.
@pytest.fixture(scope="module")
def chromium_browser() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


@pytest.fixture
def lab(jupyter: JupyterServer, chromium_browser: Browser) -> Iterator[LabDriver]:
    driver = LabDriver(jupyter, chromium_browser)
    yield driver
    driver.close()
    assert not driver.script_errors
