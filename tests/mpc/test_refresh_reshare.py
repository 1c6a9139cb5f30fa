"""Refresh and reshare: the key stays, the shares change, and cheats are left out with proof."""

from __future__ import annotations

from typing import Any

import pytest

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.crypto import shamir
from mpclab.crypto.keys import KeyShare
from mpclab.lab.lab import Lab
from mpclab.mpc.messages import Deal
from mpclab.mpc.refresh import Refresh
from mpclab.mpc.reshare import Reshare
from tests.mpc.parties import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast, Tamper
from tests.mpc.test_dkg import CHEATS, check_key, resigned, wrong_share
from tests.mpc.test_sign import key_for

MISFIT = {"wrong degree", "rogue key", "replayed proof"}  # written for dealings of other lengths


def refresh(n: int, t: int, **options: Any) -> Cast:
    record, shares = key_for(n, t)

    def make(p: Party) -> Refresh:
        return Refresh(CONTEXT, IDENTITIES[p], KEYS, record, shares.get(p), deadline=DEADLINE)

    return Cast(options.pop("members", n), make, **options)


def reshare(n: int, t: int, holders: tuple[Party, ...], threshold: int, **options: Any) -> Cast:
    record, shares = key_for(n, t)
    dealers = options.pop("dealers", None)

    def make(p: Party) -> Reshare:
        return Reshare(
            CONTEXT, IDENTITIES[p], KEYS, record, shares.get(p), holders, threshold, dealers,
            deadline=DEADLINE,
        )  # fmt: skip

    return Cast(options.pop("members", max(n, *holders)), make, **options)


def test_refresh_changes_every_share_and_not_the_key() -> None:
    old, shares = key_for(5, 3)
    outcomes = refresh(5, 3).run().outcomes()
    check_key(outcomes)
    assert outcomes[1].record.public == old.public
    assert all(outcomes[p].share.secret != shares[p].secret for p in outcomes)
    mixed = {1: shares[1].secret, 2: shares[2].secret, 3: outcomes[3].share.secret}
    order = old.key().suite.group.order
    assert old.key().suite.group.base_mult(shamir.interpolate(mixed, order)) != old.public


def test_refresh_where_one_share_is_enough() -> None:
    check_key(refresh(3, 1).run().outcomes())


@pytest.mark.parametrize("cheat", [c for c in CHEATS if c not in MISFIT], ids=str)
@pytest.mark.parametrize("kind", ["refresh", "reshare"])
def test_a_cheat_is_left_out(kind: str, cheat: str) -> None:
    cheats = {4: CHEATS[cheat]}
    if kind == "refresh":
        cast = refresh(5, 3, cheats=cheats).run()
    else:
        cast = reshare(5, 3, (1, 2, 3, 4, 5), 2, cheats=cheats).run()
    assert cast.accused() == {4}
    outcomes = cast.outcomes()
    if any(isinstance(o, Aborted) for o in outcomes.values()):
        assert {o.blamed for o in outcomes.values()} == {(4,)}
        assert cheat == "two acknowledgements"
        return
    check_key(outcomes)
    assert outcomes[1].record.public == key_for(5, 3)[0].public
    assert outcomes[1].record.excluded == (4,)


def more(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    """A polynomial of a higher degree, or with a constant that is not 0."""
    if not isinstance(msg, Deal) or msg.dealer != ctx.me:
        return None
    return [(to, resigned(machine, msg, commitments=(*msg.commitments, msg.commitments[0])))]


def another_secret(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    """Deals something else than its share: properly, but the key would move."""
    if not isinstance(msg, Deal) or msg.dealer != ctx.me:
        return None
    share = machine.share
    machine.share = KeyShare(share.identifier, share.secret + 1, share.key)
    other = machine._deal(ctx.me, ctx.rng)
    machine.share = share
    return [(to, other)]


@pytest.mark.parametrize(
    ("kind", "cheat"), [("refresh", more), ("reshare", more), ("reshare", another_secret)]
)
def test_nobody_moves_the_key_or_its_threshold(kind: str, cheat: Tamper) -> None:
    cheats = {2: cheat}
    cast = (
        refresh(4, 2, cheats=cheats)
        if kind == "refresh"
        else reshare(4, 2, (1, 3, 4), 2, cheats=cheats)
    ).run()
    check_key({p: o for p, o in cast.outcomes().items() if o.share is not None})
    assert cast.accused() == {2}


@pytest.mark.parametrize(
    ("holders", "threshold"),
    [((1, 2, 3), 2), ((1, 2, 3), 3), ((4, 5, 6), 2), ((2, 5, 7), 1), ((1, 2, 3, 4, 5, 6, 7), 5)],
)
def test_reshare_to_any_holders_and_threshold(holders: Any, threshold: int) -> None:
    cast = reshare(3, 2, holders, threshold, members=7).run()
    outcomes = cast.outcomes()
    assert len({o.record for o in outcomes.values()}) == 1
    assert outcomes[1].record.public == key_for(3, 2)[0].public
    check_key({p: outcomes[p] for p in holders})
    assert all(outcomes[p].share is None for p in outcomes if p not in holders)


def test_reshare_without_a_holder_that_is_down() -> None:
    cast = reshare(3, 2, (1, 2), 2, dealers=(1, 2))
    cast.world.crash(3)
    cast.run()
    check_key(cast.outcomes((1, 2)))


def test_a_cheat_among_too_few_dealers_aborts() -> None:
    cast = reshare(3, 3, (1, 2, 3), 2, cheats={3: wrong_share(1)}).run()
    assert {o.blamed for o in cast.outcomes().values()} == {(3,)}


def test_what_cannot_be_reshared_is_refused() -> None:
    record, shares = key_for(3, 2)
    for holders, threshold, dealers, what in [
        ((1, 2), 3, None, "threshold"),
        ((1, 2), 2, (1,), "dealers"),
        ((1, 2), 2, (1, 7), "hold no share"),
    ]:
        with pytest.raises(UsageError, match=what):
            Reshare(CONTEXT, IDENTITIES[1], KEYS, record, shares[1], holders, threshold, dealers)


def test_a_silent_holder_ends_a_refresh_alike_for_all_and_the_rest_can_go_on_without_it() -> None:
    with Lab(parties=4, threshold=2, policy="threshold(3)", seed=1) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        key = lab.propose(1, "dkg")
        lab.run()
        lab.inject(kind="silent", party=3)
        fresh = lab.propose(1, "refresh", key=key.id)
        lab.run(limit=60)
        held = fresh.outcome.parties
        why = (
            "no dealing from 3 in time; the old shares stay in use: to go on without, propose "
            "reshare with dealers [1, 2, 4] and members [1, 2, 4]"
        )
        assert {held[p].reason for p in (1, 2, 4)} == {why}
        assert {info.op for p in (1, 2, 4) for info in lab.keys(p)} == {key.id}
        moved = lab.propose(1, "reshare", key=key.id, dealers=[1, 2, 4], members=[1, 2, 4])
        signed = lab.propose(2, "sign", key=key.id, message="without 3")
        lab.run(limit=60)
        for op in (moved, signed):
            assert {op.outcome.parties[p].status for p in (1, 2, 4)} == {"executed"}
        assert lab.keys(1)[0].holders == (1, 2, 4)
