"""Machines of threshold cryptography and of computation on secrets. Names are imported when first
used: a session that computes nothing loads no heavy library."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Beacon": "beacon",
    "Circuit": "circuit",
    "Coin": "coin",
    "Compute": "compute",
    "Dkg": "dkg",
    "Evaluation": "evaluation",
    "Input": "compute",
    "KeyRecord": "records",
    "P": "circuit",
    "PACKAGE": "packages",
    "Package": "packages",
    "Part": "compute",
    "Refresh": "refresh",
    "Repair": "repair",
    "Reshare": "reshare",
    "SharedKey": "dealing",
    "Sign": "sign",
    "SignatureRecord": "exports",
    "open_share": "records",
    "pack": "compute",
    "unpack": "compute",
}

if TYPE_CHECKING:
    from mpclab.mpc.beacon import Beacon
    from mpclab.mpc.circuit import Circuit, P
    from mpclab.mpc.coin import Coin
    from mpclab.mpc.compute import Compute, Input, Part, pack, unpack
    from mpclab.mpc.dealing import SharedKey
    from mpclab.mpc.dkg import Dkg
    from mpclab.mpc.evaluation import Evaluation
    from mpclab.mpc.exports import SignatureRecord
    from mpclab.mpc.packages import PACKAGE, Package
    from mpclab.mpc.records import KeyRecord, open_share
    from mpclab.mpc.refresh import Refresh
    from mpclab.mpc.repair import Repair
    from mpclab.mpc.reshare import Reshare
    from mpclab.mpc.sign import Sign

__all__ = [
    "PACKAGE",
    "Beacon",
    "Circuit",
    "Coin",
    "Compute",
    "Dkg",
    "Evaluation",
    "Input",
    "KeyRecord",
    "P",
    "Package",
    "Part",
    "Refresh",
    "Repair",
    "Reshare",
    "SharedKey",
    "Sign",
    "SignatureRecord",
    "open_share",
    "pack",
    "unpack",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mpclab.mpc.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mpclab.mpc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
