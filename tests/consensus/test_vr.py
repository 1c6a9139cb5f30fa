"""Viewstamped Replication held to its paper, step by step: one replica alone, then counts, delays
and failures.

§: B. Liskov and J. Cowling, "Viewstamped Replication revisited", 2012. Of n = 3, parties 1, 2 and 3
are the primaries of views 0, 1 and 2.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mpclab.consensus.decided_log import PAGE, Command
from mpclab.consensus.vr import ViewstampedReplication
from mpclab.consensus.vr_messages import (
    VrCommit,
    VrDoViewChange,
    VrGetState,
    VrNewState,
    VrPrepare,
    VrPrepareOk,
    VrRequest,
    VrStartView,
    VrStartViewChange,
)
from mpclab.consensus.wrong import LongestLogVr
from mpclab.core.ids import MS, Party
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import AT, Cluster
from mpclab.testing.gauntlet import gauntlet
from mpclab.testing.promises import PROMISES
from mpclab.trace import rows

HUGE = 2**53 - 1


def command(*ops: str) -> Command:
    return tuple((op, f"value of {op}".encode()) for op in ops)


A, B, C = command("a"), command("b"), command("c")


def replica(me: Party = 1, n: int = 3, **options: Any) -> Alone:
    return Alone(ViewstampedReplication, me, n, **options)


def submit(party: Alone, *ops: str) -> list[Message]:
    return [m for op in ops for m in party.submit(op, f"value of {op}".encode())]


def prepares(said: list[Message]) -> list[tuple[int, int, Command]]:
    return [(m.view, m.number, m.command) for m in said if isinstance(m, VrPrepare)]


def entries(party: Alone) -> list[Command]:
    return list(party.machine.entries)


# --- counts and delays ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 7])
def test_messages_and_delays_are_the_published_ones(n: int) -> None:
    """§4.1: PREPARE and PREPAREOK; a COMMIT tells the others."""
    c = Cluster(ViewstampedReplication, n)
    c.submit(1, "a")
    c.run(35)
    assert c.sent() == {"VrPrepare": n - 1, "VrPrepareOk": n - 1, "VrCommit": n - 1}
    assert c.parent(1).decided_at["a"] == 20 * MS
    assert {c.parent(p).decided_at["a"] for p in c.members if p > 1} == {30 * MS}


def test_a_request_made_elsewhere_is_forwarded() -> None:
    c = Cluster(ViewstampedReplication, 4)
    c.submit(3, "a")
    c.run_until(lambda: c.all_decided("a"))
    assert c.sent("VrRequest") == {"VrRequest": 1}
    assert c.parent(3).decided_at["a"] == 40 * MS


def test_a_view_change_takes_three_delays() -> None:
    """§4.2: STARTVIEWCHANGE of all to all, DOVIEWCHANGE, STARTVIEW. It begins with f + 1 logs, and
    whose log comes later is told once more."""
    c = Cluster(ViewstampedReplication, 5)
    c.run(1)
    c.crash(1)
    c.run_until(lambda: c.sent()["VrStartView"] > 0)
    c.run(11)
    kinds = ("VrStartViewChange", "VrDoViewChange", "VrStartView")
    assert list(c.sent(*kinds).values()) == [4 * 4, 3, 4 + 1]
    begun = [min(r.at for r in c.world.trace.of(rows.Sent) if r.kind == kind) for kind in kinds]
    assert begun[2] - begun[0] == 30 * MS


# --- normal operation, §4.1 ----------------------------------------------------------------------


def test_the_primary_stores_a_command_before_it_gives_it_a_number() -> None:
    primary = replica()
    assert prepares(submit(primary, "a")) == [(0, 1, A)]
    assert primary.stored_before_said()
    assert prepares(submit(primary, "b")) == [(0, 2, B)]
    primary.restart()
    assert prepares(submit(primary, "c")) == [(0, 3, C)], "no number twice"


@pytest.mark.parametrize(("n", "answers"), [(3, 1), (4, 2), (5, 2), (6, 3)])
def test_f_answers_commit_and_all_earlier_ones(n: int, answers: int) -> None:
    primary = replica(n=n)
    submit(primary, "a", "b")
    for p in range(2, answers + 2):
        assert primary.log == []
        primary.hear(p, VrPrepareOk(1, 2))
        said = primary.hear(p, VrPrepareOk(0, 2), VrPrepareOk(0, 1))
    assert primary.log == ["a", "b"]
    assert said == [VrCommit(0, 2)]
    assert primary.stored_before_said()


def test_a_backup_answers_what_it_has_stored_with_all_before_it() -> None:
    backup = replica(2)
    assert backup.hear(1, VrPrepare(0, 2, B, 0)) == []
    assert backup.hear(1, VrPrepare(0, 1, A, 0)) == [VrPrepareOk(0, 2)]
    assert backup.stored_before_said()
    assert backup.hear(1, VrPrepare(0, 1, A, 0)) == [VrPrepareOk(0, 2)], "the answer may be lost"
    backup.restart()
    assert entries(backup) == [A, B]
    assert backup.hear(1, VrPrepare(0, 3, C, 0)) == [VrPrepareOk(0, 3)]


def test_a_backup_keeps_no_prepares_of_what_came_by_state_transfer() -> None:
    backup = replica(2)
    backup.hear(1, VrPrepare(0, 2, B, 0), VrPrepare(0, 3, C, 0), VrPrepare(0, 5, A, 0))
    backup.hear(1, VrNewState(0, 0, (A, B, C), 3))
    assert backup.hear(1, VrPrepare(0, 4, B, 3)) == [VrPrepareOk(0, 5)]
    assert backup.machine.early == {}


def test_a_backup_learns_what_is_committed_and_asks_for_what_it_lacks() -> None:
    backup = replica(2)
    backup.hear(1, VrPrepare(0, 1, A, 0))
    assert backup.log == []
    backup.hear(1, VrPrepare(0, 2, B, 1))
    assert backup.log == ["a"]
    assert backup.hear(1, VrCommit(0, 3)) == [VrGetState(2)]
    assert backup.log == ["a", "b"]
    assert backup.hear(1, VrCommit(0, 3)) == [], "asked already"
    backup.hear(1, VrNewState(0, 2, (C,), 3))
    backup.restart()
    assert backup.log == ["a", "b", "c"]
    assert not [key for key in backup.disk if key.startswith("log/")]


def test_a_primary_is_a_window_ahead_at_most_and_batches_what_waits() -> None:
    primary = replica(window=2, batch=3)
    said = submit(primary, *"abcdef")
    assert prepares(said) == [(0, 1, A), (0, 2, B)]
    said = primary.hear(2, VrPrepareOk(0, 1))
    assert prepares(said) == [(0, 3, command("c", "d", "e"))]


def test_what_is_not_committed_has_so_many_bytes_or_is_one_command() -> None:
    primary = replica()
    big = b"x" * (ViewstampedReplication.OPEN_BYTES - 1)
    assert len(primary.submit("a", big + b"yz")) > 0
    assert primary.submit("b", big) == []
    primary.hear(2, VrPrepareOk(0, 1))
    assert len(entries(primary)) == 1
    submit(primary, "c")
    assert len(entries(primary)) == 1
    primary.hear(2, VrPrepareOk(0, 2))
    assert entries(primary) == [C]


@pytest.mark.parametrize("bad", [(("", b"x"),), A + A, (("a", b"bad"),), (*A, ("b", b"bad"))])
def test_an_invalid_command_is_taken_from_nobody(bad: Command) -> None:
    party = replica(2, valid=lambda value: value != b"bad")
    party.hear(1, VrPrepare(0, 1, bad, 0), VrNewState(0, 0, (bad,), 1))
    party.hear(3, VrStartView(2, 0, (bad,)), VrDoViewChange(1, 0, 0, (bad,)))
    assert party.blamed == [1, 1, 3, 3]
    assert (party.log, entries(party), party.machine.view) == ([], [], 0)


# --- view changes, §4.2 --------------------------------------------------------------------------


def test_step_1_a_view_is_left_by_a_timer_or_because_another_did() -> None:
    party = replica(3)
    assert party.fire("election") == [VrStartViewChange(1)]
    assert party.stored_before_said()
    assert party.hear(2, VrStartViewChange(2))[0] == VrStartViewChange(2)
    assert party.hear(1, VrPrepare(0, 1, A, 0)) == [], "of a view that it left"
    party.restart()
    assert party.hear(1, VrPrepare(0, 1, A, 0)) == []
    assert party.machine.view == 2


@pytest.mark.parametrize(("n", "others"), [(3, 1), (4, 2), (5, 2)])
def test_step_2_with_f_of_others_its_log_goes_to_the_new_primary(n: int, others: int) -> None:
    party = replica(n, n)
    party.hear(1, VrPrepare(0, 1, A, 0), VrPrepare(0, 2, B, 1))
    party.fire("election")
    for p in range(2, others + 2):
        assert VrDoViewChange not in [type(m) for _, m in party.said]
        party.hear(p, VrStartViewChange(1))
    assert party.said[-1] == ((2,), VrDoViewChange(1, 0, 1, (B,)))


def new_primary(*reports: VrDoViewChange) -> tuple[Alone, list[Message]]:
    """Party 2 of five, the primary of view 1, which had `a` in view 0; and what it says when the
    logs of 3, 4, … have come."""
    party = replica(2, 5)
    party.hear(1, VrPrepare(0, 1, A, 0))
    party.fire("election")
    party.hear(3, VrStartViewChange(1))
    party.hear(4, VrStartViewChange(1))
    said: list[Message] = []
    for p, report in enumerate(reports, 3):
        assert not party.machine.is_normal
        said = party.hear(p, report)
    return party, said


@pytest.mark.parametrize(
    ("reports", "log"),
    [
        ([(0, ()), (0, ())], (A,)),
        ([(0, (A, B)), (0, (A,))], (A, B)),
        ([(0, (A, B)), (0, (A, B, C))], (A, B, C)),
    ],
)
def test_step_3_of_one_normal_view_the_longest_log_is_chosen(
    reports: list[tuple[int, tuple[Command, ...]]], log: tuple[Command, ...]
) -> None:
    told = [VrDoViewChange(1, normal, 0, one) for normal, one in reports]
    party, said = new_primary(*told)
    assert said == [VrStartView(1, 0, log)]
    assert party.stored_before_said()
    party.restart()
    assert entries(party) == list(log)
    assert party.machine.leads


def test_step_3_the_latest_normal_view_comes_before_length() -> None:
    party = replica(3)  # the primary of view 2
    party.hear(2, VrStartView(1, 0, (C,)))
    party.fire("election")
    said = party.hear(1, VrDoViewChange(2, 0, 0, (A, B)))
    assert said[-1] == VrStartView(2, 0, (C,))


def test_step_3_commits_what_anybody_knew_to_be_committed() -> None:
    party, said = new_primary(VrDoViewChange(1, 0, 0, (A, B)), VrDoViewChange(1, 0, 1, ()))
    assert party.log == ["a"]
    assert said == [VrStartView(1, 1, (B,))]


def test_step_3_what_a_chosen_log_goes_on_from_is_fetched_before() -> None:
    party, said = new_primary(VrDoViewChange(1, 0, 2, (C,)), VrDoViewChange(1, 0, 0, ()))
    assert said == [VrGetState(0)]
    assert party.said[-1][0] == (3,)
    said = party.hear(3, VrNewState(1, 0, (A, B), 2))
    assert party.log == ["a", "b"]
    assert said == [VrStartView(1, 2, (C,))]


def test_step_5_others_take_the_log_of_the_new_view_and_answer_for_it() -> None:
    party = replica(3)
    party.hear(1, VrPrepare(0, 1, A, 0), VrPrepare(0, 2, B, 0))
    assert party.hear(2, VrStartView(1, 0, (A, C))) == [VrPrepareOk(1, 2)]
    assert party.stored_before_said()
    assert party.hear(1, VrPrepare(0, 3, B, 2)) == []
    party.restart()
    assert (party.machine.view, party.machine.normal, entries(party)) == (1, 1, [A, C])
    party.hear(2, VrCommit(1, 2))
    assert party.log == ["a", "c"]


def test_a_view_that_has_begun_does_not_begin_otherwise() -> None:
    party, _ = new_primary(VrDoViewChange(1, 0, 0, ()), VrDoViewChange(1, 0, 0, ()))
    begun = VrStartView(1, 0, (A,))
    assert party.hear(1, VrDoViewChange(1, 0, 0, (A, B))) == [begun]
    assert party.hear(5, VrStartViewChange(1)) == [begun]
    party.restart()
    assert party.hear(1, VrDoViewChange(1, 0, 0, (A, B))) == [begun]


def test_a_crash_while_a_log_is_replaced_leaves_one_that_may_be_told() -> None:
    """Never less than what the two logs share, and never a mixture of both in the new view."""
    for after in range(9):
        party = replica(3)
        party.hear(1, VrPrepare(0, 1, A, 0), VrPrepare(0, 2, B, 0), VrPrepare(0, 3, C, 0))
        party.tear(2, VrStartView(1, 0, (A, C, B)), after)
        normal, log = party.machine.normal, entries(party)
        assert log[0] == A
        assert log in ([A, B, C], [A, B], [A], [A, C], [A, C, B])
        assert normal == 0 or log == [A, C, B]


def test_timeouts_double_while_views_change_in_vain() -> None:
    party = replica(3)
    least = party.machine.options.timeout
    for view, factor in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 8)):
        party.fire("election")
        assert party.machine.view == view
        assert factor * least <= party.timers["election"] - party.now <= 2 * factor * least
    party.hear(1, VrStartView(6, 0, ()))
    assert party.timers["election"] - party.now <= 2 * least


def test_a_primary_that_leads_nowhere_is_replaced() -> None:
    """Its heartbeats arrive, and its PREPAREs do not."""
    party = replica(2)
    submit(party, "a")
    asked = 0
    while party.machine.is_normal:
        party.hear(1, VrCommit(0, 0))
        asked += VrRequest("a", b"value of a") in party.fire("retry")
    assert asked == ViewstampedReplication.TRIES - 1


# --- state transfer, §5.2 ------------------------------------------------------------------------


def test_who_missed_a_view_change_asks_for_its_log() -> None:
    party = replica(3)
    party.hear(1, VrPrepare(0, 1, A, 0))
    assert party.hear(2, VrCommit(1, 2)) == [VrGetState(0)]
    assert party.hear(1, VrPrepare(0, 2, B, 1)) == [], "it is in view 1 now"
    assert party.hear(2, VrNewState(1, 0, (C, B), 2)) == [VrGetState(2)]
    assert party.log == ["c", "b"]
    assert entries(party) == [], "what it had was of a view that is over"
    assert party.hear(2, VrStartView(1, 2, (A,))) == [VrPrepareOk(1, 3)]


def test_who_has_more_gives_it_by_pages_and_then_the_rest_of_the_log() -> None:
    primary = replica(window=64)
    names = [f"op{k}" for k in range(PAGE + 2)]
    for k, op in enumerate(names[:-1], 1):
        submit(primary, op)
        primary.hear(2, VrPrepareOk(0, k))
    submit(primary, names[-1])
    [page] = primary.hear(3, VrGetState(0))
    assert isinstance(page, VrNewState)
    assert len(page.commands) == PAGE
    [rest] = primary.hear(3, VrGetState(PAGE))
    assert rest == VrNewState(0, PAGE, (command(names[-2]),), PAGE + 1)
    assert primary.hear(3, VrGetState(PAGE + 1)) == [
        VrStartView(0, PAGE + 1, (command(names[-1]),))
    ]


def test_a_primary_tells_under_its_view_nothing_of_a_later_one() -> None:
    """Number 1 is committed otherwise in view 4 by now."""
    primary = replica()
    submit(primary, "a")
    primary.hear(2, VrNewState(4, 0, (C,), 1))
    assert primary.log == ["c"]
    assert not primary.machine.leads
    assert "heartbeat" not in primary.timers
    assert primary.hear(3, VrPrepareOk(0, 1)) == []


def test_catching_up_takes_messages_linear_in_what_was_missed() -> None:
    c = Cluster(ViewstampedReplication, 4, window=1, batch=1, patience=400 * MS)
    c.cut([4], [1, 2, 3])
    names = [f"op{k}" for k in range(3 * PAGE)]
    for op in names:
        c.submit(1, op)
    c.run_until(lambda: all(len(c.log(p)) == len(names) for p in (1, 2, 3)))
    healed = c.world.now
    c.heal()
    c.run_until(lambda: c.all_decided(*names))
    assert c.sent(since=healed)["VrNewState"] <= 8
    assert c.blamed() == set()


# --- the whole -----------------------------------------------------------------------------------


def test_a_dead_primary_is_replaced_and_nothing_is_lost() -> None:
    c = Cluster(ViewstampedReplication, 5, patience=200 * MS)
    names = [f"op{k}" for k in range(6)]
    for op in names[:3]:
        c.submit(1, op)
    c.run(21)  # committed, and on the way to the others
    c.crash(1)
    for k, op in enumerate(names[3:], 2):
        c.submit(k, op)
    c.run_until(lambda: c.all_decided(*names))
    c.restart(1)
    c.run_until(lambda: c.all_decided(*names))
    assert c.log(1)[:3] == names[:3]
    c.check_agreement()
    assert c.blamed() == set()


def test_all_crash_at_one_time_and_go_on() -> None:
    """The paper's replicas would have lost everything: more than f are down at once."""
    c = Cluster(ViewstampedReplication, 3)
    c.submit(1, "a")
    c.run(11)  # prepared everywhere, committed nowhere
    c.crash(1, 2, 3)
    c.restart(1, 2, 3)
    c.run_until(lambda: c.all_decided("a"))
    stored = c.world.look(2, lambda node: node.stored[AT])
    assert not [key for key in stored if key.startswith("log/")]


