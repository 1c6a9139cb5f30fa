"""Repair: the lost share comes back, and a helper that cheats is named by all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.crypto.ciphersuites import FROST_ED25519, FROST_SECP256K1
from mpclab.faults.network import Delay, Network
from mpclab.mpc import envelopes
from mpclab.mpc.messages import Complaint
from mpclab.mpc.repair import SPLIT, SUMS, Repair, Split, Sums, Verdict
from tests.mpc.parties import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast, Tamper
from tests.mpc.test_sign import key_for


def repair(
    n: int,
    t: int,
    lost: Party,
    helpers: tuple[Party, ...],
    suite: Any = FROST_ED25519,
    **options: Any,
) -> Cast:
    record, shares = key_for(n, t, suite)

    def make(p: Party) -> Repair:
        share = None if p == lost else shares[p]
        return Repair(CONTEXT, IDENTITIES[p], KEYS, record, share, lost, helpers, deadline=DEADLINE)

    return Cast(n, make, **options)


@pytest.mark.parametrize("suite", [FROST_ED25519, FROST_SECP256K1], ids=repr)
@pytest.mark.parametrize(
    ("n", "t", "helpers"), [(3, 2, (1, 3)), (5, 3, (1, 3, 4, 5)), (2, 1, (1,))]
)
def test_the_owner_gets_its_share_back(
    n: int, t: int, helpers: tuple[Party, ...], suite: Any
) -> None:
    record, shares = key_for(n, t, suite)
    outcomes = repair(n, t, 2, helpers, suite).run().outcomes()
    assert outcomes[2].share == shares[2]
    assert {o.record for o in outcomes.values()} == {record}
    assert all(outcomes[p].share is None for p in outcomes if p != 2)


def test_lost_messages_are_said_again() -> None:
    network = Network(Delay("uniform", 1000, 20_000), loss=0.2)
    for seed in range(3):
        cast = repair(4, 2, 1, (2, 3, 4), seed=seed, network=network).run()
        assert cast.outcome(1).share == key_for(4, 2)[1][1]


def changed(machine: Any, me: Party, split: Split, **box: Any) -> Split:
    split = msgspec.structs.replace(split, box=msgspec.structs.replace(split.box, **box))
    signature = machine.identity.sign(SPLIT, machine._hash(me, split))
    return msgspec.structs.replace(split, signature=signature)


def wrong_piece(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Split):
        return None
    return [(to, changed(machine, ctx.me, msg, ciphertexts=(bytes(32), *msg.box.ciphertexts[1:])))]


def two_splits(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Split):
        return None
    return [(to[:2], msg), (to[2:], machine._split(ctx))]


def other_commitments(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Split):
        return None
    split = msgspec.structs.replace(
        msg, commitments=msg.commitments[::-1][:1] * len(msg.commitments)
    )
    return [(to, changed(machine, ctx.me, split))]


def wrong_sum(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Sums):
        return None
    return [(to, spoiled(machine, ctx.me, msg))]


def spoiled(machine: Any, me: Party, msg: Sums) -> Sums:
    box = msgspec.structs.replace(msg.box, ciphertexts=(bytes(32),))
    return resigned(machine, me, msgspec.structs.replace(msg, box=box))


def resigned(machine: Any, me: Party, msg: Sums) -> Sums:
    signature = machine.identity.sign(SUMS, machine._hash(me, msg))
    return msgspec.structs.replace(msg, signature=signature)


def wrong_sum_to_the_owner_alone(
    machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]
) -> Any:
    """The others see a right one, and then a complaint of it."""
    if not isinstance(msg, Sums):
        return None
    return [((2,), spoiled(machine, ctx.me, msg)), (tuple(p for p in to if p != 2), msg)]


def false_complaint(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Sums):
        return None
    accused = machine.helpers[0]
    bound = machine._encryption_context(machine._box(0, accused), accused, ctx.me)
    opened = envelopes.disclose(bound, machine.identity, ctx.rng)
    told = msgspec.structs.replace(msg, complaints=(Complaint(accused, *opened),))
    return [(to, resigned(machine, ctx.me, told))]


def false_verdict(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Verdict):
        return None
    return [(to, Verdict(msg.receipts, (Complaint(1, bytes(32), bytes(64)),)))]


@pytest.mark.parametrize(
    ("who", "cheat"),
    [
        (4, wrong_piece),
        (4, two_splits),
        (4, other_commitments),
        (4, wrong_sum),
        (4, wrong_sum_to_the_owner_alone),
        (4, false_complaint),
        (2, false_verdict),
    ],
)
def test_who_cheats_is_named_by_everyone(who: Party, cheat: Tamper) -> None:
    cast = repair(4, 2, 2, (1, 3, 4), cheats={who: cheat}).run()
    assert cast.accused() == {who}
    for outcome in cast.outcomes().values():
        assert isinstance(outcome, Aborted)
        assert outcome.blamed == (who,)


def test_a_silent_helper_is_missing() -> None:
    cast = repair(4, 2, 2, (1, 3, 4))
    cast.world.crash(3)
    cast.run()
    assert {o.missing for o in cast.outcomes((1, 2, 4)).values()} == {(3,)}


@pytest.mark.parametrize(("lost", "helpers"), [(2, (1,)), (2, (1, 2)), (9, (1, 3)), (2, (1, 9))])
def test_who_cannot_help_is_refused(lost: Party, helpers: tuple[Party, ...]) -> None:
    record, _ = key_for(4, 2)
    with pytest.raises(UsageError, match="helpers"):
        Repair(CONTEXT, IDENTITIES[1], KEYS, record, None, lost, helpers)


@pytest.mark.parametrize("at", range(1, 45, 4))
@pytest.mark.parametrize("who", [1, 2, 3])
def test_who_restarts_says_the_same_again(who: Party, at: int) -> None:
    cast = repair(4, 2, 2, (1, 3, 4))
    cast.world.at(at * MS, lambda: cast.world.crash(who))
    cast.world.at((at + 200) * MS, lambda: cast.world.restart(who))
    cast.run()
    assert cast.outcome(2).share == key_for(4, 2)[1][2]
    assert cast.accused() == set()
