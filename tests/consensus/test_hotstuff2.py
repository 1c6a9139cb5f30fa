"""HotStuff-2: two phases, five delays, and a leader that waits when it may not know a lock."""

from __future__ import annotations

import pytest

from mpclab.consensus.hotstuff import HotStuffAdvance, HotStuffPropose
from mpclab.consensus.hotstuff2 import HotStuff2
from mpclab.consensus.hotstuff_messages import (
    QC,
    ROOT,
    Block,
    HotStuffNewView,
    HotStuffVote,
    HotStuffWish,
    digest_of,
)
from mpclab.consensus.wrong import UnlockedHotStuff2
from mpclab.core.ids import MS, Party
from mpclab.core.wire import Message
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import IDENTITIES, Cluster
from mpclab.testing.gauntlet import gauntlet
from mpclab.testing.promises import PROMISES

GENESIS = QC("prepare", 0, ROOT, ())
A = Block(1, ROOT, "a", b"value of a")
B = Block(2, ROOT, "b", b"value of b")
PATIENCE = HotStuff2.options_type().patience


def vote(p: Party, phase: str, block: Block) -> HotStuffVote:
    digest = digest_of(block)
    signed = IDENTITIES[p].sign("mpclab hotstuff vote", "", phase, block.view, digest)
    return HotStuffVote(phase, block.view, digest, signed)


def certificate(phase: str, block: Block, by: str = "134") -> QC:
    votes = tuple((int(p), vote(int(p), phase, block).signature) for p in by)
    return QC(phase, block.view, digest_of(block), votes)


def voted(said: list[Message]) -> list[tuple[str, int, bytes]]:
    return [(m.phase, m.view, m.block) for m in said if isinstance(m, HotStuffVote)]


def proposed(said: list[Message]) -> list[HotStuffPropose]:
    return [m for m in said if isinstance(m, HotStuffPropose)]


# --- published figures ------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7, 10, 16])
def test_messages_and_delays_are_those_of_two_phases(n: int) -> None:
    c = Cluster(HotStuff2, n)
    c.run(15)  # the NEW-VIEWs of view 1 are there
    begun = c.world.now
    c.submit(1, "a")
    c.run()
    count = c.sent(since=begun)
    assert count.pop("HotStuffNewView") == n - 1, "of the next view"
    assert count.total() == 5 * (n - 1)
    assert max(c.parent(p).decided_at["a"] for p in c.honest) == begun + 50 * MS


def test_good_leaders_go_at_the_pace_of_the_network() -> None:
    """Optimistic responsiveness: none of them waits Δ, here an hour."""
    c = Cluster(HotStuff2, 4, delta=3_600_000 * MS, patience=10**6 * MS)
    names = [f"op{k}" for k in range(12)]
    for k, op in enumerate(names):
        c.submit(k % 4 + 1, op)
    c.run_until(lambda: c.all_decided(*names), 12 * 70)
    c.check_agreement()


def test_after_a_dead_leader_the_next_waits_delta_and_goes_on() -> None:
    c = Cluster(HotStuff2, 4, patience=400 * MS, delta=150 * MS)
    c.crash(1)
    c.submit(2, "a")
    c.run_until(lambda: c.all_decided("a"))
    # party 2 times out, then those that it told, 800 ms each; Δ doubled once; five delays
    assert c.parent(3).decided_at["a"] == 2 * (800 + 10) * MS + 300 * MS + 50 * MS


# --- the leader -------------------------------------------------------------------------------


def second_leader() -> Alone:
    """Party 2, which leads view 2 and comes there by wishes, with something to propose."""
    two = Alone(HotStuff2, 2)
    two.submit("b", b"value of b")
    for p in (1, 3, 4):
        two.hear(p, HotStuffWish(2))
    assert two.machine.view == 2
    return two


def test_a_leader_without_the_certificate_of_the_view_before_waits() -> None:
    two = second_leader()
    assert proposed(two.hear(1, HotStuffNewView(2, GENESIS))) == []
    assert proposed(two.hear(4, HotStuffNewView(2, GENESIS))) == [], "n - f are not enough"
    assert two.timers["delta"] == PATIENCE // 4
    assert [m.block.op for m in proposed(two.fire("delta"))] == ["b"]


def test_it_extends_a_lock_that_it_hears_of_while_it_waits() -> None:
    two = second_leader()
    two.hear(1, HotStuffNewView(2, GENESIS))
    two.hear(4, HotStuffNewView(2, GENESIS))
    hidden = certificate("prepare", Block(1, ROOT, "x", b"x"))
    two.hear(3, HotStuffNewView(2, hidden))  # it holds the certificate of view 1 now …
    assert proposed(two.fire("delta")) == [], "… and must have that block before it extends it"
    assert two.machine.fetch.goal == hidden


