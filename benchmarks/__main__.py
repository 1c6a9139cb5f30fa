"""`make bench`: every figure that README and CHANGELOG name, measured here and now.

Name sections to run only those: `python -m benchmarks simulation real`.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys

SECTIONS = (
    "simulation", "real", "links", "endurance", "rejoin", "relay", "widgets", "clicks", "frames",
    "idle", "consensus_figures", "mpc", "security", "tabs",
)  # fmt: skip


def main(wanted: list[str]) -> int:
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        print(f"no section {unknown[0]!r}; there are: {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name in wanted or SECTIONS:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


sys.exit(main(sys.argv[1:]))
