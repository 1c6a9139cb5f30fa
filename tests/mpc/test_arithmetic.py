"""Secure computation: right results, nothing but results, and an end when somebody is missing."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.notes import InputWanted
from mpclab.core.rounds import Aborted
from mpclab.core.wire import MAX_MESSAGE, Message
from mpclab.faults.network import Delay, Network
from mpclab.lab.lab import Lab
from mpclab.mpc import arithmetic
from mpclab.mpc.circuit import Circuit, P, Wire
from mpclab.mpc.comparison import first_two, greatest, less
from mpclab.mpc.compute import Compute, Input, Part, pack, unpack
from mpclab.mpc.evaluation import Evaluation
from mpclab.operations import OPERATIONS, input_path
from mpclab.testing.sessions import AT as SESSION
from mpclab.testing.sessions import Sessions
from mpclab.trace.rows import Noted
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


def digits(numbers: list[int]) -> tuple[Circuit, Wire]:
    """A circuit into which party 1 puts all these."""
    c = Circuit()
    wire = c.digits(1, len(numbers))
    c.check_digits()
    return c, wire


numbers_in_range = st.integers(-(2**62), 2**62 - 1) | st.integers(-3, 3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(numbers_in_range, numbers_in_range), min_size=1, max_size=4),
       st.integers(3, 7), st.integers(0, 99))  # fmt: skip
def test_digits_are_compared_as_numbers(pairs: list[tuple[int, int]], n: int, seed: int) -> None:
    c = Circuit()
    a, b = c.digits(1, len(pairs)), c.digits(2, len(pairs))
    c.check_digits()
    c.output(c.open(c.join(*less(c, a, b))))
    inputs = {1: [a for a, _ in pairs], 2: [b for _, b in pairs]}
    expected = [int(a < b) for a, b in pairs] + [int(a == b) for a, b in pairs]
    assert evaluate(c, n, inputs, seed) == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(numbers_in_range, min_size=2, max_size=9))
def test_the_greatest_wins_and_the_next_is_known(numbers: list[int]) -> None:
    c, wire = digits(numbers)
    c.output(c.open(c.number(greatest(c, wire))))
    assert evaluate(c, 3, {1: numbers}) == [max(numbers)]
    c, wire = digits(numbers)
    names = c.local(lambda v: [x * 0 + i for i, x in enumerate(v)], wire.take(range(len(numbers))))
    winner, price = first_two(c, wire, names)
    c.output(c.open(c.join(winner, c.number(price))))
    assert evaluate(c, 3, {1: numbers}) == [numbers.index(max(numbers)), sorted(numbers)[-2]]


class NoBits(Evaluation):
    """Puts in something else for one of its digits."""

    def _to_share(self, step: Any, coins: Any) -> list[int]:
        vector = super()._to_share(step, coins)
        return [2**63, *vector[1:]] if step.kind == "digits" else vector


@pytest.mark.parametrize("kind", ["max", "sum", "mean", "product"])
def test_what_is_no_bit_ends_it_before_a_result_is_opened(kind: str) -> None:
    parties = (1, 2, 3)
    circuit = arithmetic.build(kind, parties, parties)
    assert all(step.wire.level > 4 for step in circuit.steps if step.wire in circuit.outputs)
    sides = {p: (NoBits if p == 3 else Evaluation)(circuit, p, parties, [p]) for p in parties}
    coins = random.Random(1)
    for k in range(circuit.rounds):
        assert k < 5, "a result may be open by now"
        out = {p: side.outgoing(k, coins) for p, side in sides.items()}
        received = {p: {q: out[q][p] for q in parties} for p in parties}
        if k == 3:
            break
        for p, side in sides.items():
            side.incoming(k, received[p])
    for p, side in sides.items():
        with pytest.raises(PeerFault, match="out of its range"):
            side.incoming(k, received[p])


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("sum", [3 * 2**62]),
        ("product", [2**124]),
        ("max", [-(2**63)]),
        ("compare", [1, 1]),
        ("auction", [4, 7]),
        ("auction", [1, 2**62]),
    ],
)
def test_a_result_that_cannot_be_is_refused(kind: str, result: list[int]) -> None:
    with pytest.raises(ValueError, match="no inputs in range"):
        arithmetic.check_result(kind, (1, 2, 3), result)


@pytest.mark.parametrize("members", [14, 30, 60])
def test_an_auction_fits_into_messages(members: int) -> None:
    everyone = tuple(range(1, members + 1))
    for kind in ("max", "auction"):
        circuit = arithmetic.build(kind, everyone, everyone)
        side = Evaluation(circuit, 1, everyone, [])
        assert side.largest_message() < MAX_MESSAGE // 4


# --- decimals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "places", "numbers", "result"),
    [
        ("sum", 2, (2500.50, Decimal("0.1"), 7), "2507.6"),
        ("mean", 2, (2500.50, 1, 1), "834.166666"),
        ("max", 1, (-0.5, -0.1, -3), "-0.1"),
        ("product", 1, (0.5, 0.5, 2), "0.5"),
        ("auction", 2, (1.25, 1.5, 0.75), "party 2 wins and pays 1.25"),
        ("sum", 9, (0.1, 0.2, 1e-9), "0.300000001"),
    ],
)
def test_decimal_numbers_are_exact(kind: str, places: int, numbers: Any, result: str) -> None:
    parties = (1, 2, 3)
    circuit = arithmetic.build(kind, parties, parties)
    given = {p: [arithmetic.scaled(x, places)] for p, x in enumerate(numbers, 1)}
    assert arithmetic.words(kind, parties, evaluate(circuit, 3, given), places) == result


@pytest.mark.parametrize(
    ("value", "places", "what"),
    [
        (2500.5, 0, "decimals="),
        (0.125, 2, "at most 2"),
        ("12", 0, "not a number"),
        (True, 0, "not a number"),
        (float("nan"), 3, "finite"),
        (float("inf"), 3, "finite"),
    ],
)
def test_what_is_no_such_number_is_refused(value: Any, places: int, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        arithmetic.check_input("sum", 3, 1, (value,), places)


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
    circuit = arithmetic.build(kind, tuple(inputs), parties, checked=False)
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
        ("sums", (1, 2, 3), 1, "not a computation"),
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
    wanted = sessions.notes("input-wanted")
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


@pytest.mark.parametrize("kind", ["sum", "mean", "product"])
@pytest.mark.parametrize("number", [2**62 - 1, -(2**62) + 1, 2**40])
def test_numbers_at_the_edges_are_added_and_multiplied(kind: str, number: int) -> None:
    parties = (1, 2, 3)
    bound = arithmetic.largest_input(kind, 3)
    number = max(-bound, min(bound, number))
    circuit = arithmetic.build(kind, parties, parties)
    whole = number**3 if kind == "product" else 3 * number
    assert evaluate(circuit, 3, {p: [number] for p in parties}) == [whole]


def test_numbers_whose_ranges_are_not_checked_are_put_in_whole() -> None:
    parties = (1, 2, 3)
    short = arithmetic.build("sum", parties, parties, 600)
    long = arithmetic.build("sum", parties, parties, 800, checked=False)
    assert {step.kind for step in short.steps} >= {"digits", "zero"}
    assert {step.kind for step in long.steps} == {"input", "local", "open"}


def test_who_is_asked_for_a_number_hears_why_the_one_it_has_will_not_do() -> None:
    with Lab(parties=3, threshold=2, seed=1) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        for p in (1, 2, 3):
            lab.set_private(p, 2500.5)
        op = lab.propose(1, "sum", wait=2)
        lab.run(limit=30)
        assert op.result == ""
        wanted = [row.note for row in lab.trace.of(Noted) if isinstance(row.note, InputWanted)]
        assert {note.why for note in wanted} == {
            "a number has decimal places; propose it with decimals=…"
        }


def test_more_numbers_than_are_checked_have_to_be_agreed_on_as_unchecked() -> None:
    parties = (1, 2, 3)
    with pytest.raises(UsageError, match="use length=693 or less, or ranges=unchecked"):
        arithmetic.build("sum", parties, parties, 694)
    arithmetic.build("sum", parties, parties, 693)
    spec = OPERATIONS["sum"]
    assert spec.describe(spec.check({"ranges": "unchecked"})).endswith("(ranges unchecked)")
    with Lab(parties=3, seed=1) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        for p in parties:
            lab.set_private(p, *range(700))
        refused = lab.propose(1, "sum", length=700)
        done = lab.propose(1, "sum", length=700, ranges="unchecked")
        lab.run()
        assert "use length=693 or less" in refused.outcome.reason
        assert done.result.startswith("0, 3, 6, ")
