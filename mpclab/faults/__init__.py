"""Faults as data: of links, parties and the server, partitions, Byzantine parties; a nemesis."""

from mpclab.faults.byzantine import ByzantineFault
from mpclab.faults.fault import Fault, FaultTarget
from mpclab.faults.nemesis import nemesis
from mpclab.faults.network import Delay, Network
from mpclab.faults.plan import KINDS, Injection, inject, parse_fault, schedule

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
