"""ristretto255 (RFC 9496): a group of prime order, with one encoding for each element.

RFC 9496 builds the group as 2E/E[4] of the Edwards curve E: elements are classes of four points,
and only the encoding matters. PyNaCl offers libsodium's arithmetic on E but not its ristretto
functions, so we write the two encodings here, in integers, and let libsodium do the arithmetic.

What makes that easy: E has order 8·L, so 2E is E[4] × (the subgroup of order L), and each class
contains exactly one point of that subgroup. So ristretto255 *is* the prime-order subgroup of
Ed25519 under other names, and an element is decoded to that representative.

About 1 ms an operation: for vectors and for reading, not for speed. Not constant time.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from mpclab.crypto.errors import EncodingError
from mpclab.crypto.groups import ED25519, Element, Group

# RFC 9496 §4.1: the field, the curve's constant and the constants derived from it.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)


def _sqrt_ratio_m1(u: int, v: int) -> tuple[bool, int]:
    """Whether u/v is a square, and the nonnegative root of u/v or of √-1·u/v (RFC 9496 §4.2)."""
    r = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    check = v * r * r % _P
    u %= _P
    if check in (-u % _P, -u * _SQRT_M1 % _P):
        r = r * _SQRT_M1 % _P
    return check in (u, -u % _P), _abs(r)


def _abs(value: int) -> int:
    """The one of ±value that is nonnegative, that is, even (RFC 9496 §4.1)."""
    value %= _P
    return _P - value if value & 1 else value


_INVSQRT_A_MINUS_D = _sqrt_ratio_m1(1, -1 - _D)[1]


def _to_ristretto(point: Element) -> Element:
    """The encoding of the class of a point of the prime-order subgroup (RFC 9496 §4.3.2)."""
    number = int.from_bytes(point, "little")
    y = number & (1 << 255) - 1
    # RFC 8032 §5.1.3: x from y and its sign.
    _, x = _sqrt_ratio_m1(y * y - 1, _D * y * y + 1)
    if x & 1 != number >> 255:
        x = -x % _P
    z, t = 1, x * y % _P
    u1 = (z + y) * (z - y) % _P
    u2 = x * y % _P
    _, invsqrt = _sqrt_ratio_m1(1, u1 * u2 * u2)
    den1, den2 = invsqrt * u1 % _P, invsqrt * u2 % _P
    z_inv = den1 * den2 * t % _P
    if t * z_inv % _P & 1:  # rotate by a point of order 4
        x, y = y * _SQRT_M1 % _P, x * _SQRT_M1 % _P
        den_inv = den1 * _INVSQRT_A_MINUS_D % _P
    else:
        den_inv = den2
    if x * z_inv % _P & 1:
        y = -y % _P
    return _abs(den_inv * (z - y)).to_bytes(32, "little")


# The points of E[4], added to a representative to reach the other three of its class.
_FOUR_TORSION = tuple(
    (y | sign << 255).to_bytes(32, "little") for y, sign in ((1, 0), (_P - 1, 0), (0, 0), (0, 1))
)


@lru_cache(maxsize=1 << 12)
def _from_ristretto(data: bytes) -> Element | None:
    """The prime-order point of the class that `data` encodes, or None (RFC 9496 §4.3.1)."""
    s = int.from_bytes(data, "little")
    if len(data) != 32 or s >= _P or s & 1:
        return None
    ss = s * s % _P
    u1, u2 = (1 - ss) % _P, (1 + ss) % _P
    u2_squared = u2 * u2 % _P
    v = (-(_D * u1 * u1) - u2_squared) % _P
    was_square, invsqrt = _sqrt_ratio_m1(1, v * u2_squared)
    den_x = invsqrt * u2 % _P
    den_y = invsqrt * den_x * v % _P
    x = _abs(2 * s * den_x)
    y = u1 * den_y % _P
    if not was_square or x * y % _P & 1 or y == 0:
        return None
    if (x, y) == (0, 1):
        return ED25519.identity
    point = (y | (x & 1) << 255).to_bytes(32, "little")
    for torsion in _FOUR_TORSION:
        candidate = ED25519.add(point, torsion)
        if candidate == ED25519.identity or ED25519._is_element(candidate):
            return candidate
    raise AssertionError("each class has a point of prime order")  # pragma: no cover


class Ristretto255(Group):
    """ristretto255, computed in the prime-order subgroup of Ed25519."""

    name = "ristretto255"
    order = ED25519.order
    element_bytes = 32
    byte_order = "little"
    identity = bytes(32)
    generator = _to_ristretto(ED25519.generator)

    def _is_element(self, data: bytes) -> bool:
        return data != self.identity and _from_ristretto(data) is not None

    def base_mult(self, scalar: int) -> Element:
        return _to_ristretto(ED25519.base_mult(scalar))

    def mult(self, scalar: int, element: Element) -> Element:
        return _to_ristretto(ED25519.mult(scalar, _point(element)))

    def add(self, left: Element, right: Element) -> Element:
        return _to_ristretto(ED25519.add(_point(left), _point(right)))

    def sum(self, elements: Iterable[Element]) -> Element:
        return _to_ristretto(ED25519.sum(_point(element) for element in elements))

    def linear_combination(self, terms: Iterable[tuple[int, Element]]) -> Element:
        points = [(scalar, _point(element)) for scalar, element in terms]
        return _to_ristretto(ED25519.linear_combination(points))

    def negate(self, element: Element) -> Element:
        return _to_ristretto(ED25519.negate(_point(element)))


def _point(element: Element) -> Element:
    point = _from_ristretto(element)
    if point is None:
        raise EncodingError("not a ristretto255 element")
    return point


RISTRETTO255 = Ristretto255()
