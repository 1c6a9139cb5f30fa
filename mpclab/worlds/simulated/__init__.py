"""The simulated world: nodes in virtual time, drawn from one seed."""

from mpclab.worlds.simulated.world import SimulatedWorld

__all__ = ["SimulatedWorld"]
