"""Verifiable secret sharing (Feldman, A practical scheme for non-interactive VSS, FOCS 1987).

The dealer publishes its polynomial "in the exponent": A_k = a_k·G for every coefficient. The
receiver of a share s = f(x) checks s·G = Σ x^k·A_k, and everyone can compute everyone's *public
share* f(x)·G. Commitments hide the secret only as well as discrete logarithms are hard: enough
for a random key, not for a guessable value.

Commitments are homomorphic: the sum of several dealers' commitments commits to the sum of their
polynomials. One check of summed shares replaces one per dealer; only when it fails does one look
for the dealer to blame.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpclab.crypto.errors import EncodingError
from mpclab.crypto.groups import Element, Group

Commitments = tuple[Element, ...]


def commit(group: Group, polynomial: Sequence[int]) -> Commitments:
    """A_k = a_k·G, constant term first."""
    return tuple(group.base_mult(coefficient) for coefficient in polynomial)


def public_share(group: Group, commitments: Sequence[Element], x: int) -> Element:
    """f(x)·G of the committed polynomial: `len(commitments) - 1` multiplications."""
    value = commitments[-1]
    for commitment in reversed(commitments[:-1]):
        value = group.add(group.mult(x, value), commitment)
    return value


def public_shares(
    group: Group, commitments: Sequence[Element], identifiers: Sequence[int]
) -> dict[int, Element]:
    """Everyone's public share, by identifier."""
    return {i: public_share(group, commitments, i) for i in identifiers}


def verify(group: Group, commitments: Sequence[Element], x: int, share: int) -> bool:
    """Whether `share` is the committed polynomial's value at x.

    What is no element commits to nothing, so no share fits it: dealings are often checked by
    their sums alone, in which what two of them add outside the group may cancel out.
    """
    try:
        return group.base_mult(share) == public_share(group, commitments, x)
    except EncodingError:
        return False


def add(group: Group, dealings: Sequence[Sequence[Element]]) -> Commitments:
    """The commitments to the sum of equally long committed polynomials."""
    return tuple(group.sum(column) for column in zip(*dealings, strict=True))


def scale(group: Group, factor: int, commitments: Sequence[Element]) -> Commitments:
    """The commitments to `factor` times a committed polynomial."""
    return tuple(group.mult(factor, commitment) for commitment in commitments)
