"""Paxos held to its paper, rule by rule: one process alone, then counts, delays and failures.

§: L. Lamport, "Paxos made simple", 2001. Of n = 3, party p's ballots are 3k + p - 1: 3, 4, 5 are
the first of parties 1, 2, 3.
"""

from __future__ import annotations

import pytest

from mpclab.consensus.decided_log import NOOP, PAGE, PAGE_BYTES, Command, next_command
from mpclab.consensus.paxos import Paxos
from mpclab.consensus.paxos_messages import (
    PaxosAccept,
    PaxosAccepted,
    PaxosChosen,
    PaxosLead,
    PaxosLearn,
    PaxosPrepare,
    PaxosPromise,
    PaxosRefused,
    PaxosRequest,
    PaxosVote,
)
from mpclab.consensus.paxos_synod import ballot_above, owner
from mpclab.consensus.wrong import OwnValuePaxos
from mpclab.core.ids import MS, Party
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import Cluster
from mpclab.testing.figures import elect
from mpclab.testing.gauntlet import gauntlet
from mpclab.testing.promises import PROMISES

HUGE = 2**53 - 1


def command(*ops: str) -> Command:
    return tuple((op, f"value of {op}".encode()) for op in ops)


A, B, C = command("a"), command("b"), command("c")


def process(me: Party = 1, n: int = 3, **options: int) -> Alone:
    return Alone(Paxos, me, n, **options)


def promise(ballot: int, *votes: PaxosVote, chosen: int = 0) -> PaxosPromise:
    return PaxosPromise(ballot, chosen, len(votes), votes)


def leader(*votes: PaxosVote, **options: int) -> Alone:
    """Party 1 of three, which leads with ballot 3; party 2 promised, and told of `votes`."""
    party = process(**options)
    party.fire("election")
    party.hear(2, promise(3, *votes))
    assert party.machine.role == "leader"
    return party


def accepts(said: list[Message]) -> list[tuple[int, int, Command]]:
    return [(m.ballot, m.slot, m.command) for m in said if isinstance(m, PaxosAccept)]


# --- counts and delays ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 7])
def test_a_stable_leader_needs_phase_2_alone(n: int) -> None:
    """§3: two delays and 2(n - 1) messages; §2.3: the distinguished learner tells the others."""
    c = Cluster(Paxos, n)
    by = elect(c)
    c.run(1)
    begun = c.world.now
    c.submit(by, "a")
    c.run(35)
    sent = c.sent("PaxosAccept", "PaxosAccepted", "PaxosPrepare", "PaxosPromise", since=begun)
    assert sent == {"PaxosAccept": n - 1, "PaxosAccepted": n - 1}
    assert {c.parent(p).decided_at["a"] - begun for p in c.members if p != by} == {30 * MS}
    assert c.parent(by).decided_at["a"] - begun == 20 * MS


def test_the_first_command_takes_phase_1_before() -> None:
    c = Cluster(Paxos, 4)
    c.submit(2, "a")
    c.run()
    assert c.parent(2).decided_at["a"] == 40 * MS
    assert {c.parent(p).decided_at["a"] for p in (1, 3, 4)} == {50 * MS}
    assert c.sent("PaxosPrepare", "PaxosPromise").total() == 6


def test_a_request_made_elsewhere_is_forwarded() -> None:
    c = Cluster(Paxos, 4)
    by = elect(c)
    other = by % 4 + 1
    begun = c.world.now
    c.submit(other, "a")
    c.run_until(lambda: c.all_decided("a"))
    assert c.sent("PaxosRequest") == {"PaxosRequest": 1}
    assert c.parent(other).decided_at["a"] - begun == 40 * MS


# --- ballots -------------------------------------------------------------------------------------


def test_no_two_parties_share_a_ballot() -> None:
    """§2.2: "different proposers choose their numbers from disjoint sets"."""
    for ballot in range(40):
        above = [ballot_above(ballot, p, 4) for p in (1, 2, 3, 4)]
        assert [owner(b, 4) for b in above] == [1, 2, 3, 4]
        assert ballot < min(above) <= max(above) < ballot + 8


