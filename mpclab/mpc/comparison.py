"""Comparing secret numbers (Catrina and de Hoogh, SCN 2010), without a dealer.

[a < 0] for a number a of k bits in two's complement: mask it with a random number whose low bits
are shared one by one, open the sum, and subtract the mask's bits again; what is left of a above its
k-1 low bits is the sign. The opened sum hides a statistically: it differs from a random number
by at most n·2^-SIGMA.

Random bits that nobody knows: d + 1 parties share a bit each, and the exclusive or is computed. As
at most d of them talk to each other, one bit stays unknown. (Semi-honest parties do share bits;
against others one would square random numbers, as Damgård et al. do, TCC 2006.)
"""

from __future__ import annotations

from mpclab.core.ids import Party
from mpclab.mpc.circuit import Circuit, P, Vector, Wire

BITS = 64
"""Numbers that are compared differ by less than 2^63."""
SIGMA = 40
"""Statistical security; 64 + 40 + log2(n) bits must be fewer than the field's 126."""


def random_bits(c: Circuit, count: int, contributors: tuple[Party, ...]) -> Wire:
    """Secret bits that nobody knows; ⌈log2 contributors⌉ rounds after the first."""
    wires = [c.bits(party, count) for party in contributors]
    while len(wires) > 1:
        pairs = [a + b - (a * b) * 2 for a, b in zip(wires[::2], wires[1::2], strict=False)]
        wires = [*pairs, *wires[2 * len(pairs) :]]
    return wires[0]


def negative(c: Circuit, a: Wire, contributors: tuple[Party, ...]) -> Wire:
    """[a < 0] for each element with -2^(BITS-1) ≤ a < 2^(BITS-1).

    `contributors`: d + 1 parties, for random bits.
    """
    low, count = BITS - 1, a.length
    bits = random_bits(c, count * low, contributors)
    mask = bits.fold(low, [1 << i for i in range(low)])
    high = c.random(count, 1 << (SIGMA + 1))
    opened = c.open(a + (1 << low) + mask + high * (1 << low))
    below = c.local(lambda v: [x % (1 << low) for x in v], opened)
    borrow = less_than_bits(c, below, bits)
    # a modulo 2^low is below - mask, plus 2^low if that was negative
    rest = below - mask + borrow * (1 << low)
    return (rest - a) * pow(1 << low, -1, P)


def less_than_bits(c: Circuit, known: Wire, bits: Wire) -> Wire:
    """[known < number] for public numbers and numbers given by their bits, lowest first.

    For each bit: `wins`, it is set there and not here, and `ties`, it is alike. Neighbours join
    in pairs, the higher one first, in ⌈log2⌉ rounds.
    """
    count = known.length
    width = bits.length // count
    positions = range(width)
    ours = c.local(lambda v: [x >> i & 1 for x in v for i in positions], known, length=bits.length)
    wins = bits - bits * ours
    ties = 1 - bits - ours + (bits * ours) * 2
    while width > 1:
        pairs, odd = divmod(width, 2)
        lower = [n * width + 2 * i for n in range(count) for i in range(pairs)]
        upper = [place + 1 for place in lower]
        # one multiplication of doubled length: (wins, ties) of the lower by ties of the upper
        both = c.mul(
            c.join(wins.take(lower), ties.take(lower)),
            c.join(ties.take(upper), ties.take(upper)),
        )
        half = count * pairs
        new_wins = wins.take(upper) + both.take(range(half))
        new_ties = both.take(range(half, 2 * half))
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
    return wins


def places(c: Circuit, values: Wire, contributors: tuple[Party, ...]) -> Wire:
    """For each value how many are ahead of it: greater, or equal and earlier."""
    n = values.length
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    first, second = values.take([i for i, _ in pairs]), values.take([j for _, j in pairs])
    later_wins = negative(c, first - second, contributors)

    def ahead(beaten: Vector) -> Vector:
        counts = [0] * n
        for (i, j), x in zip(pairs, beaten, strict=True):
            counts[i] += x
            counts[j] += 1 - x
        return counts

    return c.local(ahead, later_wins, length=n)


def is_place(c: Circuit, ranks: Wire, wanted: list[int]) -> list[Wire]:
    """For each wanted place a vector that is 1 where `ranks` is that place, else 0.

    The polynomial through the places 0 … n-1, from powers of the ranks: n - 2 rounds.
    """
    n = ranks.length
    powers = [ranks]
    while len(powers) < n - 1:
        powers.append(c.mul(powers[-1], ranks))
    found = []
    for place in wanted:
        coefficients = _indicator(n, place)
        total = powers[0] * 0 + coefficients[0]
        for power, coefficient in zip(powers, coefficients[1:], strict=True):
            total = total + power * coefficient
        found.append(total)
    return found


def _indicator(n: int, place: int) -> list[int]:
    """Coefficients modulo P of the polynomial that is 1 at `place`, 0 at the others below n."""
    coefficients = [1]
    denominator = 1
    for other in range(n):
        if other != place:
            shifted = [0, *coefficients]
            scaled = [-other * x for x in coefficients] + [0]
            coefficients = [(a + b) % P for a, b in zip(shifted, scaled, strict=True)]
            denominator = denominator * (place - other) % P
    inverse = pow(denominator, -1, P)
    return [x * inverse % P for x in coefficients]
