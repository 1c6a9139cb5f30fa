"""The registry: parameters, sentences, a user's own kinds, what executors get and leave."""

from __future__ import annotations

from typing import Any

import pytest

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.core.machine import Ctx
from mpclab.core.rounds import RoundMachine
from mpclab.core.wire import Message
from mpclab.operations import (
    COIN,
    NOTE,
    OPERATIONS,
    Bytes,
    Execution,
    Number,
    Numbers,
    Operations,
    OperationSpec,
    Result,
    Text,
)
from mpclab.testing.sessions import Sessions
from mpclab.trace import rows


class Roll(Message, frozen=True):
    share: int


class Dice(RoundMachine):
    """A user's own: the sum of everybody's roll."""

    rounds = (Roll,)

    def __init__(self, sides: int) -> None:
        super().__init__(deadline=SECOND)
        self.sides = sides

    def produce(self, ctx: Ctx, k: int) -> Message:
        return Roll(ctx.rng.randrange(self.sides))

    def result(self, ctx: Ctx) -> int:
        return 1 + sum(msg.share for msg in self.received[0].values()) % self.sides


DICE = OperationSpec(
    "dice",
    lambda execution: Dice(execution.params["sides"]),
    (Number("sides", low=2, high=100, default=6),),
    "throw a die of {sides}",
)


def own(*specs: OperationSpec) -> Operations:
    return Operations([*OPERATIONS.values(), *specs])


def test_a_kind_of_ones_own_runs() -> None:
    s = Sessions(4, operations=own(DICE))
    s.run()
    six, twenty = s.propose(1, "dice"), s.propose(2, "dice", sides=20)
    s.run()
    for op, sides, text in ((six, 6, "throw a die of 6"), (twenty, 20, "throw a die of 20")):
        [result] = {s.at(p, op).result for p in s.members}
        assert 1 <= int(result) <= sides
        assert s.at(3, op).text == text
    with pytest.raises(UsageError, match=r"'sides': 1 is not in 2\.\.100"):
        s.propose(1, "dice", sides=1)


def test_registering_again_replaces() -> None:
    registry = own(DICE)
    later = OperationSpec("dice", lambda execution: "always 4")
    assert registry.register(later) is later
    assert registry["dice"] is later
    assert len(registry) == len(OPERATIONS) + 1
    assert "dice" not in OPERATIONS
    assert registry.copy()["dice"] is later
    assert OPERATIONS.register(NOTE) is OPERATIONS["note"]


