"""Computations on the parties' private inputs: sum, mean, product, comparison, auction.

Only the result is opened. See `evaluation` for what is assumed: semi-honest parties, fewer than
half of whom put together what they saw. A sum tells its own story to n-1 of n, whatever the
protocol.

Inputs are whole numbers of less than 2^62 in size, or decimal ones with a stated number of places,
which are whole ones of the last place. Products must stay below 2^125: with n factors each input
has at most 125 // n bits. Numbers are put in bit by bit, and that they are bits is checked before
anything is opened (see `comparison`), so nothing out of range can be put in. That is 63 elements
for each, and `MAX_BITS` bits of all together are the most: 2080 numbers. A sum or product of more
has to be agreed on as `unchecked`; then numbers are put in whole. Who gives one out of range there
gets what it could compute anyhow, its own part taken off, and a result that no inputs in range can
have is refused.
"""

from __future__ import annotations

from decimal import Decimal

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.numbers import Number, number
from mpclab.mpc.circuit import Circuit, Wire
from mpclab.mpc.comparison import first_two, greatest, less

LARGEST = 2**62 - 1
PLACES = 9
"""Decimal places at the most."""
PRODUCT_BITS = 125
MAX_LENGTH = 4096
MAX_BITS = 2**17
"""Bits of all inputs of a sum or product whose ranges are checked: shares of 2 MiB."""
KINDS = ("sum", "mean", "product", "compare", "max", "auction")


