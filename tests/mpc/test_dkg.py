"""Key generation: one key for all, or none; the guilty named with proof, and nobody else."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.crypto import frost, schnorr, shamir
from mpclab.crypto.ciphersuites import FROST_ED25519, FROST_SECP256K1
from mpclab.crypto.groups import ED25519
from mpclab.crypto.independent import verify_independently
from mpclab.faults.network import Delay, Network
from mpclab.mpc import envelopes
from mpclab.mpc.dealing import SharedKey
from mpclab.mpc.dkg import Dkg
from mpclab.mpc.facts import Facts, Parameters
from mpclab.mpc.messages import (
    ABSENT,
    ACK,
    Absence,
    Ack,
    Certificate,
    Complaint,
    Confirm,
    Deal,
    Equivocation,
    Receipt,
    Want,
    absence_parts,
    ack_parts,
)
from mpclab.mpc.records import KeyRecord
from mpclab.mpc.refresh import Refresh
from mpclab.trace import rows
from tests.mpc.parties import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast, Lossy, Tamper, finished
from tests.mpc.test_sign import key_for


def dkg(n: int, t: int, **options: Any) -> Any:
    def make(p: Party) -> Dkg:
        members = options.get("participants", tuple(range(1, n + 1)))
        suite = options.get("suite", FROST_ED25519)
        leaves = options.get("leaves_silent", False)
        return Dkg(
            CONTEXT, IDENTITIES[p], KEYS, t, members, suite, deadline=DEADLINE, leaves_silent=leaves
        )

    return make


def check_key(outcomes: dict[Party, SharedKey]) -> None:
    """All hold the same key, and any `threshold` of them can sign with it."""
    records = {o.record for o in outcomes.values()}
    assert len(records) == 1
    record = records.pop()
    key = record.key()
    chosen = [outcomes[p].share for p in sorted(outcomes)[-record.threshold :]]
    assert all(share is not None and share.key == key for share in chosen)
    secret = shamir.interpolate({s.identifier: s.secret for s in chosen}, key.suite.group.order)
    assert key.suite.group.base_mult(secret) == record.public
    coins = random.Random(5)
    nonces, commitments = zip(*(frost.commit(share, coins) for share in chosen), strict=True)
    shares = {
        s.identifier: frost.sign(s, nonce, b"hello", commitments)
        for s, nonce in zip(chosen, nonces, strict=True)
    }
    signature = frost.aggregate(key, b"hello", commitments, shares)
    assert verify_independently(key.suite, record.public, b"hello", signature)


@pytest.mark.parametrize("suite", [FROST_ED25519, FROST_SECP256K1], ids=repr)
@pytest.mark.parametrize(("n", "t"), [(1, 1), (2, 2), (3, 2), (5, 3), (7, 7)])
def test_all_hold_shares_of_one_key(n: int, t: int, suite: Any) -> None:
    cast = Cast(n, dkg(n, t, suite=suite)).run()
    check_key(cast.outcomes())
    assert cast.accused() == set()


def test_three_broadcasts_a_party_when_all_goes_well() -> None:
    cast = Cast(5, dkg(5, 3)).run()
    sent = [row for row in cast.world.trace if isinstance(row, rows.Sent)]
    assert len(sent) == 3 * 5


# --- cheats ---------------------------------------------------------------------------------


def resigned(machine: Any, deal: Deal, **changes: Any) -> Deal:
    return machine._signed_deal(msgspec.structs.replace(deal, **changes, signature=b""))


def wrong_share(victim: Party) -> Tamper:
    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Deal) or msg.dealer != ctx.me:
            return None
        sealed = list(msg.ciphertexts)
        sealed[victim - 1] = bytes(31) + b"\1"
        return [(to, resigned(machine, msg, ciphertexts=tuple(sealed)))]

    return tamper


def two_dealings(fooled: Iterable[Party]) -> Tamper:
    some = tuple(fooled)

    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Deal) or msg.dealer != ctx.me:
            return None
        rest = tuple(p for p in to if p not in some)
        return [(rest, msg), (some, machine.restated(msg, 1))]

    return tamper


def wrong_degree(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Deal) or msg.dealer != ctx.me:
        return None
    return [(to, resigned(machine, msg, commitments=(*msg.commitments, msg.commitments[0])))]


def rogue_key(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    """Waits for the others' commitments, and cancels them with its own."""
    if not isinstance(msg, Deal) or msg.dealer != ctx.me:
        return None
    group = FROST_ED25519.group
    rogue = group.add(group.base_mult(7), group.negate(group.base_mult(1234)))
    return [(to, resigned(machine, msg, commitments=(rogue, *msg.commitments[1:])))]


