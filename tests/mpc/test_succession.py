"""No key is lost to liars, links and restarts, and nobody who was removed keeps a share of it."""

from __future__ import annotations

from typing import Any

import pytest

from mpclab.core.effects import Words
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.wire import Message
from mpclab.crypto import shamir
from mpclab.lab.lab import Lab
from mpclab.mpc import envelopes
from mpclab.mpc.dkg import Dkg
from mpclab.mpc.messages import Certificate, Confirm, Deal
from mpclab.mpc.packages import Share
from mpclab.mpc.records import KeyRecord, open_share
from mpclab.mpc.refresh import Refresh
from mpclab.mpc.reshare import Reshare
from mpclab.trace.rows import Blamed, Sent
from tests.mpc.parties import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast
from tests.mpc.test_sign import key_for

LATE = 25 * SECOND
"""A round, and the time for which a party that gave up asks often, are over by then."""


class KeepsItsConfirmation:
    """The last message: told late, to `friends` alone."""

    def __init__(self, friends: tuple[Party, ...]) -> None:
        self.friends, self.told = friends, False

    def __call__(self, words: Words, adversary: Any) -> list[Words]:
        if not isinstance(words.msg, Confirm):
            return [words]
        if not self.told:
            self.told = True
            adversary.say(LATE, Words(words.path, self.friends, words.msg))
        return []


def ready(lab: Lab) -> None:
    lab.start_server()
    lab.spawn()
    lab.join()


def signs(lab: Lab, key: str, honest: tuple[Party, ...]) -> bool:
    op = lab.propose(honest[0], "sign", key=key, message="still here")
    lab.run(limit=120)
    return all(op.outcome.parties[p].status == "executed" for p in honest)


def signing_keys(lab: Lab, ops: list[str], honest: tuple[Party, ...]) -> list[str]:
    return [op for op in ops if signs(lab, op, honest)]


