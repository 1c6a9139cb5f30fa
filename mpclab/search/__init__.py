"""Looking for a run that breaks a promise, and making it as small as it can be."""

from mpclab.search.explore import Counterexample, Exploration, explore
from mpclab.search.model import Step
from mpclab.search.shrink import Shrunk, shrink
from mpclab.search.walks import Walks, walk

__all__ = [
    "Counterexample",
    "Exploration",
    "Shrunk",
    "Step",
    "Walks",
    "explore",
    "shrink",
    "walk",
]