@pytest.mark.parametrize("name", ["", "Dice", "a b", "x_y", "é!"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="lower-case"):
        OperationSpec(name, lambda execution: "")


@pytest.mark.parametrize(
    ("parameter", "good", "kept", "read"),
    [
        (Text("x"), "a\nb", "a\nb", "a\nb"),
        (Text("x", empty=True), "", "", ""),
        (Text("x", choices=("a", "b")), "b", "b", "b"),
        (Number("x"), 0, 0, 0),
        (Number("x", low=-5), -5, -5, -5),
        (Bytes("x"), b"\x01\xff", "01ff", b"\x01\xff"),
        (Bytes("x", length=2), "01FF", "01ff", b"\x01\xff"),
        (Numbers("x", low=1, high=3), [1, 3], (1, 3), (1, 3)),
    ],
)
def test_parameters_are_normalised_and_read_back(
    parameter: Any, good: Any, kept: Any, read: Any
) -> None:
    spec = OperationSpec("k", lambda execution: "", (parameter,))
    params = spec.check({"x": good})
    assert params == (("x", kept),)
    assert spec.check(dict(params)) == params
    assert spec.read(params) == {"x": read}


@pytest.mark.parametrize(
    ("parameter", "bad", "message"),
    [
        (Text("x"), "", "is empty"),
        (Text("x", longest=3), "abcd", "4 characters; at most 3"),
        (Text("x"), "\ud800", "cannot be shown"),
        (Text("x", choices=("apple", "pear")), "aple", "did you mean 'apple'"),
        (Number("x"), True, "not a whole number"),
        (Number("x"), 1.0, "not a whole number"),
        (Number("x", high=9), 10, r"10 is not in 0\.\.9"),
        (Bytes("x"), "0g", "not hexadecimal"),
        (Bytes("x"), 7, "neither bytes nor"),
        (Bytes("x", length=2), b"abc", "3 bytes; 2 are needed"),
        (Bytes("x", longest=2), b"abc", "3 bytes; at most 2"),
        (Numbers("x"), 5, "not a list"),
        (Numbers("x"), [1, "2"], "not a whole number"),
        (Numbers("x", longest=2), [1, 2, 3], "3 items; at most 2"),
    ],
)
def test_bad_parameters_say_what_they_should_be(parameter: Any, bad: Any, message: str) -> None:
    spec = OperationSpec("k", lambda execution: "", (parameter,))
    with pytest.raises(UsageError, match=f"k: parameter 'x': .*{message}"):
        spec.check({"x": bad})


def test_sentences() -> None:
    assert NOTE.describe((("text", "a {brace} stays"),)) == "note: a {brace} stays"
    assert COIN.describe(()) == "a joint random number"
    assert OperationSpec("bare", lambda execution: "").describe(()) == "bare"
    listed = OperationSpec("k", lambda execution: "", (Numbers("who"), Number("x")))
    assert listed.describe((("who", (1, 2)), ("x", 3))) == "k: who = 1, 2, x = 3"


# --- what executors get, and leave --------------------------------------------------------


def _key(execution: Execution) -> Result:
    secret = execution.context[:4] + bytes([execution.me])
    return Result("a key", data=execution.context, secret=secret)


def _use(execution: Execution) -> str:
    key = execution.params["key"]
    if key not in execution.results:
        raise UsageError(f"there is no key {key}")
    mine = execution.secrets[key]
    assert mine == execution.results[key].data[:4] + bytes([execution.me])
    return "used"


KEY = OperationSpec("key", _key)
USE = OperationSpec("use", _use, (Text("key"),), after=lambda params: (params["key"],))
SLOW = OperationSpec("slow", lambda execution: Slow(execution.context), resumable=True)


class Slow(RoundMachine):
    """Takes up its work after a crash: says the same again."""

    rounds = (Roll,)

    def __init__(self, context: bytes) -> None:
        super().__init__(deadline=3 * SECOND)
        self.context = context

    def produce(self, ctx: Ctx, k: int) -> Message:
        return Roll(ctx.me)

    def result(self, ctx: Ctx) -> Result:
        return Result("slow", self.context, self.context[::-1])


def test_later_operations_get_the_results_and_secrets_of_earlier_ones() -> None:
    s = Sessions(3, operations=own(KEY, USE))
    s.run()
    key = s.propose(1, "key")
    s.run()
    use = s.propose(2, "use", key=key)
    s.run()
    assert set(s.statuses(use).values()) == {"executed"}
    s.world.crash(2)
    s.world.restart(2)
    s.run()
    again = s.propose(2, "use", key=key)
    s.run()
    assert set(s.statuses(again).values()) == {"executed"}, "secrets outlive a crash"


def test_an_operation_waits_for_those_it_needs() -> None:
    slow_key = OperationSpec("key", lambda execution: Slow(execution.context))
    use = OperationSpec(
        "use",
        lambda execution: execution.results[execution.params["key"]].text,
        (Text("key"),),
        after=lambda params: (params["key"],),
    )
    s = Sessions(3, operations=own(slow_key, use))
    s.run()
    key = s.propose(1, "key")
    user = s.propose(1, "use", key=key)
    s.world.run(lambda: len(s.notes("committed", user)) == 3)
    assert not s.notes("executed")
    s.run()
    assert {s.at(p, user).result for p in s.members} == {"slow"}


def test_what_never_comes_is_not_waited_for_for_ever() -> None:
    s = Sessions(3, operations=own(KEY, USE), round_deadline=SECOND)
    s.run()
    op = s.propose(1, "use", key="nowhere")
    s.run()
    assert set(s.statuses(op).values()) == {"failed"}
    assert s.at(1, op).reason == "needs nowhere, which is not done here"
    rejected = s.propose(1, deadline=100 * MS)
    s.run()
    assert set(s.statuses(rejected).values()) == {"executed"}


def test_an_executor_may_refuse_in_words() -> None:
    plain = OperationSpec("use", _use, (Text("key"),))
    s = Sessions(3, operations=own(plain))
    s.run()
    op = s.propose(1, "use", key="k1")
    s.run()
    assert {s.at(p, op).reason for p in s.members} == {"there is no key k1"}
    assert set(s.statuses(op).values()) == {"failed"}
    assert len(s.heads()) == 1


def test_a_resumable_executor_goes_on_after_a_crash() -> None:
    s = Sessions(3, operations=own(SLOW))
    s.run()
    op = s.propose(1, "slow")
    s.world.run(lambda: len(s.notes("committed", op)) == 3)
    s.world.crash(2)
    s.world.restart(2)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    assert len(s.session(2).executor.secrets[op]) == 32
    assert not [row for row in s.notes("executed", op) if row.note.source]


def test_who_was_away_does_not_report_that_it_failed() -> None:
    """Parties 1 and 2 died while it was executed: they do not know what came of it. What party 3
    tells is what it saw itself."""
    s = Sessions(3, t=2, operations=own(DICE))
    s.run()
    s.lossy(lambda src, dst, draw: dst == 3 and bool(s.notes("committed")))
    op = s.propose(1, "dice")
    s.run(25 * MS)
    assert set(s.statuses(op).values()) == {"committed"}
    for p in (1, 2):
        s.world.crash(p)
    s.heal()
    for p in (1, 2):
        s.world.restart(p)
    s.run()
    assert set(s.statuses(op).values()) == {"failed"}
    wondered = [row for row in s.world.trace.of(rows.Sent) if row.kind == "ResultRequest"]
    assert {row.actor for row in wondered} == {1, 2, 3}
    reports = [row for row in s.world.trace.of(rows.Sent) if row.kind == "Report"]
    assert {row.actor for row in reports} == {3}


def test_secrets_never_reach_the_trace() -> None:
    s = Sessions(3, operations=own(KEY, SLOW))
    s.run()
    ops = [s.propose(1, "key"), s.propose(1, "slow")]
    s.run()
    text = b"".join(s.world.trace.lines())
    for p in s.members:
        for op in ops:
            secret = s.session(p).executor.secrets[op]
            assert secret.hex().encode() not in text
            assert secret not in text
            assert repr(secret)[2:-1] not in repr(s.session(p).executor)
            assert repr(secret)[2:-1] not in repr(Result("text", b"public", secret))


def test_what_was_given_up_and_then_committed_goes_on_after_a_restart() -> None:
    """The store still holds the abort, since the operation waits for what it needs."""
    s = Sessions(3, operations=own(KEY, USE), policy="threshold(2)", deadline=SECOND)
    s.run()
    s.lossy(lambda src, dst, draw: dst == 3 and src != 3)
    op = s.propose(3, "use", key="nowhere")
    s.world.run(lambda: s.at(3, op).status == "aborted")
    s.heal()
    s.world.crash(1)
    s.world.restart(1)
    s.world.run(lambda: s.at(3, op).status == "committed")
    s.world.crash(3)
    s.world.restart(3)
    assert s.at(3, op).status == "committed"
    assert (s.at(3, op).reason, s.at(3, op).missing) == ("", ())
    s.run()
    assert s.at(3, op).reason == s.at(2, op).reason == "needs nowhere, which is not done here"