def replayed_proof(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    """A proof of possession that holds, but for another session."""
    if not isinstance(msg, Deal) or msg.dealer != ctx.me:
        return None
    secret = 4711
    proof = schnorr.prove_possession(
        FROST_ED25519, ctx.me, secret, b"another session", random.Random(1)
    )
    public = FROST_ED25519.group.base_mult(secret)
    changed = resigned(machine, msg, commitments=(public, *msg.commitments[1:]), proof=proof)
    return [(to, changed)]


def copied_ephemeral(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    """Takes another's one-time key, to have a victim disclose that one's share."""
    if not isinstance(msg, Deal) or msg.dealer != ctx.me:
        return None
    other = envelopes.new_ephemeral(machine.parameters.context, 1, random.Random(9))
    return [(to, resigned(machine, msg, ephemeral=other.public, ephemeral_proof=other.proof))]


def false_complaint(about: Party) -> Tamper:
    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Ack) or msg.party != ctx.me or about in msg.excluded:
            return None
        bound = machine.parameters.encryption_context(machine.facts.deals[about], ctx.me)
        opened = envelopes.disclose(bound, machine.identity, random.Random(3))
        return [(to, signed_ack(machine, msg, complaints=(Complaint(about, *opened),)))]

    return tamper


def forged_complaint(about: Party) -> Tamper:
    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Ack) or msg.party != ctx.me or about in msg.excluded:
            return None
        point = FROST_ED25519.group.base_mult(99)
        return [(to, signed_ack(machine, msg, complaints=(Complaint(about, point, bytes(64)),)))]

    return tamper


def forged_sight(about: Party) -> Tamper:
    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Ack) or msg.party != ctx.me or about in msg.excluded:
            return None
        receipts = tuple(
            Receipt(about, bytes(32), bytes(64)) if s.dealer == about else s for s in msg.receipts
        )
        return [(to, signed_ack(machine, msg, receipts=receipts))]

    return tamper


def two_acks(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    """A false complaint to one party alone."""
    told = false_complaint(1 if ctx.me != 1 else 2)(machine, ctx, msg, to)
    if told is None:
        return None
    return [(to[:1], next(iter(told))[1]), (to[1:], msg)]


def signed_ack(machine: Any, ack: Ack, **changes: Any) -> Ack:
    ack = msgspec.structs.replace(ack, **changes, signature=b"")
    signature = machine.identity.sign(ACK, *ack_parts(machine.parameters.context, ack))
    return msgspec.structs.replace(ack, signature=signature)


TORSION = bytes.fromhex("ec" + "ff" * 30 + "7f")  # (0, -1), of order 2: two of them cancel out


def outside(victim: Party | None = None) -> Tamper:
    """Commits to points outside the subgroup; also deals `victim` a wrong share."""

    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Deal) or msg.dealer != ctx.me:
            return None
        *rest, last = msg.commitments
        sealed = list(msg.ciphertexts)
        if victim is not None:
            sealed[victim - 1] = bytes(31) + b"\1"
        commitments = (*rest, ED25519.add(last, TORSION))
        return [(to, resigned(machine, msg, commitments=commitments, ciphertexts=tuple(sealed)))]

    return tamper


