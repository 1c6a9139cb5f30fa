"""Secure computation: right results, nothing but results, and an end when somebody is missing."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.mpc import arithmetic
from mpclab.mpc.circuit import Circuit, P
from mpclab.mpc.comparison import less_than_bits, negative, places
from mpclab.mpc.compute import Compute, Input, Part, pack, unpack
from mpclab.mpc.evaluation import Evaluation
from mpclab.operations import input_path
from mpclab.testing.sessions import AT as SESSION
from mpclab.testing.sessions import Sessions
from tests.mpc.parties import AT, DEADLINE, Cast, Tamper

IT = (*AT, "it")


def computing(
    kind: str,
    values: dict[Party, tuple[int, ...]],
    n: int,
    length: int = 1,
    **options: Any,
) -> Cast:
    members, givers = tuple(range(1, n + 1)), tuple(values)

    def make(p: Party) -> Compute:
        return Compute(
            arithmetic.build(kind, givers, members, length),
            givers,
            members,
            given=values.get(p),
            deadline=DEADLINE,
            patience=DEADLINE,
            present=lambda result: arithmetic.words(kind, givers, result),
        )

    return Cast(n, make, **options)


def computed(kind: str, *numbers: int, n: int = 0) -> str:
    values = {p: (x,) for p, x in enumerate(numbers, 1)}
    outcomes = computing(kind, values, n or len(numbers)).run().outcomes()
    assert len(set(map(str, outcomes.values()))) == 1
    return str(outcomes[1])


@pytest.mark.parametrize(
    ("kind", "numbers", "result"),
    [
        ("sum", (5, -7, 9), "7"),
        ("sum", (2**62 - 1,) * 5, str(5 * (2**62 - 1))),
        ("mean", (1, 2, 3), "2"),
        ("mean", (1, 2, 5, 2), "2.5"),
        ("mean", (-1, -2, -5, -2), "-2.5"),
        ("mean", (10**15, 10**15, 10**15 + 1), "1000000000000000.333333"),
        ("product", (5, -7, 9, 2), "-630"),
        ("product", (2**41 - 1, 2**41 - 1, -(2**41) + 1), str(-((2**41 - 1) ** 3))),
        ("max", (-3, -1, -2), "-1"),
        ("max", (7, 7, 1, 0), "7"),
        ("auction", (10, 30, 20, 25), "party 2 wins and pays 25"),
        ("auction", (8, 8, 3), "party 1 wins and pays 8"),
    ],
)
def test_results(kind: str, numbers: tuple[int, ...], result: str) -> None:
    assert computed(kind, *numbers) == result


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (1, 2, "less than"),
        (2, 1, "more than"),
        (5, 5, "as much as"),
        (-(2**62) + 1, 2**62 - 1, "less than"),
    ],
)
@pytest.mark.parametrize("n", [3, 4, 5])
def test_comparing_two_of_n(a: int, b: int, word: str, n: int) -> None:
    assert computed("compare", a, b, n=n) == f"party 1 has {word} party 2"


def test_vectors() -> None:
    values = {p: tuple(range(p, p + 100)) for p in (1, 2, 3)}
    outcomes = computing("sum", values, 3, 100).run().outcomes()
    assert outcomes[2] == ", ".join(str(6 + 3 * i) for i in range(100))


# --- the parts, against plain arithmetic --------------------------------------------------------


def evaluate(c: Circuit, n: int, inputs: dict[Party, list[int]], seed: int = 1) -> list[int]:
    """All parties in one loop, without a network."""
    parties, coins = tuple(range(1, n + 1)), random.Random(seed)
    sides = {p: Evaluation(c, p, parties, inputs.get(p, [])) for p in parties}
    for k in range(c.rounds):
        out = {p: side.outgoing(k, coins) for p, side in sides.items()}
        for p, side in sides.items():
            side.incoming(k, {q: out[q][p] for q in parties})
    results = [side.result() for side in sides.values()]
    assert all(result == results[0] for result in results)
    return results[0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
    st.integers(3, 7),
    st.integers(0, 99),
)
def test_negative_is_the_sign(numbers: list[int], n: int, seed: int) -> None:
    c = Circuit()
    contributors = tuple(range(1, (n - 1) // 2 + 2))
    c.output(c.open(negative(c, c.input(1, len(numbers)), contributors)))
    assert evaluate(c, n, {1: numbers}, seed) == [int(x < 0) for x in numbers]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.data())
def test_bits_are_compared_as_numbers(width: int, data: st.DataObject) -> None:
    pairs = data.draw(
        st.lists(
            st.tuples(st.integers(0, 2**width - 1), st.integers(0, 2**width - 1)),
            min_size=1,
            max_size=3,
        )
    )
    c = Circuit()
    known = c.open(c.input(1, len(pairs)))
    bits = c.input(2, len(pairs) * width)
    c.output(c.open(less_than_bits(c, known, bits)))
    numbers = [b >> i & 1 for _, b in pairs for i in range(width)]
    result = evaluate(c, 3, {1: [a for a, _ in pairs], 2: numbers})
    assert result == [int(a < b) for a, b in pairs]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=2, max_size=6))
def test_places_are_an_order(numbers: list[int]) -> None:
    c = Circuit()
    c.output(c.open(places(c, c.input(1, len(numbers)), (1, 2))))
    ordered = sorted(range(len(numbers)), key=lambda i: (-numbers[i], i))
    expected = [ordered.index(i) for i in range(len(numbers))]
    assert evaluate(c, 3, {1: numbers}) == expected


@given(st.lists(st.integers(0, P - 1)))
def test_packing_is_exact(vector: list[int]) -> None:
    assert unpack(pack(vector)) == vector


# --- privacy --------------------------------------------------------------------------------------


class Scripted:
    """Coins from a list, to enumerate all of them."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.numbers = list(numbers)

    def getrandbits(self, k: int) -> int:
        return self.numbers.pop(0)


