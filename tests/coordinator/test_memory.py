"""What an operation of the past costs a party: little to keep, and nothing to those after it."""

from __future__ import annotations

import gc
import sys
import types
from typing import Any

import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.node import CLOSED_KEPT, Node
from mpclab.testing.sessions import AT, Sessions
from tests.core.test_node import Scribe, do, node

_SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType)


def held(*roots: Any) -> int:
    """Bytes of everything that is reached from `roots`, each once."""
    seen: dict[int, Any] = {}
    ahead: list[Any] = list(roots)
    while ahead:
        one = ahead.pop()
        if id(one) not in seen and not isinstance(one, _SHARED):
            seen[id(one)] = one
            ahead.extend(gc.get_referents(one))
    return sum(map(sys.getsizeof, seen.values()))


def calls(work: Any) -> int:
    """How many functions of ours `work` calls: what it costs, whatever else the machine does."""
    count = 0

    def watch(frame: types.FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call" and "mpclab" in frame.f_code.co_filename

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_an_operation_of_the_past_takes_two_kilobytes_and_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Node, "strict", False)  # it looks at all there is, each time
    s = Sessions(5)

    def run(operations: int) -> None:
        for k in range(operations):
            s.propose(k % 5 + 1, kind="note", text=f"note {k}")
            s.run()

    def size() -> int:
        s.session(2).ledger._values.clear()  # the latest of them, however many there were
        return held(*s.world.look(2, lambda n: (n.stored, n.machine(AT))))

    run(60)
    before = size()
    early = calls(lambda: run(5))
    run(110)
    late = calls(lambda: run(5))
    assert size() - before <= 120 * 2048
    assert late <= 1.3 * early


def test_what_settles_can_be_shown_whole() -> None:
    s = Sessions(5, votes={3: "reject"}, policy="threshold(3)")
    op = s.propose(1)
    s.run()
    for p in s.members:
        o = s.session(p).operations[op]
        assert o.signed is not None
        assert o.certificate is not None
        assert {v: vote.approve for v, vote in o.tally.votes.items()} == {
            v: v != 3 for v in s.members
        }
        assert o.tally.heard_at.keys() == o.tally.votes.keys()
        assert o.mine is not None
        assert o.mine.approve is (p != 3)
        assert s.session(p).history[op].certificate == o.certificate
        assert all(given.approve for given in o.tally.votes.values() if given.voter != 3)


@pytest.mark.parametrize("name", AGREEMENTS)
def test_no_item_of_an_archive_is_read_but_at_the_start(name: str) -> None:
    """A party that was restarted holds what it held before, in each protocol."""
    s = Sessions(4, agreement=AGREEMENTS[name])
    ops = [s.propose(p) for p in s.members]
    s.run()
    before = [(s.session(2).operations[op].status, s.session(2).history.head) for op in ops]
    s.world.crash(2)
    s.world.restart(2)
    s.run()
    assert [(s.session(2).operations[op].status, s.session(2).history.head) for op in ops] == before
    stored = s.world.look(2, lambda n: n.stored.get(AT, {}))
    assert not {key.partition("/")[0] for key in stored} & type(s.session(2)).archives


def test_closed_machines_are_forgotten_in_the_end() -> None:
    n, _ = node()
    for k in range(CLOSED_KEPT + 10):
        do(n, ("spawn", f"{k}", Scribe()), ("close", f"{k}"))
    assert len(n._closed) == CLOSED_KEPT
    with pytest.raises(RuntimeError, match="names are used once"):
        do(n, ("spawn", f"{CLOSED_KEPT}", Scribe()))


def test_what_was_stored_and_not_said_is_said_after_a_restart() -> None:
    """A kill may fall between a `Persist` and the note that tells of it."""
    s = Sessions(3, votes={2: "hand", 3: "hand"})
    op = s.propose(1)
    s.run(100_000)
    s.vote(2, op)
    s.world.crash(2)
    s.world.restart(2)
    voted = [row for row in s.notes("voted", op) if row.actor == 2]
    assert [row.note.approve for row in voted] == [True, True]
    s.vote(3, op)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    s.world.crash(3)
    s.world.restart(3)
    s.run()
    committed = [row for row in s.notes("committed", op) if row.actor == 3]
    assert len(committed) == 1, "what had ended was told"
