"""Sealed shares: opened by their receiver, or, in a dispute, by everyone and truthfully."""

from __future__ import annotations

import dataclasses
import random

import pytest

from mpclab.crypto.errors import BadProof
from mpclab.crypto.groups import ED25519, SECP256K1
from mpclab.mpc import envelopes
from mpclab.mpc.envelopes import EncryptionContext
from tests.mpc.parties import IDENTITIES, KEYS

COINS = random.Random(4)
ONE_TIME = envelopes.new_ephemeral(b"context", 1, COINS)
SLIP = EncryptionContext(b"context", 1, 2, KEYS[2], ONE_TIME.public, ED25519.order)
SHARE = 2**250 + 99


@pytest.mark.parametrize("order", [ED25519.order, SECP256K1.order])
def test_the_receiver_reads_what_was_sealed(order: int) -> None:
    bound = dataclasses.replace(SLIP, order=order)
    for share in (0, 1, SHARE, order - 1):
        sealed = envelopes.encrypt(bound, ONE_TIME, share)
        assert envelopes.decrypt(bound, IDENTITIES[2], sealed) == share


@pytest.mark.parametrize(
    "other",
    [
        {"context": b"elsewhere"},
        {"dealer": 3},
        {"receiver": 3},
        {"order": SECP256K1.order},
    ],
    ids=str,
)
def test_it_is_bound_to_what_it_is_for(other: dict[str, object]) -> None:
    sealed = envelopes.encrypt(SLIP, ONE_TIME, SHARE)
    elsewhere = dataclasses.replace(SLIP, **other)  # type: ignore[arg-type]
    assert envelopes.decrypt(elsewhere, IDENTITIES[2], sealed) != SHARE
    assert envelopes.decrypt(SLIP, IDENTITIES[3], sealed) != SHARE


def test_what_the_receiver_discloses_opens_it_to_everyone() -> None:
    sealed = envelopes.encrypt(SLIP, ONE_TIME, SHARE)
    point, proof = envelopes.disclose(SLIP, IDENTITIES[2], COINS)
    assert envelopes.open_disclosed(SLIP, point, proof, sealed) == SHARE


def test_a_false_disclosure_is_blamed_on_the_receiver() -> None:
    sealed = envelopes.encrypt(SLIP, ONE_TIME, SHARE)
    point, proof = envelopes.disclose(SLIP, IDENTITIES[2], COINS)
    other, other_proof = envelopes.disclose(SLIP, IDENTITIES[3], COINS)
    for false_point, false_proof in [
        (ED25519.generator, proof),
        (other, proof),
        (other, other_proof),
        (point, proof[::-1]),
        (point, proof[:-1]),
        (ED25519.identity, proof),
        (b"", b""),
    ]:
        with pytest.raises(BadProof) as error:
            envelopes.open_disclosed(SLIP, false_point, false_proof, sealed)
        assert error.value.culprits == (2,)


def test_a_disclosure_proves_nothing_elsewhere() -> None:
    sealed = envelopes.encrypt(SLIP, ONE_TIME, SHARE)
    point, proof = envelopes.disclose(SLIP, IDENTITIES[2], COINS)
    with pytest.raises(BadProof):
        envelopes.open_disclosed(dataclasses.replace(SLIP, dealer=3), point, proof, sealed)


def test_a_copied_one_time_key_is_refused() -> None:
    envelopes.check_ephemeral(b"context", 1, ONE_TIME.public, ONE_TIME.proof)
    for context, dealer in [(b"context", 2), (b"elsewhere", 1)]:
        with pytest.raises(BadProof):
            envelopes.check_ephemeral(context, dealer, ONE_TIME.public, ONE_TIME.proof)


def test_the_identity_scalar_is_that_of_the_public_key() -> None:
    for p, identity in list(IDENTITIES.items())[:8]:
        assert ED25519.base_mult(envelopes._scalar(identity)) == KEYS[p]
        assert envelopes.is_identity_key(KEYS[p])
    assert not envelopes.is_identity_key(bytes(32))
    assert "secret" not in repr(ONE_TIME)
