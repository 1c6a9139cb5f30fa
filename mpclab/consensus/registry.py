"""The agreement protocols by the word that a scenario file, a drop-down or a cell says."""

from collections.abc import Mapping
from typing import Any

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.benor import BenOr
from mpclab.consensus.bracha import Bracha
from mpclab.consensus.chained_hotstuff import ChainedHotStuff
from mpclab.consensus.direct import Direct
from mpclab.consensus.hotstuff import HotStuff
from mpclab.consensus.hotstuff2 import HotStuff2
from mpclab.consensus.options import Options
from mpclab.consensus.pbft import Pbft
from mpclab.consensus.raft import Raft
from mpclab.consensus.tendermint import Tendermint
from mpclab.consensus.three_phase import ThreePhase
from mpclab.consensus.two_phase import TwoPhase
from mpclab.consensus.wrong import (
    EarlierTermRaft,
    ForgetfulRaft,
    KnownCoinBenOr,
    MessageCountingBracha,
    OneEcho,
    Pbft2f,
    TrustingPbft,
    UnlockedHotStuff,
    UnlockedHotStuff2,
    UnlockedTendermint,
)
from mpclab.core.registry import Registry, word_of

_OURS: dict[str, type[Agreement]] = {
    "direct": Direct,
    "2pc": TwoPhase,
    "3pc": ThreePhase,
    "raft": Raft,
    "pbft": Pbft,
    "hotstuff": HotStuff,
    "chained-hotstuff": ChainedHotStuff,
    "hotstuff-2": HotStuff2,
    "tendermint": Tendermint,
    "bracha": Bracha,
    "ben-or": BenOr,
}

AGREEMENTS: Registry[type[Agreement]] = Registry(
    "agreement",
    _OURS,
    accepts=lambda thing: isinstance(thing, type) and issubclass(thing, Agreement),
    word=word_of,
)
"""Those to choose from, and those that you registered."""

WRONG: dict[str, type[Agreement]] = {
    "wrong-direct": OneEcho,
    "wrong-pbft": Pbft2f,
    "wrong-pbft-new-view": TrustingPbft,
    "wrong-raft": ForgetfulRaft,
    "wrong-raft-commit": EarlierTermRaft,
    "wrong-hotstuff": UnlockedHotStuff,
    "wrong-hotstuff-2": UnlockedHotStuff2,
    "wrong-tendermint": UnlockedTendermint,
    "wrong-bracha": MessageCountingBracha,
    "wrong-ben-or": KnownCoinBenOr,
}
"""Each with one mistake, to be caught: for lessons and tests, never among the choices."""


def agreement(name: str) -> type[Agreement]:
    """The protocol of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    return WRONG[name] if name in WRONG else AGREEMENTS.find(name)


def word(protocol: str | type[Agreement]) -> str:
    """The word of a protocol; a class of your own is registered if it was not."""
    if isinstance(protocol, str):
        return protocol
    known = [w for w, cls in {**AGREEMENTS, **WRONG}.items() if cls is protocol]
    return known[0] if known else word_of(AGREEMENTS.register(protocol))


def options(name: str, given: Mapping[str, Any], field: str = "agreement") -> Options:
    """The options of the protocol `name` that a mapping of a scenario file means.

    Raises:
        UsageError: the protocol, an option or a value is not known; names `field` and the nearest.
    """
    return agreement(name).options_type.read(given, f"{field}.{name}")
