"""The agreement protocols by the word that a scenario file, a drop-down or a cell says."""

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.bracha import Bracha
from mpclab.consensus.chained_hotstuff import ChainedHotStuff
from mpclab.consensus.direct import Direct
from mpclab.consensus.hotstuff import HotStuff
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.raft import Raft
from mpclab.consensus.three_phase import ThreePhase
from mpclab.consensus.two_phase import TwoPhase
from mpclab.core.errors import UsageError, nearest

AGREEMENTS: dict[str, type[Agreement]] = {
    "direct": Direct,
    "2pc": TwoPhase,
    "3pc": ThreePhase,
    "raft": Raft,
    "pbft": Pbft,
    "hotstuff": HotStuff,
    "chained-hotstuff": ChainedHotStuff,
    "bracha": Bracha,
}


def agreement(name: str) -> type[Agreement]:
    """The protocol of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    if name not in AGREEMENTS:
        raise UsageError(f"agreement: {name!r} is not known{nearest(name, AGREEMENTS)}")
    return AGREEMENTS[name]
