"""Kinds of operations that can be proposed: parameters, executors, a registry.

Those of keys and of computations are imported when they are first used.
"""

from typing import TYPE_CHECKING

from mpclab.core.registry import names_of
from mpclab.operations.basic import COIN, NOTE, RESPONSE
from mpclab.operations.parameters import Bytes, Number, Numbers, Parameter, Reference, Text
from mpclab.operations.proposal import Params, Proposal, Value
from mpclab.operations.registry import OPERATIONS
from mpclab.operations.spec import Execution, Known, Operations, OperationSpec, Result

if TYPE_CHECKING:
    from mpclab.operations.computations import input_path
    from mpclab.operations.keys import about_key, key_of, present_key, share_of
    from mpclab.operations.own import computation

__all__ = [
    "COIN",
    "NOTE",
    "OPERATIONS",
    "RESPONSE",
    "Bytes",
    "Execution",
    "Known",
    "Number",
    "Numbers",
    "OperationSpec",
    "Operations",
    "Parameter",
    "Params",
    "Proposal",
    "Reference",
    "Result",
    "Text",
    "Value",
    "about_key",
    "computation",
    "input_path",
    "key_of",
    "present_key",
    "share_of",
]

__getattr__ = names_of(
    __name__,
    {
        "about_key": "keys",
        "computation": "own",
        "input_path": "computations",
        "key_of": "keys",
        "present_key": "keys",
        "share_of": "keys",
    },
)