def test_it_says_whom_it_waits_for() -> None:
    c = Cluster(ViewstampedReplication, 5, patience=100 * MS)
    c.crash(3, 4, 5)
    c.submit(1, "a")
    c.run(20_000)
    assert {row.note.waiting_for for row in c.notes("blocked")} == {(3, 4, 5)}
    c.restart(3, 4, 5)
    c.run_until(lambda: c.all_decided("a"))


def test_one_log_on_bad_links() -> None:
    c = Cluster(
        ViewstampedReplication, 5, seed=2, patience=300 * MS,
        network=Network(Delay("exponential", 40 * MS), loss=0.2, ordered=False),
    )  # fmt: skip
    names = [f"op{k}" for k in range(10)]
    for k, op in enumerate(names):
        c.submit(k % 5 + 1, op)
    c.run_until(lambda: c.all_decided(*names))
    c.check_agreement()
    assert c.blamed() == set()


def test_a_view_of_another_and_an_absurd_one_are_blamed_and_end_in_no_loop() -> None:
    party = replica()
    party.hear(3, VrPrepare(1, 1, A, 0), VrCommit(1, 0), VrStartView(1, 0, ()))
    party.hear(3, VrDoViewChange(1, 0, 0, ()))
    assert party.blamed == [3] * 4
    party.hear(2, VrStartViewChange(HUGE), VrNewState(HUGE, 0, (A,), 1))
    assert party.blamed == [3] * 4 + [2] * 2
    submit(party, "a")
    party.hear(2, VrPrepareOk(0, HUGE))
    assert party.blamed[-1] == 2
    party.hear(2, VrCommit(1, HUGE), VrNewState(1, HUGE, (A,), HUGE), VrGetState(HUGE))
    party.hear(2, VrPrepare(1, HUGE, A, HUGE), VrStartView(1, HUGE, ()))
    assert (party.log, party.machine.view) == ([], 1)
    assert len(party.said) < 12
    assert msgspec.msgpack.decode(party.disk["view"]) == [1, 0]


