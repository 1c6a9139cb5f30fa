"""Refresh, reshare and repair keep the key, change what they must, and name who cheats."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.crypto import pedersen, proactive, shamir
from mpclab.crypto.ciphersuites import FROST_ED25519, FROST_SECP256K1
from mpclab.crypto.errors import BadCommitment, BadShare
from mpclab.crypto.keys import trusted_dealer_keygen

each_suite = pytest.mark.parametrize("suite", [FROST_ED25519, FROST_SECP256K1], ids=str)


def keygen(suite=FROST_ED25519, t=3, n=5, seed=1):
    coins = random.Random(seed)
    return trusted_dealer_keygen(suite, coins.getrandbits(200) + 1, t, range(1, n + 1), coins)


def secret_of(shares):
    """The group secret, from as many shares as there are."""
    first = next(iter(shares.values()))
    return shamir.interpolate({i: s.secret for i, s in shares.items()}, first.suite.group.order)


def some(shares, count, choice):
    return {i: shares[i] for i in choice.sample(sorted(shares), count)}


def evaluate(secret, x, suite=FROST_ED25519):
    return shamir.evaluate(secret.polynomial, x, suite.group.order)


# -- refresh -------------------------------------------------------------------------------


def refresh(shares, dealers, seed=2):
    coins = random.Random(seed)
    key = next(iter(shares.values())).key
    dealt = {i: proactive.refresh_deal(key, coins) for i in dealers}
    for i, (_, commitments) in dealt.items():
        proactive.check_refresh(key, i, commitments)
    dealings = {i: commitments for i, (_, commitments) in dealt.items()}
    received = {j: {i: evaluate(s, j, key.suite) for i, (s, _) in dealt.items()} for j in shares}
    return dealings, received


@each_suite
@settings(max_examples=10, deadline=None)
@given(t=st.integers(1, 4), seed=st.integers(0, 99), choice=st.randoms())
def test_refresh_changes_the_shares_and_keeps_the_key(suite, t, seed, choice):
    old = keygen(suite, t, 4, seed)
    dealings, received = refresh(old, [1, 2, 4], seed)
    new = {i: proactive.refresh_finish(old[i], dealings, received[i]) for i in old}
    for share in new.values():
        share.check()
    assert len({share.key for share in new.values()}) == 1
    assert new[1].key.public == old[1].key.public
    assert secret_of(some(new, t, choice)) == secret_of(old)
    if t > 1:
        assert all(new[i].secret != old[i].secret for i in old)
        mixed = dict([*some(old, 1, choice).items()])
        mixed |= some({i: s for i, s in new.items() if i not in mixed}, t - 1, choice)
        assert secret_of(mixed) != secret_of(old)  # stolen before and after do not add up


@given(liars=st.sets(st.sampled_from([1, 2, 4]), min_size=1), error=st.integers(1, 2**200))
@settings(max_examples=10, deadline=None)
def test_refresh_names_the_dealers_of_wrong_shares(liars, error):
    old = keygen()
    dealings, received = refresh(old, [1, 2, 4])
    for offset, liar in enumerate(sorted(liars)):
        received[5][liar] += error + offset
    with pytest.raises(BadShare) as caught:
        proactive.refresh_finish(old[5], dealings, received[5])
    assert caught.value.culprits == tuple(sorted(liars))


def test_refresh_can_not_move_the_key():
    """A dealer whose polynomial is 7 at zero: its shares fit no commitments it may send."""
    old = keygen()
    dealings, received = refresh(old, [1, 2, 4])
    for j in old:
        received[j][2] += 7
    with pytest.raises(BadShare) as caught:
        proactive.refresh_finish(old[3], dealings, received[3])
    assert caught.value.culprits == (2,)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_refresh_has_a_fixed_number_of_commitments(count):
    key = keygen()[1].key
    with pytest.raises(BadCommitment) as caught:
        proactive.check_refresh(key, 2, [key.suite.group.generator] * count)
    assert caught.value.culprits == (2,)


# -- reshare -------------------------------------------------------------------------------


def reshare(old, dealers, t, receivers, seed=2):
    coins = random.Random(seed)
    key = next(iter(old.values())).key
    dealt = {i: proactive.reshare_deal(old[i], t, coins) for i in dealers}
    for i, (_, commitments) in dealt.items():
        proactive.check_reshare(key, t, i, commitments)
    dealings = {i: commitments for i, (_, commitments) in dealt.items()}
    received = {j: {i: evaluate(s, j, key.suite) for i, (s, _) in dealt.items()} for j in receivers}
    return key, dealings, received


@each_suite
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_reshare_moves_the_key_to_any_holders_and_threshold(suite, data):
    t = data.draw(st.integers(1, 4), "t")
    old = keygen(suite, t, 4, data.draw(st.integers(0, 99), "seed"))
    dealers = data.draw(st.permutations([1, 2, 3, 4]), "dealers")
    dealers = dealers[: data.draw(st.integers(t, 4), "how many")]
    receivers = sorted(data.draw(st.sets(st.integers(1, 9), min_size=1, max_size=6), "receivers"))
    new_t = data.draw(st.integers(1, len(receivers)), "new t")
    key, dealings, received = reshare(old, dealers, new_t, receivers)
    new = {j: proactive.reshare_finish(key, j, dealings, received[j]) for j in receivers}
    for share in new.values():
        share.check()
    assert len({share.key for share in new.values()}) == 1
    assert new[receivers[0]].key.public == key.public
    assert new[receivers[0]].key.threshold == new_t
    quorum = some(new, new_t, data.draw(st.randoms(use_true_random=False)))
    assert secret_of(quorum) == secret_of(old)


@given(liars=st.sets(st.sampled_from([1, 2, 4]), min_size=1), error=st.integers(1, 2**200))
@settings(max_examples=10, deadline=None)
def test_reshare_names_the_dealers_of_wrong_shares(liars, error):
    key, dealings, received = reshare(keygen(), [1, 2, 4], 2, [6, 7, 8])
    for offset, liar in enumerate(sorted(liars)):
        received[7][liar] += error + offset
    with pytest.raises(BadShare) as caught:
        proactive.reshare_finish(key, 7, dealings, received[7])
    assert caught.value.culprits == tuple(sorted(liars))


def test_reshare_notices_errors_that_cancel_in_the_plain_sum():
    """Shares enter with different weights, so +e and -e from two dealers still spoil the share."""
    key, dealings, received = reshare(keygen(), [1, 2, 4], 2, [6, 7, 8])
    received[7][1] += 99
    received[7][2] -= 99
    with pytest.raises(BadShare) as caught:
        proactive.reshare_finish(key, 7, dealings, received[7])
    assert caught.value.culprits == (1, 2)


def test_a_dealer_can_deal_nothing_but_its_own_share():
    old = keygen()
    strange = keygen(seed=9)
    _, commitments = proactive.reshare_deal(strange[2], 2, random.Random(1))
    with pytest.raises(BadCommitment, match="something else") as caught:
        proactive.check_reshare(old[1].key, 2, 2, commitments)
    assert caught.value.culprits == (2,)
    _, of_another = proactive.reshare_deal(old[3], 2, random.Random(1))
    with pytest.raises(BadCommitment, match="something else"):
        proactive.check_reshare(old[1].key, 2, 2, of_another)


def test_dealings_that_nobody_checked_do_not_change_the_key():
    """Our own mistake, then: the last line of defence behind `check_reshare`."""
    key, dealings, received = reshare(keygen(), [1, 2, 4], 2, [6, 7])
    strange, commitments = proactive.reshare_deal(keygen(seed=9)[2], 2, random.Random(1))
    dealings[2], received[6][2] = commitments, evaluate(strange, 6)
    with pytest.raises(ValueError, match="check_reshare"):
        proactive.reshare_finish(key, 6, dealings, received[6])


@pytest.mark.parametrize("count", [1, 3])
def test_resharing_to_another_threshold_than_agreed_is_refused(count):
    old = keygen()
    _, commitments = proactive.reshare_deal(old[2], count, random.Random(1))
    with pytest.raises(BadCommitment, match="2 commitments expected"):
        proactive.check_reshare(old[1].key, 2, 2, commitments)


def test_too_few_old_holders_can_not_reshare():
    key, dealings, received = reshare(keygen(), [1, 2], 2, [6, 7])
    with pytest.raises(ValueError, match="3 old shares"):
        proactive.reshare_finish(key, 6, dealings, received[6])


# -- repair --------------------------------------------------------------------------------


class Repair:
    """Helpers restore the share of one party."""

    def __init__(self, shares, helpers, lost, seed=3):
        coins = random.Random(seed)
        self.key, self.helpers, self.lost = shares[helpers[0]].key, helpers, lost
        split = {i: proactive.repair_split(shares[i], helpers, lost, coins) for i in helpers}
        self.commitments = {i: commitments for i, (_, commitments) in split.items()}
        self.received = {j: {i: split[i][0].pieces[j] for i in helpers} for j in helpers}

    def check(self):
        for i in self.helpers:
            proactive.check_repair_commitments(
                self.key, self.helpers, self.lost, i, self.commitments[i]
            )

    def sums(self):
        return {
            j: proactive.repair_sum(self.key, j, self.commitments, self.received[j])
            for j in self.helpers
        }

    def finish(self, sums):
        return proactive.repair_finish(self.key, self.lost, self.commitments, sums)


@each_suite
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_helpers_restore_a_lost_share(suite, data):
    t = data.draw(st.integers(1, 4), "t")
    shares = keygen(suite, t, 5, data.draw(st.integers(0, 99), "seed"))
    lost = data.draw(st.integers(1, 5), "lost")
    others = data.draw(st.permutations([i for i in shares if i != lost]), "helpers")
    run = Repair(shares, others[: data.draw(st.integers(t, 4), "how many")], lost)
    run.check()
    assert run.finish(run.sums()) == shares[lost]


def test_helpers_make_a_share_for_a_new_party():
    shares = keygen()
    run = Repair(shares, [1, 2, 5], 6)
    run.check()
    restored = run.finish(run.sums())
    restored.check()
    assert secret_of({2: shares[2], 4: shares[4], 6: restored}) == secret_of(shares)


def test_a_wrong_piece_names_the_helper_that_made_it():
    run = Repair(keygen(), [1, 2, 5], 3)
    run.received[5][2] += 1
    with pytest.raises(BadShare) as caught:
        run.sums()
    assert caught.value.culprits == (2,)


def test_a_wrong_sum_names_the_helper_that_made_it():
    run = Repair(keygen(), [1, 2, 5], 3)
    sums = run.sums()
    sums[1] += 1
    sums[5] -= 1  # cancels out, and is still seen
    with pytest.raises(BadShare) as caught:
        run.finish(sums)
    assert caught.value.culprits == (1, 5)


def test_pieces_of_something_else_name_the_helper_that_committed_to_them():
    run = Repair(keygen(), [1, 2, 5], 3)
    strange = Repair(keygen(seed=9), [1, 2, 5], 3)
    run.commitments[2] = strange.commitments[2]
    with pytest.raises(BadCommitment, match="add up") as caught:
        run.check()
    assert caught.value.culprits == (2,)
    del run.commitments[2][5]
    with pytest.raises(BadCommitment, match="each helper"):
        run.check()


def test_what_a_helper_receives_is_independent_of_the_shares():
    """Same coins, another key: all pieces but the dealer's first are the same bytes."""
    one, other = (Repair(keygen(seed=s), [1, 2, 5], 3) for s in (1, 9))
    assert one.received[2] == other.received[2]
    assert one.received[5] == other.received[5]
    assert one.received[1] != other.received[1]


def test_too_few_helpers_are_refused():
    shares = keygen()
    with pytest.raises(ValueError, match="3 helpers"):
        proactive.repair_split(shares[1], [1, 2], 3, random.Random(1))
    with pytest.raises(ValueError, match="help itself"):
        proactive.repair_split(shares[1], [1, 2, 3], 3, random.Random(1))
    run = Repair(shares, [1, 2, 5], 3)
    sums = run.sums()
    del sums[2], run.received[1][2]
    with pytest.raises(ValueError, match="one piece of each"):
        run.sums()
    with pytest.raises(ValueError, match="one sum of each"):
        run.finish(sums)


def test_repr_shows_no_piece_or_polynomial():
    shares = keygen()
    pieces, _ = proactive.repair_split(shares[1], [1, 2, 5], 3, random.Random(1))
    secret, _ = proactive.reshare_deal(shares[1], 2, random.Random(1))
    shown = repr(pieces) + repr(secret)
    assert isinstance(secret, pedersen.Secret)
    assert not any(str(v) in shown for v in (*pieces.pieces.values(), *secret.polynomial))
