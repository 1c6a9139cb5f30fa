"""Looking for a run that breaks a promise: every order of events, or many at random."""

from mpclab.search.explore import Counterexample, Exploration, explore
from mpclab.search.model import Step
from mpclab.search.walks import Walks, walk

__all__ = ["Counterexample", "Exploration", "Step", "Walks", "explore", "walk"]
