"""`Reshare`: the same key for other holders, or with another threshold.

Old holders deal *their shares* to the new ones (Desmedt and Jajodia 1997; `crypto.proactive`), in
the rounds of `SharedDealing`. A dealer's first commitment must be its public share, so it can deal
nothing else. Dealers that cheat are left out while as many are left as the old key needs; to do
without a holder that is down, name the dealers. All old holders should delete their shares
afterwards: enough of those that do not can still sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.crypto import proactive, shamir
from mpclab.crypto.errors import Blamed
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.mpc.dealing import SharedDealing, SharedKey
from mpclab.mpc.messages import Deal
from mpclab.mpc.records import KeyRecord


class Reshare(SharedDealing):
    """The result is a `SharedKey` with the same public key, held by `holders`.

    Args:
        record: of the key as it is. `share`: ours of it, when we deal.
        holders: those that will hold it. `threshold`: how many of them will be needed.
        dealers: old holders that deal; all by default.
    """

    kind = "reshare"

    def __init__(
        self,
        context: bytes,
        identity: Identity,
        keys: Mapping[Party, bytes],
        record: KeyRecord,
        share: KeyShare | None,
        holders: tuple[Party, ...],
        threshold: int,
        dealers: tuple[Party, ...] | None = None,
        *,
        deadline: int = 10 * SECOND,
        present: Callable[[SharedKey], Any] = lambda result: result,
        gated: bool = False,
        excluded: tuple[Party, ...] = (),
    ) -> None:
        self.record, self.key, self.share = record, record.key(), share
        if share is not None and share.key != self.key:
            raise UsageError("the share is one of another key")
        dealers = record.holders if dealers is None else tuple(sorted(set(dealers)))
        if not set(dealers) <= set(record.holders):
            strangers = sorted(set(dealers) - set(record.holders))
            raise UsageError(f"dealers: {strangers} hold no share of this key")
        if len(dealers) < record.threshold:
            raise UsageError(f"dealers: {record.threshold} are needed, not {len(dealers)}")
        if not 1 <= threshold <= len(set(holders)):
            raise UsageError(f"threshold: use 1 to {len(set(holders))}, not {threshold}")
        super().__init__(
            context,
            identity,
            keys,
            self.key.suite.group,
            dealers,
            tuple(sorted(set(holders))),
            threshold,
            needed=record.threshold,
            parts=(self.key.fingerprint(),),
            deadline=deadline,
            present=present,
            gated=gated,
            excluded=excluded,
            rules=record.rules,
        )

    def again(self, out: tuple[Party, ...]) -> Reshare:
        return Reshare(
            self.parameters.context,
            self.identity,
            self.parameters.keys,
            self.record,
            self.share,
            tuple(p for p in self.parameters.receivers if p not in out),
            self.threshold,
            tuple(p for p in self.parameters.dealers if p not in out),
            deadline=self.deadline,
            present=self.present,
            gated=self.gated,
            excluded=tuple(sorted({*self.excluded, *out})),
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
        if me in self.parameters.dealers and self.share is None:
            return "this party has no share of the key to deal"
        return None

    def draw(self, me: Party, coins: Coins) -> tuple[shamir.Polynomial, tuple[bytes, ...], bytes]:
        assert self.share is not None
        secret, commitments = proactive.reshare_deal(self.share, self.threshold, coins)
        return secret.polynomial, commitments, b""

    def flaw(self, deal: Deal) -> str | None:
        try:
            proactive.check_reshare(self.key, self.threshold, deal.dealer, deal.commitments)
        except Blamed as error:
            return error.reason
        return None if deal.proof == b"" else "dealing with a needless proof"

    def combine(
        self, deals: Mapping[Party, Deal], me: Party, shares: Mapping[Party, int] | None
    ) -> tuple[GroupKey, KeyShare | None]:
        dealings = {d: deal.commitments for d, deal in deals.items()}
        if shares is not None:
            share = proactive.reshare_finish(self.key, me, dealings, shares)
            return share.key, share
        group = self.key.suite.group
        weights = shamir.lagrange_coefficients(tuple(dealings), group.order)
        columns = zip(*dealings.values(), strict=True)
        return GroupKey(
            self.key.suite,
            tuple(
                group.linear_combination(zip(weights.values(), column, strict=True))
                for column in columns
            ),
        ), None
