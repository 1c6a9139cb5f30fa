"""Shamir's secret sharing (How to share a secret, CACM 1979), over the integers modulo a prime.

`threshold` shares are needed; fewer say nothing about the secret. A polynomial is the tuple of
its coefficients, constant term first, and has exactly `threshold` of them. Parties' identifiers
are the points at which it is evaluated; the secret is its value at 0.

All functions take the prime `order` and work as well for a group's scalars as for the field of
a secure computation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from mpclab.crypto.identity import Coins

Polynomial = tuple[int, ...]


def random_scalar(order: int, coins: Coins) -> int:
    """A number in [0, order), uniform up to a bias of 2^-128."""
    # Sixteen bytes more than needed, reduced: RFC 9380 §5.3 has the argument.
    return int.from_bytes(coins.randbytes((order.bit_length() + 7) // 8 + 16), "big") % order


def check_identifiers(identifiers: Iterable[int], order: int) -> None:
    """Raise `ValueError` unless all are nonzero and distinct *modulo the order*.

    An identifier of 0 modulo the order would receive the secret itself; two that are congruent
    would receive the same share, and their Lagrange coefficients do not exist.
    """
    seen: set[int] = set()
    for identifier in identifiers:
        residue = identifier % order
        if residue == 0:
            raise ValueError(f"identifier {identifier} is 0 modulo the order")
        if residue in seen:
            raise ValueError(f"identifier {identifier} appears twice modulo the order")
        seen.add(residue)


def random_polynomial(secret: int, threshold: int, order: int, coins: Coins) -> Polynomial:
    """A polynomial with `threshold` coefficients, the first given, the others uniform.

    The leading one may be 0: that it might be is part of why fewer shares say nothing.
    """
    if threshold < 1:
        raise ValueError("at least one share is needed")
    return secret % order, *(random_scalar(order, coins) for _ in range(threshold - 1))


def evaluate(polynomial: Sequence[int], x: int, order: int) -> int:
    """The polynomial's value at x (Horner's rule)."""
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % order
    return value


def share(
    secret: int, threshold: int, identifiers: Sequence[int], order: int, coins: Coins
) -> dict[int, int]:
    """Share a secret among identifiers so that any `threshold` of them can restore it."""
    check_identifiers(identifiers, order)
    if threshold > len(identifiers):
        raise ValueError(f"{threshold} shares are needed but only {len(identifiers)} are made")
    polynomial = random_polynomial(secret, threshold, order, coins)
    return {i: evaluate(polynomial, i, order) for i in identifiers}


def lagrange_coefficients(identifiers: Sequence[int], order: int, x: int = 0) -> dict[int, int]:
    """λ_i with f(x) = Σ λ_i · f(i) for every polynomial of fewer coefficients than identifiers.

    At x = 0 these are `derive_interpolating_value` of RFC 9591 §4.2, all with one inversion.
    """
    check_identifiers(identifiers, order)
    numerators, denominators = [], []
    for i in identifiers:
        numerator = denominator = 1
        for j in identifiers:
            if j != i:
                numerator = numerator * (x - j) % order
                denominator = denominator * (i - j) % order
        numerators.append(numerator)
        denominators.append(denominator)
    inverses = _invert_all(denominators, order)
    return {
        i: numerator * inverse % order
        for i, numerator, inverse in zip(identifiers, numerators, inverses, strict=True)
    }


def interpolate(shares: Mapping[int, int], order: int, x: int = 0) -> int:
    """The value at x of the one polynomial with as few coefficients as there are shares."""
    coefficients = lagrange_coefficients(tuple(shares), order, x)
    return sum(coefficients[i] * value for i, value in shares.items()) % order


def interpolate_many(
    shares: Mapping[int, Sequence[int]], order: int, x: int = 0
) -> tuple[int, ...]:
    """`interpolate` for each component of equally long vectors of shares."""
    coefficients = lagrange_coefficients(tuple(shares), order, x)
    weights = [coefficients[i] for i in shares]
    return tuple(
        sum(weight * value for weight, value in zip(weights, column, strict=True)) % order
        for column in zip(*shares.values(), strict=True)
    )


def is_consistent(shares: Mapping[int, int], threshold: int, order: int) -> bool:
    """Whether all shares lie on one polynomial of `threshold` coefficients."""
    chosen = dict(itertools.islice(shares.items(), threshold))
    return all(
        interpolate(chosen, order, i) == value % order
        for i, value in itertools.islice(shares.items(), threshold, None)
    )


def _invert_all(values: Sequence[int], order: int) -> list[int]:
    """Inverses of all values with one inversion and three products each (Montgomery 1987)."""
    prefixes = list(itertools.accumulate(values, lambda a, b: a * b % order, initial=1))
    inverse = pow(prefixes.pop(), -1, order)
    inverses = []
    for value, prefix in zip(reversed(values), reversed(prefixes), strict=True):
        inverses.append(inverse * prefix % order)
        inverse = inverse * value % order
    return inverses[::-1]
