"""Things of your own beside those of the house: one way for all of them.

`register` takes an agreement protocol, an operation, a fault, a check or a panel, in a cell or in
a module, and from then on it can be named wherever one of the house can:

    @register
    class Mine(Agreement): ...                  # agreement: mine

    @register
    def soon(facts: Facts, within: Duration = 500 * MS) -> Verdict: ...   # checks: [soon]

    register(OperationSpec("dice", dice))       # kind: dice

    class Mute(ByzantineFault):                 # a fault with a kind registers itself
        kind = "mute"

A module of such things is a plugin. It is loaded, which *runs its code*, when

- a scenario names it: `plugins: [my_protocols, faults/mute.py]` (modules, or files beside it);
- `mpclab party --plugin NAME` says so;
- a package that is installed declares it as an entry point of the group `mpclab.plugins`:
  `[project.entry-points."mpclab.plugins"]` with `mine = "my_protocols"`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from mpclab.check.registry import CHECKS
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.errors import UsageError
from mpclab.core.registry import REGISTRIES
from mpclab.faults.plan import KINDS
from mpclab.operations import OPERATIONS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "mpclab.plugins"

__all__ = [
    "AGREEMENTS",
    "CHECKS",
    "KINDS",
    "OPERATIONS",
    "load",
    "load_installed",
    "register",
]

T = TypeVar("T")


@overload
def register(thing: str) -> Callable[[T], T]: ...
@overload
def register(thing: T, word: str = "") -> T: ...
def register(thing: Any, word: str = "") -> Any:
    """Make `thing` known by `word`, by default its own; also a decorator, `@register("word")`.

    A class's own word is its `word` (a fault's its `kind`), or its name in lower case with dashes.

    Raises:
        UsageError: it is of no kind that can be registered, or its word is taken by the house.
    """
    if isinstance(thing, str):
        return lambda given: register(given, thing)
    for registry in REGISTRIES:
        if registry.accepts(thing):
            return registry.register(thing, word)
    kinds = ", ".join(sorted(registry.kind for registry in REGISTRIES))
    raise UsageError(f"register: {thing!r} cannot be registered; use one of: {kinds}")


def load(name: str, folder: Path | None = None) -> ModuleType:
    """Run a plugin: a module by its name, or a file by its path, from `folder` on.

    A file is run again when it has changed since.

    Raises:
        UsageError: it is not there, or its code fails; says how.
    """
    try:
        if name.endswith(".py") or "/" in name:
            return _load_file((folder or Path()) / name)
        return importlib.import_module(name)
    except UsageError:
        raise
    except Exception as error:  # whatever the plugin's code does
        raise UsageError(
            f"plugins: {name} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


_FILES: dict[Path, tuple[int, ModuleType]] = {}
"""Each file that was loaded, as it was then."""


def _load_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"plugins: there is no file {path}")
    changed = path.stat().st_mtime_ns
    before = _FILES.get(path)
    if before is not None and before[0] == changed:
        return before[1]
    name = f"mpclab_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _FILES[path] = changed, module
    return module


_installed: list[EntryPoint] | None = None


def load_installed() -> list[EntryPoint]:
    """Load the plugins of installed packages, once; those that fail warn and are left out."""
    global _installed
    if _installed is None:
        _installed = []
        for point in _declared():
            try:
                thing = point.load()
            except Exception as error:  # whatever the plugin's code does
                warnings.warn(
                    f"plugin {point.name} ({point.value}) cannot be loaded: "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )
                continue
            if not isinstance(thing, ModuleType):
                register(thing)
            _installed.append(point)
    return _installed


def _declared() -> Iterable[EntryPoint]:
    """The entry points of our group. Nearly always there are none, which a look at the files says
    in a thirtieth of the time that importlib.metadata takes to be imported and to read them."""
    if not any(map(_may_declare, sys.path)):
        return ()
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _may_declare(place: str) -> bool:
    """Whether a package installed at `place` names our group."""
    try:
        names = os.listdir(place or ".")
    except NotADirectoryError:
        return True  # an archive, or who knows
    except OSError:
        return False
    wanted = GROUP.encode()
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            try:
                declared = Path(place, name, "entry_points.txt").read_bytes()
            except OSError:
                continue
            if wanted in declared:
                return True
    return False
