"""Agreement protocols: one file each, beside its paper, behind one interface and one registry.

The protocols are imported when they are first used.
"""

from typing import TYPE_CHECKING

from mpclab.consensus.agreement import Agreement, Cast, Decided, Oppose, Refused, Submit, VoteWanted
from mpclab.consensus.options import Options
from mpclab.consensus.quorum import max_faulty
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.registry import names_of

if TYPE_CHECKING:
    from mpclab.consensus.acs import Acs
    from mpclab.consensus.benor import BenOr
    from mpclab.consensus.bracha import Bracha
    from mpclab.consensus.bullshark import Bullshark
    from mpclab.consensus.chained_hotstuff import ChainedHotStuff
    from mpclab.consensus.direct import Direct
    from mpclab.consensus.dolev_strong import DolevStrong
    from mpclab.consensus.hotstuff import HotStuff
    from mpclab.consensus.hotstuff2 import HotStuff2
    from mpclab.consensus.paxos import Paxos
    from mpclab.consensus.pbft import Pbft
    from mpclab.consensus.raft import Raft
    from mpclab.consensus.streamlet import Streamlet
    from mpclab.consensus.tendermint import Tendermint
    from mpclab.consensus.three_phase import ThreePhase
    from mpclab.consensus.two_phase import TwoPhase
    from mpclab.consensus.vr import ViewstampedReplication

__all__ = [
    "AGREEMENTS",
    "Acs",
    "Agreement",
    "BenOr",
    "Bracha",
    "Bullshark",
    "Cast",
    "ChainedHotStuff",
    "Decided",
    "Direct",
    "DolevStrong",
    "HotStuff",
    "HotStuff2",
    "Oppose",
    "Options",
    "Paxos",
    "Pbft",
    "Raft",
    "Refused",
    "Streamlet",
    "Submit",
    "Tendermint",
    "ThreePhase",
    "TwoPhase",
    "ViewstampedReplication",
    "VoteWanted",
    "max_faulty",
]

__getattr__ = names_of(
    __name__,
    {
        "Acs": "acs",
        "BenOr": "benor",
        "Bracha": "bracha",
        "Bullshark": "bullshark",
        "ChainedHotStuff": "chained_hotstuff",
        "Direct": "direct",
        "DolevStrong": "dolev_strong",
        "HotStuff": "hotstuff",
        "HotStuff2": "hotstuff2",
        "Paxos": "paxos",
        "Pbft": "pbft",
        "Raft": "raft",
        "Streamlet": "streamlet",
        "Tendermint": "tendermint",
        "ThreePhase": "three_phase",
        "TwoPhase": "two_phase",
        "ViewstampedReplication": "vr",
    },
)
