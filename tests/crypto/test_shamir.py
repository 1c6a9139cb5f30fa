"""Enough shares restore a secret, fewer say nothing; a wrong share is noticed."""

import random
from collections import Counter
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.crypto import feldman, shamir
from mpclab.crypto.groups import ED25519, SECP256K1

ORDER = ED25519.order


@st.composite
def sharings(draw):
    """A secret, a threshold, identifiers and the shares."""
    n = draw(st.integers(1, 8))
    t = draw(st.integers(1, n))
    identifiers = draw(st.lists(st.integers(1, ORDER - 1), min_size=n, max_size=n, unique=True))
    secret = draw(st.integers(0, ORDER - 1))
    coins = random.Random(draw(st.integers()))
    return secret, t, shamir.share(secret, t, identifiers, ORDER, coins), draw(st.randoms())


@given(sharings())
def test_any_threshold_of_shares_restore_the_secret(sharing):
    secret, t, shares, choice = sharing
    chosen = choice.sample(sorted(shares), t)
    assert shamir.interpolate({i: shares[i] for i in chosen}, ORDER) == secret
    assert shamir.interpolate(shares, ORDER) == secret


@given(sharings())
def test_shares_restore_each_other(sharing):
    _, t, shares, choice = sharing
    lost = choice.choice(sorted(shares))
    chosen = choice.sample(sorted(shares), t)
    assert shamir.interpolate({i: shares[i] for i in chosen}, ORDER, lost) == shares[lost]


@pytest.mark.parametrize(("prime", "view"), [(5, (2,)), (5, (1, 3)), (7, (1, 3)), (5, (1, 2, 4))])
def test_views_of_too_few_parties_are_distributed_alike(prime, view):
    """Perfect secrecy, exhaustively in a small field: t - 1 parties see every tuple of shares
    equally often, whatever the secret is."""
    for secret in range(prime):
        views = Counter(
            tuple(shamir.evaluate((secret, *rest), x, prime) for x in view)
            for rest in product(range(prime), repeat=len(view))
        )
        assert views == Counter(product(range(prime), repeat=len(view)))


def test_random_polynomials_reach_every_coefficient():
    """Leading zeros included: without them the view above would depend on the secret."""
    coins = random.Random(7)
    seen = Counter(shamir.random_polynomial(3, 3, 5, coins) for _ in range(2500))
    assert len(seen) == 25
    assert {polynomial[0] for polynomial in seen} == {3}
    assert min(seen.values()) > 50


@given(sharings(), st.integers(1, ORDER - 1))
def test_a_wrong_share_among_spare_ones_is_noticed(sharing, error):
    _, t, shares, choice = sharing
    assert shamir.is_consistent(shares, t, ORDER)
    if t < len(shares):
        shares[choice.choice(sorted(shares))] += error
        assert not shamir.is_consistent(shares, t, ORDER)


@given(sharings(), st.integers(0, ORDER - 1))
def test_many_interpolations_are_one_each(sharing, factor):
    secret, _, shares, _ = sharing
    vectors = {i: (value, value * factor % ORDER, 1) for i, value in shares.items()}
    assert shamir.interpolate_many(vectors, ORDER) == (secret, secret * factor % ORDER, 1)


def test_lagrange_coefficients_by_hand():
    """f(0) = 3·f(1) - 3·f(2) + f(3) for a parabola."""
    assert shamir.lagrange_coefficients((1, 2, 3), 101) == {1: 3, 2: 101 - 3, 3: 1}


@pytest.mark.parametrize(
    ("identifiers", "complaint"),
    [
        ((1, 0), "is 0"),
        ((1, ORDER), "is 0"),
        ((1, 2, 1), "twice"),
        ((1, 1 + ORDER), "twice"),
        ((-1, ORDER - 1), "twice"),
    ],
)
def test_identifiers_are_nonzero_and_distinct_modulo_the_order(identifiers, complaint):
    with pytest.raises(ValueError, match=complaint):
        shamir.check_identifiers(identifiers, ORDER)
    with pytest.raises(ValueError, match=complaint):
        shamir.lagrange_coefficients(identifiers, ORDER)
    with pytest.raises(ValueError, match=complaint):
        shamir.share(1, 1, identifiers, ORDER, random.Random(1))


def test_a_threshold_fits_the_number_of_shares():
    with pytest.raises(ValueError, match="at least one"):
        shamir.share(1, 0, (1, 2), ORDER, random.Random(1))
    with pytest.raises(ValueError, match="only 2"):
        shamir.share(1, 3, (1, 2), ORDER, random.Random(1))


# -- Feldman -------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [ED25519, SECP256K1], ids=str)
@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_shares_fit_their_commitments_and_no_others(group, threshold):
    coins = random.Random(threshold)
    polynomial = shamir.random_polynomial(42, threshold, group.order, coins)
    commitments = feldman.commit(group, polynomial)
    assert len(commitments) == threshold
    for x in (1, 2, 9, group.order - 1):
        share = shamir.evaluate(polynomial, x, group.order)
        assert feldman.verify(group, commitments, x, share)
        assert not feldman.verify(group, commitments, x, share + 1)
        assert feldman.public_share(group, commitments, x) == group.base_mult(share)
    shares = feldman.public_shares(group, commitments, (1, 2))
    assert shares[2] == feldman.public_share(group, commitments, 2)
    if threshold > 1:
        share = shamir.evaluate(polynomial, 1, group.order)
        assert not feldman.verify(group, commitments, 2, share)


def test_commitments_add_and_scale_as_their_polynomials():
    coins = random.Random(3)
    f, g = (shamir.random_polynomial(s, 3, ORDER, coins) for s in (5, 6))
    summed = feldman.add(ED25519, [feldman.commit(ED25519, p) for p in (f, g)])
    assert summed == feldman.commit(ED25519, [a + b for a, b in zip(f, g, strict=True)])
    scaled = feldman.scale(ED25519, 7, feldman.commit(ED25519, f))
    assert scaled == feldman.commit(ED25519, [7 * a for a in f])
    with pytest.raises(ValueError, match="zip"):
        feldman.add(ED25519, [summed, summed[:2]])


@pytest.mark.parametrize("subset", list(combinations(range(1, 5), 2)))
def test_public_shares_interpolate_to_the_public_secret(subset):
    polynomial = shamir.random_polynomial(9, 2, ORDER, random.Random(1))
    commitments = feldman.commit(ED25519, polynomial)
    weights = shamir.lagrange_coefficients(subset, ORDER)
    terms = [(weights[i], feldman.public_share(ED25519, commitments, i)) for i in subset]
    assert ED25519.linear_combination(terms) == commitments[0]
