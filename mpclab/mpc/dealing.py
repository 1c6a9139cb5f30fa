"""`SharedDealing`: dealers share secrets verifiably, and all agree on what was dealt.

The common part of key generation, refresh and reshare. Three rounds when all goes well:

1. **Deal**: every dealer broadcasts its commitments and, sealed, everyone's share (`envelopes`).
2. **Ack**: every participant broadcasts which dealings it saw, by hash and dealer's signature, and
   a complaint, with its proof, for each share that does not fit. A party that is convicted by that
   (see `facts`) is out; then everyone acknowledges again what is left, until all agree. If
   somebody is out, the others **deal anew** without it, in a child machine: what was sealed to it
   before is a share of nothing.
3. **Confirm**: everyone stores its share and signs the record of the key. With all signatures, its
   certificate, the result is in use (see `activation`).

Guarantee, for any number of corrupt participants and any network: no two honest parties ever
activate different results. For an honest party signs one record at most, is never convicted,
and so must have signed whatever became active anywhere. A participant that cheats is convicted with
proof, and the rest go on while `needed` dealers and `threshold` receivers are left. A participant
that is *silent* cannot be told from a slow one: the result is `Aborted(missing=…)`, within a
deadline for each round, `participants + 3` rounds at the most, and the reason names the proposal
that goes on without it. Secrecy needs fewer than `threshold` corrupt receivers.

With `leaves_silent` it goes on by itself, as far as that is sound. Who waited a round in vain for
some before it signed says so, signed, and waits one round more. Whom `threshold` others could not
hear is left out, unblamed, like a cheat: one of them is honest. But the honest may be slow too, and
t - 1 liars may say that they hear nothing: so nobody is left out when fewer than 2t - 1 would be
left, of whom t are honest; nor fewer than (n + t) / 2, for two halves of a network that is cut
would make a key each, and any two sets of so many have t in common, so an honest one, which signs
once. That is one of 2-of-4, two of 3-of-7 and of 2-of-7, and nobody of 3-of-5.

What is impossible, and so not claimed: that all honest parties activate in bounded time or none
does, when messages may be lost at the last moment. A party that signed and then gave up keeps its
share, sealed, and asks on, ever more rarely, in this life and in later ones (`Finished` after
`Aborted`). One that crashed before it signed says again what it had said, to the letter.

State that is stored: `deal` and `ack/k`, our own words; `evidence/p`, what convicts p; `without`,
who was out when we dealt anew; `pending`, what we signed and our share; `certificate`.

Note: Pedersen's dealers may see others' commitments before they publish theirs, see `pedersen`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from mpclab.core import notes
from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.core.peers import PeerUp
from mpclab.core.rounds import Aborted, Finished, Proceed, Ready, Stored
from mpclab.crypto.errors import BadShare
from mpclab.crypto.groups import Group
from mpclab.crypto.identity import Identity
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.crypto.transcript import Part, digest
from mpclab.mpc import envelopes
from mpclab.mpc.activation import Pending, check_certificate, unconfirmed
from mpclab.mpc.dealer import Dealer
from mpclab.mpc.facts import Facts, Parameters
from mpclab.mpc.gossip import ROUNDS
from mpclab.mpc.messages import (
    ABSENT,
    ACK,
    CONFIRM,
    Absence,
    Ack,
    Certificate,
    Complaint,
    Confirm,
    Deal,
    Equivocation,
    Want,
    absence_parts,
    ack_parts,
    confirm_parts,
)
from mpclab.mpc.records import KeyRecord

RAREST = 6
"""Rounds between two questions, at the most, of a party that does not know how it ended."""


class SharedKey(msgspec.Struct, frozen=True):
    """The result: the public record, the same for all, and our share if we are a holder."""

    record: KeyRecord
    share: KeyShare | None = None


class Bound(msgspec.Struct, frozen=True):
    """A child's report: it signed, and no other record may be signed for this purpose."""