def test_a_ballot_is_used_once_also_after_a_crash() -> None:
    """A promise to the first life must not be counted in the second, with another value."""
    party = process()
    assert party.fire("election") == [PaxosPrepare(3, 0)]
    assert party.stored_before_said()
    party.restart()
    assert party.fire("election") == [PaxosPrepare(6, 0)]
    party.submit("a", b"value of a")
    assert accepts(party.hear(2, promise(3))) == []
    assert accepts(party.hear(2, promise(6))) == [(6, 0, A)]


def test_a_ballot_of_another_is_blamed() -> None:
    party = process()
    party.hear(3, PaxosPrepare(4, 0))
    party.hear(3, PaxosAccept(4, 0, A))
    party.hear(3, PaxosLead(4, 0))
    party.hear(2, PaxosRefused(HUGE), PaxosPrepare(3 * 2**50 + 1, 0))
    assert party.blamed == [3, 3, 3, 2, 2]
    assert party.machine.highest == party.machine.acceptor.promised == 0


# --- phase 1 -------------------------------------------------------------------------------------


def test_a_promise_is_stored_before_it_is_given_and_outlives_a_crash() -> None:
    party = process()
    assert party.hear(3, PaxosPrepare(5, 0)) == [promise(5)]
    assert party.stored_before_said()
    assert party.hear(2, PaxosPrepare(4, 0)) == [PaxosRefused(5)]
    party.restart()
    assert party.hear(2, PaxosPrepare(4, 0)) == [PaxosRefused(5)]
    assert party.hear(3, PaxosPrepare(5, 0)) == [promise(5)], "the answer may be lost"
    assert party.hear(2, PaxosPrepare(7, 0)) == [promise(7)]


def test_a_promise_tells_the_highest_proposal_accepted_in_each_slot() -> None:
    party = process()
    party.hear(2, PaxosAccept(4, 0, A), PaxosAccept(4, 2, B))
    party.hear(3, PaxosAccept(5, 0, C))
    first, last = PaxosVote(0, 5, C), PaxosVote(2, 4, B)
    assert party.hear(2, PaxosPrepare(7, 0)) == [promise(7, first, last)]
    party.restart()
    assert party.hear(2, PaxosPrepare(10, 1)) == [promise(10, last)]


@pytest.mark.parametrize(("n", "promises"), [(3, 1), (4, 2), (5, 2), (6, 3)])
def test_a_majority_of_promises_makes_a_leader(n: int, promises: int) -> None:
    """Its own is one of them."""
    party = process(n=n)
    party.fire("election")
    for p in range(2, promises + 2):
        assert party.machine.role == "candidate"
        party.hear(p, promise(n), promise(n))
    assert party.machine.role == "leader"


def test_promises_for_an_earlier_ballot_do_not_count() -> None:
    party = process()
    party.fire("election")
    party.hear(3, PaxosRefused(5))
    party.fire("election")
    assert party.machine.ballot == 6
    party.hear(2, promise(3))
    assert party.machine.role == "candidate"
    party.hear(2, promise(6))
    assert party.machine.role == "leader"


def test_a_promise_in_pages_counts_when_it_is_complete() -> None:
    slots = list(range(2 * PAGE + 1))
    acceptor = process(me=2)
    for slot in slots:
        acceptor.hear(3, PaxosAccept(5, slot, A))
    said = acceptor.hear(1, PaxosPrepare(6, 0))
    assert [len(m.votes) for m in said if isinstance(m, PaxosPromise)] == [PAGE, PAGE, 1]
    party = process()
    party.hear(3, PaxosRefused(5))
    party.fire("election")
    party.hear(2, said[0], said[0], said[2])
    assert party.machine.role == "candidate"
    assert [slot for _, slot, _ in accepts(party.hear(2, said[1]))] == slots


