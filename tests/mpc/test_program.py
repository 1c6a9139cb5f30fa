"""Computations written as functions of secret numbers: right, bounded, and refused where not."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from mpclab.core.errors import PeerFault, UsageError
from mpclab.mpc.evaluation import Evaluation
from mpclab.mpc.program import (
    Program,
    check_given,
    compiled,
    divide,
    histogram,
    median,
    select,
    sort,
)
from mpclab.mpc.verified import verified


def evaluate(program: Program, given: Mapping[int, tuple[int, ...]]) -> list[int]:
    """By all parties, in one process."""
    parties, c = tuple(given), program.circuit
    sides = {p: Evaluation(c, p, parties, list(given[p])) for p in parties}
    coins = {p: random.Random(p) for p in parties}
    for k in range(c.rounds):
        out = {p: side.outgoing(k, coins[p]) for p, side in sides.items()}
        for p, side in sides.items():
            side.incoming(k, {q: out[q][p] for q in parties})
    (result,) = {tuple(side.result()) for side in sides.values()}
    program.check(list(result))
    return list(result)


def values(function: Any, *given: int, low: int = -1000, high: int = 1000) -> list[int]:
    program = compiled(function, tuple(range(1, len(given) + 1)), low=low, high=high)
    return evaluate(program, {p: (value,) for p, value in enumerate(given, 1)})


@pytest.mark.parametrize(("a", "b", "c"), [(-7, 3, 3), (2, 1, -9), (5, 5, 6)])
def test_operators_mean_what_they_mean_in_python(a: int, b: int, c: int) -> None:
    def arithmetic(v: list[Any]) -> list[Any]:
        a, b, c = v
        return [a + b - c, 3 - a * b, -a, abs(a), a < b, a <= b, a > b, b >= c, b == c, a != b]

    assert values(arithmetic, a, b, c, low=-9, high=9) == [int(x) for x in arithmetic([a, b, c])]
    assert values(
        lambda v: [~(v[0] < v[1]), (v[0] < v[1]) | (v[1] < v[2]), (v[0] < v[1]) ^ (v[1] < v[2])],
        a, b, c, low=-9, high=9,
    ) == [a >= b, a < b or b < c, (a < b) != (b < c)]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "d"), [(-60, 59, 3), (14, 0, 1), (-1, 60, 7)])
def test_division_is_that_of_python(a: int, b: int, d: int) -> None:
    def divided(v: list[Any]) -> list[Any]:
        a, b, d = v
        return [a // 7, a % 7, abs(b) // (d * d + 1)]

    assert values(divided, a, b, d, low=-60, high=60) == divided([a, b, d])


def test_numbers_are_rounded_to_tens() -> None:
    program = compiled(lambda v: round(v[0], -1), (1, 2, 3), low=0, high=30)
    found = evaluate(program, {1: (15,), 2: (1,), 3: (2,)})
    assert program.words(found) == "20"


def test_whether_two_are_equal_is_a_bit() -> None:
    def alike(v: list[Any]) -> list[Any]:
        return [(v[0] == v[1]) & (v[1] != v[2]), ~(v[0] == 2), select(v[0] == v[1], 5, v[2])]

    assert values(alike, 1, 1, 2, low=0, high=3) == [1, 1, 5]
    assert values(alike, 2, 1, 3, low=0, high=3) == [0, 0, 3]
    with pytest.raises(UsageError, match="not compared with None"):
        values(lambda v: v[0] == None, 1, 1, 2)  # noqa: E711


def test_what_is_left_of_a_division_by_zero_is_hidden_as_what_it_is() -> None:
    """It is the whole number: masked as one below the divisor, its upper bits would be seen."""
    found: list[int] = []

    def rest(v: list[Any]) -> Any:
        left = v[0] % (v[1] < v[2])
        found.append(left.high)
        return left

    assert values(rest, 900, 5, 4, low=0, high=1000) == [900]
    assert found[-1] >= 1000


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_a_network_sorts_every_pattern(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 0-1 principle (Knuth 5.3.4): what sorts all patterns of two values sorts everything."""
    exchanged: list[tuple[int, int]] = []

    def ordered(a: int, b: int) -> tuple[int, int]:
        exchanged.append((a, b))
        return a, b

    monkeypatch.setattr("mpclab.mpc.program.ordered", ordered)
    places: Any = range(n)
    sort(places)
    for pattern in range(2**n):
        row = [pattern >> i & 1 for i in range(n)]
        for i, j in exchanged:
            row[i], row[j] = sorted((row[i], row[j]))
        assert row == sorted(row)


