"""Circuits over secret-shared vectors: what is computed, apart from how.

A circuit is built once, alike at all parties, and never changes. Its values are vectors of elements
of the field modulo P. Adding, subtracting, scaling and rearranging is local; multiplying and
opening takes a round, and everything that can share a round does.

    c = Circuit()
    a, b = c.input(1, 3), c.input(2, 3)
    c.output(c.open(c.mul(a, b) + 1))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mpclab.core.ids import Party

P = 2**127 - 1
"""A Mersenne prime; ≡ 3 modulo 4, so square roots are one exponentiation."""
ELEMENT_BYTES = 16
OUT_OF_RANGE = "an input is out of its range"
DIGITS = 63
"""Bits of a number that is put in bit by bit: from -2^62 to 2^62 - 1, counted from the least."""


def least(width: int) -> int:
    """The least number of so many bits: half of them are below 0."""
    return -(1 << width - 1)


Vector: TypeAlias = list[int]
Local: TypeAlias = Callable[..., Vector]


@dataclass(frozen=True, slots=True, eq=False)
class Wire:
    """One vector. `level`: the number of rounds after which it is known.

    `+`, `-` and `*` take wires of the same length and integers; `*` with another secret wire is
    `Circuit.mul` and takes a round.
    """

    circuit: Circuit = field(repr=False)
    index: int
    length: int
    level: int
    public: bool

    def __add__(self, other: Wire | int) -> Wire:
        if isinstance(other, int):
            return self.circuit.local(lambda v: [x + other for x in v], self)
        return self.circuit.local(_add, self, other)

    def __sub__(self, other: Wire | int) -> Wire:
        if isinstance(other, int):
            return self + -other
        return self.circuit.local(_sub, self, other)

    def __rsub__(self, other: int) -> Wire:
        return self.circuit.local(lambda v: [other - x for x in v], self)

    def __mul__(self, other: Wire | int) -> Wire:
        if isinstance(other, int):
            return self.circuit.local(lambda v: [x * other for x in v], self)
        return self.circuit.mul(self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def take(self, indices: Sequence[int]) -> Wire:
        """The elements at these places, in this order."""
        places = tuple(indices)
        return self.circuit.local(lambda v: [v[i] for i in places], self, length=len(places))

    def fold(self, width: int, weights: Sequence[int] | None = None) -> Wire:
        """The (weighted) sum of each `width` elements in a row."""
        scale = tuple(weights) if weights is not None else (1,) * width

        def folded(v: Vector) -> Vector:
            rows = (v[start : start + width] for start in range(0, len(v), width))
            return [sum(x * w for x, w in zip(row, scale, strict=True)) for row in rows]

        return self.circuit.local(folded, self, length=self.length // width)


def _add(v: Vector, w: Vector) -> Vector:
    return [x + y for x, y in zip(v, w, strict=True)]


def _sub(v: Vector, w: Vector) -> Vector:
    return [x - y for x, y in zip(v, w, strict=True)]


def _powers(base: int, count: int) -> Vector:
    powers = [base]
    while len(powers) < count:
        powers.append(powers[-1] * base % P)
    return powers


def _mul(v: Vector, w: Vector) -> Vector:
    return [x * y for x, y in zip(v, w, strict=True)]


@dataclass(frozen=True, slots=True)
class Step:
    """How one wire comes about: kind "input", "digits", "random", "local", "mul", "dot", "open"
    or "zero", which is opened and must be 0, or it ends, and `why`. `width`: bits of each number of
    "digits". `givers`: whose input each element of "zero" is made of, where it is one party's."""

    kind: str
    wire: Wire
    args: tuple[Wire, ...] = ()
    party: Party = 0
    below: int = 0
    width: int = 0
    local: Local | None = None
    why: str = OUT_OF_RANGE
    givers: tuple[Party, ...] = ()


