"""Shared keys that move by a public number: Taproot outputs and derived children."""

import random

import pytest
from coincurve import PublicKey, PublicKeyXOnly
from hypothesis import given
from hypothesis import strategies as st

from mpclab.crypto import frost, taproot
from mpclab.crypto.ciphersuites import FROST_BIP340, FROST_SECP256K1
from mpclab.crypto.keys import trusted_dealer_keygen


def sign(shares, message=b"message"):
    coins = random.Random(7)
    first = {i: frost.commit(shares[i], coins) for i in (1, 3)}
    listed = [commitment for _, commitment in first.values()]
    z = {i: frost.sign(shares[i], nonces, message, listed) for i, (nonces, _) in first.items()}
    return frost.aggregate(shares[1].key, message, listed, z)


@given(secret=st.integers(1, 2**200), root=st.sampled_from([b"", b"r" * 32]))
def test_shares_of_a_tweaked_key_sign_for_the_output_that_bip_341_names(secret, root):
    shares = trusted_dealer_keygen(FROST_BIP340, secret, 2, (1, 2, 3), random.Random(1))
    internal = shares[1].key.public
    output = taproot.tweak_key(shares[1].key, root)
    # taproot_tweak_pubkey (BIP 341), by libsecp256k1.
    tweak = taproot.tagged_hash("TapTweak", internal[1:] + root)
    assert output.public == PublicKey(b"\x02" + internal[1:]).add(tweak).format()
    tweaked = {i: taproot.tweak_share(share, output, root) for i, share in shares.items()}
    for share in tweaked.values():
        share.check()
    assert PublicKeyXOnly(taproot.x_only(output.public)).verify(sign(tweaked), b"message")


def test_children_are_those_of_bip_32():
    """BIP 32, test vector 1: chain m/0H, and its child 1."""
    parent = taproot.Extended(
        bytes.fromhex("035a784662a4a20a65bf6aab9ae98a6c068a81c52e4b032c0fb5400c706cfccc56"),
        bytes.fromhex("47fdacbd0f1097043b78c63c20c34ef4ed9a111d980047ad16282c7ae6236141"),
    )
    found = taproot.child(parent, 1)
    assert found.public.hex() == (
        "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c"
    )
    assert found.chain_code.hex() == (
        "2a7857631386ba23dacac34180dd1983734e444fdbf774041578e9b6adb37c19"
    )


@pytest.mark.parametrize("suite", [FROST_BIP340, FROST_SECP256K1], ids=str)
@pytest.mark.parametrize("secret", [3, 4201, 2**199])
def test_shares_of_a_derived_key_sign_for_it(suite, secret):
    shares = trusted_dealer_keygen(suite, secret, 2, (1, 2, 3), random.Random(1))
    key, offset = taproot.derive(shares[1].key, taproot.parse_path("0/5"))
    assert key.public == suite.group.base_mult(secret + offset)
    moved = {i: taproot.move_share(share, key, offset) for i, share in shares.items()}
    for share in moved.values():
        share.check()
    sign(moved)  # verified by `aggregate`


@pytest.mark.parametrize("path", ["0'", "0h/1", "", "a", "0//1", "-1", "2147483648", "٣"])
def test_a_path_that_cannot_be_followed_is_refused(path):
    with pytest.raises(ValueError):
        taproot.parse_path(path)


def test_a_merkle_root_has_32_bytes():
    with pytest.raises(ValueError, match="32 bytes"):
        taproot.tweak_of(b"\x02" + bytes(32), b"short")
