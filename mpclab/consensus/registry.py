"""The agreement protocols by the word that a scenario file, a drop-down or a cell says."""

from collections.abc import Mapping
from typing import Any

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.options import Options
from mpclab.core.errors import UsageError
from mpclab.core.registry import Later, Registry, word_of

_OURS: dict[str, tuple[str, str]] = {
    "direct": ("direct", "Direct"),
    "2pc": ("two_phase", "TwoPhase"),
    "3pc": ("three_phase", "ThreePhase"),
    "raft": ("raft", "Raft"),
    "paxos": ("paxos", "Paxos"),
    "vr": ("vr", "ViewstampedReplication"),
    "pbft": ("pbft", "Pbft"),
    "hotstuff": ("hotstuff", "HotStuff"),
    "chained-hotstuff": ("chained_hotstuff", "ChainedHotStuff"),
    "hotstuff-2": ("hotstuff2", "HotStuff2"),
    "tendermint": ("tendermint", "Tendermint"),
    "streamlet": ("streamlet", "Streamlet"),
    "bullshark": ("bullshark", "Bullshark"),
    "acs": ("acs", "Acs"),
    "dolev-strong": ("dolev_strong", "DolevStrong"),
    "bracha": ("bracha", "Bracha"),
    "ben-or": ("benor", "BenOr"),
}
"""The module and the class of each: a run imports the one that it names."""

_WRONG: dict[str, tuple[str, str]] = {
    "wrong-direct": ("one_echo", "OneEcho"),
    "wrong-pbft": ("pbft_2f", "Pbft2f"),
    "wrong-pbft-new-view": ("pbft_trusting", "TrustingPbft"),
    "wrong-raft": ("raft_forgets", "ForgetfulRaft"),
    "wrong-raft-commit": ("raft_earlier", "EarlierTermRaft"),
    "wrong-raft-voters": ("raft_at_once", "AtOnceRaft"),
    "wrong-raft-read": ("raft_stale", "StaleReadRaft"),
    "wrong-paxos": ("paxos_own_value", "OwnValuePaxos"),
    "wrong-vr": ("vr_longest_log", "LongestLogVr"),
    "wrong-hotstuff": ("hotstuff_unlocked", "UnlockedHotStuff"),
    "wrong-hotstuff-2": ("hotstuff2_unlocked", "UnlockedHotStuff2"),
    "wrong-tendermint": ("tendermint_unlocked", "UnlockedTendermint"),
    "wrong-streamlet": ("streamlet_any_chain", "AnyChainStreamlet"),
    "wrong-streamlet-epochs": ("streamlet_any_epochs", "AnyEpochsStreamlet"),
    "wrong-acs": ("acs_early", "EarlyAcs"),
    "wrong-dolev-strong": ("dolev_strong_short", "ShortChainDolevStrong"),
    "wrong-bullshark": ("bullshark_one_vote", "OneVoteBullshark"),
    "wrong-bullshark-anchors": ("bullshark_no_way_back", "NoWayBackBullshark"),
    "wrong-bracha": ("bracha_messages", "MessageCountingBracha"),
    "wrong-ben-or": ("benor_known_coin", "KnownCoinBenOr"),
}

AGREEMENTS: Registry[type[Agreement]] = Registry(
    "agreement",
    {word: Later(f"mpclab.consensus.{module}", name) for word, (module, name) in _OURS.items()},
    accepts=lambda thing: isinstance(thing, type) and issubclass(thing, Agreement),
    word=word_of,
)
"""Those to choose from, and those that you registered."""

WRONG: Registry[type[Agreement]] = Registry(
    "agreement",
    {
        word: Later(f"mpclab.consensus.wrong.{module}", name)
        for word, (module, name) in _WRONG.items()
    },
)
"""Each with one mistake, to be caught: for lessons and tests, never among the choices."""


def agreement(name: str) -> type[Agreement]:
    """The protocol of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    return WRONG[name] if name in WRONG else AGREEMENTS.find(name)


def word(protocol: str | type[Agreement]) -> str:
    """The word of a protocol; a class of your own is registered if it was not.

    Raises:
        UsageError: it is neither a word nor a protocol's class.
    """
    if isinstance(protocol, str):
        return protocol
    if not AGREEMENTS.accepts(protocol):
        raise UsageError(f"agreement: {protocol!r}; use a protocol's name, or its class")
    known = AGREEMENTS.word_of(protocol) or WRONG.word_of(protocol)
    return known or word_of(AGREEMENTS.register(protocol))


def options(name: str, given: Mapping[str, Any], field: str = "agreement") -> Options:
    """The options of the protocol `name` that a mapping of a scenario file means.

    Raises:
        UsageError: the protocol, an option or a value is not known; names `field` and the nearest.
    """
    return agreement(name).options_type.read(given, f"{field}.{name}")
