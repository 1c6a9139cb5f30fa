"""Faults as data: of links, parties and the server, partitions, Byzantine parties; a nemesis."""

from typing import TYPE_CHECKING

from mpclab.core.registry import names_of
from mpclab.faults.fault import Fault, FaultTarget
from mpclab.faults.nemesis import nemesis
from mpclab.faults.network import Delay, Network
from mpclab.faults.plan import KINDS, Injection, inject, parse_fault, schedule

if TYPE_CHECKING:
    from mpclab.faults.byzantine import ByzantineFault

__all__ = [
    "KINDS",
    "ByzantineFault",
    "Delay",
    "Fault",
    "FaultTarget",
    "Injection",
    "Network",
    "inject",
    "nemesis",
    "parse_fault",
    "schedule",
]

__getattr__ = names_of(__name__, {"ByzantineFault": "byzantine"})
