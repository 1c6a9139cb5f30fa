"""A headless Firefox, driven by the protocol that it speaks itself: WebDriver BiDi."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("firefox-esr", "firefox")
PREFERENCES = {
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    # Where only loopback exists Firefox would have no address to offer.
    "media.peerconnection.ice.loopback": True,
    # Nobody outside the browser resolves its `….local` names, and from loopback it checks nothing
    # by which its address could be learned.
    "media.peerconnection.ice.obfuscate_host_addresses": False,
}
START_SECONDS = 150
PATIENCE = 120.0


class Firefox:
    """One tab of a Firefox."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.complaints: list[str] = []
        self._do("session.new", capabilities={})
        self._do("session.subscribe", events=["log.entryAdded"])
        self._tab = self._do("browsingContext.getTree")["contexts"][0]["context"]

    def _do(self, method: str, **params: Any) -> Any:
        self._number += 1
        order = {"id": self._number, "method": method, "params": params}
        self._connection.send(json.dumps(order))
        while True:
            answer = json.loads(self._connection.recv(timeout=PATIENCE))
            if answer.get("method") == "log.entryAdded":
                if answer["params"]["level"] in ("error", "warn"):
                    self.complaints.append(answer["params"]["text"])
            elif answer.get("id") == self._number:
                assert answer["type"] == "success", answer
                return answer["result"]

    def open(self, url: str) -> None:
        self._do("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        target = {"context": self._tab}
        done = self._do("script.evaluate", expression=expression, target=target, awaitPromise=True)
        assert done["type"] == "success", done
        return done["result"].get("value")

    def until(self, expression: str, holds: Callable[[Any], bool]) -> Any:
        """The value of an expression once it is as it should be."""
        deadline = time.monotonic() + PATIENCE
        while not holds(value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"{expression}: {value!r}"
            time.sleep(0.1)
        return value

    def click(self, label: str) -> None:
        """Press the button that says so."""
        named = f"(b) => b.textContent === {json.dumps(label)}"
        self.evaluate(f"[...document.querySelectorAll('button')].find({named}).click()")

    def screenshot(self) -> str:
        """What the tab shows, a PNG in base64."""
        return str(self._do("browsingContext.captureScreenshot", context=self._tab)["data"])


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """A Firefox with a profile of its own in `folder`.

    Raises:
        AssertionError: none is installed, or it does not start.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program is not None, "no Firefox: apt-get install firefox-esr"
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
    (folder / "user.js").write_text("\n".join(lines))
    command = [program, "--headless", "--no-remote", "--profile", str(folder)]
    process = subprocess.Popen(
        [*command, "--remote-debugging-port", "0", "about:blank"],
        env=os.environ | {"HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(log := (folder / "log").open("wb")),
    )
    try:
        deadline, address = time.monotonic() + START_SECONDS, ""
        while not address:
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            for line in (folder / "log").read_text(errors="replace").splitlines():
                if line.startswith("WebDriver BiDi listening on "):
                    address = line.rpartition(" ")[2]
            time.sleep(0.05)
        with connect(f"{address}/session", max_size=None) as connection:
            yield Firefox(connection)
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()
