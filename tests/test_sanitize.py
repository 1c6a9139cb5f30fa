"""nbval is strict: it forgives what may differ from run to run, and nothing else."""

import subprocess
import sys
from pathlib import Path

import nbformat

SANITIZE = Path(__file__).with_name("nbval-sanitize.cfg")

# What a cell shows, and the next time; then whether that is forgiven.
CELLS = [
    ("<Lab object at 0x7f53d310b060>", "<Lab object at 0x7f53d33ad950>", True),
    ("ws://127.0.0.1:8080", "ws://127.0.0.1:43671", True),
    ("model 0123456789abcdef0123456789abcdef", "model fedcba9876543210fedcba9876543210", True),
    ("mesh up, took 12.5 ms", "mesh up, took 1 s", True),
    ("🟢 running, uptime 3 s", "🟢 running, uptime 4.25 s", True),
    ("<Figure size 640x480 with 1 Axes>", "<Figure size 800x600 with 2 Axes>", True),
    ("committed at 512 ms", "committed at 513 ms", False),
    ("took 4 messages", "took 5 messages", False),
    ("digest 3f2a", "digest 3f2b", False),
    ("", "a line that was not there", False),
]


def test_only_what_may_differ_is_forgiven(tmp_path: Path) -> None:
    cells = []
    for stored, shown, _ in CELLS:
        cell = nbformat.v4.new_code_cell(f"if {shown!r}: print({shown!r})", execution_count=1)
        if stored:
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=stored + "\n")]
        cells.append(cell)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "cells.ipynb")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--color=no"),
            *("--nbval", "--nbval-current-env", f"--nbval-sanitize-with={SANITIZE}"),
            "cells.ipynb",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    for index, (stored, shown, forgiven) in enumerate(CELLS):
        verdict = "PASSED" if forgiven else "FAILED"
        claim = f"{stored!r}, then {shown!r}, should have {verdict}"
        assert f"{verdict} cells.ipynb::Cell {index}" in ran.stdout, f"{claim}\n{ran.stdout}"