@pytest.mark.parametrize("order", [(3, 0, 4), (0, 3, 4), (2, 3), (3, 1, 0, 2)])
def test_pages_of_two_answers_to_one_request_are_not_counted_together(order: list[int]) -> None:
    """Between the two, the acceptor learnt the first slots; what it told of those says nothing
    about the last slot, whose command may be chosen."""
    commands = [command(f"op{slot}") for slot in range(2 * PAGE + 1)]
    learnt = PaxosChosen(0, tuple(commands[:PAGE]), PAGE)
    acceptor = process(me=2)
    for slot, one in enumerate(commands):
        acceptor.hear(3, PaxosAccept(5, slot, one))
    said = acceptor.hear(1, PaxosPrepare(6, 0))
    acceptor.hear(3, learnt)
    said += acceptor.hear(1, PaxosPrepare(6, 0))
    assert [len(m.votes) for m in said if isinstance(m, PaxosPromise)] == [PAGE, PAGE, 1, PAGE, 1]
    party = process()
    party.hear(3, PaxosRefused(5), learnt)
    party.fire("election")
    for page in order[:-1]:
        party.hear(2, said[page])
        assert party.machine.role == "candidate"
    last = accepts(party.hear(2, said[order[-1]]))
    assert last == [(6, slot, commands[slot]) for slot in range(PAGE, 2 * PAGE + 1)]


def test_who_knows_more_is_asked_before_one_leads() -> None:
    party = process()
    party.submit("c", b"value of c")
    assert party.hear(2, promise(3, PaxosVote(2, 1, B), chosen=2)) == [PaxosLearn(0)]
    assert party.machine.role == "candidate"
    said = party.hear(2, PaxosChosen(0, (A, NOOP), 2))
    assert party.log == ["a"]
    assert accepts(said) == [(3, 2, B), (3, 3, C)]


# --- phase 2 -------------------------------------------------------------------------------------


def test_a_leader_proposes_the_command_of_the_highest_ballot() -> None:
    party = process(n=5)
    party.hear(3, PaxosAccept(7, 0, B))
    party.fire("election")
    party.hear(2, promise(10, PaxosVote(0, 6, A)))
    said = party.hear(4, promise(10, PaxosVote(0, 8, C)))
    assert accepts(said) == [(10, 0, C)]


def test_gaps_are_filled_with_no_ops_and_new_commands_come_after() -> None:
    """§3's example: the new leader knows of slots 0 and 3 alone."""
    party = process()
    party.submit("c", b"value of c")
    said = party.hear(2, promise(3, PaxosVote(3, 1, B), PaxosVote(0, 2, A)))
    assert accepts(said) == [(3, 0, A), (3, 1, NOOP), (3, 2, NOOP), (3, 3, B), (3, 4, C)]


def test_it_accepts_unless_it_promised_a_higher_ballot() -> None:
    party = process()
    party.hear(2, PaxosPrepare(4, 0))
    assert party.hear(2, PaxosAccept(4, 0, A)) == [PaxosAccepted(4, 0)]
    assert party.stored_before_said()
    assert party.hear(3, PaxosAccept(5, 1, B)) == [PaxosAccepted(5, 1)]
    assert party.hear(2, PaxosAccept(4, 2, C)) == [PaxosRefused(5)], "to accept is to promise"
    party.restart()
    assert party.hear(2, PaxosAccept(4, 2, C)) == [PaxosRefused(5)]


