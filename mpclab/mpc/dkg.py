"""`Dkg`: n parties make a key that none of them ever holds.

Pedersen's key generation with Feldman commitments and proofs of possession (`crypto.pedersen`),
in the three rounds of `SharedDealing`: at least `threshold` dealers must be left, so one of them is
honest and nobody knows the sum of their secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mpclab.core.ids import SECOND, Party
from mpclab.crypto import feldman, pedersen, shamir
from mpclab.crypto.ciphersuites import FROST_ED25519, Ciphersuite
from mpclab.crypto.errors import Blamed, EncodingError
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.keys import GroupKey, KeyShare, are_elements
from mpclab.crypto.pedersen import Dealing, Params
from mpclab.mpc.dealing import SharedDealing, SharedKey
from mpclab.mpc.messages import Deal


class Dkg(SharedDealing):
    """The result is a `SharedKey` that every participant holds a share of.

    Args:
        threshold: shares that a signature will need.
        participants: those that deal and hold, ascending.
    """

    kind = "dkg"

    def __init__(
        self,
        context: bytes,
        identity: Identity,
        keys: Mapping[Party, bytes],
        threshold: int,
        participants: tuple[Party, ...],
        suite: Ciphersuite = FROST_ED25519,
        *,
        deadline: int = 10 * SECOND,
        present: Callable[[SharedKey], Any] = lambda result: result,
        gated: bool = False,
        excluded: tuple[Party, ...] = (),
        rules: str = "",
        leaves_silent: bool = False,
    ) -> None:
        super().__init__(
            context,
            identity,
            keys,
            suite.group,
            participants,
            participants,
            threshold,
            needed=threshold,
            parts=(suite.name,),
            deadline=deadline,
            present=present,
            gated=gated,
            excluded=excluded,
            rules=rules,
            leaves_silent=leaves_silent,
        )
        self.params = Params(suite, threshold, self.participants, self.parameters.context)

    def way_out(self, missing: tuple[Party, ...]) -> str:
        left = [p for p in self.participants if p not in missing]
        if len(left) < max(self.threshold, 2):
            return ""
        return f"; to go on without, propose dkg with members {left}"

    def draw(self, me: Party, coins: Coins) -> tuple[shamir.Polynomial, tuple[bytes, ...], bytes]:
        secret, dealing = pedersen.round_1(self.params, me, coins)
        return secret.polynomial, dealing.commitments, dealing.proof

    def flaw(self, deal: Deal) -> str | None:
        return _flaw(self.params, deal.dealer, Dealing(deal.commitments, deal.proof))

    def hidden_flaw(self, deal: Deal) -> str | None:
        try:
            pedersen.check_dealing(self.params, deal.dealer, Dealing(deal.commitments, deal.proof))
        except Blamed as error:
            return error.reason
        return None

    def fit_together(self, deals: Mapping[Party, Deal]) -> bool:
        group = self.params.suite.group
        try:
            key = _group_key(self.params.suite, tuple(deal.commitments for deal in deals.values()))
        except EncodingError:
            return False
        return are_elements(group, key.commitments)

    def combine(
        self, deals: Mapping[Party, Deal], me: Party, shares: Mapping[Party, int] | None
    ) -> tuple[GroupKey, KeyShare | None]:
        suite = self.params.suite
        key = _group_key(suite, tuple(deal.commitments for deal in deals.values()))
        if shares is None:
            return pedersen.unspendable(key), None
        secret = sum(shares.values()) % suite.group.order
        if feldman.verify(suite.group, key.commitments, me, secret):
            share = pedersen.unspendable_share(KeyShare(me, secret, key))
            return share.key, share
        dealings = {d: Dealing(deal.commitments, deal.proof) for d, deal in deals.items()}
        share = pedersen.finish(self.params, me, dealings, shares)  # names the guilty
        return share.key, share

    def again(self, out: tuple[Party, ...]) -> Dkg:
        return Dkg(
            self.parameters.context,
            self.identity,
            self.parameters.keys,
            self.threshold,
            tuple(p for p in self.participants if p not in out),
            self.params.suite,
            deadline=self.deadline,
            present=self.present,
            gated=self.gated,
            excluded=tuple(sorted({*self.excluded, *out})),
            rules=self.rules,
            leaves_silent=self.leaves_silent,
        )


# Pure functions of public values, remembered: simulated parties share this process.


@lru_cache(maxsize=256)
def _group_key(suite: Ciphersuite, dealings: tuple[tuple[bytes, ...], ...]) -> GroupKey:
    return GroupKey(suite, feldman.add(suite.group, dealings))


@lru_cache(maxsize=4096)
def _flaw(params: Params, dealer: Party, dealing: Dealing) -> str | None:
    try:
        pedersen.check_dealing(params, dealer, dealing, together=True)
    except Blamed as error:
        return error.reason
    return None
