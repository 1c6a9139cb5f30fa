"""Threshold signatures: any quorum signs, a wrong share names its author, misuse is refused."""

import copy
import dataclasses
import pickle
import random

import pytest
from coincurve import PublicKeyXOnly
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.crypto import frost, schnorr
from mpclab.crypto.ciphersuites import (
    CIPHERSUITES,
    FROST_BIP340,
    FROST_ED25519,
    FROST_RISTRETTO255,
    FROST_SECP256K1,
)
from mpclab.crypto.errors import BadCommitment, BadShare, CryptoError
from mpclab.crypto.groups import ED25519, SECP256K1
from mpclab.crypto.independent import verify_independently
from mpclab.crypto.keys import trusted_dealer_keygen
from mpclab.crypto.shamir import lagrange_coefficients

each_suite = pytest.mark.parametrize("suite", CIPHERSUITES.values(), ids=str)
checkable = pytest.mark.parametrize(
    "suite", [FROST_ED25519, FROST_SECP256K1, FROST_BIP340], ids=str
)


def keygen(suite, t=3, n=5, seed=1):
    coins = random.Random(seed)
    return trusted_dealer_keygen(suite, coins.getrandbits(200) + 1, t, range(1, n + 1), coins)


def rounds(shares, signers, message=b"message", seed=2):
    """Both rounds by honest signers: the commitments and the signature shares."""
    coins = random.Random(seed)
    first = {i: frost.commit(shares[i], coins) for i in signers}
    commitments = [commitment for _, commitment in first.values()]
    return commitments, {
        i: frost.sign(shares[i], nonces, message, commitments) for i, (nonces, _) in first.items()
    }


@each_suite
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_quorum_signs(suite, data):
    """Exactly the threshold or more, in any order, for any identifiers and message."""
    n = data.draw(st.integers(1, 5), "n")
    t = data.draw(st.integers(1, n), "t")
    order = suite.group.order
    identifiers = data.draw(
        st.lists(st.integers(1, order - 1), min_size=n, max_size=n, unique=True), "identifiers"
    )
    coins = random.Random(data.draw(st.integers(0, 1000), "seed"))
    shares = trusted_dealer_keygen(suite, coins.getrandbits(250), t, identifiers, coins)
    size = data.draw(st.integers(t, n), "signers")
    signers = data.draw(st.permutations(identifiers), "order")[:size]
    message = data.draw(st.binary(max_size=40), "message")
    commitments, signature_shares = rounds(shares, signers, message, coins.getrandbits(32))
    key = shares[signers[0]].key
    signature = frost.aggregate(key, message, commitments, signature_shares)
    assert schnorr.verify(suite, key.public, message, signature)
    assert not schnorr.verify(suite, key.public, message + b"!", signature)
    if suite is not FROST_RISTRETTO255:
        assert verify_independently(suite, key.public, message, signature)


@checkable
@pytest.mark.parametrize("seed", range(6))
def test_one_signer_alone_signs_alike(suite, seed):
    """Six seeds, so that BIP 340 meets odd and even y of both key and nonce."""
    coins = random.Random(seed)
    secret = coins.getrandbits(250)
    public = suite.group.base_mult(secret)
    signature = schnorr.sign(suite, secret, b"message", coins)
    assert schnorr.verify(suite, public, b"message", signature)
    assert verify_independently(suite, public, b"message", signature)


@pytest.mark.parametrize("seed", range(8))
def test_bip_340_signatures_satisfy_libsecp256k1(seed):
    """Its own `schnorrsig_verify`, not our arithmetic, judges quorums of every parity."""
    shares = keygen(FROST_BIP340, seed=seed)
    message = bytes([seed]) * 32
    commitments, signature_shares = rounds(shares, [2, 4, 5], message, seed)
    key = shares[1].key
    signature = frost.aggregate(key, message, commitments, signature_shares)
    assert PublicKeyXOnly(key.public[1:]).verify(signature, message)