@pytest.mark.parametrize(("n", "answers"), [(3, 1), (4, 2), (5, 2)])
def test_a_command_is_chosen_by_a_majority_and_told(n: int, answers: int) -> None:
    party = process(n=n)
    party.submit("a", b"value of a")
    for p in range(2, n // 2 + 2):
        party.hear(p, promise(n))
    for p in range(2, answers + 2):
        assert party.log == []
        party.hear(p, PaxosAccepted(n + 1, 0))
        said = party.hear(p, PaxosAccepted(n, 0))
    assert party.log == ["a"]
    assert said == [PaxosLead(n, 1)]
    assert party.stored_before_said()


def test_commands_are_learnt_in_the_order_of_their_slots() -> None:
    party = leader()
    party.submit("a", b"value of a")
    party.submit("b", b"value of b")
    assert party.hear(2, PaxosAccepted(3, 1)) == []
    assert party.log == []
    assert party.hear(3, PaxosAccepted(3, 0)) == [PaxosLead(3, 2)]
    assert party.log == ["a", "b"]


def test_a_leader_is_alpha_slots_ahead_at_most_and_batches_what_waits() -> None:
    party = leader(window=2, batch=3)
    said = [m for op in "abcdef" for m in party.submit(op, f"value of {op}".encode())]
    assert accepts(said) == [(3, 0, A), (3, 1, B)]
    assert accepts(party.hear(2, PaxosAccepted(3, 0))) == [(3, 2, command("c", "d", "e"))]


def test_a_command_holds_so_many_bytes_or_a_single_value() -> None:
    sizes = {"a": 2 * PAGE_BYTES, "b": PAGE_BYTES - 1, "c": 1, "d": 1}
    pending = {op: b"x" * size for op, size in sizes.items()}
    commands: list[str] = []
    while len("".join(commands)) < 4:
        found = next_command(pending, set("".join(commands)), 16)
        commands.append("".join(op for op, _ in found))
    assert commands == ["a", "bc", "d"]


@pytest.mark.parametrize("bad", [(("", b"x"),), A + A, (("a", b"bad"),), (*A, ("b", b"bad"))])
def test_an_invalid_command_is_not_accepted_and_its_proposer_blamed(bad: Command) -> None:
    party = Alone(Paxos, 1, 3, valid=lambda value: value != b"bad")
    assert party.hear(2, PaxosAccept(4, 0, bad)) == []
    assert party.hear(2, PaxosChosen(0, (bad,), 1)) == []
    party.fire("election")
    assert party.hear(3, promise(party.machine.ballot, PaxosVote(0, 1, bad))) == []
    assert party.blamed == [2, 2, 3]
    assert party.log == []


# --- learning ------------------------------------------------------------------------------------


def test_what_was_accepted_under_the_leaders_ballot_is_chosen_as_it_says() -> None:
    party = process()
    party.hear(2, PaxosAccept(4, 0, A), PaxosAccept(4, 1, B))
    assert party.hear(2, PaxosLead(4, 1)) == []
    assert party.log == ["a"]
    assert "accepted/0" not in party.disk
    assert party.hear(3, PaxosPrepare(5, 0)) == [promise(5, PaxosVote(1, 4, B), chosen=1)]
    party.restart()
    assert party.log == ["a"]


def test_what_was_accepted_under_another_ballot_may_not_be_the_one() -> None:
    party = process()
    party.hear(2, PaxosAccept(4, 0, A))
    assert party.hear(3, PaxosLead(5, 1)) == [PaxosLearn(0)]
    assert party.log == []
    assert party.hear(3, PaxosLead(5, 1)) == [], "asked already"
    party.hear(3, PaxosChosen(0, (C,), 1))
    assert party.log == ["c"]


def test_a_leader_tells_under_its_ballot_only_what_it_proposed_or_knew_before() -> None:
    """Party 3 has ballot 5 by now, and had slot 0 hold another command than ours."""
    party = leader()
    party.submit("a", b"value of a")
    assert party.hear(3, PaxosChosen(0, (C,), 1)) == []
    assert party.log == []
    assert party.fire("heartbeat") == [PaxosLead(3, 0)]


def test_a_chosen_slot_is_accepted_again_without_being_changed() -> None:
    party = process()
    party.hear(2, PaxosAccept(4, 0, A), PaxosLead(4, 1))
    assert party.hear(3, PaxosAccept(5, 0, A)) == [PaxosAccepted(5, 0)]
    assert "accepted/0" not in party.disk
    assert party.hear(3, PaxosLead(5, 1)) == []
    assert party.log == ["a"]


def test_who_lags_too_far_catches_up_before_it_accepts() -> None:
    party = process()
    last = Paxos.REACH - 1
    assert party.hear(2, PaxosAccept(4, last, A)) == [PaxosAccepted(4, last)]
    assert party.hear(2, PaxosAccept(4, last + 1, A)) == [PaxosLearn(0)]


def test_a_crash_between_any_two_deeds_changes_nothing_that_was_said() -> None:
    for after in range(6):
        party = process()
        party.hear(2, PaxosAccept(4, 0, A))
        party.tear(2, PaxosLead(4, 1), after)
        assert party.hear(3, PaxosPrepare(5, 0)) in (
            [promise(5, PaxosVote(0, 4, A))],
            [promise(5, chosen=1)],
        )
        assert set(party.disk) in ({"promised", "accepted/0"}, {"promised", "chosen/0"})


def test_catching_up_takes_messages_linear_in_what_was_missed() -> None:
    c = Cluster(Paxos, 4, window=1, batch=1, patience=400 * MS)
    elect(c)
    c.cut([4], [1, 2, 3])
    names = [f"op{k}" for k in range(3 * PAGE)]
    for k, op in enumerate(names):
        c.submit(1 + k % 3, op)
    c.run_until(lambda: all(len(c.log(p)) == len(names) for p in (1, 2, 3)))
    healed = c.world.now
    c.heal()
    c.run_until(lambda: c.all_decided(*names))
    assert c.sent(since=healed)["PaxosChosen"] <= 5
    assert c.blamed() == set()


# --- who leads -----------------------------------------------------------------------------------


def test_a_proposer_abandons_its_ballot_when_there_is_a_higher_one() -> None:
    """§2.4"""
    party = leader()
    party.submit("a", b"value of a")
    party.hear(2, PaxosRefused(5))
    assert party.machine.role == "follower"
    assert "heartbeat" not in party.timers
    party.hear(2, PaxosAccepted(3, 0))
    assert party.log == []
    assert PaxosRequest("a", b"value of a") in party.hear(3, PaxosLead(5, 0)), "it leads now"


def test_an_old_leader_is_told_of_the_new_ballot() -> None:
    party = process()
    party.hear(3, PaxosPrepare(5, 0))
    assert party.hear(2, PaxosLead(4, 0)) == [PaxosRefused(5)]
    assert party.hear(2, PaxosAccept(4, 0, A)) == [PaxosRefused(5)]


def test_election_timeouts_are_random_and_double_while_too_few_answer() -> None:
    party = process()
    least = party.machine.options.timeout
    drawn = set()
    for factor in (1, 2, 4, 8, 8):
        party.fire("election")
        timeout = party.timers["election"] - party.now
        assert factor * least <= timeout <= 2 * factor * least
        drawn.add(timeout % least)
    assert len(drawn) == 5
    party.hear(2, PaxosLead(party.machine.ballot + 1, 0))
    assert party.timers["election"] - party.now <= 2 * least


def test_two_that_take_each_other_for_the_leader_send_a_request_once() -> None:
    party = process()
    party.hear(2, PaxosLead(4, 0))
    request = PaxosRequest("a", b"value of a")
    assert party.hear(3, request) == [request]
    assert party.said[-1][0] == (2,)
    assert party.hear(2, request) == []


def test_a_leader_that_leads_nowhere_is_replaced() -> None:
    """Its heartbeats arrive, and its proposals do not."""
    party = process()
    party.hear(2, PaxosLead(4, 0))
    party.submit("a", b"value of a")
    asked = 0
    while party.machine.role == "follower":
        party.hear(2, PaxosLead(4, 0))
        asked += PaxosRequest("a", b"value of a") in party.fire("retry")
    assert asked == Paxos.TRIES - 1


def test_a_dead_leader_is_replaced_and_nothing_is_lost() -> None:
    c = Cluster(Paxos, 5, patience=200 * MS)
    old = elect(c)
    names = [f"op{k}" for k in range(6)]
    for op in names[:3]:
        c.submit(old, op)
    c.run(21)  # chosen, and on the way to the others
    c.crash(old)
    for k, op in enumerate(names[3:]):
        c.submit((old + k) % 5 + 1, op)
    c.run_until(lambda: c.all_decided(*names))
    c.restart(old)
    c.run_until(lambda: c.all_decided(*names))
    assert c.log(old)[:3] == names[:3]
    c.check_agreement()
    assert c.blamed() == set()


def test_it_says_whom_it_waits_for() -> None:
    c = Cluster(Paxos, 5, patience=100 * MS)
    c.crash(3, 4, 5)
    c.submit(1, "a")
    c.run(20_000)
    assert {row.note.waiting_for for row in c.notes("blocked")} == {(3, 4, 5)}
    c.restart(3, 4, 5)
    c.run_until(lambda: c.all_decided("a"))


def test_one_log_on_bad_links() -> None:
    c = Cluster(
        Paxos, 5, seed=2, patience=300 * MS,
        network=Network(Delay("exponential", 40 * MS), loss=0.2, ordered=False),
    )  # fmt: skip
    names = [f"op{k}" for k in range(10)]
    for k, op in enumerate(names):
        c.submit(k % 5 + 1, op)
    c.run_until(lambda: c.all_decided(*names))
    c.check_agreement()
    assert c.blamed() == set()


# --- liars end no program ------------------------------------------------------------------------


def test_numbers_of_a_liar_end_in_no_loop() -> None:
    party = process()
    party.submit("c", b"value of c")
    far = PaxosVote(HUGE, 1, A)
    party.hear(2, promise(3, far), PaxosPromise(3, 0, HUGE, ()), PaxosPromise(3, HUGE, 1, (far,)))
    party.hear(3, PaxosLead(5, HUGE), PaxosChosen(HUGE, (A,), HUGE), PaxosChosen(0, (), HUGE))
    party.hear(3, PaxosPrepare(8, HUGE), PaxosLearn(HUGE), PaxosAccept(8, HUGE, A))
    assert party.blamed == [2, 2]
    assert party.machine.role == "follower"
    assert len(party.said) < 12


# --- what the value of the highest ballot is for -------------------------------------------------


def first_decided(protocol: type[Paxos]) -> dict[Party, list[str]]:
    """Party 1 has `a` chosen with party 2 and gives it out; nobody hears that. Party 3, which heard
    of nothing, asks party 2 for its promise."""
    parties = {p: Alone(protocol, p, 3) for p in (1, 2, 3)}

    def talk(src: Party, dst: Party, said: list[Message]) -> list[Message]:
        return parties[dst].hear(src, *said)

    prepare = parties[1].submit("a", b"value of a")
    offer = talk(2, 1, talk(1, 2, prepare))
    talk(2, 1, talk(1, 2, offer))
    parties[3].submit("c", b"value of c")
    parties[3].fire("election")
    parties[2].fire("election")
    prepare = parties[3].hear(2, PaxosRefused(7)) + parties[3].fire("election")
    offer = talk(2, 3, talk(3, 2, prepare))
    talk(2, 3, talk(3, 2, offer))
    return {p: party.log for p, party in parties.items()}


def test_a_leader_with_a_value_of_its_own_splits_the_log() -> None:
    right, wrong = first_decided(Paxos), first_decided(OwnValuePaxos)
    assert right[1] == right[3][:1] == ["a"]
    assert wrong[1] == ["a"]
    assert wrong[3][0] == "c"


def test_orders_of_events_split_nobody_but_those_with_a_value_of_their_own() -> None:
    promises = PROMISES["paxos"]
    assert gauntlet(OwnValuePaxos, 1, n=3, promises=promises)
    assert not any(gauntlet(Paxos, k, n=3, promises=promises) for k in (1, 40))
