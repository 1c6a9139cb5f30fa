"""What holds for every test: figures draw without a screen, and property tests repeat."""

from itertools import chain, zip_longest

import matplotlib
import pytest
from hypothesis import HealthCheck, settings

from mpclab.core.node import Node

# Not by MPLBACKEND: the kernels of notebooks would inherit it and show no figures.
matplotlib.use("Agg")

# Files that start programs and wait for them: browsers, JupyterLab, servers, parties.
_WAIT = ("notebooks/", *(f"tests/{it}" for it in (
    "browser/", "tab/", "cli/", "panels/", "web/", "foreign/", "lab/test_processes", "test_deploy",
    "test_examples", "test_packaging", "test_compiled", "test_docs", "worlds/",
)))  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One file that waits, one that computes, and so on: of each kind notebooks and browsers, then
    files of one or two tests, then those with most. Workers take files in this order (`--dist
    loadfile --no-loadscope-reorder`), so that each core has something to do, and what is left at
    the end is short; xdist by itself leaves the files with few tests, which are long ones, to it.
    """
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)

    def rank(file: str) -> tuple[bool, bool, int]:
        slow = file.startswith(("notebooks/", "tests/browser/", "tests/tab/"))
        return not slow, len(files[file]) > 2, -len(files[file])

    order = sorted(files, key=rank)
    waiting = [file for file in order if file.startswith(_WAIT)]
    computing = [file for file in order if not file.startswith(_WAIT)]
    mixed = chain.from_iterable(zip_longest(waiting, computing))
    items[:] = chain.from_iterable(files[file] for file in mixed if file is not None)


# A handler that raises must have changed nothing, in whatever test it does.
Node.strict = True

# `make test` draws the same examples each time, so that a failure is the change's and not the
# dice's. `pytest --hypothesis-profile=explore` draws new ones.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fixed", _COMMON, derandomize=True, database=None)
settings.register_profile("explore", _COMMON)
settings.load_profile("fixed")
