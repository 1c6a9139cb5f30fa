"""What the parties compute on their private inputs: sum, mean, product, comparison, auction.

Only the result is opened. See `evaluation` for what is assumed: semi-honest parties, fewer than
half of whom put together what they saw. A sum tells its own story to n-1 of n, whatever the
protocol.

Inputs are whole numbers of less than 2^62 in size. Products must stay below 2^125: with n factors
each input has at most 125 // n bits.
"""

from __future__ import annotations

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.mpc.circuit import Circuit
from mpclab.mpc.comparison import is_place, negative, places
from mpclab.mpc.evaluation import degree

LARGEST = 2**62 - 1
PRODUCT_BITS = 125
MAX_LENGTH = 4096
KINDS = ("sum", "mean", "product", "compare", "max", "auction")


def largest_input(kind: str, n: int) -> int:
    """How far from 0 an input may be."""
    return 2 ** min(62, PRODUCT_BITS // n) - 1 if kind == "product" else LARGEST


def check_input(kind: str, n: int, length: int, values: tuple[int, ...]) -> None:
    """Raise `UsageError` unless these are a party's input."""
    if len(values) != length:
        raise UsageError(f"{kind}: {length} numbers are wanted, {len(values)} given")
    bound = largest_input(kind, n)
    for value in values:
        if isinstance(value, bool) or abs(value) > bound:
            raise UsageError(f"{kind}: an input is a whole number from {-bound} to {bound}")


def build(
    kind: str, inputs: tuple[Party, ...], participants: tuple[Party, ...], length: int = 1
) -> Circuit:
    """The circuit of one kind of computation by `participants` on the inputs of some of them."""
    if not 1 <= length <= MAX_LENGTH:
        raise UsageError(f"length: {length}; use 1 to {MAX_LENGTH}")
    if kind not in ("sum", "mean", "product") and length != 1:
        raise UsageError(f"length: {kind} takes one number from each party")
    if kind == "compare" and len(inputs) != 2:
        raise UsageError(f"compare: name two parties, not {len(inputs)}")
    if len(inputs) < 2:
        raise UsageError(f"{kind}: with {len(inputs)} input the result would tell it")
    contributors = participants[: degree(len(participants)) + 1]
    c = Circuit()
    given = [c.input(party, length) for party in inputs]
    match kind:
        case "sum" | "mean":
            total = given[0]
            for other in given[1:]:
                total = total + other
            c.output(c.open(total))
        case "product":
            while len(given) > 1:  # a tree: ⌈log2 n⌉ rounds
                pairs = [a * b for a, b in zip(given[::2], given[1::2], strict=False)]
                given = [*pairs, *given[2 * len(pairs) :]]
            c.output(c.open(given[0]))
        case "compare":
            ab, ba = given[0] - given[1], given[1] - given[0]
            c.output(c.open(negative(c, c.join(ab, ba), contributors)))
        case "max":
            values = c.join(*given)
            (first,) = is_place(c, places(c, values, contributors), [0])
            c.output(c.open(c.mul(first, values).fold(len(inputs))))
        case "auction":
            values = c.join(*given)
            first, second = is_place(c, places(c, values, contributors), [0, 1])
            price = c.mul(second, values).fold(len(inputs))
            c.output(c.open(c.join(first.fold(len(inputs), inputs), price)))
        case _:
            raise UsageError(f"{kind!r} is no computation; there are {', '.join(KINDS)}")
    return c


def words(kind: str, inputs: tuple[Party, ...], result: list[int]) -> str:
    """The result as a sentence, the same at all parties."""
    match kind:
        case "mean":
            return ", ".join(_ratio(total, len(inputs)) for total in result)
        case "compare":
            less, more = result
            word = "less than" if less else "more than" if more else "as much as"
            return f"party {inputs[0]} has {word} party {inputs[1]}"
        case "auction":
            winner, price = result
            return f"party {winner} wins and pays {price}"
    return ", ".join(map(str, result))


def _ratio(total: int, n: int) -> str:
    """total / n, to six places."""
    sign, (whole, rest) = "-" if total < 0 else "", divmod(abs(total), n)
    places = f"{rest * 10**6 // n:06}".rstrip("0")
    return f"{sign}{whole}.{places}" if places else f"{sign}{whole}"
