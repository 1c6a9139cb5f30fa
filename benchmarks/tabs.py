"""What a party in a tab costs: its start, its way into a session, its operations, its memory.

    python -m benchmarks.tabs

Start: CPU seconds of Node, which runs the same V8 and the same wasm as Chromium, beside a bare
`loadPyodide`; both take turns in one run. Compute: all that the slowest of five tabs did from the
proposal until everybody had executed it, votes, agreement and drawing its page's state included.
The rest in a Chromium, in a session with two parties of this machine: from the link until both are
linked; from the proposal to the commit at the proposer, in turns with three parties of this
machine; the memory that its renderer has for itself.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page

from benchmarks.measure import Result, heading, show
from mpclab.core import notes
from mpclab.lab import Lab
from mpclab.trace.rows import Noted
from mpclab.web import assets, packages, pages
from mpclab.worlds.real import ServerSettings
from tests.browser.harness import browser

HERE = Path(__file__).parent
TURNS: Final = 5
OPERATIONS: Final = 40
LINK: Final = {
    "session": "figures", "party": 1, "parties": 3, "threshold": 2, "policy": "unanimous",
    "agreement": "direct", "tell": "yes",
}  # fmt: skip
_JOIN = """(hash) => new Promise((done, fail) => {
  const began = performance.now();
  const look = () => {
    const said = document.querySelector("#status").textContent, took = performance.now() - began;
    if (said.includes("3 of 3 connected")) done(took);
    else if (took > 60000) fail(new Error(said));
    else setTimeout(look, 2);
  };
  location.hash = hash;
  look();
})"""
_PROPOSE = """(text) => {
  const field = document.querySelector("[name='param text']");
  field.value = text;
  field.form.requestSubmit();
}"""


def once(home: Path, what: str, *more: str) -> str:
    """The last line of one run of `tabs.mjs`."""
    command = [*packages.node(), str(HERE / "tabs.mjs"), str(home), what, *more]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return ran.stdout.strip().splitlines()[-1]


def main() -> None:
    """Measure, and print a line for each figure."""
    heading("A party in a browser tab")
    home, modules = assets.ready(), packages.modules()
    served = pages.load(home).files.values()
    load = sum(min(map(len, (file.content, *file.packed.values()))) for file in served)
    show(Result("first load", load / 1e6, "MB", 6))
    bare, ours = [], []
    for _ in range(TURNS):
        bare.append(json.loads(once(modules, "bare"))["cpu"])
        ours.append(json.loads(once(home, "ours"))["cpu"])
    a, b = statistics.median(bare), statistics.median(ours)
    show(Result("CPU of a start, times a bare loadPyodide's", b / a, f"× {a:.0f} ms", 1.3))
    work = json.loads(once(home, "work", str(HERE.parent / "tests" / "web" / "pages.py")))
    for kind, aim in (("dkg", 15), ("sign", 10)):
        first, *later = work[kind]
        show(Result(f"{kind}, 3 of 5, compute of the slowest tab", max(later), "ms", aim))
        show(Result(f"{kind}, the very first", first, "ms", aim))
    with browser() as launched:
        _in_chromium(launched, home)


def _in_chromium(launched: Browser, home: Path) -> None:
    settings = ServerSettings(pages=pages.load(home), per_address=0)
    shared: dict[str, Any] = {
        "world": "webrtc", "parties": 3, "threshold": 2, "agreement": "direct",
    }  # fmt: skip
    with (
        Lab(session="figures", options={"server": settings}, **shared) as mixed,
        Lab(session="native", **shared) as native,
    ):
        url = mixed.start_server(0).url
        mixed.spawn(2, 3)
        mixed.join()
        native.start_server(0)
        native.spawn()
        native.join()
        page = launched.new_page()
        page.goto(f"http{url.removeprefix('ws')}/")
        page.wait_for_selector("[name=party]", timeout=120_000)
        page.evaluate("sessionStorage.setItem('mpclab tell', 'figures')")
        show(
            Result(
                "from the link to two linked parties",
                page.evaluate(_JOIN, urlencode(LINK)),
                "ms",
                600,
            )
        )
        times = _commits(mixed, native, page)
        show(
            Result(
                "proposal to commit, three parties, p50 (ms) × all native", times[0] / times[1],
                f"× {times[1]:.1f} ms", 2,
            )
        )  # fmt: skip
        show(Result("memory of the tab's renderer (PSS)", _memory(launched), "MB", 200))


def _commits(mixed: Lab, native: Lab, page: Page) -> tuple[float, float]:
    """Medians, ms: the tab's, and that of a party among its like."""
    for number in range(1, OPERATIONS + 1):
        page.evaluate(_PROPOSE, f"note {number}")
        mixed.run(partial(_has, mixed, number), limit=30)
        native.propose(by=1, kind="note", text=f"note {number}")
        native.run(partial(_has, native, number), limit=30)
    return statistics.median(_spans(mixed)), statistics.median(_spans(native))


def _has(lab: Lab, number: int) -> bool:
    return len(_spans(lab)) >= number


def _spans(lab: Lab) -> list[float]:
    """ms from each proposal of party 1 to its commit there, by its own clock."""
    began: dict[str, int] = {}
    spans = []
    for row in lab.trace.of(Noted):
        if row.actor != 1:
            continue
        match row.note:
            case notes.Proposed(op):
                began[op] = row.at
            case notes.Committed(op) if op in began:
                spans.append((row.at - began.pop(op)) / 1000)
    return spans


def _memory(launched: Browser) -> float:
    """MB of the largest renderer: its own pages, and its part of shared ones."""
    session = launched.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = []
    for process in found:
        if process["type"] == "renderer":
            text = Path(f"/proc/{process['id']}/smaps_rollup").read_text(encoding="ascii")
            pss = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
            sizes.append(int(pss[1]) / 1000 if pss else 0.0)
    return max(sizes)


if __name__ == "__main__":
    main()
