"""Cheats in a computation are named, and cannot stop it once it is prepared."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import AGAIN, Aborted, Again
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.mpc import arithmetic
from mpclab.mpc.circuit import Circuit, P
from mpclab.mpc.computation import Unheard, pack, unpack
from mpclab.mpc.decoding import Undecodable, decode
from mpclab.mpc.evaluation import share_vector
from mpclab.mpc.identifiable import ALL, WORD, Identifiable, Passed, Shown, Word, minority
from mpclab.mpc.program import compiled
from mpclab.testing.cast import CONTEXT, DEADLINE, IDENTITIES, KEYS, STEADY, Cast
from mpclab.trace import Sent

LOSSY = Network(Delay("uniform", 5 * MS, 60 * MS), loss=0.2)
GIVEN = {1: 11, 2: 7, 3: 5, 4: 9, 5: 2, 6: 1, 7: 3}
LIAR = 3
Change: TypeAlias = Callable[[Identifiable, bytes, Party], bytes | None]
"""Other data for a receiver, or None to keep silent."""


def small(n: int) -> Circuit:
    """A product and a comparison of numbers of a few bits."""
    everyone = tuple(range(1, n + 1))

    def product(values: list[Any]) -> Any:
        return values[0] * values[1] + values[2] * 3

    return compiled(product, everyone, low=0, high=15).circuit


def cast_of(
    n: int,
    circuit: Circuit,
    cheats: dict[Party, Any] | None = None,
    missing: Party = 0,
    kind: type[Identifiable] = Identifiable,
    seed: int = 1,
    network: Network = STEADY,
) -> Cast:
    everyone = tuple(range(1, n + 1))

    def make(p: Party) -> Identifiable:
        return kind(
            circuit,
            everyone,
            everyone,
            context=CONTEXT,
            identity=IDENTITIES[p],
            keys={q: KEYS[q] for q in everyone},
            given=None if p == missing else (GIVEN[p],),
            deadline=DEADLINE,
            patience=DEADLINE,
        )

    return Cast(n, make, cheats=cheats or {}, seed=seed, network=network).run()


def changing(round: int, change: Change) -> Any:
    """Follows the protocol but for one round, and signs what it says there."""

    def tamper(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(msg, Passed):
            return []  # its own machine would convict it
        if not isinstance(machine, Identifiable) or not isinstance(msg, Word):
            return None
        if msg.round != (round if round >= 0 else machine.fit - round - 1):
            return None
        said = []
        for party in to:
            data = change(machine, msg.data, party)
            if data is not None:
                word = signed(machine, ctx.me, msg.round, data, party)
                said.append(((party,), word))
                if msg.round == machine.fit:
                    machine.heard[msg.round, ctx.me] = word  # and plays on by that
        return said

    return tamper


def signed(machine: Identifiable, author: Party, round: int, data: bytes, party: Party) -> Word:
    receiver = ALL if round in (machine.fit, machine.masked) else party
    parts = machine._parts(round, author, receiver, data)
    return Word(round, data, IDENTITIES[author].sign(WORD, *parts))


def plus(place: int, *receivers: Party) -> Change:
    """1 more in one number, for some or for all."""

    def change(machine: Identifiable, data: bytes, party: Party) -> bytes:
        if len(data) % 16:  # of a fit: one byte
            return bytes([data[0] ^ 1])
        numbers = unpack(data)
        if (receivers and party not in receivers) or not numbers:
            return data
        numbers[place % len(numbers)] = (numbers[place % len(numbers)] + 1) % P
        return pack(numbers)

    return change


def silent(machine: Identifiable, data: bytes, party: Party) -> None:
    return None


def shorter(machine: Identifiable, data: bytes, party: Party) -> bytes:
    return data[:-1]


def outside(machine: Identifiable, data: bytes, party: Party) -> bytes:
    return data[:-16] + b"\xff" * 16


def ends(cast: Cast) -> Iterator[Any]:
    """The honest ones' ends; nobody names an honest party."""
    assert cast.accused() <= set(cast.cheats)
    for outcome in cast.outcomes().values():
        if isinstance(outcome, Aborted):
            named = {*outcome.blamed, *outcome.missing}
            assert named <= set(cast.cheats), outcome
            assert named, outcome
        yield outcome


