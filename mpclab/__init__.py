"""mpclab: a laboratory for systems in which n parties must agree and then act together.

The same protocol code, the same faults, the same pictures, on a simulated network that
replays from a seed and on real sockets.

    from mpclab import Lab

    with Lab(parties=4) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        lab.propose(by=1, kind="note", text="hello")
        lab.run()
        print(lab.outcomes()[0].status)

Names are imported when they are first used, so that `import mpclab` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mpclab import compiled

__version__ = "0.1.0"
CORE = compiled.use()
"""Which core runs: see `mpclab.compiled`."""

_HOMES = {
    "Lab": "mpclab.lab",
    "Run": "mpclab.lab",
    "Scenario": "mpclab.lab",
    "Ctx": "mpclab.core",
    "Machine": "mpclab.core",
    "Message": "mpclab.core",
    "MpclabError": "mpclab.core",
    "Duration": "mpclab.core",
    "MS": "mpclab.core",
    "Party": "mpclab.core",
    "PeerFault": "mpclab.core",
    "RoundMachine": "mpclab.core",
    "SECOND": "mpclab.core",
    "UsageError": "mpclab.core",
    "Trace": "mpclab.trace",
    "computation": "mpclab.operations",
    "register": "mpclab.plugins",
}

if TYPE_CHECKING:
    from mpclab.core import (
        MS,
        SECOND,
        Ctx,
        Duration,
        Machine,
        Message,
        MpclabError,
        Party,
        PeerFault,
        RoundMachine,
        UsageError,
    )
    from mpclab.lab import Lab, Run, Scenario
    from mpclab.operations import computation
    from mpclab.plugins import register
    from mpclab.trace import Trace

__all__ = [
    "MS",
    "SECOND",
    "Ctx",
    "Duration",
    "Lab",
    "Machine",
    "Message",
    "MpclabError",
    "Party",
    "PeerFault",
    "RoundMachine",
    "Run",
    "Scenario",
    "Trace",
    "UsageError",
    "computation",
    "register",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mpclab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