def largest_input(kind: str, n: int) -> int:
    """How far from 0 an input may be."""
    return 2 ** min(62, PRODUCT_BITS // n) - 1 if kind == "product" else LARGEST


def check_input(
    kind: str, n: int, length: int, values: tuple[Number, ...], places: int = 0
) -> None:
    """Raise `UsageError` unless these are a party's input."""
    if len(values) != length:
        raise UsageError(f"{kind}: {length} numbers are wanted, {len(values)} given")
    bound = largest_input(kind, n)
    for value in values:
        if abs(scaled(value, places)) > bound:
            most = decimal_text(bound, places)
            what = "a whole number" if places == 0 else f"a number with up to {places} places"
            raise UsageError(f"{kind}: an input is {what} from -{most} to {most}")


def check_private(values: tuple[int | Decimal, ...]) -> str:
    """Raise `UsageError` for numbers that no computation takes; else what those of the house do
    not take of them, in words. The numbers are private, and not in what is said."""
    places = max((_places(value) for value in values), default=0)
    if places > PLACES or any(abs(scaled(v, places)) >= 2**PRODUCT_BITS for v in values):
        raise UsageError(
            f"a private number has {PLACES} decimal places at the most, and no computation takes "
            f"one of {len(str(2**PRODUCT_BITS))} digits; sum, max, auction and the like take "
            f"whole ones from -{LARGEST} to {LARGEST}"
        )
    if any(abs(scaled(value, places)) > LARGEST for value in values):
        return f"sum, max, auction and the like take none beyond {LARGEST}"
    return f"only operations with decimals={places} or more take them" if places else ""


def _places(value: int | Decimal) -> int:
    exponent = 0 if isinstance(value, int) else value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def scaled(value: Number, places: int) -> int:
    """`value` in units of its last place, 10^-places.

    Raises:
        UsageError: not a number, or with more places than were stated.
    """
    if type(value) is int:
        whole: int = value * 10**places
        return whole
    exact = number(value)
    moved = exact * 10**places
    if moved != int(moved):
        hint = "propose it with decimals=…" if places == 0 else f"at most {places} are stated"
        raise UsageError(f"a number has decimal places; {hint}")  # which one is private
    return int(moved)


def decimal_text(value: int, places: int) -> str:
    """`scaled`, reversed: `250050` with 2 places is 2500.5."""
    sign, (whole, rest) = "-" if value < 0 else "", divmod(abs(value), 10**places)
    shown = f"{rest:0{places}}".rstrip("0") if places else ""
    return f"{sign}{whole}.{shown}" if shown else f"{sign}{whole}"


def build(
    kind: str,
    inputs: tuple[Party, ...],
    participants: tuple[Party, ...],
    length: int = 1,
    *,
    checked: bool = True,
) -> Circuit:
    """The circuit of one kind of computation by `participants` on the inputs of some of them.

    Args:
        checked: whether the ranges of inputs are checked; others than sums, means and products
            always do.

    Raises:
        UsageError: there is no such computation, or it is too large.
    """
    if not 1 <= length <= MAX_LENGTH:
        raise UsageError(f"length: {length}; use 1 to {MAX_LENGTH}")
    if kind not in ("sum", "mean", "product") and length != 1:
        raise UsageError(f"length: {kind} takes one number from each party")
    if kind == "compare" and len(inputs) != 2:
        raise UsageError(f"compare: name two parties, not {len(inputs)}")
    if len(inputs) < 2:
        raise UsageError(f"{kind}: with {len(inputs)} input the result would tell it")
    c = Circuit()
    match kind:
        case "sum" | "mean":
            given = _numbers(c, kind, inputs, length, checked)
            total = given[0]
            for other in given[1:]:
                total = total + other
            c.output(c.open(total))
        case "product":
            given = _numbers(c, kind, inputs, length, checked)
            while len(given) > 1:  # a tree: ⌈log2 n⌉ rounds
                pairs = [a * b for a, b in zip(given[::2], given[1::2], strict=False)]
                given = [*pairs, *given[2 * len(pairs) :]]
            c.output(c.open(given[0]))
        case "compare":
            first, second = c.digits(inputs[0]), c.digits(inputs[1])
            c.check_digits()
            is_less, is_equal = less(c, first, second)
            c.output(c.open(c.join(is_less, 1 - is_less - is_equal)))
        case "max":
            digits = c.join(*(c.digits(party) for party in inputs))
            c.check_digits()
            c.output(c.open(c.number(greatest(c, digits))))
        case "auction":
            digits = c.join(*(c.digits(party) for party in inputs))
            c.check_digits()
            zero = digits.take(range(len(inputs))) * 0
            names = c.local(lambda v: [x + p for x, p in zip(v, inputs, strict=True)], zero)
            winner, price = first_two(c, digits, names)
            c.output(c.open(c.join(winner, c.number(price))))
        case _:
            raise UsageError(f"{kind!r} is not a computation; use one of {', '.join(KINDS)}")
    return c


def _numbers(
    c: Circuit, kind: str, inputs: tuple[Party, ...], length: int, checked: bool
) -> list[Wire]:
    """Everybody's numbers, in range where that is `checked`."""
    if not checked:
        return [c.input(party, length) for party in inputs]
    width, n = largest_input(kind, len(inputs)).bit_length() + 1, len(inputs)
    if (bits := width * length * n) > MAX_BITS:
        raise UsageError(
            f"{kind}: {n} times {length} numbers of {width} bits have {bits} bits, and ranges are "
            f"checked of {MAX_BITS} at the most: use length={MAX_BITS // (width * n)} or less, or "
            "ranges=unchecked"
        )
    digits = [c.digits(party, length, width) for party in inputs]
    c.check_digits()
    return [c.number(each, width) for each in digits]


def check_result(kind: str, inputs: tuple[Party, ...], result: list[int]) -> None:
    """Raise `ValueError` for a result that no inputs in range can have."""
    n, bound = len(inputs), largest_input(kind, len(inputs))
    match kind:
        case "sum" | "mean":
            possible = all(abs(total) <= n * bound for total in result)
        case "product":
            possible = all(abs(total) <= bound**n for total in result)
        case "compare":
            possible = sorted(result) in ([0, 0], [0, 1])
        case "auction":
            possible = result[0] in inputs and abs(result[1]) <= bound
        case _:
            possible = abs(result[0]) <= bound
    if not possible:
        raise ValueError(f"no inputs in range have the result {', '.join(map(str, result))}")


def words(kind: str, inputs: tuple[Party, ...], result: list[int], places: int = 0) -> str:
    """The result as a sentence, the same at all parties."""
    match kind:
        case "mean":
            return ", ".join(_ratio(total, len(inputs) * 10**places) for total in result)
        case "compare":
            is_less, is_more = result
            word = "less than" if is_less else "more than" if is_more else "as much as"
            return f"party {inputs[0]} has {word} party {inputs[1]}"
        case "auction":
            winner, price = result
            return f"party {winner} wins and pays {decimal_text(price, places)}"
        case "product":
            return ", ".join(decimal_text(total, len(inputs) * places) for total in result)
    return ", ".join(decimal_text(total, places) for total in result)


def _ratio(total: int, n: int) -> str:
    """total / n, to six places."""
    sign, (whole, rest) = "-" if total < 0 else "", divmod(abs(total), n)
    places = f"{rest * 10**6 // n:06}".rstrip("0")
    return f"{sign}{whole}.{places}" if places else f"{sign}{whole}"