@pytest.mark.parametrize("restarts", [(), (1,), (2,), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("kind", ["refresh", "reshare"])
def test_two_honest_holders_of_three_sign_whatever_the_third_keeps_back(
    kind: str, restarts: tuple[Party, ...]
) -> None:
    with Lab(parties=3, threshold=2, policy="threshold(2)", seed=1) as lab:
        ready(lab)
        key = lab.propose(1, "dkg")
        lab.run()
        liar = lab.inject(kind="filter", party=3, words=KeepsItsConfirmation((1,)))
        fresh = lab.propose(1, kind, key=key.id)
        lab.run(limit=30)
        lab.wait(40)
        lab.heal(liar)
        lab.inject(kind="silent", party=3)
        for p in restarts:
            lab.crash(p)
            lab.wait(1)
            lab.restart(p)
            lab.wait(20)
        lab.wait(60)
        named = [key.id, fresh.id]  # either: one names the shares that are in use
        assert signing_keys(lab, named, (1, 2)) == named
        assert {b.party for b in lab.trace.of(Blamed)} <= {3}


def test_four_honest_of_five_sign_after_a_split_view_of_a_reshare() -> None:
    """The attack published against resharing in GG18: the cheat ends it for half of the others."""
    with Lab(parties=5, threshold=3, policy="threshold(3)", seed=1) as lab:
        ready(lab)
        key = lab.propose(1, "dkg")
        lab.run()
        lab.inject(kind="filter", party=5, words=KeepsItsConfirmation((1, 2)))
        moved = lab.propose(1, "reshare", key=key.id)
        lab.run(limit=30)
        lab.wait(40)
        for p in (1, 3):
            lab.crash(p)
            lab.restart(p)
        lab.wait(60)
        named = [key.id, moved.id]
        assert signing_keys(lab, named, (1, 2, 3, 4)) == named


@pytest.mark.parametrize("all_at_once", [True, False])
def test_a_refresh_that_one_party_heard_half_of_ends_when_links_heal(all_at_once: bool) -> None:
    """Nobody lies: party 3 is deaf in the last round, then everyone starts anew from its store."""
    with Lab(parties=3, threshold=3, seed=1) as lab:
        ready(lab)
        key = lab.propose(1, "dkg")
        lab.run()
        fresh, began = lab.propose(1, "refresh", key=key.id), lab.now

        def acknowledged() -> bool:
            acks = {r.actor for r in lab.trace.of(Sent) if r.kind == "Ack" and r.at >= began}
            return {1, 2} <= acks

        lab.run(until=acknowledged)
        cut = lab.inject(kind="loss", rate=1.0, **{"from": [1, 2], "to": [3]})
        lab.run(limit=60)
        assert {p: h.status for p, h in fresh.outcome.parties.items()}[3] == "failed"
        lab.heal(cut)
        if all_at_once:
            for p in (1, 2, 3):
                lab.crash(p)
        lab.wait(1)
        for p in (1, 2, 3):
            if not all_at_once:
                lab.crash(p)
            lab.restart(p)
            lab.join()
        assert signs(lab, fresh.id, (1, 2, 3))


# --- two operations at once -----------------------------------------------------------------------


def shares(lab: Lab, op: str) -> dict[Party, int]:
    """The secrets that parties hold under `op`, opened."""

    def read(session: Any, p: Party) -> int | None:
        sealed = session.executor.secrets.get(op)
        if not sealed:
            return None
        record = KeyRecord.from_bytes(session.executor.results[op].data)
        return open_share(session.identity, record.key(), p, sealed).secret

    found = {
        p: lab.group.machine_of(p, lambda session, p=p: read(session, p))
        for p in range(1, lab.scenario.parties + 1)
    }
    return {p: secret for p, secret in found.items() if secret is not None}


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize(
    "pair",
    [
        (("reshare", {"members": [1, 2, 3]}), ("refresh", {})),
        (("refresh", {}), ("refresh", {})),
        (("reshare", {"members": [1, 2, 3]}), ("reshare", {"members": [2, 3, 4]})),
    ],
    ids=["reshare-refresh", "refreshes", "reshares"],
)
def test_of_two_operations_on_one_key_one_wins_everywhere(pair: Any, seed: int) -> None:
    with Lab(parties=4, threshold=2, seed=seed, agreement="pbft" if seed > 3 else "direct") as lab:
        ready(lab)
        key = lab.propose(1, "dkg")
        lab.run()
        before = shares(lab, key.id)
        ops = [lab.propose(by, kind, key=key.id, **more) for by, (kind, more) in enumerate(pair, 1)]
        lab.run(limit=120)
        done = [op for op in ops if op.result]
        [winner] = done
        [loser] = [op for op in ops if op is not winner]
        assert "were replaced" in repr(loser.outcome) or "ahead of it" in repr(loser.outcome)
        holders = set(pair[ops.index(winner)][1].get("members", (1, 2, 3, 4)))
        assert shares(lab, winner.id).keys() == holders
        assert not shares(lab, loser.id)
        assert not shares(lab, key.id)
        assert before.keys() == {1, 2, 3, 4}
        assert signs(lab, winner.id, tuple(holders))
        assert not {b.party for b in lab.trace.of(Blamed)}


def keeps_its_signature(words: Words, adversary: Any) -> list[Words]:
    return [] if isinstance(words.msg, Confirm | Certificate) else [words]


def test_who_is_being_removed_gets_no_share_by_two_certificates_kept_back() -> None:
    """Party 4 signs its removal and keeps that back, so that it fails at the others; they must
    not refresh with party 4 then, or it completes first the one and, when all trust it, the
    other."""
    with Lab(parties=4, threshold=2, policy="threshold(3)", seed=1) as lab:
        ready(lab)
        key = lab.propose(1, "dkg")
        lab.run()
        liar = lab.inject(kind="filter", party=4, words=keeps_its_signature)
        deaf = lab.inject({"kind": "loss", "rate": 1.0, "to": [4], "messages": ["Confirm"]})
        removal = lab.propose(1, "reshare", key=key.id, members=[1, 2, 3])
        lab.run(limit=40)
        refresh = lab.propose(2, "refresh", key=key.id)
        lab.run(limit=40)
        for op in (removal, refresh):
            assert {p: h.status for p, h in op.outcome.parties.items() if p < 4} == dict.fromkeys(
                (1, 2, 3), "failed"
            )
        why = f"operation {removal.id} may still take the share of 4"
        assert all(why in refresh.outcome.parties[p].reason for p in (1, 2, 3))
        lab.wait(40)
        lab.heal(liar)
        lab.heal(deaf)
        lab.wait(60)
        assert shares(lab, removal.id).keys() == {1, 2, 3}
        assert not shares(lab, refresh.id)
        assert signs(lab, removal.id, (1, 2, 3))
        assert {b.party for b in lab.trace.of(Blamed)} <= {4}


def test_a_removal_that_was_kept_back_may_be_proposed_again_without_the_removed() -> None:
    with Lab(parties=4, threshold=2, policy="threshold(3)", seed=1) as lab:
        ready(lab)
        key = lab.propose(1, "dkg")
        lab.run()
        lab.inject(kind="filter", party=4, words=keeps_its_signature)
        removal = lab.propose(1, "reshare", key=key.id, members=[1, 2, 3])
        lab.run(limit=40)
        assert not removal.result
        again = lab.propose(1, "reshare", key=key.id, members=[1, 2, 3], dealers=[1, 2, 3])
        lab.run(limit=40)
        assert shares(lab, again.id).keys() == {1, 2, 3}
        assert not shares(lab, removal.id)
        assert signs(lab, again.id, (1, 2, 3))


def test_a_newcomer_replaces_who_fell_silent_in_the_last_round() -> None:
    """A refresh that may still be completed takes no share from party 4, which never had one."""
    with Lab(parties=4, threshold=2, policy="threshold(2)", seed=1) as lab:
        ready(lab)
        key = lab.propose(1, "dkg", members=[1, 2, 3])
        lab.run()
        liar = lab.inject(kind="filter", party=3, words=keeps_its_signature)
        refresh = lab.propose(1, "refresh", key=key.id)
        lab.run(limit=40)
        assert refresh.outcome.parties[1].status == "failed"
        moved = lab.propose(1, "reshare", key=key.id, members=[1, 2, 4], dealers=[1, 2])
        lab.run(limit=40)
        assert shares(lab, moved.id).keys() == {1, 2, 4}
        lab.heal(liar)  # the refresh is completed after all, and loses
        lab.wait(60)
        assert not {1, 2} & shares(lab, refresh.id).keys()
        assert signs(lab, moved.id, (1, 2, 4))


def test_a_signing_that_fails_after_a_refresh_drops_the_old_share() -> None:
    def no_shares(words: Words, adversary: Any) -> list[Words]:
        return [] if isinstance(words.msg, Share) else [words]

    with Lab(parties=3, threshold=2, seed=1, policy="threshold(2)") as lab:
        ready(lab)
        key = lab.propose(1, "dkg")
        lab.run()
        for p in (2, 3):
            lab.inject(kind="filter", party=p, words=no_shares)
        failing = lab.propose(1, "sign", key=key.id, message="never")
        fresh = lab.propose(2, "refresh", key=key.id)
        lab.run(limit=200)
        assert fresh.result
        assert failing.outcome.parties[1].status == "failed"
        paths = lab.world.look(1, lambda node: node.paths)
        assert f"sign-{failing.id}" not in {name for path in paths for name in path}
        assert f"refresh-{fresh.id}" in {name for path in paths for name in path}, (
            "it keeps the certificate"
        )


# --- who is excluded ----------------------------------------------------------------------


def deals_wrongly(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    """Party 3 deals one thing to some and another to the others: it is convicted by all."""
    if not isinstance(msg, Deal):
        return None
    assert isinstance(machine, Dkg | Refresh | Reshare)
    other = machine.restated(msg, 1)
    assert other is not None
    return [((1,), msg), (tuple(p for p in to if p != 1), other)]


@pytest.mark.parametrize("kind", ["dkg", "refresh", "reshare"])
def test_who_was_convicted_holds_no_usable_share(kind: str) -> None:
    """What the others sealed to it before it was out is a share of nothing."""
    n, t = 5, 2
    record, old = key_for(n, t)
    everyone = tuple(range(1, n + 1))
    made: dict[Party, Any] = {}

    def make(p: Party) -> Machine:
        if kind == "dkg":
            made[p] = Dkg(CONTEXT, IDENTITIES[p], KEYS, t, everyone, deadline=DEADLINE)
        elif kind == "refresh":
            made[p] = Refresh(CONTEXT, IDENTITIES[p], KEYS, record, old[p], deadline=DEADLINE)
        else:
            made[p] = Reshare(
                CONTEXT, IDENTITIES[p], KEYS, record, old[p], everyone, t, deadline=DEADLINE
            )
        return made[p]

    cast = Cast(n, make, cheats={3: deals_wrongly}).run()
    outcomes = cast.outcomes()
    assert {o.record.excluded for o in outcomes.values()} == {(3,)}
    assert {o.record.holders for o in outcomes.values()} == {(1, 2, 4, 5)}
    key = outcomes[1].record.key()
    order = key.suite.group.order
    secret = shamir.interpolate({p: outcomes[p].share.secret for p in (1, 2)}, order)
    assert key.suite.group.base_mult(secret) == key.public
    # All that party 3 can make of what was sealed to it: every sum of those, with its old share.
    bound = made[3].parameters.encryption_context
    dealt = {
        d: envelopes.decrypt(bound(deal, 3), IDENTITIES[3], deal.ciphertexts[2])
        for d, deal in made[3].facts.deals.items()
        if d != 3
    }
    assert dealt.keys() == {1, 2, 4, 5}
    weights = shamir.lagrange_coefficients(tuple(dealt), order)
    for own in (0, old[3].secret):
        for weighted in (False, True):
            total = sum((weights[d] if weighted else 1) * s for d, s in dealt.items())
            assert key.suite.group.base_mult(total + own) != key.public_share(3)
