"""The parts of a key that a group shares: a `GroupKey` in common, a `KeyShare` each.

The group key is the commitments to the shared polynomial. Everything public follows from them:
the key itself is the first, their number is the threshold, and `public_share(i)` says what
party i's secret share must be in the exponent, so that its every act can be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mpclab.crypto import feldman, shamir
from mpclab.crypto.ciphersuites import Ciphersuite
from mpclab.crypto.errors import BadShare, EncodingError
from mpclab.crypto.groups import Element, Group
from mpclab.crypto.identity import Coins
from mpclab.crypto.transcript import digest


@dataclass(frozen=True, slots=True)
class GroupKey:
    """The public side of a shared key, the same for all its holders.

    Attributes:
        suite: what the key is for.
        commitments: `threshold` elements, A_k = a_k·G of the shared polynomial.
    """

    suite: Ciphersuite
    commitments: feldman.Commitments

    def __post_init__(self) -> None:
        if not self.commitments:
            raise ValueError("a key has at least one commitment")

    @property
    def public(self) -> Element:
        """The group's public key."""
        return self.commitments[0]

    @property
    def threshold(self) -> int:
        """How many shares are needed."""
        return len(self.commitments)

    def public_share(self, identifier: int) -> Element:
        """A party's secret share in the exponent."""
        return feldman.public_share(self.suite.group, self.commitments, identifier)

    def fingerprint(self) -> bytes:
        """32 bytes that are equal for two parties exactly if they hold the same key."""
        return digest("group key", self.suite.name, self.commitments)

    @classmethod
    def decode(cls, suite: Ciphersuite, commitments: Sequence[bytes]) -> GroupKey:
        """A key from outside, such as a store; `EncodingError` if any element is not one.

        Inner commitments may be the identity (a coefficient can be 0), the key may not.
        """
        group = suite.group
        for position, data in enumerate(commitments):
            if position == 0 or data != group.identity:
                group.decode_element(data)
        return cls(suite, tuple(commitments))


@dataclass(frozen=True, slots=True)
class KeyShare:
    """One party's share of a key. `repr` does not show the secret.

    Attributes:
        identifier: the point at which the polynomial was evaluated.
        secret: its value there, a scalar.
        key: the key that it is a share of.
    """

    identifier: int
    secret: int = field(repr=False)
    key: GroupKey

    @property
    def suite(self) -> Ciphersuite:
        """The key's ciphersuite."""
        return self.key.suite

    def check(self) -> None:
        """Raise `BadShare` unless the secret fits the key: call it on what a store returns."""
        group = self.key.suite.group
        if not feldman.verify(group, self.key.commitments, self.identifier, self.secret):
            raise BadShare(self.identifier, "this share is not one of this key")


def trusted_dealer_keygen(
    suite: Ciphersuite, secret: int, threshold: int, identifiers: Sequence[int], coins: Coins
) -> dict[int, KeyShare]:
    """Share a secret key that one party knows (RFC 9591 Appendix C.1).

    The other way is `mpclab.crypto.pedersen`, where nobody ever knows it.
    """
    group = suite.group
    if secret % group.order == 0:
        raise ValueError("a secret key is not 0")
    if not 1 <= threshold <= len(identifiers):
        raise ValueError(f"the threshold is from 1 to {len(identifiers)}, not {threshold}")
    shamir.check_identifiers(identifiers, group.order)
    polynomial = shamir.random_polynomial(secret, threshold, group.order, coins)
    key = GroupKey(suite, feldman.commit(group, polynomial))
    return {i: KeyShare(i, shamir.evaluate(polynomial, i, group.order), key) for i in identifiers}


def check_count(elements: Sequence[bytes], count: int, what: str) -> None:
    """`EncodingError` unless there are `count` of them."""
    if len(elements) != count:
        raise EncodingError(f"{count} {what} expected, {len(elements)} received")


def are_elements(group: Group, sums: Sequence[Element]) -> bool:
    """Whether sums of commitments are elements, the identity included.

    Where nothing but the sums is used, this replaces a check of every summand: what two dealers
    add outside the subgroup of prime order and cancels out does no harm. A sum that is none has
    a summand that is none, and whose it is `decode_elements` says.
    """
    try:
        for element in sums:
            if element != group.identity:
                group.decode_element(element)
    except EncodingError:
        return False
    return True


def decode_elements(
    suite: Ciphersuite, elements: Sequence[bytes], count: int, what: str
) -> tuple[Element, ...]:
    """Exactly `count` valid elements, or an `EncodingError` that says what is wrong."""
    check_count(elements, count, what)
    return tuple(suite.group.decode_element(data) for data in elements)
