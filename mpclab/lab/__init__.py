"""The one façade that notebooks, panels and the terminal use: `Lab`, and `Scenario` → `Run`."""

from mpclab.lab.lab import Lab
from mpclab.lab.run import Run, play
from mpclab.lab.scenario import Planned, Scenario

__all__ = ["Lab", "Planned", "Run", "Scenario", "play"]
