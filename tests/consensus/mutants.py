"""Wrong versions of PBFT and Raft, each by one change of their source text.

`mutants/NAME.txt` lists them: every quorum off by one, every stored item forgotten, every guard
removed. A text that is not found exactly once is an error, so that the lists follow the source.

    == what is wrong
    = why nobody can tell (only where that is so)
    @ module
    -text
    +what stands there instead (nothing, without such a line)
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from mpclab.consensus.agreement import Agreement

PREFIX = "mpclab.consensus."
MODULES = {
    "pbft": ("pbft_log", "pbft_transfer", "pbft_views", "pbft"),
    "raft": ("raft_voters", "raft_reads", "raft_log", "raft_followers", "raft"),
}
"""The modules of a protocol, in the order of their imports."""


class Mutant(NamedTuple):
    """`changes`: (module, text, what stands there instead). `equivalent`: why nobody can tell."""

    protocol: str
    name: str
    changes: tuple[tuple[str, str, str], ...]
    equivalent: str = ""

    def __str__(self) -> str:
        return self.name


def mutants_of(protocol: str) -> list[Mutant]:
    """Those that the file of `protocol` lists."""
    text = (Path(__file__).parent / "mutants" / f"{protocol}.txt").read_text("utf-8")
    found: list[Mutant] = []
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        name, *lines = block.splitlines()
        changes: list[tuple[str, list[str], list[str]]] = []
        equivalent = ""
        for line in lines:
            match line[:1]:
                case "=":
                    equivalent = line[2:]
                case "@":
                    changes.append((line[2:], [], []))
                case "-":
                    changes[-1][1].append(line[1:])
                case "+":
                    changes[-1][2].append(line[1:])
        done = tuple((module, "\n".join(old), "\n".join(new)) for module, old, new in changes)
        found.append(Mutant(protocol, name, done, equivalent))
    return found


def build(mutant: Mutant) -> type[Agreement]:
    """The mutated protocol, in modules of its own."""
    modules = MODULES[mutant.protocol]
    assert {module for module, _, _ in mutant.changes} <= set(modules), mutant.name
    kept = {name: importlib.import_module(PREFIX + name) for name in modules}
    try:
        for name in modules:
            source = inspect.getsource(kept[name])
            for module, old, new in mutant.changes:
                if module == name:
                    assert source.count(old) == 1, f"{mutant.name}: {source.count(old)} × {old!r}"
                    source = source.replace(old, new)
            copy = ModuleType(PREFIX + name)
            copy.__file__ = f"<mutant {mutant.name}>"
            sys.modules[PREFIX + name] = copy
            exec(compile(source, copy.__file__, "exec"), copy.__dict__)
        found: type[Agreement] = getattr(sys.modules[PREFIX + modules[-1]], mutant.protocol.title())
        return found
    finally:
        for name, module in kept.items():
            sys.modules[PREFIX + name] = module


def claims_of(module: ModuleType) -> Iterator[Callable[[type[Agreement]], None]]:
    """The tests of a `test_*_paper` module, for each of their parameters, as functions of the
    protocol that they hold to its paper."""
    for name, test in vars(module).items():
        if name.startswith("test_"):
            for given in _parameters(test):
                yield functools.partial(test, **given)


def _parameters(test: Any) -> Iterator[dict[str, Any]]:
    tables = []
    for mark in getattr(test, "pytestmark", ()):
        names, rows = mark.args
        names = [names] if isinstance(names, str) else names
        tables.append(
            [dict(zip(names, row if len(names) > 1 else [row], strict=True)) for row in rows]
        )
    for rows in itertools.product(*tables):
        yield {name: value for row in rows for name, value in row.items()}


def is_killed(mutant: Mutant, claims: Iterable[Callable[[type[Agreement]], None]]) -> bool:
    """Whether some test fails for the mutant."""
    protocol = build(mutant)
    for claim in claims:
        try:
            claim(protocol)
        except Exception:
            return True
    return False