CHEATS: dict[str, Tamper] = {
    "wrong share": wrong_share(1),
    "two dealings": two_dealings([1, 2]),
    "two dealings, one fooled": two_dealings([1]),
    "wrong degree": wrong_degree,
    "rogue key": rogue_key,
    "replayed proof": replayed_proof,
    "copied one-time key": copied_ephemeral,
    "false complaint": false_complaint(1),
    "forged complaint": forged_complaint(1),
    "forged receipt": forged_sight(1),
    "two acknowledgements": two_acks,
    "points outside the group": outside(),
    "such points and a wrong share": outside(victim=1),
}


@pytest.mark.parametrize("cheat", CHEATS, ids=str)
def test_a_cheat_is_named_with_proof_and_the_rest_finish(cheat: str) -> None:
    cast = Cast(5, dkg(5, 3), cheats={4: CHEATS[cheat]}).run()
    assert cast.accused() == {4}
    assert {p for p, _ in cast.blamed()} == {1, 2, 3, 5}
    strengths = {row.strength for row in cast.world.trace if isinstance(row, rows.Blamed)}
    assert "proof" in strengths
    outcomes = cast.outcomes()
    if cheat == "two acknowledgements" and not finished(outcomes):
        assert all(o.blamed == (4,) for o in outcomes.values())
        return
    check_key(outcomes)
    assert outcomes[1].record.excluded == (4,)
    assert outcomes[1].record.holders == (1, 2, 3, 5)


def test_two_colluding_dealers_whose_errors_cancel_are_both_found() -> None:
    """Party 1's sum of shares fits, until one of the two is excluded for something else."""
    order = FROST_ED25519.group.order

    def shifted(by: int, also: Party | None) -> Tamper:
        def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
            if not isinstance(msg, Deal) or msg.dealer != ctx.me:
                return None
            sealed = [int.from_bytes(c) for c in msg.ciphertexts]
            sealed[0] = (sealed[0] + by) % order
            if also is not None:
                sealed[also - 1] = 1
            changed = tuple(value.to_bytes(32) for value in sealed)
            return [(to, resigned(machine, msg, ciphertexts=changed))]

        return tamper

    cast = Cast(5, dkg(5, 3), cheats={4: shifted(5, None), 5: shifted(-5, 2)}).run()
    outcomes = cast.outcomes()
    check_key(outcomes)
    assert outcomes[1].record.excluded == (4, 5)
    assert cast.accused() == {4, 5}


def test_points_outside_the_group_that_cancel_out_hide_no_wrong_share() -> None:
    """Party 2's sum does not fit; who dealt it a wrong share is a question of each one's points."""
    cast = Cast(5, dkg(5, 3), cheats={4: outside(victim=2), 5: outside()}).run()
    outcomes = cast.outcomes()
    check_key(outcomes)
    assert outcomes[1].record.excluded == (4, 5)
    assert cast.accused() == {4, 5}


