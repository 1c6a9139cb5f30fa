"""Whatever well-formed message a liar sends, no machine falls over and nobody honest is blamed."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted, Again
from mpclab.core.wire import Message
from mpclab.mpc import arithmetic
from mpclab.mpc.beacon import Beacon
from mpclab.mpc.compute import Compute
from mpclab.mpc.dkg import Dkg
from mpclab.mpc.messages import Ack, Announce, Deal, Want
from mpclab.mpc.packages import PACKAGE, Package, Resend, Signed
from mpclab.mpc.refresh import Refresh
from mpclab.mpc.repair import SPLIT, Repair, Split
from mpclab.mpc.reshare import Reshare
from mpclab.mpc.sign import Sign
from tests.mpc.parties import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast, Tamper
from tests.mpc.test_dkg import resigned, signed_ack
from tests.mpc.test_sign import key_for

N = 4
MEMBERS = tuple(range(1, N + 1))
RECORD, SHARES = key_for(N, 2)
COMMON: dict[str, Any] = {"deadline": DEADLINE}


def dkg(p: Party) -> Machine:
    return Dkg(CONTEXT, IDENTITIES[p], KEYS, 2, MEMBERS, **COMMON)


def sign(p: Party) -> Machine:
    return Sign(CONTEXT, IDENTITIES[p], KEYS, RECORD, SHARES[p], b"m", **COMMON)


def refresh(p: Party) -> Machine:
    return Refresh(CONTEXT, IDENTITIES[p], KEYS, RECORD, SHARES[p], **COMMON)


def reshare(p: Party) -> Machine:
    return Reshare(CONTEXT, IDENTITIES[p], KEYS, RECORD, SHARES[p], (1, 2, 4), 3, **COMMON)


def repair(p: Party) -> Machine:
    share = None if p == 1 else SHARES[p]
    return Repair(CONTEXT, IDENTITIES[p], KEYS, RECORD, share, 1, (2, 3, 4), **COMMON)


def beacon(p: Party) -> Machine:
    return Beacon(RECORD, SHARES[p], 1, b"", **COMMON)


def auction(p: Party) -> Machine:
    circuit = arithmetic.build("auction", MEMBERS, MEMBERS)
    return Compute(circuit, MEMBERS, MEMBERS, given=(p,), patience=DEADLINE, **COMMON)


MACHINES = (dkg, sign, refresh, reshare, repair, beacon, auction)


def altered(value: Any, coins: random.Random) -> Any:
    """`value` of the same type with something else in it."""
    if isinstance(value, msgspec.Struct):
        if not value.__struct_fields__:
            return value
        name = coins.choice(value.__struct_fields__)
        return msgspec.structs.replace(value, **{name: altered(getattr(value, name), coins)})
    if isinstance(value, tuple):
        place = coins.randrange(len(value)) if value else 0
        return coins.choice(
            [
                (),
                value[:-1],
                value + value[:1],
                value[::-1],
                (*value[:place], *(altered(v, coins) for v in value[place : place + 1]),
                 *value[place + 1 :]),
            ]
        )  # fmt: skip
    if isinstance(value, bytes):
        return coins.choice(
            [b"", value[:-1], value + b"x", bytes(len(value)), coins.randbytes(len(value))]
        )
    return coins.choice([-1, 0, 1, 2, 5, 99, 2**40, value + 1, value - 1])


def signed(machine: Any, msg: Message) -> Message:
    """The lie under the liar's own signature, where it needs one."""
    match msg:
        case Deal():
            return resigned(machine, msg)
        case Ack():
            return signed_ack(machine, msg)
        case Split():
            signature = machine.identity.sign(SPLIT, machine._hash(3, msg))
            return msgspec.structs.replace(msg, signature=signature)
        case Package():
            parts = machine._endorsed(msg.attempt, machine._digest(msg))
            return msgspec.structs.replace(msg, signature=machine.identity.sign(PACKAGE, *parts))
    return msg


def liar(seed: int) -> Tamper:
    """Sends what it should, and half of the time something else as well or instead."""
    coins = random.Random(seed)
    extra: list[Message] = [
        Want((1, 1, 9), 7, (1, 2), (3,), (2,)),
        Announce(b""),
        Signed(bytes(64)),
        Resend(-5),
        Again(10**6),
        Again(-1),
    ]

    def tamper(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        told: list[tuple[tuple[Party, ...], Message]] = []
        if coins.random() < 0.7:
            told.append((to, msg))
        for _ in range(coins.randrange(3)):
            other = altered(msg, coins)
            if coins.random() < 0.3:
                other = altered(other, coins)
            if coins.random() < 0.6:
                other = signed(machine, other)
            told.append((tuple(p for p in to if coins.random() < 0.7), other))
        if coins.random() < 0.3:
            told.append((to, coins.choice(extra)))
        return told

    return tamper


@pytest.mark.parametrize("make", MACHINES, ids=lambda make: make.__name__)
def test_no_lie_harms_a_machine_or_an_honest_name(make: Any) -> None:
    caught = 0
    for seed in range(25):
        cast = Cast(N, make, cheats={3: liar(seed)}, seed=seed).run()
        assert cast.accused() <= {3, None}, (make.__name__, seed)
        caught += 3 in cast.accused()
        for outcome in cast.outcomes().values():
            if isinstance(outcome, Aborted):
                assert set(outcome.blamed) <= {3}, (make.__name__, seed)
    assert caught > 5
