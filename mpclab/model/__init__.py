"""A few parties of one protocol as a state machine: for searching, and for what a search found."""

from mpclab.model.explorer import Explorer
from mpclab.model.states import OrderMatters, State, Step

__all__ = ["Explorer", "OrderMatters", "State", "Step"]
