"""ROAST: t honest holders that answer are enough, whatever the others do."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.crypto.ciphersuites import FROST_ED25519
from mpclab.crypto.keys import trusted_dealer_keygen
from mpclab.lab.lab import Lab
from mpclab.mpc.packages import Signature
from mpclab.mpc.records import KeyRecord
from mpclab.mpc.roast import AllSigned, Answer, Roast, Session, Signer
from mpclab.mpc.sign import Sign
from mpclab.testing.cast import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast

N, T = 5, 3
HOLDERS = tuple(range(1, N + 1))
SHARES = trusted_dealer_keygen(FROST_ED25519, 4242, T, HOLDERS, random.Random(1))
RECORD = KeyRecord(FROST_ED25519.name, SHARES[1].key.commitments, HOLDERS)
MESSAGES = (b"one", b"two", b"three")


def roast(p: Party) -> Roast:
    return Roast(CONTEXT, RECORD, SHARES.get(p), MESSAGES, deadline=DEADLINE)


def sign(p: Party) -> Sign:
    return Sign(CONTEXT, IDENTITIES[p], KEYS, RECORD, SHARES.get(p), b"one", deadline=DEADLINE)


def silent(machine: Machine, ctx: Ctx, msg: Message, to: Any) -> Any:
    return []


def gives_wrong_shares(machine: Machine, ctx: Ctx, msg: Message, to: Any) -> Any:
    if isinstance(msg, Answer) and msg.shares:
        wrong = FROST_ED25519.group.encode_scalar(7)
        return [(to, Answer(msg.session, (wrong, *msg.shares[1:]), msg.hiding, msg.binding))]
    return [(to, msg)]


def answers_once(machine: Machine, ctx: Ctx, msg: Message, to: Any) -> Any:
    """On the list, and then it does not sign."""
    return [(to, msg)] if isinstance(msg, Answer) and not msg.shares else []


def commits_anew_for_ever(machine: Machine, ctx: Ctx, msg: Message, to: Any) -> Any:
    if isinstance(msg, Answer) and isinstance(machine, Roast):
        machine._commit(ctx, to[0], b"", ())
        return [(to, machine.mine[to[0]])]
    return []


def opens_false_sessions(machine: Machine, ctx: Ctx, msg: Message, to: Any) -> Any:
    if isinstance(msg, Session):
        first, *rest = msg.signers
        swapped = Signer(first.party, first.binding, first.hiding)
        return [(to, Session(msg.life, (swapped, *rest))), (to, Session(msg.life, ()))]
    if isinstance(msg, AllSigned):
        return [(to, AllSigned((bytes(64),) * len(MESSAGES)))]
    return [(to, msg)]


def signed_at(cast: Cast) -> int:
    """When the last honest one had the signatures, µs."""
    return max(row.at for row in cast.world.trace.notes("signed") if row.actor in cast.honest)


LIARS = (silent, gives_wrong_shares, answers_once, commits_anew_for_ever, opens_false_sessions)


@pytest.mark.parametrize("lie", LIARS, ids=lambda lie: lie.__name__)
def test_any_t_honest_holders_sign_a_batch(lie: Any) -> None:
    for bad in itertools.combinations(HOLDERS, N - T):
        cast = Cast(N, roast, cheats=dict.fromkeys(bad, lie)).run()
        assert cast.accused() <= {*bad, None}
        for p in cast.honest:
            made = cast.outcome(p)
            assert not isinstance(made, Aborted), (bad, p, made)
            assert [signature.message for signature in made] == list(MESSAGES)
            assert all(isinstance(signature, Signature) for signature in made)
        assert signed_at(cast) < DEADLINE, f"{bad}: no deadline is waited for"


@pytest.mark.parametrize("bad", [(1, 4), (2, 5), (3, 4)])
def test_an_older_answer_that_comes_late_puts_nobody_off_the_list(bad: tuple[Party, ...]) -> None:
    last: dict[tuple[Party, Any], Answer] = {}

    def again(machine: Machine, ctx: Ctx, msg: Message, to: Any) -> Any:
        if not isinstance(msg, Answer):
            return [(to, msg)]
        before = last.get((ctx.me, to), msg)
        last[ctx.me, to] = msg
        return [(to, msg), (to, before)]

    cheats = {p: answers_once if p in bad else again for p in HOLDERS}
    cast = Cast(N, roast, cheats=cheats).run()
    assert not cast.accused()
    for p in set(HOLDERS) - set(bad):
        assert not isinstance(cast.outcome(p), Aborted)


def test_one_coordinator_does_where_all_is_well() -> None:
    cast = Cast(N, roast).run()
    assert {cast.outcome(p) for p in HOLDERS} == {cast.outcome(1)}
    assert signed_at(cast) < DEADLINE // 8


def test_silent_holders_cost_no_deadlines() -> None:
    """Beside attempts with a leader each, which wait for one in each of theirs."""
    slowest = {}
    for make in (sign, roast):
        times = []
        for bad in itertools.combinations(HOLDERS, N - T):
            cast = Cast(N, make, cheats=dict.fromkeys(bad, answers_once if make is roast
                                                      else silent)).run()  # fmt: skip
            assert not any(isinstance(cast.outcome(p), Aborted) for p in cast.honest)
            times.append(signed_at(cast))
        slowest[make.__name__] = max(times)
    assert 2 * slowest["roast"] < slowest["sign"]


def test_who_restarts_signs_with_fresh_nonces() -> None:
    for at in (5, 15, 25, 35):
        cast = Cast(N, roast, cheats={5: silent, 4: silent})
        cast.world.at(at * MS, lambda cast=cast: cast.world.crash(2))  # type: ignore[misc]
        cast.world.at((at + 20) * MS, lambda cast=cast: cast.world.restart(2))  # type: ignore[misc]
        cast.run(60 * DEADLINE)
        assert not any(isinstance(cast.outcome(p), Aborted) for p in (1, 2, 3)), at
        assert cast.accused() <= {4, 5, None}


def test_too_few_end_without_a_signature() -> None:
    cast = Cast(N, roast, cheats=dict.fromkeys((1, 3, 4), silent)).run()
    for p in cast.honest:
        outcome = cast.outcome(p)
        assert isinstance(outcome, Aborted)
        assert outcome.reason == "fewer than 3 holders gave a right share in time"
        assert not outcome.blamed


def test_it_is_proposed_and_voted_on_like_any_signature() -> None:
    with Lab(parties=4, threshold=2, policy="threshold(3)", seed=1) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        key = lab.propose(1, "dkg", rules={"starts": "pay ", "operations": ["sign"]})
        lab.run()
        lab.crash(3)
        one = lab.propose(1, "sign", message="pay 5", protocol="roast")
        many = lab.propose(2, "sign-batch", messages=["pay 1", "pay 2", "pay 3"])
        lab.run()
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.data["public_key"]))
        public.verify(bytes.fromhex(one.data["signature"]), b"pay 5")
        for i in (1, 2, 3):
            public.verify(bytes.fromhex(many.data[f"signature {i}"]), f"pay {i}".encode())
        text = lab.state.operations[many.id].text
        assert text.endswith(": 1. pay 1; 2. pay 2; 3. pay 3")
        with pytest.raises(UsageError, match="start with 'pay '"):
            lab.propose(2, "sign-batch", messages=["pay 1", "owe 2"])
        with pytest.raises(UsageError, match="not a list of messages"):
            lab.propose(2, "sign-batch", messages=[])
