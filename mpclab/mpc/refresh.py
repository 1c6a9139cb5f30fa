"""`Refresh`: all holders get new shares of the same key.

Everyone deals a share of *zero* (Herzberg et al., CRYPTO 1995; `crypto.proactive`), in the rounds
of `SharedDealing`. Shares stolen before and shares stolen after do not add up. The old share must
be deleted afterwards: a holder that keeps it undoes this. A holder that has lost its share
cannot take part: the others would take it for one of those who can sign. Repair it first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.crypto import feldman, proactive, shamir
from mpclab.crypto.errors import Blamed, EncodingError
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.keys import GroupKey, KeyShare, are_elements
from mpclab.mpc.dealing import SharedDealing, SharedKey
from mpclab.mpc.messages import Deal
from mpclab.mpc.records import KeyRecord


class Refresh(SharedDealing):
    """The result is a `SharedKey` with the same public key.

    Args:
        record: of the key; all its holders take part.
        share: our old share; None when we hold none.
        excluded: holders that were convicted before, and hold nothing of what is dealt now.
        rules: new ones for the key's use; None to keep those that it has.
    """

    kind = "refresh"

    def __init__(
        self,
        context: bytes,
        identity: Identity,
        keys: Mapping[Party, bytes],
        record: KeyRecord,
        share: KeyShare | None,
        *,
        deadline: int = 10 * SECOND,
        present: Callable[[SharedKey], Any] = lambda result: result,
        gated: bool = False,
        excluded: tuple[Party, ...] = (),
        rules: str | None = None,
        leaves_silent: bool = False,
    ) -> None:
        self.record, self.key, self.share = record, record.key(), share
        if share is not None and share.key != self.key:
            raise UsageError("the share is one of another key")
        super().__init__(
            context,
            identity,
            keys,
            self.key.suite.group,
            tuple(p for p in record.holders if p not in excluded),
            tuple(p for p in record.holders if p not in excluded),
            record.threshold,
            needed=record.threshold,  # so that one who dealt is honest
            parts=(self.key.fingerprint(),),
            deadline=deadline,
            present=present,
            gated=gated,
            excluded=excluded,
            rules=record.rules if rules is None else rules,
            leaves_silent=leaves_silent,
        )

    def again(self, out: tuple[Party, ...]) -> Refresh:
        return Refresh(
            self.parameters.context,
            self.identity,
            self.parameters.keys,
            self.record,
            self.share,
            deadline=self.deadline,
            present=self.present,
            gated=self.gated,
            excluded=tuple(sorted({*self.excluded, *out})),
            rules=self.rules,
            leaves_silent=self.leaves_silent,
        )

    def way_out(self, missing: tuple[Party, ...]) -> str:
        left = [p for p in self.parameters.dealers if p not in missing]
        holders = [p for p in self.parameters.receivers if p not in missing]
        if len(left) < self.needed or len(holders) < self.threshold:
            return "; the old shares stay in use"
        return (
            f"; the old shares stay in use: to go on without, propose reshare with dealers {left} "
            f"and members {holders}"
        )

    def unable(self, me: Party) -> str | None:
        return "this party has no share of the key to refresh" if self.share is None else None

    def draw(self, me: Party, coins: Coins) -> tuple[shamir.Polynomial, tuple[bytes, ...], bytes]:
        secret, commitments = proactive.refresh_deal(self.key, coins)
        return secret.polynomial, commitments, b""

    def flaw(self, deal: Deal) -> str | None:
        try:
            proactive.check_refresh(self.key, deal.dealer, deal.commitments, together=True)
        except Blamed as error:
            return error.reason
        return None if deal.proof == b"" else "dealing with a needless proof"

    def hidden_flaw(self, deal: Deal) -> str | None:
        try:
            proactive.check_refresh(self.key, deal.dealer, deal.commitments)
        except Blamed as error:
            return error.reason
        return None

    def fit_together(self, deals: Mapping[Party, Deal]) -> bool:
        group = self.key.suite.group
        try:
            sums = feldman.add(group, [deal.commitments for deal in deals.values()])
        except EncodingError:
            return False
        return are_elements(group, sums)

    def commitments(self, deal: Deal) -> tuple[bytes, ...]:
        return self.key.suite.group.identity, *deal.commitments

    def combine(
        self, deals: Mapping[Party, Deal], me: Party, shares: Mapping[Party, int] | None
    ) -> tuple[GroupKey, KeyShare | None]:
        if shares is None or self.share is None:
            updates = [self.commitments(deal) for deal in deals.values()]
            group = self.key.suite.group
            return GroupKey(
                self.key.suite, feldman.add(group, [self.key.commitments, *updates])
            ), None
        dealings = {d: deal.commitments for d, deal in deals.items()}
        share = proactive.refresh_finish(self.share, dealings, shares)
        return share.key, share
