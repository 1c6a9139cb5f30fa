"""`Dealer`: what is dealt, and what comes of all dealings: the arithmetic of `SharedDealing`.

Key generation, refresh, reshare and import say here what they deal; `dealing` has the rounds in
which all agree on it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from mpclab.core.ids import Party
from mpclab.core.rounds import Aborted, Finished
from mpclab.core.wire import Message
from mpclab.crypto import shamir
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.mpc import envelopes
from mpclab.mpc.gossip import FactSharing
from mpclab.mpc.messages import DEAL, Deal, deal_hash, deal_parts


class Dealer(FactSharing):
    """The part of a dealing that computes.

    Attributes:
        share: ours of the key that there is already, while it is needed.
        shares: those dealt to us, opened, by dealer.
        combined: the dealers that counted last, and what their dealings come to.
    """

    kind: ClassVar[str]
    identity: Identity
    threshold: int
    share: KeyShare | None = None
    shares: dict[Party, int]
    combined: tuple[tuple[Party, ...], tuple[GroupKey, KeyShare | None]] | None
    outcome: Finished[object] | Aborted | None

    # --- what subclasses say --------------------------------------------------------------

    def draw(self, me: Party, coins: Coins) -> tuple[shamir.Polynomial, tuple[bytes, ...], bytes]:
        """Our polynomial, the commitments that are sent, and a proof of possession or b""."""
        raise NotImplementedError

    def flaw(self, deal: Deal) -> str | None:
        """The flaw of a dealing that everyone can see, or None."""
        raise NotImplementedError

    def hidden_flaw(self, deal: Deal) -> str | None:
        """A flaw that is looked for only where dealings do not `fit_together`."""
        return None

    def fit_together(self, deals: Mapping[Party, Deal]) -> bool:
        """Whether no dealing has a hidden flaw that does harm when these are combined."""
        return True

    def commitments(self, deal: Deal) -> tuple[bytes, ...]:
        """The whole committed polynomial of a dealing without a flaw."""
        return deal.commitments

    def combine(
        self, deals: Mapping[Party, Deal], me: Party, shares: Mapping[Party, int] | None
    ) -> tuple[GroupKey, KeyShare | None]:
        """The key, and our share of it when `shares` are given. `BadShare` names the dealers
        whose shares do not fit."""
        raise NotImplementedError

    def way_out(self, missing: tuple[Party, ...]) -> str:
        """What to propose when these are silent, after a semicolon; "" where there is nothing."""
        return ""

    def unable(self, me: Party) -> str | None:
        """Why we cannot take part, or None."""
        return None

    # --- dealing, and adding up ---------------------------------------------------------------

    def _deal(self, me: Party, coins: Coins) -> Deal:
        """Draw, commit, seal, sign. The polynomial and the one-time key end with this call."""
        parameters = self.parameters
        polynomial, commitments, proof = self.draw(me, coins)
        ephemeral = envelopes.new_ephemeral(parameters.context, me, coins)
        deal = Deal(me, commitments, proof, ephemeral.public, ephemeral.proof, ())
        order = parameters.group.order
        sealed = tuple(
            envelopes.encrypt(
                parameters.encryption_context(deal, receiver),
                ephemeral,
                shamir.evaluate(polynomial, receiver, order),
            )
            for receiver in parameters.receivers
        )
        return self._signed_deal(msgspec.structs.replace(deal, ciphertexts=sealed))

    def _signed_deal(self, deal: Deal) -> Deal:
        hash = deal_hash(self.parameters.context, deal)
        parts = deal_parts(self.parameters.context, deal.dealer, hash)
        return msgspec.structs.replace(deal, signature=self.identity.sign(DEAL, *parts))

    def restated(self, msg: Message, story: int) -> Message | None:
        """For adversaries: another dealing by the same dealer, as well signed."""
        if not isinstance(msg, Deal) or self.outcome is not None:  # nothing is left to deal
            return None
        return self._deal(msg.dealer, random.Random(f"{msg.signature.hex()} {story}"))

    def _combine(self, me: Party) -> tuple[GroupKey, KeyShare | None]:
        """The key as it is with the dealers that count now."""
        counted = self._counted()
        if self.combined is None or self.combined[0] != counted:
            self.combined = (counted, self._combine_anew(counted, me))
        return self.combined[1]

    def _combine_anew(
        self, counted: tuple[Party, ...], me: Party
    ) -> tuple[GroupKey, KeyShare | None]:
        deals = {d: self.facts.deals[d] for d in counted}
        if me not in self.parameters.receivers:
            return self.combine(deals, me, None)
        position = self.parameters.receivers.index(me)
        for dealer, deal in deals.items():
            if dealer not in self.shares:
                self.shares[dealer] = envelopes.decrypt(
                    self.parameters.encryption_context(deal, me),
                    self.identity,
                    deal.ciphertexts[position],
                )
        return self.combine(deals, me, {d: self.shares[d] for d in deals})
