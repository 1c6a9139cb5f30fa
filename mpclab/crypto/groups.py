"""Groups of prime order in which the discrete logarithm is hard, behind one small interface.

A scalar is a Python `int` modulo the order. An element is its own fixed-length encoding, `bytes`:
it is what travels, it compares and hashes as it should, and a party that holds elements can be
copied and forked. There are three groups:

=============  =============  ========  ==============================================
name           element        scalars   arithmetic
=============  =============  ========  ==============================================
`ed25519`      32 bytes       32, LE    libsodium
`secp256k1`    33 bytes       32, BE    libsecp256k1 (in a tab: noble), SEC 1 compressed
`ristretto255` 32 bytes       32, LE    libsodium, encodings of RFC 9496 (`ristretto.py`)
=============  =============  ========  ==============================================

Whatever comes from a peer goes through `decode_scalar` and `decode_element` first. They accept
one encoding of each value and nothing else: no scalar ≥ the order, no point off the curve or
outside the subgroup, no second spelling of a point, and never the identity, which has no place
on the wire (RFC 9591 §3.1). Inside a computation the identity is an element like any other.

The libraries differ at the edges, and this module evens it out: libsodium takes unreduced
scalars, ignores their top bit, adds points with a torsion component, and fails when a product
is the identity; libsecp256k1 has no identity at all. Neither multiplication by Python integers
(`int` arithmetic is not constant time) nor this process's memory is hardened against an attacker
on the same machine: this is a laboratory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar, Literal

from mpclab.crypto.errors import EncodingError
from mpclab.crypto.primitives import PrimitiveError, primitives

Element = bytes
"""An element of a group in its one encoding (of `Group.element_bytes` bytes)."""


class Group(ABC):
    """A cyclic group of prime order `order`, written additively."""

    name: ClassVar[str]
    order: ClassVar[int]
    scalar_bytes: ClassVar[int] = 32
    element_bytes: ClassVar[int]
    byte_order: ClassVar[Literal["little", "big"]]
    identity: ClassVar[Element]
    generator: ClassVar[Element]

    # -- encodings -------------------------------------------------------------------------

    def encode_scalar(self, scalar: int) -> bytes:
        """A scalar as `scalar_bytes` bytes; taken modulo the order."""
        return (scalar % self.order).to_bytes(self.scalar_bytes, self.byte_order)

    def decode_scalar(self, data: bytes) -> int:
        """The scalar that these bytes encode, 0 included.

        Raises:
            EncodingError: not exactly `scalar_bytes` bytes, or not below the order.
        """
        if len(data) != self.scalar_bytes:
            raise EncodingError(f"a {self.name} scalar has {self.scalar_bytes} bytes")
        scalar = int.from_bytes(data, self.byte_order)
        if scalar >= self.order:
            raise EncodingError(f"a {self.name} scalar is below the group's order")
        return scalar

    def decode_element(self, data: bytes) -> Element:
        """These bytes, if they are the encoding of an element other than the identity.

        Raises:
            EncodingError: anything else; whoever sent them is to blame.
        """
        if len(data) != self.element_bytes or not self._is_element(data):
            raise EncodingError(f"not the encoding of a {self.name} element")
        return data

    @abstractmethod
    def _is_element(self, data: bytes) -> bool:
        """Whether bytes of the right length are a canonical element and not the identity."""

    # -- arithmetic ------------------------------------------------------------------------

    @abstractmethod
    def base_mult(self, scalar: int) -> Element:
        """scalar · generator."""

    @abstractmethod
    def mult(self, scalar: int, element: Element) -> Element:
        """scalar · element.

        Raises:
            EncodingError: `element` does not belong to this group.
        """

    def decode_and_mult(self, scalar: int, data: bytes) -> Element:
        """scalar · `decode_element(data)`, with its errors; where a library checks what it
        multiplies, that is not done twice."""
        return self.mult(scalar, self.decode_element(data))

    @abstractmethod
    def add(self, left: Element, right: Element) -> Element:
        """left + right, for elements of the group: they are not validated again."""

    def sum(self, elements: Iterable[Element]) -> Element:
        """The sum of any number of elements; the identity for none."""
        total = self.identity
        for element in elements:
            total = self.add(total, element)
        return total

    def linear_combination(self, terms: Iterable[tuple[int, Element]]) -> Element:
        """Σ scalar · element over `(scalar, element)` pairs."""
        return self.sum([self.mult(scalar, element) for scalar, element in terms])

    def negate(self, element: Element) -> Element:
        """-element."""
        return self.mult(-1, element)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name.upper()  # a group is one object per process, by its module-level name


class Ed25519(Group):
    """The subgroup of prime order L of edwards25519 (RFC 8032 §5.1)."""

    name = "ed25519"
    order = 2**252 + 27742317777372353535851937790883648493
    element_bytes = 32
    byte_order = "little"
    identity = (1).to_bytes(32, "little")
    generator = bytes.fromhex("58" + "66" * 31)

    def _is_element(self, data: bytes) -> bool:
        return _is_ed25519_element(data)

    def base_mult(self, scalar: int) -> Element:
        scalar %= self.order
        if scalar == 0:  # libsodium fails where the product is the identity
            return self.identity
        return primitives.ed25519_base_mult(scalar.to_bytes(32, "little"))

    def mult(self, scalar: int, element: Element) -> Element:
        scalar %= self.order
        if scalar == 1:
            return element
        if scalar == 0 or element == self.identity:
            return self.identity
        try:  # libsodium refuses points outside the subgroup here, though not in `add`
            return primitives.ed25519_mult(scalar.to_bytes(32, "little"), element)
        except PrimitiveError:
            raise EncodingError("not an ed25519 element") from None

    def add(self, left: Element, right: Element) -> Element:
        try:
            return primitives.ed25519_add(left, right)
        except PrimitiveError:
            raise EncodingError("not an ed25519 element") from None

    def decode_and_mult(self, scalar: int, data: bytes) -> Element:
        if len(data) != self.element_bytes or data == self.identity or scalar % self.order < 2:
            return super().decode_and_mult(scalar, data)
        return self.mult(scalar, data)

    def negate(self, element: Element) -> Element:
        return primitives.ed25519_sub(self.identity, element)


@lru_cache(maxsize=1 << 14)
def _is_ed25519_element(data: bytes) -> bool:
    # 40 µs, more than an addition. When many parties share a process, or a message is checked
    # in two places, the same public bytes come again and again.
    return primitives.ed25519_is_valid(data)


class Secp256k1(Group):
    """The curve of SEC 2 §2.4.1; its order is prime, so every point belongs."""

    name = "secp256k1"
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    element_bytes = 33
    byte_order = "big"
    identity = bytes(33)  # our own mark: SEC 1 writes infinity as one zero byte
    generator = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")

    def _is_element(self, data: bytes) -> bool:
        return primitives.secp256k1_is_valid(data)

    def base_mult(self, scalar: int) -> Element:
        scalar %= self.order
        if scalar == 0:
            return self.identity
        return primitives.secp256k1_base_mult(scalar.to_bytes(32, "big"))

    def mult(self, scalar: int, element: Element) -> Element:
        scalar %= self.order
        if scalar == 1:
            return element
        if scalar == 0 or element == self.identity:
            return self.identity
        try:
            return primitives.secp256k1_mult(scalar.to_bytes(32, "big"), element)
        except PrimitiveError:
            raise EncodingError("not a secp256k1 element") from None

    def add(self, left: Element, right: Element) -> Element:
        return self.sum((left, right))

    def sum(self, elements: Iterable[Element]) -> Element:
        points = [element for element in elements if element != self.identity]
        if not points:
            return self.identity
        try:
            return primitives.secp256k1_sum(points) or self.identity
        except PrimitiveError:
            raise EncodingError("not a secp256k1 element") from None

    def negate(self, element: Element) -> Element:
        if element == self.identity:
            return element
        return bytes([element[0] ^ 1]) + element[1:]  # 02 and 03 are even and odd y


ED25519 = Ed25519()
SECP256K1 = Secp256k1()
