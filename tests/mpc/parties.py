"""Parties that run one protocol of `mpclab.mpc`; see `mpclab.testing.cast`."""

from mpclab.testing.cast import (
    AT,
    CONTEXT,
    DEADLINE,
    IDENTITIES,
    KEYS,
    STEADY,
    Cast,
    Lossy,
    Root,
    Tamper,
    finished,
)

__all__ = [
    "AT",
    "CONTEXT",
    "DEADLINE",
    "IDENTITIES",
    "KEYS",
    "STEADY",
    "Cast",
    "Lossy",
    "Root",
    "Tamper",
    "finished",
]
