"""Run inside a tab's Python while the pages are built: bytecode for what it will import.

Compiling the standard library and us takes a tab 4 s of CPU at each load, more than everything
else together; a `.pyc` of the very same Python takes none.
"""

from __future__ import annotations

import ast
import importlib.util
import marshal
import sys
import zipfile
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Final

CHARSETS: Final = ("ascii", "cp437", "idna", "latin_1", "utf_16", "utf_8", "utf_8_sig")
"""Encodings that a tab may meet: zip files name cp437."""
_NOT_HERE: Final = (
    "_pyrepl/", "doctest.py", "http/", "multiprocessing/", "pdb.py", "pydoc.py", "tarfile.py",
    "unittest/",
)  # fmt: skip
"""What others import for what a tab cannot do."""


def library(source: str, target: str, ours: str) -> None:
    """Of the standard library at `source` what anything here can import: as bytecode, without
    docstrings, what is imported now; as text the rest of what `ours` or these might import."""
    loaded = set(sys.modules)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(ours) as us:
        files = {name for name in old.namelist() if not name.startswith(_NOT_HERE)}
        wanted = {"encodings", *(f"encodings.{name}" for name in CHARSETS), *loaded}
        for name in us.namelist():
            if name.endswith(".py"):
                wanted.update(_imported(us.read(name), ""))
        kept: dict[str, str] = {}  # file → module
        waiting = sorted(wanted)
        while waiting:
            for module, file in _found(waiting.pop(), files):
                if file not in kept:
                    kept[file] = module
                    package = module if file.endswith("__init__.py") else module.rpartition(".")[0]
                    waiting += _imported(old.read(file), package)
        with zipfile.ZipFile(target, "w") as new:
            for file in sorted(files):
                data = old.read(file)
                if not file.endswith(".py"):
                    new.writestr(zipfile.ZipInfo(file), data)
                elif kept.get(file) in loaded:
                    new.writestr(zipfile.ZipInfo(f"{file}c"), bytecode(data, file, whole=False))
                elif file in kept:
                    new.writestr(zipfile.ZipInfo(file), data)


def ours(source: str, target: str) -> None:
    """Our Python, all of it as bytecode without docstrings. Its assertions stay."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(f"{name}c"), bytecode(old.read(name), name))


def bytecode(text: bytes, file: str, *, whole: bool = True) -> bytes:
    """A `.pyc` that is not compared with a source (PEP 552, "unchecked"), without docstrings; not
    whole: without assertions and lines, too. `PYTHONNODEBUGRANGES` leaves columns out of both."""
    tree = ast.parse(text, file)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]) and _may_have_one(node):
            # An empty text keeps the body a body; what reads a docstring finds nothing in it.
            body[0].value = ast.copy_location(ast.Constant(""), body[0].value)
    code = compile(tree, f"/{file}", "exec", dont_inherit=True, optimize=0 if whole else 2)
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    made = marshal.dumps(code if whole else _without_lines(code))
    return header + importlib.util.source_hash(text) + made


def _without_lines(code: CodeType) -> CodeType:
    """A code object all of which is in its first line: the table of lines is a fifth of it."""
    whole, rest = divmod(len(code.co_code) // 2, 8)
    # Objects/locations.md of CPython: 13, "no column info", for up to 8 units; 0 lines further.
    table = b"\xef\x00" * whole + (bytes([0xE8 | (rest - 1), 0]) if rest else b"")
    consts = tuple(_without_lines(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_linetable=table, co_consts=consts)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _may_have_one(node: ast.AST) -> bool:
    return isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)


def _found(module: str, files: set[str]) -> Iterator[tuple[str, str]]:
    """The modules that a dotted name may stand for, and their files."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        for file in (f"{name.replace('.', '/')}/__init__.py", f"{name.replace('.', '/')}.py"):
            if file in files:
                yield name, file


def _imported(text: bytes, package: str) -> Iterable[str]:
    """The dotted names that a module may import, in whatever branch."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                above = parents[: len(parents) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
