"""Signing: a verified signature with any t good holders, and wrong shares name their senders."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.crypto import formats, taproot
from mpclab.crypto.ciphersuites import FROST_BIP340, FROST_ED25519, FROST_SECP256K1
from mpclab.crypto.independent import verify_independently
from mpclab.crypto.keys import KeyShare, trusted_dealer_keygen
from mpclab.faults.network import Delay, Network
from mpclab.mpc import sign
from mpclab.mpc.packages import PACKAGE, Commitment, Package, Share, Signature, Signed
from mpclab.mpc.records import KeyRecord
from mpclab.mpc.sign import Sign
from mpclab.trace import rows
from tests.mpc.parties import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast, Tamper, finished


def key_for(n: int, t: int, suite: Any = FROST_ED25519) -> tuple[KeyRecord, dict[Party, KeyShare]]:
    holders = tuple(range(1, n + 1))
    shares = trusted_dealer_keygen(suite, 4242, t, holders, random.Random(1))
    return KeyRecord(suite.name, shares[1].key.commitments, holders), shares


def signing(
    n: int,
    t: int,
    *,
    members: int = 0,
    suite: Any = FROST_ED25519,
    message: bytes = b"pay 5 to Eve",
    cheats: dict[Party, Tamper] | None = None,
    **options: Any,
) -> Cast:
    record, shares = key_for(n, t, suite)

    def make(p: Party) -> Sign:
        share = shares.get(p)
        return Sign(CONTEXT, IDENTITIES[p], KEYS, record, share, message, deadline=DEADLINE)

    return Cast(members or n, make, cheats=cheats, **options)


def check(outcome: Any, message: bytes = b"pay 5 to Eve") -> None:
    assert isinstance(outcome, Signature)
    key = outcome.record.key()
    assert verify_independently(key.suite, key.public, message, outcome.signature)


@pytest.mark.parametrize("suite", [FROST_ED25519, FROST_SECP256K1, FROST_BIP340], ids=repr)
@pytest.mark.parametrize(("n", "t"), [(1, 1), (3, 2), (5, 3), (5, 5)])
def test_all_get_one_signature(n: int, t: int, suite: Any) -> None:
    cast = signing(n, t, suite=suite).run()
    outcomes = cast.outcomes()
    assert len({o.signature for o in outcomes.values()}) == 1
    check(outcomes[1])
    assert cast.accused() == set()


def test_only_the_chosen_signers_send_shares() -> None:
    cast = signing(5, 3).run()
    kinds = [row.kind for row in cast.world.trace if isinstance(row, rows.Sent)]
    assert sorted(kinds) == ["Commitment"] * 4 + ["Package"] + ["Share"] * 3


def test_a_member_without_a_share_gets_the_signature() -> None:
    cast = signing(3, 2, members=5).run()
    check(cast.outcome(4))
    check(cast.outcome(5))


# --- cheats -----------------------------------------------------------------------------------


def wrong_share(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Share):
        return None
    return [(to, msgspec.structs.replace(msg, share=b"\1" + bytes(31)))]


def no_scalar(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    return [(to, msgspec.structs.replace(msg, share=b"x"))] if isinstance(msg, Share) else None


def vanishes(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    return [] if isinstance(msg, Share) else None


def mute(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    return []


def no_nonce(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    if not isinstance(msg, Commitment):
        return None
    return [(to, msgspec.structs.replace(msg, hiding=bytes(32)))]


def packs_twice(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    """Tells half of the holders another commitment of its own."""
    if not isinstance(msg, Package) or msg.attempt != machine.attempt:
        return None
    entries = tuple(
        msgspec.structs.replace(e, hiding=e.binding) if e.party == ctx.me else e
        for e in msg.entries
    )
    other = Package(msg.attempt, entries)
    parts = machine._endorsed(msg.attempt, machine._digest(other))
    other = msgspec.structs.replace(other, signature=machine.identity.sign(PACKAGE, *parts))
    return [(to[::2], msg), (to[1::2], other)]


def false_signature(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
    return [(to, msg), (to, Signed(bytes(64)))]


CHEATS: dict[str, Tamper] = {
    "wrong share": wrong_share,
    "no scalar": no_scalar,
    "vanishes": vanishes,
    "mute": mute,
    "no nonce": no_nonce,
    "packs twice": packs_twice,
    "false signature": false_signature,
}
NAMED = {"wrong share", "no scalar", "no nonce", "packs twice", "false signature"}


@pytest.mark.parametrize("cheat", CHEATS, ids=str)
@pytest.mark.parametrize("who", [1, 2, 3, 4, 5])
def test_a_bad_holder_is_worked_around(cheat: str, who: Party) -> None:
    cast = signing(5, 3, cheats={who: CHEATS[cheat]}).run()
    for outcome in cast.outcomes().values():
        check(outcome)
    assert cast.accused() <= ({who} if cheat in NAMED else set())


def test_a_wrong_share_names_its_sender_and_another_quorum_signs() -> None:
    cast = signing(3, 2)
    leader = signing(3, 2).world.look(1, lambda node: node.machine(("root", "it")).leader(0))
    cast = signing(3, 2, cheats={leader: wrong_share}).run()  # its own commitment comes first
    assert cast.accused() == {leader}
    for outcome in cast.outcomes().values():
        check(outcome)
    notes = [r for r in cast.world.trace if isinstance(r, rows.Noted) and r.word == "signed"]
    assert {r.note.attempt for r in notes if r.actor in cast.honest} == {1}


def test_without_enough_good_holders_it_ends_and_says_who() -> None:
    cast = signing(3, 3, cheats={2: wrong_share}).run()
    for outcome in cast.outcomes().values():
        assert isinstance(outcome, Aborted)
        assert outcome.blamed == (2,)
    cast = signing(3, 3, cheats={2: mute}).run()
    assert all(o.missing and not o.blamed for o in cast.outcomes().values())


def test_nonces_leave_memory_before_the_share_is_sent() -> None:
    seen: list[Any] = []

    def watch(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(msg, Share):
            seen.append(machine.nonces)
        return None

    signing(3, 2, cheats=dict.fromkeys((1, 2, 3), watch)).run()
    assert seen == [None, None]


def test_a_second_package_gets_no_second_share() -> None:
    """Nonce reuse, tried by a leader that asks again with other commitments."""
    shares: list[Share] = []

    def listen(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(msg, Share):
            shares.append(msg)
        return None

    def greedy(machine: Any, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Package) or msg.attempt != machine.attempt:
            return None
        first = list(packs_twice(machine, ctx, msg, to))
        return [(to, first[0][1]), (to, first[1][1])]

    honest = dict.fromkeys(range(1, 6), listen)
    leader = signing(5, 3).world.look(1, lambda node: node.machine(("root", "it")).leader(0))
    cast = signing(5, 3, cheats={**honest, leader: greedy}).run()
    assert len({(s.attempt, s.share) for s in shares}) == len(shares)
    by_attempt = [s.attempt for s in shares]
    assert all(by_attempt.count(a) <= 3 for a in set(by_attempt))
    check(cast.outcome(leader % 5 + 1))


def test_a_restarted_holder_signs_with_fresh_nonces() -> None:
    cast = signing(3, 3)
    cast.world.at(5 * MS, lambda: cast.world.crash(2))
    cast.world.at(8 * MS, lambda: cast.world.restart(2))
    for outcome in cast.run().outcomes().values():
        check(outcome)
    assert cast.accused() == set()


def test_two_signings_at_once_do_not_mix() -> None:
    record, shares = key_for(3, 2)

    class Both(Machine):
        def __init__(self, p: Party) -> None:
            self.p, self.done = p, {}

        def start(self, ctx: Ctx) -> None:
            for name in ("a", "b"):
                ctx.spawn(
                    name,
                    Sign(
                        CONTEXT + name.encode(), IDENTITIES[self.p], KEYS, record,
                        shares[self.p], name.encode(), deadline=DEADLINE,
                    ),
                )  # fmt: skip

        def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
            self.done[child] = value.result
            ctx.output(value)

    cast = Cast(3, Both).run()
    for p in cast.members:
        done = cast.world.look(p, lambda node: node.machine(("root", "it")).done)
        check(done["a"], b"a")
        check(done["b"], b"b")
    assert cast.accused() == set()


def test_a_share_of_another_key_is_refused() -> None:
    record, _ = key_for(3, 2)
    _, shares = key_for(3, 3)
    with pytest.raises(UsageError, match="another key"):
        Sign(CONTEXT, IDENTITIES[1], KEYS, record, shares[1], b"m")


def test_sshsig_payload_signs_as_ssh_wants_it() -> None:
    payload = formats.sshsig_payload("file", b"hello")
    cast = signing(3, 2, message=payload).run()
    outcome = cast.outcome(1)
    armour = formats.sshsig_armour("file", outcome.record.public, outcome.signature)
    assert armour.startswith("-----BEGIN SSH SIGNATURE-----")


# --- anything at all ----------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_t_good_holders_always_sign_and_only_the_guilty_are_blamed(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 6), "n")
    t = data.draw(st.integers(1, n), "t")
    bad = data.draw(st.lists(st.integers(1, n), unique=True, max_size=n - t), "bad")
    cheats = {p: CHEATS[data.draw(st.sampled_from(list(CHEATS)), f"cheat {p}")] for p in bad}
    seed = data.draw(st.integers(0, 999), "seed")
    loss = data.draw(st.sampled_from([0.0, 0.0, 0.05]), "loss")
    cast = signing(
        n, t, seed=seed, cheats=cheats, network=Network(Delay("uniform", 1000, 30_000), loss)
    )
    cast.run()
    assert cast.accused() <= set(bad)
    outcomes = cast.outcomes()
    for outcome in finished(outcomes).values():
        check(outcome)
    if loss == 0:
        assert len(finished(outcomes)) == len(outcomes)


def test_a_valid_signature_with_nonce_1_harms_nobody() -> None:
    """R = G: libsecp256k1 takes it, and so must everyone who is shown it."""
    suite = FROST_BIP340
    record, _ = key_for(3, 1, suite)
    secret = 4242 * taproot.sign_of(record.public)
    challenge = suite.challenge(suite.group.generator, record.public, b"pay 5 to Eve")
    signature = suite.group.generator[1:] + suite.group.encode_scalar(1 + challenge * secret)

    def shows(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        return [((1, 2), Signed(signature))]

    cast = signing(3, 1, suite=suite, cheats={3: shows}).run()
    for outcome in cast.outcomes().values():
        check(outcome)


def test_what_only_one_library_accepts_ends_the_attempt_and_no_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sign, "verify_again", lambda key, message, signature: False)
    cast = signing(3, 2).run()
    assert {type(o) for o in cast.outcomes().values()} == {Aborted}
    assert cast.accused() == set()
    assert cast.world.trace.notes("package-refused")
