"""A computation written as a Python function of secret numbers.

    def above_the_mean(salaries):
        mean = sum(salaries) // len(salaries)
        return sum(salary > mean for salary in salaries)

The function is called once, at each party, with `Secret`s in place of numbers; what it does with
them becomes a circuit (`circuit`). So it cannot branch on them: `select` picks by a secret bit.

Each `Secret` knows between which bounds its number lies, and how many decimal places it has: so a
comparison costs as many bits as it needs, and a number that could outgrow the field is refused
when the circuit is built. Fixed-point numbers are exact: a sum has the places of the longer, a
product those of both together, and `round(x, 2)` takes places off.

What is not linear: a product is one round. A comparison finds the sign of a difference: it is
hidden by random bits of which the lower ones are subtracted again (Damgård, Fitzi, Kiltz, Nielsen
and Toft, TCC 2006; Catrina and de Hoogh, SCN 2010, for the statistical hiding: what is opened tells
a number with a chance of 2^-40). Random bits are made from random squares (the same TCC 2006, §4).
Division is done by hand, bit after bit. Sorting is a network of comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.numbers import Number, number
from mpclab.mpc.arithmetic import MAX_BITS, decimal_text, scaled
from mpclab.mpc.circuit import Circuit, P, Wire
from mpclab.mpc.comparison import check_range, less

HIDING = 40
"""Bits by which a number that is compared is hidden."""
COMPARED = 84
"""Bits of a number that is compared, at the most."""
ROOM = 2**125
"""Numbers stay below this, in units of their last place."""
QUOTIENT_PLACES = 4
"""Decimal places of `a / b`."""

Plain: TypeAlias = int | Decimal | float


def _plain(value: Plain) -> tuple[int, int]:
    """A public number as a whole one, and how many of its places are decimal."""
    exact = number(value)
    if isinstance(exact, int):
        return exact, 0
    exponent = exact.normalize().as_tuple().exponent
    places = max(0, -exponent) if isinstance(exponent, int) else 0
    return scaled(exact, places), places


class Secret:
    """A number that nobody knows.

    Attributes:
        low, high: the bounds of it, in units of its last place. `places`: decimal ones.
    """

    __slots__ = ("c", "high", "low", "places", "wire")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, wire: Wire, low: int, high: int, places: int = 0) -> None:
        self.wire, self.low, self.high, self.places = wire, low, high, places
        self.c: Circuit = wire.circuit
        if max(-low, high) >= ROOM:
            raise UsageError("a number may become too large: round it, or bound what is put in")

    def __repr__(self) -> str:
        return f"Secret({decimal_text(self.low, self.places)} to {self._text(self.high)})"

    def _text(self, value: int) -> str:
        return decimal_text(value, self.places)

    def __bool__(self) -> bool:
        raise UsageError(
            "a secret number cannot decide what is computed: use select(condition, a, b)"
        )

    # --- linear ---------------------------------------------------------------------------

    def with_places(self, places: int) -> Secret:
        """The same number, written with more places."""
        factor = 10 ** (places - self.places)
        if factor == 1:
            return self
        return Secret(self.wire * factor, self.low * factor, self.high * factor, places)

    def _aligned(self, other: Secret | Plain) -> tuple[Secret, Secret]:
        """Both with as many places."""
        if not isinstance(other, Secret):
            value, places = _plain(other)
            other = Secret(self.c.constant([value]), value, value, places)
        places = max(self.places, other.places)
        return self.with_places(places), other.with_places(places)

    def __add__(self, other: Secret | Plain) -> Secret:
        a, b = self._aligned(other)
        return Secret(a.wire + b.wire, a.low + b.low, a.high + b.high, a.places)

    def __neg__(self) -> Secret:
        return Secret(self.wire * -1, -self.high, -self.low, self.places)

    def __sub__(self, other: Secret | Plain) -> Secret:
        return self + -other

    def __rsub__(self, other: Plain) -> Secret:
        return -self + other

    def __mul__(self, other: Secret | Plain) -> Secret:
        if not isinstance(other, Secret):
            value, places = _plain(other)
            ends = (self.low * value, self.high * value)
            return Secret(self.wire * value, min(ends), max(ends), self.places + places)
        corners = [x * y for x in (self.low, self.high) for y in (other.low, other.high)]
        if other is self:
            corners = [x for x in corners if x >= 0] + [0] * (self.low < 0 < self.high)
        wire = self.c.mul(self.wire, other.wire)
        return Secret(wire, min(corners), max(corners), self.places + other.places)

    __radd__ = __add__
    __rmul__ = __mul__

    # --- comparing ------------------------------------------------------------------------

    def is_negative(self) -> Secret:
        """1 where it is below 0, else 0."""
        if self.low >= 0 or self.high < 0:
            known = int(self.high < 0)
            return Secret(self.c.constant([known]), known, known)
        return Secret(negative(self.c, self.wire, max(-self.low, self.high).bit_length()), 0, 1)

    def __lt__(self, other: Secret | Plain) -> Secret:
        return (self - other).is_negative()

    def __gt__(self, other: Secret | Plain) -> Secret:
        return (-(self - other)).is_negative()

    def __le__(self, other: Secret | Plain) -> Secret:
        return 1 - (self > other)

    def __ge__(self, other: Secret | Plain) -> Secret:
        return 1 - (self < other)

    def __eq__(self, other: object) -> Secret:  # type: ignore[override]
        if not isinstance(other, Secret | int | Decimal | float):
            raise TypeError(f"a secret number is not compared with {other!r:.40}")
        return _bounded(1 - (self < other) - (self > other), 0, 1)

    def __ne__(self, other: object) -> Secret:  # type: ignore[override]
        return 1 - (self == other)

    # --- bits: what comparisons give ------------------------------------------------------

    def _as_bit(self) -> Secret:
        if self.low < 0 or self.high > 1 or self.places:
            raise UsageError("&, |, ^ and ~ are for the results of comparisons")
        return self

    def __and__(self, other: Secret) -> Secret:
        return self._as_bit() * other._as_bit()

    def __or__(self, other: Secret) -> Secret:
        return _bounded(self._as_bit() + other._as_bit() - self * other, 0, 1)

    def __xor__(self, other: Secret) -> Secret:
        return _bounded(self._as_bit() + other._as_bit() - self * other * 2, 0, 1)

    def __invert__(self) -> Secret:
        return 1 - self._as_bit()

    # --- dividing -------------------------------------------------------------------------

    def __floordiv__(self, other: Secret | Plain) -> Secret:
        """How often it goes, as in Python. By a secret number that is 0 a number that is too large;
        by one that may be negative not at all."""
        a, b = self._aligned(other)
        if b.low < 0 or b.high == 0:
            raise UsageError("what is divided by has to be above 0: bound what is put in")
        if a.low < 0:
            if b.low != b.high:
                raise UsageError("a number that may be negative is not divided by a secret one")
            times = -(a.low // b.low)
            return (a + _bounded(b * times, b.low * times, b.low * times)) // b - times
        largest = a.high // max(b.low, 1)
        quotient: Secret | None = None
        rest = a
        for i in reversed(range(largest.bit_length())):
            part = b * (1 << i)
            fits = rest >= part
            taken = fits * part if b.low != b.high else fits * (b.low << i)
            # rest was below 2·part, or there would have been a higher bit (by 0: any)
            rest = _bounded(
                rest - Secret(taken.wire, 0, part.high, part.places), 0, max(rest.high, 0)
            )
            digit = fits * (1 << i)
            quotient = digit if quotient is None else quotient + digit
        if quotient is None:
            return Secret(self.c.constant([0]), 0, 0)
        return quotient

    def __mod__(self, other: Secret | Plain) -> Secret:
        quotient = self // other
        a, b = self._aligned(other)
        # Of 0 nothing is left over: then it is a itself, and must not be compared as less.
        return _bounded(a - quotient * b, 0, b.high if b.low else max(a.high, b.high))

    def __truediv__(self, other: Secret | Plain) -> Secret:
        return divide(self, other, QUOTIENT_PLACES)

    def __round__(self, places: int = 0) -> Secret:
        """To the nearest with so many places; halves go up."""
        if places >= self.places:
            return self
        unit = 10 ** (self.places - places)
        moved = Secret(self.wire + unit // 2, self.low + unit // 2, self.high + unit // 2)
        found = moved // unit
        rounded = Secret(found.wire, found.low, found.high, places)
        return rounded.with_places(max(places, 0))  # as whole numbers, to tens too

    def __abs__(self) -> Secret:
        turned = self.is_negative() * 2
        most = max(abs(self.low), abs(self.high))
        return _bounded(self - turned * self, 0, most)


def _bounded(value: Secret, low: int, high: int) -> Secret:
    """Where we know better than the interval of a difference tells."""
    return Secret(value.wire, low, high, value.places)


def negative(c: Circuit, value: Wire, bits: int) -> Wire:
    """[x < 0] for -2^bits < x < 2^bits, one number."""
    if bits > COMPARED:
        raise UsageError(f"numbers of up to {COMPARED} bits are compared, not of {bits}")
    random_bits = c.random_bits(bits + HIDING)
    low = random_bits.take(range(bits))
    mask = random_bits.fold(bits + HIDING, [1 << i for i in range(bits + HIDING)])
    opened = c.open(value + mask + (1 << bits))  # x + 2^bits is not negative
    known = c.local(lambda v: [v[0] >> i & 1 for i in range(bits)], opened, length=bits)
    borrow, _ = less(c, known, low, bits)
    rest = known.fold(bits, [1 << i for i in range(bits)])
    rest = rest - low.fold(bits, [1 << i for i in range(bits)]) + borrow * (1 << bits)
    top = (value + (1 << bits) - rest) * pow(1 << bits, -1, P)
    return 1 - top


# --- what is written with them --------------------------------------------------------------


def select(condition: Secret, then: Secret | Plain, otherwise: Secret | Plain) -> Secret:
    """`then` where the condition is 1, else `otherwise`."""
    if not isinstance(otherwise, Secret):
        otherwise = condition._as_bit() * 0 + otherwise
    a, b = otherwise._aligned(then)
    picked = a + condition._as_bit() * (b - a)
    return _bounded(picked, min(a.low, b.low), max(a.high, b.high))


def divide(a: Secret, b: Secret | Plain, places: int) -> Secret:
    """a / b with so many decimal places, the rest cut off towards below."""
    a, b = a._aligned(b)
    found = Secret(a.wire * 10**places, a.low * 10**places, a.high * 10**places) // Secret(
        b.wire, b.low, b.high
    )
    return Secret(found.wire, found.low, found.high, places)


def ordered(a: Secret, b: Secret) -> tuple[Secret, Secret]:
    """The smaller one and the larger one."""
    a, b = a._aligned(b)
    low = select(b < a, b, a)
    high = _bounded(a + b - low, max(a.low, b.low), max(a.high, b.high))
    return _bounded(low, min(a.low, b.low), min(a.high, b.high)), high


def sort(values: Iterable[Secret]) -> list[Secret]:
    """From the least to the greatest; by a network of comparisons (Batcher 1968, odd-even merge;
    the exchange of Knuth's Algorithm 5.2.2M, for any number of them)."""
    found = list(values)
    n = len(found)
    p = top = 1 << max(0, (n - 1).bit_length() - 1)
    while n > 1 and p:
        q, r, d = top, 0, p
        while True:
            for i in range(n - d):
                if i & p == r:
                    found[i], found[i + d] = ordered(found[i], found[i + d])
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return found


def median(values: Iterable[Secret]) -> Secret:
    """The one in the middle; of an even number the lower of the two."""
    found = sort(values)
    return found[(len(found) - 1) // 2]


def histogram(values: Sequence[Secret], edges: Sequence[Plain]) -> list[Secret]:
    """How many are below the first edge, from there to below the second, …, from the last on."""
    below = [sum((value < edge for value in values), start=values[0] * 0) for edge in edges]
    counts = [*below, values[0] * 0 + len(values)]
    starts = [values[0] * 0, *below]
    return [
        _bounded(count - start, 0, len(values)) for count, start in zip(counts, starts, strict=True)
    ]


# --- from a function to a circuit -----------------------------------------------------------

Written: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Program:
    """A circuit and what its numbers mean.

    Attributes:
        names: of the results, where they have names.
        places, low, high: of each result.
    """

    circuit: Circuit
    names: tuple[str, ...]
    places: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]

    def said(self, result: list[int]) -> tuple[tuple[str, str], ...]:
        """Names and values; the one result of a function that gives no names is "result"."""
        names = self.names or tuple(
            f"result {i}" if len(result) > 1 else "result" for i in range(1, len(result) + 1)
        )
        texts = (decimal_text(v, p) for v, p in zip(result, self.places, strict=True))
        return tuple(zip(names, texts, strict=True))

    def check(self, result: list[int]) -> None:
        """Raise `ValueError` for a result that no inputs in range can have."""
        for value, low, high in zip(result, self.low, self.high, strict=True):
            if not low <= value <= high:
                raise ValueError(f"no inputs in range have the result {value}")

    def words(self, result: list[int]) -> str:
        """The result as a sentence, the same at all parties."""
        said = self.said(result)
        return ", ".join(f"{name} {text}" if self.names else text for name, text in said)


def check_given(
    values: tuple[Number, ...], numbers: int, places: int, low: Plain, high: Plain
) -> None:
    """Raise `UsageError` unless these are a party's input; it does not tell them."""
    if len(values) != numbers:
        raise UsageError(f"{numbers} numbers are wanted, {len(values)} given")
    least_value, greatest = scaled(number(low), places), scaled(number(high), places)
    if any(not least_value <= scaled(value, places) <= greatest for value in values):
        what = "a whole number" if places == 0 else f"a number with up to {places} places"
        raise UsageError(f"an input is {what} from {low} to {high}")


def compiled(
    function: Written,
    givers: tuple[Party, ...],
    *,
    numbers: int = 1,
    places: int = 0,
    low: Plain,
    high: Plain,
) -> Program:
    """The circuit of a function of everybody's numbers.

    Args:
        function: takes a list with one `Secret` for each giver, or with a list of `numbers` of
            them; returns a `Secret`, several, or a dict of them by name. Everything it returns is
            opened, and nothing else.
        places, low, high: of what is put in; the bounds are checked before anything is opened.

    Raises:
        UsageError: the function does what a circuit cannot.
    """
    if len(givers) < 2:
        raise UsageError(f"with {len(givers)} input the result would tell it")
    c = Circuit()
    least_value, greatest = scaled(number(low), places), scaled(number(high), places)
    width = max(abs(least_value), abs(greatest)).bit_length() + 1
    if least_value > greatest:
        raise UsageError(f"low, high: no number is from {low} to {high}")
    if width * numbers * len(givers) > MAX_BITS:
        raise UsageError(
            f"{len(givers)} times {numbers} numbers of {width} bits are more than the "
            f"{MAX_BITS} bits whose ranges are checked: bound them, or take fewer"
        )
    digits = [c.digits(party, numbers, width) for party in givers]
    c.check_digits()
    owners = tuple(party for party in givers for _ in range(numbers))
    check_range(c, c.join(*digits), width, least_value, greatest, owners)
    given: list[Any] = []
    for each in digits:
        whole = c.number(each, width)
        own = [Secret(whole.take([i]), least_value, greatest, places) for i in range(numbers)]
        given.append(own[0] if numbers == 1 else own)
    try:
        found = function(given)
    except (TypeError, AttributeError, LookupError, ArithmeticError, ValueError) as error:
        name = getattr(function, "__name__", "the function")
        raise UsageError(f"{name}, with {len(givers)} inputs: {error}") from error
    named = dict(found) if isinstance(found, Mapping) else {}
    results = list(named.values()) if named else found
    results = list(results) if isinstance(results, list | tuple) else [results]
    if not results or not all(isinstance(result, Secret) for result in results):
        raise UsageError("a computation returns secret numbers, which are opened then")
    c.output(c.open(c.join(*(result.wire for result in results))))
    return Program(
        c,
        tuple(map(str, named)),
        tuple(result.places for result in results),
        tuple(result.low for result in results),
        tuple(result.high for result in results),
    )


__all__ = [
    "Program",
    "Secret",
    "check_given",
    "compiled",
    "divide",
    "histogram",
    "median",
    "select",
    "sort",
]
