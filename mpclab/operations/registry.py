"""The kinds of operations by the word that a proposal, a scenario file or a drop-down says."""

from mpclab.core.registry import Later
from mpclab.operations.basic import BASIC_OPERATIONS
from mpclab.operations.spec import Operations

_HOMES = {
    "keys": (
        "dkg", "import", "sign", "sign-batch", "nonces", "sign-prepared", "refresh", "rules",
        "reshare", "repair", "beacon",
    ),
    "computations": ("sum", "mean", "product", "compare", "max", "auction"),
    "written": ("median", "sort", "histogram"),
}  # fmt: skip
"""The modules that are imported when one of these kinds is wanted."""

OPERATIONS = Operations(
    {spec.name: spec for spec in BASIC_OPERATIONS}
    | {
        kind: Later(f"mpclab.operations.{module}", "BY_KIND", kind)
        for module, kinds in _HOMES.items()
        for kind in kinds
    },
    standard=True,
)
"""The kinds that a session knows unless it is given a registry of its own."""
