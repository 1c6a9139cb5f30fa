"""FROST: threshold Schnorr signatures in two rounds (RFC 9591).

Round one: each signer draws two nonces and publishes commitments to them (`commit`). Round two:
given the message and *all* signers' commitments, each returns a signature share (`sign`). The
shares add up to one ordinary signature (`aggregate`), and a wrong share names its author.

Guarantee: unforgeable against fewer than `threshold` corrupt parties, under concurrent signing
(Bellare et al., CRYPTO 2022). Not robust: one signer that vanishes stops the attempt, and the
caller tries again with others.

The caller's duties:

* **Nonces are used once.** Delete them before the share leaves, whether or not the attempt
  succeeds. Shares under the same nonces for different messages or signers give the secret away.
* Decide what to sign: `sign` signs whatever message it is given.
* Send commitments and shares over authenticated links.

Function names are the RFC's. Our deviations: signers are checked against the key's threshold
(the RFC's MIN_PARTICIPANTS), commitment lists are sorted here and not by the caller, and there
is a BIP 340 suite, for which nonces and shares change sign where a y coordinate is odd.

Legend: D, E hiding and binding commitments, ρ binding factor, R group commitment, c challenge,
λ Lagrange coefficient, z signature share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mpclab.crypto import schnorr
from mpclab.crypto.ciphersuites import Ciphersuite
from mpclab.crypto.errors import BadCommitment, BadShare, CryptoError, EncodingError
from mpclab.crypto.groups import Element
from mpclab.crypto.identity import Coins
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.crypto.schnorr import has_even_y, nonce_generate
from mpclab.crypto.shamir import check_identifiers, lagrange_coefficients


@dataclass(frozen=True, slots=True)
class Nonces:
    """A signer's two secret nonces, for one signature. `repr` does not show them."""

    hiding: int = field(repr=False)
    binding: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningCommitment:
    """A signer's message of round one."""

    identifier: int
    hiding: Element
    binding: Element


@dataclass(frozen=True, slots=True)
class Attempt:
    """Values that follow from the key, the message and the commitments, the same for all: half of
    the work of signing, and of adding up. Made by `prepare`, for whoever does both."""

    key: GroupKey
    message: bytes
    commitments: dict[int, SigningCommitment]
    binding_factors: dict[int, int]
    coefficients: dict[int, int]
    group_commitment: Element
    challenge: int
    nonce_sign: int
    key_sign: int


def commit(share: KeyShare, coins: Coins) -> tuple[Nonces, SigningCommitment]:
    """Round one (RFC 9591 §5.1): nonces to keep, commitments to send."""
    group = share.suite.group
    nonces = Nonces(
        hiding=nonce_generate(share.suite, share.secret, coins),
        binding=nonce_generate(share.suite, share.secret, coins),
    )
    return nonces, SigningCommitment(
        share.identifier, group.base_mult(nonces.hiding), group.base_mult(nonces.binding)
    )


def sign(
    share: KeyShare, nonces: Nonces, message: bytes, commitments: Iterable[SigningCommitment]
) -> int:
    """Round two (RFC 9591 §5.2): this signer's signature share, a scalar.

    Raises:
        BadCommitment, CryptoError: as `prepare` and `sign_prepared`.
    """
    return sign_prepared(share, nonces, prepare(share.key, message, commitments))


def sign_prepared(share: KeyShare, nonces: Nonces, attempt: Attempt) -> int:
    """`sign`, for an attempt under the share's own key.

    Raises:
        CryptoError: our own commitments are missing or altered; whoever made the list is to blame.
    """
    group = share.suite.group
    if attempt.key != share.key:
        raise ValueError("the attempt is one with another key")
    own = attempt.commitments.get(share.identifier)
    # RFC 9591 §5.2: each signer MUST find its own commitments in the list.
    if own is None or (own.hiding, own.binding) != (
        group.base_mult(nonces.hiding),
        group.base_mult(nonces.binding),
    ):
        raise CryptoError("the list of commitments does not hold this signer's own")
    i = share.identifier
    nonce = nonces.hiding + nonces.binding * attempt.binding_factors[i]
    return (
        attempt.nonce_sign * nonce
        + attempt.key_sign * attempt.coefficients[i] * share.secret * attempt.challenge
    ) % group.order


def verify_signature_share(
    key: GroupKey,
    message: bytes,
    commitments: Iterable[SigningCommitment],
    identifier: int,
    signature_share: int,
) -> bool:
    """Whether a signer's share is right (RFC 9591 §5.4)."""
    return verify_prepared(prepare(key, message, commitments), identifier, signature_share)


def aggregate(
    key: GroupKey,
    message: bytes,
    commitments: Iterable[SigningCommitment],
    signature_shares: Mapping[int, int],
) -> bytes:
    """The group's signature on `message` (RFC 9591 §5.3), verified.

    Raises:
        BadShare: the signers whose shares are wrong or missing, all of them.
        BadCommitment: a signer's commitments are no group elements.
    """
    return aggregate_prepared(prepare(key, message, commitments), signature_shares)


