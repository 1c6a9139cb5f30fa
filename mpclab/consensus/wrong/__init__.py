"""Protocols with one mistake each, on purpose: what the checks must catch. Never for use."""

from mpclab.consensus.wrong.acs_early import EarlyAcs
from mpclab.consensus.wrong.benor_known_coin import KnownCoinBenOr
from mpclab.consensus.wrong.bracha_messages import MessageCountingBracha
from mpclab.consensus.wrong.bullshark_no_way_back import NoWayBackBullshark
from mpclab.consensus.wrong.bullshark_one_vote import OneVoteBullshark
from mpclab.consensus.wrong.dolev_strong_short import ShortChainDolevStrong
from mpclab.consensus.wrong.hotstuff2_unlocked import UnlockedHotStuff2
from mpclab.consensus.wrong.hotstuff_unlocked import UnlockedHotStuff
from mpclab.consensus.wrong.one_echo import OneEcho
from mpclab.consensus.wrong.paxos_own_value import OwnValuePaxos
from mpclab.consensus.wrong.pbft_2f import Pbft2f
from mpclab.consensus.wrong.pbft_trusting import TrustingPbft
from mpclab.consensus.wrong.raft_at_once import AtOnceRaft
from mpclab.consensus.wrong.raft_earlier import EarlierTermRaft
from mpclab.consensus.wrong.raft_forgets import ForgetfulRaft
from mpclab.consensus.wrong.raft_stale import StaleReadRaft
from mpclab.consensus.wrong.streamlet_any_chain import AnyChainStreamlet
from mpclab.consensus.wrong.streamlet_any_epochs import AnyEpochsStreamlet
from mpclab.consensus.wrong.tendermint_unlocked import UnlockedTendermint
from mpclab.consensus.wrong.vr_longest_log import LongestLogVr

__all__ = [
    "AnyChainStreamlet",
    "AnyEpochsStreamlet",
    "AtOnceRaft",
    "EarlierTermRaft",
    "EarlyAcs",
    "ForgetfulRaft",
    "KnownCoinBenOr",
    "LongestLogVr",
    "MessageCountingBracha",
    "NoWayBackBullshark",
    "OneEcho",
    "OneVoteBullshark",
    "OwnValuePaxos",
    "Pbft2f",
    "ShortChainDolevStrong",
    "StaleReadRaft",
    "TrustingPbft",
    "UnlockedHotStuff",
    "UnlockedHotStuff2",
    "UnlockedTendermint",
]