# --- what "the latest normal view" is for ---------------------------------------------------------


def first_decided(protocol: type[ViewstampedReplication]) -> dict[Party, list[str]]:
    """Party 1 writes `a` and `b` in view 0, and nobody hears it. Parties 2 and 3 commit `c` in view
    1. Then 2 is away, and 3 is the primary of view 2."""
    one, two, three = (Alone(protocol, p, 3) for p in (1, 2, 3))
    submit(one, "a", "b")
    report = two.hear(3, *three.fire("election"))
    begun = two.hear(3, *three.hear(2, *(m for m in report if isinstance(m, VrStartViewChange))))
    three.hear(2, *begun)
    answers = three.hear(2, *submit(two, "c"))
    two.hear(3, *answers)
    wish = three.fire("election")
    report = one.hear(3, *wish)
    begun = three.hear(1, *report)
    three.hear(1, *one.hear(3, *(m for m in begun if not isinstance(m, VrStartViewChange))))
    return {2: two.log, 3: three.log}


def test_the_longest_log_splits_where_the_latest_normal_view_does_not() -> None:
    assert first_decided(ViewstampedReplication) == {2: ["c"], 3: ["c"]}
    wrong = first_decided(LongestLogVr)
    assert wrong[2] == ["c"]
    assert wrong[3][:1] == ["a"]


def test_orders_of_events_split_nobody() -> None:
    promises = PROMISES["vr"]
    assert not any(gauntlet(ViewstampedReplication, k, n=3, promises=promises) for k in range(3))
