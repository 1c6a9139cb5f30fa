"""What holds for every test: figures draw without a screen, property tests repeat, and tests that
run side by side share the machine well."""

import matplotlib
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from mpclab.core.node import Node

# Not by MPLBACKEND: the kernels of notebooks would inherit it and show no figures.
matplotlib.use("Agg")

# A handler that raises must have changed nothing, in whatever test it does.
Node.strict = True

# `make test` draws the same examples each time, so that a failure is the change's and not the
# dice's. `pytest --hypothesis-profile=explore` draws new ones.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fixed", _COMMON, derandomize=True, database=None)
settings.register_profile("explore", _COMMON)
settings.load_profile("fixed")

# Browsers start slowly, and more slowly beside each other: one worker has them all, from the
# beginning. Beside them the longest files go first, and nobody waits at the end.
_BROWSER = "tests/browser"
_LONG = ("tests/tab/test_pyodide.py", "tests/test_compiled.py", "tests/lab/test_slopes.py")


def _turn(item: pytest.Item) -> int:
    file = item.nodeid.partition("::")[0]
    if file.startswith(_BROWSER):
        return 0
    return 1 + (_LONG.index(file) if file in _LONG else len(_LONG))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


class _OneBrowser(LoadFileScheduling):
    """A file is one worker's, and the folder of the browsers is."""

    def _split_scope(self, nodeid: str) -> str:
        return _BROWSER if nodeid.startswith(_BROWSER) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling:
    return _OneBrowser(config, log)
