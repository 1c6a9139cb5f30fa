"""`SharedDealing`: dealers share secrets verifiably, and all agree on what was dealt.

The common part of key generation, refresh and reshare. Three rounds when all goes well:

1. **Deal**: every dealer broadcasts its commitments and, sealed, everyone's share (`envelopes`).
2. **Ack**: every participant broadcasts which dealings it saw, by hash and dealer's signature, and
   a complaint, with its proof, for each share that does not fit. Whoever is convicted by that
   (see `facts`) is out; then everyone acknowledges again what is left, until all agree.
3. **Confirm**: everyone signs the transcript: the dealings counted, those excluded, the key.
   The result becomes active at a party when it holds the signatures on *its own* transcript of
   every participant that is not convicted in it.

Guarantee, for any number of corrupt participants and any network: no two honest parties ever
activate different results. For an honest party signs one transcript at most, is never convicted,
and so must have signed whatever became active anywhere. A participant that cheats is convicted with
proof, and the rest go on while `needed` dealers and `threshold` receivers are left. A participant
that is *silent* cannot be told from a slow one: the result is `Aborted(missing=…)`, within a
deadline for each round, `participants + 3` rounds at the most. To go on without it, propose again
and leave it out. Secrecy needs fewer than `threshold` corrupt receivers.

What is impossible, and so not claimed: that all honest parties activate in bounded time or none
does, when messages may be lost at the last moment. A party that signed and then gave up keeps its
share, sealed, and for a while still takes a late set of signatures (`Finished` after `Aborted`);
one that crashed after signing goes on when it is started again.

Note: Pedersen's dealers may see others' commitments before they publish theirs, see `pedersen`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from mpclab.core import notes
from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted, Finished
from mpclab.core.wire import Message
from mpclab.crypto import shamir
from mpclab.crypto.errors import BadShare
from mpclab.crypto.groups import Group
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.crypto.transcript import Part, digest
from mpclab.mpc import envelopes
from mpclab.mpc.facts import Facts, Parameters
from mpclab.mpc.gossip import ROUNDS, FactSharing
from mpclab.mpc.messages import (
    ACK,
    CONFIRM,
    DEAL,
    Ack,
    Announce,
    Complaint,
    Confirm,
    Deal,
    Equivocation,
    Want,
    ack_parts,
    confirm_parts,
    deal_hash,
    deal_parts,
)
from mpclab.mpc.pending import Pending
from mpclab.mpc.records import KeyRecord, open_share


class SharedKey(msgspec.Struct, frozen=True):
    """What comes of it: the public record, the same for all, and our share if we are a holder."""

    record: KeyRecord
    share: KeyShare | None = None


class SharedDealing(FactSharing):
    """Subclasses say what is dealt: `draw`, `flaw`, `commitments`, `combine`.

    Args:
        context: hash of what was agreed, the same for all; nothing said here means anything
            elsewhere.
        identity: ours. `keys`: identity keys by party.
        dealers, receivers: who deals and who gets shares, ascending.
        threshold: shares that will be needed.
        needed: dealers without whom there is no result.
        deadline: µs that each round may take.
        present: makes the result of `Finished` of a `SharedKey`.
    """

    messages: ClassVar[Any] = Deal | Ack | Confirm | Equivocation | Want | Announce
    kind: ClassVar[str]
    share: KeyShare | None = None
    """Ours of the key that there is already, while it is needed."""

    def __init__(
        self,
        context: bytes,
        identity: Identity,
        keys: Mapping[Party, bytes],
        group: Group,
        dealers: tuple[Party, ...],
        receivers: tuple[Party, ...],
        threshold: int,
        needed: int,
        *,
        parts: tuple[Part, ...] = (),
        deadline: int = 10 * SECOND,
        present: Callable[[SharedKey], Any] = lambda result: result,
    ) -> None:
        dealers, receivers = tuple(sorted(dealers)), tuple(sorted(receivers))
        fixed = (dealers, receivers, threshold, group.name, parts)
        parameters = Parameters(
            digest("mpclab dealing parameters", context, self.kind, fixed),
            dealers,
            receivers,
            dict(keys),
            group,
        )
        super().__init__(parameters, Facts(parameters, self.flaw, self.commitments))
        self.identity = identity
        self.threshold, self.needed = threshold, needed
        self.deadline, self.present = deadline, present
        self.shares: dict[Party, int] = {}
        self.combined: tuple[tuple[Party, ...], tuple[GroupKey, KeyShare | None]] | None = None
        self.agreed: KeyShare | None = None
        self.outcome: Finished[Any] | Aborted | None = None
        self.announced: dict[Party, bytes] = {}

    # --- what subclasses say --------------------------------------------------------------

    def draw(self, me: Party, coins: Coins) -> tuple[shamir.Polynomial, tuple[bytes, ...], bytes]:
        """Our polynomial, the commitments that are sent, and a proof of possession or b""."""
        raise NotImplementedError

    def flaw(self, deal: Deal) -> str | None:
        """What everyone can see is wrong with a dealing."""
        raise NotImplementedError

    def commitments(self, deal: Deal) -> tuple[bytes, ...]:
        """The whole committed polynomial of a dealing without a flaw."""
        return deal.commitments

    def combine(
        self, deals: Mapping[Party, Deal], me: Party, shares: Mapping[Party, int] | None
    ) -> tuple[GroupKey, KeyShare | None]:
        """The key, and our share of it when `shares` are given. `BadShare` names the dealers
        whose shares do not fit."""
        raise NotImplementedError

    # --- beginning ------------------------------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        if ctx.me not in self.participants:
            ctx.set_timer("deadline", 4 * self.deadline)
            ctx.set_timer("tick", self.deadline)
            return
        if "pending" in ctx.stored:
            self._resume(ctx)
            return
        if "began" in ctx.stored:
            self._end(ctx, Aborted("this party was restarted before the key was agreed"))
            return
        for party in self.participants:
            if not envelopes.is_identity_key(self.parameters.keys.get(party, b"")):
                what = f"party {party} has no key that shares can be sealed to"
                self._end(ctx, Aborted(what, blamed=(party,)))
                return
        ctx.persist("began", b"1")
        self._enter(ctx, "deal")
        if ctx.me in self.parameters.dealers:
            ctx.multicast(self.participants, self._deal(ctx.me, ctx.rng))

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
        if not isinstance(msg, Deal):
            return None
        return self._deal(msg.dealer, random.Random(f"{msg.signature.hex()} {story}"))

    # --- rounds ---------------------------------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        if isinstance(msg, Announce):
            self._observe(ctx, sender, msg)
            return
        if isinstance(msg, Want):
            if sender in self.participants:
                self._answer(ctx, sender, msg)
            elif isinstance(self.outcome, Finished) and self.pending is not None:
                ctx.send(sender, Announce(self.pending.record.to_bytes()))
            return
        if sender not in self.participants:
            raise PeerFault(f"{type(msg).__name__} from a party that takes no part")
        if ctx.me in self.participants:
            self.facts.add(msg)
            self._advance(ctx)
            if isinstance(msg, Confirm) and self.pending and msg.digest != self.pending.digest:
                self._convince(ctx, msg.party)

    def _advance(self, ctx: Ctx) -> None:
        self._spread_news(ctx)
        if self.phase == "confirm":
            self._try_finish(ctx)
        while self.outcome is None and self.phase != "confirm":
            out = self.facts.excluded
            holders = [p for p in self.parameters.receivers if p not in out]
            if len(self._counted()) < self.needed or len(holders) < self.threshold:
                few = "too few are left" if out else "too few take part"
                self._end(ctx, Aborted(f"cheating was proved, and {few}", blamed=out))
            elif any(self._lacking()):
                return
            elif self.phase == "deal":
                self._acknowledge(ctx, 0)
            elif all(self.facts.acks[self.number, p].excluded == out for p in self.active):
                self._confirm(ctx)
            elif self.number < len(self.participants):
                self._acknowledge(ctx, self.number + 1)
            else:
                self._end(ctx, Aborted("no agreement on who cheated", blamed=out))

    def _acknowledge(self, ctx: Ctx, number: int) -> None:
        self.number = number
        self._enter(ctx, "ack")
        counted = self._counted()
        complaints: list[Complaint] = []
        if ctx.me in self.parameters.receivers:
            try:
                self._combine(ctx.me)
            except BadShare as error:
                for dealer in error.culprits:
                    bound = self.parameters.encryption_context(self.facts.deals[dealer], ctx.me)
                    opened = envelopes.disclose(bound, self.identity, ctx.rng)
                    complaints.append(Complaint(dealer, *opened))
        ack = Ack(
            ctx.me,
            number,
            # A convicted participant that is no dealer has no receipt either way.
            tuple(self.facts.receipt(d) for d in counted),
            self.facts.excluded,
            tuple(complaints),
        )
        parts = ack_parts(self.parameters.context, ack)
        signature = self.identity.sign(ACK, *parts)
        ctx.multicast(self.participants, msgspec.structs.replace(ack, signature=signature))

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

    # --- the end --------------------------------------------------------------------------

    def _confirm(self, ctx: Ctx) -> None:
        """Sign the transcript, once and for all; our share is safe before that is sent."""
        key, share = self._combine(ctx.me)
        out = self.facts.excluded
        holders = tuple(p for p in self.parameters.receivers if p not in out)
        dealings = tuple((d, self.facts.hashes[d]) for d in self._counted())
        transcript = digest(
            "mpclab transcript", self.parameters.context, dealings, out, holders, key.fingerprint()
        )
        record = KeyRecord(key.suite.name, key.commitments, holders, out, transcript)
        self.agreed = share
        self.pending = Pending.make(record, self.active, self.identity, share)
        ctx.persist("pending", self.pending.to_bytes())
        self._enter(ctx, "confirm")
        self._stand_by(ctx)
        self._try_finish(ctx)

    def _stand_by(self, ctx: Ctx) -> None:
        assert self.pending is not None
        parts = confirm_parts(self.parameters.context, ctx.me, self.pending.digest)
        signature = self.identity.sign(CONFIRM, *parts)
        ctx.multicast(self.participants, Confirm(ctx.me, self.pending.digest, signature))

    def _try_finish(self, ctx: Ctx) -> None:
        pending = self.pending
        assert pending is not None
        if isinstance(self.outcome, Finished):
            return
        if not pending.unconfirmed(self.facts.confirms):
            self._finish(ctx, SharedKey(pending.record, self.agreed))
        elif self.outcome is None and (late := self._convicted_late()):
            # We signed a transcript in which they take part: only they can still complete it.
            self._end(ctx, Aborted("cheating was proved after signing", blamed=late))

    def _convicted_late(self) -> tuple[Party, ...]:
        assert self.pending is not None
        return tuple(p for p in self.pending.signers if p in self.facts.convicted)

    def _finish(self, ctx: Ctx, result: SharedKey) -> None:
        record = result.record
        ctx.note(notes.KeyAgreed(key=record.public.hex()[:16], excluded=record.excluded))
        observers = tuple(p for p in ctx.members if p not in self.participants)
        if observers and ctx.me in self.participants:
            ctx.multicast(observers, Announce(record.to_bytes()))
        self._end(ctx, Finished(self.present(result)))

    def _end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        self.outcome, self.combined, self.share = outcome, None, None
        self.shares.clear()
        ctx.cancel_timer("deadline")
        ctx.cancel_timer("tick")
        if isinstance(outcome, Aborted) and self.pending is not None:
            # We signed, so somebody may hold all signatures: ask on for as long as a round takes.
            ctx.set_timer("deadline", self.deadline)
            ctx.set_timer("tick", self.deadline // 6)
        ctx.output(outcome)

    def _resume(self, ctx: Ctx) -> None:
        """We had signed before the crash: the others may have finished since."""
        pending = self.pending = Pending.from_bytes(ctx.stored["pending"])
        if pending.share:
            key = pending.record.key()
            self.agreed = open_share(self.identity, key, ctx.me, pending.share)
        self._enter(ctx, "confirm")
        self._stand_by(ctx)
        ctx.multicast(self._peers(ctx), Want(confirms=pending.signers))

    # --- time, and what was lost ----------------------------------------------------------

    def _enter(self, ctx: Ctx, phase: str) -> None:
        self.phase, self.asked = phase, False
        ctx.note(notes.Round(round=ROUNDS.index(phase) + 1, of=len(ROUNDS), attempt=self.number))
        ctx.set_timer("deadline", self.deadline)
        ctx.set_timer("tick", self.deadline // 6)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name == "tick":
            ctx.set_timer("tick", self.deadline // 6)
            if ctx.me in self.participants:
                self._ask_again(ctx)
            else:
                ctx.multicast(self.participants, Want())
        elif self.outcome is None:
            self._give_up(ctx)
        else:
            ctx.cancel_timer("tick")

    def _give_up(self, ctx: Ctx) -> None:
        if ctx.me not in self.participants:
            self._end(ctx, Aborted("nobody told what key was made", missing=self.participants))
            return
        words, accused, confirms = self._lacking()
        # Who accuses and does not prove has not answered.
        accusers = [p for p in self.active if set(accused) & set(self._excluded_by(p))]
        missing = tuple(sorted({*words, *confirms, *accusers} - {ctx.me}))
        named = ", ".join(map(str, missing))
        what = {"deal": "dealing", "ack": "acknowledgement", "confirm": "confirmation"}[self.phase]
        blamed = self.facts.excluded
        self._end(ctx, Aborted(f"no {what} from {named} in time", missing=missing, blamed=blamed))

    def _observe(self, ctx: Ctx, sender: Party, msg: Announce) -> None:
        """Of `threshold` participants that say the same, one is honest."""
        if ctx.me in self.participants or sender not in self.participants:
            raise PeerFault("announced a key to a party that makes it, or without making it")
        try:
            record = KeyRecord.from_bytes(msg.record)
        except UsageError as error:
            raise PeerFault(f"announced what is no key: {error}") from None
        self.announced[sender] = msg.record
        alike = [p for p, said in self.announced.items() if said == msg.record]
        if self.outcome is None and len(alike) >= self.threshold:
            self._finish(ctx, SharedKey(record))
