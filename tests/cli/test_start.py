"""`mpclab run` loads what its scenario needs, and little else. What is counted is modules."""

import subprocess
import sys

import pytest

from mpclab.core.registry import Later, Registry

PROGRAM = """
import contextlib, io, sys
from mpclab.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["run", sys.argv[1], "--json"]) < 2
print(*sys.modules)
"""

HEAVY = {
    "numpy", "matplotlib", "pandas", "cryptography", "rich", "asyncio", "ssl", "aiortc", "IPython",
    "websockets", "importlib.metadata", "jupyterlab", "ipywidgets", "multiprocessing", "sqlite3",
}  # fmt: skip


def loaded(scenario: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, scenario], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


@pytest.fixture(scope="module")
def modules() -> set[str]:
    return loaded("commit")


def of(modules: set[str], package: str) -> set[str]:
    """The modules of ours in a package, by their last names."""
    return {m.rpartition(".")[2] for m in modules if m.startswith(f"mpclab.{package}.")}


def test_no_library_is_loaded_that_the_run_does_not_use(modules: set[str]) -> None:
    assert not HEAVY & modules


def test_a_run_loads_the_one_protocol_the_checks_and_the_operations_that_it_names(
    modules: set[str],
) -> None:
    assert of(modules, "consensus") == {"agreement", "direct", "options", "quorum", "registry"}
    assert of(modules, "faults") == {
        "draws", "fault", "link_rules", "nemesis", "network", "plan"
    }  # fmt: skip
    assert of(modules, "check") == {
        "agreement", "facts", "integrity", "registry", "termination", "validity", "verdict"
    }  # fmt: skip
    assert not {"keys", "computations", "written", "own"} & of(modules, "operations")
    assert not of(modules, "model") | of(modules, "search") | of(modules, "panels")
    assert not {"server", "server_options", "profile", "keys"} & of(modules, "cli")


def test_so_few_modules_are_loaded(modules: set[str]) -> None:
    """Raise these only for what every run needs: each module costs it about half a millisecond."""
    assert len({m for m in modules if m.startswith("mpclab")}) <= 166
    assert len(modules) <= 364


# --- things that are imported later ---------------------------------------------------------------


def test_a_thing_is_imported_when_it_is_looked_at_and_known_by_its_word_before() -> None:
    there = Later("fractions", "Fraction")
    things: Registry[type] = Registry("thing", {"fraction": there})
    from fractions import Fraction

    assert list(things) == ["fraction"]
    assert things.word_of(Fraction) == "fraction"
    assert things.word_of(int) is None
    assert things["fraction"] is things.get("fraction") is Fraction
    assert things.word_of(Fraction) == "fraction"


def test_every_kind_of_fault_of_the_house_is_in_the_table() -> None:
    """One that is not would be known only to who happened to import its module."""
    from mpclab.faults import byzantine, links, nodes, partitions, schemes, server
    from mpclab.faults.fault import KINDS, Fault

    for module in (byzantine, links, nodes, partitions, schemes, server):
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, Fault) and thing.kind:
                assert KINDS[thing.kind] is thing
    assert all(KINDS[word].kind == word for word in KINDS)
    assert not {w for w in KINDS.added if KINDS[w].__module__.startswith("mpclab.")}
