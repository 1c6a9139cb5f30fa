"""Nobody changes a result unseen, where that was agreed on."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest

from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.mpc import arithmetic
from mpclab.mpc.circuit import Circuit, P
from mpclab.mpc.compute import Compute, Part, pack, unpack
from mpclab.mpc.evaluation import Evaluation
from mpclab.mpc.program import compiled, median
from mpclab.mpc.verified import verified
from mpclab.testing.cast import DEADLINE, Cast

PARTIES = (1, 2, 3, 4, 5)
GIVEN = {1: 11, 2: 7, 3: 5, 4: 9, 5: 2}


def adding(round: int, place: int) -> Any:
    """Follows the protocol but for one number, to which it adds 1 for everybody: what it shares
    there is another value, in shares that fit together."""

    def tamper(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(msg, Part) and msg.round == round:
            numbers = unpack(msg.data)
            if place < len(numbers):
                numbers[place] = (numbers[place] + 1) % P
                msg = Part(msg.round, pack(numbers))
        return [(to, msg)]

    return tamper


def results(circuit: Circuit, n: int, liar: Party, tamper: Any) -> set[Any]:
    parties = PARTIES[:n]

    def make(p: Party) -> Compute:
        return Compute(
            circuit, parties, parties, given=(GIVEN[p],), deadline=DEADLINE, patience=DEADLINE
        )

    cast = Cast(n, make, cheats={liar: tamper}).run()
    assert cast.accused() <= {liar, None}
    found = {p: cast.outcome(p) for p in parties if p != liar}
    return {"ended" if isinstance(o, Aborted) else tuple(o) for o in found.values()}


def rounds_with_products(circuit: Circuit) -> list[tuple[int, int]]:
    """Where a party shares products: the round, and how many numbers there."""
    found: dict[int, int] = {}
    for step in circuit.steps:
        if step.kind in ("mul", "dot"):
            found[step.wire.level - 1] = found.get(step.wire.level - 1, 0) + step.wire.length
    return sorted(found.items())


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_product_that_is_falsified_is_seen(n: int) -> None:
    parties = PARTIES[:n]
    right = 1
    for p in parties:
        right *= GIVEN[p]
    plain = arithmetic.build("product", parties, parties, checked=False)
    circuit = verified(plain)
    wrong = results(plain, n, 2, adding(rounds_with_products(plain)[0][0], 0))
    assert wrong not in ({(right,)}, {"ended"}), "the lie does no harm where nothing is verified"
    for round, count in rounds_with_products(circuit):
        for place in range(count):
            seen = results(circuit, n, 2, adding(round, place))
            assert seen == {"ended"}, f"round {round}, place {place}: {seen}"


@pytest.mark.parametrize("kind", ["median", "compare", "sum"])
def test_no_lie_in_any_round_changes_what_comes_out(kind: str) -> None:
    """In each round (of many every fourth), in the first number and in one further on."""
    parties = PARTIES[:3]
    if kind == "median":
        circuit = compiled(median, parties, low=0, high=15).circuit
    else:
        circuit = arithmetic.build(kind, parties[:2] if kind == "compare" else parties, parties)
    circuit = verified(circuit)
    right = {"median": (7,), "compare": (0, 1), "sum": (23,)}[kind]
    ended = 0
    step = 4 if kind == "median" else 1
    for round in range(1, circuit.rounds, step):
        for place in (0, 5):
            tamper = adding(round, place)

            def make(p: Party) -> Compute:
                givers = parties[:2] if kind == "compare" else parties
                given = (GIVEN[p],) if p in givers else None
                return Compute(circuit, givers, parties, given=given, deadline=DEADLINE)

            cast = Cast(3, make, cheats={3: tamper}).run()
            for p in (1, 2):
                outcome = cast.outcome(p)
                ended += isinstance(outcome, Aborted)
                assert isinstance(outcome, Aborted) or tuple(outcome) == right, (round, place)
    assert ended > circuit.rounds // step


def test_what_a_result_is_made_of_is_checked_before_it_is_opened() -> None:
    """The opened product itself is no output here, but twice of it is."""
    c = Circuit()
    opened = c.open(c.mul(c.input(1), c.input(2)))
    c.output(opened * 2)
    doubled = verified(c)
    [result] = [s.args[0] for s in doubled.steps if s.wire is doubled.outputs[0]]
    checks = [s.wire.level for s in doubled.steps if s.kind == "zero"]
    assert checks
    assert result.level > max(checks)


def test_what_somebody_spoiled_is_not_compared() -> None:
    """2^90 is added to a product, which is multiplied by party 1's number and then compared: the
    masked difference would tell that number above the mask."""
    parties, spoiled = PARTIES[:3], 2**90
    program = compiled(lambda v: v[1] * v[2] * v[0] < 40, parties, low=0, high=15)

    def told(circuit: Circuit) -> int:
        """How often the number of party 1 can be seen in what is opened."""
        found = 0
        pairs = [s for s in circuit.steps if s.kind != "local" and s.wire.level == 2]
        places = [
            sum(before.wire.length for before in pairs[:i])
            for i, step in enumerate(pairs)
            if step.kind == "mul" and step.wire.length == 1
        ]
        for place in places:
            sides = {p: Evaluation(circuit, p, parties, [GIVEN[p]]) for p in parties}
            coins = {p: random.Random(p) for p in parties}
            with suppress(PeerFault):
                for k in range(circuit.rounds):
                    out = {p: side.outgoing(k, coins[p]) for p, side in sides.items()}
                    for vector in out[3].values() if k == 1 else ():
                        vector[place] += spoiled
                    for p, side in sides.items():
                        side.incoming(k, {q: out[q][p] for q in parties})
            opened = [s.wire.index for s in circuit.steps if s.kind == "open"]
            seen = [x for index in opened for x in sides[2].values.get(index, ())]
            # Lagrange's coefficient of party 3 is 1 here.
            found += sum(abs(value - GIVEN[1] * spoiled) < 2**60 for value in seen)
        return found

    assert told(program.circuit), "the lie does tell it where nothing is verified"
    assert not told(verified(program.circuit))
