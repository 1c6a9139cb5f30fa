"""Find a Chromium for the browser tests, or get one: `python -m tools.chromium`.

Prints its path. Playwright's own download comes first, for it needs no rights and disturbs no
system; some networks refuse it, and then Debian's package is installed where that is allowed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ADVICE = (
    "No Chromium for the browser tests. Any of these helps: `make browser`; "
    "`sudo apt install chromium`; `.venv/bin/playwright install chromium`; or install Chrome "
    "and set MPCLAB_CHROMIUM=/path/to/chrome."
)
DOWNLOAD_SECONDS = 150
PACKAGE_SECONDS = 300


class NoChromium(Exception):
    """There is none; the message says what to do."""


def find() -> Path:
    """The browser to drive: `$MPCLAB_CHROMIUM`, one on the path, or Playwright's own.

    Raises:
        NoChromium: there is none, or `$MPCLAB_CHROMIUM` names no program.
    """
    if named := os.environ.get("MPCLAB_CHROMIUM"):
        if found := shutil.which(named):
            return Path(found)
        raise NoChromium(f"MPCLAB_CHROMIUM is {named!r}, which is no program that can be run.")
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    if (own := _playwrights_own()).exists():
        return own
    raise NoChromium(ADVICE)


def get() -> Path:
    """Find a browser, or fetch one.

    Raises:
        NoChromium: there is none, and neither way to get one worked.
    """
    try:
        return find()
    except NoChromium:
        if "MPCLAB_CHROMIUM" in os.environ:
            raise
    for attempt in (_download, _install_package):
        attempt()
        try:
            browser = find()
        except NoChromium:
            continue
        # A downloaded browser may lack the system's libraries and not start.
        if _run([str(browser), "--version"], 20):
            return browser
    raise NoChromium(ADVICE)


def _playwrights_own() -> Path:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path)


def _download() -> None:
    command = [sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]
    _run(command, DOWNLOAD_SECONDS)


def _install_package() -> None:
    if shutil.which("apt-get") is None:
        return
    sudo: list[str] = []
    if os.geteuid() != 0:
        sudo = ["sudo", "-n"]
        if shutil.which("sudo") is None or not _run([*sudo, "true"], 10):
            return
    # The fonts draw 🟢 and 🔴, which pages without them show as empty boxes.
    packages = ["chromium", "fonts-noto-color-emoji", "fonts-dejavu-core"]
    install = ["install", "-y", "-qq", "--no-install-recommends", *packages]
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    _run([*sudo, *environment, "apt-get", "update", "-qq"], PACKAGE_SECONDS)
    _run([*sudo, *environment, "apt-get", *install], PACKAGE_SECONDS)


def _run(command: list[str], seconds: float) -> bool:
    """Whether `command` ended well in time; its output goes to the terminal, as standard error."""
    print("+", *command, file=sys.stderr)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"gave up after {seconds:.0f} s", file=sys.stderr)
        return False
    return done.returncode == 0


if __name__ == "__main__":
    try:
        print(get())
    except NoChromium as error:
        sys.exit(str(error))
