"""The trace: one row for everything that happened. Plots, checks and panels read it alone."""

from mpclab.trace.export import messages_table
from mpclab.trace.log import Trace
from mpclab.trace.rows import (
    WORLD,
    Asked,
    Blamed,
    Delivered,
    Dropped,
    Fault,
    Fired,
    Lied,
    Linked,
    Noted,
    Output,
    Persisted,
    Row,
    Sent,
)

__all__ = [
    "WORLD",
    "Asked",
    "Blamed",
    "Delivered",
    "Dropped",
    "Fault",
    "Fired",
    "Lied",
    "Linked",
    "Noted",
    "Output",
    "Persisted",
    "Row",
    "Sent",
    "Trace",
    "messages_table",
]
