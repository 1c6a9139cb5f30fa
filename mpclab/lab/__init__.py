"""The one façade that notebooks, panels and the terminal use: `Lab`, and `Scenario` → `Run`.

Names are imported when they are first used: a browser tab needs the parties of a group alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Lab": "mpclab.lab.lab",
    "Planned": "mpclab.lab.scenario",
    "Run": "mpclab.lab.run",
    "Scenario": "mpclab.lab.scenario",
    "differences": "mpclab.lab.inside",
    "look": "mpclab.lab.inside",
    "play": "mpclab.lab.run",
}

if TYPE_CHECKING:
    from mpclab.lab.inside import differences, look
    from mpclab.lab.lab import Lab
    from mpclab.lab.run import Run, play
    from mpclab.lab.scenario import Planned, Scenario

__all__ = ["Lab", "Planned", "Run", "Scenario", "differences", "look", "play"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mpclab.lab' has no attribute {name!r}")
