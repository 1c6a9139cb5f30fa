"""A key's later life, while the public key stays the same: refresh, reshare, repair.

* **Refresh** (Herzberg et al., CRYPTO 1995): everyone deals a share of *zero*. All shares change,
  so that those stolen before and those stolen after do not add up.
* **Reshare** (Desmedt and Jajodia 1997): the holders of `threshold` old shares deal *their shares*
  to new holders, of any number and any new threshold. A dealer's constant term is checked against
  its public share, so it can not deal anything else.
* **Repair** (Laing and Stinson, ePrint 2017/1155, "enrollment"): helpers restore the share of a
  party that lost it, or make one for a new party; nobody but its owner learns it. Each helper
  splits its contribution among all helpers, which forward sums. Our addition: the pieces are
  committed to, so that a wrong one names its author.

Dealings here need no proof of possession: the constant terms are fixed by the old key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mpclab.crypto import feldman, shamir
from mpclab.crypto.errors import BadCommitment, BadShare, EncodingError
from mpclab.crypto.feldman import Commitments
from mpclab.crypto.groups import Element
from mpclab.crypto.identity import Coins
from mpclab.crypto.keys import GroupKey, KeyShare, check_count, decode_elements
from mpclab.crypto.pedersen import Secret

# -- refresh -------------------------------------------------------------------------------


def refresh_deal(key: GroupKey, coins: Coins) -> tuple[Secret, Commitments]:
    """A random polynomial with constant term 0, and the `threshold - 1` commitments to the rest."""
    # Herzberg et al., share renewal: P_i picks random numbers δ_im, which define a polynomial
    # δ_i(z) = Σ δ_im·z^m with m from 1, so that δ_i(0) = 0; and it publishes ε_im = g^δ_im.
    group = key.suite.group
    polynomial = shamir.random_polynomial(0, key.threshold, group.order, coins)
    return Secret(polynomial), feldman.commit(group, polynomial[1:])


def check_refresh(
    key: GroupKey, dealer: int, commitments: Sequence[bytes], *, together: bool = False
) -> None:
    """Raise `BadCommitment` unless these are `threshold - 1` valid elements; whether they are
    elements is left to `are_elements` of all dealers' sums when they are checked `together`.

    The constant term is not sent: it is 0 for everyone, so no dealer can move the key.
    """
    try:
        check_count(commitments, key.threshold - 1, "commitments")
    except EncodingError as error:
        raise BadCommitment(dealer, str(error)) from error
    if not together:
        _check_elements(key, dealer, commitments, key.threshold - 1)


def refresh_finish(
    old: KeyShare, dealings: Mapping[int, Sequence[bytes]], shares: Mapping[int, int]
) -> KeyShare:
    """The new share: delete the old one.

    Args:
        dealings: of all qualified dealers, each one passed by `check_refresh`.
        shares: what the same dealers sent to this party.

    Raises:
        BadShare: the dealers whose shares do not fit.
    """
    _check_dealers(dealings, shares)
    group = old.suite.group
    updates = {dealer: (group.identity, *rest) for dealer, rest in dealings.items()}
    commitments = feldman.add(group, [old.key.commitments, *updates.values()])
    # P_i checks each u_ji by g^u_ji = Π ε_jm^(i^m), computes its new share x_i + (u_1i + … + u_ni)
    # and erases all but that. Note: the sum is checked, and each share only if it is wrong.
    secret = (old.secret + sum(shares.values())) % group.order
    if not feldman.verify(group, commitments, old.identifier, secret):
        raise _wrong_shares(old.key, old.identifier, updates, shares)
    return KeyShare(old.identifier, secret, GroupKey(old.suite, commitments))


# -- reshare -------------------------------------------------------------------------------


def reshare_deal(old: KeyShare, threshold: int, coins: Coins) -> tuple[Secret, Commitments]:
    """Deal one's own share to new holders, `threshold` of whom will be needed."""
    # Desmedt and Jajodia, redistribution: each of t old holders shares s_i as if it were a secret.
    group = old.suite.group
    polynomial = shamir.random_polynomial(old.secret, threshold, group.order, coins)
    return Secret(polynomial), feldman.commit(group, polynomial)


def check_reshare(key: GroupKey, threshold: int, dealer: int, commitments: Sequence[bytes]) -> None:
    """Judge a dealing against the old key.

    Raises:
        BadCommitment: not exactly `threshold` valid elements, or the dealer deals something else
            than its share of the key.
    """
    _check_elements(key, dealer, commitments, threshold)
    if commitments[0] != key.public_share(dealer):
        raise BadCommitment(dealer, "dealt something else than its share of the key")


def reshare_finish(
    key: GroupKey,
    identifier: int,
    dealings: Mapping[int, Sequence[bytes]],
    shares: Mapping[int, int],
) -> KeyShare:
    """A new holder's share of the old key.

    Args:
        key: the old key.
        identifier: the new holder.
        dealings: of at least `key.threshold` old holders, the same ones for all new holders, each
            passed by `check_reshare`.
        shares: what the same dealers sent to this party.

    Raises:
        BadShare: the dealers whose shares do not fit.
    """
    if len(dealings) < key.threshold:
        raise ValueError(f"{key.threshold} old shares are needed, {len(dealings)} were dealt")
    _check_dealers(dealings, shares)
    group = key.suite.group
    # … and a new holder combines what it got as the old shares would be combined: Σ λ_i·ŝ_ij.
    weights = shamir.lagrange_coefficients(tuple(dealings), group.order)
    secret = sum(weights[dealer] * share for dealer, share in shares.items()) % group.order
    commitments = tuple(
        group.linear_combination(zip(weights.values(), column, strict=True))
        for column in zip(*dealings.values(), strict=True)
    )
    if commitments[0] != key.public:
        raise ValueError("a dealing here was not passed by check_reshare")
    # The sum that is checked must be the weighted one: two dealers whose errors cancel in the
    # plain sum would otherwise spoil this share unseen.
    if not feldman.verify(group, commitments, identifier, secret):
        raise _wrong_shares(key, identifier, dealings, shares)
    return KeyShare(identifier, secret, GroupKey(key.suite, commitments))


