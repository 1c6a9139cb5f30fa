"""`FactSharing`: how participants come to know the same facts although messages are lost.

Facts are signed (see `messages`), so they can be had from anybody. Who waits asks the authors of
what it lacks, and the second time everybody. Whom somebody convicts, all are told, with the proof.
"""

from __future__ import annotations

from mpclab.core.errors import Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.wire import Message
from mpclab.mpc.facts import Facts, Parameters
from mpclab.mpc.messages import Want
from mpclab.mpc.pending import Pending

ROUNDS = ("deal", "ack", "confirm")
WANTS = 16
"""Requests of one participant that are answered, for each round."""


class FactSharing(Machine):
    """The part of a dealing that asks, answers and passes on.

    Attributes:
        phase: one of `ROUNDS`, once we have begun.
        number: of our acknowledgement: there may be several.
        pending: what we signed, from the third round on.
    """

    def __init__(self, parameters: Parameters, facts: Facts) -> None:
        self.parameters, self.facts = parameters, facts
        self.participants = parameters.participants
        self.phase = ""
        self.number = 0
        self.pending: Pending | None = None
        self.reported: set[Party] = set()
        self.wants: dict[Party, int] = {}
        self.asked = False  # whether this round's authors were asked before

    @property
    def active(self) -> tuple[Party, ...]:
        """The participants that are not convicted."""
        return tuple(p for p in self.participants if p not in self.facts.convicted)

    def _counted(self) -> tuple[Party, ...]:
        return tuple(d for d in self.parameters.dealers if d not in self.facts.convicted)

    def _lacking(self) -> tuple[tuple[Party, ...], tuple[Party, ...], tuple[Party, ...]]:
        """What this round waits for: dealings or acks, proofs of accusations, confirmations."""
        facts = self.facts
        match self.phase:
            case "deal":
                return tuple(d for d in self._counted() if d not in facts.deals), (), ()
            case "ack":
                acks = [facts.acks.get((self.number, p)) for p in self.active]
                accused = {q for ack in acks if ack is not None for q in ack.excluded}
                silent = [p for p, a in zip(self.active, acks, strict=True) if a is None]
                return tuple(silent), tuple(sorted(accused - facts.convicted.keys())), ()
        assert self.pending is not None
        return (), (), self.pending.unconfirmed(facts.confirms)

    def _excluded_by(self, party: Party) -> tuple[Party, ...]:
        ack = self.facts.acks.get((self.number, party))
        return ack.excluded if ack is not None else ()

    def _ask_again(self, ctx: Ctx) -> None:
        """Something may have been lost: ask its authors, and later everybody."""
        words, accused, confirms = self._lacking()
        authors = {*words, *confirms}
        if self.asked or accused:
            authors = set(self.participants)
        self.asked = True
        if self.phase == "deal":
            want = Want(deals=words)
        else:
            want = Want(number=self.number, acks=words, confirms=confirms, proofs=accused)
        ctx.multicast([p for p in self.participants if p in authors and p != ctx.me], want)

    def _answer(self, ctx: Ctx, sender: Party, want: Want) -> None:
        self.wants[sender] = self.wants.get(sender, 0) + 1
        if self.wants[sender] > WANTS * (len(self.participants) + len(ROUNDS)):
            return  # more than anybody honest needs
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
        for party, conviction in self.facts.convicted.items():
            if party in self.reported:
                continue
            self.reported.add(party)
            ctx.blame(party, conviction.reason, Strength.PROOF)
            for msg in conviction.evidence:
                ctx.multicast(self._peers(ctx), msg)

    def _convince(self, ctx: Ctx, party: Party) -> None:
        """`party` signed another transcript than we: it cannot know what we know."""
        if party == ctx.me:
            return
        for conviction in self.facts.convicted.values():
            for msg in conviction.evidence:
                ctx.send(party, msg)

    def _peers(self, ctx: Ctx) -> tuple[Party, ...]:
        return tuple(p for p in self.participants if p != ctx.me)
