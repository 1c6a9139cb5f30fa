"""The lab as ipywidgets: `Coordinator()` is all of it, and every panel works alone too.

from mpclab.panels import Coordinator
Coordinator(parties=4)
"""

from mpclab.panels.browser_party import BrowserParty
from mpclab.panels.connections import ConnectionsPanel
from mpclab.panels.coordinator import Coordinator
from mpclab.panels.faults import FaultPanel
from mpclab.panels.flow import FlowPanel
from mpclab.panels.history import HistoryPanel
from mpclab.panels.log import LogPanel
from mpclab.panels.operations import OperationsPanel
from mpclab.panels.outcome import OutcomePanel
from mpclab.panels.panel import Panel
from mpclab.panels.parties import PartiesPanel
from mpclab.panels.phases import PhaseDiagram, SweepPanel
from mpclab.panels.registry import PANELS
from mpclab.panels.server import ServerPanel
from mpclab.panels.time_controls import TimePanel
from mpclab.panels.world import WorldPanel

__all__ = [
    "PANELS",
    "BrowserParty",
    "ConnectionsPanel",
    "Coordinator",
    "FaultPanel",
    "FlowPanel",
    "HistoryPanel",
    "LogPanel",
    "OperationsPanel",
    "OutcomePanel",
    "Panel",
    "PartiesPanel",
    "PhaseDiagram",
    "ServerPanel",
    "SweepPanel",
    "TimePanel",
    "WorldPanel",
]
