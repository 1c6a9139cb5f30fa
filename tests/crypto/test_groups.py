"""Every group obeys its laws, and takes one encoding of each value and nothing else."""

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.crypto.errors import EncodingError
from mpclab.crypto.groups import ED25519, SECP256K1
from mpclab.crypto.ristretto import RISTRETTO255

GROUPS = [ED25519, SECP256K1, RISTRETTO255]
each_group = pytest.mark.parametrize("group", GROUPS, ids=str)
scalars = st.one_of(st.integers(0, 3), st.integers(-3, 2**256))

P = 2**255 - 19
L = ED25519.order
N = SECP256K1.order


def little(number):
    return number.to_bytes(32, "little")


@each_group
@settings(max_examples=30)
@given(a=scalars, b=scalars)
def test_scalars_act_as_numbers_modulo_the_order(group, a, b):
    left, right = group.base_mult(a), group.base_mult(b)
    assert group.add(left, right) == group.base_mult(a + b)
    assert group.mult(b, left) == group.base_mult(a * b)
    assert group.negate(left) == group.base_mult(-a)
    assert group.linear_combination([(a, right), (b, left)]) == group.base_mult(2 * a * b)
    assert group.sum([left, right, left]) == group.base_mult(2 * a + b)


@each_group
def test_the_identity_is_an_element_like_any_other_inside(group):
    zero, g = group.identity, group.generator
    assert group.base_mult(0) == group.base_mult(group.order) == zero
    assert group.mult(0, g) == group.mult(7, zero) == zero
    assert group.add(zero, g) == group.add(g, zero) == g
    assert group.add(zero, zero) == group.sum([]) == group.negate(zero) == zero
    assert group.add(g, group.negate(g)) == zero
    assert group.sum([g, g, group.mult(-2, g)]) == zero
    assert group.mult(group.order, g) == zero


@each_group
def test_the_identity_never_comes_from_outside(group):
    """RFC 9591 §3.1: DeserializeElement fails for the identity."""
    with pytest.raises(EncodingError):
        group.decode_element(group.identity)


@each_group
@given(data=st.data())
@settings(max_examples=30)
def test_an_element_is_its_encoding(group, data):
    element = group.base_mult(data.draw(st.integers(1, group.order - 1)))
    assert len(element) == group.element_bytes
    assert group.decode_element(element) == element


@each_group
@given(noise=st.one_of(st.binary(max_size=70), st.binary(min_size=32, max_size=33)))
def test_decoding_answers_for_any_bytes(group, noise):
    try:
        element = group.decode_element(noise)
    except EncodingError:
        return
    # Whatever is accepted must be of prime order: (order - 1)·E = -E.
    assert group.add(group.mult(group.order - 1, element), element) == group.identity


@each_group
@given(value=st.integers(0, 2**256 - 1))
def test_scalars_are_read_only_below_the_order(group, value):
    data = value.to_bytes(32, group.byte_order)
    if value < group.order:
        assert group.encode_scalar(group.decode_scalar(data)) == data
    else:
        with pytest.raises(EncodingError, match="below"):
            group.decode_scalar(data)


@each_group
@pytest.mark.parametrize("excess", [0, 1])
def test_the_order_itself_is_no_scalar(group, excess):
    """libsodium would take it, and take any scalar with bit 255 set for one without."""
    with pytest.raises(EncodingError):
        group.decode_scalar((group.order + excess).to_bytes(32, group.byte_order))
    assert group.decode_scalar((group.order - 1).to_bytes(32, group.byte_order)) == group.order - 1


@each_group
@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_scalar_has_32_bytes(group, length):
    with pytest.raises(EncodingError, match="32 bytes"):
        group.decode_scalar(bytes(length))


@each_group
def test_multiplication_refuses_what_is_no_element(group):
    with pytest.raises(EncodingError):
        group.mult(5, b"\xff" * group.element_bytes)
    with pytest.raises(EncodingError):
        group.mult(5, b"")
    with pytest.raises(EncodingError):
        group.add(group.generator, b"\x02" + bytes(group.element_bytes - 2) + b"\x05")