def views(kind: str, inputs: dict[Party, int], prime: int, coins: int) -> Counter[Any]:
    """How often party 1 sees what, over all coins of the parties 2 and 3 in a small field."""
    parties = (1, 2, 3)
    circuit = arithmetic.build(kind, tuple(inputs), parties)
    seen: Counter[Any] = Counter()
    for script in itertools.product(range(prime), repeat=coins):
        sides = {
            p: Evaluation(circuit, p, parties, [inputs[p]] if p in inputs else [], prime)
            for p in parties
        }
        honest, own = Scripted(script), Scripted((1,) * 99)
        view: list[Any] = []
        for k in range(circuit.rounds):
            out = {p: side.outgoing(k, own if p == 1 else honest) for p, side in sides.items()}  # type: ignore[arg-type]
            view.append(tuple(tuple(out[p][1]) for p in parties))
            for p, side in sides.items():
                side.incoming(k, {q: out[q][p] for q in parties})
        assert not honest.numbers
        seen[tuple(view)] += 1
    return seen


def test_a_party_sees_the_same_whatever_the_others_gave() -> None:
    """Perfect privacy, exactly: the same views, equally often, for inputs with the same sum."""
    assert views("sum", {1: 2, 2: 1, 3: 3}, 7, 2) == views("sum", {1: 2, 2: 4, 3: 0}, 7, 2)
    assert views("sum", {1: 2, 2: 1, 3: 3}, 7, 2) != views("sum", {1: 2, 2: 1, 3: 4}, 7, 2)


def test_a_product_tells_nothing_but_itself() -> None:
    left = views("product", {2: 1, 3: 4}, 5, 4)
    assert left == views("product", {2: 3, 3: 3}, 5, 4)
    assert left == views("product", {2: 2, 3: 2}, 5, 4)
    assert left != views("product", {2: 2, 3: 3}, 5, 4)


def test_two_parties_have_no_majority() -> None:
    with pytest.raises(UsageError, match="at least 3"):
        Compute(arithmetic.build("sum", (1, 2), (1, 2)), (1, 2), (1, 2))


