"""Machines of threshold cryptography and of computation on secrets."""

from mpclab.mpc.beacon import Beacon
from mpclab.mpc.circuit import Circuit
from mpclab.mpc.coin import Coin
from mpclab.mpc.compute import Compute, Input, Part, unpack
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
    "Package",
    "Part",
    "Refresh",
    "Repair",
    "Reshare",
    "SharedKey",
    "Sign",
    "SignatureRecord",
    "open_share",
    "unpack",
]
