"""Comparing secret numbers that are shared bit by bit.

A number that is compared is put in as its bits, and nothing else can be put in: that each of them
is 0 or 1 is checked by opening a random combination of b·(1 - b) over all bits of everybody, which
is 0 for bits and tells nothing but who may have cheated for anything else (`Circuit.digits`). So
the range is enforced before a single result depends on it, and whoever gives a number out of range
learns nothing: with numbers shared whole, a difference beyond the range made the comparison yield
some other number, and what was opened as the greatest was a combination of all that were given.

[a < b] goes through the bits as a carry does (compare BIT-LT of Damgård et al., TCC 2006): for each
bit whether b wins there and whether it is a tie; neighbours join in pairs, the higher one first, in
⌈log2⌉ rounds. The greatest of n is found in a tournament: n - 1 comparisons, where comparing every
pair takes n(n-1)/2.
"""

from __future__ import annotations

from mpclab.core.ids import Party
from mpclab.mpc.circuit import DIGITS, Circuit, Wire, least


def less(c: Circuit, a: Wire, b: Wire, width: int = DIGITS) -> tuple[Wire, Wire]:
    """([a < b], [a = b]) for numbers of `width` bits, lowest first; 1 + ⌈log2 width⌉ rounds."""
    count = a.length // width
    both = c.mul(a, b)
    wins, ties = b - both, 1 - a - b + both * 2
    while width > 1:
        pairs, odd = divmod(width, 2)
        lower = [n * width + 2 * i for n in range(count) for i in range(pairs)]
        upper = [place + 1 for place in lower]
        # one multiplication of doubled length: (wins, ties) of the lower by ties of the upper
        joined = c.mul(
            c.join(wins.take(lower), ties.take(lower)),
            c.join(ties.take(upper), ties.take(upper)),
        )
        half = count * pairs
        new_wins = wins.take(upper) + joined.take(range(half))
        new_ties = joined.take(range(half, 2 * half))
        if odd:
            last = [n * width + width - 1 for n in range(count)]
            order = [
                place
                for n in range(count)
                for place in (*range(n * pairs, (n + 1) * pairs), half + n)
            ]
            new_wins = c.join(new_wins, wins.take(last)).take(order)
            new_ties = c.join(new_ties, ties.take(last)).take(order)
        wins, ties, width = new_wins, new_ties, pairs + odd
    return wins, ties


def check_range(
    c: Circuit, digits: Wire, width: int, low: int, high: int, givers: tuple[Party, ...]
) -> None:
    """End the computation unless each of these numbers, of these parties, is from `low` to
    `high`."""
    count = digits.length // width
    if low > least(width):
        bound = c.constant([low - least(width) >> i & 1 for i in range(width)] * count)
        c.zero(less(c, digits, bound, width)[0], givers=givers)
    if high < -least(width) - 1:
        bound = c.constant([high - least(width) >> i & 1 for i in range(width)] * count)
        c.zero(less(c, bound, digits, width)[0], givers=givers)


def chosen(c: Circuit, second: Wire, *choices: tuple[Wire, Wire]) -> tuple[Wire, ...]:
    """Of each choice the second where `second` is 1, the first where it is 0; one round."""
    differences = [other - one for one, other in choices]
    spread = [second.take([i // (d.length // second.length) for i in range(d.length)])
              for d in differences]  # fmt: skip
    moved = c.mul(c.join(*spread), c.join(*differences))
    found, start = [], 0
    for one, other in choices:
        found.append(one + moved.take(range(start, start + other.length)))
        start += other.length
    return tuple(found)


def greatest(c: Circuit, digits: Wire, width: int = DIGITS) -> Wire:
    """The digits of the greatest of several numbers."""
    count = digits.length // width
    while count > 1:
        a, b, rest, pairs = _paired(digits, count, width)
        (winners,) = chosen(c, less(c, a, b, width)[0], (a, b))
        digits, count = (winners if rest is None else c.join(winners, rest)), pairs + count % 2
    return digits


def first_two(c: Circuit, digits: Wire, names: Wire, width: int = DIGITS) -> tuple[Wire, Wire]:
    """The name of the greatest number (of equal ones the first) and the digits of the next one.

    Args:
        names: a number for each of them, secret or not.
    """
    count = digits.length // width
    seconds: Wire | None = None
    while count > 1:
        a, b, rest, pairs = _paired(digits, count, width)
        name_a, name_b, name_rest, _ = _paired(names, count, 1)
        b_wins = less(c, a, b, width)[0]
        if seconds is None:  # nobody has beaten anybody yet
            winners, names = chosen(c, b_wins, (a, b), (name_a, name_b))
            seconds = a + b - winners
            second_rest = None if rest is None else rest * 0
        else:
            second_a, second_b, second_rest, _ = _paired(seconds, count, width)
            winners, names, beaten = chosen(
                c, b_wins, (a, b), (name_a, name_b), (second_a, second_b)
            )
            losers = a + b - winners
            (seconds,) = chosen(c, less(c, losers, beaten, width)[0], (losers, beaten))
        if rest is not None and name_rest is not None and second_rest is not None:
            winners, names = c.join(winners, rest), c.join(names, name_rest)
            seconds = c.join(seconds, second_rest)
        digits, count = winners, pairs + count % 2
    assert seconds is not None
    return names, seconds


def _paired(values: Wire, count: int, width: int) -> tuple[Wire, Wire, Wire | None, int]:
    """Every first of two neighbours, every second, who is left over, and how many pairs."""
    pairs, odd = divmod(count, 2)

    def places(items: range) -> list[int]:
        return [item * width + i for item in items for i in range(width)]

    first, second = places(range(0, 2 * pairs, 2)), places(range(1, 2 * pairs, 2))
    rest = values.take(places(range(count - 1, count))) if odd else None
    return values.take(first), values.take(second), rest, pairs