@checkable
@settings(max_examples=40)
@given(bit=st.integers(0, 64 * 8 - 1))
def test_two_verifiers_agree_on_altered_signatures(suite, bit):
    shares = keygen(suite)
    commitments, signature_shares = rounds(shares, [1, 2, 3])
    key = shares[1].key
    signature = bytearray(frost.aggregate(key, b"message", commitments, signature_shares))
    signature[bit // 8] ^= 1 << bit % 8
    assert not schnorr.verify(suite, key.public, b"message", bytes(signature))
    assert not verify_independently(suite, key.public, b"message", bytes(signature))


@pytest.mark.parametrize("suite", [FROST_SECP256K1, FROST_BIP340], ids=str)
def test_the_second_opinion_tells_a_point_from_its_negative(suite):
    """z·G - c·P = -R has the right x coordinate; only the second question refuses it."""
    group = suite.group
    secret, nonce, message = 1234, 5678, b"message"
    public, commitment = group.base_mult(secret), group.base_mult(nonce)
    while suite.x_only and (public[0] != 2 or commitment[0] != 2):
        secret, nonce = (secret + (public[0] != 2)), nonce + (commitment[0] != 2)
        public, commitment = group.base_mult(secret), group.base_mult(nonce)
    challenge = suite.challenge(commitment, public, message)
    for sign, valid in ((1, True), (-1, False)):
        signature = schnorr.encode_signature(suite, commitment, sign * nonce + challenge * secret)
        assert schnorr.verify(suite, public, message, signature) == valid
        assert verify_independently(suite, public, message, signature) == valid


@checkable
@given(public=st.binary(max_size=40), signature=st.binary(max_size=70))
def test_verifiers_answer_for_any_bytes(suite, public, signature):
    assert not schnorr.verify(suite, public, b"message", signature)
    good = suite.group.base_mult(5)
    assert not schnorr.verify(suite, good, b"message", signature)
    assert not verify_independently(suite, good, b"message", signature)


def test_no_library_knows_ristretto_signatures():
    with pytest.raises(ValueError, match="no independent library"):
        verify_independently(FROST_RISTRETTO255, FROST_RISTRETTO255.group.generator, b"", b"")


# -- blame ---------------------------------------------------------------------------------


@each_suite
@settings(max_examples=8, deadline=None)
@given(liars=st.sets(st.sampled_from([1, 2, 4, 5]), min_size=1), error=st.integers(1, 2**200))
def test_wrong_shares_name_their_authors_and_nobody_else(suite, liars, error):
    shares = keygen(suite)
    commitments, signature_shares = rounds(shares, [1, 2, 4, 5])
    for offset, liar in enumerate(sorted(liars)):
        signature_shares[liar] += error + offset  # not cancelling
    with pytest.raises(BadShare, match="wrong signature share") as caught:
        frost.aggregate(shares[1].key, b"message", commitments, signature_shares)
    assert caught.value.culprits == tuple(sorted(liars))


def test_missing_shares_name_their_authors():
    shares = keygen(FROST_ED25519)
    commitments, signature_shares = rounds(shares, [1, 2, 4])
    del signature_shares[2], signature_shares[4]
    with pytest.raises(BadShare, match="no signature share") as caught:
        frost.aggregate(shares[1].key, b"message", commitments, signature_shares)
    assert caught.value.culprits == (2, 4)


def test_a_share_of_a_non_signer_is_our_own_mistake():
    shares = keygen(FROST_ED25519)
    commitments, signature_shares = rounds(shares, [1, 2, 4])
    with pytest.raises(ValueError, match="not a signer"):
        frost.aggregate(shares[1].key, b"message", commitments, signature_shares | {3: 1})
    with pytest.raises(ValueError, match="not a signer"):
        frost.verify_signature_share(shares[1].key, b"message", commitments, 3, 1)


@pytest.mark.parametrize("field", ["hiding", "binding"])
@pytest.mark.parametrize("wrong", [ED25519.identity, b"", b"\xff" * 32, SECP256K1.generator])
def test_a_malformed_commitment_names_its_author(field, wrong):
    shares = keygen(FROST_ED25519)
    coins = random.Random(1)
    first = {i: frost.commit(shares[i], coins) for i in (1, 2, 3)}
    commitments = [c for _, c in first.values()]
    commitments[1] = dataclasses.replace(commitments[1], **{field: wrong})
    with pytest.raises(BadCommitment) as caught:
        frost.sign(shares[1], first[1][0], b"message", commitments)
    assert caught.value.culprits == (2,)


# -- misuse --------------------------------------------------------------------------------


def test_a_signer_signs_only_where_its_own_commitments_are_listed():
    """RFC 9591 §5.2: else it would sign under nonces it does not know to be fresh."""
    shares = keygen(FROST_ED25519)
    coins = random.Random(1)
    first = {i: frost.commit(shares[i], coins) for i in (1, 2, 3, 4)}
    commitments = {i: c for i, (_, c) in first.items()}
    with pytest.raises(CryptoError, match="own"):
        frost.sign(shares[1], first[1][0], b"m", [commitments[i] for i in (2, 3, 4)])
    swapped = dataclasses.replace(commitments[1], hiding=commitments[2].hiding)
    with pytest.raises(CryptoError, match="own"):
        frost.sign(shares[1], first[1][0], b"m", [swapped, commitments[2], commitments[3]])


@pytest.mark.parametrize("also", [1, 1 + ED25519.order])
def test_a_signer_listed_twice_is_refused(also):
    shares = keygen(FROST_ED25519)
    coins = random.Random(1)
    first = {i: frost.commit(shares[i], coins) for i in (1, 2, 3)}
    commitments = [c for _, c in first.values()]
    commitments.append(dataclasses.replace(commitments[0], identifier=also))
    with pytest.raises(CryptoError, match="twice"):
        frost.sign(shares[1], first[1][0], b"m", commitments)


def test_too_few_signers_are_refused():
    shares = keygen(FROST_ED25519, t=3)
    coins = random.Random(1)
    first = {i: frost.commit(shares[i], coins) for i in (1, 2)}
    with pytest.raises(CryptoError, match="3 signers are needed"):
        frost.sign(shares[1], first[1][0], b"m", [c for _, c in first.values()])


def test_shares_of_concurrent_signings_do_not_mix():
    """A share made for one message or quorum is a wrong share in every other."""
    shares = keygen(FROST_ED25519)
    key = shares[1].key
    commitments, here = rounds(shares, [1, 2, 3], b"message", seed=5)
    _, other_message = rounds(shares, [1, 2, 3], b"another", seed=5)
    _, other_quorum = rounds(shares, [1, 2, 4], b"message", seed=5)
    for strange in (other_message[1], other_quorum[1]):
        with pytest.raises(BadShare) as caught:
            frost.aggregate(key, b"message", commitments, here | {1: strange})
        assert caught.value.culprits == (1,)


@each_suite
def test_nonces_never_repeat_and_depend_on_the_key(suite):
    """Two draws differ; the same coins under another key give other nonces (§4.1)."""
    one, other = keygen(suite, seed=1)[1], keygen(suite, seed=2)[1]
    nonces, _ = frost.commit(one, random.Random(1))
    assert nonces.hiding != nonces.binding
    assert frost.commit(other, random.Random(1))[0] != nonces
    assert frost.commit(one, random.Random(2))[0] != nonces


def nonce_reuse_attack(suite, key, identifier, seen):
    """Solve for a signer's secret share from three signings under the same two nonces.

    `seen` holds (message, commitments, signature share) three times. Each gives one equation
    ±z = d + ρ·e ± λ·c·s in the unknowns d, e and s, and only d, e and s stay the same.
    """
    order = suite.group.order
    rows = []
    for message, commitments, z in seen:
        rho = frost.compute_binding_factors(suite, key.public, commitments, message)
        commitment = frost.compute_group_commitment(suite, commitments, rho)
        challenge = suite.challenge(commitment, key.public, message)
        weight = lagrange_coefficients([c.identifier for c in commitments], order)[identifier]
        rows.append([1, rho[identifier], weight * challenge % order, z])
    (a, b, c) = rows
    # Subtract the first row, which removes d; then eliminate e.
    e1, s1, z1 = (y - x for x, y in zip(a[1:], b[1:], strict=True))
    e2, s2, z2 = (y - x for x, y in zip(a[1:], c[1:], strict=True))
    return (z1 * e2 - z2 * e1) * pow(s1 * e2 - s2 * e1, -1, order) % order


@pytest.mark.parametrize("suite", [FROST_ED25519, FROST_SECP256K1], ids=str)
def test_reusing_nonces_three_times_gives_the_share_away(suite):
    """Why nonces are deleted before the share is sent: this attack is real."""
    shares = keygen(suite)
    victim = shares[2]
    nonces, own = frost.commit(victim, random.Random(1))
    seen = []
    for attempt in range(3):
        coins = random.Random(100 + attempt)
        commitments = [own, *(frost.commit(shares[i], coins)[1] for i in (1, 3))]
        message = b"message %d" % attempt
        seen.append((message, commitments, frost.sign(victim, nonces, message, commitments)))
    assert nonce_reuse_attack(suite, victim.key, 2, seen) == victim.secret


# -- secrets and state ---------------------------------------------------------------------


def test_repr_shows_no_secret():
    shares = keygen(FROST_ED25519)
    nonces, _ = frost.commit(shares[1], random.Random(1))
    shown = repr(shares[1]) + repr(nonces)
    for secret in (shares[1].secret, nonces.hiding, nonces.binding):
        assert str(secret) not in shown
        assert f"{secret:x}" not in shown


@each_suite
def test_shares_fork_and_survive_a_store(suite):
    share = keygen(suite)[1]
    assert copy.deepcopy(share) == share
    assert pickle.loads(pickle.dumps(share)) == share
    assert copy.deepcopy(share).suite is suite


@each_suite
def test_a_share_that_does_not_fit_its_key_is_noticed(suite):
    share = keygen(suite)[1]
    share.check()
    with pytest.raises(BadShare):
        dataclasses.replace(share, secret=share.secret + 1).check()
    with pytest.raises(BadShare):
        dataclasses.replace(share, identifier=2).check()


def test_a_group_key_from_outside_is_validated():
    key = keygen(FROST_ED25519)[1].key
    assert type(key).decode(FROST_ED25519, key.commitments) == key
    inner_zero = (key.public, ED25519.identity)
    assert type(key).decode(FROST_ED25519, inner_zero).threshold == 2
    for wrong in ((), (ED25519.identity,), (b"\xff" * 32,), (key.public, b"")):
        with pytest.raises((CryptoError, ValueError)):
            type(key).decode(FROST_ED25519, wrong)
    other = keygen(FROST_ED25519, seed=9)[1].key
    assert key.fingerprint() != other.fingerprint()
    assert key.fingerprint() == keygen(FROST_ED25519)[2].key.fingerprint()


@pytest.mark.parametrize(("secret", "t", "n"), [(0, 1, 1), (5, 0, 3), (5, 4, 3)])
def test_a_dealer_refuses_nonsense(secret, t, n):
    with pytest.raises(ValueError, match=r"secret key|threshold"):
        trusted_dealer_keygen(FROST_ED25519, secret, t, range(1, n + 1), random.Random(1))
