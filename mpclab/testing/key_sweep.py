"""Random runs of everything that is done with keys: restarts at any effect, bad links, one liar.

`operation_trial` runs one protocol of `mpclab.mpc` by bare machines; `key_trial` a key's life in
whole parties: made, refreshed and handed on, also by two operations at once, then used. Both
raise `AssertionError` where a promise is broken, and count what they saw.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted
from mpclab.crypto import shamir
from mpclab.crypto.ciphersuites import FROST_ED25519
from mpclab.crypto.keys import KeyShare, trusted_dealer_keygen
from mpclab.faults.link_rules import Delivery, Draw
from mpclab.faults.network import Delay, Network
from mpclab.lab.lab import Lab
from mpclab.mpc import arithmetic
from mpclab.mpc.beacon import Beacon
from mpclab.mpc.compute import Compute
from mpclab.mpc.dealing import SharedKey
from mpclab.mpc.dkg import Dkg
from mpclab.mpc.importing import Import, Secret
from mpclab.mpc.records import KeyRecord
from mpclab.mpc.refresh import Refresh
from mpclab.mpc.repair import Repair
from mpclab.mpc.reshare import Reshare
from mpclab.mpc.roast import Roast
from mpclab.mpc.sign import Sign
from mpclab.testing.cast import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast
from mpclab.testing.key_liars import LyingWords, liar, quiet_liar
from mpclab.trace import rows

N, T = 5, 3
MEMBERS = tuple(range(1, N + 1))
LIARS = (3, 5)
"""At the most: fewer than T, and fewer than half."""
SECRET = 4242


def _key() -> tuple[KeyRecord, dict[Party, KeyShare]]:
    shares = trusted_dealer_keygen(FROST_ED25519, SECRET, T, MEMBERS, random.Random(1))
    return KeyRecord(FROST_ED25519.name, shares[1].key.commitments, MEMBERS), shares


RECORD, SHARES = _key()


def _computing(kind: str) -> Callable[[Party], Machine]:
    givers = MEMBERS[:2] if kind == "compare" else MEMBERS
    circuit = arithmetic.build(kind, givers, MEMBERS)
    return lambda p: Compute(
        circuit, givers, MEMBERS, given=(p,), patience=DEADLINE, deadline=DEADLINE
    )


MACHINES: dict[str, Callable[[Party], Machine]] = {
    "dkg": lambda p: Dkg(CONTEXT, IDENTITIES[p], KEYS, T, MEMBERS, deadline=DEADLINE),
    "sign": lambda p: Sign(
        CONTEXT, IDENTITIES[p], KEYS, RECORD, SHARES[p], b"m", deadline=DEADLINE
    ),
    "roast": lambda p: Roast(CONTEXT, RECORD, SHARES[p], (b"m", b"n"), deadline=DEADLINE),
    "refresh": lambda p: Refresh(
        CONTEXT, IDENTITIES[p], KEYS, RECORD, SHARES[p], deadline=DEADLINE
    ),
    "reshare": lambda p: Reshare(
        CONTEXT, IDENTITIES[p], KEYS, RECORD, SHARES[p], (1, 2, 3, 4), T, deadline=DEADLINE
    ),
    "repair": lambda p: Repair(
        CONTEXT, IDENTITIES[p], KEYS, RECORD, None if p == 1 else SHARES[p], 1, (2, 3, 4),
        deadline=DEADLINE,
    ),
    "beacon": lambda p: Beacon(RECORD, SHARES[p], 1, b"", deadline=DEADLINE),
    "import": lambda p: _Import(
        CONTEXT, IDENTITIES[p], KEYS, 2, RECORD.public, MEMBERS, T, FROST_ED25519,
        deadline=DEADLINE,
    ),
    **{kind: _computing(kind) for kind in arithmetic.KINDS},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Cut:
    """All that `src` says to `dst` is lost from `since` to `until`, µs."""

    src: Party
    dst: Party
    since: int
    until: int

    @classmethod
    def draw(cls, coins: random.Random) -> _Cut:
        src, dst = coins.sample(MEMBERS, 2)
        since = coins.randint(0, 200) * MS
        return cls(src, dst, since, since + coins.choice((20 * MS, DEADLINE, 10 * DEADLINE)))


@dataclass(frozen=True, slots=True)
class _Cuts:
    """A rule of links."""

    cuts: list[_Cut]

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        cut = any((c.src, c.dst) == (src, dst) and c.since <= now < c.until for c in self.cuts)
        return Delivery("partition") if cut else delivery


class _Import(Import):
    """Its owner knows the key by itself."""

    def _begin_dealing(self, ctx: Ctx) -> None:
        self.on_ask(ctx, Secret(FROST_ED25519.group.encode_scalar(SECRET)))


def operation_trial(kind: str, seed: int) -> Counter[str]:
    """One protocol, with restarts between any two effects of honest parties, bad links and liars,
    as many as may be.

    Raises:
        AssertionError: somebody honest is blamed; two results; or, once links are good and all
            are up, a key that some honest participants have and others do not.
    """
    coins = random.Random(f"{kind} {seed}")
    liars = coins.choice(((), LIARS[:1], LIARS, LIARS))
    network = Network(Delay("uniform", 1 * MS, 20 * MS), coins.choice((0.0, 0.0, 0.1)))
    cast = Cast(
        N, MACHINES[kind], seed=seed, network=network,
        cheats={p: coins.choice((liar, quiet_liar))(seed * N + p) for p in liars},
    )  # fmt: skip
    world, count = cast.world, Counter[str](runs=1, lying=bool(liars))
    world.link_rules.add(0, _Cuts([_Cut.draw(coins) for _ in range(coins.choice((0, 0, 1, 4)))]))

    def restart(p: Party) -> None:
        if p not in world.actors:
            world.restart(p)

    def strike(p: Party, torn: bool) -> None:
        if p in world.actors:
            count["restarts"] += 1
            if torn:  # in the middle of its next step
                world.tear(p)
            else:
                world.crash(p)

    for _ in range(coins.randrange(7)):
        p, at = coins.choice(cast.honest), coins.randint(0, 200) * MS
        torn, gap = coins.random() < 0.6, coins.choice((1, 30, 400)) * MS
        world.at(at, lambda p=p, torn=torn: strike(p, torn))  # type: ignore[misc]
        world.at(at + gap, lambda p=p: restart(p))  # type: ignore[misc]
    for p in cast.honest:  # those that were to die in a step that came late
        for at in (20, 40):
            world.at(at * DEADLINE, lambda p=p: restart(p))  # type: ignore[misc]
    world.at(60 * DEADLINE, lambda: None)  # background questions are asked until then
    cast.run(120 * DEADLINE)
    name, guilty = f"{kind} {seed}", set(liars)
    assert cast.accused() <= {*guilty, None}, f"{name}: blamed {cast.accused()}"
    outcomes = {p: cast.outcome(p) for p in cast.honest if cast.outputs(p)}
    results = {p: o for p, o in outcomes.items() if not isinstance(o, Aborted)}
    for outcome in outcomes.values():
        if isinstance(outcome, Aborted):
            assert set(outcome.blamed) <= guilty, f"{name}: {outcome}"
    if kind in ("dkg", "import", "refresh", "reshare"):
        _check_keys(name, cast, results)
    elif kind == "beacon":
        assert len(set(results.values())) <= 1, f"{name}: two values"
    count["done"] += len(results) == len(cast.honest)
    count["caught"] += bool(guilty & cast.accused())
    return count


def _check_keys(name: str, cast: Cast, results: dict[Party, SharedKey]) -> None:
    records = {result.record for result in results.values()}
    assert len(records) <= 1, f"{name}: two keys"
    if not records:
        return
    (record,) = records
    assert results.keys() == set(cast.honest), f"{name}: only {sorted(results)} have the key"
    shares = {p: r.share for p, r in results.items() if p in record.holders}
    key = record.key()
    for share in shares.values():
        assert share is not None, f"{name}: a holder without a share"
        share.check()
    few = {p: s.secret for p, s in list(shares.items())[: record.threshold] if s is not None}
    secret = shamir.interpolate(few, key.suite.group.order)
    assert key.suite.group.base_mult(secret) == key.public, f"{name}: the shares make no key"


# --- a key's life ---------------------------------------------------------------------------


def key_trial(seed: int, changes: tuple[str, ...] = ("refresh", "reshare")) -> Counter[str]:
    """A key of 3 to 5 parties through one to three changes, two of them perhaps at once, while it
    is used.

    Args:
        changes: the kinds of operations that change it.

    Raises:
        AssertionError: somebody honest is blamed; or, with all honest parties up and linked and
            the liar silent, the key cannot be signed with, or who was removed holds a share.
    """
    coins = random.Random(f"key {seed}")
    n = coins.randint(3, 5)
    t = coins.randint(2, n - 1)
    agreement = coins.choice(("direct", "direct", "pbft" if n > 3 else "raft"))
    bad = n if coins.random() < 0.6 else 0
    honest = tuple(p for p in range(1, n + 1) if p != bad)
    count = Counter[str](runs=1, lying=bad > 0)
    policy = f"threshold({n - 1})" if bad else "unanimous"
    with Lab(parties=n, threshold=t, policy=policy, agreement=agreement, seed=seed) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        uses: list[Any] = []
        ops = [lab.propose(1, "dkg")]
        lab.run(limit=60)
        if not ops[0].result:
            return count
        for _ in range(coins.randint(1, 3)):
            latest = [op for op in ops if op.result][-1]
            faults = []
            if bad:
                words = LyingWords(coins.randrange(10**6))
                faults.append(lab.inject(kind="filter", party=bad, words=words))
            if coins.random() < 0.5:
                victims = [coins.choice(honest)]
                loss = {"kind": "loss", "rate": coins.choice((0.3, 1.0)), "to": victims}
                loss["from"] = list(range(1, n + 1))
                faults.append(lab.inject(loss))
            for _ in range(coins.choice((1, 1, 2))):
                kind = coins.choice(changes)
                more: dict[str, Any] = {"rules": {"approvals": 1}} if kind == "rules" else {}
                if kind == "reshare" and coins.random() < 0.5:
                    more["members"] = sorted(coins.sample(honest, min(len(honest), t + 1)))
                ops.append(lab.propose(coins.choice(honest), kind, key=latest.id, **more))
            for kind in coins.sample(("sign", "beacon", "repair"), coins.randrange(3)):
                lab.wait(coins.choice((0.0, 0.03, 0.06)))
                given: dict[str, dict[str, Any]] = {
                    "sign": {"message": "meanwhile"},
                    "repair": {"party": honest[-1]},
                }
                uses.append(
                    lab.propose(coins.choice(honest), kind, key=latest.id, **given.get(kind, {}))
                )
            for _ in range(coins.randrange(4)):
                lab.wait(coins.choice((0.02, 0.05, 0.1, 0.5, 3)))
                p = coins.choice(honest)
                lab.crash(p)
                count["restarts"] += 1
                if coins.random() < 0.3:  # a third incarnation before the second got anywhere
                    lab.restart(p)
                    lab.wait(coins.choice((0.0, 0.01, 0.04)))
                    lab.crash(p)
                lab.wait(coins.choice((0.05, 0.5, 12)))
                lab.restart(p)
            lab.wait(coins.choice((1, 30)))
            for fault in faults:
                lab.heal(fault)
            lab.run(limit=120)
        if bad:
            lab.inject(kind="silent", party=bad)
        lab.wait(200)
        blamed = {row.party for row in lab.trace.of(rows.Blamed)}
        assert blamed <= {bad, None} - {0} | {None}, f"key {seed}: blamed {blamed}"
        count["done"] += sum(bool(op.result) for op in ops[1:])
        count["changes"] += len(ops) - 1
        count["uses"] += len(uses)
        count["used"] += sum(bool(op.result) for op in uses)
        assert _signs(lab, ops[0].id, honest), f"key {seed}: nobody can sign any more"
        for p in honest:
            for info in lab.keys(p):
                held = p in info.holders
                assert info.holds <= held, f"key {seed}: party {p} was removed and holds a share"
        return count


def _signs(lab: Lab, key: str, honest: tuple[Party, ...]) -> bool:
    op = lab.propose(honest[0], "sign", key=key, message="still here")
    lab.run(limit=200)
    outcome = op.outcome
    assert outcome is not None
    return all(outcome.parties[p].status == "executed" for p in honest)
