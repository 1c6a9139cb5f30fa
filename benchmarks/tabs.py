"""What a party in a tab costs: its start beside a bare `loadPyodide`, and its operations.

    python -m benchmarks.tabs

CPU seconds of Node, which runs the same V8 and the same wasm as Chromium; both starts take turns in
one run, and medians are shown. Operations: all that the slowest of five tabs did from the proposal
until everybody had executed it, votes, agreement and drawing its page's state included, in ms.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path

from mpclab.web import assets, packages, pages

HERE = Path(__file__).parent
TURNS = 5


def once(home: Path, what: str, *more: str) -> str:
    """The last line of one run of `tabs.mjs`."""
    command = [*packages.node(), str(HERE / "tabs.mjs"), str(home), what, *more]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return ran.stdout.strip().splitlines()[-1]


def main() -> None:
    """Measure, and print a line for each figure."""
    home, modules = assets.ready(), packages.modules()
    served = pages.load(home).files.values()
    load = sum(min(map(len, (file.content, *file.packed.values()))) for file in served)
    print(f"first load {load / 1e6:.2f} MB")
    bare, ours = [], []
    for _ in range(TURNS):
        bare.append(json.loads(once(modules, "bare"))["cpu"])
        ours.append(json.loads(once(home, "ours"))["cpu"])
    a, b = statistics.median(bare), statistics.median(ours)
    print(f"start: bare loadPyodide {a:.0f} ms CPU, a whole party {b:.0f} ms: {b / a:.2f} times")
    work = json.loads(once(home, "work", str(HERE.parent / "tests" / "web" / "pages.py")))
    for kind, figures in work.items():
        print(f"{kind}, 3 of 5, the slowest tab: first {figures[0]} ms, later {figures[1:]} ms")


if __name__ == "__main__":
    main()
