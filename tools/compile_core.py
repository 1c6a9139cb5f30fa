"""Compile the engine's modules (`mpclab.compiled`): `python -m tools.compile_core [FOLDER]`.

It needs Cython, a C compiler and Python's headers, and takes some ten seconds of two cores.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mpclab import compiled

OPTIONS = {
    "annotation_typing": False,  # the types are in the .pxd
    "binding": True,  # functions can be inspected as Python's
    "language_level": 3,
}


def build(folder: str = compiled.FOLDER, optimize: str = "-O1") -> None:
    """Compile all modules into `folder`; `optimize` is for the C compiler."""
    _need_all()
    os.makedirs(folder, exist_ok=True)
    made_from = compiled.manifest()
    Path(folder, compiled.MANIFEST).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        linking = []
        for module in compiled.MODULES:  # the C compiler works on one while Cython does the next
            c_file = os.path.join(scratch, module + ".c")
            _to_c(module, c_file)
            linking.append(pool.submit(_link, c_file, compiled.file_of(folder, module), optimize))
        for one in linking:
            one.result()
    Path(folder, compiled.MANIFEST).write_text(made_from, encoding="ascii")


def _need_all() -> None:
    """Say in a sentence what is missing on this machine."""
    compiler, header = _linker()[0], os.path.join(sysconfig.get_path("include"), "Python.h")
    if find_spec("Cython") is None:
        sys.exit("the core cannot be compiled: Cython is missing (pip install 'mpclab[compiled]')")
    if shutil.which(compiler) is None:
        sys.exit(
            f"the core cannot be compiled: there is no C compiler {compiler!r} (gcc, libc6-dev)"
        )
    if not os.path.exists(header):
        sys.exit(f"the core cannot be compiled: {header} is missing (python3-dev)")


def _linker() -> list[str]:
    return shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")


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


def _link(c_file: str, target: str, optimize: str) -> None:
    position = shlex.split(sysconfig.get_config_var("CCSHARED") or "")
    include = sysconfig.get_path("include")
    partial = target + ".new"
    command = [*_linker(), *position, optimize, "-g0", "-w", "-I", include, "-o", partial, c_file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        Path(partial).unlink(missing_ok=True)
        sys.exit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    os.replace(partial, target)  # who runs with the old one still has it


if __name__ == "__main__":
    build(*sys.argv[1:2])