def test_a_leader_that_heard_all_waits_no_longer() -> None:
    two = second_leader()
    two.hear(1, HotStuffNewView(2, GENESIS))
    two.hear(3, HotStuffNewView(2, GENESIS))
    assert [m.justify for m in proposed(two.hear(4, HotStuffNewView(2, GENESIS)))] == [GENESIS]


def test_a_leader_with_the_certificate_of_the_view_before_does_not_wait() -> None:
    two = Alone(HotStuff2, 2)
    two.submit("b", b"value of b")
    two.hear(1, HotStuffPropose(A, GENESIS), HotStuffAdvance(certificate("prepare", A)))
    said = two.hear(1, HotStuffAdvance(certificate("commit", A)))
    assert [(m.block.op, m.justify.block) for m in proposed(said)] == [("b", digest_of(A))]
    assert two.log == ["a"]


# --- a replica --------------------------------------------------------------------------------


def locked_on_a() -> Alone:
    """Party 3, locked on A in view 1 and now in view 2."""
    three = Alone(HotStuff2, 3)
    assert voted(three.hear(1, HotStuffPropose(A, GENESIS))) == [("prepare", 1, digest_of(A))]
    said = three.hear(1, HotStuffAdvance(certificate("prepare", A)))
    assert voted(said) == [("commit", 1, digest_of(A))], "vote2"
    for p in (1, 2, 4):
        three.hear(p, HotStuffWish(2))
    assert three.machine.locked.view == 1
    assert three.log == []
    return three


def test_who_is_locked_votes_for_no_block_with_a_lower_certificate() -> None:
    assert voted(locked_on_a().hear(2, HotStuffPropose(B, GENESIS))) == []


def test_who_is_locked_votes_for_what_extends_its_lock() -> None:
    child = Block(2, digest_of(A), "b", b"value of b")
    said = locked_on_a().hear(2, HotStuffPropose(child, certificate("prepare", A)))
    assert voted(said) == [("prepare", 2, digest_of(child))]


def test_a_higher_certificate_unlocks_and_is_the_next_lock() -> None:
    three = locked_on_a()
    for p in (1, 2, 4):
        three.hear(p, HotStuffWish(4))
    block = Block(4, digest_of(B), "c", b"value of c")
    said = three.hear(4, HotStuffPropose(block, certificate("prepare", B)))
    assert voted(said) == [("prepare", 4, digest_of(block))]
    assert three.machine.locked.view == three.machine.high.view == 2


def test_a_lock_survives_a_crash_and_is_told_to_the_next_leader() -> None:
    three = locked_on_a()
    three.restart()
    assert three.machine.locked.view == 1
    assert voted(three.hear(2, HotStuffPropose(B, GENESIS))) == []
    told = [m for to, m in three.said if to == (2,) and isinstance(m, HotStuffNewView)]
    assert told[-1].high == certificate("prepare", A)


def test_a_vote_is_given_once_in_a_view_also_after_a_crash() -> None:
    three = Alone(HotStuff2, 3)
    three.hear(1, HotStuffPropose(A, GENESIS))
    three.restart()
    assert voted(three.hear(1, HotStuffPropose(Block(1, ROOT, "x", b"x"), GENESIS))) == []


@pytest.mark.parametrize("phase", ["pre-commit", "commit"])
def test_a_proposal_needs_a_certificate_of_the_first_phase(phase: str) -> None:
    child = Block(2, digest_of(A), "b", b"value of b")
    three = locked_on_a()
    assert voted(three.hear(2, HotStuffPropose(child, certificate(phase, A)))) == []
    assert three.blamed == [2]


# --- the whole ---------------------------------------------------------------------------------


def test_a_hidden_lock_costs_one_delta_and_no_view() -> None:
    """Party 4 alone gets the certificate of view 1; party 1 falls silent. Without the wait the
    leader of view 2 would propose what party 4 refuses, and there is no third honest vote."""
    c = Cluster(HotStuff2, 4, patience=400 * MS)
    c.run(15)
    c.submit(1, "a")
    c.lossy(lambda src, dst: src == 1 and dst != 4 and c.world.now > 30 * MS)
    c.run(60)
    assert [c.machine(p).locked.view for p in (2, 3, 4)] == [0, 0, 1]
    c.crash(1)
    c.heal()
    c.submit(3, "b")
    c.run_until(lambda: c.all_decided("a", "b"))
    assert c.machine(2).tree.blocks[c.machine(2).tree.tip].view <= 3
    c.check_agreement()


def test_orders_of_events_find_a_missing_lock() -> None:
    """It is split in about one of 100 orders; these are some."""
    promises = PROMISES["hotstuff-2"]
    found = [k for k in (127, 535) if gauntlet(UnlockedHotStuff2, k, promises=promises)]
    assert found
    assert not any(gauntlet(HotStuff2, k, promises=promises) for k in (*found, *range(10)))