def aggregate_prepared(attempt: Attempt, signature_shares: Mapping[int, int]) -> bytes:
    """`aggregate`, for an attempt that was prepared.

    Raises:
        BadShare: the signers whose shares are wrong or missing, all of them.
    """
    key = attempt.key
    missing = attempt.commitments.keys() - signature_shares.keys()
    if missing:
        raise BadShare(missing, "no signature share")
    if signature_shares.keys() - attempt.commitments.keys():
        raise ValueError("a signature share of a party that is not a signer")
    # Verifying the sum first is n times cheaper than verifying n shares (§5.3, last paragraph).
    response = sum(signature_shares.values()) % key.suite.group.order
    signature = schnorr.encode_signature(key.suite, attempt.group_commitment, response)
    if schnorr.verify(key.suite, key.public, attempt.message, signature):
        return signature
    culprits = [i for i, z in signature_shares.items() if not verify_prepared(attempt, i, z)]
    if not culprits:
        raise AssertionError("every share is right but their sum is not a signature")
    raise BadShare(culprits, "wrong signature share")


def encode_group_commitment_list(
    suite: Ciphersuite, commitments: Iterable[SigningCommitment]
) -> bytes:
    """The commitments of all signers, by ascending identifier, as bytes (RFC 9591 §4.3)."""
    return b"".join(
        suite.group.encode_scalar(entry.identifier) + entry.hiding + entry.binding
        for entry in sorted(commitments, key=lambda entry: entry.identifier)
    )


def compute_binding_factors(
    suite: Ciphersuite,
    public: Element,
    commitments: Iterable[SigningCommitment],
    message: bytes,
) -> dict[int, int]:
    """ρ_i, which binds signer i's nonces to key, message and signers (RFC 9591 §4.4)."""
    entries = tuple(commitments)
    # The x-only suite signs under the even one of ±PK, so that is what is hashed: whose shares are
    # negated follows from the key alone (ZF frost-secp256k1-tr, `pre_sign`: `into_even_y`).
    public = schnorr.even_y(suite, public)
    prefix = public + suite.h4(message) + suite.h5(encode_group_commitment_list(suite, entries))
    return {
        entry.identifier: suite.h1(prefix + suite.group.encode_scalar(entry.identifier))
        for entry in entries
    }


def compute_group_commitment(
    suite: Ciphersuite,
    commitments: Iterable[SigningCommitment],
    binding_factors: Mapping[int, int],
) -> Element:
    """R = Σ D_i + ρ_i·E_i (RFC 9591 §4.5).

    Raises:
        BadCommitment: a signer's D or E is not an element.
    """
    group, terms = suite.group, []
    for entry in commitments:
        factor = binding_factors[entry.identifier]
        try:
            terms.append(group.decode_element(entry.hiding))
            terms.append(group.decode_and_mult(factor, entry.binding))
        except EncodingError as error:
            raise BadCommitment(entry.identifier, str(error)) from error
    return group.sum(terms)


def prepare(key: GroupKey, message: bytes, commitments: Iterable[SigningCommitment]) -> Attempt:
    """What signing, adding up and judging shares have in common.

    Raises:
        BadCommitment: a signer sent bytes that are no commitments; it is to blame.
        CryptoError: a signer is listed twice, too few take part, or the commitments cancel out;
            whoever made the list is to blame, no signer.
    """
    suite, group = key.suite, key.suite.group
    entries = sorted(commitments, key=lambda entry: entry.identifier)
    try:
        check_identifiers((entry.identifier for entry in entries), group.order)
    except ValueError as error:
        raise CryptoError(f"not a list of signers: {error}") from error
    if len(entries) < key.threshold:
        raise CryptoError(f"{key.threshold} signers are needed, {len(entries)} are listed")
    factors = compute_binding_factors(suite, key.public, entries, message)
    commitment = compute_group_commitment(suite, entries, factors)
    if commitment == group.identity:
        raise CryptoError("the commitments cancel out: try again")
    return Attempt(
        key=key,
        message=message,
        commitments={entry.identifier: entry for entry in entries},
        binding_factors=factors,
        coefficients=lagrange_coefficients([entry.identifier for entry in entries], group.order),
        group_commitment=commitment,
        challenge=suite.challenge(commitment, key.public, message),
        nonce_sign=-1 if suite.x_only and not has_even_y(commitment) else 1,
        key_sign=-1 if suite.x_only and not has_even_y(key.public) else 1,
    )


def verify_prepared(attempt: Attempt, identifier: int, z: int) -> bool:
    """`verify_signature_share`, for an attempt that was prepared."""
    key, group = attempt.key, attempt.key.suite.group
    entry = attempt.commitments.get(identifier)
    if entry is None:
        raise ValueError(f"party {identifier} is not a signer")
    nonce = group.add(entry.hiding, group.mult(attempt.binding_factors[identifier], entry.binding))
    weight = attempt.key_sign * attempt.coefficients[identifier] * attempt.challenge
    expected = group.linear_combination(
        [(attempt.nonce_sign, nonce), (weight, key.public_share(identifier))]
    )
    return group.base_mult(z) == expected
