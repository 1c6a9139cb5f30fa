"""Compile the engine's modules (`mpclab.compiled`): `python -m tools.compile_core [FOLDER]`.

It needs Cython, a C compiler and Python's headers, and takes some ten seconds of two cores.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from mpclab import compiled

OPTIONS = {
    "annotation_typing": False,  # the types are in the .pxd
    "binding": True,  # functions can be inspected as Python's
    "language_level": 3,
}


def build(folder: str = compiled.FOLDER) -> None:
    """Compile all modules into `folder`."""
    os.makedirs(folder, exist_ok=True)
    made_from = compiled.manifest()
    Path(folder, compiled.MANIFEST).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        linking = []
        for module in compiled.MODULES:  # the C compiler works on one while Cython does the next
            c_file = os.path.join(scratch, module + ".c")
            _to_c(module, c_file)
            linking.append(pool.submit(_link, c_file, compiled.file_of(folder, module)))
        for one in linking:
            one.result()
    Path(folder, compiled.MANIFEST).write_text(made_from, encoding="ascii")


def _to_c(module: str, c_file: str) -> None:
    cython: Any = import_module("Cython.Compiler.Main")
    options = cython.CompilationOptions(
        compiler_directives=OPTIONS,
        include_path=[os.path.dirname(compiled.PACKAGE)],
        output_file=c_file,
    )
    said = io.StringIO()
    with contextlib.redirect_stderr(said):  # that a .pxd makes an annotation void is no news
        result = cython.compile_single(
            compiled.sources(module)[0], options, full_module_name=module
        )
    if result.num_errors:
        sys.exit(f"Cython cannot compile {module}:\n{said.getvalue()}")


def _link(c_file: str, target: str) -> None:
    link = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    position = shlex.split(sysconfig.get_config_var("CCSHARED") or "")
    include = sysconfig.get_path("include")
    partial = c_file + ".so"
    command = [*link, *position, "-O1", "-g0", "-w", "-I", include, "-o", partial, c_file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    Path(target).write_bytes(Path(partial).read_bytes())


if __name__ == "__main__":
    build(*sys.argv[1:2])