@each_group
def test_a_group_is_one_object(group):
    """So that key shares which hold it can be compared, forked and stored."""
    assert copy.deepcopy(group) is group
    assert pickle.loads(pickle.dumps(group)) is group


SMALL_ORDER = {
    "the identity": little(1),
    "order 2": little(P - 1),
    "order 4": little(0),
    "order 4, other sign": little(1 << 255),
    "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "order 8, other sign": bytes.fromhex(
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"
    ),
}


@pytest.mark.parametrize("data", SMALL_ORDER.values(), ids=SMALL_ORDER)
def test_ed25519_refuses_points_of_small_order(data):
    with pytest.raises(EncodingError):
        ED25519.decode_element(data)


@pytest.mark.parametrize("torsion", [v for k, v in SMALL_ORDER.items() if k != "the identity"])
def test_ed25519_refuses_points_with_a_torsion_component(torsion):
    """The sum is on the curve and looks like any point, but lies outside the subgroup."""
    mixed = ED25519.add(ED25519.base_mult(12345), torsion)
    with pytest.raises(EncodingError):
        ED25519.decode_element(mixed)
    with pytest.raises(EncodingError):
        ED25519.mult(3, mixed)


@pytest.mark.parametrize(
    "data",
    [
        little(P),  # y = p, a second spelling of y = 0
        little(P + 1),  # and of the identity
        little(1 | 1 << 255),  # the identity, with the sign of an x that is 0
        little(2),  # no such point
        little(P + 3),
        b"\xff" * 32,
    ],
)
def test_ed25519_refuses_other_spellings_and_non_points(data):
    with pytest.raises(EncodingError):
        ED25519.decode_element(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",  # SEC 1's infinity
        b"\x04" + SECP256K1.generator[1:],  # uncompressed prefix, compressed length
        b"\x06" + SECP256K1.generator[1:],  # hybrid prefix
        b"\x02" + (5).to_bytes(32, "big"),  # x³ + 7 is no square
        b"\x02" + (2**256 - 2**32 - 977 + 1).to_bytes(32, "big"),  # x = 1, spelled x + p
        b"\x02" + b"\xff" * 32,
        SECP256K1.generator[1:],  # x only
        SECP256K1.generator + b"\x00",
    ],
)
def test_secp256k1_refuses_other_spellings_and_non_points(data):
    with pytest.raises(EncodingError):
        SECP256K1.decode_element(data)


# RFC 9496 Appendix A.1: the first multiples of the generator.
RISTRETTO_MULTIPLES = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
]


@pytest.mark.parametrize("k", range(4))
def test_ristretto_multiples_are_those_of_rfc_9496(k):
    assert RISTRETTO255.base_mult(k).hex() == RISTRETTO_MULTIPLES[k]


@pytest.mark.parametrize(
    "data",
    [
        # RFC 9496 Appendix A.2, one or two of each kind
        "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",  # non-canonical
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # non-canonical
        "0100000000000000000000000000000000000000000000000000000000000000",  # negative
        "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",  # negative
        "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",  # no square
        "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",  # no square
        "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",  # negative xy
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # s = -1, y = 0
    ],
)
def test_ristretto_refuses_the_bad_encodings_of_rfc_9496(data):
    with pytest.raises(EncodingError):
        RISTRETTO255.decode_element(bytes.fromhex(data))


@pytest.mark.parametrize("k", [1, 2, 3, 99])
def test_ristretto_refuses_the_second_spelling_of_an_element(k):
    """s and -s decode to the same point; only the nonnegative one is an encoding."""
    s = int.from_bytes(RISTRETTO255.base_mult(k), "little")
    for other in (P - s, s + P):
        with pytest.raises(EncodingError):
            RISTRETTO255.decode_element((other % 2**256).to_bytes(32, "little"))


@pytest.mark.parametrize("torsion", [v for k, v in SMALL_ORDER.items() if k != "the identity"])
def test_known_small_points_are_what_they_are_called(torsion):
    """Guards the tests above: 8·T must be the identity, by doubling."""
    point = torsion
    for _ in range(3):
        point = ED25519.add(point, point)
    assert point == ED25519.identity
