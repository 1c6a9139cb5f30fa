"""Distributed key generation: one key for all, and whoever cheats is named."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.crypto import feldman, frost, pedersen, schnorr, shamir, taproot
from mpclab.crypto.ciphersuites import CIPHERSUITES, FROST_ED25519, FROST_SECP256K1
from mpclab.crypto.errors import BadCommitment, BadProof, BadShare, CryptoError
from mpclab.crypto.groups import ED25519
from mpclab.crypto.pedersen import Dealing, Params

each_suite = pytest.mark.parametrize("suite", CIPHERSUITES.values(), ids=str)


class Generation:
    """All parties of one key generation, in one place."""

    def __init__(self, suite=FROST_ED25519, t=3, n=5, context=b"session 1", seed=1):
        self.params = Params(suite, t, tuple(range(1, n + 1)), context)
        coins = random.Random(seed)
        first = {i: pedersen.round_1(self.params, i, coins) for i in self.params.identifiers}
        self.secrets = {i: secret for i, (secret, _) in first.items()}
        self.dealings = {i: dealing for i, (_, dealing) in first.items()}
        self.shares = {
            receiver: {
                i: pedersen.share_for(self.params, s, receiver) for i, s in self.secrets.items()
            }
            for receiver in self.params.identifiers
        }

    def check(self):
        for i, dealing in self.dealings.items():
            pedersen.check_dealing(self.params, i, dealing)

    def finish(self, receiver):
        return pedersen.finish(self.params, receiver, self.dealings, self.shares[receiver])

    def exclude(self, *dealers):
        for dealer in dealers:
            del self.dealings[dealer]
            for received in self.shares.values():
                del received[dealer]


@each_suite
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_all_hold_shares_of_one_key_that_nobody_knows(suite, data):
    n = data.draw(st.integers(1, 5), "n")
    t = data.draw(st.integers(1, n), "t")
    run = Generation(suite, t, n, seed=data.draw(st.integers(0, 99), "seed"))
    run.check()
    results = {i: run.finish(i) for i in run.params.identifiers}
    assert len({share.key for share in results.values()}) == 1
    for share in results.values():
        share.check()
    quorum = data.draw(st.permutations(sorted(results)))[:t]
    secret = shamir.interpolate({i: results[i].secret for i in quorum}, suite.group.order)
    assert suite.group.base_mult(secret) == results[1].key.public
    total = sum(s.polynomial[0] for s in run.secrets.values()) % suite.group.order
    if suite.x_only:  # the agreed key commits to no script (BIP 341)
        internal = suite.group.base_mult(total)
        total = taproot.sign_of(internal) * total + taproot.tweak_of(internal)
    assert secret == total % suite.group.order


@given(
    liars=st.sets(st.integers(1, 5), min_size=1, max_size=5),
    receiver=st.integers(1, 5),
    error=st.integers(1, 2**200),
)
@settings(deadline=None, max_examples=20)
def test_wrong_shares_name_their_dealers_and_nobody_else(liars, receiver, error):
    run = Generation()
    for offset, liar in enumerate(sorted(liars)):
        run.shares[receiver][liar] += error + offset
    with pytest.raises(BadShare) as caught:
        run.finish(receiver)
    assert caught.value.culprits == tuple(sorted(liars))
    for dealer, dealing in run.dealings.items():  # and each complaint can be settled in public
        share = run.shares[receiver][dealer]
        if dealer in liars:
            with pytest.raises(BadShare) as complaint:
                pedersen.check_share(run.params, dealer, dealing, receiver, share)
            assert complaint.value.culprits == (dealer,)
        else:
            pedersen.check_share(run.params, dealer, dealing, receiver, share)


def test_the_rest_finish_without_an_excluded_dealer():
    run = Generation()
    run.exclude(2, 4)
    results = [run.finish(i) for i in run.params.identifiers]
    assert len({share.key for share in results}) == 1
    for share in results:
        share.check()


@pytest.mark.parametrize("change", [-1, 1])
def test_a_polynomial_of_another_degree_is_refused(change):
    """One coefficient more would silently raise the threshold of the whole key."""
    run = Generation(t=3)
    other = dataclasses.replace(run.params, threshold=3 + change)
    _, dealing = pedersen.round_1(other, 2, random.Random(1))
    with pytest.raises(BadCommitment, match="3 commitments expected") as caught:
        pedersen.check_dealing(run.params, 2, dealing)
    assert caught.value.culprits == (2,)


def test_raising_the_threshold_would_lock_the_key():
    """The attack that the check above stops, run without it: nobody can sign any more."""
    run = Generation(t=2, n=3)
    raised = dataclasses.replace(run.params, threshold=3)
    secret, dealing = pedersen.round_1(raised, 3, random.Random(1))
    order = ED25519.order
    polynomials = [run.secrets[1].polynomial, run.secrets[2].polynomial, secret.polynomial]
    shares = {i: sum(shamir.evaluate(p, i, order) for p in polynomials) % order for i in (1, 2, 3)}
    key = ED25519.base_mult(sum(p[0] for p in polynomials))
    two = {i: shares[i] for i in (1, 2)}
    assert ED25519.base_mult(shamir.interpolate(two, order)) != key
    assert ED25519.base_mult(shamir.interpolate(shares, order)) == key
    assert len(dealing.commitments) == 3


def test_a_rogue_key_needs_a_proof_that_nobody_can_make():
    """Party 3 waits, then commits to X - A_1 - A_2, so that the key would be its own X."""
    run = Generation(t=2, n=3)
    group, mine = ED25519, 987654321
    others = [run.dealings[i].commitments[0] for i in (1, 2)]
    rogue = group.add(group.base_mult(mine), group.negate(group.sum(others)))
    assert group.sum([*others, rogue]) == group.base_mult(mine)  # the attack, were it accepted
    slope = group.base_mult(5)
    for proof in (
        run.dealings[3].proof,
        schnorr.prove_possession(FROST_ED25519, 3, mine, run.params.context, random.Random(1)),
        b"",
        bytes(64),
        group.generator + bytes(32),
    ):
        with pytest.raises(BadProof) as caught:
            pedersen.check_dealing(run.params, 3, Dealing((rogue, slope), proof))
        assert caught.value.culprits == (3,)


def test_a_proof_does_not_serve_another_party_or_session():
    run = Generation()
    with pytest.raises(BadProof) as caught:  # party 2 repeats party 1's whole dealing
        pedersen.check_dealing(run.params, 2, run.dealings[1])
    assert caught.value.culprits == (2,)
    later = dataclasses.replace(run.params, context=b"session 2")
    with pytest.raises(BadProof):
        pedersen.check_dealing(later, 1, run.dealings[1])
    pedersen.check_dealing(run.params, 1, run.dealings[1])


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    "wrong",
    [ED25519.identity, b"", b"\xff" * 32, bytes(32)],
    ids=["identity", "empty", "no point", "small order"],
)
def test_malformed_commitments_name_their_dealer(position, wrong):
    run = Generation()
    elements = list(run.dealings[4].commitments)
    elements[position] = wrong
    bad = dataclasses.replace(run.dealings[4], commitments=tuple(elements))
    with pytest.raises(BadCommitment) as caught:
        pedersen.check_dealing(run.params, 4, bad)
    assert caught.value.culprits == (4,)


@given(proof=st.binary(max_size=70))
def test_a_proof_may_be_any_bytes(proof):
    run = Generation(t=1, n=1)
    with pytest.raises(BadProof):
        pedersen.check_dealing(run.params, 1, dataclasses.replace(run.dealings[1], proof=proof))


def test_different_commitments_to_different_parties_give_different_keys():
    """Why the transcript must be agreed on: the mathematics alone does not notice."""
    one, other = Generation(seed=1), Generation(seed=1)
    extra = shamir.random_polynomial(77, 3, ED25519.order, random.Random(5))
    lie = feldman.add(ED25519, [one.dealings[1].commitments, feldman.commit(ED25519, extra)])
    other.dealings[1] = dataclasses.replace(one.dealings[1], commitments=lie)
    other.shares[3][1] += shamir.evaluate(extra, 3, ED25519.order)
    told_truth, told_lie = one.finish(2).key, other.finish(3).key
    assert told_truth.fingerprint() != told_lie.fingerprint()


def test_secrets_that_cancel_out_make_no_key():
    run = Generation(t=1, n=2)
    x = run.secrets[1].polynomial[0]
    run.dealings[2] = Dealing((ED25519.base_mult(-x),), b"")
    with pytest.raises(CryptoError, match="cancel"):
        pedersen.finish(run.params, 1, run.dealings, {1: x, 2: -x})


@pytest.mark.parametrize("suite", [FROST_ED25519, FROST_SECP256K1], ids=str)
def test_a_generated_key_signs(suite):
    run = Generation(suite)
    shares = {i: run.finish(i) for i in run.params.identifiers}
    coins = random.Random(1)
    first = {i: frost.commit(shares[i], coins) for i in (5, 2, 3)}
    commitments = [c for _, c in first.values()]
    parts = {
        i: frost.sign(shares[i], nonces, b"m", commitments) for i, (nonces, _) in first.items()
    }
    signature = frost.aggregate(shares[1].key, b"m", commitments, parts)
    assert schnorr.verify(suite, shares[1].key.public, b"m", signature)


@pytest.mark.parametrize(("t", "identifiers"), [(0, (1, 2)), (3, (1, 2)), (1, (0, 1)), (1, (1, 1))])
def test_parameters_are_checked(t, identifiers):
    with pytest.raises(ValueError, match=r"threshold|identifier"):
        Params(FROST_ED25519, t, identifiers)


def test_our_own_mistakes_are_told():
    run = Generation()
    for stranger in (
        lambda: pedersen.round_1(run.params, 6, random.Random(1)),
        lambda: pedersen.share_for(run.params, run.secrets[1], 6),
        lambda: pedersen.check_dealing(run.params, 6, run.dealings[1]),
        lambda: pedersen.finish(run.params, 6, run.dealings, run.shares[1]),
    ):
        with pytest.raises(ValueError, match="party 6 takes no part"):
            stranger()
    del run.shares[1][2]
    with pytest.raises(ValueError, match="one share of each"):
        run.finish(1)


def test_repr_shows_no_coefficient():
    run = Generation()
    shown = repr(run.secrets)
    assert not any(str(c) in shown for s in run.secrets.values() for c in s.polynomial)
