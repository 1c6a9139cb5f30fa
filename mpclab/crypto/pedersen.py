"""Distributed key generation: n parties make a key that none of them ever holds.

Pedersen (EUROCRYPT 1991) with the proofs of possession of FROST (ePrint 2020/852, Fig. 1): every
party deals a random secret by Feldman's scheme, and the key is the sum of those secrets. The
proof stops a *rogue key*: without it, the last dealer could choose a commitment that cancels all
the others'.

The steps, each a pure function; who waits for whom is the business of a protocol:

1. `round_1` gives a dealer its secret polynomial and the `Dealing` to broadcast.
2. `share_for` gives the share to send, sealed, to each party.
3. `check_dealing` judges each dealing, `finish` all shares at once (`check_share` one of them),
   and the error names the guilty dealers.

All parties must agree on the very same dealings before the key is used; that is what a
reliable broadcast, or everybody's signature on the transcript, is for. Not covered here, and
harmless for Schnorr signatures (Gennaro et al., J. Cryptology 2007): a dealer that sees the other
dealings first can bias the public key's distribution. It is not harmless where a key may commit to
something: so a BIP 340 key is tweaked at the end, see `taproot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mpclab.crypto import feldman, schnorr, shamir, taproot
from mpclab.crypto.ciphersuites import Ciphersuite
from mpclab.crypto.errors import BadCommitment, BadShare, CryptoError, EncodingError
from mpclab.crypto.identity import Coins
from mpclab.crypto.keys import GroupKey, KeyShare, check_count, decode_elements
from mpclab.crypto.shamir import Polynomial


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters that all parties must agree on beforehand.

    Attributes:
        suite: what the key will be for.
        threshold: how many shares will be needed.
        identifiers: of all parties, nonzero and distinct modulo the group's order.
        context: names session and attempt, so that a proof of another one does not pass.
    """

    suite: Ciphersuite
    threshold: int
    identifiers: tuple[int, ...]
    context: bytes = b""

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= len(self.identifiers):
            raise ValueError(
                f"a threshold is from 1 to the number of parties, not {self.threshold}"
            )
        shamir.check_identifiers(self.identifiers, self.suite.group.order)

    def check_member(self, identifier: int) -> None:
        """Raise `ValueError` for a non-participant: no protocol may get this far with it."""
        if identifier not in self.identifiers:
            raise ValueError(f"party {identifier} takes no part in this key generation")


@dataclass(frozen=True, slots=True)
class Dealing:
    """A dealer's broadcast: `threshold` commitments and its proof of possession."""

    commitments: tuple[bytes, ...]
    proof: bytes


@dataclass(frozen=True, slots=True)
class Secret:
    """A dealer's polynomial. Delete it once the shares are sent; `repr` does not show it."""

    polynomial: Polynomial = field(repr=False)


def round_1(params: Params, identifier: int, coins: Coins) -> tuple[Secret, Dealing]:
    """Deal a random secret (FROST, ePrint 2020/852, Fig. 1, Round 1)."""
    params.check_member(identifier)
    order = params.suite.group.order
    # Step 1. Every participant P_i samples t random values (a_i0, …, a_i(t-1)) and uses these as
    # coefficients to define a degree t-1 polynomial f_i. Note: a_i0 is never 0 here.
    secret = 1 + shamir.random_scalar(order - 1, coins)
    polynomial = shamir.random_polynomial(secret, params.threshold, order, coins)
    # Step 2. Every P_i computes a proof of knowledge to the corresponding secret a_i0, σ_i.
    # Step 3. Every participant P_i computes a public commitment C_i = ⟨φ_i0, …, φ_i(t-1)⟩.
    # Step 4. Every P_i broadcasts C_i, σ_i to all other participants.
    return Secret(polynomial), Dealing(
        commitments=feldman.commit(params.suite.group, polynomial),
        proof=schnorr.prove_possession(params.suite, identifier, secret, params.context, coins),
    )


