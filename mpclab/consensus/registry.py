"""The agreement protocols by the word that a scenario file, a drop-down or a cell says."""

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.benor import BenOr
from mpclab.consensus.bracha import Bracha
from mpclab.consensus.chained_hotstuff import ChainedHotStuff
from mpclab.consensus.direct import Direct
from mpclab.consensus.hotstuff import HotStuff
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.raft import Raft
from mpclab.consensus.three_phase import ThreePhase
from mpclab.consensus.two_phase import TwoPhase
from mpclab.consensus.wrong import ForgetfulRaft, OneEcho, Pbft2f
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
    "ben-or": BenOr,
}

WRONG: dict[str, type[Agreement]] = {
    "wrong-direct": OneEcho,
    "wrong-pbft": Pbft2f,
    "wrong-raft": ForgetfulRaft,
}
"""Each with one mistake, to be caught: for lessons and tests, never among the choices."""


def agreement(name: str) -> type[Agreement]:
    """The protocol of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    found = AGREEMENTS.get(name) or WRONG.get(name)
    if found is None:
        raise UsageError(f"agreement: {name!r} is not known{nearest(name, AGREEMENTS)}")
    return found
