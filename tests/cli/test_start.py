"""A short run in the terminal imports what it needs, and nothing that takes long besides."""

import subprocess
import sys

SLOW = (
    "numpy",
    "pandas",
    "matplotlib",
    "rich",
    "importlib.metadata",
    "asyncio",
    "aiortc",
    "IPython",
)

RUN = """
import json, os, sys
from mpclab.cli import main
told, sys.stdout = sys.stdout, open(os.devnull, "w")
assert main(["run", "commit", "--json"]) == 0
json.dump(sorted(sys.modules), told)
"""


def test_a_short_run_imports_nothing_slow() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env={"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for name in SLOW:
        assert f'"{name}"' not in done.stdout
