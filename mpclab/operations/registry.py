"""The kinds of operations by the word that a proposal, a scenario file or a drop-down says."""

from mpclab.operations.basic import BASIC_OPERATIONS
from mpclab.operations.computations import COMPUTATIONS
from mpclab.operations.keys import KEY_OPERATIONS
from mpclab.operations.spec import Operations
from mpclab.operations.written import WRITTEN_COMPUTATIONS

OPERATIONS = Operations(
    (*BASIC_OPERATIONS, *KEY_OPERATIONS, *COMPUTATIONS, *WRITTEN_COMPUTATIONS), standard=True
)
"""The kinds that a session knows unless it is given a registry of its own."""
