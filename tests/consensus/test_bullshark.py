"""Bullshark: the papers' rules one by one, counts and delays, catching up; its two mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from mpclab.consensus.bullshark import Bullshark
from mpclab.consensus.bullshark_dag import DEPTH, Dag
from mpclab.consensus.bullshark_messages import (
    ACK,
    BullsharkAck,
    BullsharkCertificate,
    BullsharkCommits,
    BullsharkOp,
    BullsharkPropose,
    BullsharkStatus,
    BullsharkVertices,
    Certified,
    Commit,
    Place,
    Vertex,
    Votes,
    digest_of,
)
from mpclab.consensus.wrong import NoWayBackBullshark, OneVoteBullshark
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import IDENTITIES, Cluster
from mpclab.testing.gauntlet import gauntlet
from mpclab.testing.promises import PROMISES


def vertex(
    round: int, source: Party, parents: str = "1234", op: str = "", weak: tuple[Place, ...] = ()
) -> Vertex:
    """A vertex; of round 1 it has no parents."""
    ops = (BullsharkOp(op, f"value of {op}".encode()),) if op else ()
    return Vertex(round, source, ops, tuple(map(int, parents if round > 1 else "")), weak)


def ack(p: Party, one: Vertex, session: str = "") -> BullsharkAck:
    name = digest_of(one)
    return BullsharkAck(one.round, name, IDENTITIES[p].sign(ACK, session, name))


def acks(one: Vertex, by: str = "124") -> Votes:
    return tuple((int(p), ack(int(p), one).signature) for p in by)


def certified(*vertices: Vertex) -> BullsharkVertices:
    return BullsharkVertices(tuple(Certified(one, acks(one)) for one in vertices))


def whole(round: int, parents: str = "1234", by: str = "1234") -> list[Vertex]:
    return [vertex(round, int(p), parents) for p in by]


def of(kind: type[Message], said: Iterable[Message]) -> list[Message]:
    return [msg for msg in said if isinstance(msg, kind)]


def dag_of(*vertices: Vertex, protocol: type[Dag] = Dag) -> Dag:
    dag = protocol(4, 1)
    for one in vertices:
        assert dag.has_history(one)
        dag.add(Certified(one, ()))
    return dag


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7, 10])
@pytest.mark.parametrize(("by", "rounds"), [(1, 2), (2, 4)])
def test_messages_are_those_of_the_rounds_and_delays_three_each(
    n: int, by: int, rounds: int
) -> None:
    """An anchor takes two rounds; another vertex of its round waits for the next anchor. And one
    delay, as the others rest."""
    c = Cluster(Bullshark, n)
    c.submit(by, "a")
    c.run()
    each = rounds * n * (n - 1)
    kinds = ("BullsharkPropose", "BullsharkAck", "BullsharkCertificate")
    assert c.sent() == dict.fromkeys(kinds, each)
    assert max(c.parent(p).decided_at["a"] for p in c.members) == (3 * rounds + 1) * 10 * MS
    assert c.world.now == (3 * rounds + 1) * 10 * MS, "then all rest"


def test_anchors_take_two_rounds_their_voters_three_and_the_rest_four() -> None:
    """Of voting rounds the last f to come are nobody's parents: a weak edge of the next
    anchor's round finds them, an anchor later."""
    c = Cluster(Bullshark, 4, batch=1)
    for k in range(48):
        c.submit(k % 4 + 1, f"op{k}")
    c.run()
    begun = {(r.note.view, r.actor): r.at for r in c.notes("entered-view")}
    took: Counter[tuple[str, int]] = Counter()
    for row in c.notes("anchor-ordered"):
        anchor = row.note.round, row.note.source
        for round, source in row.note.vertices:
            if round > 2:  # all are at work
                kind = "voter" if round % 2 == 0 else "anchor" if anchor == (round, source) else ""
                took[kind, (row.at - begun[round, source]) // (10 * MS)] += 1
    assert set(took) == {("anchor", 6), ("voter", 9), ("voter", 15), ("", 12)}
    assert took["voter", 15] * 3 <= took["voter", 9]


def test_anchors_take_turns_in_odd_rounds() -> None:
    assert [Dag(4, 1).anchor(round) for round in (1, 3, 5, 7, 9)] == [
        (1, 1), (3, 2), (5, 3), (7, 4), (9, 1),
    ]  # fmt: skip


def test_too_few_parties_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        Bullshark.check_size(3)


# --- the order is read off the DAG ---------------------------------------------------------------


def test_an_anchor_is_ordered_by_f_plus_1_votes() -> None:
    dag = dag_of(*whole(1), vertex(2, 1, "234"), vertex(2, 2, "124"))
    assert dag.votes(1) == 1
    assert dag.anchors() == []
    dag.add(Certified(vertex(2, 3, "123"), ()))
    assert dag.anchors() == [(1, 1)]


def test_whoever_did_not_see_the_votes_finds_the_anchor_on_the_way_back() -> None:
    """Three of round 2 are enough to go on, and two vote for the anchor of round 1; this party saw
    one of these two."""
    voters = [vertex(2, 1, "124"), vertex(2, 2, "234"), vertex(2, 3, "234")]
    dag = dag_of(*whole(1), *voters, *whole(3, "123", "123"), *whole(4, "123", "12"))
    assert dag.votes(1) == 1
    assert dag.anchors() == [(1, 1), (3, 2)]


def test_an_anchor_without_a_path_to_it_is_passed_over() -> None:
    dag = dag_of(*whole(1), *whole(2, "234", "123"), *whole(3, "123", "123"))
    for one in whole(4, "123", "12"):
        dag.add(Certified(one, ()))
    assert dag.anchors() == [(3, 2)]
    assert (1, 1) not in [one.place for one in dag.history((3, 2))]


def test_a_history_is_ordered_once_by_round_and_source() -> None:
    dag = dag_of(*whole(1), *whole(2, "1234", "123"), *whole(3, "123"))
    first = dag.history((1, 1))
    assert [one.place for one in first] == [(1, 1)]
    dag.order(1, [(1, 1)])
    assert [one.place for one in dag.history((3, 2))] == [
        (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (3, 2),
    ]  # fmt: skip


def test_a_late_vertex_is_found_by_a_weak_edge() -> None:
    dag = dag_of(*whole(1, by="123"), *whole(2, "123", "123"))
    dag.add(Certified(vertex(1, 4), ()))
    parents = [(2, 1), (2, 2), (2, 3)]
    assert dag.left_out(parents, 3) == ((1, 4),)
    assert dag.left_out([(1, 1), (1, 2), (1, 3)], 2) == (), "of the round before are strong edges"
    dag.add(Certified(vertex(3, 2, "123", weak=((1, 4),)), ()))
    assert (1, 4) in [one.place for one in dag.history((3, 2))]


def test_an_anchor_orders_so_many_rounds_and_the_rest_is_forgotten() -> None:
    dag = Dag(4, 1)
    for round in range(1, DEPTH + 4):
        for one in whole(round):
            dag.add(Certified(one, ()))
    last = DEPTH + 1
    history = [one.place for one in dag.history(dag.anchor(last))]
    assert history[0] == (2, 1), "not round 1"
    dead = dag.order(last, history)
    assert [one.place for one in dead] == [(1, p) for p in (1, 2, 3, 4)]
    assert dag.floor == 1
    assert dag.holds((1, 4)), "nobody asks for it any more"


# --- rounds --------------------------------------------------------------------------------------


def certify(party: Alone) -> list[Message]:
    """All others acknowledge its vertex."""
    mine = party.machine.mine
    return [msg for p in (1, 2, 4) for msg in party.hear(p, ack(p, mine))]


def in_round_2(*, certified_too: bool = True) -> Alone:
    """Party 3, which wants something all the time and has all of round 1."""
    party = Alone(Bullshark, 3)
    party.submit("z", b"value of z")
    if certified_too:
        certify(party)
    party.hear(1, certified(*whole(1, by="124")))
    assert party.machine.round == 2
    return party


def proposed(said: Iterable[Message]) -> list[Vertex]:
    return [msg.vertex for msg in said if isinstance(msg, BullsharkPropose)]


def test_a_round_takes_n_minus_f_vertices_and_its_anchor() -> None:
    party = Alone(Bullshark, 3)
    party.submit("z", b"value of z")
    assert proposed(party.hear(1, certified(*whole(1, by="2")))) == []
    assert proposed(party.hear(1, certified(vertex(1, 4)))) == []
    (mine,) = proposed(party.hear(1, certified(vertex(1, 1))))
    assert (mine.round, mine.parents) == (2, (1, 2, 4))


def test_without_its_anchor_a_round_lasts_until_the_timeout() -> None:
    party = Alone(Bullshark, 3)
    party.submit("z", b"value of z")
    certify(party)
    assert proposed(party.hear(2, certified(*whole(1, by="24")))) == []
    (mine,) = proposed(party.fire("round"))
    assert party.now == Bullshark.options_type().wait
    assert mine.parents == (2, 3, 4)


def test_a_voting_round_lasts_until_the_anchor_is_ordered_or_cannot_be() -> None:
    voting = {"124": "f + 1 votes", "234": "no more than f will vote"}
    for parents, why in voting.items():
        party = in_round_2()
        said: list[Message] = []
        for source in (1, 2, 4):
            assert proposed(said) == []
            said = party.hear(source, certified(vertex(2, source, parents)))
        assert len(proposed(said)) == 1, why
    party = in_round_2()
    mixed = [vertex(2, 1, "124"), vertex(2, 2, "234"), vertex(2, 4, "234")]
    assert proposed(party.hear(1, certified(*mixed))) == [], "one votes, and another may"
    assert len(proposed(party.fire("round"))) == 1


def test_nobody_makes_two_vertices_of_a_round_not_in_its_next_life_either() -> None:
    party = Alone(Bullshark, 3)
    (mine,) = proposed(party.submit("a", b"value of a"))
    assert proposed(party.restart()) == [mine], "the same is said again"
    assert proposed(party.submit("b", b"value of b")) == []
    for after in range(4):
        torn = Alone(Bullshark, 3)
        torn.submit("a", b"value of a")
        torn.tear(1, certified(*whole(1, by="124")), after)
        torn.submit("b", b"value of b")
        torn.hear(1, certified(*whole(1, by="124")))
        made = {one.round: one for one in proposed(m for _, m in torn.said)}
        assert all(made[one.round] == one for one in proposed(m for _, m in torn.said))


def test_what_nobody_certified_is_said_in_a_later_round_and_what_is_in_the_dag_is_not() -> None:
    party = in_round_2(certified_too=False)
    first, second = proposed(m for _, m in party.said)
    assert first.ops == second.ops != ()
    certify(party)
    (third,) = proposed(party.hear(1, certified(*whole(2, "124", "124"))))
    assert (third.round, third.ops) == (3, ())


def test_a_party_follows_those_that_are_further() -> None:
    party = Alone(Bullshark, 3)
    party.hear(1, certified(*whole(1, by="124")), certified(*whole(2, "124", "124")))
    assert party.machine.round == 2
    assert proposed(m for _, m in party.said) == [], "nobody wants another round"
    (mine,) = proposed(party.hear(2, BullsharkPropose(vertex(3, 2, "124"))))
    assert (mine.round, mine.parents) == (3, (1, 2, 4))


def test_a_vertex_holds_values_of_so_many_bytes_or_a_single_one() -> None:
    sizes = {"a": 2 * Bullshark.BLOCK_BYTES, "b": Bullshark.BLOCK_BYTES - 1, "c": 1, "d": 1}
    party = Alone(Bullshark, 1)
    for op, size in sizes.items():
        party.machine.backlog.add(op, b"x" * size, own=True)
    found: list[str] = []
    for _ in range(3):
        ops = party.machine.next_ops()
        assert party.machine.is_valid(Vertex(1, 1, ops, (), ()))
        found.append("".join(one.op for one in ops))
        for one in ops:
            party.machine.backlog.pending.pop(one.op)
    assert found == ["a", "bc", "d"]


# --- reliable broadcast --------------------------------------------------------------------------


def test_the_first_vertex_of_a_source_is_acknowledged_once_what_it_refers_to_is_here() -> None:
    party = Alone(Bullshark, 3)
    two = vertex(2, 1, "124")
    assert of(BullsharkAck, party.hear(1, BullsharkPropose(two))) == []
    said = party.hear(2, certified(*whole(1, by="124")))
    assert ack(3, two) in said
    assert of(BullsharkAck, party.hear(1, BullsharkPropose(vertex(2, 1, "124", "x")))) == []
    assert party.blamed == [1]
    assert ack(3, vertex(2, 4, "124")) in party.hear(4, BullsharkPropose(vertex(2, 4, "124")))
    assert party.stored_before_said()


def test_an_acknowledgement_is_given_once_also_after_a_crash_and_to_whom_it_was_lost() -> None:
    party = Alone(Bullshark, 3)
    one = vertex(1, 1)
    assert ack(3, one) in party.hear(1, BullsharkPropose(one))
    party.restart()
    assert ack(3, one) in party.hear(1, BullsharkPropose(one)), "it was lost"
    party.hear(1, BullsharkPropose(vertex(1, 1, op="x")))
    assert party.blamed == [1]


def test_nobody_acknowledges_two_vertices_of_a_place_in_two_lives_either() -> None:
    """Its source told two stories, and the one that we did not hear is certified."""
    one, other = vertex(1, 1, op="x"), vertex(1, 1, op="y")
    for heard_first in (True, False):
        party = Alone(Bullshark, 3)
        said: list[Message] = []
        for msg in (BullsharkPropose(one), certified(other))[:: 1 if heard_first else -1]:
            said += party.hear(1, msg)
        party.restart()
        said += party.hear(1, BullsharkPropose(other))
        assert of(BullsharkAck, said) == ([ack(3, one)] if heard_first else [])
        assert said[-1] == certified(other), "what its source may lack"


@pytest.mark.parametrize(
    "bad",
    [
        vertex(0, 1),
        Vertex(1, 1, (), (1, 2, 3), ()),
        vertex(2, 1, "12"),
        vertex(2, 1, "1223"),
        vertex(2, 1, "1239"),
        vertex(2, 4),
        vertex(3, 1, weak=((2, 1),)),
        vertex(3, 1, weak=((1, 1), (1, 1))),
        vertex(3, 1, weak=((0, 1),)),
        vertex(3, 1, weak=((1, 9),)),
        vertex(9, 1, weak=tuple((r, 1) for r in range(1, 6))),
        Vertex(1, 1, (BullsharkOp("", b"x"),), (), ()),
        Vertex(1, 1, (BullsharkOp("a", b"x"), BullsharkOp("a", b"y")), (), ()),
        Vertex(1, 1, (BullsharkOp("a", b"bad"),), (), ()),
        Vertex(1, 1, tuple(BullsharkOp(f"op{k}", b"x") for k in range(17)), (), ()),
        Vertex(1, 1, tuple(BullsharkOp(op, b"x" * 2**16) for op in "abc"), (), ()),
    ],
)
def test_an_invalid_vertex_is_not_acknowledged_and_its_source_is_blamed(bad: Vertex) -> None:
    party = Alone(Bullshark, 3, valid=lambda value: value != b"bad")
    party.hear(2, certified(*whole(1, by="124")), certified(*whole(2, "124", "124")))
    assert of(BullsharkAck, party.hear(1, BullsharkPropose(bad))) == []
    assert party.blamed == [1]


def test_acknowledgements_of_n_minus_f_are_the_certificate() -> None:
    party = Alone(Bullshark, 3)
    (mine,) = proposed(party.submit("a", b"value of a"))
    assert of(BullsharkCertificate, party.hear(1, ack(1, mine), ack(1, mine))) == []
    (proof,) = of(BullsharkCertificate, party.hear(4, ack(4, mine)))
    assert proof == BullsharkCertificate(1, digest_of(mine), acks(mine, "134"))
    assert party.machine.dag.holds((1, 3))
    assert of(BullsharkCertificate, party.hear(2, ack(2, mine))) == []


def test_an_acknowledgement_is_signed_and_of_what_we_proposed() -> None:
    party = Alone(Bullshark, 3)
    (mine,) = proposed(party.submit("a", b"value of a"))
    name = digest_of(mine)
    party.hear(1, BullsharkAck(1, name, ack(2, mine).signature))
    party.hear(1, ack(1, mine, "another session"))
    other = vertex(1, 3, op="other")
    party.hear(4, BullsharkAck(1, digest_of(other), ack(4, other).signature))
    assert party.blamed == [1, 1, 4]
    assert party.machine.acks.keys() == {3}


@pytest.mark.parametrize("by", ["12", "1224", "129"])
def test_a_certificate_is_of_n_minus_f(by: str) -> None:
    one = vertex(1, 1)
    some = tuple((int(p), ack(int(p), one).signature) for p in by)
    for msg in (
        BullsharkCertificate(1, digest_of(one), some),
        BullsharkVertices((Certified(one, some),)),
    ):
        party = Alone(Bullshark, 3)
        party.hear(1, BullsharkPropose(one), msg)
        assert not party.machine.dag.rounds
        assert party.blamed == [1]


def test_a_certificate_may_come_before_its_vertex() -> None:
    party = Alone(Bullshark, 3)
    one = vertex(1, 1)
    said = party.hear(1, BullsharkCertificate(1, digest_of(one), acks(one)))
    assert of(BullsharkStatus, said), "what is it?"
    party.hear(1, BullsharkPropose(one))
    assert party.machine.dag.holds((1, 1))
    assert not party.machine.proofs


def test_a_certificate_of_another_vertex_than_we_heard_is_followed() -> None:
    """Its source told two stories; n − f heard the other one."""
    party = Alone(Bullshark, 3)
    one = vertex(1, 1, op="a")
    party.hear(1, BullsharkPropose(vertex(1, 1, op="x")))
    party.hear(1, BullsharkCertificate(1, digest_of(one), acks(one)))
    assert not party.machine.dag.rounds
    party.hear(2, certified(one))
    assert party.machine.dag.at((1, 1)) == one


def test_what_one_party_makes_us_keep_is_bounded() -> None:
    party = Alone(Bullshark, 3)
    for round in range(1, 90):
        one = vertex(round, 1, "124")
        party.hear(1, BullsharkPropose(one))
        party.hear(1, BullsharkCertificate(round, digest_of(one), acks(one)))
    machine = party.machine
    for kept in (machine.heard, machine.waiting, machine.proofs):
        assert len(kept) <= 2 * Bullshark.REACH
    assert machine.round <= 2, "one party that is further moves nobody"


# --- who missed something ------------------------------------------------------------------------


def test_who_asks_is_sent_the_vertices_that_it_lacks() -> None:
    party = in_round_2()
    (page,) = of(BullsharkVertices, party.hear(4, BullsharkStatus(1, 0, 1, ((1, 3),))))
    assert [it.vertex.place for it in page.vertices] == [(1, 2), (1, 4)]  # type: ignore[attr-defined]
    late = Alone(Bullshark, 4)
    late.hear(3, page)
    assert late.machine.dag.size(1) == 2


def test_whoever_refers_to_what_we_lack_is_asked_for_it_soon() -> None:
    """A source may show its certificate to one of us alone, in each round."""
    party = in_round_2()
    party.hear(1, certified(vertex(2, 1)))
    assert "missing" not in party.timers
    later, begun = vertex(3, 2, "123"), party.now
    assert party.hear(2, BullsharkPropose(later)) == []
    assert of(BullsharkStatus, party.fire("missing"))
    assert party.said[-1][0] == (2,)
    assert party.now - begun <= party.machine.patience // 8
    assert ack(3, later) in party.hear(2, certified(*whole(2, by="123")))


def test_a_status_of_more_than_there_can_be_is_a_lie() -> None:
    party = Alone(Bullshark, 3)
    party.hear(1, BullsharkStatus(1, 0, 1, ((1,),) * (Bullshark.SPAN + 1)))
    party.hear(2, BullsharkStatus(1, 0, 1, ((1, 2, 3, 4, 5),)))
    assert party.blamed == [1, 2]


def commit(round: int, op: str) -> Commit:
    places = ((round, Dag(4, 1).anchor(round)[1]),)
    return Commit(round, places, (BullsharkOp(op, f"value of {op}".encode()),))


def test_what_is_forgotten_is_told_and_taken_when_f_plus_1_tell_it_alike() -> None:
    late = Alone(Bullshark, 3)
    told = (commit(1, "a"), commit(5, "b"))
    late.hear(1, BullsharkCommits(0, (commit(1, "x"), commit(5, "y"))))
    late.hear(2, BullsharkCommits(0, told))
    assert late.log == []
    late.hear(4, BullsharkCommits(0, told[:1]))
    assert late.log == ["a"]
    late.hear(2, BullsharkCommits(1, told[1:]))
    late.hear(4, BullsharkCommits(1, told[1:]))
    assert late.log == ["a", "b"]
    assert late.machine.dag.last == 5
    late.restart()
    assert late.log == ["a", "b"]
    assert late.machine.dag.last == 5


@pytest.mark.parametrize("rounds", [(3, 1), (3, 3), (2,)])
def test_commits_that_cannot_be_are_a_lie(rounds: tuple[int, ...]) -> None:
    late = Alone(Bullshark, 3)
    late.hear(1, BullsharkCommits(0, tuple(commit(round, f"op{round}") for round in rounds)))
    assert late.blamed == [1]
    assert late.machine.shown == {}


class InParts(Bullshark):
    """One operation is as much as fits into a message."""

    BLOCK_BYTES = 15


def test_what_an_anchor_orders_is_in_parts_that_fit_into_messages() -> None:
    """A crash may come between any two of them, and who is told of them may be told of some."""
    begun = [vertex(1, p, op="abcd"[p - 1]) for p in (1, 2, 3, 4)]
    begun += [*whole(2), *whole(3), vertex(4, 1)]
    party = Alone(InParts, 3)
    party.hear(1, certified(*begun), certified(vertex(4, 2)))
    commits = party.machine.ordered.page(0, 9, 1000)
    assert [[one.op for one in commit.ops] for commit in commits] == [["a"], ["b"], ["c"], ["d"]]
    assert [commit.round for commit in commits] == [1, 3, 3, 3]
    for after in range(len(party.effects)):
        torn = Alone(InParts, 3)
        torn.hear(1, certified(*begun))
        torn.tear(2, certified(vertex(4, 2)), after)
        torn.hear(2, certified(vertex(4, 2)))
        assert torn.log == ["a", "b", "c", "d"]
        assert torn.machine.ordered.page(0, 9, 1000) == commits
        assert torn.machine.dag.last == 3
    late = Alone(InParts, 4)
    for number in range(4):
        assert late.machine.dag.last == (1 if number else 0)
        for p in (1, 2):
            late.hear(p, BullsharkCommits(number, commits[number : number + 1]))
        late.restart()
    late.hear(1, BullsharkCommits(0, commits))
    assert late.log == ["a", "b", "c", "d"]
    assert late.machine.dag.last == 3
    assert late.blamed == []


def test_catching_up_takes_messages_linear_in_what_was_missed() -> None:
    c = Cluster(Bullshark, 4, batch=1, patience=200 * MS)
    c.cut([4], [1, 2, 3])
    names = [f"op{k}" for k in range(120)]
    for k, op in enumerate(names):
        c.submit(1 + k % 3, op)
    c.run_until(lambda: all(len(c.log(p)) == 120 for p in (1, 2, 3)), 6_000_000)
    rounds, healed = c.machine(1).round, c.world.now
    assert rounds > 2 * DEPTH
    c.heal()
    c.run_until(lambda: c.all_decided(*names), 600_000)
    sent = c.sent(since=healed)
    told = sent["BullsharkCommits"] + sent["BullsharkVertices"] + sent["BullsharkStatus"]
    assert told <= 40 + 3 * 4 * rounds // Bullshark.PAGE
    assert c.blamed() == set()
    c.submit(4, "late")
    c.run_until(lambda: c.all_decided("late"))
    c.check_agreement()


def test_memory_and_store_hold_so_many_rounds() -> None:
    c = Cluster(Bullshark, 4, batch=1)
    names = [f"op{k}" for k in range(120)]
    for k, op in enumerate(names):
        c.submit(k % 4 + 1, op)
    c.run()
    assert c.all_decided(*names)
    machine = c.machine(2)
    assert machine.round > 2 * DEPTH
    kept = (DEPTH + 4) * 4
    assert sum(map(len, machine.dag.rounds.values())) <= kept
    assert max(len(machine.heard), len(machine.acked), len(machine.dag.ordered)) <= kept
    stored = c.world.look(2, lambda node: node.stored[("session", "agreement")])
    assert (
        sum(key.startswith("vertex/") and data is not None for key, data in stored.items()) <= kept
    )


# --- the whole -----------------------------------------------------------------------------------


def test_dead_anchors_cost_their_timeouts_and_catch_up() -> None:
    c = Cluster(Bullshark, 4, patience=200 * MS)
    c.crash(2)
    names = [f"op{k}" for k in range(6)]
    for k, op in enumerate(names):
        c.submit((1, 3, 4)[k % 3], op)
    c.run_until(lambda: c.all_decided(*names), 600_000)
    c.restart(2)
    c.submit(2, "late")
    c.run_until(lambda: c.all_decided(*names, "late"), 600_000)
    c.check_agreement()
    assert c.blamed() == set()


def test_it_says_whom_it_waits_for_and_the_hopeless_keeps_no_run_alive() -> None:
    c = Cluster(Bullshark, 4, patience=40 * MS)
    c.crash(3, 4)
    c.submit(1, "a")
    c.run()
    assert {row.note.waiting_for for row in c.notes("blocked")} == {(3, 4)}
    c.restart(3, 4)
    c.run_until(lambda: c.all_decided("a"), 600_000)


def test_a_vertex_that_nobody_certifies_keeps_nobody_running() -> None:
    """Its source goes on for a while, and the others with it."""
    c = Cluster(Bullshark, 4, patience=40 * MS)
    for p in (2, 3, 4):
        c.machine(p).valid = lambda value: value != b"bad"
    c.submit(1, "a", b"bad")
    c.run()
    assert not any(c.log(p) for p in c.members)


@pytest.mark.parametrize("seed", range(2))
def test_one_log_on_bad_links(seed: int) -> None:
    c = Cluster(
        Bullshark, 7, seed=seed, patience=300 * MS,
        network=Network(Delay("exponential", 40 * MS), loss=0.1, ordered=seed % 2 == 0),
    )  # fmt: skip
    names = [f"op{k}" for k in range(7)]
    for k, op in enumerate(names):
        c.submit(k % 7 + 1, op)
    c.run_until(lambda: c.all_decided(*names), 600_000)
    c.check_agreement()
    assert c.blamed() == set()


# --- what f + 1 votes and the way back are for ---------------------------------------------------


def orders(protocol: type[Bullshark], *seen: list[Vertex]) -> set[str]:
    """What parties that come to see these parts of one DAG decide first."""
    found = set()
    for vertices in seen:
        party = Alone(protocol, 4)
        for one in vertices:
            party.hear(1, certified(one))
        if party.log:
            found.add(party.log[0])
    return found


FIRST = [vertex(1, 1, op="a"), vertex(1, 2, op="b"), vertex(1, 3), vertex(1, 4)]


def test_one_vote_splits_the_log() -> None:
    """Only the second of round 2 has an edge to the anchor; the next anchor has none to that."""
    voters = [vertex(2, 1, "234"), vertex(2, 2, "1234"), vertex(2, 3, "234"), vertex(2, 4, "234")]
    third = [vertex(3, int(p), "134") for p in "1234"]
    few = [*FIRST, *voters[:2]]
    rest = [*FIRST, voters[0], *voters[2:], *third, *whole(4)]
    assert orders(Bullshark, few, rest) == {"b"}
    assert orders(OneVoteBullshark, few, rest) == {"a", "b"}


def test_an_anchor_that_is_not_looked_for_splits_the_log() -> None:
    """Two of round 4 vote for the anchor of round 3. Who sees both orders it; another sees one of
    them, and then the next anchor, whose history has `b` before `a`."""
    third = [vertex(3, 1, op="b"), vertex(3, 2, op="a"), vertex(3, 3), vertex(3, 4)]
    voters = [vertex(4, 1, "1234"), vertex(4, 2, "1234"), vertex(4, 3, "134"), vertex(4, 4, "134")]
    fifth = [vertex(5, int(p), "134") for p in "1234"]
    begun = [*whole(1), *whole(2), *third, voters[0]]
    both = [*begun, voters[1]]
    one = [*begun, *voters[2:], *fifth, *whole(6)]
    assert orders(Bullshark, both, one) == {"a"}
    assert orders(NoWayBackBullshark, both, one) == {"a", "b"}


@pytest.mark.parametrize(
    ("seed", "wrong"), [(2, NoWayBackBullshark), (60, None)], ids=["anchors", "two lives"]
)
def test_orders_of_events_split_nobody(seed: int, wrong: type[Bullshark] | None) -> None:
    """With an operation in each vertex there are more rounds."""

    def problem(protocol: type[Bullshark]) -> str:
        return gauntlet(
            protocol, seed, promises=PROMISES["bullshark"], long=True, options={"batch": 1}
        )

    assert problem(Bullshark) == ""
    assert wrong is None or "'ordered', 9" in problem(wrong), "two commits of one number"
