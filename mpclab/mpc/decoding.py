"""Opening shares of which some are wrong: Reed–Solomon codes, decoded uniquely.

Shares of a value on a polynomial of degree d, at n ≥ 3d + 1 points of which at most d are wrong:
the polynomial that goes through 2d + 1 of the shares that came is the right one, since d + 1 of
these are right and two polynomials of degree d are the same if they meet that often. So nobody's
silence or lie keeps a value from being opened, and who lied is known (Berlekamp and Welch, US
patent 4,633,470; the use of it: Ben-Or, Goldwasser and Wigderson, STOC 1988, §3).
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from mpclab.core.ids import Party
from mpclab.crypto.shamir import lagrange_coefficients
from mpclab.mpc.circuit import P, Vector


class Undecodable(Exception):
    """No polynomial goes through enough of the shares."""


def decode(
    shares: Mapping[Party, Vector], degree: int, coins: random.Random
) -> tuple[Vector, tuple[Party, ...]]:
    """The opened values, and whose vectors are wrong.

    Args:
        shares: by point, all of one length.
        coins: to look at all elements at once: a wrong vector passes with a chance of less than
            its length divided by P.

    Raises:
        Undecodable: too few of them fit together, or too few have come.
    """
    points = tuple(sorted(shares))
    if len(points) < 2 * degree + 1:
        raise Undecodable(f"{len(points)} shares of {2 * degree + 1} that are needed")
    weights = [coins.getrandbits(127) % P for _ in shares[points[0]]]
    combined = {p: sum(w * x for w, x in zip(weights, shares[p], strict=True)) % P for p in points}
    polynomial = _through_most(combined, degree)
    wrong = tuple(p for p in points if _at(polynomial, p) != combined[p])
    if len(points) - len(wrong) < 2 * degree + 1:
        raise Undecodable(f"{len(points) - len(wrong)} of {len(points)} shares fit together")
    right = [p for p in points if p not in wrong][: degree + 1]
    factors = lagrange_coefficients(right, P)
    columns = zip(*(shares[p] for p in right), strict=True)
    values = [sum(factors[p] * x for p, x in zip(right, column, strict=True)) % P
              for column in columns]  # fmt: skip
    return values, wrong


def _through_most(shares: Mapping[Party, int], degree: int) -> Vector:
    """The coefficients of the polynomial from which as few as possible differ; any, if more than
    half of those that are too many do."""
    points = tuple(shares)
    wrong = (len(points) - degree - 1) // 2
    # Q(x) = y·E(x) at every point, E monic of degree `wrong`: then Q/E is the polynomial.
    rows = []
    for x in points:
        powers = [pow(x, i, P) for i in range(degree + wrong + 1)]
        y = shares[x]
        rows.append(
            [*powers, *(-y * powers[i] % P for i in range(wrong)), y * pow(x, wrong, P) % P]
        )
    solution = _solve(rows, degree + 2 * wrong + 1)
    q, e = solution[: degree + wrong + 1], [*solution[degree + wrong + 1 :], 1]
    return _divided(q, e)


def _solve(rows: list[Vector], unknowns: int) -> Vector:
    """One solution of linear equations, each a row of factors and what they add up to; whatever is
    free is 0. Where there is none it is no solution, and the caller sees it."""
    pivots: list[int] = []
    for column in range(unknowns):
        at = len(pivots)
        found = next((i for i in range(at, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[at], rows[found] = rows[found], rows[at]
        inverse = pow(rows[at][column], -1, P)
        rows[at] = [x * inverse % P for x in rows[at]]
        for i, row in enumerate(rows):
            if i != at and (factor := row[column]):
                rows[i] = [(x - factor * y) % P for x, y in zip(row, rows[at], strict=True)]
        pivots.append(column)
    solution = [0] * unknowns
    for i, column in enumerate(pivots):
        solution[column] = rows[i][-1]
    return solution


def _divided(numerator: Vector, divisor: Vector) -> Vector:
    """The quotient of two polynomials, lowest coefficients first; the divisor is monic."""
    rest, size = list(numerator), len(divisor)
    quotient = [0] * (len(numerator) - size + 1)
    for i in reversed(range(len(quotient))):
        quotient[i] = factor = rest[i + size - 1]
        for j, x in enumerate(divisor):
            rest[i + j] = (rest[i + j] - factor * x) % P
    return quotient


def _at(polynomial: Vector, x: int) -> int:
    total = 0
    for coefficient in reversed(polynomial):
        total = (total * x + coefficient) % P
    return total
