"""A package of one's own beside mpclab: a protocol, a fault, an operation and a check.

Importing it makes them known by their words: `synod`, `mumble`, `dice`, `prompt`.
"""

from paxos_lab.dice import DICE
from paxos_lab.mumble import Mumble
from paxos_lab.prompt import prompt
from paxos_lab.synod import Synod

__all__ = ["DICE", "Mumble", "Synod", "prompt"]