class Circuit:
    """The steps, in an order in which they can be done."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.outputs: list[Wire] = []
        self._digits: list[tuple[Party, Wire]] = []  # not yet checked

    def __deepcopy__(self, memo: dict[int, Any]) -> Circuit:
        return self  # built once, then only read

    def _wire(self, length: int, level: int, public: bool = False) -> Wire:
        return Wire(self, len(self.steps), length, level, public)

    def input(self, party: Party, length: int = 1) -> Wire:
        """A private vector of `party`."""
        wire = self._wire(length, 1)
        self.steps.append(Step("input", wire, party=party))
        return wire

    def digits(self, party: Party, count: int = 1, width: int = DIGITS) -> Wire:
        """Private numbers of `party`, each as `width` bits, lowest first. See `check_digits`."""
        wire = self.unchecked_digits(party, count, width)
        self._digits.append((party, wire))
        return wire

    def unchecked_digits(self, party: Party, count: int, width: int) -> Wire:
        """`digits`, of which something else says that they are bits."""
        wire = self._wire(count * width, 1)
        self.steps.append(Step("digits", wire, party=party, width=width))
        return wire

    def number(self, digits: Wire, width: int = DIGITS) -> Wire:
        """The numbers that these bits are the digits of."""
        return digits.fold(width, [1 << i for i in range(width)]) + least(width)

    def check_digits(self) -> None:
        """End the computation unless all that was put in as digits is bits: by a combination of
        the b·(1 - b) of each party, whose weights are drawn after all have put theirs in. A cheat
        passes with a chance of less than the number of bits divided by P."""
        if not self._digits:
            return
        given, self._digits = self._digits, []
        longest = max(bits.length for _, bits in given)
        weight = self.open(self.random(1))
        powers = self.local(lambda v: _powers(v[0], longest), weight, length=longest)
        sums = [
            self.dot(self.mul(bits, powers.take(range(bits.length))), 1 - bits) for _, bits in given
        ]
        self.zero(self.join(*sums), givers=tuple(party for party, _ in given))

    def constant(self, values: Vector) -> Wire:
        """A vector that everyone knows."""
        kept = list(values)
        wire = self._wire(len(kept), 1, public=True)
        self.steps.append(Step("local", wire, local=lambda: kept))
        return wire

    def random_bits(self, count: int) -> Wire:
        """Bits that nobody knows: which of the two roots a random number is of its square (Damgård
        et al., TCC 2006, §4). A square of 0 has a chance of 2^-127."""
        roots = self.random(count)
        squares = self.open(self.mul(roots, roots))
        half = pow(2, -1, P)

        def signs(v: Vector, w: Vector) -> Vector:
            # v / √w is 1 or -1; and 1 / √w is w^((P-3)/4), since P is 3 modulo 4.
            return [(x * pow(y, (P - 3) // 4, P) + 1) * half for x, y in zip(v, w, strict=True)]

        return self.local(signs, roots, squares)

    def random(self, length: int, below: int = P) -> Wire:
        """Numbers that nobody knows: sums of one below `below` from everybody."""
        wire = self._wire(length, 1)
        self.steps.append(Step("random", wire, below=below))
        return wire

    def local(self, function: Local, *args: Wire, length: int | None = None) -> Wire:
        """`function` of vectors; linear in those that are secret."""
        level = max(arg.level for arg in args)
        public = all(arg.public for arg in args)
        wire = self._wire(args[0].length if length is None else length, level, public)
        self.steps.append(Step("local", wire, args, local=function))
        return wire

    def mul(self, left: Wire, right: Wire) -> Wire:
        """Products, element by element; a round, unless one side is public."""
        if left.public or right.public:
            return self.local(_mul, left, right)
        wire = self._wire(left.length, max(left.level, right.level) + 1)
        self.steps.append(Step("mul", wire, (left, right)))
        return wire

    def dot(self, left: Wire, right: Wire) -> Wire:
        """The sum of the products; a round, and no more to send than for one product."""
        wire = self._wire(1, max(left.level, right.level) + 1)
        self.steps.append(Step("dot", wire, (left, right)))
        return wire

    def open(self, secret: Wire, *, waits: bool = True) -> Wire:
        """Tell everyone; a round, after all that is checked before if it `waits`."""
        level = secret.level
        if waits:
            level = max([level, *(s.wire.level for s in self.steps if s.kind == "zero")])
        wire = self._wire(secret.length, level + 1, public=True)
        self.steps.append(Step("open", wire, (secret,)))
        return wire

    def zero(self, secret: Wire, why: str = OUT_OF_RANGE, givers: tuple[Party, ...] = ()) -> Wire:
        """Open it, and end the computation when it is not 0; the wire of what was opened."""
        wire = self._wire(secret.length, secret.level + 1, public=True)
        self.steps.append(Step("zero", wire, (secret,), why=why, givers=givers))
        return wire

    def join(self, *wires: Wire) -> Wire:
        """One vector of several."""

        def joined(*vectors: Vector) -> Vector:
            return [x for vector in vectors for x in vector]

        return self.local(joined, *wires, length=sum(wire.length for wire in wires))

    def output(self, wire: Wire) -> None:
        """`wire`, which is open, is (part of) the result."""
        if not wire.public:
            raise ValueError("open a result before it is put out")
        checks = [step.wire.level for step in self.steps if step.kind == "zero"]
        if self._digits or max(checks, default=0) >= wire.level:
            raise ValueError("check what was put in before a result is opened")
        self.outputs.append(wire)

    def inputs_of(self, party: Party) -> int:
        """How many numbers `party` gives."""
        given = [step for step in self.steps if step.party == party]
        whole = sum(step.wire.length for step in given if step.kind == "input")
        return whole + sum(
            step.wire.length // step.width for step in given if step.kind == "digits"
        )

    @property
    def rounds(self) -> int:
        return max((step.wire.level for step in self.steps), default=0)