def share_for(params: Params, secret: Secret, receiver: int) -> int:
    """The share that belongs to `receiver`, a scalar: for its eyes only."""
    # Round 2, step 1. Each P_i securely sends to each other participant P_l a secret share
    # (l, f_i(l)), deleting f_i and each share afterward.
    params.check_member(receiver)
    return shamir.evaluate(secret.polynomial, receiver, params.suite.group.order)


def check_dealing(params: Params, dealer: int, dealing: Dealing, *, together: bool = False) -> None:
    """Judge what a dealer broadcast; all honest parties judge alike.

    Args:
        together: leave out what `are_elements` checks of all dealings at once.

    Raises:
        BadCommitment: not exactly `threshold` valid elements. One more would silently raise the
            threshold of the whole key, so that too few parties could ever sign.
        BadProof: the dealer did not prove that it knows its secret, here and now.
    """
    # Round 1, step 5. Upon receiving C_l, σ_l from participants 1 ≤ l ≤ n, l ≠ i, participant P_i
    # verifies σ_l, aborting on failure. Note: our caller names P_l, and goes on without it.
    params.check_member(dealer)
    suite = params.suite
    try:
        if together:
            check_count(dealing.commitments, params.threshold, "commitments")
        else:
            decode_elements(suite, dealing.commitments, params.threshold, "commitments")
    except EncodingError as error:
        raise BadCommitment(dealer, str(error)) from error
    schnorr.check_possession(suite, dealer, dealing.commitments[0], params.context, dealing.proof)


def check_share(params: Params, dealer: int, dealing: Dealing, receiver: int, share: int) -> None:
    """Raise `BadShare`, blaming the dealer, unless the share fits what it committed to.

    Anyone who is shown the share can check it: this is how a complaint is settled.
    """
    if not feldman.verify(params.suite.group, dealing.commitments, receiver, share):
        raise BadShare(dealer, f"the share for party {receiver} does not fit the commitments")


def finish(
    params: Params,
    identifier: int,
    dealings: Mapping[int, Dealing],
    shares: Mapping[int, int],
) -> KeyShare:
    """This party's share of the key, of a BIP 340 key the tweaked one (`taproot`).

    Args:
        dealings: of all qualified dealers, each one passed by `check_dealing`.
        shares: what the same dealers (this party included) sent to this party.

    Raises:
        BadShare: the dealers whose shares do not fit, all of them.
    """
    if not dealings or dealings.keys() != shares.keys():
        raise ValueError("one share of each qualified dealer is needed")
    for party in (identifier, *dealings):
        params.check_member(party)
    group = params.suite.group
    commitments = feldman.add(group, [dealing.commitments for dealing in dealings.values()])
    # Round 2, step 3. Each P_i calculates their long-lived private signing share by computing
    # s_i = Σ f_l(i), stores s_i securely, and deletes each f_l(i).
    secret = sum(shares.values()) % group.order
    # Step 2. Each P_i verifies their shares by calculating g^f_l(i) = Π φ_lk^(i^k mod q), aborting
    # if the check fails. Note: the sum is checked first, and each share only if it does not fit.
    if not feldman.verify(group, commitments, identifier, secret):
        raise BadShare(
            [
                dealer
                for dealer, dealing in dealings.items()
                if not feldman.verify(group, dealing.commitments, identifier, shares[dealer])
            ],
            f"the share for party {identifier} does not fit the commitments",
        )
    if commitments[0] == group.identity:
        raise CryptoError("the dealers' secrets cancel out: try again")
    return unspendable_share(KeyShare(identifier, secret, GroupKey(params.suite, commitments)))


def unspendable(key: GroupKey) -> GroupKey:
    """The key that is agreed where `key` is the sum of the dealers' terms: for BIP 340 the one
    that commits to no script (ZF frost-secp256k1-tr, `post_dkg`), else the same."""
    return taproot.tweak_key(key) if key.suite.x_only else key


def unspendable_share(share: KeyShare) -> KeyShare:
    """Our share of `unspendable(share.key)`."""
    if not share.suite.x_only:
        return share
    return taproot.tweak_share(share, unspendable(share.key))