# --- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_lost_vectors_are_sent_again(seed: int) -> None:
    network = Network(Delay("uniform", 1000, 20_000), loss=0.2)
    values = {p: (p,) for p in range(1, 6)}
    cast = computing("max", values, 5, seed=seed, network=network).run()
    assert set(cast.outcomes().values()) == {"5"}


@pytest.mark.parametrize("at", [0, 15, 45])
def test_who_crashes_is_missing(at: int) -> None:
    cast = computing("auction", {p: (p,) for p in (1, 2, 3)}, 3)
    cast.world.at(at * MS, lambda: cast.world.crash(2))
    cast.run()
    for outcome in cast.outcomes((1, 3)).values():
        assert isinstance(outcome, Aborted)
        assert outcome.missing == (2,)
    assert cast.accused() == set()


def wrong(data: bytes) -> Tamper:
    def tamper(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        return [(to, Part(msg.round, data))] if isinstance(msg, Part) and msg.round else None

    return tamper


def test_wrong_vectors_name_their_sender() -> None:
    for data in (b"", bytes(15), b"\xff" * 16):
        cast = computing("sum", {p: (p,) for p in (1, 2, 3)}, 3, cheats={3: wrong(data)}).run()
        assert {o.blamed for o in cast.outcomes().values()} == {(3,)}
        assert cast.accused() == {3}


def test_opened_shares_that_do_not_fit_are_noticed() -> None:
    cheats = {3: wrong((5).to_bytes(16, "little"))}
    cast = computing("sum", {p: (p,) for p in (1, 2, 3)}, 3, cheats=cheats).run()
    assert all(isinstance(o, Aborted) for o in cast.outcomes().values())
    assert cast.accused() == {None}  # three points, degree 1: nobody can tell which is wrong


@pytest.mark.parametrize(
    ("kind", "inputs", "length", "what"),
    [
        ("sums", (1, 2, 3), 1, "no computation"),
        ("sum", (1,), 1, "would tell it"),
        ("sum", (1, 2), 0, "length"),
        ("max", (1, 2), 2, "one number"),
        ("compare", (1, 2, 3), 1, "two parties"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    kind: str, inputs: tuple[Party, ...], length: int, what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        arithmetic.build(kind, inputs, (1, 2, 3), length)


# --- through the session -----------------------------------------------------------------------


def test_salaries_through_a_session() -> None:
    sessions = Sessions(3)
    salaries = {1: 4211, 2: 5327, 3: 3909}
    op = sessions.propose(2, "mean")
    sessions.run(200 * MS)
    wanted = [r for r in sessions.world.trace if getattr(r, "what", "") == "input-wanted"]
    assert {r.actor: r.note.numbers for r in wanted} == dict.fromkeys(salaries, 1)
    path = input_path("mean", op, SESSION)
    with pytest.raises(UsageError, match="1 numbers are wanted"):
        sessions.world.ask(1, path, Input((1, 2)))
    with pytest.raises(UsageError, match="whole number"):
        sessions.world.ask(1, path, Input((2**70,)))
    for p, salary in salaries.items():
        sessions.world.ask(p, path, Input((salary,)))
    sessions.run()
    assert set(sessions.statuses(op).values()) == {"executed"}
    assert sessions.at(1, op).result == "4482.333333"
    text = "\n".join(map(repr, sessions.world.trace))
    assert not any(str(salary) in text for salary in salaries.values())


def test_without_an_input_it_ends_and_says_whose() -> None:
    sessions = Sessions(3)
    op = sessions.propose(1, "sum", wait=5)
    sessions.run(200 * MS)
    for p in (1, 2):
        sessions.world.ask(p, input_path("sum", op, SESSION), Input((p,)))
    sessions.run(30 * SECOND)
    assert set(sessions.statuses(op).values()) == {"failed"}
    assert sessions.at(1, op).missing == (3,)
