"""Who cheated in a preparation: a replay of what everybody was told and says it had said.

What a party says in a preparation follows from what it was told, but for its random numbers, and
these follow from what it shared. Every message is signed. So with all messages at hand (they hold
no input of anybody) each party is replayed: what it shared has to lie on one polynomial each, and
to be the products of what it held; what it opened has to be what it held; and what it said in the
end, that all was well or was not, has to be so.

Nobody who followed the protocol can be named: it passes whatever the others did. And if nobody
could be named then everybody followed the protocol, and all was well.

(Identifiable abort by showing everything: Ishai, Ostrovsky and Zikas, CRYPTO 2014, §3, whose
preparation is shown likewise because it holds no inputs.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from mpclab.core.ids import Party
from mpclab.crypto.shamir import lagrange_coefficients
from mpclab.mpc.circuit import Circuit, P, Step, Vector
from mpclab.mpc.masked import Preparing

View: TypeAlias = Mapping[tuple[int, Party], Vector | None]
"""What one party was told: by round and sender; None for what was no vector of that length."""


class Judge:
    """All views of one preparation.

    Args:
        views: of every participant, complete.
        contented: who said that all was well.
    """

    def __init__(
        self,
        circuit: Circuit,
        participants: tuple[Party, ...],
        degree: int,
        views: Mapping[Party, View],
        contented: Mapping[Party, bool],
    ) -> None:
        self.circuit, self.participants, self.degree = circuit, participants, degree
        self.views, self.contented = views, contented
        few = participants[: degree + 1]
        self._constant = lagrange_coefficients(few, P)
        self._others = {p: lagrange_coefficients(few, P, p) for p in participants[degree + 1 :]}

    def offences(self) -> dict[Party, str]:
        """What each cheat did first."""
        found = {p: self._offence(p) for p in self.participants}
        return {p: reason for p, reason in found.items() if reason}

    def _offence(self, party: Party) -> str:
        held = Preparing(self.circuit, party, self.participants, [], degree=self.degree)
        for k in range(self.circuit.rounds):
            said = {p: self.views[p][k, party] for p in self.participants}
            for vector in said.values():
                if vector is None:
                    return f"sent no vector of the right length in round {k + 1}"
            at = 0
            for step in held.by_round[k]:
                if not held.sends(step, party):
                    continue
                end = at + step.wire.length
                parts = {p: (said[p] or [])[at:end] for p in self.participants}
                if reason := self._wrong(held, step, parts):
                    return f"{reason} in round {k + 1}"
                at = end
            received = {p: taken(held, k, p, self.views[party][k, p]) for p in self.participants}
            held.incoming(k, received)
        if self.contented[party] == bool(held.spoiled):
            return "said that all was well" if held.spoiled else "complained of nothing"
        return ""

    def _wrong(self, held: Preparing, step: Step, parts: Mapping[Party, Vector]) -> str:
        """Why a party cannot have sent this at one step."""
        if step.kind in ("open", "zero"):
            own = held.values[step.args[0].index]
            same = all(part == own for part in parts.values())
            return "" if same else "opened another share than its own"
        for party, weights in self._others.items():
            if self._combined(weights, parts) != parts[party]:
                return "shared a number by shares that do not fit together"
        shared = self._combined(self._constant, parts)
        if step.kind == "random":
            return "" if max(shared) < step.below else "shared too large a number"
        return "" if shared == held.products(step) else "shared another number than its product"

    def _combined(self, weights: Mapping[Party, int], parts: Mapping[Party, Vector]) -> Vector:
        columns = zip(*(parts[p] for p in weights), strict=True)
        factors = tuple(weights.values())
        return [sum(w * x for w, x in zip(factors, column, strict=True)) % P for column in columns]


def taken(held: Preparing, k: int, sender: Party, vector: Vector | None) -> Vector:
    """A vector as it is reckoned with; one that is none spoils it, and counts as zeros."""
    if vector is None:
        held.spoiled = held.spoiled or f"party {sender} sent no vector of the right length"
        return [0] * held.lengths(k, sender)
    return vector
