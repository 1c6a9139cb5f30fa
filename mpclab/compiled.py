"""Which core runs: the Python modules of the engine, or the same modules compiled.

`make compiled` compiles the modules named here, as they stand, into `mpclab/_compiled`, and from
then on they are imported from there. Each `.py` has a `.pxd` beside it that tells the compiler its
types; two small containers have a `.pyx` in its stead. What a run does is the same, to the last row
of its trace, and slower without. When a source has changed since, none of them is used.

`MPCLAB_CORE=python` in the environment asks for the Python modules; `MPCLAB_CORE=FOLDER` for those
compiled into another folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from types import ModuleType

MODULES = (
    "mpclab.core.wire",
    "mpclab.core.machine",
    "mpclab.core.handling",
    "mpclab.trace.cells",
    "mpclab.worlds.rows",
    "mpclab.worlds.simulated.heap",
    "mpclab.worlds.simulated.queue",
    "mpclab.worlds.simulated.host",
    "mpclab.worlds.simulated.network",
    "mpclab.worlds.simulated.effects",
    "mpclab.worlds.simulated.arrivals",
)
MANIFEST = "sources.txt"
"""In the folder: what the compiled files were made from."""

PACKAGE = os.path.dirname(__file__)
FOLDER = os.path.join(PACKAGE, "_compiled")


def sources(module: str) -> list[str]:
    """The files that a module is compiled from; the first is the one to give to Cython."""
    stem = os.path.join(os.path.dirname(PACKAGE), *module.split("."))
    files = [stem + ending for ending in (".pyx", ".py", ".pxd")]
    return [file for file in files if os.path.exists(file)]


def manifest() -> str:
    """A line for each module: its name, and a checksum of its sources."""
    import zlib  # late: most have no compiled core, and start quicker

    lines = []
    for module in MODULES:
        checksum = 0
        for file in sources(module):
            with open(file, "rb") as opened:
                checksum = zlib.crc32(opened.read(), checksum)
        lines.append(f"{module} {checksum:08x}\n")
    return "".join(lines)


class _Finder:
    """Finds the compiled modules in their folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in MODULES:
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(name, file_of(self._folder, name))


def file_of(folder: str, module: str) -> str:
    """Where the compiled form of a module is."""
    return os.path.join(folder, module + EXTENSION_SUFFIXES[0])


def use() -> str:
    """Let the compiled modules be imported, where they are and fit; before any of them is.

    Returns:
        Which core runs, for a reader: "Python", "compiled", or "Python, for …".
    """
    wanted = os.environ.get("MPCLAB_CORE", "")
    folder = wanted or FOLDER
    if wanted == "python" or (not wanted and not os.path.isdir(folder)):
        return "Python"
    try:
        with open(os.path.join(folder, MANIFEST), encoding="ascii") as file:
            known = file.read()
    except OSError:
        return f"Python, for there is no compiled core in {folder}"
    if not all(os.path.exists(file_of(folder, module)) for module in MODULES):
        return "Python, for the compiled core is for another version of Python"
    if known != manifest():
        return "Python, for the compiled core is of other sources: run make compiled"
    sys.meta_path.insert(0, _Finder(folder))
    return "compiled"
