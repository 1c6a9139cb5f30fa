"""The core: machines, contexts, effects, nodes. Everything else stands on this."""

from mpclab.core.effects import Effect, Event, Words
from mpclab.core.errors import MachineError, MpclabError, PeerFault, Strength, UsageError
from mpclab.core.ids import MS, SECOND, SERVER, US, Duration, Party, Path
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Node
from mpclab.core.rounds import Aborted, Finished, RoundMachine
from mpclab.core.wire import Frame, Message

__all__ = [
    "MS",
    "SECOND",
    "SERVER",
    "US",
    "Aborted",
    "Ctx",
    "Duration",
    "Effect",
    "Event",
    "Finished",
    "Frame",
    "Machine",
    "MachineError",
    "Message",
    "MpclabError",
    "Node",
    "Party",
    "Path",
    "PeerFault",
    "RoundMachine",
    "Strength",
    "UsageError",
    "Words",
]
