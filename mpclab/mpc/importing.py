"""`Import`: a key that one party knows becomes a key that nobody needs to know any more.

Its owner deals the whole key by Feldman's scheme (RFC 9591 Appendix C: a trusted dealer), in the
rounds of `SharedDealing`, with a proof that it knows it. Everyone has approved the public key,
which the dealing must have. The owner's copy is not undone by that: its owner can still sign alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message
from mpclab.crypto import feldman, pedersen, shamir
from mpclab.crypto.ciphersuites import Ciphersuite
from mpclab.crypto.errors import BadShare, Blamed
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.crypto.pedersen import Dealing, Params
from mpclab.crypto.schnorr import prove_possession
from mpclab.mpc.dealing import SharedDealing, SharedKey
from mpclab.mpc.messages import Deal


@dataclass(frozen=True, slots=True)
class Secret:
    """An ask: the secret key, 32 bytes as its curve writes them. `repr` does not show it."""

    key: bytes = field(repr=False)


class Import(SharedDealing):
    """The result is a `SharedKey` whose public key is `public`.

    Args:
        owner: the party that knows the key; its user gives it by asking with `Secret`.
        holders: those that get shares, of which `threshold` are needed.
    """

    kind = "import"
    may_deal_anew = False  # its owner has forgotten the key: propose it again

    def __init__(
        self,
        context: bytes,
        identity: Identity,
        keys: Mapping[Party, bytes],
        owner: Party,
        public: bytes,
        holders: tuple[Party, ...],
        threshold: int,
        suite: Ciphersuite,
        *,
        deadline: int = 10 * SECOND,
        present: Callable[[SharedKey], Any] = lambda result: result,
        gated: bool = False,
        excluded: tuple[Party, ...] = (),
        rules: str = "",
    ) -> None:
        super().__init__(
            context,
            identity,
            keys,
            suite.group,
            (owner,),
            holders,
            threshold,
            needed=1,
            parts=(suite.name, public),
            deadline=deadline,
            present=present,
            gated=gated,
            excluded=excluded,
            rules=rules,
        )
        self.owner, self.public, self.suite = owner, public, suite
        self.secret: int | None = None
        members = tuple(sorted({owner, *holders}))
        self.params = Params(suite, threshold, members, self.parameters.context)

    def start(self, ctx: Ctx) -> None:
        super().start(ctx)
        if ctx.me == self.owner and self.phase == "deal" and self.owner not in self.facts.deals:
            ctx.note(notes.InputWanted(numbers=1))

    def _begin_dealing(self, ctx: Ctx) -> None:
        """Our user has to give the key first."""

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if not isinstance(ask, Secret):
            super().on_ask(ctx, ask)
            return
        if ctx.me != self.owner or self.phase != "deal" or self.owner in self.facts.deals:
            raise UsageError("the key was given before, or is not wanted any more")
        group = self.suite.group
        secret = int.from_bytes(ask.key, group.byte_order)
        if len(ask.key) != group.scalar_bytes or not 0 < secret < group.order:
            size = group.scalar_bytes
            raise UsageError(f"a secret {group.name} key is {size} bytes, below the group's order")
        if group.base_mult(secret) != self.public:
            raise UsageError("the public key that was proposed is not this secret key's")
        self.secret = secret
        self._say(ctx, "deal", self._deal(ctx.me, ctx.rng))
        self.secret = None

    def restated(self, msg: Message, story: int) -> Message | None:
        return None if self.secret is None else super().restated(msg, story)

    def draw(self, me: Party, coins: Coins) -> tuple[shamir.Polynomial, tuple[bytes, ...], bytes]:
        assert self.secret is not None
        group = self.suite.group
        polynomial = shamir.random_polynomial(self.secret, self.threshold, group.order, coins)
        proof = prove_possession(self.suite, me, self.secret, self.params.context, coins)
        return polynomial, feldman.commit(group, polynomial), proof

    def flaw(self, deal: Deal) -> str | None:
        try:
            pedersen.check_dealing(self.params, deal.dealer, Dealing(deal.commitments, deal.proof))
        except Blamed as error:
            return error.reason
        return None if deal.commitments[0] == self.public else "dealt another key than was agreed"

    def combine(
        self, deals: Mapping[Party, Deal], me: Party, shares: Mapping[Party, int] | None
    ) -> tuple[GroupKey, KeyShare | None]:
        key = GroupKey(self.suite, deals[self.owner].commitments)
        if shares is None:
            return key, None
        share = KeyShare(me, shares[self.owner], key)
        if not feldman.verify(self.suite.group, key.commitments, me, share.secret):
            raise BadShare(self.owner, f"the share for party {me} does not fit the commitments")
        return key, share