def test_what_statistics_want() -> None:
    given = (52, 48, 61, 175, 39)
    assert values(sort, *given) == sorted(given)
    assert values(median, *given) == [52]
    assert values(median, 7, 1, 1, 9) == [1]
    assert values(lambda v: histogram(v, [40, 60]), *given) == [1, 2, 2]
    assert values(lambda v: select(v[0] < v[1], v[2], 7), 1, 2, -5) == [-5]
    assert values(lambda v: select(v[0] < v[1], v[2], 7), 2, 1, -5) == [7]


def test_decimal_places_are_kept_exactly() -> None:
    def shares(v: list[Any]) -> dict[str, Any]:
        total = sum(v)
        return {
            "total": total,
            "with tax": total * Decimal("1.081"),
            "rounded": round(total * 1.081, 2),
            "part": divide(v[0], total, 3),
        }

    program = compiled(shares, (1, 2, 3), places=2, low=0, high=20.3)
    found = evaluate(program, {1: (1050,), 2: (2025,), 3: (10,)})
    assert program.words(found) == ("total 30.85, with tax 33.34885, rounded 33.35, part 0.34")


@pytest.mark.parametrize("wrong", [-1, 101, 127, -128])
def test_who_gives_what_is_out_of_bounds_ends_it(wrong: int) -> None:
    program = compiled(lambda v: sum(v), (1, 2, 3), low=0, high=100)
    with pytest.raises(PeerFault, match="out of its range"):
        evaluate(program, {1: (0,), 2: (wrong,), 3: (100,)})
    with pytest.raises(UsageError, match="a whole number from 0 to 100"):
        check_given((wrong,), 1, 0, 0, 100)
    assert evaluate(program, {1: (0,), 2: (50,), 3: (100,)}) == [150]


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda v: 1 if v[0] < v[1] else 0, "use select"),
        (lambda v: max(v), "use select"),
        (lambda v: v[0] // (v[1] - v[2]), "has to be above 0"),
        (lambda v: (v[0] - 5) // v[1], "that may be negative is not divided by a secret"),
        (lambda v: v[0] & v[1], "for the results of comparisons"),
        (lambda v: 3, "returns secret numbers"),
        (lambda v: [], "returns secret numbers"),
        (lambda v: v[0] ** 2, "unsupported operand"),
        (lambda v: v[0] * v[0] * v[0] * v[0] * v[0] * v[0] * v[0] * v[0] * v[0], "too large"),
        (lambda v: v[0] * v[0] * v[0] * v[0] * v[0] < 1, "up to 84 bits are compared"),
    ],
)
def test_what_cannot_be_done_with_secrets_is_refused(function: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        compiled(function, (1, 2, 3), low=0, high=2**18)


def test_a_sum_of_one_is_no_secret() -> None:
    with pytest.raises(UsageError, match="with 1 input"):
        compiled(sum, (1,), low=0, high=1)
    with pytest.raises(UsageError, match="no number is from 2 to 1"):
        compiled(sum, (1, 2), low=2, high=1)
    with pytest.raises(UsageError, match="bound them, or take fewer"):
        compiled(sum, (1, 2, 3), numbers=2000, low=0, high=2**40)


def test_the_same_comes_out_where_everything_is_verified() -> None:
    def several(v: list[Any]) -> list[Any]:
        return [sum(v) // 3, v[0] * v[1] * v[2], v[0] < v[1]]

    program = compiled(several, (1, 2, 3), low=0, high=100)
    doubled = Program(verified(program.circuit), program.names, program.places, program.low,
                      program.high)  # fmt: skip
    given = {1: (31,), 2: (5,), 3: (90,)}
    assert evaluate(doubled, given) == evaluate(program, given) == [42, 31 * 5 * 90, 0]
