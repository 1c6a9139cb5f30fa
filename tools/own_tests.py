"""Which mistakes in a protocol its own tests see, where its suite does not.

`mpclab.testing.kill` asks what `Conformance` and storms see in any protocol. What the house's own
tests hold a protocol to (its paper, line by line) is asked here: each test file is executed anew
with the mutant in the place of the protocol, and its tests run until one fails.
"""

from __future__ import annotations

import inspect
import itertools
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mpclab.testing.kill import limit
from mpclab.testing.mutants import Mutant

HOUSE = Path(__file__).parents[1]
OWN = {
    "pbft": ("test_pbft_paper", "test_pbft"),
    "hotstuff": ("test_hotstuff",),
    "chained-hotstuff": ("test_hotstuff",),
    "hotstuff-2": ("test_hotstuff2",),
    "tendermint": ("test_tendermint_paper", "test_tendermint"),
    "streamlet": ("test_streamlet",),
    "raft": ("test_raft_paper", "test_raft_voters", "test_raft_reads", "test_raft"),
    "bullshark": ("test_bullshark",),
    "acs": ("test_acs",),
    "paxos": ("test_paxos",),
    "vr": ("test_vr",),
    "dolev-strong": ("test_dolev_strong",),
    "bracha": ("test_bracha",),
    "ben-or": ("test_benor",),
    "2pc": ("test_two_phase",),
    "3pc": ("test_three_phase",),
}
"""By protocol, the files of `tests/consensus` that are about it."""
SLOW = 0.4
"""Seconds of the processor: a test that takes longer in the protocol itself is left out."""


def seen(name: str, mutant: Mutant) -> str:
    """The first of its own tests that a mutant of protocol `name` fails; "" for none."""
    made = mutant.build()
    number = made.__module__.rpartition("#")[2]
    copies = {module: sys.modules[f"{module}#{number}"] for module in mutant.modules}
    for file in OWN.get(name, ()):
        module = _executed(file, copies)
        for title, arguments in _quick(file):
            try:
                with limit(3 * SLOW):
                    _run(module, title, arguments)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    raise
                return f"{file}.{title}"
    return ""


@cache
def _quick(file: str) -> list[tuple[str, dict[str, Any]]]:
    """The tests of a file that the protocol itself passes, quickly, without fixtures."""
    module = _executed(file, {})
    found = []
    for title, arguments in _tests(module):
        try:
            with limit(SLOW):
                _run(module, title, arguments)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            continue
        found.append((title, arguments))
    return found


def _tests(module: types.ModuleType) -> Iterator[tuple[str, dict[str, Any]]]:
    for title, test in vars(module).items():
        if not title.startswith("test_") or not inspect.isfunction(test):
            continue
        choices: list[list[dict[str, Any]]] = []
        for mark in getattr(test, "pytestmark", ()):
            if mark.name == "parametrize":
                names, values = mark.args[:2]
                split = [n.strip() for n in names.split(",")] if isinstance(names, str) else names
                rows = [v if len(split) > 1 else (v,) for v in values]
                rows = [getattr(row, "values", row) if len(split) > 1 else row for row in rows]
                choices.append([dict(zip(split, row, strict=True)) for row in rows])
        for combination in itertools.product(*choices):
            arguments = {k: v for each in combination for k, v in each.items()}
            lacking = inspect.signature(test).parameters.keys() - arguments.keys()
            if all(_fixture(module, one) for one in lacking):
                yield title, arguments


def _fixture(module: types.ModuleType, name: str) -> Any:
    """What a fixture of the file itself calls, if it asks for no other; None: there is none."""
    found = getattr(module, name, None)
    wrapped = getattr(found, "_get_wrapped_function", None)
    function = None if wrapped is None else wrapped()
    return None if function is None or inspect.signature(function).parameters else function


def _run(module: types.ModuleType, title: str, arguments: dict[str, Any]) -> None:
    test = getattr(module, title)
    lacking = inspect.signature(test).parameters.keys() - arguments.keys()
    test(**arguments, **{name: _fixture(module, name)() for name in lacking})


def _executed(file: str, copies: dict[str, types.ModuleType]) -> types.ModuleType:
    """A test file, executed anew, for which `copies` are the modules of those names."""
    path = HOUSE / "tests" / "consensus" / f"{file}.py"
    module = types.ModuleType(f"own_{file}")
    module.__file__ = str(path)
    originals = {name: sys.modules[name] for name in copies}
    sys.modules[module.__name__] = module
    try:
        sys.modules.update(copies)
        exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    finally:
        sys.modules.update(originals)
    return module