def test_a_complaint_of_a_dealer_that_is_out_already_is_judged() -> None:
    """Party 5's points are found to be none; then party 4, its friend, complains of its share."""

    def complain(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        facts = machine.facts
        if not isinstance(msg, Ack) or msg.party != ctx.me or msg.number or 5 not in facts.deals:
            return None
        bound = machine.parameters.encryption_context(facts.deals[5], ctx.me)
        opened = envelopes.disclose(bound, machine.identity, random.Random(3))
        receipts = tuple(facts.receipt(d) for d in (1, 2, 3, 4, 5))
        complaints = (Complaint(5, *opened),)
        changes = {"receipts": receipts, "excluded": (), "complaints": complaints}
        return [(to, signed_ack(machine, msg, **changes))]

    cast = Cast(5, dkg(5, 3), cheats={4: complain, 5: outside()}).run()
    assert cast.accused() == {5}
    for outcome in cast.outcomes().values():  # party 4 acknowledges nothing more
        assert (outcome.blamed, outcome.missing) == ((5,), (4,))


def test_too_few_honest_dealers_abort_and_name_the_guilty() -> None:
    cast = Cast(3, dkg(3, 3), cheats={2: wrong_share(1)}).run()
    assert {o.blamed for o in cast.outcomes().values()} == {(2,)}


def silent_after(kind: type[Message]) -> Tamper:
    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(msg, kind):
            ctx_silent.add(ctx.me)
        return [] if ctx.me in ctx_silent else None

    ctx_silent: set[Party] = set()
    return tamper


@pytest.mark.parametrize("kind", [Deal, Ack, Confirm])
def test_a_party_that_falls_silent_is_missing_and_not_blamed(kind: type[Message]) -> None:
    cast = Cast(5, dkg(5, 3), cheats={3: silent_after(kind)}).run()
    assert cast.accused() == set()
    for outcome in cast.outcomes().values():
        assert isinstance(outcome, Aborted)
        assert outcome.missing == (3,)
        assert outcome.blamed == ()


def test_a_signature_that_only_one_gets_reaches_all() -> None:
    """The cheat confirms to party 1 alone; the others get its confirmation from party 1."""

    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        return [((1,), msg)] if isinstance(msg, Confirm) else None

    cast = Cast(4, dkg(4, 3), cheats={2: tamper}).run()
    check_key(cast.outcomes())


# --- loss, crashes, outsiders -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_lost_messages_are_asked_for_again(seed: int) -> None:
    cast = Cast(5, dkg(5, 3), seed=seed, network=Network(Delay("uniform", 1000, 30_000), 0.3))
    check_key(cast.run().outcomes())
    assert cast.accused() == set()


@pytest.mark.parametrize("at", range(1, 31, 4))
def test_a_party_that_restarts_before_it_signed_says_the_same_again(at: int) -> None:
    cast = Cast(3, dkg(3, 2))
    cast.world.at(at * MS, lambda: cast.world.crash(2))
    cast.world.at(500 * MS, lambda: cast.world.restart(2))
    check_key(cast.run().outcomes())
    assert cast.accused() == set()


@pytest.mark.parametrize("amnesia", [False, True])
def test_the_certificate_is_given_to_whoever_asks_in_a_later_life(amnesia: bool) -> None:
    """Party 3 hears no signature but its own; all the others restart before it comes back."""
    cast = Cast(4, dkg(4, 2))
    cast.world.at(15 * MS, lambda: cast.world.link_rules.rules.update({0: Lossy(deaf)}))
    cast.world.at(3 * DEADLINE, cast.world.link_rules.rules.clear)
    cast.world.at(3 * DEADLINE + MS, lambda: cast.world.crash(3))

    def deaf(src: Party, dst: Party, draw: Any) -> bool:
        return dst == 3

    def renew() -> None:
        for p in (1, 2, 4):
            cast.world.crash(p)
            cast.world.restart(p)
        cast.world.restart(3, amnesia=amnesia)

    cast.world.at(4 * DEADLINE, renew)
    cast.run()
    mine = cast.outcome(3)
    if amnesia:  # it lost its share: what it learns is the key, and that it is a holder
        assert (mine.record, mine.share) == (cast.outcome(1).record, None)
    else:
        check_key(cast.outcomes())
    assert cast.accused() == set()


@pytest.mark.parametrize("at", [21, 25, 29])
def test_a_party_that_restarts_after_it_signed_gets_its_share(at: int) -> None:
    cast = Cast(3, dkg(3, 2))
    cast.world.at(at * MS, lambda: cast.world.crash(2))
    cast.world.at(500 * MS, lambda: cast.world.restart(2))
    check_key(cast.run().outcomes())


def test_who_signed_and_gave_up_still_takes_the_late_signatures() -> None:
    """Party 3 is cut off after its own signature left, until its deadline has passed."""
    cast = Cast(4, dkg(4, 2))
    rules = cast.world.link_rules.rules
    cast.world.at(15 * MS, lambda: rules.update({0: Lossy(lambda src, dst, draw: dst == 3)}))
    cast.world.at(DEADLINE + 500 * MS, rules.clear)
    cast.run()
    first, last = cast.outputs(3)
    assert isinstance(first, Aborted)
    assert first.missing == (1, 2, 4)
    assert last.result.record == cast.outcome(1).record
    check_key(cast.outcomes())


def test_members_who_take_no_part_learn_the_public_key() -> None:
    cast = Cast(5, dkg(5, 2, participants=(1, 3, 4))).run()
    outcomes = cast.outcomes()
    assert len({o.record for o in outcomes.values()}) == 1
    assert outcomes[2].share is outcomes[5].share is None
    check_key({p: outcomes[p] for p in (1, 3, 4)})


def test_what_an_outsider_says_is_refused() -> None:
    stranger = Dkg(b"another proposal", IDENTITIES[5], KEYS, 2, (1, 2, 5), deadline=DEADLINE)

    class Talker(Dkg):
        def start(self, ctx: Ctx) -> None:
            ctx.multicast((1, 2, 3), stranger._deal(5, ctx.rng))

        def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
            pass

    def make(p: Party) -> Dkg:
        kind = Talker if p == 5 else Dkg
        return kind(CONTEXT, IDENTITIES[p], KEYS, 2, (1, 2, 3), deadline=DEADLINE)

    cast = Cast(5, make).run()
    check_key(cast.outcomes((1, 2, 3)))
    assert cast.blamed() == {(1, 5), (2, 5), (3, 5)}


def test_a_dealing_of_another_session_is_blamed_on_who_brings_it() -> None:
    """Party 2's dealing from another session does not convict party 2, but its bearer."""
    old = Dkg(b"yesterday's session", IDENTITIES[2], KEYS, 2, (1, 2, 3), deadline=DEADLINE)
    replayed = old._deal(2, random.Random(8))

    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        return [(to, msg), (to, replayed)] if isinstance(msg, Deal) else None

    cast = Cast(3, dkg(3, 2), cheats={3: tamper}).run()
    check_key(cast.outcomes())
    assert cast.accused() == {3}


# --- anything at all -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_never_two_keys_and_only_the_guilty_blamed(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 6), "n")
    t = data.draw(st.integers(1, n), "t")
    bad = data.draw(st.lists(st.integers(2, n), unique=True, max_size=n - 1), "cheats")
    names = list(CHEATS)
    cheats = {p: CHEATS[data.draw(st.sampled_from(names), f"cheat {p}")] for p in bad}
    loss = data.draw(st.sampled_from([0.0, 0.0, 0.1, 0.3]), "loss")
    seed = data.draw(st.integers(0, 999), "seed")
    network = Network(Delay("uniform", 1000, 60_000), loss)
    cast = Cast(n, dkg(n, t), seed=seed, network=network, cheats=cheats)
    victim = data.draw(st.none() | st.sampled_from(cast.honest), "crash")
    if victim is not None:
        at = data.draw(st.integers(0, 200), "crash at, ms")
        cast.world.at(at * MS, lambda: cast.world.crash(victim))
        if data.draw(st.booleans(), "restart"):
            cast.world.at((at + 300) * MS, lambda: cast.world.restart(victim))
        else:
            cast.honest = tuple(p for p in cast.honest if p != victim)
    cast.run()
    assert cast.accused() <= set(bad)
    assert cast.world.now <= 600 * SECOND
    outcomes = cast.outcomes()
    done = finished(outcomes)
    assert len({o.record for o in done.values()}) <= 1
    for outcome in outcomes.values():
        if isinstance(outcome, Aborted):
            assert set(outcome.blamed) <= set(bad)
            assert outcome.missing or outcome.blamed or "restarted" in outcome.reason
    if victim is None and loss == 0 and n - len(bad) >= t and len(done) >= t:
        check_key(done)


def test_messages_that_are_no_facts_are_blamed_on_their_sender() -> None:
    junk: list[Message] = [
        Equivocation(Receipt(1, bytes(32), bytes(64)), Receipt(1, b"2" * 32, bytes(64))),
        Confirm(1, bytes(32), bytes(64)),
        Ack(1, 0, (), (), (), bytes(64)),
        Certificate((), b"no record", ()),
        Certificate(((1,), (1,)), b"", ()),
        Certificate((), KeyRecord("?", (), ()).to_bytes(), ()),
        Want(deals=(9,), acks=(77,), proofs=(-1,), number=10**9),
    ]

    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        return [(to, msg), *((to, other) for other in junk)] if isinstance(msg, Deal) else None

    cast = Cast(3, dkg(3, 2), cheats={2: tamper}).run()
    check_key(cast.outcomes())
    assert cast.accused() == {2}


# --- commitments that are looked at together ----------------------------------------------------

ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def commits_to(change: Any, *cheats: Party) -> dict[Party, Tamper]:
    """These deal with `change(party, A_1)` in place of their second commitment."""

    def tamper(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Deal):
            return None
        first, second, *rest = msg.commitments
        changed = (first, change(ctx.me, second), *rest)
        return [(to, machine._signed_deal(msgspec.structs.replace(msg, commitments=changed)))]

    return dict.fromkeys(cheats, tamper)


@pytest.mark.parametrize("kind", ["dkg", "refresh"])
@pytest.mark.parametrize(
    "change",
    [
        lambda p, element: ED25519.add(element, ORDER_8),
        lambda p, element: b"\x02" + bytes(31),
        lambda p, element: element[:-1],
        lambda p, element: bytes(32),
    ],
    ids=["outside the subgroup", "off the curve", "short", "of small order"],
)
def test_a_commitment_that_is_no_element_convicts_its_dealer(kind: str, change: Any) -> None:
    n, t = 4, 3
    record, old = key_for(n, t)

    def refresh(p: Party) -> Refresh:
        return Refresh(CONTEXT, IDENTITIES[p], KEYS, record, old[p], deadline=DEADLINE)

    cast = Cast(n, dkg(n, t) if kind == "dkg" else refresh, cheats=commits_to(change, 3)).run()
    assert cast.accused() == {3}
    check_key(cast.outcomes())
    assert {o.record.excluded for o in cast.outcomes().values()} == {(3,)}


def test_two_dealers_whose_flaws_cancel_out_do_no_harm() -> None:
    """Alone each would be convicted. Together they deal a key like any other."""
    opposite = ED25519.sum([ORDER_8] * 7)

    def change(p: Party, element: bytes) -> bytes:
        return ED25519.add(element, ORDER_8 if p == 3 else opposite)

    cast = Cast(5, dkg(5, 3), cheats=commits_to(change, 3, 4)).run()
    check_key(cast.outcomes())
    assert cast.accused() <= {3, 4}


@pytest.mark.parametrize("seed", range(4))
def test_flaws_that_cancel_out_are_seen_when_one_of_the_two_is_convicted_otherwise(
    seed: int,
) -> None:
    opposite = ED25519.sum([ORDER_8] * 7)
    cheats = commits_to(
        lambda p, element: ED25519.add(element, ORDER_8 if p == 3 else opposite), 3, 4
    )
    plain = cheats[4]

    def equivocates(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        told = plain(machine, ctx, msg, to)
        if told is None or seed % 2:
            return told
        other = machine.restated(msg, 1)
        return [(to[:2], told[0][1]), (to[2:], other)]

    cast = Cast(5, dkg(5, 2), seed=seed, cheats={3: cheats[3], 4: equivocates}).run()
    check_key(cast.outcomes())
    assert cast.accused() <= {3, 4}


def test_a_silent_dealer_stops_it_and_the_reason_names_the_way_on() -> None:
    cast = Cast(4, dkg(4, 2), cheats={3: lambda *said: []}).run()
    for p in cast.honest:
        outcome = cast.outcome(p)
        assert isinstance(outcome, Aborted)
        assert outcome.missing == (3,)
        assert outcome.reason.endswith(
            "in time; to go on without, propose dkg with members [1, 2, 4]"
        )


@pytest.mark.parametrize(
    ("n", "t", "absent", "made"),
    [(4, 2, (3,), True), (5, 3, (2,), False), (7, 3, (2, 5), True), (7, 3, (2, 5, 6), False)],
)
def test_the_silent_are_left_out_while_enough_are_left(
    n: int, t: int, absent: tuple[Party, ...], made: bool
) -> None:
    """2t - 1, of whom t are honest, and more than half."""
    cast = Cast(n, dkg(n, t, leaves_silent=True), cheats=dict.fromkeys(absent, lambda *said: []))
    cast.run()
    assert not cast.accused()
    outcomes = {p: cast.outcome(p) for p in cast.honest}
    if made:
        check_key(outcomes)
        assert {o.record.excluded for o in outcomes.values()} == {absent}
        assert {o.record.holders for o in outcomes.values()} == {cast.honest}
    else:
        assert all(isinstance(outcome, Aborted) for outcome in outcomes.values())


@pytest.mark.parametrize(("n", "t", "half"), [(7, 2, 3), (6, 2, 3), (4, 1, 2)])
def test_two_halves_of_a_network_make_no_key_each(n: int, t: int, half: int) -> None:
    """The halves are silent to each other, and each is more than 2t - 1."""

    def cut(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        near = tuple(p for p in to if (p <= half) == (ctx.me <= half))
        return [(near, msg)] if near else []

    cast = Cast(n, dkg(n, t, leaves_silent=True), cheats=dict.fromkeys(range(1, n + 1), cut)).run()
    made = {o.record for p in range(1, n + 1) if isinstance(o := cast.outcome(p), SharedKey)}
    assert len(made) <= 1


def test_liars_who_hear_nothing_leave_no_honest_one_out() -> None:
    """t - 1 words of silence are none."""

    def deaf(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        said = Absence(ctx.me, (1, 2))
        parts = absence_parts(machine.parameters.context, said)
        signed = msgspec.structs.replace(said, signature=machine.identity.sign(ABSENT, *parts))
        return [(to, msg), ((1, 2, 3, 4, 5), signed)]

    cast = Cast(7, dkg(7, 3, leaves_silent=True), cheats={6: deaf, 7: deaf})
    cast.run()
    outcomes = {p: cast.outcome(p) for p in cast.honest}
    check_key(outcomes)
    assert {o.record.excluded for o in outcomes.values()} == {()}


def test_who_is_left_out_does_not_depend_on_what_was_heard_first() -> None:
    """Three are unheard, one cheats, and one signs two words of silence; of the three one goes."""
    parties = (1, 2, 3, 4, 5, 6, 7)
    parameters = Parameters(CONTEXT, parties, parties, KEYS, ED25519)

    def said(party: Party, *silent: Party) -> Absence:
        word = Absence(party, silent)
        signature = IDENTITIES[party].sign(ABSENT, *absence_parts(CONTEXT, word))
        return msgspec.structs.replace(word, signature=signature)

    heard = [said(1, 5, 6), said(2, 7, 5), said(3, 6, 7), said(3, 5), None]
    for order in permutations(heard):
        facts = Facts(parameters, lambda deal: None, lambda deal: ())
        facts.witnesses, facts.fewest = 2, 5
        for word in order:
            if word is None:
                facts._convict(2, "cheats")
            else:
                facts.add(word)
        assert facts.excluded == (2, 5)
        assert facts.cheats == (2,)
        assert facts.unheard == (5, 6, 7)
