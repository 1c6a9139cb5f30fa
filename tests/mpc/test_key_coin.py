"""The coin of a threshold key: the same from any t parts, and an epoch that is settled by it."""

from __future__ import annotations

import random
from itertools import combinations

import msgspec
import pytest

from mpclab.consensus.acs import Acs
from mpclab.consensus.acs_broadcast import shards_of
from mpclab.consensus.acs_messages import (
    AcsAux,
    AcsBatch,
    AcsBval,
    AcsConf,
    AcsEcho,
    AcsFinish,
    AcsPart,
    AcsReady,
)
from mpclab.core.errors import UsageError
from mpclab.crypto.transcript import digest
from mpclab.mpc.key_coin import KeyCoin
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import Cluster
from tests.mpc.test_sign import key_for

RECORD, SHARES = key_for(4, 2)
COINS = {p: KeyCoin(RECORD, SHARES[p]) for p in range(1, 5)}
LOOKS_ON = KeyCoin(RECORD, None)


def parts(about: bytes) -> dict[int, bytes]:
    return {p: coin.part(about, random.Random(p)) for p, coin in COINS.items()}


def test_any_t_parts_toss_the_same() -> None:
    tossed = set()
    for k in range(12):
        about = bytes([k])
        given = parts(about)
        bits = {LOOKS_ON.toss(about, {p: given[p] for p in two}) for two in combinations(given, 2)}
        assert len(bits) == 1
        tossed |= bits
    assert tossed == {0, 1}


def test_a_part_is_of_one_party_and_one_toss() -> None:
    given = parts(b"this")
    assert all(LOOKS_ON.is_right(b"this", p, part) for p, part in given.items())
    assert not LOOKS_ON.is_right(b"that", 1, given[1])
    assert not LOOKS_ON.is_right(b"this", 2, given[1])
    assert not LOOKS_ON.is_right(b"this", 9, given[1])
    assert not LOOKS_ON.is_right(b"this", 1, b"no part")
    assert LOOKS_ON.part(b"this", random.Random(1)) == b""


def in_round_3(coin: KeyCoin | None) -> Alone:
    """Party 2 saw both bits in round 1, and then 1 alone against a coin of 0."""
    party = Alone(Acs, 2, coin=coin)
    root, shards, branches = shards_of(msgspec.msgpack.encode(AcsBatch(())), 4, 1)
    for p in (1, 3):
        party.hear(p, AcsReady(0, 1, root), AcsEcho(0, 1, root, branches[p - 1], shards[p - 1]))
    for round in (1, 2, 3):
        for p in (1, 3, 4):
            party.hear(p, AcsBval(0, 1, round, 1))
            if round == 1:
                party.hear(p, AcsBval(0, 1, round, 0))
        for p in (1, 3):
            party.hear(p, AcsAux(0, 1, round, int(p == 1 or round > 1)))
    party.hear(1, AcsConf(0, 1, 3, 2))
    party.hear(3, AcsConf(0, 1, 3, 2))
    return party


def test_an_agreement_waits_for_t_right_parts() -> None:
    party = in_round_3(COINS[2])
    [own] = [msg for _, msg in party.said if isinstance(msg, AcsPart)]
    about = digest("mpclab acs coin", "", 0, 1, 3)
    assert LOOKS_ON.is_right(about, 2, own.part)
    assert party.machine.epochs[0].votes[1].round == 3
    early = parts(digest("mpclab acs coin", "", 0, 1, 4))
    replayed = parts(digest("mpclab acs coin", "another session", 0, 1, 3))
    for wrong in (b"no part", early[3], replayed[3], own.part):
        party.hear(3, AcsPart(0, 1, 3, wrong))
    assert party.machine.epochs[0].votes[1].round == 3
    assert party.blamed == [3] * 4
    said = party.hear(1, AcsPart(0, 1, 3, parts(about)[1]))
    coin = LOOKS_ON.toss(about, parts(about))
    assert said == [AcsFinish(0, 1, 1) if coin else AcsBval(0, 1, 4, 1)]


@pytest.mark.parametrize("needed", [1, 4])
def test_a_key_that_liars_can_toss_alone_or_hold_back_is_refused(needed: int) -> None:
    record, shares = key_for(4, needed)
    with pytest.raises(UsageError, match="use a key that 2 to 3 of 4 parties toss"):
        Alone(Acs, 2, coin=KeyCoin(record, shares[2]))


def test_without_a_key_the_hash_of_the_session_is_the_coin() -> None:
    party = in_round_3(None)
    assert not [msg for _, msg in party.said if isinstance(msg, AcsPart)]
    votes = party.machine.epochs[0].votes[1]
    assert votes.decision == 1 or votes.round == 4


def test_the_trace_says_whose_coin_it_is() -> None:
    for coin, words in ((None, "the hash of the session's id"), (LOOKS_ON, "a key of 4 parties")):
        c = Cluster(Acs, 4, coin=coin)
        told = [row.note.details for row in c.notes("remark")]
        assert len(told) == 4
        assert all(words in one["tossed"] for one in told)
