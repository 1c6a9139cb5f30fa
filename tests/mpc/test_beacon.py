"""The beacon: one value for all, whoever speaks first, and no way to choose it."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import pytest

from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.crypto.ciphersuites import FROST_ED25519, FROST_SECP256K1
from mpclab.crypto.transcript import digest
from mpclab.faults.network import Delay, Network
from mpclab.mpc.beacon import Beacon, Part, base_point, is_right, prove
from tests.mpc.parties import DEADLINE, Cast
from tests.mpc.test_sign import key_for


def beacon(n: int, t: int, suite: Any = FROST_ED25519, members: int = 0, **options: Any) -> Cast:
    record, shares = key_for(n, t, suite)

    def make(p: Party) -> Beacon:
        return Beacon(record, shares.get(p), 1, b"", deadline=DEADLINE)

    return Cast(members or n, make, **options)


@pytest.mark.parametrize("suite", [FROST_ED25519, FROST_SECP256K1], ids=repr)
def test_all_get_the_value_that_the_whole_key_would_give(suite: Any) -> None:
    outcomes = beacon(5, 3, suite, members=6).run().outcomes()
    values = {o.value for o in outcomes.values()}
    assert len(values) == 1
    key = key_for(5, 3, suite)[0].key()
    base = base_point(key, 1, b"")
    whole = suite.group.mult(4242, base)  # the secret of key_for
    assert values == {digest("mpclab beacon value", base, whole)}


def test_any_quorum_gives_the_same_value() -> None:
    values = set()
    for silent in itertools.combinations(range(1, 5), 2):
        cast = beacon(4, 2)
        for p in silent:
            cast.world.crash(p)
        rest = [p for p in cast.members if p not in silent]
        values |= {o.value for o in cast.run().outcomes(rest).values()}
    assert len(values) == 1


def wrong_part(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Part):
        return None
    point = FROST_ED25519.group.base_mult(5)
    return [(to, msgspec.structs.replace(msg, point=point))]


def test_a_wrong_part_is_left_out_and_its_sender_named() -> None:
    cast = beacon(4, 3, cheats={2: wrong_part}).run()
    assert cast.accused() == {2}
    assert len({o.value for o in cast.outcomes().values()}) == 1


def test_too_few_parts_end_in_time() -> None:
    cast = beacon(3, 3, cheats={2: wrong_part, 3: lambda *_: []}).run()
    outcome = cast.outcome(1)
    assert isinstance(outcome, Aborted)
    assert (outcome.missing, outcome.blamed) == ((3,), (2,))


def test_lost_parts_are_said_again() -> None:
    network = Network(Delay("uniform", 1000, 20_000), loss=0.4)
    outcomes = beacon(5, 5, network=network).run().outcomes()
    assert len({o.value for o in outcomes.values()}) == 1


def test_a_part_proves_one_share_and_one_value() -> None:
    record, shares = key_for(3, 2)
    key = record.key()
    base = base_point(key, 1, b"")
    part = prove(key.suite.group, shares[1], base, random.Random(1))
    assert is_right(key, 1, base, part)
    assert not is_right(key, 2, base, part)
    assert not is_right(key, 1, base_point(key, 2, b""), part)
    assert not is_right(key, 1, base, Part(part.point, part.proof[::-1]))
    assert not is_right(key, 1, base, Part(b"", b""))
