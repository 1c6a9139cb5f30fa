"""The compiled core does what the Python modules do: row by row, container by container."""

from __future__ import annotations

import heapq
import os
import random
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mpclab import compiled
from tools import compile_core

# What runs in a process of its own, once for each core, and prints the same.
RUNS = """
from dataclasses import replace
import mpclab
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core import MS, Frame, Node, handling
from mpclab.core.effects import Delivered
from mpclab.faults.network import Network
from mpclab.lab import play
from mpclab.testing import experiments
from mpclab.trace.short import ShortTrace
from mpclab.search import explore
from mpclab.worlds.recording import _flatten
from benchmarks.votes import voting_world
from tests.test_compiled import containers
from tests.worlds.test_differential import LINKS, _chat

assert mpclab.CORE == CORE
assert handling.__file__.endswith(".py") == (CORE == "Python")
print(containers())
print(_flatten(Delivered(2, Frame(7, ("x",), body=b"{}", codec="json"))))
for protocol in AGREEMENTS:
    Node.strict = protocol == "pbft"
    for seed in range(5):
        drawn = experiments.draw(seed, protocol)
        drawn = replace(drawn, mesh="negotiated" if seed == 0 else "ready")
        run = play(drawn)
        verdicts = {v.check: str(v.verdict) for v in run.verdicts}
        print(protocol, seed, len(run.trace), run.trace.digest(), verdicts)
Node.strict = False
for n in (2, 5, 17, 70):
    for links in range(len(LINKS)):
        print(n, links, _chat(n, links))
for faults in ({}, {"crashes": 1, "torn": True}, {"liars": {2}}):
    found = explore("2pc", parties=2, **faults)
    print(found.states, found.transitions, found.depth, found.exhausted, found.decided)
for trace in (None, ShortTrace(100), ShortTrace(0)):
    world = voting_world(6, 40, trace=trace)
    world.run(limit=5_000 * MS)
    fork = world.fork()
    world.run()
    fork.run()
    assert fork.trace.digest() == world.trace.digest()
    print(len(world.trace), world.trace.deliveries, world.trace.digest(), world.trace.end)
"""


def containers() -> str:
    """What the two small containers hold after random calls; they are checked against lists."""
    from mpclab.trace.cells import Cells
    from mpclab.worlds.simulated.heap import Heap

    coin = random.Random(5)
    heap, plain = Heap(), []
    for number in range(3000):
        time = coin.randint(0, 40)
        if plain and coin.random() < 0.3:
            heap.pop()
            heapq.heappop(plain)
        elif plain and coin.random() < 0.4:
            later = plain[0][0] + time
            heap.again(later)
            heapq.heapreplace(plain, (later, *plain[0][1:]))
        else:
            heap.push(time, number, f"item {number}")
            heapq.heappush(plain, (time, number, f"item {number}"))
        first = plain[0] if plain else (0, 0, None)
        assert (heap.time, heap.number, heap.item) == first
    assert sorted(heap.entries()) == sorted(Heap(heap.entries()).entries()) == sorted(plain)
    told = [str(len(heap))]
    for keep in (None, 0, 3, 5000):
        cells, all_of_them = Cells(keep), []
        for at in range(20_000):
            cell = (at, coin.randint(0, 9), coin.randint(0, 9), coin.choice((7, 2**32 - 1, 2**40)))
            cells.add(*cell)
            all_of_them.append(cell)
        assert (len(cells), cells.end) == (20_000, 19_999)
        newest = list(cells.read(0, 20_000))
        assert len(newest) >= (20_000 if keep is None else keep)
        assert newest == all_of_them[cells.gone :]
        some = list(cells.read(19_990, 19_999))
        assert some == all_of_them[max(cells.gone, 19_990) : 19_999]
        told.append(str(len(newest)))
        # What a reader began to read stays there for it while others append and forget.
        reader = cells.read(19_990, 20_000)
        first = [next(reader)] if keep != 0 else []
        for at in range(20_000, 32_000):
            cells.add(at, 1, 2, 2**40)
        assert first + list(reader) == (all_of_them[19_990:] if keep != 0 else [])[-len(newest) :]
    return " ".join(told)


def _output(core: str, name: str) -> str:
    script = f"CORE = {name!r}\n{RUNS}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "MPCLAB_CORE": core, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core, compiled."""
    folder = tmp_path_factory.mktemp("core")
    compile_core.build(str(folder), "-O0")  # the same C, and in a third of the time
    return folder


@pytest.mark.timeout(600)
def test_the_compiled_core_gives_the_same_rows(core: Path) -> None:
    assert _output(str(core), "compiled") == _output("python", "Python")


def _which(core: Path) -> str:
    ask = [sys.executable, "-m", "mpclab", "--version"]
    env = {**os.environ, "MPCLAB_CORE": str(core)}
    return subprocess.run(ask, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.timeout(600)
def test_a_core_that_does_not_fit_is_not_used(core: Path, tmp_path: Path) -> None:
    assert "compiled core" in _which(core)
    assert "no compiled core" in _which(tmp_path)
    (tmp_path / compiled.MANIFEST).write_text(compiled.manifest())
    assert "another version of Python" in _which(tmp_path)
    for module in compiled.MODULES:
        (tmp_path / Path(compiled.file_of("", module)).name).symlink_to(
            compiled.file_of(str(core), module)
        )
    (tmp_path / compiled.MANIFEST).write_text(compiled.manifest().replace("1", "2"))
    assert "of other sources" in _which(tmp_path)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"LDSHARED": "no-such-compiler -shared"}, "no C compiler 'no-such-compiler'"),
        ({"INCLUDE": "/nowhere"}, "/nowhere/Python.h is missing"),
    ],
)
def test_what_is_missing_for_compiling_is_said(
    settings: dict[str, str], missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, path = sysconfig.get_config_var, sysconfig.get_path
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: settings.get(name, known(name)))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: settings.get(name.upper(), path(name)))
    with pytest.raises(SystemExit, match=f"cannot be compiled: .*{missing}"):
        compile_core.build(str(tmp_path))
    assert not list(tmp_path.iterdir())