# --- nobody cheats ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "n", "right"),
    [("sum", 4, [32]), ("product", 5, [6930]), ("max", 4, [11]), ("auction", 4, [1, 9])],
)
def test_it_computes_what_others_compute(kind: str, n: int, right: list[int]) -> None:
    everyone = tuple(range(1, n + 1))
    cast = cast_of(n, arithmetic.build(kind, everyone, everyone))
    assert set(map(tuple, cast.outcomes().values())) == {tuple(right)}
    assert cast.accused() == set()


def test_three_are_too_few() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        cast_of(3, small(3))


def test_it_waits_for_an_input_and_names_who_gives_none() -> None:
    cast = cast_of(4, small(4), missing=2)
    assert {o.missing for o in cast.outcomes().values()} == {(2,)}


# --- one cheats ------------------------------------------------------------------------------

RIGHT = (11 * 7 + 5 * 3,)
FIRST = 7
"""Rounds of the preparation of `small`."""
CHANGES = [plus(0), plus(37), plus(-1), plus(5, 1), plus(11, 1, 2), shorter, outside, silent]


def test_the_preparation_has_as_many_rounds_as_we_attack() -> None:
    machine = Identifiable(
        small(4), (1, 2, 3, 4), (1, 2, 3, 4), context=b"", identity=IDENTITIES[1], keys=KEYS
    )
    assert machine.fit == FIRST


@pytest.mark.parametrize("round", range(FIRST))
def test_every_lie_in_the_preparation_is_named(round: int) -> None:
    for i, change in list(enumerate(CHANGES))[round % 2 :: 2]:
        cast = cast_of(4, small(4), {LIAR: changing(round, change)})
        for end in ends(cast):
            harmless = round == 0 and i < 3  # another random number, shared as it should be
            if isinstance(end, Aborted):
                assert end.blamed == (LIAR,) or change is silent, (i, end)
            else:
                assert harmless, (i, end)
                assert tuple(end) == RIGHT


@pytest.mark.parametrize("round", range(-6, 0))
def test_no_lie_afterwards_stops_it_but_for_a_missing_input(round: int) -> None:
    """-1: fit, -2: ready, -3: masked, -4: echo, -5: accept, -6: the first opening."""
    for i, change in enumerate(CHANGES):
        at_once = change is not silent
        cast = cast_of(4, small(4), {LIAR: changing(round, change)})
        found = list(ends(cast))
        if round in (-4, -5, -6):
            assert {tuple(end) for end in found} == {RIGHT}, (i, found)
            assert cast.accused() == ({LIAR} if round == -6 and at_once else set())
        elif round == -2 and at_once:
            assert {tuple(end) for end in found} == {RIGHT}, (i, found)
        for end in found:
            if not isinstance(end, Aborted):
                assert len({tuple(e) for e in found if not isinstance(e, Aborted)}) == 1