class SharedDealing(Dealer):
    """Subclasses say what is dealt: `draw`, `flaw`, `commitments`, `combine` (see `Dealer`) and
    `again`.

    Args:
        context: hash of what was agreed, the same for all; nothing said here means anything
            elsewhere.
        identity: ours. `keys`: identity keys by party.
        dealers, receivers: those that deal and those that get shares, ascending.
        threshold: shares that will be needed.
        needed: dealers without whom there is no result.
        deadline: µs that each round may take.
        present: makes the result of `Finished` of a `SharedKey`.
        gated: report `Ready` and sign only when our parent asks to `Proceed`.
        excluded: those that were convicted in dealings before this one.
        rules: for the key's use, as they stand in its record.
        leaves_silent: whether those who are silent before the last round are left out.
    """

    messages: ClassVar[Any] = Deal | Ack | Confirm | Equivocation | Absence | Want | Certificate
    may_deal_anew: ClassVar[bool] = True

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
        gated: bool = False,
        excluded: tuple[Party, ...] = (),
        rules: str = "",
        leaves_silent: bool = False,
    ) -> None:
        dealers, receivers = tuple(sorted(dealers)), tuple(sorted(receivers))
        fixed = (dealers, receivers, threshold, group.name, parts, rules, int(leaves_silent))
        parameters = Parameters(
            digest("mpclab dealing parameters", context, self.kind, fixed),
            dealers,
            receivers,
            dict(keys),
            group,
        )
        facts = Facts(parameters, self.flaw, self.commitments, self.hidden_flaw, self.fit_together)
        facts.witnesses = threshold if leaves_silent else 0
        n = len({*facts.parameters.participants, *excluded})  # of the first dealing
        facts.fewest = max(2 * threshold - 1, (n + threshold + 1) // 2)
        super().__init__(parameters, facts)
        self.leaves_silent, self.said_who = leaves_silent, False
        self.identity = identity
        self.threshold, self.needed = threshold, needed
        self.deadline, self.present = deadline, present
        self.gated, self.excluded, self.rules = gated, excluded, rules
        self.shares: dict[Party, int] = {}
        self.combined: tuple[tuple[Party, ...], tuple[GroupKey, KeyShare | None]] | None = None
        self.agreed: KeyShare | None = None
        self.anew: tuple[Party, ...] = ()  # without whom the others deal anew, in a child
        self.bound = False  # whether we signed there
        self.asking_until = 0  # µs: we gave up, and ask often how it ended until then
        self.pause = deadline  # and then once in a while
        self.outcome: Finished[Any] | Aborted | None = None

    def again(self, out: tuple[Party, ...]) -> SharedDealing:
        """The same dealing by those who are left, its context following from ours."""
        raise NotImplementedError

    # --- beginning ------------------------------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        if "without" in ctx.stored:
            self._deal_anew(
                ctx, msgspec.msgpack.decode(ctx.stored["without"], type=tuple[int, ...])
            )
        if "certificate" in ctx.stored:
            self._keep_on(ctx)
        elif self.anew:
            said = self._recall(ctx)
            self.number = max((msg.number for msg in said if isinstance(msg, Ack)), default=0)
            ctx.set_timer("tick", self.deadline // 6)
        elif ctx.me not in self.participants:
            ctx.set_timer("deadline", 4 * self.deadline)
            ctx.set_timer("tick", self.deadline)
        elif "pending" in ctx.stored:
            self._resume(ctx)
        elif said := self._recall(ctx):
            self._repeat(ctx, said)
        elif strangers := [p for p in self.participants if not self._can_seal_to(p)]:
            what = f"party {strangers[0]} has no key that shares can be sealed to"
            self._end(ctx, Aborted(what, blamed=(strangers[0],)))
        elif (lack := self.unable(ctx.me)) is not None:
            self._end(ctx, Aborted(lack))
        else:
            self._enter(ctx, "deal")
            if ctx.me in self.parameters.dealers:
                self._begin_dealing(ctx)

    def _begin_dealing(self, ctx: Ctx) -> None:
        self._say(ctx, "deal", self._deal(ctx.me, ctx.rng))

    def _can_seal_to(self, party: Party) -> bool:
        return envelopes.is_identity_key(self.parameters.keys.get(party, b""))

    # --- after a crash --------------------------------------------------------------------

    def _repeat(self, ctx: Ctx, said: tuple[Deal | Ack, ...]) -> None:
        """We had not signed yet: say it again, and ask for what we had heard."""
        numbers = [msg.number for msg in said if isinstance(msg, Ack)]
        self.number = max(numbers, default=0)
        self._enter(ctx, "ack" if numbers else "deal")
        for msg in said:
            if isinstance(msg, Deal) or msg.number == self.number:
                ctx.multicast(self.participants, msg)
        self.asked = True  # of everybody: authors may be gone
        self._ask_again(ctx)
        self._advance(ctx)

    def _resume(self, ctx: Ctx) -> None:
        """We had signed before the crash: the others may have finished since."""
        self.pending = Pending.from_bytes(ctx.stored["pending"])
        self.agreed = self.pending.opened(self.identity, ctx.me)
        self._report_bound(ctx)
        self._enter(ctx, "confirm")
        self._stand_by(ctx)
        ctx.multicast(self._peers(ctx), Want(confirms=self.participants))

    def _keep_on(self, ctx: Ctx) -> None:
        """It was done: we are here for those who do not know, and for a parent that crashed
        before it had stored our result."""
        found = type(self).decode()(ctx.stored["certificate"])
        assert isinstance(found, Certificate)
        self.certificate = found
        if "pending" in ctx.stored:
            self.agreed = Pending.from_bytes(ctx.stored["pending"]).opened(self.identity, ctx.me)
        shared = SharedKey(KeyRecord.from_bytes(found.record), self.agreed)
        self._end(ctx, Finished(self.present(shared)))

    # --- rounds ---------------------------------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        if isinstance(msg, Certificate):
            self._take(ctx, msg)
            return
        if isinstance(msg, Want):
            self._answer(ctx, sender, msg, self.deadline // 6)
            return
        if sender not in self.participants:
            raise PeerFault(f"{type(msg).__name__} from a party that takes no part")
        if ctx.me in self.participants and self.certificate is None:
            self.facts.add(msg, ours=sender == ctx.me)
            self._advance(ctx)
            if isinstance(msg, Confirm) and self.pending and msg.digest != self.pending.digest:
                self._convince(ctx, msg.party, self.deadline // 6)

    def _advance(self, ctx: Ctx) -> None:
        self._spread_news(ctx)
        if self.phase == "confirm":
            self._try_finish(ctx)
        while self.outcome is None and self.phase != "confirm" and not self.bound:
            out = self.facts.excluded
            holders = [p for p in self.parameters.receivers if p not in out]
            cheats = self.facts.cheats
            if ctx.me in out:
                why = (
                    "this party was convicted" if ctx.me in cheats else "the others did not hear us"
                )
                self._end(ctx, Aborted(why, blamed=cheats))
            elif len(self._counted()) < self.needed or len(holders) < self.threshold:
                few = "too few are left" if out else "too few take part"
                why = f"cheating was proved, and {few}" if cheats else few
                silent = tuple(sorted(set(out) - set(cheats)))
                self._end(ctx, Aborted(why, missing=silent, blamed=cheats))
            elif any(self._lacking()):
                return
            elif self.facts.uncover(self._counted()):
                self._spread_news(ctx)
            elif self.phase == "deal":
                self._acknowledge(ctx, 0)
            elif any(self.facts.acks[self.number, p].excluded != out for p in self.active):
                if self.number < len(self.participants):
                    self._acknowledge(ctx, self.number + 1)
                else:
                    self._end(ctx, Aborted("no agreement on who cheated", blamed=cheats))
            elif out and not self.may_deal_anew:
                self._end(ctx, Aborted("cheating was proved", blamed=cheats))
            elif out:
                self._deal_anew(ctx, out)
                return
            elif self.phase == "ready":
                return
            else:
                self._conclude(ctx)

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
        self._say(ctx, f"ack/{number}", msgspec.structs.replace(ack, signature=signature))

    # --- anew, without those who cheated --------------------------------------------------

    def _deal_anew(self, ctx: Ctx, out: Iterable[Party]) -> None:
        """All agree on who is out. It holds, of what was dealt here, a share that fits: so this is
        not what anybody signs. Those who are left deal to each other."""
        out = tuple(out)
        self.phase = "again"
        if out == self.anew:
            return
        if self.anew:
            ctx.close(_without(self.anew))  # where we signed nothing
        self.anew = out
        ctx.cancel_timer("deadline")
        ctx.persist("without", msgspec.msgpack.encode(out))
        ctx.spawn(_without(out), self.again(out))

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        if child != _without(self.anew):
            return
        match value:
            case Finished():
                made = ctx.child(child)
                assert isinstance(made, SharedDealing)
                assert made.certificate is not None
                found = made.certificate
                without = (self.anew, *found.without)
                self.certificate = msgspec.structs.replace(found, without=without)
                ctx.persist("certificate", msgspec.msgpack.encode(self.certificate))
                self._tell(ctx, self._observers(ctx))
                self._end(ctx, value)
            case Aborted():
                cheats = self.facts.cheats
                blamed = tuple(sorted({*(p for p in self.anew if p in cheats), *value.blamed}))
                self._end(ctx, msgspec.structs.replace(value, blamed=blamed))
            case Bound():
                self.bound = True
                self._report_bound(ctx)
            case _:
                ctx.report(value)

    def _report_bound(self, ctx: Ctx) -> None:
        """A party that signed below must not begin anew above, whatever is proved there later."""
        if self.excluded:
            ctx.report(Bound())

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if not isinstance(ask, Proceed | Stored | PeerUp):
            raise UsageError(f"a key in the making cannot {type(ask).__name__}")
        if self.anew:
            ctx.ask(_without(self.anew), ask)
        match ask:
            case Stored():
                self._forget_said(ctx)
            case Proceed() if self.phase == "ready" and self.outcome is None:
                self._confirm(ctx)
            case PeerUp(party) if self.pending is not None and party in self.participants:
                if self.certificate is None:
                    ctx.send(party, self._confirmation(ctx.me))
                    ctx.send(party, Want(confirms=self.participants))

    # --- the end --------------------------------------------------------------------------

    def _conclude(self, ctx: Ctx) -> None:
        """All saw the same and nobody is out."""
        if self.gated:
            self.phase = "ready"
            ctx.cancel_timer("deadline")
            ctx.report(Ready(self.parameters.receivers))
        else:
            self._confirm(ctx)

    def _confirm(self, ctx: Ctx) -> None:
        """Sign the record, once and for all; our share is safe before that is sent."""
        key, share = self._combine(ctx.me)
        dealings = tuple((d, self.facts.hashes[d]) for d in self.parameters.dealers)
        transcript = digest("mpclab transcript", self.parameters.context, dealings)
        holders = self.parameters.receivers
        record = KeyRecord(
            key.suite.name, key.commitments, holders, self.excluded, transcript, self.rules
        )
        # ChillDKG, CertEq: sign the transcript, and output nothing before all have signed the same.
        # Note: the record that follows from it is signed, and our share is stored before.
        self.agreed = share
        self.pending = Pending.make(record, self.identity, share)
        ctx.persist("pending", self.pending.to_bytes())
        self._report_bound(ctx)
        self._enter(ctx, "confirm")
        self._stand_by(ctx)
        self._try_finish(ctx)

    def _stand_by(self, ctx: Ctx) -> None:
        ctx.multicast(self.participants, self._confirmation(ctx.me))

    def _confirmation(self, me: Party) -> Confirm:
        assert self.pending is not None
        parts = confirm_parts(self.parameters.context, me, self.pending.digest)
        return Confirm(me, self.pending.digest, self.identity.sign(CONFIRM, *parts))

    def _try_finish(self, ctx: Ctx) -> None:
        pending, confirms = self.pending, self.facts.confirms
        assert pending is not None
        if isinstance(self.outcome, Finished):
            return
        if not unconfirmed(self.participants, pending.digest, confirms):
            record = pending.record.to_bytes()
            signed = tuple(confirms[p] for p in self.participants)
            self._finish(ctx, Certificate((), record, signed), pending.record)
        elif self.outcome is None and (late := self.facts.cheats):
            # We signed a record that they signed too: only they can still complete it. It may be
            # complete elsewhere already, and so:
            # 1. party 1 signs; 2. cheat 3 shows party 2 that it cheated, so that 2 never signs,
            # or 2 has signed and hears it late; 3. in the second case 3's signature makes a
            # certificate at whomever 3 sends it to. We cannot tell these apart: we give up, keep
            # our share, and ask on.
            self._end(ctx, Aborted("cheating was proved after signing", blamed=late))

    def _take(self, ctx: Ctx, certificate: Certificate) -> None:
        """Somebody shows, with everybody's signature, that it is done; anyone may bring it."""
        if self.certificate is not None:
            return
        last, excluded = self, self.excluded
        if certificate.without and not self.may_deal_anew:
            raise PeerFault("certificate of a dealing that is not dealt anew")
        for out in certificate.without:
            dealers = set(last.parameters.dealers) - set(out)
            receivers = set(last.parameters.receivers) - set(out)
            if not out or len(dealers) < self.needed or len(receivers) < self.threshold:
                raise PeerFault("certificate of too few participants")
            last, excluded = last.again(out), tuple(sorted({*excluded, *out}))
        record = check_certificate(last.parameters, excluded, self.threshold, certificate)
        if record.rules != self.rules:
            raise PeerFault("certificate of a record with other rules")
        if ctx.me in last.participants and last is not self:
            return  # our child makes use of it
        if self.pending is not None and self.pending.record != record:
            self.agreed = None  # we signed another in this life, and this one before we forgot it
        self._finish(ctx, certificate, record)

    def _finish(self, ctx: Ctx, certificate: Certificate, record: KeyRecord) -> None:
        late = isinstance(self.outcome, Aborted)
        self.certificate = certificate
        ctx.persist("certificate", msgspec.msgpack.encode(certificate))
        ctx.note(notes.KeyAgreed(key=record.public.hex()[:16], excluded=record.excluded))
        if ctx.me in self.participants:
            # A party that hears of it late may be the only one that has heard of it.
            self._tell(ctx, ctx.others if late else self._observers(ctx))
        self._end(ctx, Finished(self.present(SharedKey(record, self.agreed))))

    def _tell(self, ctx: Ctx, to: Iterable[Party]) -> None:
        if (to := tuple(to)) and self.certificate is not None:
            ctx.multicast(to, self.certificate)

    def _observers(self, ctx: Ctx) -> tuple[Party, ...]:
        return tuple(p for p in ctx.members if p not in self.participants)

    def _end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        self.outcome, self.combined, self.share = outcome, None, None
        if self.pending is None and not self.anew:
            self.phase = ""
        self.shares.clear()
        for timer in ("deadline", "tick", "ask"):
            ctx.cancel_timer(timer)
        if isinstance(outcome, Finished):
            self.agreed = None
        elif self.pending is not None or ctx.me not in self.participants:
            # Somebody may hold all signatures: ask on.
            self.asking_until = ctx.now + self.deadline
            ctx.set_timer("ask", self.deadline // 6)
        ctx.output(outcome)

    # --- time, and what was lost ----------------------------------------------------------

    def _enter(self, ctx: Ctx, phase: str) -> None:
        self.phase, self.asked = phase, False
        ctx.note(notes.Round(round=ROUNDS.index(phase) + 1, of=len(ROUNDS), attempt=self.number))
        ctx.set_timer("deadline", self.deadline)
        ctx.set_timer("tick", self.deadline // 6)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name == "tick" and self.outcome is None:
            ctx.set_timer("tick", self.deadline // 6)
            if ctx.me in self.participants:
                self._ask_again(ctx)
            else:
                ctx.multicast(self.participants, Want())
        elif name == "deadline" and self.outcome is None:
            self._give_up(ctx)
        elif name == "ask" and self.certificate is None:
            if ctx.now < self.asking_until:
                ctx.set_timer("ask", self.deadline // 6)
            else:
                ctx.set_timer("ask", self.pause, background=True)
                self.pause = min(2 * self.pause, RAREST * self.deadline)
            if self.pending is not None:
                self._stand_by(ctx)
            ctx.multicast(self._peers(ctx), Want(confirms=self.participants))

    def _give_up(self, ctx: Ctx) -> None:
        if ctx.me not in self.participants:
            self._end(
                ctx, Aborted("nobody reported the key that was made", missing=self.participants)
            )
            return
        lacking = self._lacking()
        # An accuser without proof has not answered.
        accusers = [p for p in self.active if set(lacking.proofs) & set(self._excluded_by(p))]
        silent = {*lacking.deals, *lacking.acks, *lacking.confirms, *accusers} - {ctx.me}
        missing = tuple(sorted(silent))
        if self.leaves_silent and not self.said_who and missing and self.phase != "confirm":
            self.said_who = True
            said = Absence(ctx.me, missing)
            parts = absence_parts(self.parameters.context, said)
            signature = self.identity.sign(ABSENT, *parts)
            ctx.multicast(self.participants, msgspec.structs.replace(said, signature=signature))
            ctx.set_timer("deadline", self.deadline)
            return
        named = ", ".join(map(str, missing))
        what = {"deal": "dealing", "ack": "acknowledgement", "confirm": "confirmation"}[self.phase]
        blamed = self.facts.cheats
        reason = f"no {what} from {named} in time{self.way_out(missing)}"
        self._end(ctx, Aborted(reason, missing=missing, blamed=blamed))


def _without(out: tuple[Party, ...]) -> str:
    """The name of the child that deals without these."""
    return "-".join(("without", *map(str, out)))
