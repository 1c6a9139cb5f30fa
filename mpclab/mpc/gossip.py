"""`FactSharing`: how participants come to know the same facts although messages are lost.

Facts are signed (see `messages`), so they can be had from anybody. A waiting party asks the
authors of what it lacks, and the second time everybody. All are told of a conviction, with proof.

Our own facts are stored before they are sent and repeated to the letter, so that a restart
makes nobody contradict itself: a second dealing or acknowledgement convicts its author.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mpclab.core.errors import Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.wire import Message
from mpclab.mpc.activation import Pending, unconfirmed
from mpclab.mpc.facts import Facts, Parameters
from mpclab.mpc.messages import Ack, Certificate, Deal, Want

ROUNDS = ("deal", "ack", "confirm")
WANTS = 16
"""Requests of one participant that are answered, for each round."""


class Lacking(NamedTuple):
    """Whose words this round waits for, and of whom a proof is due."""

    deals: tuple[Party, ...] = ()
    acks: tuple[Party, ...] = ()
    proofs: tuple[Party, ...] = ()
    confirms: tuple[Party, ...] = ()


class FactSharing(Machine):
    """The part of a dealing that asks, answers, passes on and remembers.

    Attributes:
        phase: one of `ROUNDS` once we have begun; "ready" between the last two; "again" while
            others deal anew without those who were convicted here.
        number: of our acknowledgement: there may be several.
        pending: what we signed, from the third round on.
        certificate: everybody's signatures on it, once they are here.
    """

    def __init__(self, parameters: Parameters, facts: Facts) -> None:
        self.parameters, self.facts = parameters, facts
        self.participants = parameters.participants
        self.phase = ""
        self.number = 0
        self.pending: Pending | None = None
        self.certificate: Certificate | None = None
        self.reported: dict[Party, bool] = {}  # who is out, as we said, and whether it cheated
        self.wants: dict[Party, int] = {}
        self.shown: dict[Party, int] = {}  # when the certificate was last given to whom
        self.convinced: dict[Party, int] = {}  # when evidence was last shown to whom
        self.asked = False  # whether this round's authors were asked before

    @property
    def active(self) -> tuple[Party, ...]:
        """The participants that are not convicted."""
        return tuple(p for p in self.participants if p not in self.facts.convicted)

    def _counted(self) -> tuple[Party, ...]:
        return tuple(d for d in self.parameters.dealers if d not in self.facts.convicted)

    def _lacking(self) -> Lacking:
        facts = self.facts
        if self.phase == "confirm":
            assert self.pending is not None
            wanted = self.pending.digest
            return Lacking(confirms=unconfirmed(self.participants, wanted, facts.confirms))
        deals = tuple(d for d in self._counted() if d not in facts.deals)
        if self.phase == "deal":
            return Lacking(deals)
        acks = {p: facts.acks.get((self.number, p)) for p in self.active}
        accused = {q for ack in acks.values() if ack is not None for q in ack.excluded}
        silent = tuple(p for p, ack in acks.items() if ack is None)
        # That somebody unheard is out may have been so for them, as long as they knew less.
        known = {*facts.convicted, *facts.unheard}
        return Lacking(deals, silent, tuple(sorted(accused - known)))

    def _excluded_by(self, party: Party) -> tuple[Party, ...]:
        ack = self.facts.acks.get((self.number, party))
        return ack.excluded if ack is not None else ()

    # --- asking and answering -------------------------------------------------------------

    def _ask_again(self, ctx: Ctx) -> None:
        """Something may have been lost: ask its authors, and later everybody."""
        lacking = self._lacking()
        if not any(lacking):
            return
        authors = {*lacking.deals, *lacking.acks, *lacking.confirms}
        if self.asked or lacking.proofs:
            authors = set(self.participants)
        self.asked = True
        want = Want(lacking.deals, self.number, lacking.acks, lacking.confirms, lacking.proofs)
        ctx.multicast([p for p in self.participants if p in authors and p != ctx.me], want)

    def _answer(self, ctx: Ctx, sender: Party, want: Want, pause: int) -> None:
        if self.certificate is not None:  # that is all anybody can still need
            if ctx.now - self.shown.get(sender, -pause) >= pause:
                self.shown[sender] = ctx.now
                ctx.send(sender, self.certificate)
            return
        if sender not in self.participants:
            return
        self.wants[sender] = self.wants.get(sender, 0) + 1
        if self.wants[sender] > WANTS * (len(self.participants) + len(ROUNDS)):
            want = Want(confirms=want.confirms[: len(self.participants)])  # these are few
        facts = self.facts
        found: list[Message | None] = [facts.deals.get(p) for p in dict.fromkeys(want.deals)]
        found += [facts.acks.get((want.number, p)) for p in dict.fromkeys(want.acks)]
        found += [facts.confirms.get(p) for p in dict.fromkeys(want.confirms)]
        for party in dict.fromkeys(want.proofs):
            found += facts.convicted[party].evidence if party in facts.convicted else ()
        for msg in found:
            if msg is not None:
                ctx.send(sender, msg)

    def _spread_news(self, ctx: Ctx) -> None:
        """Say whom we convict, and show the proof to those who may not have it."""
        for party, conviction in list(self.facts.convicted.items()):
            before = self.reported.get(party)
            if before is not None and before >= conviction.cheated:
                continue
            self.reported[party] = conviction.cheated
            if self.phase:  # a party that is done stores nothing more
                ctx.persist(f"evidence/{party}", msgspec.msgpack.encode(conviction.evidence))
            if conviction.cheated:
                ctx.blame(party, conviction.reason, Strength.PROOF)
            for msg in conviction.evidence:
                ctx.multicast(self._peers(ctx), msg)

    def _convince(self, ctx: Ctx, party: Party, pause: int) -> None:
        """`party` signed another transcript than we: it cannot know what we know.

        Not at every word of it: of two cheats' contradictions each would answer the other's for
        ever, since what convicts a cheat are such words."""
        if party == ctx.me or ctx.now - self.convinced.get(party, -pause) < pause:
            return
        self.convinced[party] = ctx.now
        for conviction in self.facts.convicted.values():
            for msg in conviction.evidence:
                ctx.send(party, msg)

    def _peers(self, ctx: Ctx) -> tuple[Party, ...]:
        return tuple(p for p in self.participants if p != ctx.me)

    # --- remembering ----------------------------------------------------------------------

    def _say(self, ctx: Ctx, key: str, msg: Deal | Ack) -> None:
        """Store our own word under `key`, then tell it."""
        ctx.persist(key, msgspec.msgpack.encode(msg))
        ctx.multicast(self.participants, msg)

    def _recall(self, ctx: Ctx) -> tuple[Deal | Ack, ...]:
        """The messages of our earlier incarnations, in their order; taken in as facts."""
        decode = type(self).decode()
        for key in [key for key in ctx.stored if key.startswith("evidence/")]:
            for proof in msgspec.msgpack.decode(ctx.stored[key], type=tuple[msgspec.Raw, ...]):
                self.facts.add(decode(bytes(proof)))
        said: list[Deal | Ack] = []
        for key in ("deal", *(f"ack/{number}" for number in range(len(self.participants) + 1))):
            if key in ctx.stored:
                msg = decode(ctx.stored[key])
                assert isinstance(msg, Deal | Ack)
                self.facts.add(msg)
                said.append(msg)
        return tuple(said)

    def _forget_said(self, ctx: Ctx) -> None:
        """Our words are of no use any more, and neither is a second copy of our share."""
        for key in ctx.stored:
            if key not in ("certificate", "without"):
                ctx.persist(key, None)