def test_two_of_seven_lie_and_are_silent_in_every_opening() -> None:
    def lying(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(machine, Identifiable) and isinstance(msg, Word):
            if msg.round >= machine.opening and msg.data:
                return [((p,), Word(msg.round, plus(p)(machine, msg.data, p) or b"")) for p in to]
        return None

    def hushed(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        late = isinstance(machine, Identifiable) and isinstance(msg, Word)
        return [] if late and msg.round >= machine.echo else None  # type: ignore[attr-defined,union-attr]

    cast = cast_of(7, small(7), {2: lying, 5: hushed})
    assert {tuple(end) for end in ends(cast)} == {RIGHT}
    assert cast.accused() == {2}


def test_who_complains_of_nothing_is_named_and_shows_no_input() -> None:
    cast = cast_of(4, small(4), {LIAR: changing(-1, lambda m, d, p: b"\x00")})
    assert {end.blamed for end in ends(cast)} == {(LIAR,)}
    assert "complained of nothing" in cast.outcome(1).reason


@pytest.mark.parametrize("told", [(1,), (1, 2), (4,)])
def test_who_says_both_is_convicted_and_nobody_gives_while_another_shows(
    told: tuple[Party, ...],
) -> None:
    """It complains to some only: they would show what masks the inputs that the others give."""
    showed, gave = set[Party](), set[Party]()

    class Watched(Identifiable):
        def _show(self, ctx: Ctx) -> None:
            showed.add(ctx.me)
            super()._show(ctx)

        def _give(self, ctx: Ctx) -> None:
            gave.add(ctx.me)
            super()._give(ctx)

    both = changing(-1, lambda m, d, p: b"\x00" if p in told else b"\x01")
    cast = cast_of(4, small(4), {LIAR: both}, kind=Watched)
    assert {end.blamed for end in ends(cast)} == {(LIAR,)}
    assert showed - {LIAR}
    assert not gave - {LIAR}


@pytest.mark.parametrize(("n", "told"), [(4, (1,)), (4, (1, 2)), (7, (1, 2))])
def test_two_inputs_of_one_giver_convict_it_and_all_go_on_or_nobody(
    n: int, told: tuple[Party, ...]
) -> None:
    cast = cast_of(n, small(n), {LIAR: changing(-3, plus(0, *told))})
    assert cast.accused() == {LIAR}
    found = list(ends(cast))
    if len(told) > minority(n):
        assert {end.blamed for end in found} == {(LIAR,)}
    else:
        assert {tuple(end) for end in found} == {RIGHT}


def test_who_takes_back_its_input_at_the_end_keeps_the_result_from_nobody() -> None:
    """It has everybody's last shares before the others have, and then signs another word."""

    def late(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        assert isinstance(machine, Identifiable)
        if not isinstance(msg, Word) or msg.round <= machine.masked:
            return None
        data = pack([1] * machine._elements_of(ctx.me))
        other = signed(machine, ctx.me, machine.masked, data, ALL)
        fit = signed(machine, ctx.me, machine.fit, b"\x00", ALL)
        return [(to, fit), (to, other)]  # and is silent otherwise

    cast = cast_of(4, small(4), {LIAR: late})
    assert {tuple(end) for end in ends(cast)} == {RIGHT}
    assert cast.accused() == {LIAR}


def test_more_liars_than_are_borne_agree_on_nothing_that_breaks_the_others() -> None:
    def nonsense(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(machine, Identifiable) and isinstance(msg, Word):
            if msg.round >= machine.masked:
                return [(to, Word(machine.accept, b"x"))]
        return None

    cast = cast_of(4, small(4), {2: nonsense, LIAR: nonsense})
    assert all(isinstance(end, Aborted) for end in cast.outcomes().values())


def test_who_gives_its_input_to_one_alone_is_no_reason_to_miss_the_others() -> None:
    only = changing(-3, lambda m, data, p: data if p == 1 else None)
    cast = cast_of(4, small(4), {LIAR: only})
    assert {tuple(end) for end in ends(cast)} == {RIGHT}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("round", [0, -1, -3])
def test_lost_messages_name_nobody_but_the_liar(seed: int, round: int) -> None:
    change = plus(0, 1) if round else plus(5, 1)
    liar = {LIAR: changing(round, change)}
    cast = cast_of(4, small(4), liar, seed=seed, network=LOSSY)
    for end in ends(cast):
        assert not isinstance(end, Aborted) or end.blamed == (LIAR,)


def test_an_input_that_is_no_number_names_its_giver() -> None:
    """A digit of 2, given to all alike."""
    cast = cast_of(4, small(4), {LIAR: changing(-3, plus(0))})
    for end in ends(cast):
        # where the digit was 0 it is 1 now: another input, as everybody may choose its own
        assert not isinstance(end, Aborted) or end.blamed == (LIAR,)

    def two_more(machine: Identifiable, data: bytes, party: Party) -> bytes:
        return plus(0)(machine, plus(0)(machine, data, party) or b"", party) or b""

    twice = cast_of(4, small(4), {LIAR: changing(-3, two_more)})
    assert {end.blamed for end in ends(twice)} == {(LIAR,)}
    assert "out of its range" in twice.outcome(1).reason


def test_who_shows_what_another_did_not_sign_is_named() -> None:
    def framing(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(msg, Shown) and msg.author == 1 and msg.round == 1:
            return [(to, Shown(1, 1, plus(0)(machine, msg.data, 1) or b"", msg.signature))]  # type: ignore[arg-type]
        return changing(-1, lambda m, d, p: b"\x00")(machine, ctx, msg, to)

    cast = cast_of(4, small(4), {LIAR: framing})
    assert {end.blamed for end in ends(cast)} == {(LIAR,)}
    assert "party 1 did not sign" in cast.outcome(2).reason


# --- silence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("round", [0, 3, -1, -2])
def test_who_hears_one_party_in_vain_is_missing_together_with_that_one(round: int) -> None:
    """The liar is silent to party 1 alone, which then has nothing to say to the others."""
    to_one = changing(round, lambda m, data, p: None if p == 1 else data)
    cast = cast_of(4, small(4), {LIAR: to_one})
    assert cast.outcome(1).missing == (LIAR,)
    for p in (2, 4):
        assert cast.outcome(p).missing == (1, LIAR)
        assert "party 1 says that it does not hear 3" in cast.outcome(p).reason
    assert cast.accused() == set()


def test_what_a_party_missed_long_ago_excuses_nobody() -> None:
    """Party 1 has said more since it claimed not to hear 2: it is silent by itself."""
    machine = Identifiable(
        small(4), (1, 2, 3, 4), (1, 2, 3, 4), context=b"", identity=IDENTITIES[4], keys=KEYS
    )
    machine.round = 5
    for round, missing in ((3, (1,)), (4, (1, 2)), (5, (1,))):
        machine.unheard[1] = Unheard(round, (2,))
        assert machine.without("word", (1,)).missing == missing
    machine.unheard |= {1: Unheard(4, (2,)), 2: Unheard(3, (3, 1))}
    assert machine.without("word", (1,)).missing == (1, 2, 3)


def test_who_asks_again_and_again_is_answered_now_and_then() -> None:
    """All show what they were told: a question costs its asker little, and others much."""
    complain = changing(-1, lambda m, d, p: b"\x00")

    def asking(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if isinstance(machine, Identifiable) and isinstance(msg, Shown):
            return [((1,), Again(machine.rounds()))] * 50 if not msg.round else []
        return complain(machine, ctx, msg, to)

    cast = cast_of(4, small(4), {LIAR: asking})
    to_liar = [r for r in cast.world.trace.of(Sent) if (r.actor, r.to) == (1, (LIAR,))]
    shown = [r for r in to_liar if r.kind.endswith("Shown")]
    assert 4 * FIRST <= len(shown) <= 2 * AGAIN * 4 * FIRST


# --- decoding --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 5, 7, 10, 13])
def test_wrong_shares_are_corrected_and_named(n: int) -> None:
    coins, t = random.Random(n), minority(n)
    points = tuple(range(1, n + 1))
    for _ in range(20):
        values = [coins.randrange(P) for _ in range(3)]
        shares = share_vector(values, t, points, coins, P)
        lost = coins.sample(points, coins.randint(0, t))
        for p in lost:
            del shares[p]
        wrong = coins.sample(sorted(shares), coins.randint(0, t - len(lost)))
        for p in wrong:
            shares[p][coins.randrange(3)] = coins.randrange(P)
        assert decode(shares, t, coins) == (values, tuple(sorted(wrong)))


def test_shares_of_which_too_many_are_wrong_are_no_value() -> None:
    coins = random.Random(1)
    shares = share_vector([5], 1, (1, 2, 3, 4), coins, P)
    shares[1][0] += 1
    shares[2][0] += 1
    with pytest.raises(Undecodable):
        decode(shares, 1, coins)
    with pytest.raises(Undecodable):
        decode({p: [5] for p in (1, 2)}, 1, coins)