# -- repair --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RepairPieces:
    """A helper's contribution, split at random: one secret piece for each helper."""

    pieces: dict[int, int] = field(repr=False)


def repair_split(
    share: KeyShare, helpers: Sequence[int], lost: int, coins: Coins
) -> tuple[RepairPieces, dict[int, Element]]:
    """Split λ·share, this helper's part of the lost share, into pieces that add up to it.

    Returns:
        The pieces, one to be sealed to each helper (our own included), and the commitments to
        them, by helper, for everyone.
    """
    _check_helpers(share.key, helpers, lost)
    group = share.suite.group
    # Laing and Stinson, enrollment: P_i computes γ_i·s_i, its part of the share at `lost`,
    # and splits it at random into δ_1i + … + δ_ti.
    weight = shamir.lagrange_coefficients(helpers, group.order, lost)[share.identifier]
    pieces = {j: shamir.random_scalar(group.order, coins) for j in helpers[1:]}
    first = (weight * share.secret - sum(pieces.values())) % group.order
    pieces = {helpers[0]: first, **pieces}
    return RepairPieces(pieces), {j: group.base_mult(piece) for j, piece in pieces.items()}


def check_repair_commitments(
    key: GroupKey,
    helpers: Sequence[int],
    lost: int,
    helper: int,
    commitments: Mapping[int, bytes],
) -> None:
    """Raise `BadCommitment` unless the helper's pieces add up to its part of the lost share."""
    _check_helpers(key, helpers, lost)
    group = key.suite.group
    if commitments.keys() != set(helpers):
        raise BadCommitment(helper, "one commitment for each helper is needed")
    _check_elements(key, helper, tuple(commitments.values()), len(helpers))
    weight = shamir.lagrange_coefficients(helpers, group.order, lost)[helper]
    if group.sum(commitments.values()) != group.mult(weight, key.public_share(helper)):
        raise BadCommitment(helper, "the pieces do not add up to a part of the lost share")


def repair_sum(
    key: GroupKey,
    receiver: int,
    commitments: Mapping[int, Mapping[int, bytes]],
    pieces: Mapping[int, int],
) -> int:
    """The sum of the pieces that one helper received, which it forwards, sealed, to the owner.

    Args:
        receiver: this helper.
        commitments: of each helper, each passed by `check_repair_commitments`.
        pieces: what each helper sent to this one.

    Raises:
        BadShare: the helpers whose pieces do not fit their commitments.
    """
    if not pieces or pieces.keys() != commitments.keys():
        raise ValueError("one piece of each helper is needed")
    group = key.suite.group
    # P_j gets δ_ji from every P_i and computes σ_j = Σ δ_ji. Note: checked, each.
    wrong = [i for i, s in pieces.items() if group.base_mult(s) != commitments[i][receiver]]
    if wrong:
        raise BadShare(wrong, f"the piece for helper {receiver} does not fit its commitment")
    return sum(pieces.values()) % group.order


def repair_finish(
    key: GroupKey,
    lost: int,
    commitments: Mapping[int, Mapping[int, bytes]],
    sums: Mapping[int, int],
) -> KeyShare:
    """The lost share again, checked against the key.

    Args:
        lost: its owner.
        commitments: of each helper, each passed by `check_repair_commitments`.
        sums: what each helper forwarded.

    Raises:
        BadShare: the helpers whose sums do not fit what everyone committed to.
    """
    if not sums or sums.keys() != commitments.keys():
        raise ValueError("one sum of each helper is needed")
    group = key.suite.group
    wrong = [
        j
        for j, value in sums.items()
        if group.base_mult(value) != group.sum(own[j] for own in commitments.values())
    ]
    if wrong:
        raise BadShare(wrong, "the sum of pieces does not fit the commitments")
    # P_ℓ gets σ_j from every P_j, and its share is Σ σ_j.
    share = KeyShare(lost, sum(sums.values()) % group.order, key)
    share.check()
    return share


# -- common --------------------------------------------------------------------------------


def _check_elements(key: GroupKey, author: int, elements: Sequence[bytes], count: int) -> None:
    try:
        decode_elements(key.suite, elements, count, "commitments")
    except EncodingError as error:
        raise BadCommitment(author, str(error)) from error


def _check_dealers(dealings: Mapping[int, Sequence[Element]], shares: Mapping[int, int]) -> None:
    if not dealings or dealings.keys() != shares.keys():
        raise ValueError("one share of each qualified dealer is needed")


def _wrong_shares(
    key: GroupKey,
    receiver: int,
    dealings: Mapping[int, Sequence[Element]],
    shares: Mapping[int, int],
) -> BadShare:
    """Look for the guilty dealers, one by one, once a sum of shares did not fit."""
    group = key.suite.group
    wrong = [
        i for i, own in dealings.items() if not feldman.verify(group, own, receiver, shares[i])
    ]
    return BadShare(wrong, f"the share for party {receiver} does not fit the commitments")


def _check_helpers(key: GroupKey, helpers: Sequence[int], lost: int) -> None:
    if len(helpers) < key.threshold:
        raise ValueError(f"{key.threshold} helpers are needed, not {len(helpers)}")
    if lost in helpers:
        raise ValueError(f"party {lost} can not help itself")
