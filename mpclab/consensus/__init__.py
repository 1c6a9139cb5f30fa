"""Agreement protocols: one file each, beside its paper, behind one interface and one registry."""

from mpclab.consensus.agreement import Agreement, Cast, Decided, Oppose, Refused, Submit, VoteWanted
from mpclab.consensus.benor import BenOr
from mpclab.consensus.bracha import Bracha
from mpclab.consensus.chained_hotstuff import ChainedHotStuff
from mpclab.consensus.direct import Direct
from mpclab.consensus.hotstuff import HotStuff
from mpclab.consensus.hotstuff2 import HotStuff2
from mpclab.consensus.options import Options
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.quorum import max_faulty
from mpclab.consensus.raft import Raft
from mpclab.consensus.registry import AGREEMENTS
from mpclab.consensus.tendermint import Tendermint
from mpclab.consensus.three_phase import ThreePhase
from mpclab.consensus.two_phase import TwoPhase

__all__ = [
    "AGREEMENTS",
    "Agreement",
    "BenOr",
    "Bracha",
    "Cast",
    "ChainedHotStuff",
    "Decided",
    "Direct",
    "HotStuff",
    "HotStuff2",
    "Oppose",
    "Options",
    "Pbft",
    "Raft",
    "Refused",
    "Submit",
    "Tendermint",
    "ThreePhase",
    "TwoPhase",
    "VoteWanted",
    "max_faulty",
]
