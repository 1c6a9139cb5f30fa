"""The rooms that a browser tab needs import with what a tab has: the standard library but for
sockets, threads and databases, msgspec, and the primitives that its page brings."""

import subprocess
import sys

ROOMS = (
    "core", "crypto", "signaling", "consensus", "mpc", "operations", "coordinator", "faults",
    "trace", "view", "check", "worlds",
)  # fmt: skip

IN_A_TAB = """
import importlib, pkgutil, sys, types
import msgspec

sys.platform = "emscripten"
for name in ("mpclab_primitives", "pyodide", "pyodide.ffi", "js", "mpclab_page"):
    sys.modules[name] = types.ModuleType(name)
for name in ("to_js", "create_once_callable"):
    setattr(sys.modules["pyodide.ffi"], name, None)

ABSENT = {
    "aiortc", "asyncio", "coincurve", "cryptography", "matplotlib", "multiprocessing", "nacl",
    "networkx", "numpy", "pandas", "socket", "sqlite3", "ssl", "subprocess", "threading", "uvloop",
    "websockets", "yaml",
}

class Absence:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"a tab has no {name}")

for name in [name for name in sys.modules if name.partition(".")[0] in ABSENT]:
    del sys.modules[name]
sys.meta_path.insert(0, Absence())

def elsewhere(name):
    kept = ("mpclab.crypto.backends.", "mpclab.worlds.real", "mpclab.worlds.simulated")
    return name.startswith(kept) and not name.endswith(".tab")

for room in sys.argv[1:]:
    package = importlib.import_module(f"mpclab.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"mpclab.{room}."):
        if not elsewhere(module.name):
            importlib.import_module(module.name)
assert "mpclab.crypto.backends.native" not in sys.modules
assert not ABSENT & set(sys.modules)
print("imported")
"""


def test_what_a_tab_needs_imports_in_a_tab() -> None:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{IN_A_TAB}"]
    ran = subprocess.run(
        [*command, *ROOMS], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.strip() == "imported", ran.stderr
