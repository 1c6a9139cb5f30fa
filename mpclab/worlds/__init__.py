"""Where machines run: the simulated world, and the real ones."""

from mpclab.worlds.base import Build, Stored, World
from mpclab.worlds.failures import NodeFailed
from mpclab.worlds.recording import Recording, replay

__all__ = ["Build", "NodeFailed", "Recording", "Stored", "World", "replay"]
