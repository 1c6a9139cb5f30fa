"""Identities sign for one purpose only; sealed channels open for one peer, once, in one context."""

import copy
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.crypto.errors import BadSignature, SealError
from mpclab.crypto.identity import (
    MAX_SEQUENCE,
    SEAL_OVERHEAD,
    Identity,
    ReceiveWindow,
    Seal,
    check_signature,
    verify,
)

ALICE = Identity.from_seed(b"a" * 32)
BOB = Identity.from_seed(b"b" * 32)
CAROL = Identity.from_seed(b"c" * 32)


def channel(context=b"session 1, epoch 0"):
    return Seal(ALICE, BOB.public, context), Seal(BOB, ALICE.public, context)


def flip(data, bit):
    position, shift = divmod(bit % (8 * len(data)), 8)
    return data[:position] + bytes([data[position] ^ 1 << shift]) + data[position + 1 :]


def test_the_key_pair_is_that_of_rfc_8032():
    """RFC 8032 §7.1, test 1: the public key of a known seed."""
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    identity = Identity.from_seed(bytes.fromhex(seed))
    assert identity.public.hex() == public
    assert identity.export_seed().hex() == seed


def test_generate_takes_its_coins_from_the_argument():
    assert Identity.generate(random.Random(1)) == Identity.generate(random.Random(1))
    assert Identity.generate(random.SystemRandom()) != Identity.generate(random.SystemRandom())


def test_a_signature_holds_for_its_signer_label_and_parts():
    signature = ALICE.sign("vote", "session", 3, b"yes")
    parts = ("session", 3, b"yes")
    assert verify(ALICE.public, "vote", parts, signature)
    assert not verify(BOB.public, "vote", parts, signature)
    assert not verify(ALICE.public, "commit", parts, signature)
    assert not verify(ALICE.public, "vote", ("session", 3, b"no"), signature)
    assert not verify(ALICE.public, "vote", (*parts, ()), signature)
    with pytest.raises(BadSignature):
        check_signature(BOB.public, "vote", parts, signature)
    check_signature(ALICE.public, "vote", parts, signature)


@given(st.integers(min_value=0, max_value=511))
def test_an_altered_signature_does_not_verify(bit):
    signature = ALICE.sign("vote", 1)
    assert not verify(ALICE.public, "vote", (1,), flip(signature, bit))


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_verify_answers_for_any_bytes(public, signature):
    assert not verify(public, "vote", (1,), signature)


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32])
def test_keys_of_small_order_verify_nothing(public):
    """With the identity as key, R = sB, so (B·0, 0) would hold for every message."""
    assert not verify(public, "vote", (1,), b"\x01" + bytes(63))


def test_the_secret_does_not_slip_out():
    shown = repr(ALICE) + str(ALICE) + repr(channel()[0])
    assert (b"a" * 32).hex() not in shown
    assert "aaaaaaaa" not in shown
    with pytest.raises(TypeError, match="export_seed"):
        pickle.dumps(ALICE)
    with pytest.raises(TypeError, match="derive"):
        pickle.dumps(channel()[0])


def test_an_identity_forks_with_its_party():
    assert copy.deepcopy(ALICE).sign("x") == ALICE.sign("x")
    assert copy.copy(ALICE) == ALICE
    with pytest.raises(AttributeError):
        ALICE.public = BOB.public


@pytest.mark.parametrize("seed", [b"", b"short", b"x" * 33])
def test_a_seed_has_32_bytes(seed):
    with pytest.raises(ValueError, match="32 bytes"):
        Identity.from_seed(seed)


@given(st.binary(max_size=400), st.integers(min_value=0, max_value=MAX_SEQUENCE))
def test_what_is_sealed_opens_at_the_peer(plaintext, sequence):
    alice, bob = channel()
    sealed = alice.seal(sequence, plaintext)
    assert bob.open(sealed) == (sequence, plaintext)
    assert len(sealed) == len(plaintext) + SEAL_OVERHEAD


def test_a_message_does_not_come_back_as_the_peers_own():
    """Reflection: the two directions have different keys."""
    alice, bob = channel()
    sealed = alice.seal(1, b"hello")
    with pytest.raises(SealError):
        alice.open(sealed)
    assert alice.open(bob.seal(1, b"hello")) == (1, b"hello")


def test_a_message_opens_in_its_context_only():
    alice, _ = channel(b"session 1, epoch 0")
    _, bob = channel(b"session 1, epoch 1")
    with pytest.raises(SealError):
        bob.open(alice.seal(1, b"hello"))


def test_a_third_party_can_not_open():
    alice, _ = channel()
    carol = Seal(CAROL, ALICE.public, b"session 1, epoch 0")
    with pytest.raises(SealError):
        carol.open(alice.seal(1, b"hello"))


@given(st.integers(min_value=0, max_value=8 * (SEAL_OVERHEAD + 5) - 1))
def test_every_bit_is_authenticated(bit):
    alice, bob = channel()
    with pytest.raises(SealError):
        bob.open(flip(alice.seal(1, b"hello"), bit))


@given(st.binary(max_size=120))
def test_open_answers_for_any_bytes(noise):
    with pytest.raises(SealError):
        channel()[1].open(noise)


def test_a_channel_forks_with_its_party():
    alice, bob = channel()
    assert bob.open(copy.deepcopy(alice).seal(1, b"hello")) == (1, b"hello")


def test_forgetting_the_sequence_does_not_reuse_a_nonce():
    """A restarted party that seals another message under an old number draws another nonce."""
    alice, _ = channel()
    first, second = alice.seal(0, b"pay 1 to bob"), alice.seal(0, b"pay 9 to bob")
    assert first[8:32] != second[8:32]
    assert alice.seal(0, b"pay 1 to bob") == first


@pytest.mark.parametrize(
    "public", [b"", b"short", b"\xff" * 32, bytes(32), b"\x01" + bytes(31)], ids=repr
)
def test_a_channel_to_an_invalid_key_is_refused(public):
    with pytest.raises(SealError, match="valid Ed25519 key"):
        Seal(ALICE, public, b"")


def test_a_channel_to_oneself_is_refused():
    with pytest.raises(ValueError, match="itself"):
        Seal(ALICE, ALICE.public, b"")


def test_the_window_lets_each_number_through_once_and_upwards():
    window = ReceiveWindow()
    for sequence in (0, 1, 5):
        window.accept(sequence)
    assert window.last == 5
    for replayed in (5, 1, 3, 0):
        with pytest.raises(SealError, match="replayed"):
            window.accept(replayed)
    assert window.last == 5
