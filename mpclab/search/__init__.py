"""Looking for a run that breaks a promise, and making it as small as it can be."""

from mpclab.model import Step
from mpclab.search.calibrate import Calibration, calibrate
from mpclab.search.counterexample import Counterexample
from mpclab.search.diff import Diff, diff, rerun
from mpclab.search.explore import Exploration, explore
from mpclab.search.shrink import Shrunk, shrink
from mpclab.search.sweep import Sweep, sweep
from mpclab.search.walks import Walks, walk

__all__ = [
    "Calibration",
    "Counterexample",
    "Diff",
    "Exploration",
    "Shrunk",
    "Step",
    "Sweep",
    "Walks",
    "calibrate",
    "diff",
    "explore",
    "rerun",
    "shrink",
    "sweep",
    "walk",
]
