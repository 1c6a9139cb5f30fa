"""A circuit in two halves: random numbers beforehand, then only openings of masked values.

Beaver (CRYPTO 1991): with a shared triple a, b, c = a·b that nobody knows, a product x·y needs no
more than that x - a and y - b are opened: it is c + (x - a)·b + (y - b)·a + (x - a)(y - b). And an
input x is given by making x - r public, for a shared r that only its giver is told.

The first half (`Plan.preparation`) does not depend on any input. So when it went wrong, all that
was said in it can be shown, and tells who cheated (`judging`), and no secret. In the second half
(`Openings`) everybody says the same to all, and wrong shares are corrected (`decoding`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.mpc.circuit import Circuit, P, Step, Vector, Wire, least
from mpclab.mpc.decoding import decode
from mpclab.mpc.evaluation import Evaluation
from mpclab.mpc.verified import prepared


@dataclass(frozen=True, slots=True)
class Plan:
    """What is prepared for a circuit.

    Attributes:
        preparation: makes it, and is checked in its last round.
        kept: its wires that are values of the circuit too, by their index there.
        masks: of inputs, by the index of the input.
        triples: by the index of the product.
    """

    circuit: Circuit
    preparation: Circuit
    kept: dict[int, Wire]
    masks: dict[int, Wire]
    triples: dict[int, tuple[Wire, Wire, Wire]]


def plan(circuit: Circuit) -> Plan:
    """What is random, and what is made of that alone without opening anything, beforehand."""
    base = Circuit()
    early: dict[int, Wire] = {}
    kept: list[int] = []
    masks: dict[int, Wire] = {}
    triples: dict[int, tuple[Wire, Wire, Wire]] = {}
    for step in circuit.steps:
        at, before = step.wire.index, [early.get(arg.index) for arg in step.args]
        known = [wire for wire in before if wire is not None]
        match step.kind:
            case "random":
                early[at] = base.random(step.wire.length, step.below)
                kept.append(at)
            case "input" | "digits":
                masks[at] = base.random(step.wire.length)
            case "local" if len(known) == len(before):
                assert step.local is not None
                early[at] = (
                    base.local(step.local, *known, length=step.wire.length)
                    if known
                    else base.constant(step.local())
                )
            case "mul" | "dot":
                product = base.mul if step.kind == "mul" else base.dot
                if len(known) == 2:
                    early[at] = product(*known)
                    kept.append(at)
                else:
                    a, b = (base.random(arg.length) for arg in step.args)
                    triples[at] = a, b, product(a, b)
    made, found = prepared(base)
    return Plan(
        circuit,
        made,
        {at: found[early[at].index] for at in kept},
        {at: found[mask.index] for at, mask in masks.items()},
        {at: (found[a.index], found[b.index], found[c.index])
         for at, (a, b, c) in triples.items()},
    )  # fmt: skip


class Openings:
    """One party's side of the second half. Round k: `outgoing(k)` for all, then `incoming`.

    Args:
        prepared: our values of the first half, by wire.
        degree: how many may lie or be silent, fewer than a third.
    """

    def __init__(self, plan: Plan, degree: int, prepared: Mapping[int, Vector]) -> None:
        self.plan, self.degree = plan, degree
        self.prepared = prepared
        self.values = {at: prepared[wire.index] for at, wire in plan.kept.items()}
        circuit = plan.circuit
        self._local: list[list[Step]] = [[] for _ in range(circuit.rounds + 1)]
        for step in circuit.steps:
            if step.kind == "local":
                self._local[step.wire.level].append(step)
        self.rounds = rounds(plan)

    def masks_of(self, party: Party) -> Vector:
        """Our shares of what hides the inputs of `party`."""
        wires = [self.plan.masks[step.wire.index] for step in inputs_of(self.plan.circuit, party)]
        return [x for wire in wires for x in self.prepared[wire.index]]

    def give(self, masked: Mapping[Party, Vector]) -> None:
        """Everybody's masked inputs: now they are shared."""
        for party, vector in masked.items():
            at = 0
            for step in inputs_of(self.plan.circuit, party):
                mask = self.prepared[self.plan.masks[step.wire.index].index]
                row = vector[at : at + step.wire.length]
                self.values[step.wire.index] = [(x + m) % P for x, m in zip(row, mask, strict=True)]
                at += step.wire.length
        self._settle(0, self.rounds[0][0].wire.level if self.rounds else len(self._local))

    def outgoing(self, k: int) -> Vector:
        return [x for step in self.rounds[k] for x in self._shown(step)]

    def _shown(self, step: Step) -> Vector:
        if step.kind in ("open", "zero"):
            return self.values[step.args[0].index]
        masks = self.plan.triples[step.wire.index][:2]
        return [
            (x - m) % P
            for arg, mask in zip(step.args, masks, strict=True)
            for x, m in zip(self.values[arg.index], self.prepared[mask.index], strict=True)
        ]

    def incoming(
        self, k: int, received: Mapping[Party, Vector], coins: random.Random
    ) -> tuple[Party, ...]:
        """Take in what the others opened; those whose shares were wrong.

        Raises:
            PeerFault: an input is out of its range; its giver is named where it is one party's.
            Undecodable: too few shares have come, or fit together.
        """
        opened, wrong = decode(received, self.degree, coins)
        at = 0
        for step in self.rounds[k]:
            size = _size(step)
            self._take(step, opened[at : at + size])
            at += size
        level = self.rounds[k][0].wire.level
        last = self.rounds[k + 1][0].wire.level if k + 1 < len(self.rounds) else len(self._local)
        self._settle(level, last)
        return wrong

    def _take(self, step: Step, opened: Vector) -> None:
        if step.kind == "zero":
            for i, value in enumerate(opened):
                if value:
                    raise PeerFault(step.why, party=step.givers[i] if step.givers else None)
        if step.kind in ("open", "zero"):
            self.values[step.wire.index] = opened
            return
        a, b, c = (self.prepared[wire.index] for wire in self.plan.triples[step.wire.index])
        d, e = opened[: len(a)], opened[len(a) :]
        rest = [(x * v + y * u + x * y) % P for x, y, u, v in zip(d, e, a, b, strict=True)]
        if step.kind == "dot":
            rest = [sum(rest)]
        self.values[step.wire.index] = [(x + y) % P for x, y in zip(c, rest, strict=True)]

    def _settle(self, first: int, last: int) -> None:
        """What is local, from one level to before another."""
        for steps in self._local[first:last]:
            for step in steps:
                assert step.local is not None
                found = step.local(*(self.values[arg.index] for arg in step.args))
                self.values[step.wire.index] = [x % P for x in found]

    def result(self) -> list[int]:
        """The outputs, one after the other, as signed numbers."""
        found = [x for wire in self.plan.circuit.outputs for x in self.values[wire.index]]
        return [x if x <= P // 2 else x - P for x in found]


def rounds(plan: Plan) -> list[list[Step]]:
    """What is opened together, in the order of the circuit."""
    by_level: dict[int, list[Step]] = {}
    for step in plan.circuit.steps:
        if step.kind in ("open", "zero") or step.wire.index in plan.triples:
            by_level.setdefault(step.wire.level, []).append(step)
    return [steps for _, steps in sorted(by_level.items())]


def _size(step: Step) -> int:
    return sum(arg.length for arg in step.args)


def sizes(plan: Plan) -> list[int]:
    """Elements in everybody's message of each round of the second half."""
    return [sum(map(_size, steps)) for steps in rounds(plan)]


def inputs_of(circuit: Circuit, party: Party) -> list[Step]:
    return [s for s in circuit.steps if s.kind in ("input", "digits") and s.party == party]


def elements(circuit: Circuit, party: Party, inputs: Vector) -> Vector:
    """A party's inputs as the elements that are shared."""
    found: Vector = []
    given = iter(inputs)
    for step in inputs_of(circuit, party):
        if step.kind == "input":
            found += [next(given) % P for _ in range(step.wire.length)]
        else:
            for _ in range(step.wire.length // step.width):
                number = next(given) - least(step.width)
                found += [number % P >> i & 1 for i in range(step.width)]
    return found


class Preparing(Evaluation):
    """The first half. What does not fit is noted, and it goes on, so that everybody comes to the
    same end of it, and can be judged."""

    spoiled = ""

    def _combine(self, step: Step, parts: Mapping[Party, Vector]) -> Vector:
        try:
            return super()._combine(step, parts)
        except PeerFault as fault:
            self.spoiled = self.spoiled or fault.reason
            return self._weighted(self._opening, parts)
